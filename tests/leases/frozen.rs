//! One command freezes an agent: nothing it asks for is carried out, what it had is taken back, also by way of a restart;
//! thawed it begins anew. So it is with a role, and with everything; a session that is stopped is over for good.

use nockvault::denial::Reason::*;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd, AgentThaw};
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::issue::Purpose;
use nockvault::statement::lease::{LeaseRevoke, Release, Renew, Scope};
use nockvault::time::Seconds;
use serde_json::json;

use super::support::agent::Rpc;
use super::support::far::Temper;
use super::support::terms;
use nockvault::store::Store as _;

use super::{kinds, world};

#[tokio::test]
async fn a_frozen_agent_has_nothing_and_gets_nothing_until_it_is_thawed() {
    let (mut vault, mut kit) = world().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    let issued = kit.get(&vault, "far").await;
    ada.get(&vault, "far").await;
    let done = vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await;
    assert_eq!(done["leases"], json!(1));
    vault.vault().undo_once().await;
    assert_eq!(vault.far.handles().len(), 1, "the other agent's credential stays");
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen);
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen);
    let release = kit.signed(Release::Lease(issued.hdr.lease.clone()));
    assert_eq!(vault.refusal(Rpc::ReleaseLease, release).await.reason, AgentFrozen);
    vault.reopen().await;
    assert_eq!(vault.refuses(&kit.issue("far")).await, AgentFrozen, "it is frozen after a restart");
    assert!(ada.get(&vault, "far").await.hdr.agent == ada.name);

    vault.order(AgentThaw { agent: kit.name.clone() }).await;
    let again = vault.order_refused(AgentThaw { agent: kit.name.clone() }).await;
    assert_eq!(again.reason, NotFound);
    kit.get(&vault, "far").await;
    let chain = vault.chain_of(&kit.name).await;
    let told = kinds(&chain);
    let from = told.iter().position(|kind| *kind == "freeze").unwrap();
    assert_eq!(told[from..], ["freeze", "revoke", "undone", "deny", "deny", "deny", "deny", "thaw", "issue"]);
    vault.verify_all().await;
}

#[tokio::test]
async fn what_was_under_way_when_its_agent_was_frozen_does_not_come_alive() {
    let (vault, mut kit) = world().await;
    kit.get(&vault, "far").await;
    vault.far.takes(std::time::Duration::from_millis(300));
    let asked = kit.issue("far");
    let (answer, ()) = tokio::join!(vault.refuses(&asked), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await;
    });
    assert_eq!(answer, AgentFrozen);
    vault.far.takes(std::time::Duration::ZERO);
    vault.after(3600).await;
    assert!(vault.far.handles().is_empty());
    vault.verify_all().await;
}

#[tokio::test]
async fn freezing_goes_on_where_a_backend_is_away_and_where_there_are_many_leases() {
    let (mut vault, mut kit) = world().await;
    for _ in 0..120 {
        kit.get(&vault, "far").await;
    }
    vault.far.temper(Temper::Away);
    assert_eq!(vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await["leases"], json!(120));
    vault.reopen().await;
    vault.far.temper(Temper::Well);
    vault.after(60).await;
    assert!(vault.far.handles().is_empty());
    // An agent that is frozen can be frozen again, and its keys can be ended.
    vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await;
    vault.order(AgentKeyEnd { agent: kit.name.clone(), kid: None, suspect_from: None }).await;
    assert_eq!(vault.refusal(Rpc::RequestCredential, kit.issue("far")).await.reason, KeyRetired);
    vault.verify_all().await;
}

fn reason() -> Purpose {
    "keys seen on a forum".to_owned().try_into().unwrap()
}

