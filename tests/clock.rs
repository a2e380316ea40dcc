//! The clock was ahead and was set right: the vault gives nothing until an operator resets the clock, and all that was of
//! the wrong time is behind it then.
#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::time::Duration;

use nockvault::denial::Reason;
use nockvault::lease::State;
use nockvault::rate;
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::clock::ClockReset;
use nockvault::statement::command::Page;
use nockvault::statement::grant::{Rate, Terms};
use nockvault::statement::lease::Which;
use nockvault::statement::operator::{Duty, OperatorRotate};
use nockvault::statement::status::StatusRead;
use nockvault::store::{Pace, Rules, Store as _};
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::NotReady;
use nockvault::vault::answer::Outcome;
use nockvault::vault::operate::Call;
use serde_json::Value;

use support::agent::{Agent, Rpc};
use support::{Harness, rules, terms};

const YEAR: Seconds = Seconds(365 * 86_400);

async fn entries(vault: &Harness, chain: &str) -> Vec<Value> {
    vault.entries(&chain.parse().unwrap()).await
}

async fn kinds(vault: &Harness, chain: &str) -> Vec<String> {
    entries(vault, chain).await.iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect()
}

async fn states(vault: &Harness) -> Vec<State> {
    let leases = vault.vault().store().leases(None, Which::All, &Page::first()).await.unwrap();
    leases.items.iter().map(|lease| lease.state).collect()
}

/// A vault whose agents `kit` and `ida` worked under a clock that was a year ahead, and which is right now; `max` was not
/// there.
async fn after_a_year_that_never_was(rules: Rules, terms: Terms) -> (Harness, [Agent; 3], Timestamp) {
    let vault = Harness::with(rules).await;
    vault.kv_role("orders", b"a value").await;
    let mut agents = [vault.agent("kit").await, vault.agent("ida").await, vault.agent("max").await];
    for agent in &agents {
        vault.grant(&agent.name, "orders", terms.clone()).await;
    }
    let began = vault.clock_now();
    vault.clock.set(began.plus(YEAR));
    vault.vault().tend_once().await;
    for agent in &mut agents[..2] {
        agent.get(&vault, "orders").await;
    }
    // Some of its nonces leave their window, and the floor rises.
    vault.clock.advance(Seconds(200));
    vault.vault().tend_once().await;
    vault.clock.set(began.plus(Seconds(60)));
    (vault, agents, began.plus(Seconds(60)))
}

/// An agent that begins anew with a session of its own, at the present time.
fn anew(mut agent: Agent) -> Agent {
    agent.new_session("anew");
    agent
}

#[tokio::test]
async fn after_a_reset_time_counts_anew_in_every_chain() {
    for restarts in [false, true] {
        let (mut vault, [kit, ida, max], now) = after_a_year_that_never_was(rules(), terms()).await;
        if restarts {
            vault.reopen().await;
        }
        assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::ClockBehind);
        let done = vault.order(ClockReset {}).await;
        assert_eq!((&done["floor"], &done["leases"]), (&now.plus(Seconds(300)).0.into(), &2.into()));
        assert_eq!(states(&vault).await, [State::Revoked, State::Revoked]);

        // The window must pass once: what was signed in it before may have been forgotten.
        let (mut kit, mut ida, mut max) = (anew(kit), anew(ida), anew(max));
        assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Stale);
        assert_eq!(vault.vault().ready(), Err(NotReady::Stale));
        vault.clock.set(now.plus(Seconds(301)));
        assert_eq!(vault.vault().ready(), Ok(()));
        for agent in [&mut kit, &mut ida, &mut max] {
            agent.get(&vault, "orders").await;
        }
        for chain in ["kit", "ida", "max", "_vault"] {
            let entries = entries(&vault, chain).await;
            let resets: Vec<&Value> = entries.iter().filter(|entry| entry["kind"] == "clock_reset").collect();
            let [reset] = resets[..] else { panic!("{chain}: {} resets", resets.len()) };
            assert!(reset["ts"].as_u64().unwrap() < now.plus(Seconds(302)).0, "{chain}");
            assert_eq!(reset["body"]["by"]["chain"], "_operators");
            let later = entries.iter().filter(|entry| entry["seq"].as_u64() > reset["seq"].as_u64());
            assert!(later.into_iter().all(|entry| entry["ts"].as_u64().unwrap() < now.plus(YEAR).0), "{chain}");
        }
        // `_operators` says so with its next entry.
        assert!(!kinds(&vault, "_operators").await.contains(&"clock_reset".to_owned()));
        vault.put_secret("orders", b"another value").await;
        assert!(kinds(&vault, "_operators").await.contains(&"clock_reset".to_owned()));
        vault.verify_all().await;

        // And so it stays.
        vault.reopen().await;
        kit.get(&vault, "orders").await;
        let kinds = kinds(&vault, "kit").await;
        assert_eq!(kinds.iter().filter(|kind| *kind == "clock_reset").count(), 1);
        assert!(vault.vault().inspect().await.quarantined.is_empty());
        vault.verify_all().await;
    }
}

