//! Requests of agents.

use nockvault::authz::Peer;
use nockvault::crypto::signature::SigningKey;
use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::statement::agent::AgentKeyEnd;
use nockvault::statement::grant::{GrantRevoke, Rate, Terms};
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::request::Seen;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::Close;
use nockvault::store::{Candidate, Order, Question, Refusal, Rules, Store};
use nockvault::time::{Clock, Seconds};

use super::world::{HERE, Kit, RULES, World, denied, role, seal, sid, terms};

#[tokio::test]
async fn the_life_of_a_lease_stands_in_its_agents_chain() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let opened = world.hello(&kit, "s1").await.unwrap();
    assert_eq!(opened.seq, 2);
    let (lease, entry) = world.issue(&kit, "s1").await.unwrap();
    assert_eq!(entry.seq, 3);

    world.clock.advance(Seconds(60));
    let renew = world.request(&kit, "s1", Renew { lease: lease.clone(), ttl: Seconds(1200) }).await;
    let (renewed, _) = world.store().renew(&renew, HERE, None).await.unwrap();
    assert_eq!(renewed.expires, world.clock.now().plus(Seconds(1200)));

    let release = world.request(&kit, "s1", Release::Lease(lease.clone())).await;
    let (released, _) = world.store().release(&release).await.unwrap();
    assert_eq!(released.state, State::Released);
    let again = world.request(&kit, "s1", Release::Lease(lease.clone())).await;
    assert_eq!(denied(world.store().release(&again).await), Reason::LeaseEnded);

    let (second, _) = world.issue(&kit, "s1").await.unwrap();
    let close = world.request(&kit, "s1", Close {}).await;
    let (ended, _) = world.store().close(&close).await.unwrap();
    assert_eq!(ended, 1);
    assert_eq!(world.store().lease(&second).await.unwrap().unwrap().state, State::Released);
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::SessionEnded);

    let kinds = ["genesis", "grant", "session", "issue", "renew", "release", "issue", "close"];
    assert_eq!(world.kinds("kit").await, kinds);
    let census = world.store().census().await.unwrap();
    assert_eq!((census.agents, census.roles, census.grants, census.sessions, census.leases), (1, 1, 1, 0, 0));
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_renewal_comes_only_from_where_the_grant_allows() {
    let world = World::new().await;
    let kit = world.agent("kit").await;
    world.role("orders").await;
    world.grant(&kit, "orders", Terms { from: vec!["127.0.0.0/8".parse().unwrap()], ..terms() }).await;
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    let renew = world.request(&kit, "s1", Renew { lease, ttl: Seconds(1200) }).await;
    let elsewhere = Peer::Tcp("192.0.2.7".parse().unwrap());
    assert_eq!(denied(world.store().renew(&renew, elsewhere, None).await), Reason::AddressNotGranted);
    world.store().renew(&renew, HERE, None).await.unwrap();
}

#[tokio::test]
async fn a_lost_reply_is_released_by_the_request_it_answers() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    let (lease, _) = world.record(&request).await.unwrap();
    let other = Kit { seal: seal(99), ..kit };
    world.hello(&other, "s2").await.unwrap();
    let release = world.request(&other, "s2", Release::Req(request.req())).await;
    assert_eq!(world.store().release(&release).await.unwrap().0.id, lease);
    world.verify(&[&other]).await;
}

#[tokio::test]
async fn a_request_is_taken_once_also_after_a_restart_and_with_the_clock_put_back() {
    let mut world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    world.record(&request).await.unwrap();
    assert_eq!(denied(world.record(&request).await), Reason::Replay);
    world.restart().await;
    assert_eq!(denied(world.record(&request).await), Reason::Replay);

    // Past its window the nonce is forgotten, and the floor holds instead.
    let began = world.clock.now();
    world.clock.advance(Seconds(301));
    assert!(world.store().end_due(100).await.unwrap().nonces > 0);
    let nonce = &request.statement().common.nonce;
    assert!(!world.store().nonce_known(&kit.key.kid(), nonce).await.unwrap());
    world.clock.set(began);
    assert_eq!(denied(world.record(&request).await), Reason::Stale);
    assert_eq!(world.store().candidate(&kit.key.kid()).await.unwrap().floor, began);
    world.restart().await;
    assert_eq!(denied(world.record(&request).await), Reason::Stale);
}