#[tokio::test]
async fn while_everything_is_frozen_nobody_has_or_gets_anything() {
    let (mut vault, mut kit) = world().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    let issued = kit.get(&vault, "far").await;
    ada.get(&vault, "far").await;
    let done = vault.order(VaultFreeze { reason: reason() }).await;
    assert_eq!(done["leases"], json!(2));
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    for _ in 0..2 {
        for agent in [&mut kit, &mut ada] {
            assert_eq!(vault.refuses(&agent.issue("far")).await, VaultFrozen);
        }
        let renew = kit.signed(Renew { lease: issued.hdr.lease.clone(), ttl: Seconds(0) });
        assert_eq!(vault.refusal(Rpc::RenewLease, renew).await.reason, VaultFrozen);
        vault.reopen().await;
    }
    // Operators go on; what they give serves nobody yet.
    let mut new = vault.agent("new").await;
    vault.grant(&new.name, "far", terms()).await;
    assert_eq!(vault.refuses(&new.issue("far")).await, VaultFrozen);
    let denied = kit.issue("far");
    assert_eq!(vault.refuses(&denied).await, VaultFrozen);

    vault.order(VaultThaw {}).await;
    assert_eq!(vault.order_refused(VaultThaw {}).await.reason, NotFound);
    assert_eq!(vault.refuses(&denied).await, Replay, "what was refused meanwhile does not come alive");
    for agent in [&mut kit, &mut ada, &mut new] {
        agent.get(&vault, "far").await;
    }
    let told: Vec<_> = vault.entries(&"_vault".parse().unwrap()).await;
    let told = kinds(&told);
    assert_eq!(told.iter().filter(|kind| ["freeze", "thaw"].contains(*kind)).count(), 2);
    vault.verify_all().await;
}

#[tokio::test]
async fn a_frozen_role_is_had_by_nobody_and_others_go_on() {
    let (mut vault, mut kit) = world().await;
    vault.kv_role("near", b"a value").await;
    vault.grant(&kit.name, "near", terms()).await;
    let far = kit.get(&vault, "far").await;
    kit.get(&vault, "near").await;
    let role: nockvault::id::RoleName = "far".parse().unwrap();
    let freeze = RoleFreeze { reason: reason(), role: role.clone() };
    assert_eq!(vault.order(freeze.clone()).await["leases"], json!(1));
    let unknown = RoleFreeze { reason: reason(), role: "nothing".parse().unwrap() };
    assert_eq!(vault.order_refused(unknown).await.reason, NotFound);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    for _ in 0..2 {
        assert_eq!(vault.refuses(&kit.issue("far")).await, RoleFrozen);
        kit.get(&vault, "near").await;
        vault.reopen().await;
    }
    let renew = kit.signed(Renew { lease: far.hdr.lease.clone(), ttl: Seconds(0) });
    assert_eq!(vault.refusal(Rpc::RenewLease, renew).await.reason, RoleFrozen);
    vault.order(freeze).await;
    vault.order(RoleThaw { role: role.clone() }).await;
    assert_eq!(vault.order_refused(RoleThaw { role }).await.reason, NotFound);
    kit.get(&vault, "far").await;
    vault.verify_all().await;
}

#[tokio::test]
async fn what_was_under_way_when_all_or_its_role_was_frozen_does_not_come_alive() {
    for all in [true, false] {
        let (vault, kit) = world().await;
        vault.far.takes(std::time::Duration::from_millis(300));
        let asked = kit.issue("far");
        let (answer, ()) = tokio::join!(vault.refuses(&asked), async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            if all {
                vault.order(VaultFreeze { reason: reason() }).await;
            } else {
                vault.order(RoleFreeze { reason: reason(), role: "far".parse().unwrap() }).await;
            }
        });
        assert_eq!(answer, if all { VaultFrozen } else { RoleFrozen });
        vault.far.takes(std::time::Duration::ZERO);
        vault.after(3600).await;
        assert!(vault.far.handles().is_empty());
        vault.verify_all().await;
    }
}

#[tokio::test]
async fn all_that_lives_is_taken_back_in_parts_also_by_way_of_a_restart() {
    let (mut vault, mut kit) = world().await;
    for _ in 0..120 {
        kit.get(&vault, "far").await;
    }
    assert_eq!(vault.order(VaultFreeze { reason: reason() }).await["leases"], json!(120));
    vault.reopen().await;
    vault.after(60).await;
    assert!(vault.far.handles().is_empty());
    let census = vault.sqlite().census().await.unwrap();
    assert_eq!((census.frozen, census.leases, census.revoking), (true, 0, 0));
    vault.verify_all().await;
}

