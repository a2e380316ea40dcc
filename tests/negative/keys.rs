//! Keys past their end, keys to come, and successors that nobody named.

use nockvault::denial::Reason::{self, *};
use nockvault::statement::register::Holder;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::time::{Seconds, Timestamp};
use serde_json::json;

use crate::stage::Leaves::*;
use crate::stage::Stage;
use crate::support::agent::{Agent, Rpc, copy};
use crate::support::{Harness, new_key, terms};

/// An agent that has rotated once, and itself as it was before.
async fn rotated() -> (Harness, Agent, Agent) {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut agent = vault.agent("kit").await;
    vault.grant(&agent.name, "orders", terms()).await;
    let (old, rotated) = agent.rotate(&vault).await;
    assert_eq!((rotated.kver, rotated.grace), (2, vault.clock_now().plus(vault.rules.key_overlap)));
    let mut before = Agent::new("kit", old, agent.form, &agent.aud, &agent.clock);
    before.seen = agent.seen;
    before.new_session("before");
    (vault, agent, before)
}

async fn refused_unchanged(vault: &Harness, agent: &Agent, wanted: Reason) {
    let before = vault.picture();
    assert_eq!(vault.refuses(&agent.issue("orders")).await, wanted);
    assert_eq!(before, vault.picture(), "{wanted} left something");
}

#[tokio::test]
async fn an_old_key_is_taken_until_its_grace_ends_and_not_after() {
    let (vault, mut agent, mut before) = rotated().await;
    before.get(&vault, "orders").await;
    vault.clock.set(Timestamp(vault.clock_now().plus(vault.rules.key_overlap).0 - 1));
    before.get(&vault, "orders").await;
    vault.clock.set(Timestamp(vault.clock_now().0 + 1));
    refused_unchanged(&vault, &before, KeyRetired).await;
    agent.seen = before.seen;
    agent.get(&vault, "orders").await;

    // A key that is past its end names no successor and ends no session either.
    let envelope = before.signed(before.rotation(&new_key()));
    assert_eq!(vault.refusal(Rpc::RotateKey, envelope).await.reason, KeyRetired);
}

#[tokio::test]
async fn a_key_that_an_operator_ended_is_over_at_once() {
    let (mut vault, agent, before) = rotated().await;
    vault.end_key(&agent.name, before.key.kid()).await;
    refused_unchanged(&vault, &before, KeyRetired).await;
    vault.end_key(&agent.name, agent.key.kid()).await;
    refused_unchanged(&vault, &agent, KeyRetired).await;
    vault.reopen().await;
    refused_unchanged(&vault, &agent, KeyRetired).await;
    vault.clock.set(Timestamp(vault.clock_now().0 - 60_000));
    refused_unchanged(&vault, &agent, KeyRetired).await;
}

#[tokio::test]
async fn a_kver_is_its_keys_own() {
    let (vault, agent, before) = rotated().await;
    for (signer, kver) in [(&agent, 1), (&agent, 3), (&before, 2)] {
        let mut request = signer.request(signer.issue_body("orders"));
        request.common.kver = kver;
        assert_eq!(vault.refuses(&signer.sign(&request)).await, WrongKey);
    }
    for (signer, kid) in [(&agent, before.key.kid()), (&before, agent.key.kid())] {
        let mut request = signer.request(signer.issue_body("orders"));
        request.common.kid = kid;
        assert_eq!(vault.refuses(&signer.sign(&request)).await, WrongKey);
    }
}

