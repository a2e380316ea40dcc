//! Rules of several persons: where a rule asks for two, nobody has it done alone, not an admin either; nobody alone lifts
//! the rule, makes a second person of his own, or goes round it. And what anybody can verify of it offline.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify};
use nockvault::crypto::envelope::{Embedded, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::SealSecretKey;
use nockvault::denial::Reason::*;
use nockvault::entropy::OsEntropy;
use nockvault::id::ChainName;
use nockvault::statement::Body;
use nockvault::statement::agent::{AgentFreeze, AgentRegister};
use nockvault::statement::approval::{ApprovalList, Approve, PolicySet, PolicyShow, Withdraw};
use nockvault::statement::clock::ClockReset;
use nockvault::statement::command::Page;
use nockvault::statement::custody::{CustodyAdd, CustodyList, CustodyRemove, Kind};
use nockvault::statement::explain::{Explain, NewGrant};
use nockvault::statement::freeze::{VaultFreeze, VaultThaw};
use nockvault::statement::grant::{GrantCreate, GrantRevoke};
use nockvault::statement::operator::{Duty, OperatorDuty, OperatorKeyEnd, OperatorRegister, OperatorRotate};
use nockvault::time::Seconds;
use nockvault::vault::answer::Outcome;
use serde_json::{Map, Value, json};
use support::staff::grantor;
use support::{Harness, Operator, Refusal, call, terms};

fn grant(role: &str) -> GrantCreate {
    GrantCreate { agent: "kit".parse().unwrap(), role: role.parse().unwrap(), terms: terms() }
}

fn rules(of: &[(&str, u64)]) -> PolicySet {
    let rules = of.iter().map(|(word, persons)| ((*word).to_owned(), *persons)).collect();
    PolicySet { rules, ..PolicySet::default() }
}

fn end(name: &str) -> OperatorKeyEnd {
    OperatorKeyEnd { operator: name.parse().unwrap(), kid: None, suspect_from: None }
}

fn duty_of(name: &str, duty: Duty) -> OperatorDuty {
    OperatorDuty { duty, operator: name.parse().unwrap() }
}

/// A vault with the agent `kit`, two roles, the admins `root` and `mara`, and the grantor `joe`.
async fn at_work() -> (Harness, Operator, Operator) {
    let vault = Harness::new().await;
    vault.agent("kit").await;
    vault.kv_role("orders-read", b"one").await;
    vault.kv_role("billing", b"two").await;
    let mara = vault.hire("mara", Duty::Admin).await;
    let joe = vault.hire("joe", grantor(&["orders-read"])).await;
    (vault, mara, joe)
}

/// The same under `grant_create = 2`.
async fn under_rule() -> (Harness, Operator, Operator) {
    let (vault, mara, joe) = at_work().await;
    vault.order(rules(&[("grant_create", 2)])).await;
    (vault, mara, joe)
}

async fn newest_command(vault: &Harness) -> Value {
    vault.entries(&ChainName::operators()).await.pop().unwrap()
}

/// What the newest entry of `_operators` says that waits.
async fn waits(vault: &Harness) -> Digest {
    let newest = newest_command(vault).await;
    assert_eq!(newest["body"]["result"]["denied"], "needs_approval");
    serde_json::from_value(newest["body"]["result"]["waits"]["command"].clone()).unwrap()
}

/// Gives a command that has to wait, and what names it then.
async fn begun<B: Body>(vault: &Harness, by: &Operator, body: B) -> Digest {
    let refused = vault.refused_of(by, body).await;
    assert_eq!(refused.reason, NeedsApproval, "{}", refused.denial);
    waits(vault).await
}

async fn listed(vault: &Harness) -> Vec<Value> {
    let page = Page::first();
    vault.order(ApprovalList { page }).await["items"].as_array().unwrap().clone()
}

async fn intact(vault: &Harness) {
    let lines = vault.lines(&ChainName::operators()).await;
    let file: Vec<u8> = lines.iter().flat_map(|line| line.iter().copied().chain([b'\n'])).collect();
    let pins = Pins { identity: Some(vault.identity.clone()), ..Pins::default() };
    assert_eq!(verify(file.as_slice(), &pins).unwrap().verdict, Verdict::Intact);
}

#[tokio::test]
async fn a_command_waits_until_another_wants_it_and_its_giver_gives_it_again() {
    let (mut vault, mara, _) = under_rule().await;
    let root = vault.operator.again();
    let envelope = root.sign(&root.command(grant("billing")));
    let id = envelope.digest();
    let refused = vault.refused_envelope(envelope, GrantCreate::TYP).await;
    assert_eq!((refused.reason, refused.denial.limit), (NeedsApproval, Some(2)));
    let detail = &refused.denial.detail;
    assert!(detail.contains("1 more has") && detail.contains(&format!("vaultctl approve {id}")), "{detail}");
    assert_eq!(waits(&vault).await, id);

    // Given again it waits no second time.
    assert_eq!(begun(&vault, &root, grant("billing")).await, id);
    let items = listed(&vault).await;
    assert_eq!(items.len(), 1);
    assert_eq!((&items[0]["operator"], &items[0]["missing"]), (&json!("root"), &json!(1)));
    let said: Embedded = serde_json::from_value(items[0]["envelope"].clone()).unwrap();
    assert_eq!(said.open(PayloadType::Command).digest(), id);
    assert_eq!(said.payload["body"], json!(grant("billing")));

    let approved = vault.order_of(&mara, Approve { command: id }).await;
    assert_eq!((&approved["persons"], &approved["approvals"]), (&json!(2), &json!(1)));
    let approve = newest_command(&vault).await;
    // Rules, what waits and who approved it outlast a restart.
    vault.reopen().await;
    vault.order(grant("billing")).await;
    let carried = newest_command(&vault).await;
    assert_eq!(carried["body"]["approvals"][0]["operator"], "mara");
    assert_eq!(carried["body"]["approvals"][0]["entry"]["seq"], approve["seq"]);
    assert!(listed(&vault).await.is_empty());

    // An approval counts once.
    vault.order(GrantRevoke { agent: "kit".parse().unwrap(), role: "billing".parse().unwrap() }).await;
    assert_ne!(begun(&vault, &root, grant("billing")).await, id);
    assert_eq!(vault.refused_of(&mara, Approve { command: id }).await.reason, NotFound);
    intact(&vault).await;
}

#[tokio::test]
async fn what_would_be_refused_anyway_is_refused_with_its_own_reason_and_waits_for_nobody() {
    let (vault, mara, joe) = under_rule().await;
    assert_eq!(vault.order_refused(grant("nothing")).await.reason, NotFound);
    assert_eq!(vault.refused_of(&joe, grant("billing")).await.reason, NotPermitted);
    assert!(listed(&vault).await.is_empty());
    // Refused by then, it goes on waiting.
    let id = begun(&vault, &vault.operator, grant("billing")).await;
    vault.order_of(&mara, Approve { command: id }).await;
    vault.order(AgentFreeze { agent: "kit".parse().unwrap(), reason: Default::default() }).await;
    vault.order(grant("billing")).await;
    intact(&vault).await;
}

#[tokio::test]
async fn only_another_operator_whose_duty_allows_it_approves_and_once() {
    let (vault, mara, joe) = at_work().await;
    let (ada, ben) = (vault.hire("ada", Duty::Auditor).await, vault.hire("ben", Duty::Responder).await);
    vault.hire("zoe", Duty::Admin).await;
    vault.order(rules(&[("grant_create", 3)])).await;
    let id = begun(&vault, &vault.operator, grant("orders-read")).await;
    let refused = async |by: &Operator| vault.refused_of(by, Approve { command: id }).await.reason;
    assert_eq!(refused(&vault.operator).await, CannotApprove);
    assert_eq!((refused(&ada).await, refused(&ben).await), (NotPermitted, NotPermitted));
    vault.order_of(&joe, Approve { command: id }).await;
    assert_eq!(refused(&joe).await, CannotApprove);
    assert_eq!(begun(&vault, &vault.operator, grant("orders-read")).await, id);
    // A grantor approves what he may give himself.
    let other = begun(&vault, &vault.operator, grant("billing")).await;
    assert_eq!(vault.refused_of(&joe, Approve { command: other }).await.reason, NotPermitted);
    vault.order_of(&mara, Approve { command: id }).await;
    vault.order(grant("orders-read")).await;
    let named = newest_command(&vault).await["body"]["approvals"].clone();
    assert_eq!(
        named.as_array().unwrap().iter().map(|one| one["operator"].clone()).collect::<Vec<_>>(),
        ["joe", "mara"]
    );
    intact(&vault).await;
}

/// One admin tries each way round the rule, alone.
#[tokio::test]
async fn no_admin_alone_gets_round_a_rule() {
    let (vault, mara, _) = under_rule().await;
    let agent = vault.agent("mira").await;
    let held = async |refused: Refusal| assert_eq!(refused.reason, NeedsApproval, "{}", refused.denial);
    // Lifts it.
    held(vault.order_refused(rules(&[])).await).await;
    held(vault.order_refused(rules(&[("grant_revoke", 2)])).await).await;
    // Makes a second person: a new one, by another's duty, by another's next key.
    held(vault.order_refused(vault.newcomer("eve").registration(Some(Duty::Admin))).await).await;
    held(vault.order_refused(duty_of("joe", Duty::Admin)).await).await;
    let next = OperatorRegister { duty: None, register: mara.next().register_after(Some(mara.key.kid())) };
    held(vault.order_refused(next).await).await;
    let foreign = OperatorRotate { register: mara.next().register_after(Some(mara.key.kid())) };
    assert_eq!(vault.order_refused(foreign).await.reason, BadSuccessor);
    // Takes the root key, or leaves it to himself.
    let public = SealSecretKey::generate(&OsEntropy).public().into();
    let custodian = CustodyAdd { kind: Kind::File, name: "mine".parse().unwrap(), public };
    held(vault.order_refused(custodian.clone()).await).await;
    let custodians = vault.order(CustodyList {}).await["items"].clone();
    let first = custodians[0]["custodian"].as_str().unwrap().parse().unwrap();
    assert_eq!(vault.order_refused(CustodyRemove { name: first }).await.reason, LastCustodian);
    // Signs as an agent that was granted something.
    let key = support::new_key();
    held(vault.order_refused(AgentRegister { register: agent.rotation(&key).new }).await).await;
    // Puts the other one out, and is alone with the rule.
    vault.order(end("mara")).await;
    held(vault.order_refused(rules(&[])).await).await;
    held(vault.order_refused(grant("billing")).await).await;
    let shown = vault.order(PolicyShow {}).await;
    assert_eq!((&shown["admins"], &shown["strictest"], &shown["enough"]), (&json!(1), &json!(2), &json!(false)));
    // What is for emergencies takes nobody else.
    vault.order(AgentFreeze { agent: "kit".parse().unwrap(), reason: Default::default() }).await;
    vault.order(VaultFreeze { reason: Default::default() }).await;
    intact(&vault).await;
}

#[tokio::test]
async fn two_change_the_rules_and_the_operators_together() {
    let (vault, mara, _) = under_rule().await;
    let eve = vault.newcomer("eve");
    let registration = eve.registration(Some(Duty::Auditor));
    let id = begun(&vault, &vault.operator, registration.clone()).await;
    vault.order_of(&mara, Approve { command: id }).await;
    vault.order(registration).await;
    let id = begun(&vault, &mara, rules(&[])).await;
    vault.order(Approve { command: id }).await;
    vault.order_of(&mara, rules(&[])).await;
    vault.order(grant("billing")).await;
    intact(&vault).await;
}

#[tokio::test]
async fn an_approval_is_of_one_body_of_one_giver() {
    let (vault, mara, joe) = under_rule().await;
    let id = begun(&vault, &joe, grant("orders-read")).await;
    vault.order_of(&mara, Approve { command: id }).await;
    // Another's, and another body.
    assert_ne!(begun(&vault, &vault.operator, grant("orders-read")).await, id);
    let mut longer = grant("orders-read");
    longer.terms.ttl = Seconds(301);
    assert_ne!(begun(&vault, &joe, longer).await, id);
    let other = begun(&vault, &vault.operator, grant("billing")).await;
    assert_ne!(other, id);
    assert_eq!(listed(&vault).await.len(), 4);
    vault.order_of(&joe, grant("orders-read")).await;
    assert_eq!(listed(&vault).await.len(), 3);
    intact(&vault).await;
}

#[tokio::test]
async fn an_approval_of_one_who_is_out_or_demoted_does_not_count() {
    for change in ["out", "demoted", "key"] {
        let (vault, mara, joe) = at_work().await;
        vault.hire("zoe", Duty::Admin).await;
        vault.order(rules(&[("grant_create", 2)])).await;
        let id = begun(&vault, &vault.operator, grant("orders-read")).await;
        vault.order_of(&joe, Approve { command: id }).await;
        match change {
            "out" => drop(vault.order(end("joe")).await),
            "key" => {
                vault.order_of(&joe, OperatorRotate { register: joe.next().register_after(Some(joe.key.kid())) }).await;
                vault.order(OperatorKeyEnd { kid: Some(joe.key.kid()), ..end("joe") }).await;
            }
            _ => {
                let waiting = begun(&vault, &vault.operator, duty_of("joe", grantor(&["billing"]))).await;
                vault.order_of(&mara, Approve { command: waiting }).await;
                vault.order(duty_of("joe", grantor(&["billing"]))).await;
            }
        }
        let refused = vault.refused_of(&joe, Approve { command: id }).await.reason;
        assert!(matches!(refused, KeyRetired | NotPermitted), "{change}: {refused}");
        assert_eq!(begun(&vault, &vault.operator, grant("orders-read")).await, id, "{change}");
        assert_eq!(listed(&vault).await[0]["missing"], json!(1), "{change}");
        vault.order_of(&mara, Approve { command: id }).await;
        vault.order(grant("orders-read")).await;
        let named = newest_command(&vault).await["body"]["approvals"].clone();
        assert_eq!((named.as_array().unwrap().len(), &named[0]["operator"]), (1, &json!("mara")), "{change}");
        intact(&vault).await;
    }
}

#[tokio::test]
async fn what_waited_too_long_is_gone_with_its_approvals() {
    let (vault, mara, _) = at_work().await;
    vault.order(PolicySet { wait: Seconds(60), ..rules(&[("grant_create", 2)]) }).await;
    let id = begun(&vault, &vault.operator, grant("billing")).await;
    vault.order_of(&mara, Approve { command: id }).await;
    vault.clock.advance(Seconds(60));
    assert!(listed(&vault).await.is_empty());
    assert_eq!(vault.refused_of(&mara, Approve { command: id }).await.reason, NotFound);
    assert_ne!(begun(&vault, &vault.operator, grant("billing")).await, id);
    intact(&vault).await;
}

#[tokio::test]
async fn its_giver_or_an_admin_withdraws_it() {
    let (vault, mara, joe) = under_rule().await;
    let ben = vault.newcomer("ben");
    let registration = ben.registration(Some(Duty::Responder));
    let id = begun(&vault, &vault.operator, registration.clone()).await;
    vault.order_of(&mara, Approve { command: id }).await;
    vault.order(registration).await;
    let id = begun(&vault, &joe, grant("orders-read")).await;
    vault.order_of(&mara, Approve { command: id }).await;
    assert_eq!(vault.refused_of(&ben, Withdraw { command: id }).await.reason, NotPermitted);
    vault.order_of(&joe, Withdraw { command: id }).await;
    assert_eq!(vault.refused_of(&joe, Withdraw { command: id }).await.reason, NotFound);
    let again = begun(&vault, &joe, grant("orders-read")).await;
    vault.order(Withdraw { command: again }).await;
    assert!(listed(&vault).await.is_empty());
    intact(&vault).await;
}

#[tokio::test]
async fn one_approval_carries_out_one_of_two_at_once() {
    let (vault, mara, _) = under_rule().await;
    let root = &vault.operator;
    let id = begun(&vault, root, grant("billing")).await;
    vault.order_of(&mara, Approve { command: id }).await;
    let (one, other) = (root.sign(&root.command(grant("billing"))), root.sign(&root.command(grant("billing"))));
    let of = call(GrantCreate::TYP);
    let (one, other) = tokio::join!(vault.operate(of, one, None), vault.operate(of, other, None));
    let done = [&one, &other].into_iter().filter(|outcome| matches!(outcome, Outcome::Released(_))).count();
    assert_eq!(done, 1);
    intact(&vault).await;
}

#[tokio::test]
async fn rules_that_nobody_could_lift_or_follow_are_refused() {
    let (vault, ..) = at_work().await;
    let refused = async |of: &[(&str, u64)]| {
        let refused = vault.order_refused(rules(of)).await;
        assert_eq!(refused.reason, BadPolicy);
        refused.denial.detail
    };
    assert!(refused(&[("grant_create", 3)]).await.contains("there are 2"));
    assert!(refused(&[("secret_put", 2)]).await.contains("sealed beside it"));
    assert!(refused(&[("approve", 2)]).await.contains("waits already"));
    assert!(refused(&[("grants", 2)]).await.contains("no such command"));
    assert!(refused(&[("role_rotate", 2)]).await.contains("backend"));
    assert_eq!(vault.order(PolicyShow {}).await["rules"], json!({}));
}

#[tokio::test]
async fn a_dry_run_says_that_it_would_wait() {
    let (vault, ..) = under_rule().await;
    let told = vault.order(Explain::Grant(NewGrant { grant: grant("billing"), probe: false })).await;
    assert_eq!((&told["verdict"], &told["reason"]), (&json!("waits"), &json!("needs_approval")));
    assert!(listed(&vault).await.is_empty());
    let revoke = GrantRevoke { agent: "kit".parse().unwrap(), role: "billing".parse().unwrap() };
    assert_eq!(vault.order(Explain::Revoke(revoke)).await["verdict"], json!("refused"));
}

/// Whoever writes the database lifts no rule and approves nothing.
#[tokio::test]
async fn a_rule_or_an_approval_that_was_changed_in_the_database_is_found() {
    for change in [
        "DELETE FROM policy",
        "UPDATE policy SET rules = '{}'",
        "DELETE FROM waiting",
        "UPDATE waiting SET giver = 'joe'",
        "UPDATE waiting SET expires = expires + 1",
        "UPDATE waiting SET approvals = replace(approvals, 'mara', 'joe')",
    ] {
        let (mut vault, mara, _) = under_rule().await;
        let id = begun(&vault, &vault.operator, grant("orders-read")).await;
        vault.order_of(&mara, Approve { command: id }).await;
        vault.shut();
        let conn = rusqlite::Connection::open(vault.data().join("vault.db")).unwrap();
        assert_eq!(conn.execute(change, []).unwrap(), 1, "{change}");
        drop(conn);
        let opened = vault.try_reopen_under(vault.rules).await;
        if opened.is_ok() {
            let envelope = vault.operator.sign(&vault.operator.command(grant("orders-read")));
            let outcome = vault.operate(call(GrantCreate::TYP), envelope, None).await;
            assert!(matches!(outcome, Outcome::Refused(_)), "{change}");
        }
    }
}

/// As many wait as may, and no more.
#[tokio::test]
async fn a_hundred_wait_and_no_more() {
    let (vault, mara, joe) = under_rule().await;
    let of = |ttl: u64| {
        let mut grant = grant("billing");
        grant.terms.ttl = Seconds(ttl);
        grant
    };
    for ttl in 1..=50 {
        begun(&vault, &vault.operator, of(ttl)).await;
        begun(&vault, &mara, of(ttl)).await;
    }
    let full = vault.refused_of(&joe, grant("orders-read")).await;
    assert_eq!((full.reason, full.denial.limit), (Busy, Some(100)));
    let told: Map<String, Value> = vault.order(ApprovalList { page: Page { after: String::new(), limit: 99 } }).await;
    assert_eq!(told["items"].as_array().unwrap().len(), 99);
    let after = told["next"].as_str().unwrap().to_owned();
    let rest = vault.order(ApprovalList { page: Page { after, limit: 99 } }).await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &json!(null)));
    let last: Digest = serde_json::from_value(rest["items"][0]["command"].clone()).unwrap();
    vault.order_of(&mara, Withdraw { command: last }).await;
    begun(&vault, &joe, grant("orders-read")).await;
}

