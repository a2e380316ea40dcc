//! The doctor's rows, each by breaking exactly what it looks at in a real vault: that row turns and no other.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use nockvault::statement::agent::AgentFreeze;
use nockvault::statement::doctor::DoctorRead;
use nockvault::statement::freeze::{RoleFreeze, VaultFreeze};
use nockvault::store::{Rules, Store as _};
use nockvault::telemetry::Telemetry;
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value, json};

use support::far::Temper;
use support::{Harness, rules, terms};

const DAY: Seconds = Seconds(86_400);

/// Every row there is, by its name.
async fn rows(vault: &Harness) -> BTreeMap<String, Map<String, Value>> {
    let told = vault.order(DoctorRead { probe: true }).await;
    let rows = told["checks"].as_array().unwrap().iter().map(|row| row.as_object().unwrap().clone());
    rows.map(|row| (row["check"].as_str().unwrap().to_owned(), row)).collect()
}

async fn states(vault: &Harness) -> BTreeMap<String, String> {
    let rows = rows(vault).await;
    rows.into_iter().map(|(name, row)| (name, row["state"].as_str().unwrap().to_owned())).collect()
}

/// The rows that are not what they were.
async fn turned(vault: &Harness, before: &BTreeMap<String, String>) -> Vec<String> {
    let after = states(vault).await;
    let differ = after.iter().filter(|(name, state)| before.get(*name) != Some(*state));
    differ.map(|(name, state)| format!("{name} {state}")).collect()
}

/// A vault with an agent, a role of each kind and a backup of today.
async fn well() -> Harness {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"hunter2").await;
    vault.role("far", "far", json!({})).await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    let file = vault.data().parent().unwrap().join("a.backup");
    vault.back_up(&file).await;
    vault
}

#[tokio::test]
async fn every_row_has_its_name_and_a_word_on_what_to_do_where_it_is_not_well() {
    let vault = well().await;
    let rows = rows(&vault).await;
    let names: Vec<&str> = rows.keys().map(String::as_str).collect();
    let wanted = "agent_keys agents_without_grants authorities backends backup by_custody checkpoints clock custody database disk files \
                  frozen grants_endless grants_over grants_unused limits operator_keys operators quarantined reserve restored \
                  roles_frozen roles_without_tls rules stuck_leases vault_certificates";
    assert_eq!(names.join(" "), wanted);
    for (name, row) in &rows {
        assert_eq!(row["do"].is_null(), row["state"] == "ok", "{name}: {row:?}");
        assert!(!row["found"].as_str().unwrap().is_empty(), "{name}");
    }
    let not_well: Vec<&str> =
        rows.values().filter(|row| row["state"] != "ok").map(|row| row["check"].as_str().unwrap()).collect();
    assert_eq!(not_well, ["custody", "operators"], "one way to the root key and one operator are too few");
}

#[tokio::test]
async fn it_changes_nothing_but_the_nonce_of_the_question_and_tells_no_secret() {
    let vault = well().await;
    let before = vault.picture();
    let told = vault.order(DoctorRead { probe: true }).await;
    assert_eq!(before.changed(&vault.picture()).join(" "), "nonces nonces_live");
    assert!(!Value::Object(told).to_string().contains("hunter2"));
}

#[tokio::test]
async fn a_clock_that_is_behind() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.clock.set(Timestamp(vault.clock_now().0 - 600_000));
    assert_eq!(turned(&vault, &before).await, ["clock bad"]);
}

#[tokio::test]
async fn a_file_that_is_open_to_others() {
    let vault = well().await;
    let before = states(&vault).await;
    let file = vault.data().join("vault.db");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(turned(&vault, &before).await, ["files bad"]);
    assert!(rows(&vault).await["files"]["found"].as_str().unwrap().contains("vault.db (0644)"));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(turned(&vault, &before).await.is_empty());
}

#[tokio::test]
async fn a_reserve_that_was_spent() {
    let vault = well().await;
    let before = states(&vault).await;
    std::fs::remove_file(vault.data().join("reserve")).unwrap();
    assert_eq!(turned(&vault, &before).await, ["reserve bad"]);
}

#[tokio::test]
async fn a_backend_that_is_down() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.far.temper(Temper::Away);
    assert_eq!(turned(&vault, &before).await, ["backends bad"]);
    assert!(rows(&vault).await["backends"]["found"].as_str().unwrap().contains("far: engine_unavailable"));
    // Who does not want backends to be asked is not told of them.
    let told = vault.order(DoctorRead { probe: false }).await;
    let backends = told["checks"].as_array().unwrap().iter().find(|row| row["check"] == "backends").unwrap();
    assert_eq!(backends["state"], "ok");
}

#[tokio::test]
async fn a_backend_that_never_answers_holds_nobody_up() {
    let vault = well().await;
    vault.far.temper(Temper::Silent);
    let began = std::time::Instant::now();
    assert_eq!(rows(&vault).await["backends"]["state"], "bad");
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_stored_value_that_is_gone_from_under_its_role() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.role("gone", "kv", json!({"secret": "nothing-there"})).await;
    assert_eq!(turned(&vault, &before).await, ["backends bad"]);
}

#[tokio::test]
async fn a_lease_that_its_backend_does_not_let_go() {
    let vault = well().await;
    let mut ada = vault.agent("ada").await;
    vault.grant(&ada.name, "far", terms()).await;
    let issued = ada.get(&vault, "far").await;
    let before = states(&vault).await;
    vault.far.cling_to(&vault.far.handles()[0]);
    ada.release(&vault, &issued.hdr.lease).await;
    vault.vault().undo_once().await;
    vault.clock.advance(Seconds(60));
    let turned = turned(&vault, &before).await;
    assert_eq!(turned, ["stuck_leases bad"]);
    assert!(rows(&vault).await["stuck_leases"]["found"].as_str().unwrap().contains("objects depend on it"));
}

