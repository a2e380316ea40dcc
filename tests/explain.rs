//! `explain` says of a request what the vault would say to it. Thousands of requests in states drawn at random are
//! explained first and sent then, and the two agree, reason by reason and limit by limit; and explaining changes nothing.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nockvault::authz::Peer;
use nockvault::statement::agent::{AgentFreeze, AgentKeyEnd, AgentThaw};
use nockvault::statement::explain::{Explain, NewGrant, Supposed};
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Rate, Terms};
use nockvault::statement::issue::Issue;
use nockvault::statement::reply::Issued;
use nockvault::store::Rules;
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::answer::Outcome;
use serde_json::{Map, Value, json};

use support::agent::{Agent, Rpc};
use support::far::Temper;
use support::{HERE, Harness, rules, terms};

fn supposed(agent: &str, role: &str) -> Supposed {
    Supposed {
        agent: agent.parse().unwrap(),
        role: role.parse().unwrap(),
        ttl: Seconds(0),
        params: Map::new(),
        from: None,
        at: None,
        sid: None,
        probe: false,
    }
}

async fn explained(vault: &Harness, wanted: Supposed) -> Map<String, Value> {
    vault.order(Explain::Request(wanted)).await
}

fn check<'a>(told: &'a Map<String, Value>, name: &str) -> &'a Value {
    let rows = told["checks"].as_array().unwrap();
    rows.iter().find(|row| row["check"] == name).unwrap_or_else(|| panic!("no check {name} in {rows:?}"))
}

/// The checks that say no.
fn no(told: &Map<String, Value>) -> Vec<&str> {
    let rows = told["checks"].as_array().unwrap().iter();
    rows.filter(|row| row["outcome"] == "no").map(|row| row["check"].as_str().unwrap()).collect()
}

async fn small() -> Harness {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"hunter2").await;
    vault
}

// --- what it says

#[tokio::test]
async fn every_check_has_its_name_and_stands_in_the_order_of_the_protocol() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!(told["verdict"], "issued", "{told:?}");
    let names: Vec<&str> =
        told["checks"].as_array().unwrap().iter().map(|row| row["check"].as_str().unwrap()).collect();
    let wanted = "registered key window vault_thawed agent_thawed session grant role_thawed grant_until session_name \
                  address ttl session_time uses rate engine params probe secret_life nonces clock sessions leases commit";
    assert_eq!(names.join(" "), wanted);
    assert_eq!(no(&told), Vec::<&str>::new());
    assert_eq!(told["expires"], json!(vault.clock_now().plus(Seconds(300))));
}

