//! Backups of a vault at work, and the vault that is made of one: all of it is there, nothing of before is taken again, and
//! everybody is told that it is no continuation.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::{Fault, Report, Verdict};
use nockvault::audit::verify::{Kept, Pins, verify, verify_operators};
use nockvault::denial::Reason;
use nockvault::entropy::OsEntropy;
use nockvault::id::ChainName;
use nockvault::lease::State;
use nockvault::seal::backup::BackupFault;
use nockvault::seal::custody::RootKey;
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::audit_read::AuditCheckpoint;
use nockvault::statement::clock::ClockReset;
use nockvault::statement::command::Page;
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::issue::Purpose;
use nockvault::statement::lease::Which;
use nockvault::statement::request::Seen;
use nockvault::store::sqlite::{OpenFault, RestoreFault, Restoring, Sqlite};
use nockvault::time::{Clock as _, Seconds};
use serde_json::{Value, json};

use support::agent::{Agent, Rpc};
use support::{Harness, rules, terms};

/// What no backup shows.
const VALUE: &[u8] = b"a value that nobody may read";

/// A vault at work: `kit` holds a lease of `orders` and one at the backend `far`, `ida` was given something too, and a
/// backup lies in the file.
async fn backed_up() -> (Harness, [Agent; 2], PathBuf, tempfile::TempDir) {
    let vault = Harness::new().await;
    vault.kv_role("orders", VALUE).await;
    vault.role("far", "far", json!({})).await;
    let mut agents = [vault.agent("kit").await, vault.agent("ida").await];
    for agent in &mut agents {
        vault.grant(&agent.name, "orders", terms()).await;
        vault.grant(&agent.name, "far", terms()).await;
        agent.get(&vault, "orders").await;
    }
    agents[0].get(&vault, "far").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prod.backup");
    vault.back_up(&file).await;
    (vault, agents, file, folder)
}

async fn kinds(vault: &Harness, chain: &str) -> Vec<String> {
    let entries = vault.entries(&chain.parse().unwrap()).await;
    entries.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

async fn origins(vault: &Harness, chain: &str) -> Vec<String> {
    let entries = vault.entries(&chain.parse().unwrap()).await;
    let mut origins: Vec<String> = entries.iter().map(|entry| entry["origin"].as_str().unwrap().to_owned()).collect();
    origins.dedup();
    origins
}

/// The window in which nothing is taken is over, and the backends have been told.
async fn settle(vault: &Harness) {
    vault.vault().tend_once().await;
    vault.vault().undo_once().await;
    vault.clock.advance(Seconds(301));
    vault.vault().tend_once().await;
    vault.vault().undo_once().await;
}

/// An agent as it is for its owner who has accepted the restore: in a new session, with nothing seen.
fn accepted(agent: &mut Agent) -> Seen {
    agent.new_session(&format!("after-{}", agent.seen.size));
    std::mem::replace(&mut agent.seen, Seen::NONE)
}

async fn report(vault: &Harness, chain: &str, pins: Pins) -> Report {
    let pins = Pins { identity: Some(vault.identity.clone()), ..pins };
    let operators = vault.file(&ChainName::operators()).await;
    let commands = verify_operators(operators.as_slice(), &pins).unwrap().1;
    let pins = Pins { operators: commands.map(Arc::new), ..pins };
    verify(vault.file(&chain.parse().unwrap()).await.as_slice(), &pins).unwrap()
}

#[tokio::test]
async fn all_that_stood_in_the_backup_is_there_and_agents_go_on_once_they_accept() {
    let (mut vault, [mut kit, mut ida], file, _folder) = backed_up().await;
    let before = kinds(&vault, "kit").await;
    // What is lost: an agent, a secret, a lease at the backend.
    let lost = vault.agent("max").await;
    vault.put_secret("later", b"x").await;
    kit.get(&vault, "far").await;
    let orphan = vault.far.handles();
    assert_eq!(orphan.len(), 2);
    ida.get(&vault, "orders").await;

    let captured = [kit.issue("orders"), ida.issue("orders")];
    let restored = vault.restore(&file, &vault.restoring()).await;
    assert_eq!((restored.number, restored.quarantined.len()), (1, 0));
    for envelope in captured {
        assert_eq!(vault.refuses(&envelope).await, Reason::Stale, "a request of before was taken");
    }
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Stale, "the window has not passed");
    settle(&vault).await;

    // Of the grants, secrets and agents all are there, and nothing that came later.
    let agents = vault.vault().store().agents(&Page::first()).await.unwrap();
    assert_eq!(agents.items.iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["ida", "kit"]);
    assert_eq!(vault.vault().store().secrets(&Page::first()).await.unwrap().items.len(), 1);
    let leases = vault.vault().store().leases(None, Which::All, &Page::first()).await.unwrap();
    assert!(leases.items.iter().all(|lease| lease.state == State::Revoked), "{leases:?}");
    assert_eq!(vault.far.handles().len(), 1, "what was live in the backup is still at its backend");
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles(), Vec::<String>::new(), "what was given after the backup was left at its backend");

    // Nobody goes on without accepting it, and then everybody does.
    for agent in [&mut kit, &mut ida] {
        agent.new_session("after");
        let refused = vault.refusal(Rpc::RequestCredential, agent.issue("orders")).await;
        assert_eq!(refused.reason, Reason::Restored);
        assert_eq!(refused.said.unwrap().reason, "restored");
        assert!(accepted(agent).size > 0);
        let issued = agent.get(&vault, "orders").await;
        assert_eq!(agent.open(&issued)["value"], String::from_utf8_lossy(VALUE).as_ref());
    }
    let stranger = vault.refusal(Rpc::RequestCredential, lost.issue("orders")).await;
    assert_eq!(stranger.reason, Reason::Unauthenticated);

    let after = kinds(&vault, "kit").await;
    assert_eq!(after[..before.len()], before[..], "the history of before is another");
    assert_eq!(after[before.len()], "restore");
    assert_eq!(after[before.len() + 1..].iter().filter(|kind| *kind == "restore").count(), 0);
    assert_eq!(origins(&vault, "kit").await, ["prod/kit", "prod/kit~1"]);
    assert_eq!(origins(&vault, "_vault").await, ["prod/_vault", "prod/_vault~1"]);
    vault.order(AuditCheckpoint { chain: "kit".parse().unwrap() }).await;
    vault.verify_all().await;
    let inspected = vault.vault().inspect().await;
    assert!(inspected.quarantined.is_empty() && inspected.unread.is_empty(), "{inspected:?}");

    // An agent of that name begins anew, and its chain is not the one that was lost.
    let mut max = vault.agent("max").await;
    vault.grant(&max.name, "orders", terms()).await;
    max.get(&vault, "orders").await;
    assert_eq!(origins(&vault, "max").await, ["prod/max~1"]);
    vault.reopen().await;
    vault.verify_all().await;
}