#[tokio::test]
async fn sessions_of_the_wrong_time_are_over() {
    let (vault, [kit, ..], now) = after_a_year_that_never_was(rules(), terms()).await;
    vault.order(ClockReset {}).await;
    vault.clock.set(now.plus(Seconds(301)));
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::SessionEnded);
    assert_eq!(vault.sqlite().census().await.unwrap().sessions, 0);
    let ends = entries(&vault, "kit").await;
    let end = ends.iter().find(|entry| entry["kind"] == "session_end").expect("it was ended");
    assert_eq!((&end["body"]["reason"], &end["body"]["by"]["chain"]), (&"revoked".into(), &"_operators".into()));
    vault.verify_all().await;
}

#[tokio::test]
async fn much_that_was_given_ends_in_parts() {
    let (vault, [mut kit, ..], now) = after_a_year_that_never_was(rules(), terms()).await;
    vault.clock.set(now.plus(YEAR));
    for _ in 0..130 {
        kit.get(&vault, "orders").await;
    }
    vault.clock.set(now);
    assert_eq!(vault.order(ClockReset {}).await["leases"], 132);
    assert!(states(&vault).await.contains(&State::Live), "not all of it at once");
    vault.vault().tend_once().await;
    assert!(!states(&vault).await.contains(&State::Live));
    vault.verify_all().await;
}

#[tokio::test]
async fn a_rate_and_a_checkpoint_of_the_wrong_time_hold_up_nothing() {
    let slow = Terms { rate: Some(Rate { count: 1, per: Seconds(60) }), ..terms() };
    let pace = Pace { entries: 1000, after: Seconds(60) };
    let (vault, [kit, ..], now) = after_a_year_that_never_was(Rules { checkpoints: pace, ..rules() }, slow).await;
    vault.order(ClockReset {}).await;
    vault.clock.set(now.plus(Seconds(301)));
    let mut kit = anew(kit);
    kit.get(&vault, "orders").await;
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::RateLimited);
    vault.clock.advance(Seconds(61));
    vault.vault().tend_once().await;
    assert_eq!(kinds(&vault, "kit").await.last().unwrap(), "checkpoint");
    vault.verify_all().await;
}

#[tokio::test]
async fn a_clock_that_is_good_is_not_reset() {
    let vault = Harness::new().await;
    assert_eq!(vault.order_refused(ClockReset {}).await.reason, Reason::ClockGood);
    vault.clock.set(Timestamp(vault.clock_now().0 - 200_000));
    assert_eq!(vault.order_refused(ClockReset {}).await.reason, Reason::ClockGood, "within the window");
    vault.verify_all().await;
}

#[tokio::test]
async fn a_reset_is_taken_once_and_no_older_one_after_it() {
    let (vault, _, now) = after_a_year_that_never_was(rules(), terms()).await;
    let old = vault.operator.sign(&vault.operator.command(ClockReset {}));
    vault.clock.advance(Seconds(1));
    vault.order(ClockReset {}).await;
    // The clock goes wrong again, and right again.
    vault.clock.set(now.plus(YEAR));
    vault.vault().tend_once().await;
    vault.put_secret("orders", b"another value").await;
    vault.clock.set(now.plus(Seconds(2)));
    let req = old.digest();
    let refused = vault.operate(Call::ClockReset, old, None).await;
    assert_eq!(vault.refused(refused, req).reason, Reason::Stale);
    vault.order(ClockReset {}).await;
    vault.verify_all().await;
    let vault_chain = kinds(&vault, "_vault").await;
    assert_eq!(vault_chain.iter().filter(|kind| *kind == "clock_reset").count(), 2);
}

