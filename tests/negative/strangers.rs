//! A stranger learns no names. Whatever it gets wrong, the answer is the same to the byte, nothing is signed, and
//! nothing is written down.

use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::signature::{Form, Signature};
use nockvault::denial::Reason;
use nockvault::server::status;
use nockvault::vault::answer::Outcome;
use serde_json::json;

use crate::stage::Stage;
use crate::support::agent::{Agent, Rpc};
use crate::support::{Harness, new_key};

/// Everything that a peer sees of a refusal.
async fn answer(vault: &Harness, rpc: Rpc, envelope: Envelope) -> (i32, String, Vec<u8>) {
    match vault.send(rpc, envelope).await {
        Outcome::Refused(refused) => {
            assert!(refused.signed.is_none(), "a stranger gets the vault's signature");
            assert_eq!(refused.denial.reason, Reason::Unauthenticated);
            let status = status::refusal(&refused.denial, refused.signed);
            (i32::from(status.code()), status.message().to_owned(), status.details().to_vec())
        }
        Outcome::Released(_) => panic!("a stranger was served"),
    }
}

#[tokio::test]
async fn unknown_agents_unknown_keys_and_bad_signatures_get_one_answer() {
    let stage = Stage::set().await;
    let (vault, kit) = (&stage.vault, &stage.kit);
    let nobody = Agent::new("nobody", new_key(), Form::Pae, &kit.aud, &kit.clock);
    let pretender = Agent::new("kit", new_key(), Form::Pae, &kit.aud, &kit.clock);
    let good = kit.issue("orders");
    let hinted = |envelope: Envelope| Envelope { kid: good.kid.clone(), ..envelope };
    let sshsig = kit.key.sign(Form::Sshsig, &good.payload_type, &good.payload);

    let strangers = [
        ("an unknown agent", nobody.issue("orders")),
        ("an unknown key for a known agent", pretender.issue("orders")),
        ("an unknown key under a known hint", hinted(pretender.issue("orders"))),
        ("another agent's key under this one's hint", hinted(stage.ada.issue("orders"))),
        ("a zero signature", Envelope { signature: Signature::from_bytes([0; 64]), ..good.clone() }),
        ("a signature over something else", Envelope { signature: kit.issue("orders").signature, ..good.clone() }),
        ("a valid signature in another form", Envelope { signature: sshsig, ..good.clone() }),
        ("a kid that is none", Envelope { kid: "kit".into(), ..good.clone() }),
        ("no kid", Envelope { kid: String::new(), ..good.clone() }),
        ("a very long kid", Envelope { kid: "k".repeat(1 << 16), ..good.clone() }),
        ("garbage for a payload", hinted(pretender.sign_bytes(b"\xff\x00{".to_vec()))),
        ("a payload for another vault", hinted(pretender.sign(&json!({"aud": "nv1:x"})))),
    ];
    let before = vault.picture();
    let mut answers = Vec::new();
    for rpc in Rpc::ALL {
        for (name, envelope) in &strangers {
            answers.push((rpc, *name, answer(vault, rpc, envelope.clone()).await));
        }
    }
    for (rpc, name, answer) in &answers {
        assert_eq!(*answer, answers[0].2, "{name} at {rpc:?} is told apart");
    }
    let nothing: Vec<&str> = Vec::new();
    assert_eq!(before.changed(&vault.picture()), nothing, "a stranger wrote something");

    // The one that all of them are made from is a good one.
    vault.issued(&good).await;
}

#[tokio::test]
async fn a_key_signs_in_the_form_it_was_registered_with_and_no_other() {
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut agent = vault.register_in("ssh", Form::Sshsig).await;
    vault.grant(&agent.name, "orders", crate::support::terms()).await;
    agent.form = Form::Pae;
    assert_eq!(vault.refuses(&agent.issue("orders")).await, Reason::Unauthenticated);
    agent.form = Form::Sshsig;
    agent.get(&vault, "orders").await;
}

/// An operator's key opens no door of agents, nor an agent's one of operators.
#[tokio::test]
async fn keys_of_operators_and_agents_are_not_taken_for_each_other() {
    let stage = Stage::set().await;
    let (vault, operator) = (&stage.vault, &stage.vault.operator);
    let before = vault.picture();
    let mut request = stage.kit.issue_value("orders");
    for (kid, agent) in [(operator.key.kid(), "kit"), (operator.key.kid(), "root"), (stage.kit.key.kid(), "kit")] {
        (request["kid"], request["agent"]) = (json!(kid), json!(agent));
        let by_operator =
            Agent::new("kit", crate::support::agent::copy(&operator.key), Form::Pae, &vault.aud, &vault.clock);
        assert_eq!(vault.refuses(&by_operator.sign(&request)).await, Reason::WrongHolder);
    }
    let list = nockvault::statement::status::StatusRead {};
    for (name, kid) in [("root", stage.kit.key.kid()), ("kit", stage.kit.key.kid()), ("root", operator.key.kid())] {
        let mut command = operator.command(list);
        (command.operator, command.kid) = (name.parse().unwrap(), kid);
        let t = nockvault::crypto::envelope::PayloadType::Command;
        let envelope = Envelope::sign(t, &command, &stage.kit.key, Form::Pae);
        let req = envelope.digest();
        let outcome = vault.operate(nockvault::vault::operate::Call::StatusRead, envelope, None).await;
        assert_eq!(vault.refused(outcome, req).reason, Reason::WrongHolder);
    }
    let nothing: Vec<&str> = Vec::new();
    assert_eq!(before.changed(&vault.picture()), nothing);
}