#[tokio::test]
async fn a_restored_vault_is_backed_up_and_restored_again() {
    let (mut vault, [mut kit, _], file, folder) = backed_up().await;
    vault.restore(&file, &vault.restoring()).await;
    settle(&vault).await;
    accepted(&mut kit);
    kit.get(&vault, "orders").await;
    let second = folder.path().join("second.backup");
    vault.back_up(&second).await;
    kit.get(&vault, "orders").await;

    assert!(matches!(
        vault.restore_to("x", &second, &Restoring { number: Some(1), ..vault.restoring() }),
        Err(RestoreFault::Number { behind: 1, wanted: 1 })
    ));
    let restored = vault.restore(&second, &Restoring { number: Some(5), ..vault.restoring() }).await;
    assert_eq!(restored.number, 5);
    settle(&vault).await;
    kit.new_session("again");
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Restored);
    accepted(&mut kit);
    kit.get(&vault, "orders").await;
    assert_eq!(origins(&vault, "kit").await, ["prod/kit", "prod/kit~1", "prod/kit~5"]);
    // A chain that heard of neither hears of the newest alone.
    assert_eq!(origins(&vault, "ida").await, ["prod/ida", "prod/ida~1"]);
    vault.verify_all().await;
    let numbers: Vec<u64> =
        report(&vault, "kit", Pins::default()).await.restores.iter().map(|seen| seen.number).collect();
    assert_eq!(numbers, [1, 5]);
}

#[tokio::test]
async fn two_vaults_out_of_one_backup_differ_and_a_witness_of_either_sees_it() {
    let (mut vault, _, file, _folder) = backed_up().await;
    vault.restore(&file, &vault.restoring()).await;
    let one = vault.lines(&ChainName::vault()).await;
    vault.restore(&file, &vault.restoring()).await;
    let two = vault.lines(&ChainName::vault()).await;
    let parts = one.iter().zip(&two).position(|(one, two)| one != two).unwrap();
    let entry = |lines: &[Vec<u8>]| serde_json::from_slice::<Value>(&lines[parts]).unwrap();
    let (one, two) = (entry(&one), entry(&two));
    assert_eq!((&one["kind"], &two["kind"]), (&json!("restore"), &json!("restore")));
    // The same origin, so that whoever keeps checkpoints of it can tell that there are two.
    assert_eq!((&one["origin"], &one["prev"]), (&two["origin"], &two["prev"]));
    assert_ne!(one["body"]["salt"], two["body"]["salt"]);
    assert_ne!(one["kid"], two["kid"]);
}