/// What was signed in the wrong time comes into its window again when that time truly comes, long after its nonce was
/// forgotten. The chain has kept it: it is a replay, and gets neither a lease nor an entry; and where the key that signed
/// it was ended meanwhile, that is what is said.
#[tokio::test]
async fn a_request_of_the_wrong_time_is_a_replay_when_that_time_comes() {
    for (ended, reason) in [(false, Reason::Replay), (true, Reason::KeyRetired)] {
        let (mut vault, [mut kit, ..], now) = after_a_year_that_never_was(rules(), terms()).await;
        vault.clock.set(now.plus(YEAR));
        kit.new_session("captured");
        let captured = kit.issue("orders");
        vault.issued(&captured).await;
        let denied = kit.issue("unknown");
        assert_eq!(vault.refuses(&denied).await, Reason::NoGrant);
        let signed = vault.clock_now();
        vault.clock.advance(Seconds(1000));
        vault.vault().tend_once().await;
        vault.clock.set(now);
        vault.order(ClockReset {}).await;
        if ended {
            vault.clock.set(now.plus(Seconds(301)));
            vault.end_key(&kit.name, kit.key.kid()).await;
        }
        vault.clock.set(signed);
        vault.reopen().await;
        let size = entries(&vault, "kit").await.len();
        for request in [&captured, &denied] {
            assert_eq!(vault.refuses(request).await, reason);
        }
        let live = states(&vault).await.into_iter().filter(|state| *state == State::Live).count();
        assert_eq!(live, 0);
        assert_eq!(entries(&vault, "kit").await.len(), size);
        vault.verify_all().await;
    }
}

/// A command of the wrong time is not carried out a second time either, nor after another reset between.
#[tokio::test]
async fn a_command_of_the_wrong_time_is_a_replay_when_that_time_comes() {
    for resets in [1, 2] {
        let (mut vault, [kit, ..], now) = after_a_year_that_never_was(rules(), terms()).await;
        vault.clock.set(now.plus(YEAR));
        let freeze =
            vault.operator.sign(&vault.operator.command(AgentFreeze { reason: None, agent: kit.name.clone() }));
        vault.operate(Call::AgentFreeze, freeze.clone(), None).await;
        vault.order(AgentThaw { agent: kit.name.clone() }).await;
        let signed = vault.clock_now();
        for reset in 0..resets {
            vault.clock.set(signed.plus(Seconds(1000)));
            vault.vault().tend_once().await;
            vault.clock.set(now.plus(Seconds(1 + reset)));
            vault.order(ClockReset {}).await;
            vault.clock.advance(Seconds(1));
        }
        vault.clock.set(signed);
        vault.reopen().await;
        vault.vault().tend_once().await;
        let size = entries(&vault, "_operators").await.len();
        let req = freeze.digest();
        let refused = vault.operate(Call::AgentFreeze, freeze, None).await;
        assert_eq!(vault.refused(refused, req).reason, Reason::Replay);
        assert_eq!(entries(&vault, "_operators").await.len(), size);
        vault.verify_all().await;
    }
}

/// Where the wrong time left more than is read with the command, the rest is read in parts. Until then an agent whose
/// chain was not read waits, and the others do not.
#[tokio::test]
async fn until_a_chain_was_read_its_agent_waits() {
    let (mut vault, [mut kit, ..], now) = after_a_year_that_never_was(rules(), terms()).await;
    vault.clock.set(now.plus(YEAR));
    let first = kit.issue("orders");
    vault.issued(&first).await;
    for _ in 0..250 {
        kit.get(&vault, "orders").await;
    }
    let last = kit.issue("orders");
    vault.issued(&last).await;
    vault.clock.advance(Seconds(1000));
    while vault.sqlite().end_due(50).await.unwrap().nonces > 0 {}
    vault.clock.set(now);
    vault.order(ClockReset {}).await;
    vault.clock.set(now.plus(Seconds(301)));
    let mut kit = anew(kit);
    assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::Stale);
    assert_eq!(vault.order_refused(AgentThaw { agent: kit.name.clone() }).await.reason, Reason::NotFound, "read first");
    // What is left of it outlasts a restart.
    vault.reopen().await;
    vault.vault().tend_once().await;
    kit.get(&vault, "orders").await;
    vault.clock.set(now.plus(YEAR));
    for request in [&first, &last] {
        assert_eq!(vault.refuses(request).await, Reason::Replay);
    }
    vault.verify_all().await;
}