#[tokio::test]
async fn a_successor_is_the_next_key_of_the_same_agent_and_proved() {
    let stage = Stage::set().await;
    let kit = &stage.kit;
    let next = new_key();
    let proper = nockvault::statement::register::Register {
        kver: 2,
        prev: Some(kit.key.kid()),
        pk: next.public(),
        ..kit.register_statement()
    };
    let other_vault = format!("nv1:{}", nockvault::crypto::hash::Digest::of(b"other"));
    let old = Timestamp(proper.iat.0 - 30 * 86_400_000 - 1);
    let young = proper.iat.plus(Seconds(301));
    let by_next = |register: nockvault::statement::register::Register| register.sign(&next);
    let cases = [
        ("a kver left out", by_next(with(&proper, |r| r.kver = 3)), BadSuccessor),
        ("another's name", by_next(with(&proper, |r| r.holder = Holder::Agent("ada".parse().unwrap()))), BadSuccessor),
        (
            "an operator's name",
            by_next(with(&proper, |r| r.holder = Holder::Operator("kit".parse().unwrap()))),
            BadSuccessor,
        ),
        ("after another key", by_next(with(&proper, |r| r.prev = Some(stage.ada.key.kid()))), BadSuccessor),
        ("for another vault", by_next(with(&proper, |r| r.aud = other_vault.parse().unwrap())), WrongVault),
        ("31 days old", by_next(with(&proper, |r| r.iat = old)), BadProof),
        ("from the future", by_next(with(&proper, |r| r.iat = young)), BadProof),
        ("proved by the old key", proper.sign(&kit.key), BadProof),
        ("proved by a third key", proper.sign(&new_key()), BadProof),
    ];
    for (name, new, wanted) in cases {
        stage.judge_at(Rpc::RotateKey, name, kit.signed(RotateKey { new }), wanted, Denial).await;
    }
    // Its own key again, and a key that another agent has.
    let again = by_key(&proper, &kit.key);
    stage.judge_at(Rpc::RotateKey, "its own key", kit.signed(RotateKey { new: again }), KeyKnown, Denial).await;
    let taken = by_key(&proper, &stage.ada.key);
    stage.judge_at(Rpc::RotateKey, "another's key", kit.signed(RotateKey { new: taken }), KeyKnown, Denial).await;
    let mut forked = kit.request(RotateKey { new: by_next(proper.clone()) });
    forked.common.seen.size += 1;
    stage.judge_at(Rpc::RotateKey, "on a fork", kit.sign(&forked), HistoryMismatch, Denial).await;
    let mut text = serde_json::to_value(kit.request(RotateKey { new: by_next(proper.clone()) })).unwrap();
    text["new"]["payload"]["kid"] = json!(kit.key.kid());
    stage.judge_at(Rpc::RotateKey, "a changed statement", kit.sign(&text), BadProof, Denial).await;
}

#[tokio::test]
async fn an_old_key_in_its_grace_names_no_second_successor() {
    let (vault, mut agent, before) = rotated().await;
    let refusal = vault.refusal(Rpc::RotateKey, before.signed(before.rotation(&new_key()))).await;
    assert_eq!(refusal.reason, BadSuccessor);
    // Of two successors that the same key names at once, one comes in.
    let kinds = |agent: &Agent, key| agent.signed(agent.rotation(key));
    let (one, two) = (new_key(), new_key());
    let (one, two) = (kinds(&agent, &one), kinds(&agent, &two));
    let (first, second) = tokio::join!(vault.send(Rpc::RotateKey, one), vault.send(Rpc::RotateKey, two));
    let released = |outcome| matches!(outcome, nockvault::vault::answer::Outcome::Released(_));
    assert_eq!([released(first), released(second)].iter().filter(|done| **done).count(), 1);
    agent.new_session("other");
    agent.get(&vault, "orders").await;
}

fn with(
    register: &nockvault::statement::register::Register,
    change: impl FnOnce(&mut nockvault::statement::register::Register),
) -> nockvault::statement::register::Register {
    let mut changed = register.clone();
    change(&mut changed);
    changed
}

fn by_key(
    register: &nockvault::statement::register::Register,
    key: &nockvault::crypto::signature::SigningKey,
) -> nockvault::crypto::envelope::Embedded {
    with(register, |r| r.pk = key.public()).sign(&copy(key))
}