#[tokio::test]
async fn of_many_copies_at_once_one_is_taken() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let request = world.wants(&kit, "s1").await;
    let copies = (0..200).map(|_| world.record(&request));
    let results = futures(copies).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert!(results.into_iter().filter(Result::is_err).all(|result| denied(result) == Reason::Replay));
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "issue"]);
}

/// Runs all of them at once, in this task.
pub(crate) async fn futures<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|context| {
        let mut waits = false;
        for (one, output) in &mut all {
            if output.is_none() {
                match one.as_mut().poll(context) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => waits = true,
                }
            }
        }
        if waits { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    all.into_iter().filter_map(|(_, output)| output).collect()
}

#[tokio::test]
async fn an_agent_reaches_its_own_leases_and_grants_only() {
    let world = World::new().await;
    let (kit, eve) = (world.granted("kit").await, world.agent("eve").await);
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    world.hello(&eve, "s1").await.unwrap();
    let release = world.request(&eve, "s1", Release::Lease(lease.clone())).await;
    assert_eq!(denied(world.store().release(&release).await), Reason::LeaseUnknown);
    let renew = world.request(&eve, "s1", Renew { lease, ttl: Seconds(0) }).await;
    assert_eq!(denied(world.store().renew(&renew, HERE, None).await), Reason::LeaseUnknown);
    assert_eq!(denied(world.issue(&eve, "s1").await), Reason::NoGrant);
    assert_eq!(world.kinds("eve").await, ["genesis", "session"]);
    world.verify(&[&kit, &eve]).await;
}

#[tokio::test]
async fn the_transaction_decides_by_what_is_there_now() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let (early, late, ended) =
        (world.wants(&kit, "s1").await, world.wants(&kit, "s1").await, world.wants(&kit, "s1").await);
    world.record(&early).await.unwrap();

    let other = Kit { seal: seal(77), name: kit.name.clone(), key: SigningKey::from_seed(&kit.key.seed()), kver: 1 };
    let mismatch = world.wants(&other, "s1").await;
    assert_eq!(denied(world.record(&mismatch).await), Reason::SealMismatch);

    let body = GrantRevoke { agent: kit.name.clone(), role: role("orders") };
    world.order(&Order::RevokeGrant(&world.command(body).await)).await.result.unwrap();
    assert_eq!(denied(world.record(&late).await), Reason::NoGrant);

    let body = AgentKeyEnd { agent: kit.name.clone(), kid: Some(kit.key.kid()), suspect_from: None };
    world.order(&Order::EndAgentKey(&world.command(body).await)).await.result.unwrap();
    assert_eq!(denied(world.record(&ended).await), Reason::KeyRetired);

    world.clock.advance(Seconds(301));
    assert_eq!(denied(world.record(&late).await), Reason::KeyRetired);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_request_out_of_its_window_is_refused_and_so_is_a_clock_behind_its_history() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let old = world.wants(&kit, "s1").await;
    world.clock.advance(Seconds(301));
    assert_eq!(denied(world.record(&old).await), Reason::ClockSkew);
    let now = world.clock.now();
    world.hello(&kit, "s1").await.unwrap();
    world.clock.set(now.minus(Seconds(302)));
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::ClockBehind);
    world.clock.set(now.minus(Seconds(299)));
    world.issue(&kit, "s1").await.unwrap();
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn uses_and_rates_of_a_grant_are_counted() {
    let world = World::new().await;
    let kit = world.agent("kit").await;
    world.role("orders").await;
    let rate = Some(Rate { count: 2, per: Seconds(60) });
    world.grant(&kit, "orders", Terms { max_uses: Some(3), rate, ..terms() }).await;
    world.issue(&kit, "s1").await.unwrap();
    world.issue(&kit, "s1").await.unwrap();
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::RateLimited);
    world.clock.advance(Seconds(31));
    world.issue(&kit, "s1").await.unwrap();
    world.clock.advance(Seconds(60));
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::GrantExhausted);
    let uses = world.store().grants(None, &nockvault::statement::command::Page::first()).await.unwrap().items[0].uses;
    assert_eq!(uses.count, 3);
}

