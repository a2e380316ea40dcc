//! Ends that somebody or something works against: a command that comes while a mint is under way, a clock that is set
//! back.

use std::time::Duration;

use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd, AgentThaw};
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::lease::{LeaseRevoke, Renew, Scope};
use nockvault::statement::status::StatusRead;
use nockvault::time::{Seconds, Timestamp};
use serde_json::json;

use super::support::agent::Rpc;
use super::{kinds, world};

/// What was asked for before the command is taken back, also where its backend is still making it.
#[tokio::test]
async fn a_command_reaches_what_is_under_way() {
    let scopes: [fn() -> Scope; 3] =
        [|| Scope::All, || Scope::Agent("kit".parse().unwrap()), || Scope::Role("far".parse().unwrap())];
    for scope in scopes {
        let (vault, kit) = world().await;
        vault.far.takes(Duration::from_millis(400));
        let sent = async { vault.issued(&kit.issue("far")).await };
        let commanded = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            vault.order(LeaseRevoke { reason: None, scope: scope() }).await;
            assert_eq!(vault.order(StatusRead {}).await["revoking"], json!(1), "{:?}", scope());
        };
        let (issued, ()) = tokio::join!(sent, commanded);
        vault.far.takes(Duration::ZERO);
        vault.vault().tend_once().await;
        assert_eq!(vault.lease(&issued.hdr.lease).await.state, State::Revoked, "{:?}", scope());
        assert_eq!(vault.order(StatusRead {}).await["revoking"], json!(0));
        vault.vault().undo_once().await;
        assert!(vault.far.handles().is_empty());
        vault.verify_all().await;
    }
}

#[tokio::test]
async fn one_lease_is_taken_back_while_it_is_under_way() {
    let (vault, kit) = world().await;
    vault.far.takes(Duration::from_millis(400));
    let sent = async { vault.issued(&kit.issue("far")).await };
    let commanded = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let id = vault.all_leases().await.remove(0).id;
        vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(id) }).await;
    };
    let (issued, ()) = tokio::join!(sent, commanded);
    vault.vault().tend_once().await;
    assert_eq!(vault.lease(&issued.hdr.lease).await.state, State::Revoked);
}

/// An intent was begun before the command that finds it, also where the clock was put back in between and dates it later;
/// and what is asked for after the command is not meant by it, though it be dated before the intent.
#[tokio::test]
async fn a_clock_that_steps_back_hides_no_intent_from_a_command() {
    let scopes: [fn() -> Scope; 3] =
        [|| Scope::All, || Scope::Agent("kit".parse().unwrap()), || Scope::Role("far".parse().unwrap())];
    for scope in scopes {
        let (vault, mut kit) = world().await;
        kit.hello(&vault).await;
        vault.clock.advance(Seconds(10));
        vault.far.takes(Duration::from_millis(400));
        let (first, second) = (kit.issue("far"), kit.issue("far"));
        let commanded = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            assert_eq!(vault.all_leases().await[0].state, State::Intended);
            vault.clock.set(vault.clock_now().minus(Seconds(2)));
            assert_eq!(vault.order(LeaseRevoke { reason: None, scope: scope() }).await["leases"], json!(0));
            assert_eq!(vault.order(StatusRead {}).await["revoking"], json!(1), "{:?}", scope());
            vault.clock.advance(Seconds(1));
            vault.issued(&second).await
        };
        let (meant, later) = tokio::join!(vault.issued(&first), commanded);
        assert!(later.hdr.iat < meant.hdr.iat);
        for _ in 0..2 {
            vault.vault().tend_once().await;
        }
        assert_eq!(vault.lease(&meant.hdr.lease).await.state, State::Revoked, "{:?}", scope());
        assert_eq!(vault.lease(&later.hdr.lease).await.state, State::Live, "{:?}", scope());
        assert_eq!(vault.order(StatusRead {}).await["revoking"], json!(0));
        vault.far.takes(Duration::ZERO);
        vault.vault().undo_once().await;
        assert_eq!(vault.far.handles(), [nockvault::id::handle(&kit.name, &later.hdr.lease)]);
        vault.verify_all().await;
    }
}