#[tokio::test]
async fn one_operator_does_not_take_all_places_and_none_of_them_once_he_is_out() {
    let (vault, _, joe) = under_rule().await;
    for ttl in 0..50 {
        let mut one = grant("orders-read");
        one.terms.ttl = Seconds(60 + ttl);
        assert_eq!(vault.refused_of(&joe, one).await.reason, NeedsApproval);
    }
    let full = vault.refused_of(&joe, grant("orders-read")).await;
    assert_eq!((full.reason, full.denial.limit), (Busy, Some(50)));
    // The others are not kept from anything, and what he wished goes with him.
    let root = vault.operator.again();
    begun(&vault, &root, grant("billing")).await;
    assert_eq!(listed(&vault).await.len(), 51);
    vault.order(end("joe")).await;
    let root = vault.operator.again();
    begun(&vault, &root, GrantCreate { role: "orders-read".parse().unwrap(), ..grant("orders-read") }).await;
    assert_eq!(listed(&vault).await.len(), 2);
    intact(&vault).await;
}

#[tokio::test]
async fn one_whose_newest_key_is_ended_commands_nothing_by_an_older_one() {
    let (vault, mara, _) = under_rule().await;
    let next = mara.next();
    vault.order_of(&mara, OperatorRotate { register: next.register_after(Some(mara.key.kid())) }).await;
    let kid = Some(next.key.kid());
    vault.order(OperatorKeyEnd { operator: "mara".parse().unwrap(), kid, suspect_from: None }).await;
    assert_eq!(vault.refused_of(&mara, grant("billing")).await.reason, KeyRetired);
    let root = vault.operator.again();
    let id = begun(&vault, &root, grant("billing")).await;
    assert_eq!(vault.refused_of(&mara, Approve { command: id }).await.reason, KeyRetired);
}