#[tokio::test]
async fn what_one_agent_may_hold_is_bounded() {
    let rules = Rules { sessions_per_agent: 2, leases_per_agent: 3, nonces_per_key: 9, ..RULES };
    let world = World::with(rules).await;
    let kit = world.granted("kit").await;
    for sid in ["s1", "s2", "s1"] {
        world.issue(&kit, sid).await.unwrap();
    }
    assert_eq!(denied(world.hello(&kit, "s3").await), Reason::SessionLimit);
    assert_eq!(denied(world.issue(&kit, "s1").await), Reason::LeaseLimit);
    let close = world.request(&kit, "s2", Close {}).await;
    world.store().close(&close).await.unwrap();
    world.hello(&kit, "s3").await.unwrap();
    world.issue(&kit, "s3").await.unwrap();
    // What was refused spent no nonce: there are six.
    for _ in 0..3 {
        world.hello(&kit, "s1").await.unwrap();
    }
    assert_eq!(denied(world.hello(&kit, "s1").await), Reason::NoncesFull);
    world.clock.advance(Seconds(301));
    world.store().end_due(100).await.unwrap();
    world.hello(&kit, "s1").await.unwrap();
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_key_is_followed_by_the_next_one_and_overlaps_with_it() {
    let world = World::new().await;
    let mut kit = world.granted("kit").await;
    let next = SigningKey::generate(&*world.entropy);
    let (register, embedded) = world.register("kit", &next, 2, Some(kit.key.kid()));
    let request = world.request(&kit, "s1", RotateKey { new: embedded.clone() }).await;
    let (grace, _) = world.store().rotate_key(&request, &register).await.unwrap();
    assert_eq!(grace, world.clock.now().plus(Seconds(600)));
    world.issue(&kit, "s1").await.unwrap();
    let again = world.request(&kit, "s1", RotateKey { new: embedded }).await;
    assert_eq!(denied(world.store().rotate_key(&again, &register).await), Reason::BadSuccessor);

    let late = world.wants(&kit, "s1").await;
    world.clock.advance(Seconds(600));
    world.store().end_due(100).await.unwrap();
    assert_eq!(denied(world.record(&late).await), Reason::KeyRetired);
    kit = Kit { key: next, kver: 2, ..kit };
    world.issue(&kit, "s1").await.unwrap();
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "agent_key", "issue", "issue"]);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn refusals_have_an_entry_up_to_a_number_a_minute_and_then_a_summary() {
    let world = World::new().await;
    let kit = world.agent("kit").await;
    let mut entries = Vec::new();
    for _ in 0..5 {
        let request = world.wants(&kit, "s1").await;
        let common = &request.statement().common;
        let refusal = Refusal {
            agent: &kit.name,
            kid: &common.kid,
            nonce: &common.nonce,
            iat: common.iat,
            envelope: request.envelope(),
            reason: Reason::NoGrant,
        };
        entries.push(world.store().deny(&refusal).await.unwrap().is_some());
        assert_eq!(denied(world.store().deny(&refusal).await), Reason::Replay);
        // A denied request does not come alive under a later grant.
        assert_eq!(denied(world.record(&request).await), Reason::Replay);
    }
    assert_eq!(entries, [true, true, true, false, false]);
    world.store().end_due(100).await.unwrap();
    assert_eq!(world.kinds("kit").await.len(), 4, "the minute is not over");
    world.clock.advance(Seconds(60));
    world.store().end_due(100).await.unwrap();
    world.store().end_due(100).await.unwrap();
    assert_eq!(world.kinds("kit").await, ["genesis", "deny", "deny", "deny", "deny_summary"]);
    let nockvault::audit::entry::Body::DenySummary(summary) = world.entries("kit").await.pop().unwrap() else {
        panic!("no summary");
    };
    assert_eq!(summary.counts.get("no_grant"), Some(&2));
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn leases_expire_and_sessions_run_out() {
    let world = World::new().await;
    let (kit, ida) = (world.granted("kit").await, world.granted("ida").await);
    let (lease, _) = world.issue(&kit, "s1").await.unwrap();
    world.clock.advance(Seconds(900));
    let renew = world.request(&kit, "s1", Renew { lease: lease.clone(), ttl: Seconds(0) }).await;
    assert_eq!(denied(world.store().renew(&renew, HERE, None).await), Reason::LeaseEnded);
    let due = world.store().end_due(100).await.unwrap();
    assert_eq!((due.leases, due.sessions), (1, 0));
    assert_eq!(world.store().lease(&lease).await.unwrap().unwrap().state, State::Expired);

    world.clock.advance(Seconds(3000));
    let (long, _) = world.issue(&ida, "s1").await.unwrap();
    let due = world.store().end_due(100).await.unwrap();
    assert_eq!((due.leases, due.sessions), (0, 1), "kit's session was idle for an hour");
    assert_eq!(denied(world.hello(&kit, "s1").await), Reason::SessionEnded);

    world.clock.advance(Seconds(3600));
    let due = world.store().end_due(100).await.unwrap();
    assert_eq!((due.leases, due.sessions), (1, 1));
    assert_eq!(world.store().lease(&long).await.unwrap().unwrap().state, State::Expired);
    assert_eq!(world.kinds("kit").await, ["genesis", "grant", "issue", "expire", "session_end"]);
    let census = world.store().census().await.unwrap();
    assert_eq!((census.sessions, census.leases), (0, 0));
    world.verify(&[&kit, &ida]).await;
}

#[tokio::test]
async fn the_limit_of_a_sweep_holds_and_the_rest_comes_next() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    for _ in 0..5 {
        world.issue(&kit, "s1").await.unwrap();
    }
    world.clock.advance(Seconds(901));
    let mut ended = Vec::new();
    for _ in 0..3 {
        ended.push(world.store().end_due(2).await.unwrap().leases);
    }
    assert_eq!(ended, [2, 2, 1]);
    world.verify(&[&kit]).await;
}