/// Freezing takes back in the same way, also where it is lifted before the credential is there.
#[tokio::test]
async fn a_clock_that_steps_back_hides_no_intent_from_a_freeze() {
    let (vault, kit) = world().await;
    // Later than any entry.
    vault.clock.advance(Seconds(10));
    vault.far.takes(Duration::from_millis(400));
    let sent = async { vault.issued(&kit.issue("far")).await };
    let commanded = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        vault.clock.set(vault.clock_now().minus(Seconds(2)));
        vault.order(AgentFreeze { reason: None, agent: kit.name.clone() }).await;
        vault.order(AgentThaw { agent: kit.name.clone() }).await;
    };
    let (issued, ()) = tokio::join!(sent, commanded);
    vault.vault().tend_once().await;
    assert_eq!(vault.lease(&issued.hdr.lease).await.state, State::Revoked);
    vault.verify_all().await;
}

/// A renewal lasts as long from now as was asked for, though its entry be dated later; and it comes before the end of
/// its lease for those who read the chain.
#[tokio::test]
async fn a_renewal_by_a_chain_that_is_ahead_lasts_no_longer() {
    let (vault, mut kit) = world().await;
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(240)));
    kit.hello(&vault).await;
    vault.clock.set(began.plus(Seconds(1)));
    let lease = kit.get(&vault, "far").await.hdr.lease;
    let now = vault.clock_now();
    assert_eq!(kit.renew(&vault, &lease, 60).await.exp, now.plus(Seconds(60)));
    let again = kit.signed(Renew { lease: lease.clone(), ttl: Seconds(60) });
    assert_eq!(vault.refusal(Rpc::RenewLease, again).await.reason, Reason::LeaseEnded);
    kit.release(&vault, &lease).await;
    assert_eq!(kinds(&vault.chain_of(&kit.name).await).last(), Some(&"release"));
    vault.verify_all().await;
}

/// An entry is never older than the one before it; a backend is told at once.
#[tokio::test]
async fn a_clock_that_was_set_back_delays_no_revocation() {
    let (vault, mut kit) = world().await;
    let issued = kit.get(&vault, "far").await;
    let now = vault.clock_now();
    vault.clock.set(Timestamp(now.0 - 3_600_000));
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(issued.hdr.lease) }).await;
    vault.vault().undo_once().await;
    assert!(vault.far.handles().is_empty(), "its backend waits until the clock has caught up");
    vault.clock.set(now.plus(Seconds(1)));
    vault.verify_all().await;
}

/// A verifier takes no command for the cause of what is later than it by more than the longest skew.
#[tokio::test]
async fn what_takes_leases_back_is_no_older_than_they_are_though_the_clock_is_behind() {
    for which in 0..4 {
        let (vault, mut kit) = world().await;
        let now = vault.clock_now();
        vault.clock.set(now.plus(Seconds(7200)));
        let issued = kit.get(&vault, "far").await;
        vault.clock.set(now);
        let (agent, role) = (kit.name.clone(), "far".parse().unwrap());
        match which {
            0 => vault.order(LeaseRevoke { reason: None, scope: Scope::All }).await,
            1 => vault.order(AgentFreeze { agent, reason: None }).await,
            2 => vault.order(GrantRevoke { agent, role }).await,
            _ => vault.order(AgentKeyEnd { agent, kid: None, suspect_from: None }).await,
        };
        vault.vault().undo_once().await;
        assert_eq!(vault.lease(&issued.hdr.lease).await.state, State::Revoked, "{which}");
        vault.clock.set(now.plus(Seconds(7201)));
        vault.verify_all().await;
    }
}