#[tokio::test]
async fn a_key_that_was_ended_under_a_wrong_clock_is_ended() {
    let vault = Harness::with(rules()).await;
    vault.kv_role("orders", b"x").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(1200)));
    vault.end_key(&kit.name, kit.key.public().kid()).await;
    vault.clock.set(began.plus(Seconds(60)));
    vault.order(ClockReset {}).await;
    for ahead in [301, 1200] {
        vault.clock.advance(Seconds(ahead));
        vault.vault().tend_once().await;
        assert_eq!(vault.refuses(&kit.issue("orders")).await, Reason::KeyRetired, "after {ahead} s");
    }
}

/// The overlap of a key that was replaced in the wrong time begins with the reset. Nobody's becomes longer, and a key that
/// was ended stays so.
#[tokio::test]
async fn a_key_that_was_replaced_in_the_wrong_time_is_over_when_its_overlap_has_passed_once() {
    for restarts in [false, true] {
        let mut vault = Harness::with(rules()).await;
        vault.kv_role("orders", b"a value").await;
        let mut agents = [vault.agent("kit").await, vault.agent("ida").await, vault.agent("max").await];
        for agent in &agents {
            vault.grant(&agent.name, "orders", terms()).await;
        }
        let [kit, ida, max] = &mut agents;
        let mara = vault.hire("mara", Duty::Auditor).await;
        let began = vault.clock_now();
        let old_ida = replaced(ida, &vault).await;
        vault.clock.set(began.plus(YEAR));
        vault.vault().tend_once().await;
        let old_kit = replaced(kit, &vault).await;
        let old_max = replaced(max, &vault).await;
        vault.end_key(&max.name, old_max.key.kid()).await;
        let next = mara.next();
        vault.order_of(&mara, OperatorRotate { register: next.register_after(Some(mara.key.kid())) }).await;

        vault.clock.set(began.plus(Seconds(100)));
        if restarts {
            vault.reopen().await;
        }
        let further = kit.signed(kit.rotation(&support::new_key()));
        assert_eq!(vault.refusal(Rpc::RotateKey, further).await.reason, Reason::ClockBehind);
        vault.order(ClockReset {}).await;
        assert_eq!(kinds(&vault, "kit").await.last().unwrap(), "clock_reset", "a verifier counts from there");
        let over = vault.clock_now().plus(vault.rules.key_overlap);

        let (mut old_kit, old_ida, old_max) = (anew(old_kit), anew(old_ida), anew(old_max));
        vault.clock.set(began.plus(vault.rules.key_overlap));
        assert_eq!(vault.refuses(&old_ida.issue("orders")).await, Reason::KeyRetired, "it was given longer");
        assert_eq!(vault.refuses(&old_max.issue("orders")).await, Reason::KeyRetired, "it had been ended");
        vault.clock.set(Timestamp(over.0 - 1));
        old_kit.get(&vault, "orders").await;
        vault.order_of(&mara, StatusRead {}).await;
        vault.clock.set(over);
        for reopened in [false, true] {
            if reopened {
                vault.reopen().await;
            }
            assert_eq!(vault.refuses(&old_kit.issue("orders")).await, Reason::KeyRetired);
            assert_eq!(vault.refused_of(&mara, StatusRead {}).await.reason, Reason::KeyRetired);
        }
        kit.seen = old_kit.seen;
        kit.new_session("later");
        kit.get(&vault, "orders").await;
        vault.order_of(&next, StatusRead {}).await;
        vault.verify_all().await;
    }
}

/// Gives the agent its next key, and itself as it was before.
async fn replaced(agent: &mut Agent, vault: &Harness) -> Agent {
    let (key, _) = agent.rotate(vault).await;
    Agent { key, kver: agent.kver - 1, ..agent.again() }
}

/// How often an agent may ask is not counted by the clock that somebody sets.
#[tokio::test]
async fn a_clock_that_is_set_back_keeps_no_agent_waiting_longer() {
    let mut vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.hello(&vault).await;
    vault.agents.rate = rate::Rate::new(1, 2);
    vault.reopen().await;
    let mut asked = 0;
    let wait = loop {
        assert!(asked < 20, "it may ask as often as it wants");
        asked += 1;
        let Outcome::Refused(refused) = vault.send(Rpc::RequestCredential, kit.issue("orders")).await else { continue };
        assert_eq!(refused.denial.reason, Reason::RateLimited);
        break Duration::from_millis(refused.denial.retry_after_ms.unwrap());
    };
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    vault.clock.set(vault.clock_now().minus(Seconds(4)));
    tokio::time::sleep(wait).await;
    vault.issued(&kit.issue("orders")).await;
}
