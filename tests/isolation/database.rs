//! Who can write the database, and lacks the root key. Each forgery is tried twice: beside the running vault, and before
//! it begins anew. A copy of the folder is what a thief has who comes back with it.

use nockvault::crypto::signature::Form;
use nockvault::denial::Reason::{self, *};
use nockvault::vault::answer::Outcome;
use rusqlite::{Connection, params};

use crate::support::agent::{Agent, Rpc, copy};
use crate::support::{Harness, new_key, terms};

/// What the database says of this agent's chain.
fn chain_of(database: &Connection, agent: &str) -> i64 {
    database.query_row("SELECT chain FROM agents WHERE name = ?1", [agent], |row| row.get(0)).unwrap()
}

/// Changes rows as one who owns the file can: no constraint and no trigger stands in the way.
fn forge(vault: &Harness, sql: &str, values: impl rusqlite::Params) -> usize {
    let database = vault.database();
    database.pragma_update(None, "foreign_keys", false).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    database.execute(sql, values).unwrap()
}

/// Why a request for `role` is refused; none where a credential came.
async fn refusal(vault: &Harness, agent: &Agent, role: &str) -> Option<Reason> {
    match vault.send(Rpc::RequestCredential, agent.issue(role)).await {
        Outcome::Released(_) => None,
        Outcome::Refused(refused) => Some(refused.denial.reason),
    }
}

/// A vault with kit, who has `orders`, and ada, who has nothing; and `treasure`, which nobody has.
async fn vault() -> (Harness, Agent, Agent) {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    vault.kv_role("treasure", b"a treasure").await;
    let (mut kit, ada) = (vault.agent("kit").await, vault.agent("ada").await);
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    (vault, kit, ada)
}

/// Tries it beside the running vault and after a new start. Nothing may come of it, and kit is served where its own rows
/// are untouched.
async fn tried(vault: &mut Harness, who: &Agent, role: &str, allowed: &[Reason]) {
    for moment in ["beside the running vault", "after a new start"] {
        let refused = refusal(vault, who, role).await;
        let refused = refused.unwrap_or_else(|| panic!("{moment}: {role} was given to {}", who.name));
        assert!(allowed.contains(&refused), "{moment}: {refused}");
        vault.reopen().await;
    }
}

#[tokio::test]
async fn a_grant_written_into_the_database_is_not_honoured() {
    // For one who has grants: the row of the grant, copied and renamed.
    let (mut vault, kit, _) = vault().await;
    let sql = "INSERT INTO grants SELECT chain, 'treasure', terms, seq, since, mac FROM grants WHERE role = 'orders'";
    assert_eq!(forge(&vault, sql, []), 1);
    tried(&mut vault, &kit, "treasure", &[NoGrant, Quarantined]).await;

    // For one who has none: the same row, under the other's chain.
    let (mut vault, mut kit, ada) = self::vault().await;
    let chain = chain_of(&vault.database(), "ada");
    let sql = "INSERT INTO grants SELECT ?1, role, terms, seq, since, mac FROM grants WHERE role = 'orders'";
    assert_eq!(forge(&vault, sql, [chain]), 1);
    tried(&mut vault, &ada, "orders", &[NoGrant, Quarantined]).await;
    kit.get(&vault, "orders").await;

    // Moved instead of copied, so that the number of rows is right.
    let (mut vault, kit, _) = self::vault().await;
    let sql = "UPDATE grants SET role = 'treasure'";
    assert_eq!(forge(&vault, sql, []), 1);
    tried(&mut vault, &kit, "treasure", &[NoGrant, Quarantined]).await;
}

#[tokio::test]
async fn terms_changed_in_the_database_are_not_honoured() {
    let (mut vault, kit, _) = vault().await;
    let sql = "UPDATE grants SET terms = replace(terms, '\"max_ttl\":3600', '\"max_ttl\":9999999')";
    assert_eq!(forge(&vault, sql, []), 1);
    for _ in 0..2 {
        let mut request = kit.issue_value("orders");
        request["ttl"] = serde_json::json!(7000);
        let refused = vault.refuses(&kit.sign(&request)).await;
        assert!([TtlExceedsGrant, Quarantined].contains(&refused), "{refused}");
        vault.reopen().await;
    }
}