#[tokio::test]
async fn it_changes_nothing_but_the_nonce_of_the_question() {
    let vault = small().await;
    vault.role("far", "far", json!({})).await;
    let mut kit = vault.agent("kit").await;
    let mut few = terms();
    (few.max_uses, few.rate) = (Some(1), Some(Rate { count: 1, per: Seconds(60) }));
    vault.grant(&kit.name, "orders", few.clone()).await;
    vault.grant(&kit.name, "far", terms()).await;
    let before = vault.picture();
    for _ in 0..3 {
        for role in ["orders", "far"] {
            assert_eq!(explained(&vault, supposed("kit", role)).await["verdict"], "issued");
        }
        let grant = GrantCreate { agent: kit.name.clone(), role: "orders".parse().unwrap(), terms: terms() };
        vault.order(Explain::Grant(NewGrant { grant, probe: true })).await;
        let revoke = GrantRevoke { agent: kit.name.clone(), role: "orders".parse().unwrap() };
        assert_eq!(vault.order(Explain::Revoke(revoke)).await["verdict"], "done");
    }
    assert_eq!(before.changed(&vault.picture()).join(" "), "nonces nonces_live");
    // The one use that there is was not spent.
    kit.get(&vault, "orders").await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!((&told["reason"], &told["limit"]), (&json!("grant_exhausted"), &json!(1)));
    assert_eq!(no(&told), ["uses", "rate"], "what stands behind the first refusal is told too");
    assert_eq!((&check(&told, "uses")["found"], &check(&told, "uses")["limit"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn what_to_do_is_told_with_the_command_to_type() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    let told = explained(&vault, supposed("max", "orders")).await;
    assert_eq!(no(&told), ["registered"]);
    assert!(told["do"].as_str().unwrap().contains("vaultctl agent register max.register"), "{told:?}");
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!((&told["reason"], &told["do"]), (&json!("no_grant"), &json!("vaultctl grant kit orders --ttl 15m")));
    let told = explained(&vault, supposed("kit", "reports")).await;
    assert!(told["do"].as_str().unwrap().starts_with("vaultctl role create reports"), "{told:?}");
    vault.grant(&kit.name, "orders", terms()).await;
    vault.order(AgentFreeze { agent: kit.name.clone(), reason: Default::default() }).await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!((&told["reason"], &told["do"]), (&json!("agent_frozen"), &json!("vaultctl thaw kit")));
    vault.order(AgentThaw { agent: kit.name.clone() }).await;
    let told = explained(&vault, Supposed { ttl: Seconds(4000), ..supposed("kit", "orders") }).await;
    assert_eq!((&told["reason"], &told["limit"]), (&json!("ttl_exceeds_grant"), &json!(3600)));
    let what = "ask for at most 1h, or vaultctl revoke kit orders (its leases end), then vaultctl grant kit orders --ttl 15m \
                --max-ttl 4000s";
    assert_eq!(told["do"], what);
    vault.order(AgentKeyEnd { agent: kit.name.clone(), kid: None, suspect_from: None }).await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    let what = format!(
        "where the agent runs: vaultctl keygen --agent kit --follows {}/1 --dir next, then vaultctl agent rotate kit \
         next/kit.register",
        kit.key.kid()
    );
    assert_eq!((&told["reason"], &told["do"]), (&json!("key_retired"), &json!(what)));
}

#[tokio::test]
async fn what_the_question_leaves_open_fits_the_grant() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    let mut narrow = terms();
    (narrow.session, narrow.from) = (Some("nightly-*".parse().unwrap()), vec!["10.1.0.0/16".parse().unwrap()]);
    vault.grant(&kit.name, "orders", narrow).await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!(
        (&told["verdict"], &told["new_session"], &told["from"]),
        (&json!("issued"), &json!(true), &json!("10.1.0.0"))
    );
    assert!(told["sid"].as_str().unwrap().starts_with("nightly-"));
    let sid = Some("daily".parse().unwrap());
    assert_eq!(explained(&vault, Supposed { sid, ..supposed("kit", "orders") }).await["reason"], "session_not_granted");
    let from = Some("10.2.0.1".parse().unwrap());
    assert_eq!(
        explained(&vault, Supposed { from, ..supposed("kit", "orders") }).await["reason"],
        "address_not_granted"
    );
}

#[tokio::test]
async fn another_time_is_judged_as_that_time() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    let now = vault.clock_now();
    let until = Some(now.plus(Seconds(1000)));
    vault.grant(&kit.name, "orders", Terms { until, ..terms() }).await;
    let at = |seconds| Supposed { at: Some(now.plus(Seconds(seconds))), ..supposed("kit", "orders") };
    assert_eq!(explained(&vault, at(999)).await["expires"], json!(until));
    assert_eq!(explained(&vault, at(1000)).await["reason"], "grant_expired");

    // Earlier, too, though by now nothing of that time is taken any more.
    let mut kit = kit;
    kit.get(&vault, "orders").await;
    vault.clock.advance(Seconds(900));
    vault.vault().tend_once().await;
    assert_ne!(check(&explained(&vault, at(1)).await, "window")["outcome"], "no");
}

#[tokio::test]
async fn the_backend_is_asked_only_where_that_is_wanted() {
    let vault = Harness::new().await;
    vault.role("far", "far", json!({})).await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "far", terms()).await;
    let told = explained(&vault, supposed("kit", "far")).await;
    assert_eq!((&told["verdict"], &check(&told, "probe")["outcome"]), (&json!("issued"), &json!("open")));
    let told = explained(&vault, Supposed { probe: true, ..supposed("kit", "far") }).await;
    assert_eq!(check(&told, "probe")["outcome"], "ok", "{told:?}");
    // What was asked is not advised.
    vault.far.temper(Temper::Away);
    let told = explained(&vault, Supposed { probe: true, ..supposed("kit", "far") }).await;
    assert_eq!(told["do"], "look at the backend; the check says what it answered", "{told:?}");
}