#[tokio::test]
async fn what_others_hold_of_the_lost_history_is_told_as_what_it_is() {
    let (mut vault, [mut kit, _], file, _folder) = backed_up().await;
    let early = kit.seen;
    let issued = vault.send(Rpc::RequestCredential, kit.issue("orders")).await;
    let nockvault::vault::answer::Outcome::Released(released) = issued else { panic!("it was refused") };
    let receipt = Receipt::keep(&released.into_envelope(), None).unwrap();
    kit.get(&vault, "orders").await;
    let checkpoint = vault.order(AuditCheckpoint { chain: "kit".parse().unwrap() }).await;
    let note = Kept::read(checkpoint["note"].as_str().unwrap()).unwrap();
    let lost = kit.seen;
    let lost_file = vault.file(&"kit".parse().unwrap()).await;

    vault.restore(&file, &vault.restoring()).await;
    settle(&vault).await;
    accepted(&mut kit);
    for _ in 0..8 {
        kit.get(&vault, "orders").await;
    }
    let newer = vault.order(AuditCheckpoint { chain: "kit".parse().unwrap() }).await;
    let newer = Kept::read(newer["note"].as_str().unwrap()).unwrap();
    assert!(newer.checkpoint().origin.ends_with("~1"));
    let now = kit.seen;

    let lost_to = async |pins: Pins, what: &str| match report(&vault, "kit", pins).await.verdict {
        Verdict::Lost { how, .. } => assert!(how.contains(what) && how.contains("restore"), "{how}"),
        other => panic!("{what}: {other}"),
    };
    lost_to(Pins { heads: vec![lost], ..Pins::default() }, "the state").await;
    lost_to(Pins { receipts: vec![receipt.clone()], ..Pins::default() }, "the receipt").await;
    lost_to(Pins { checkpoints: vec![note.clone()], ..Pins::default() }, "the checkpoint").await;
    for held in
        [Pins { heads: vec![early, now], ..Pins::default() }, Pins { checkpoints: vec![newer], ..Pins::default() }]
    {
        let told = report(&vault, "kit", held).await;
        assert_eq!(told.verdict, Verdict::Intact, "{told}");
        assert!(told.unproved.iter().any(|said| said.contains("BETWEEN A BACKUP AND ITS RESTORE")), "{told}");
    }
    // The lost chain itself holds all of that, and a false state of before the backup is still what it is.
    let pins =
        Pins { identity: Some(vault.identity.clone()), heads: vec![lost], checkpoints: vec![note], ..Pins::default() };
    let told = verify(lost_file.as_slice(), &pins).unwrap();
    assert_eq!(told.verdict, Verdict::Intact, "{told}");
    let early = Seen { size: 2, ..early };
    let told = report(&vault, "kit", Pins { heads: vec![early], ..Pins::default() }).await;
    assert!(matches!(told.verdict, Verdict::Tampered { fault: Fault::Head, .. }), "{told}");
}

#[tokio::test]
async fn what_is_not_the_whole_backup_of_this_vault_becomes_nothing() {
    let (vault, _, file, folder) = backed_up().await;
    let whole = fs::read(&file).unwrap();
    for secret in [VALUE, b"orders", b"own_keys", b"kit"] {
        assert!(!whole.windows(secret.len()).any(|part| part == secret), "the backup shows {secret:?}");
    }
    let bad = folder.path().join("bad.backup");
    let data = vault.data().with_file_name("never");
    let refused = |bytes: &[u8]| {
        fs::write(&bad, bytes).unwrap();
        let fault = vault.restore_to("never", &bad, &vault.restoring()).unwrap_err();
        assert!(!data.exists(), "something was written for {fault}");
        fault
    };
    for cut in (0..whole.len()).step_by(whole.len() / 7) {
        refused(&whole[..cut]);
    }
    assert!(matches!(refused(&whole[..whole.len() - 1]), RestoreFault::Backup(BackupFault::Cut)));
    for at in (0..whole.len()).step_by(whole.len() / 13) {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        refused(&changed);
    }
    assert!(matches!(
        refused(b"no backup at all, but long enough to be one"),
        RestoreFault::Backup(BackupFault::NotOurs)
    ));

    let other = Harness::new().await;
    let wrong = vault.restore_to("never", &file, &other.restoring()).unwrap_err();
    assert!(matches!(wrong, RestoreFault::Backup(BackupFault::OtherVault { .. })), "{wrong}");
    let key = RootKey::generate(&OsEntropy);
    let open = fs::File::open(&file).unwrap();
    let wrong = Sqlite::restore(&data, &key, open, &vault.restoring(), Arc::new(OsEntropy)).unwrap_err();
    assert!(matches!(wrong, RestoreFault::Backup(BackupFault::WrongRoot)), "{wrong}");
    let over = vault.restore_to("data", &file, &vault.restoring()).unwrap_err();
    assert!(matches!(over, RestoreFault::Store(OpenFault::Exists(_))), "{over}");
    assert!(!data.exists());
}