#[tokio::test]
async fn a_key_written_into_the_database_is_not_honoured() {
    let (mut vault, mut kit, ada) = vault().await;
    let thief = Agent::new("ada", new_key(), Form::Pae, &ada.aud, &ada.clock);
    let chain = chain_of(&vault.database(), "ada");
    let sql = "INSERT INTO keys (chain, holder, kid, kver, pk, form, since, grace, ended, mac)
               SELECT chain, holder, ?2, 2, ?3, form, since, NULL, NULL, mac FROM keys WHERE chain = ?1";
    assert_eq!(forge(&vault, sql, params![chain, thief.key.kid().as_str(), thief.key.public().to_bytes()]), 1);
    let mut second = Agent::new("ada", copy(&thief.key), Form::Pae, &ada.aud, &ada.clock);
    second.kver = 2;
    tried(&mut vault, &second, "orders", &[Unauthenticated, Quarantined]).await;
    kit.get(&vault, "orders").await;

    // In the place of the true one.
    let (mut vault, kit, _) = self::vault().await;
    let thief = Agent::new("kit", new_key(), Form::Pae, &kit.aud, &kit.clock);
    let sql = "UPDATE keys SET kid = ?1, pk = ?2 WHERE kid = ?3";
    let (new, old) = (thief.key.kid(), kit.key.kid());
    assert_eq!(forge(&vault, sql, params![new.as_str(), thief.key.public().to_bytes(), old.as_str()]), 1);
    tried(&mut vault, &thief, "orders", &[Unauthenticated, Quarantined]).await;
}

#[tokio::test]
async fn a_key_handed_to_another_agent_in_the_database_opens_nothing() {
    let (mut vault, kit, ada) = vault().await;
    let (hers, his) = (chain_of(&vault.database(), "ada"), chain_of(&vault.database(), "kit"));
    // Ada's true key, as a second key of kit's.
    let sql = "UPDATE keys SET chain = ?1, holder = 'kit', kver = 2 WHERE chain = ?2";
    assert_eq!(forge(&vault, sql, [his, hers]), 1);
    let mut as_kit = Agent::new("kit", copy(&ada.key), Form::Pae, &kit.aud, &kit.clock);
    as_kit.kver = 2;
    tried(&mut vault, &as_kit, "orders", &[Unauthenticated, WrongHolder, Quarantined]).await;
}

#[tokio::test]
async fn an_agent_written_into_the_database_is_not_honoured() {
    let (mut vault, mut kit, _) = vault().await;
    let thief = Agent::new("thief", new_key(), Form::Pae, &kit.aud, &kit.clock);
    let his = chain_of(&vault.database(), "kit");
    // Everything of kit's once more: chain, agent, key, grant and uses.
    let new = 1_000;
    forge(
        &vault,
        "INSERT INTO chains (id, name, size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac, tree, noted, due)
         SELECT ?2, 'thief', size, leaf, ts, kid, deciding, deciders, uses, sessions, leases, mac, tree, noted, due
         FROM chains WHERE id = ?1",
        [his, new],
    );
    forge(
        &vault,
        "INSERT INTO lines SELECT at + (?2 - ?1) * 4294967296, leaf, line FROM lines WHERE at / 4294967296 = ?1",
        [his, new],
    );
    forge(
        &vault,
        "INSERT INTO agents SELECT ?2, 'thief', 'thief', since, frozen, mac FROM agents WHERE chain = ?1",
        [his, new],
    );
    let sql = "INSERT INTO keys (chain, holder, kid, kver, pk, form, since, grace, ended, mac)
               SELECT ?2, 'thief', ?3, kver, ?4, form, since, grace, ended, mac FROM keys WHERE chain = ?1";
    forge(&vault, sql, params![his, new, thief.key.kid().as_str(), thief.key.public().to_bytes()]);
    forge(
        &vault,
        "INSERT INTO grants SELECT ?2, role, terms, seq, since, mac FROM grants WHERE chain = ?1",
        [his, new],
    );
    forge(&vault, "INSERT INTO uses SELECT ?2, seq, count, paced, mac FROM uses WHERE chain = ?1", [his, new]);
    tried(&mut vault, &thief, "orders", &[Unauthenticated, Quarantined]).await;
    kit.get(&vault, "orders").await;
    let census = vault.vault().store().census().await.unwrap();
    assert_eq!(census.quarantined, ["thief".parse().unwrap()], "the forged chain is named, and it alone");
}