// --- orders

#[tokio::test]
async fn a_grant_is_foretold_with_what_a_request_under_it_would_get() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    let ask = |role: &str, terms: Terms| {
        let grant = GrantCreate { agent: kit.name.clone(), role: role.parse().unwrap(), terms };
        Explain::Grant(NewGrant { grant, probe: false })
    };
    let told = vault.order(ask("orders", terms())).await;
    assert_eq!((&told["verdict"], &told["present"], &told["grant"]), (&json!("done"), &Value::Null, &json!(1)));
    assert_eq!(told["request"]["verdict"], "issued");
    assert_eq!(check(told["request"].as_object().unwrap(), "grant")["found"], json!(1));
    assert_eq!(told["request"]["expires"], json!(vault.clock_now().plus(Seconds(300))));
    let done =
        vault.order(GrantCreate { agent: kit.name.clone(), role: "orders".parse().unwrap(), terms: terms() }).await;
    assert_eq!(done["grant"], told["grant"], "what was foretold is what came");

    let told = vault.order(ask("orders", Terms { ttl: Seconds(60), ..terms() })).await;
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("refused"), &json!("already_exists")));
    assert_eq!((&told["present"]["ttl"], &told["terms"]["ttl"]), (&json!(300), &json!(60)));
    let told = vault.order(ask("reports", terms())).await;
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("refused"), &json!("not_found")));

    let past = ask("reports", Terms { until: Some(Timestamp(1)), ..terms() });
    assert_eq!(vault.order_refused(past).await.reason.code(), "bad_terms");
}

#[tokio::test]
async fn the_end_of_a_grant_is_foretold_with_the_leases_that_end() {
    let vault = small().await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(kit.get(&vault, "orders").await.hdr.lease.to_string());
    }
    let revoke = GrantRevoke { agent: kit.name.clone(), role: "orders".parse().unwrap() };
    let told = vault.order(Explain::Revoke(revoke.clone())).await;
    let mut ends: Vec<String> =
        told["ends"].as_array().unwrap().iter().map(|lease| lease["lease"].as_str().unwrap().to_owned()).collect();
    ends.sort();
    leases.sort();
    assert_eq!((told["leases"].as_u64(), ends), (Some(3), leases));
    assert_eq!(vault.order(revoke.clone()).await["leases"], told["leases"]);
    assert_eq!(vault.order(Explain::Revoke(revoke)).await["reason"], "not_found");
}

// --- it agrees with what is done

/// What a request from here is told, beside what was explained of it.
async fn agrees(vault: &Harness, kit: &Agent, reason: &str) {
    let wanted = Supposed { sid: Some(kit.sid.clone()), ..supposed(kit.name.as_str(), "orders") };
    let told = explained(vault, wanted).await;
    let refused = vault.refusal(Rpc::RequestCredential, kit.issue("orders")).await;
    let said = (told["reason"].as_str(), told["limit"].as_u64());
    assert_eq!(said, (Some(refused.reason.code()), refused.denial.limit), "{told:#?}");
    assert_eq!(refused.reason.code(), reason);
}

#[tokio::test]
async fn full_nonces_are_foretold() {
    let vault = Harness::with(Rules { nonces_per_key: 30, ..rules() }).await;
    vault.kv_role("orders", b"hunter2").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    for _ in 0..30 {
        kit.get(&vault, "orders").await;
    }
    agrees(&vault, &kit, "nonces_full").await;
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!((no(&told), &check(&told, "nonces")["found"]), (vec!["nonces"], &json!(30)));
}

#[tokio::test]
async fn a_clock_that_is_behind_is_foretold() {
    let vault = small().await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    vault.clock.advance(Seconds(10_000));
    kit.get(&vault, "orders").await;
    kit.new_session("another");
    vault.clock.set(Timestamp(vault.clock_now().0 - 600_000));
    agrees(&vault, &kit, "clock_behind").await;
}

