//! What an agent asks in the wrong words. Each wish is refused for a reason that a program can act on, in words that name
//! the member; nothing is minted; and the trail holds the wish itself, once.

use nockvault::client::fault::Fault;
use nockvault::denial::Reason;
use serde_json::{Map, Value, json};

use crate::stage::{Stage, ask};

/// What stands in no parameter: quotes and statements, ends of texts and lines, what shells and certificates read as more
/// than a text, and what looks like something else.
const TEXTS: &[&str] = &[
    "",
    "'; DROP ROLE vault_admin; --",
    "\" OR \"\"=\"",
    "$$; SELECT pg_terminate_backend(1); $$",
    "root\0",
    "root\nPermitRootLogin yes",
    "root\r\n\r\nHTTP/1.1 200 OK",
    "$(reboot) `reboot` ; reboot | reboot & reboot",
    "../../../etc/passwd",
    "root,admin",
    "*",
    "*.example.com",
    "CN=root,O=admins\\,+OU=x",
    "{{password}}",
    // Cyrillic o, full-width letters and quotes, a turned reading order, a joined accent, a zero-width space.
    "r\u{43e}\u{43e}t",
    "\u{ff52}\u{ff4f}\u{ff4f}\u{ff54}\u{ff07}",
    "\u{202e}toor",
    "ro\u{f6}\u{308}t",
    "root\u{200b}",
];

/// The members that no engine has.
const UNKNOWN: &[&str] = &["username", "valid_until", "handle", "extensions", "options", "sql", "ttl", "type"];

/// What an engine takes: members that are a text, and such that are a list of texts.
pub(crate) struct Takes<'a> {
    pub(crate) texts: &'a [&'a str],
    pub(crate) lists: &'a [&'a str],
}

struct Case {
    params: Map<String, Value>,
    reason: Reason,
    /// What the words must name.
    named: String,
}

impl Case {
    fn new(member: &str, value: Value, reason: Reason) -> Case {
        Case { params: Map::from_iter([(member.to_owned(), value)]), reason, named: member.chars().take(64).collect() }
    }

    /// Whether the vault has its nonce reserved, and so its entry, when it refuses it.
    fn is_chained(&self) -> bool {
        self.reason == Reason::ParamsRefused
    }
}

fn cases(takes: &Takes<'_>) -> Vec<Case> {
    let refused = |member: &str, value: Value| Case::new(member, value, Reason::ParamsRefused);
    let long = "x".repeat(6000);
    let mut cases = Vec::new();
    for member in takes.texts {
        cases.extend(TEXTS.iter().chain([&long.as_str()]).map(|text| refused(member, json!(text))));
        let wrong = [json!(7), json!(true), json!(["root"]), json!({"root": "root"}), json!([[["root"]]])];
        cases.extend(wrong.into_iter().map(|value| refused(member, value)));
    }
    for member in takes.lists {
        cases.extend(TEXTS.iter().chain([&long.as_str()]).map(|text| refused(member, json!([text]))));
        let many = vec!["root"; 500];
        let wrong = [json!("root"), json!(7), json!([7]), json!([["root"]]), json!({"root": "root"}), json!(many)];
        cases.extend(wrong.into_iter().map(|value| refused(member, value)));
    }
    cases.extend(UNKNOWN.iter().map(|member| refused(member, json!("root"))));
    cases.push(refused("nested", json!({"a": [{"b": {"c": "'; DROP TABLE item; --"}}]})));
    cases.push(refused(&"u".repeat(6000), json!(1)));
    // What is no statement at all is refused before it is read as a wish.
    let names = ["Principals", "a b", "a'b", "\u{440}arams", "a\0", ""];
    cases.extend(
        names.iter().map(|name| Case { named: String::new(), ..Case::new(name, json!(1), Reason::NotCanonical) }),
    );
    cases.push(Case { named: String::new(), ..Case::new("x", json!(1.5), Reason::NotCanonical) });
    cases.push(Case { named: String::new(), ..Case::new("x", json!(1_u64 << 53), Reason::NotCanonical) });
    cases.push(Case { named: String::new(), ..Case::new("x", json!([[[[[[[[1]]]]]]]]), Reason::NotCanonical) });
    for bytes in [9000, 1 << 20] {
        cases.push(Case { named: String::new(), ..Case::new("x", json!("x".repeat(bytes)), Reason::Oversize) });
    }
    cases
}

/// Has a new agent, mallory, ask for all of it, and looks that it stands there and that nothing else does.
pub(crate) async fn refused(stage: &Stage, role: &str, takes: &Takes<'_>) {
    let agent = stage.agent("mallory", &[role]).await;
    let session = agent.session("hostile").unwrap();
    let cases = cases(takes);
    for case in &cases {
        let wish = case.params.iter().fold(ask(role, 30), |wish, (name, value)| wish.param(name, value.clone()));
        let shown: String = Value::Object(case.params.clone()).to_string().chars().take(100).collect();
        let fault = session.request(&wish).await.expect_err(&shown);
        told(&fault, case, &shown);
    }
    let chain = stage.verified("mallory");
    let denied: Vec<_> = chain.iter().filter(|entry| entry["kind"] == "deny").collect();
    let wanted: Vec<_> = cases.iter().filter(|case| case.is_chained()).collect();
    assert_eq!(denied.len(), wanted.len(), "one entry for each wish that was read, and none besides");
    for (entry, case) in denied.iter().zip(wanted) {
        assert_eq!(entry["body"]["reason"], case.reason.code());
        assert_eq!(entry["body"]["request"]["payload"]["params"], Value::Object(case.params.clone()));
    }
    let others: Vec<_> = chain.iter().filter(|entry| entry["kind"] != "deny").map(|entry| &entry["kind"]).collect();
    assert_eq!(others, ["genesis", "grant"], "nothing was begun");
    assert_eq!(stage.json(&["lease", "list", "--all", "--agent", "mallory"]), json!([]));
}

/// The words of a refusal: its reason, the member, and nothing long or that a terminal would obey.
#[track_caller]
fn told(fault: &Fault, case: &Case, shown: &str) {
    assert_eq!(fault.reason(), Some(case.reason), "{shown}: {fault}");
    let refusal = fault.refusal().unwrap();
    // What is too large is refused before it is known whose it is.
    assert_eq!(refusal.proven, case.reason != Reason::Oversize, "{shown}: {fault}");
    let message = &refusal.message;
    assert!(message.contains(&case.named), "{shown}: {message}");
    let disturbs = |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
    assert!(message.len() < 600 && !message.chars().any(disturbs), "{shown}: {message}");
}
