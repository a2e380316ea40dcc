//! Ends that somebody or something works against: a command that comes while a mint is under way, a clock that is set
//! back.

use std::time::Duration;

use nockvault::lease::State;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd};
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::status::StatusRead;
use nockvault::time::{Seconds, Timestamp};
use serde_json::json;

use super::world;

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