#[tokio::test]
async fn a_value_that_ends_is_foretold() {
    let vault = small().await;
    let kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    let (mut command, sealed) = vault.put_command("orders", b"hunter3");
    command.body.expires = Some(vault.clock_now().plus(Seconds(100)));
    let envelope = vault.operator.sign(&command);
    let req = envelope.digest();
    let stored = vault.operate(nockvault::vault::operate::Call::SecretPut, envelope, Some(sealed)).await;
    vault.released::<nockvault::statement::reply::Executed>(stored, req);
    let told = explained(&vault, supposed("kit", "orders")).await;
    assert_eq!(told["expires"], json!(vault.clock_now().plus(Seconds(100))));
    let told = explained(&vault, Supposed { ttl: Seconds(200), ..supposed("kit", "orders") }).await;
    assert_eq!((&told["reason"], &told["limit"]), (&json!("secret_expired"), &json!(100)));
    vault.clock.advance(Seconds(100));
    agrees(&vault, &kit, "secret_expired").await;
}

/// How long the drawn requests may take, beyond the least that there are.
const TIME: Duration = Duration::from_secs(60);
const LEAST: usize = 2000;
const MOST: usize = 5000;

fn tight() -> Rules {
    Rules {
        sessions_per_agent: 3,
        leases_per_agent: 6,
        session_idle: Seconds(600),
        session_max: Seconds(900),
        nonces_per_key: 1_000_000,
        ..rules()
    }
}

/// SplitMix64: the same draws for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// Once in `n`.
    fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }
}

fn drawn_terms(dice: &mut Dice, now: Timestamp) -> Terms {
    let ttl = 1 + dice.below(600);
    Terms {
        ttl: Seconds(ttl),
        max_ttl: Seconds(ttl + dice.below(600)),
        max_uses: dice.once_in(3).then(|| 1 + dice.below(5)),
        until: dice.once_in(3).then(|| now.plus(Seconds(1 + dice.below(900)))),
        session: dice.once_in(4).then(|| "n*".parse().unwrap()),
        from: if dice.once_in(4) { vec!["10.0.0.0/8".parse().unwrap()] } else { Vec::new() },
        rate: dice.once_in(3).then(|| Rate { count: 1 + dice.below(3), per: Seconds(10 + dice.below(110)) }),
    }
}

const ROLES: [&str; 4] = ["orders", "gone", "far", "jwt"];

/// Changes something that decides.
async fn stir(vault: &Harness, agents: &[Agent], dice: &mut Dice) {
    let agent = dice.of(agents).name.clone();
    let role = *dice.of(&ROLES);
    let named = || role.parse().unwrap();
    let store = vault.vault().store();
    let (known, _) = store.agent(&agent).await.unwrap().unwrap();
    let frozen_role = store.role(&named()).await.unwrap().unwrap().frozen;
    let frozen = store.census().await.unwrap().frozen;
    match dice.below(16) {
        0 if !known.frozen => drop(vault.order(AgentFreeze { agent, reason: Default::default() }).await),
        0..=2 if known.frozen => drop(vault.order(AgentThaw { agent }).await),
        3 if !frozen_role => drop(vault.order(RoleFreeze { reason: Default::default(), role: named() }).await),
        3..=5 if frozen_role => drop(vault.order(RoleThaw { role: named() }).await),
        6 if !frozen && dice.once_in(3) => drop(vault.order(VaultFreeze { reason: Default::default() }).await),
        6..=9 if frozen => drop(vault.order(VaultThaw {}).await),
        10 if dice.once_in(12) && known.keys.iter().any(|key| key.ended.is_none()) => {
            vault.order(AgentKeyEnd { agent, kid: None, suspect_from: None }).await;
        }
        11 if known.grants.iter().any(|grant| grant.role.as_str() == role) => vault.ungrant(&agent, role).await,
        11..=13 if known.grants.iter().all(|grant| grant.role.as_str() != role) => {
            vault.grant(&agent, role, drawn_terms(dice, vault.clock_now())).await;
        }
        14 => vault.vault().tend_once().await,
        _ => vault.clock.advance(Seconds(dice.below(90))),
    }
}