#[tokio::test]
async fn what_is_stamped_later_than_its_chain_is_judged_at_that_instant() {
    let (vault, mara, _) = at_work().await;
    vault.order(PolicySet { wait: Seconds(60), ..rules(&[("vault_thaw", 2)]) }).await;
    let ida = vault.agent("ida").await;
    vault.order(VaultFreeze { reason: Default::default() }).await;
    // An agent's chain is four minutes ahead of `_operators`.
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(240)));
    vault.refuses(&ida.issue("billing")).await;
    vault.clock.set(began.plus(Seconds(10)));
    let root = vault.operator.again();
    let id = begun(&vault, &root, VaultThaw {}).await;
    assert_eq!(listed(&vault).await.len(), 1, "what waits is listed, though the clock is behind it");
    vault.order_of(&mara, Approve { command: id }).await;
    vault.order(VaultThaw {}).await;
    intact(&vault).await;
}

#[tokio::test]
async fn what_the_vault_forgot_under_a_wrong_clock_stays_forgotten() {
    let (vault, mara, _) = under_rule().await;
    let root = vault.operator.again();
    let first = begun(&vault, &root, grant("billing")).await;
    let began = vault.clock_now();
    vault.clock.set(began.plus(Seconds(1200)));
    for ttl in 0..4 {
        let mut one = grant("orders-read");
        one.terms.ttl = Seconds(60 + ttl);
        begun(&vault, &root, one).await;
    }
    vault.clock.set(began.plus(Seconds(60)));
    vault.order(ClockReset {}).await;
    vault.clock.advance(Seconds(301));
    vault.vault().tend_once().await;
    vault.order_of(&mara, Withdraw { command: first }).await;
    vault.clock.set(began.plus(Seconds(1300)));
    for ttl in 0..4 {
        let mut one = grant("orders-read");
        one.terms.ttl = Seconds(60 + ttl);
        let id = begun(&vault, &root, one.clone()).await;
        vault.order_of(&mara, Approve { command: id }).await;
        vault.order(one).await;
        vault.order(GrantRevoke { agent: "kit".parse().unwrap(), role: "orders-read".parse().unwrap() }).await;
    }
    intact(&vault).await;
}

#[tokio::test]
async fn nobody_approves_what_one_wished_who_is_out() {
    let (vault, mara, joe) = under_rule().await;
    let id = begun(&vault, &joe, grant("orders-read")).await;
    vault.order(end("joe")).await;
    assert!(listed(&vault).await.is_empty());
    for by in [&mara, &vault.operator] {
        let refused = vault.refused_of(by, Approve { command: id }).await;
        assert_eq!((refused.reason, refused.denial.detail.as_str()), (NotFound, "joe, who gave it, is out"));
    }
    intact(&vault).await;
}