/// A session is one process: it is ended, and its agent goes on in another.
#[tokio::test]
async fn a_session_that_is_stopped_is_over() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    let scope = Scope::Session(kit.name.clone(), issued.hdr.sid.clone());
    assert_eq!(vault.order(LeaseRevoke { reason: None, scope }).await["leases"], json!(1));
    assert_eq!(vault.refuses(&kit.issue("far")).await, SessionEnded);
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty());
    kit.new_session("another");
    kit.get(&vault, "far").await;
    vault.verify_all().await;
}

/// Whoever writes the database file lifts no freeze: not of a vault that runs, and one that begins finds it.
#[tokio::test]
async fn no_row_that_is_changed_or_gone_thaws_anything() {
    let forgeries = [
        "DELETE FROM freezes",
        "DELETE FROM freezes WHERE role = ''",
        "DELETE FROM freezes WHERE role = 'far'",
        "UPDATE freezes SET role = 'other' WHERE role = 'far'",
        "UPDATE freezes SET seq = seq - 1 WHERE role = ''",
    ];
    for sql in forgeries {
        let (mut vault, kit) = world().await;
        vault.order(RoleFreeze { reason: reason(), role: "far".parse().unwrap() }).await;
        vault.order(VaultFreeze { reason: reason() }).await;
        let database = vault.database();
        database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        assert!(database.execute(sql, []).unwrap() > 0, "{sql}");
        drop(database);
        assert_eq!(vault.refuses(&kit.issue("far")).await, VaultFrozen, "{sql}");
        vault.shut();
        if vault.try_reopen_under(super::support::rules()).await.is_ok() {
            let refused = vault.refuses(&kit.issue("far")).await;
            let quarantined = vault.sqlite().census().await.unwrap().quarantined;
            assert!(!quarantined.is_empty(), "{sql}: nothing was found, and it refused with {refused:?}");
        }
    }
}

/// Freezing again, also with the clock behind and after what was asked for meanwhile, changes nothing but what is taken
/// back; one thaw is enough, and a role stays frozen for itself.
#[tokio::test]
async fn frozen_twice_is_thawed_once_also_by_a_clock_that_is_behind() {
    let (mut vault, mut kit) = world().await;
    let freeze = RoleFreeze { reason: reason(), role: "far".parse().unwrap() };
    let now = vault.clock_now();
    for back in [0, 100_000, 200_000] {
        vault.clock.set(nockvault::time::Timestamp(now.0 - back));
        vault.order(VaultFreeze { reason: reason() }).await;
        vault.order(freeze.clone()).await;
        assert_eq!(vault.refuses(&kit.issue("far")).await, VaultFrozen);
    }
    vault.reopen().await;
    vault.order(VaultThaw {}).await;
    assert_eq!(vault.refuses(&kit.issue("far")).await, RoleFrozen);
    assert_eq!(vault.order_refused(VaultThaw {}).await.reason, NotFound);
    vault.order(RoleThaw { role: freeze.role.clone() }).await;
    kit.get(&vault, "far").await;
    vault.clock.set(now.plus(Seconds(10)));
    kit.get(&vault, "far").await;
    vault.verify_all().await;
}

/// A large freeze goes on over many restarts in the middle of it, and nothing is ended twice.
#[tokio::test]
async fn a_large_freeze_survives_restarts_in_the_middle_of_it() {
    let (mut vault, mut kit) = world().await;
    vault.kv_role("near", b"a value").await;
    vault.grant(&kit.name, "near", terms()).await;
    for _ in 0..330 {
        kit.get(&vault, "near").await;
    }
    assert_eq!(vault.order(VaultFreeze { reason: reason() }).await["leases"], json!(330));
    for _ in 0..3 {
        vault.sqlite().end_due(50).await.unwrap();
        vault.reopen().await;
        assert_eq!(vault.refuses(&kit.issue("near")).await, VaultFrozen);
    }
    vault.vault().tend_once().await;
    let census = vault.sqlite().census().await.unwrap();
    assert_eq!((census.leases, census.revoking), (0, 0));
    let chain = vault.chain_of(&kit.name).await;
    assert_eq!(kinds(&chain).iter().filter(|kind| **kind == "revoke").count(), 330);
    vault.verify_all().await;
}
