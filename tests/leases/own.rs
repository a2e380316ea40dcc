//! A chain of the vault's own that does not verify: nothing is given any more, what was given ends all the same, and an
//! operator ends more of it.

use nockvault::id::ChainName;
use nockvault::statement::agent::AgentFreeze;
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::status::StatusRead;
use nockvault::store::Store as _;
use nockvault::vault::NotReady;

use super::*;

#[tokio::test]
async fn where_the_vaults_own_chain_is_set_aside_nothing_begins_and_everything_ends() {
    let (vault, mut kit) = world().await;
    vault.role("other", "far", serde_json::json!({})).await;
    let mut ada = vault.agent("ada").await;
    for role in ["far", "other"] {
        vault.grant(&ada.name, role, terms()).await;
    }
    let (expires, revoked) = (kit.get(&vault, "far").await, ada.get(&vault, "far").await);
    let ungranted = ada.get(&vault, "other").await;
    vault.sqlite().quarantine(&ChainName::vault(), "a test");
    assert_eq!(vault.vault().ready(), Err(NotReady::Quarantined));
    assert_eq!(vault.refuses(&kit.issue("far")).await, Quarantined);

    // What gives something is refused; what ends something is carried out, and can be watched.
    let role = RoleCreate { role: "new".parse().unwrap(), engine: "far".to_owned(), config: Default::default() };
    assert_eq!(vault.order_refused(role).await.reason, Quarantined);
    assert_eq!(vault.order(StatusRead {}).await["name"], "prod");
    vault.order(LeaseRevoke { reason: None, scope: Scope::Lease(revoked.hdr.lease.clone()) }).await;
    vault.order(GrantRevoke { agent: ada.name.clone(), role: "other".parse().unwrap() }).await;
    vault.order(AgentFreeze { agent: ada.name.clone(), reason: None }).await;
    vault.clock.advance(Seconds(700));
    vault.vault().tend_once().await;
    vault.vault().undo_once().await;
    for (lease, state) in [(expires, State::Expired), (revoked, State::Revoked), (ungranted, State::Revoked)]
        .map(|(one, s)| (one.hdr.lease, s))
    {
        assert_eq!(vault.lease(&lease).await.state, state);
    }
    assert!(vault.far.handles().is_empty());
}