#[tokio::test]
async fn a_situation_is_all_that_decides_at_one_instant() {
    let world = World::new().await;
    let kit = world.granted("kit").await;
    let (_, entry) = world.issue(&kit, "s1").await.unwrap();
    let request = world.wants(&kit, "s1").await;
    let common = &request.statement().common;
    let there = async |session, wanted, seen| {
        let (agent, nonce) = (kit.name.clone(), common.nonce.clone());
        let question = Question { agent, sid: sid(session), role: Some(role(wanted)), nonce, seen };
        let asks = Box::new(|candidate: Candidate| candidate.key.map(|_| question));
        world.store().situation(&common.kid, asks).await.unwrap().unwrap()
    };
    let nothing = world.store().situation(&common.kid, Box::new(|_| None)).await.unwrap();
    assert!(nothing.is_none(), "who asks nothing learns nothing");
    let there_first = there("s1", "orders", entry.seen()).await;
    assert!(there_first.session.is_some() && there_first.role.is_some());
    assert!(there_first.history && !there_first.replayed);
    assert_eq!((there_first.uses.count, there_first.agent.grants.len()), (1, 1));
    world.record(&request).await.unwrap();
    let fork = Seen { head: nockvault::crypto::hash::Digest::of(b"fork"), ..entry.seen() };
    let forked = there("s2", "none", fork).await;
    assert!(forked.session.is_none() && forked.role.is_none() && !forked.history && forked.replayed);
    let ahead = Seen { size: 900, ..entry.seen() };
    assert!(!there("s1", "orders", ahead).await.history);
    let older = there("s1", "orders", entry.seen()).await;
    assert!(older.history && older.uses.count == 2);
}