#[tokio::test]
async fn a_backup_that_is_old_and_one_that_never_was() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.clock.advance(Seconds(8 * DAY.0));
    assert_eq!(turned(&vault, &before).await, ["backup warn"]);
    let never = Harness::new().await;
    assert_eq!(states(&never).await["backup"], "warn");
}

#[tokio::test]
async fn a_chain_that_was_set_aside() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.sqlite().quarantine(&"kit".parse().unwrap(), "a test");
    assert!(turned(&vault, &before).await.contains(&"quarantined bad".to_owned()));
}

#[tokio::test]
async fn what_is_frozen() {
    let vault = well().await;
    let before = states(&vault).await;
    vault.order(AgentFreeze { agent: "kit".parse().unwrap(), reason: Default::default() }).await;
    assert!(turned(&vault, &before).await.is_empty(), "one agent is no matter of the vault's health");
    vault.order(RoleFreeze { reason: Default::default(), role: "far".parse().unwrap() }).await;
    assert_eq!(turned(&vault, &before).await, ["roles_frozen warn"]);
    vault.order(VaultFreeze { reason: Default::default() }).await;
    assert_eq!(turned(&vault, &before).await, ["frozen warn", "roles_frozen warn"]);
}

#[tokio::test]
async fn certificates_that_are_about_to_end() {
    let vault = well().await;
    let mut met = Vec::new();
    for _ in 0..200 {
        vault.clock.advance(Seconds(5 * DAY.0));
        // Nothing tends the vault here, so nothing is renewed.
        let state = states(&vault).await["vault_certificates"].clone();
        if met.last() != Some(&state) {
            met.push(state);
        }
        if met.last().is_some_and(|state| state == "bad") {
            break;
        }
    }
    assert_eq!(met, ["ok", "warn", "bad"]);
}

#[tokio::test]
async fn grants_and_agents_that_nobody_uses_and_old_keys() {
    let vault = well().await;
    vault.agent("idle").await;
    let max = vault.agent("max").await;
    vault.grant(&max.name, "orders", terms()).await;
    let until = Some(vault.clock_now().plus(DAY));
    vault.grant(&max.name, "far", nockvault::statement::grant::Terms { until, ..terms() }).await;
    let before = states(&vault).await;
    vault.clock.advance(Seconds(2 * DAY.0));
    assert_eq!(turned(&vault, &before).await, ["grants_over warn"]);
    vault.clock.advance(Seconds(31 * DAY.0));
    let rows = rows(&vault).await;
    assert_eq!(rows["agents_without_grants"]["found"], "idle");
    assert_eq!(rows["grants_unused"]["found"], "max far, max orders");
    vault.clock.advance(Seconds(400 * DAY.0));
    let states = states(&vault).await;
    assert_eq!((states["agent_keys"].as_str(), states["operator_keys"].as_str()), ("warn", "warn"));
}

#[tokio::test]
async fn an_agent_that_comes_close_to_its_limit() {
    let vault = Harness::with(Rules { leases_per_agent: 5, ..rules() }).await;
    vault.kv_role("orders", b"hunter2").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    for _ in 0..3 {
        kit.get(&vault, "orders").await;
    }
    let before = states(&vault).await;
    kit.get(&vault, "orders").await;
    assert_eq!(turned(&vault, &before).await, ["limits warn"]);
    assert_eq!(rows(&vault).await["limits"]["found"], "kit: 4 of 5 leases");
}

#[tokio::test]
async fn what_stands_around_the_daemon() {
    let vault = well().await;
    let telemetry = Telemetry::new();
    vault.vault().observe(&telemetry);
    let mut before = states(&vault).await;
    let of = |states: &BTreeMap<String, String>| ["sinks", "tls", "walls"].map(|row| states[row].clone()).join(" ");
    assert_eq!(of(&before), "warn ok ok", "nobody outside has the trail");
    let mut step = async |after: &str| {
        let turned = turned(&vault, &before).await.join(", ");
        assert_eq!(turned, after);
        before = states(&vault).await;
    };
    telemetry.sink_well("mirror");
    step("sinks ok").await;
    telemetry.sink_lags("mirror", 10_001);
    step("sinks warn").await;
    telemetry.sink_failed("mirror");
    step("sinks bad").await;
    telemetry.sink_well("mirror");
    telemetry.sink_lags("mirror", 0);
    step("sinks ok").await;
    telemetry.sink_set_aside("mirror");
    step("sinks bad").await;

    let now = vault.clock_now();
    telemetry.certificate("tls", now.plus(Seconds(90 * DAY.0)));
    telemetry.certificate("tls_ca", now.plus(Seconds(900 * DAY.0)));
    step("").await;
    telemetry.certificate("tls", now.plus(Seconds(10 * DAY.0)));
    step("tls warn").await;
    telemetry.certificate("tls", now);
    step("tls bad").await;

    telemetry.wall("mlock", true);
    telemetry.wall("seccomp", true);
    step("").await;
    assert_eq!(rows(&vault).await["walls"]["found"], "mlock, seccomp");
    telemetry.wall("seccomp", false);
    step("walls warn").await;
    assert_eq!(rows(&vault).await["walls"]["found"], "not there: seccomp");
}