#[tokio::test]
async fn a_rehearsal_touches_no_backend_and_never_becomes_the_real_vault() {
    let (mut vault, [mut kit, _], file, folder) = backed_up().await;
    kit.get(&vault, "far").await;
    vault.restore(&file, &Restoring { rehearsal: true, ..vault.restoring() }).await;
    settle(&vault).await;
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles().len(), 2, "production's credentials were taken away");
    accepted(&mut kit);
    kit.get(&vault, "orders").await;
    vault.reopen().await;
    vault.vault().sweep().await;
    assert_eq!(vault.far.handles().len(), 2);
    assert_eq!(vault.order(nockvault::statement::status::StatusRead {}).await["rehearsal"], true);

    let again = folder.path().join("rehearsal.backup");
    vault.back_up(&again).await;
    let real = vault.restore_to("real", &again, &vault.restoring()).map(drop).unwrap_err();
    assert!(matches!(real, RestoreFault::OfRehearsal), "{real}");
    vault.restore(&again, &Restoring { rehearsal: true, ..vault.restoring() }).await;
    settle(&vault).await;
    assert_eq!(vault.order(nockvault::statement::status::StatusRead {}).await["rehearsal"], true);
}

#[tokio::test]
async fn a_clock_that_was_ahead_when_the_backup_was_made_is_put_back_before_or_after() {
    // Restored where the clock is right: the vault gives nothing until it is reset, and says both in every chain.
    let vault = Harness::with(rules()).await;
    vault.kv_role("orders", VALUE).await;
    let (mut kit, ida) = (vault.agent("kit").await, vault.agent("ida").await);
    for agent in [&kit, &ida] {
        vault.grant(&agent.name, "orders", terms()).await;
    }
    let began = vault.clock.now();
    vault.clock.set(began.plus(Seconds(86_400 * 30)));
    kit.get(&vault, "orders").await;
    let folder = tempfile::tempdir().unwrap();
    let files = [folder.path().join("ahead"), folder.path().join("reset")];
    vault.back_up(&files[0]).await;
    vault.clock.set(began.plus(Seconds(60)));
    vault.order(ClockReset {}).await;
    vault.clock.advance(Seconds(301));
    vault.vault().tend_once().await;
    vault.back_up(&files[1]).await;
    let mut vault = vault;
    for (file, reset_after) in [(&files[0], true), (&files[1], false)] {
        vault.restore(file, &vault.restoring()).await;
        if reset_after {
            vault.order(ClockReset {}).await;
        }
        settle(&vault).await;
        for agent in [&mut kit, &mut ida.again()] {
            accepted(agent);
            agent.new_session(if reset_after { "one" } else { "two" });
            agent.get(&vault, "orders").await;
        }
        vault.verify_all().await;
        assert!(vault.vault().inspect().await.quarantined.is_empty());
    }
}

#[tokio::test]
async fn what_was_frozen_in_the_backup_is_frozen_after_it_and_thawed_by_command_alone() {
    let (mut vault, [mut kit, mut ida], _, folder) = backed_up().await;
    vault.order(AgentFreeze { agent: kit.name.clone(), reason: None }).await;
    vault.order(RoleFreeze { role: "far".parse().unwrap(), reason: Purpose::default() }).await;
    vault.order(VaultFreeze { reason: Purpose::default() }).await;
    let file = folder.path().join("frozen.backup");
    vault.back_up(&file).await;
    // Thawed after the backup: what the restored vault knows is of before.
    vault.order(VaultThaw {}).await;
    vault.restore(&file, &vault.restoring()).await;
    settle(&vault).await;

    for agent in [&mut kit, &mut ida] {
        accepted(agent);
    }
    assert_eq!(vault.refuses(&ida.issue("orders")).await, Reason::VaultFrozen);
    vault.order(VaultThaw {}).await;
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::AgentFrozen);
    assert_eq!(vault.refuses(&ida.issue("far")).await, Reason::RoleFrozen);
    ida.get(&vault, "orders").await;
    vault.order(AgentThaw { agent: kit.name.clone() }).await;
    vault.order(RoleThaw { role: "far".parse().unwrap() }).await;
    kit.get(&vault, "far").await;
    vault.verify_all().await;
}
