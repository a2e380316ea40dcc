//! Several operators, each with a duty and keys of its own: what each may do, at once and to the moment; that a vault is
//! never without an admin; that names are used once; that nobody who writes the database makes himself more than he is. And
//! what anybody can verify of it offline.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify};
use nockvault::crypto::signature::Form;
use nockvault::denial::Reason::{self, *};
use nockvault::id::ChainName;
use nockvault::statement::agent::{AgentFreeze, AgentList, AgentRegister, AgentThaw};
use nockvault::statement::audit_read::AuditList;
use nockvault::statement::grant::{GrantCreate, GrantRevoke};
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::operator::{
    Duty, OperatorDuty, OperatorKeyEnd, OperatorList, OperatorRegister, OperatorRotate, OperatorShow,
};
use nockvault::statement::status::StatusRead;
use nockvault::time::Seconds;
use serde_json::{Value, json};
use support::staff::grantor;
use support::{Harness, Operator, terms};

async fn newest_command(vault: &Harness) -> Value {
    vault.entries(&ChainName::operators()).await.pop().unwrap()
}

async fn file(vault: &Harness) -> Vec<u8> {
    let lines = vault.lines(&ChainName::operators()).await;
    lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

/// What a verifier with the identity key alone says of `_operators`.
async fn verdict(vault: &Harness) -> Verdict {
    let pins = Pins { identity: Some(vault.identity.clone()), ..Pins::default() };
    verify(file(vault).await.as_slice(), &pins).unwrap().verdict
}

fn grant(role: &str) -> GrantCreate {
    GrantCreate { agent: "kit".parse().unwrap(), role: role.parse().unwrap(), terms: terms() }
}

fn freeze() -> AgentFreeze {
    serde_json::from_value(json!({"agent": "kit"})).unwrap()
}

fn duty_of(name: &str, duty: Duty) -> OperatorDuty {
    OperatorDuty { duty, operator: name.parse().unwrap() }
}

fn end(name: &str) -> OperatorKeyEnd {
    OperatorKeyEnd { operator: name.parse().unwrap(), kid: None, suspect_from: None }
}

/// A vault with the agent `kit` and two roles.
async fn at_work() -> Harness {
    let vault = Harness::new().await;
    vault.agent("kit").await;
    vault.kv_role("orders-read", b"one").await;
    vault.kv_role("billing", b"two").await;
    vault
}

#[tokio::test]
async fn each_does_what_its_duty_allows_and_a_refusal_stands_in_the_chain() {
    let vault = at_work().await;
    let mara = vault.hire("mara", grantor(&["orders-read"])).await;
    let joe = vault.hire("joe", Duty::Responder).await;
    let ada = vault.hire("ada", Duty::Auditor).await;

    vault.order_of(&mara, grant("orders-read")).await;
    let refused = vault.refused_of(&mara, grant("billing")).await;
    assert_eq!(refused.reason, NotPermitted);
    let told = "grant_create of this role takes the duty admin, or grantor of it; yours is grantor of orders-read";
    assert_eq!(refused.denial.detail, told);
    let newest = newest_command(&vault).await;
    assert_eq!(newest["body"]["result"], json!({"denied": "not_permitted"}));
    assert_eq!(newest["body"]["command"]["payload"]["operator"], "mara");
    let revoke = GrantRevoke { agent: "kit".parse().unwrap(), role: "orders-read".parse().unwrap() };
    vault.order_of(&mara, revoke).await;

    // New agents, and no further keys of those that are there.
    let agent = support::agent::Agent::new("mira", support::new_key(), Form::Pae, &vault.aud, &vault.clock);
    vault.order_of(&mara, AgentRegister { register: agent.register_statement().sign(&agent.key) }).await;
    let next = support::new_key();
    let further = AgentRegister { register: agent.rotation(&next).new };
    assert_eq!(vault.refused_of(&mara, further.clone()).await.reason, NotPermitted);
    vault.order(further).await;

    vault.order_of(&joe, freeze()).await;
    vault.order_of(&joe, LeaseRevoke { reason: None, scope: Scope::All }).await;
    for operator in [&joe, &mara, &ada] {
        assert_eq!(vault.refused_of(operator, AgentThaw { agent: "kit".parse().unwrap() }).await.reason, NotPermitted);
        vault.order_of(operator, StatusRead {}).await;
        vault.order_of(operator, OperatorList {}).await;
    }
    assert_eq!(vault.refused_of(&ada, freeze()).await.reason, NotPermitted);
    assert_eq!(verdict(&vault).await, Verdict::Intact);
}

#[tokio::test]
async fn operators_are_listed_and_shown() {
    let vault = at_work().await;
    let mara = vault.hire("mara", grantor(&["orders-read", "billing"])).await;
    vault.order(end("mara")).await;
    let listed = vault.order(OperatorList {}).await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!(
        (&items[0]["operator"], &items[0]["duty"], &items[0]["out"]),
        (&json!("mara"), &json!("grantor"), &json!(true))
    );
    assert_eq!(items[0]["roles"], json!(["billing", "orders-read"]));
    assert_eq!(
        (&items[1]["operator"], &items[1]["duty"], &items[1]["out"]),
        (&json!("root"), &json!("admin"), &json!(false))
    );
    let shown = vault.order(OperatorShow { operator: "mara".parse().unwrap() }).await;
    assert_eq!(shown["keys"][0]["kid"], json!(mara.key.kid()));
    assert!(shown["keys"][0]["ended"].is_number());
    let nobody = vault.order_refused(OperatorShow { operator: "eve".parse().unwrap() }).await;
    assert_eq!(nobody.reason, NotFound);
}

#[tokio::test]
async fn a_duty_that_was_taken_away_counts_at_once() {
    let vault = at_work().await;
    let joe = vault.hire("joe", Duty::Admin).await;
    // Signed while he might; it arrives after.
    let (signed, read) = (joe.sign(&joe.command(freeze())), joe.sign(&joe.command(StatusRead {})));
    let done = vault.order(duty_of("joe", Duty::Auditor)).await;
    assert_eq!((&done["before"], &done["duty"]), (&json!({"name": "admin"}), &json!({"name": "auditor"})));
    assert_eq!(vault.refused_envelope(signed, "nockvault/agent_freeze").await.reason, NotPermitted);
    vault.order_of(&joe, StatusRead {}).await;
    vault.order(end("joe")).await;
    assert_eq!(vault.refused_envelope(read, "nockvault/status_read").await.reason, KeyRetired);
    assert_eq!(
        vault.refused_of(&joe, AuditList { page: nockvault::statement::command::Page::first() }).await.reason,
        KeyRetired
    );
    assert_eq!(verdict(&vault).await, Verdict::Intact);
}

#[tokio::test]
async fn the_last_admin_stays() {
    let vault = at_work().await;
    let mara = vault.hire("mara", grantor(&["billing"])).await;
    let root = &vault.operator;
    let of_key = OperatorKeyEnd { kid: Some(root.key.kid()), ..end("root") };
    for refused in [
        vault.order_refused(end("root")).await,
        vault.order_refused(of_key).await,
        vault.order_refused(duty_of("root", Duty::Responder)).await,
    ] {
        assert_eq!(refused.reason, LastAdmin);
    }
    // Two admins end each other at once: one of the two is left.
    vault.order(duty_of("mara", Duty::Admin)).await;
    let (one, other) = (root.sign(&root.command(end("mara"))), mara.sign(&mara.command(end("root"))));
    let (first, second) = (one.digest(), other.digest());
    let call = support::call("nockvault/operator_key_end");
    let (one, other) = tokio::join!(vault.operate(call, one, None), vault.operate(call, other, None));
    let carried =
        |outcome: &nockvault::vault::answer::Outcome| matches!(outcome, nockvault::vault::answer::Outcome::Released(_));
    let left = if carried(&one) {
        assert!(!carried(&other), "both were put out");
        assert!(matches!(vault.refused(other, second).reason, KeyRetired | Unauthenticated));
        root.again()
    } else {
        assert!(matches!(vault.refused(one, first).reason, KeyRetired | Unauthenticated));
        mara.again()
    };
    vault.order_of(&left, StatusRead {}).await;
    let name = left.name.clone();
    assert_eq!(
        vault.refused_of(&left, OperatorKeyEnd { operator: name, kid: None, suspect_from: None }).await.reason,
        LastAdmin
    );
    assert_eq!(verdict(&vault).await, Verdict::Intact);
}

#[tokio::test]
async fn a_key_follows_another_by_its_own_hand_or_by_an_admins() {
    let mut vault = at_work().await;
    let mara = vault.hire("mara", Duty::Auditor).await;
    let second = mara.next();
    let rotation =
        |next: &Operator, prev: &Operator| OperatorRotate { register: next.register_after(Some(prev.key.kid())) };
    let done = vault.order_of(&mara, rotation(&second, &mara)).await;
    assert_eq!(done["kver"], json!(2));
    // Both are accepted for the overlap, then the newer alone.
    vault.order_of(&mara, StatusRead {}).await;
    vault.order_of(&second, StatusRead {}).await;
    assert_eq!(vault.refused_of(&mara, rotation(&mara.next(), &mara)).await.reason, BadSuccessor);
    vault.clock.advance(Seconds(601));
    assert_eq!(vault.refused_of(&mara, StatusRead {}).await.reason, KeyRetired);

    // For another, out of turn, an agent's, a key that is known.
    let third = second.next();
    assert_eq!(vault.order_refused(rotation(&third, &second)).await.reason, BadSuccessor);
    let skipped = Operator { kver: 4, ..third.again() };
    assert_eq!(vault.refused_of(&second, rotation(&skipped, &second)).await.reason, BadSuccessor);
    let known =
        Operator { key: nockvault::crypto::signature::SigningKey::from_seed(&mara.key.seed()), ..second.next() };
    assert_eq!(vault.refused_of(&second, rotation(&known, &second)).await.reason, KeyKnown);

    // The key is lost: an admin ends it and registers the next, whose duty is as it was.
    vault.order(end("mara")).await;
    let further = OperatorRegister { duty: None, register: third.register_after(Some(second.key.kid())) };
    let with_duty = OperatorRegister { duty: Some(Duty::Admin), ..further.clone() };
    assert_eq!(vault.order_refused(with_duty).await.reason, BadDuty);
    assert_eq!(vault.order(further).await["grace"], json!(null));
    vault.reopen().await;
    vault.order_of(&third, StatusRead {}).await;
    assert_eq!(vault.refused_of(&third, freeze()).await.reason, NotPermitted);
    assert_eq!(vault.refused_of(&second, StatusRead {}).await.reason, KeyRetired);
    assert_eq!(verdict(&vault).await, Verdict::Intact);
}

#[tokio::test]
async fn a_name_is_used_once_and_a_first_key_comes_with_a_duty() {
    let vault = at_work().await;
    let mara = vault.hire("mara", Duty::Auditor).await;
    vault.order(end("mara")).await;
    let refused = async |body: OperatorRegister| vault.order_refused(body).await.reason;
    assert_eq!(refused(vault.newcomer("mara").registration(Some(Duty::Admin))).await, AlreadyExists);
    assert_eq!(refused(mara.registration(Some(Duty::Admin))).await, AlreadyExists);
    assert_eq!(refused(vault.newcomer("joe").registration(None)).await, BadDuty);
    assert_eq!(refused(vault.newcomer("joe").registration(Some(grantor(&["nothing"])))).await, NotFound);
    assert_eq!(vault.order_refused(duty_of("joe", Duty::Admin)).await.reason, NotFound);
    assert_eq!(vault.order_refused(duty_of("mara", grantor(&["nothing"]))).await.reason, NotFound);
    // The key of another, of an agent, of nobody who holds it, too old.
    let taken = Operator { key: support::agent::copy(&mara.key), ..vault.newcomer("joe") };
    assert_eq!(refused(taken.registration(Some(Duty::Admin))).await, KeyKnown);
    let mut forged = vault.newcomer("joe").registration(Some(Duty::Admin));
    forged.register.sig = vault.newcomer("joe").registration(None).register.sig;
    assert_eq!(refused(forged).await, BadProof);
    let agent = support::agent::Agent::new("joe", support::new_key(), Form::Pae, &vault.aud, &vault.clock);
    let of_agent = OperatorRegister { duty: Some(Duty::Admin), register: agent.register_statement().sign(&agent.key) };
    assert_eq!(refused(of_agent).await, BadProof);
    let joe = vault.newcomer("joe").registration(Some(Duty::Admin));
    vault.clock.advance(Seconds(31 * 86_400));
    assert_eq!(refused(joe).await, BadProof);
}

#[tokio::test]
async fn an_operator_signs_with_a_key_of_ssh() {
    let vault = at_work().await;
    let mara = Operator { form: Form::Sshsig, ..vault.newcomer("mara") };
    vault.order(mara.registration(Some(Duty::Responder))).await;
    vault.order_of(&mara, freeze()).await;
    vault.order_of(&mara, AgentList { page: nockvault::statement::command::Page::first() }).await;
    let second = mara.next();
    vault.order_of(&mara, OperatorRotate { register: second.register_after(Some(mara.key.kid())) }).await;
    vault.order_of(&second, StatusRead {}).await;
    // In the other form its signature is none.
    let plain = Operator { form: Form::Pae, ..second.again() };
    assert_eq!(vault.refused_of(&plain, StatusRead {}).await.reason, Unauthenticated);
    assert_eq!(verdict(&vault).await, Verdict::Intact);
}

/// Whoever writes the database makes nobody an admin.
#[tokio::test]
async fn a_duty_that_was_changed_in_the_database_is_found() {
    for change in [
        "UPDATE operators SET duty = NULL WHERE name = 'mara'",
        "UPDATE operators SET duty = '{\"name\":\"admin\"}' WHERE name = 'mara'",
        "UPDATE operators SET duty = '{\"name\":\"responder\"}' WHERE name = 'mara'",
        "UPDATE operators SET duty = '{\"name\":\"auditor\"}' WHERE name = 'root'",
        "UPDATE operators SET duty = 'x' WHERE name = 'mara'",
        "UPDATE operators SET (since, duty, mac) = (SELECT since, duty, mac FROM operators WHERE name = 'root') WHERE name = 'mara'",
        "DELETE FROM operators WHERE name = 'mara'",
    ] {
        let mut vault = at_work().await;
        let mara = vault.hire("mara", Duty::Auditor).await;
        vault.shut();
        let changed = vault.database().execute(change, []).unwrap();
        assert_eq!(changed, 1, "{change}");
        let refused: Result<(), Reason> = match vault.try_reopen_under(vault.rules).await {
            Ok(()) => Err(vault.refused_of(&mara, freeze()).await.reason),
            Err(_) => Ok(()),
        };
        assert!(matches!(refused, Ok(()) | Err(Quarantined | Unauthenticated)), "{change}: {refused:?}");
    }
}