/// A request at random, and the question about it.
fn drawn(agent: &mut Agent, dice: &mut Dice, now: Timestamp) -> (Issue, Peer, Supposed) {
    if dice.once_in(4) {
        // Names come and go with the hours, so that some are over and some are not.
        let names = ["n1", "n2", "n3", "day", "work"];
        agent.sid = format!("{}-{}", dice.of(&names), now.0 / 1_800_000).parse().unwrap();
    }
    let mut issue = agent.issue_body(dice.of::<&str>(&ROLES));
    if dice.once_in(3) {
        issue.ttl = Seconds(1 + dice.below(1300));
    }
    if dice.once_in(12) {
        issue.params.insert("surprise".into(), json!(1));
    }
    let from: Option<IpAddr> = match dice.below(3) {
        0 => Some("10.2.3.4".parse().unwrap()),
        1 => Some("192.0.2.1".parse().unwrap()),
        _ => None,
    };
    let peer = from.map_or(HERE, Peer::Tcp);
    let wanted = Supposed {
        agent: agent.name.clone(),
        role: issue.role.clone(),
        ttl: issue.ttl,
        params: issue.params.clone(),
        from: Some(peer.address()),
        at: None,
        sid: Some(agent.sid.clone()),
        probe: true,
    };
    (issue, peer, wanted)
}

/// Explains a request, sends it, and holds the one against the other. Gives what came of it.
async fn held_against(vault: &Harness, agent: &mut Agent, (issue, peer, wanted): (Issue, Peer, Supposed)) -> String {
    let told = explained(vault, wanted.clone()).await;
    let envelope = agent.signed(issue);
    let req = envelope.digest();
    let outcome = vault.send_from(Rpc::RequestCredential, envelope, peer).await;
    let (verdict, reason, limit) = match &outcome {
        Outcome::Released(_) => ("issued", None, None),
        Outcome::Refused(refused) => ("denied", Some(refused.denial.reason.code()), refused.denial.limit),
    };
    let said = (told["verdict"].as_str().unwrap(), told["reason"].as_str(), told["limit"].as_u64());
    assert_eq!(said, (verdict, reason, limit), "{wanted:?}\n{told:#?}\n{outcome:?}");
    let Outcome::Released(_) = outcome else { return reason.unwrap().to_owned() };
    let issued: Issued = vault.released(outcome, req);
    assert_eq!(told["expires"], json!(issued.hdr.exp), "{wanted:?}");
    agent.keep(issued.entry);
    verdict.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_explained_is_what_a_request_gets() {
    let vault = Harness::with(tight()).await;
    vault.kv_role("orders", b"hunter2").await;
    vault.role("gone", "kv", json!({"secret": "nothing-there"})).await;
    vault.role("far", "far", json!({})).await;
    vault.role("jwt", "jwt", json!({"audience": ["https://a.example"]})).await;
    let mut agents = Vec::new();
    for name in ["ada", "kit", "max"] {
        agents.push(vault.agent(name).await);
    }
    let seed = std::env::var("NOCKVAULT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("seed {seed}");
    let (mut dice, began, mut met) = (Dice(seed), Instant::now(), BTreeMap::<String, usize>::new());
    for number in 0..MOST {
        if number >= LEAST && began.elapsed() > TIME {
            break;
        }
        for _ in 0..dice.below(3) {
            stir(&vault, &agents, &mut dice).await;
        }
        vault.far.temper(*dice.of(&[Temper::Well, Temper::Well, Temper::Well, Temper::Refusing, Temper::Away]));
        let who = dice.below(agents.len() as u64) as usize;
        let request = drawn(&mut agents[who], &mut dice, vault.clock_now());
        let came = held_against(&vault, &mut agents[who], request).await;
        if came == "key_retired" {
            // An agent whose keys are ended asks no more; another takes its place.
            agents[who] = vault.agent(&format!("agent{number}")).await;
        }
        *met.entry(came).or_default() += 1;
    }
    println!("{:?} for {met:?}", began.elapsed());
    let all = "address_not_granted agent_frozen engine_refused engine_unavailable grant_exhausted grant_expired issued \
               key_retired lease_limit no_grant params_refused rate_limited role_frozen secret_missing session_ended \
               session_limit session_not_granted ttl_exceeds_grant ttl_exceeds_session vault_frozen";
    let missed: Vec<&str> = all.split_whitespace().filter(|reason| !met.contains_key(*reason)).collect();
    assert!(missed.is_empty(), "never met: {missed:?}; met: {met:?}");
}