#[tokio::test]
async fn an_old_grant_put_back_after_it_was_taken_back_is_not_honoured() {
    let (mut vault, mut kit, _) = vault().await;
    let rows = "CREATE TABLE kept AS SELECT * FROM grants";
    vault.database().execute(rows, []).unwrap();
    vault.database().execute("CREATE TABLE kept_uses AS SELECT * FROM uses", []).unwrap();
    vault.ungrant(&kit.name, "orders").await;
    assert_eq!(vault.refuses(&kit.issue("orders")).await, NoGrant);
    // The very rows that the vault wrote, MAC and all.
    assert_eq!(forge(&vault, "INSERT INTO grants SELECT * FROM kept", []), 1);
    forge(&vault, "INSERT INTO uses SELECT * FROM kept_uses", []);
    tried(&mut vault, &kit, "orders", &[NoGrant, Quarantined]).await;

    // With the chain's own row of that time, too; the newest line does not fit it.
    let (mut vault, other, _) = self::vault().await;
    kit = other;
    for table in ["grants", "uses", "chains"] {
        vault.database().execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}"), []).unwrap();
    }
    vault.ungrant(&kit.name, "orders").await;
    let his = chain_of(&vault.database(), "kit");
    forge(&vault, "INSERT INTO grants SELECT * FROM kept_grants", []);
    forge(&vault, "INSERT INTO uses SELECT * FROM kept_uses", []);
    forge(&vault, "DELETE FROM chains WHERE id = ?1", [his]);
    forge(&vault, "INSERT INTO chains SELECT * FROM kept_chains WHERE id = ?1", [his]);
    tried(&mut vault, &kit, "orders", &[NoGrant, Quarantined]).await;
}

#[tokio::test]
async fn an_ended_key_brought_back_to_life_is_not_honoured() {
    let (mut vault, kit, _) = vault().await;
    vault.database().execute("CREATE TABLE kept AS SELECT * FROM keys", []).unwrap();
    vault.end_key(&kit.name, kit.key.kid()).await;
    let sql = "UPDATE keys SET ended = NULL, mac = (SELECT kept.mac FROM kept WHERE kept.id = keys.id) WHERE kid = ?1";
    assert_eq!(forge(&vault, sql, [kit.key.kid().as_str()]), 1);
    tried(&mut vault, &kit, "orders", &[KeyRetired, Quarantined]).await;
}

#[tokio::test]
async fn uses_set_back_in_the_database_are_not_honoured() {
    let (mut vault, mut kit, _) = vault().await;
    vault.role("once", "kv", serde_json::json!({"secret": "orders"})).await;
    let once = nockvault::statement::grant::Terms { max_uses: Some(1), ..terms() };
    vault.grant(&kit.name, "once", once).await;
    vault.database().execute("CREATE TABLE kept AS SELECT * FROM uses", []).unwrap();
    kit.get(&vault, "once").await;
    forge(&vault, "DELETE FROM uses", []);
    forge(&vault, "INSERT INTO uses SELECT * FROM kept", []);
    tried(&mut vault, &kit, "once", &[GrantExhausted, Quarantined]).await;
}

#[tokio::test]
async fn a_role_turned_to_another_secret_is_not_honoured() {
    let (mut vault, kit, _) = vault().await;
    let sql = "UPDATE roles SET config = replace(config, 'orders', 'treasure') WHERE name = 'orders'";
    assert_eq!(forge(&vault, sql, []), 1);
    for moment in ["beside the running vault", "after a new start"] {
        if let Outcome::Released(released) = vault.send(Rpc::RequestCredential, kit.issue("orders")).await {
            let issued = serde_json::from_slice(&released.into_envelope().payload).unwrap();
            assert_eq!(kit.open(&issued)["value"], "a value", "{moment}");
        }
        vault.reopen().await;
    }
    assert_eq!(refusal(&vault, &kit, "orders").await, Some(Quarantined), "who decides is not known any more");
}

#[tokio::test]
async fn a_stored_value_moved_to_another_name_does_not_open() {
    let (mut vault, kit, _) = vault().await;
    let sql = "UPDATE secrets SET sealed = (SELECT sealed FROM secrets WHERE name = 'treasure') WHERE name = 'orders'";
    assert_eq!(forge(&vault, sql, []), 1);
    for _ in 0..2 {
        let refused = refusal(&vault, &kit, "orders").await;
        assert!(refused.is_some(), "a value opened in another's place");
        vault.reopen().await;
    }
}
