//! Time and space: what happens when the writer is held up, when a caller goes away, when there is no room.

use std::task::Poll;
use std::time::Duration;

use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::secret::SecretBytes;
use nockvault::statement::lease::Release;
use nockvault::statement::secret::{SecretPut, SecretUse};
use nockvault::store::{Order, Rules, Store};
use nockvault::time::Clock;

use super::requests::futures;
use super::world::{RULES, World, data_dir, denied, unavailable};

/// How many commits the write-ahead log holds: frames that say how large the database is after them.
fn commits(world: &World) -> usize {
    let log = std::fs::read(data_dir(world.folder.path()).join("vault.db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    let salt = &log[16..24];
    let frames = log[32..].chunks_exact(24 + page).filter(|frame| &frame[8..16] == salt);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn one_commit_serves_all_that_waited() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let mut requests = Vec::new();
    for _ in 0..100 {
        requests.push(world.request(&kit, "s1", nockvault::statement::session::Hello { seal: kit.seal.clone() }).await);
    }
    let before = commits(&world);
    let intruder = world.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let let_go = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        intruder.execute_batch("ROLLBACK").unwrap();
    };
    let verbs = futures(requests.iter().map(|request| world.store().open_session(request)));
    let (results, ()) = tokio::join!(verbs, let_go);
    assert!(results.iter().all(Result::is_ok));
    let made = commits(&world) - before;
    assert!((1..=3).contains(&made), "100 verbs took {made} commits");
    assert_eq!(world.kinds("kit").await.len(), 102);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn what_is_withdrawn_at_the_deadline_lands_nowhere() {
    let world = World::with(Rules { deadline: Duration::from_millis(400), ..RULES }).await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    let intruder = world.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = std::time::Instant::now();
    let why = unavailable(world.record(&request).await);
    assert!(why.contains("deadline"), "{why}");
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    // Reads go on meanwhile.
    assert!(world.store().candidate(&kit.key.kid()).await.unwrap().key.is_some());
    intruder.execute_batch("ROLLBACK").unwrap();
    world.hello(&kit, "s2").await.unwrap();
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "session"]);
    // Not even the nonce was spent.
    world.record(&request).await.unwrap();
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_caller_that_goes_away_while_it_waits_leaves_nothing() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    let intruder = world.intruder();
    intruder.execute_batch("BEGIN IMMEDIATE").unwrap();
    {
        let mut waits = Box::pin(world.record(&request));
        let polled = std::future::poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await;
        assert!(polled);
    }
    intruder.execute_batch("ROLLBACK").unwrap();
    world.hello(&kit, "s2").await.unwrap();
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "session"]);
}

#[tokio::test]
async fn a_lease_whose_answer_nobody_took_is_undelivered() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    {
        let mut waits = Box::pin(world.record(&request));
        let polled = std::future::poll_fn(|context| Poll::Ready(waits.as_mut().poll(context).is_pending())).await;
        assert!(polled);
        while world.chain("kit").await.len() < 3 {
            tokio::task::yield_now().await;
        }
        // It has landed. The caller goes away without having looked.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while world.chain("kit").await.len() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "issue", "undelivered"]);
    let leases = world
        .store()
        .leases(None, nockvault::statement::lease::Which::All, &nockvault::statement::command::Page::first())
        .await
        .unwrap();
    assert_eq!(leases.items[0].state, State::Undelivered);
    assert_eq!(world.store().census().await.unwrap().leases, 0);
    assert_eq!(denied(world.record(&request).await), Reason::Replay);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn without_room_nothing_is_given_and_nothing_is_half_done() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    let reserve = data_dir(world.folder.path()).join("reserve");
    assert_eq!(reserve.metadata().unwrap().len(), 4 << 20);
    let before = (world.chain("_operators").await, world.store().census().await.unwrap());

    world.store().limit_size(1).await.unwrap();
    let name = "big".parse().unwrap();
    let command = world
        .command(SecretPut {
            name,
            sealed: nockvault::crypto::hash::Digest::of(b""),
            expires: None,
            used: SecretUse::Kv,
        })
        .await;
    let value = SecretBytes::from(vec![7; 1 << 20]);
    let why = unavailable(world.store().carry_out(&Order::PutSecret(&command, &value)).await);
    assert_eq!(why, "the disk is full");
    assert!(!reserve.exists(), "the reserve is given up for what ends");
    assert_eq!((world.chain("_operators").await, world.store().census().await.unwrap()), before);

    world.store().limit_size(1 << 40).await.unwrap();
    assert!(reserve.exists(), "there is room again");
    let release = world.request(&kit, "s1", Release::Lease(lease)).await;
    world.store().release(&release).await.unwrap();
    let carried = world.store().carry_out(&Order::PutSecret(&command, &value)).await.unwrap();
    assert_eq!(carried.result.unwrap()["version"], 1, "the nonce was not spent by what did not land");
    world.issue(&kit, "s1").await.unwrap();
    assert!(!world.store().failed());
    world.verify(&[&kit]).await;
    assert!(world.clock.now() > nockvault::time::Timestamp::ZERO);
}
