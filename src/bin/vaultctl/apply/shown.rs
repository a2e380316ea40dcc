//! A plan as people read it, like a difference of two texts, and as programs do.

use nockvault::id::{AgentName, RoleName};
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::role::RoleCreate;
use serde_json::{Map, Value, json};

use super::plan::{Change, Plan};
use super::send::{Fate, Sent};
use crate::output::{self, calm};

/// As much of a text as a line has room for.
pub(crate) fn brief(text: &str) -> String {
    calm(&output::brief(text)).replace('\n', " ")
}

/// A line for each change, with what it does in front; what stands beside it comes last, with `?`.
pub(crate) fn lines(plan: &Plan, color: bool) -> String {
    let changes = plan.changes.iter().map(|change| line(change, color));
    let left = plan.left.iter().map(|(agent, role, terms)| {
        format!("? grant {agent} {role}  {}; not in the file, --prune revokes it\n", all(terms))
    });
    changes.chain(left).collect()
}

fn line(change: &Change, color: bool) -> String {
    let (sign, ink, words) = match change {
        Change::Revoke { agent, role, was } => ('-', 31, format!("grant {agent} {role}  {}", all(was))),
        Change::Register { agent, kid, .. } => ('+', 32, format!("agent {agent}  key {kid}")),
        Change::Create(RoleCreate { role, engine, config }) => {
            let config = brief(&Value::Object(config.clone()).to_string());
            ('+', 32, format!("role {role}  engine {engine} {config}"))
        }
        Change::Grant { grant: GrantCreate { agent, role, terms }, was: None } => {
            ('+', 32, format!("grant {agent} {role}  {}", all(terms)))
        }
        Change::Grant { grant: GrantCreate { agent, role, terms }, was: Some(was) } => {
            ('~', 33, format!("grant {agent} {role}  {}", other(terms, was)))
        }
    };
    if color { format!("\u{1b}[{ink}m{sign} {words}\u{1b}[0m\n") } else { format!("{sign} {words}\n") }
}

/// Each member of terms, by the word that the file has for it.
fn members(terms: &Terms) -> [(&'static str, Option<String>); 7] {
    let from: Vec<String> = terms.from.iter().map(ToString::to_string).collect();
    [
        ("ttl", Some(terms.ttl.to_string())),
        ("max_ttl", Some(terms.max_ttl.to_string())),
        ("max_uses", terms.max_uses.map(|uses| uses.to_string())),
        ("until", terms.until.map(|until| until.to_string())),
        ("session", terms.session.as_ref().map(|session| session.as_str().to_owned())),
        ("from", (!from.is_empty()).then(|| from.join(","))),
        ("rate", terms.rate.map(|rate| rate.to_string())),
    ]
}

/// What terms say.
fn all(terms: &Terms) -> String {
    let said = members(terms).into_iter().filter(|(name, _)| *name != "max_ttl" || terms.max_ttl != terms.ttl);
    let words: Vec<String> = said.filter_map(|(name, value)| Some(format!("{name} {}", value?))).collect();
    words.join(" ")
}

/// In what terms differ from those that there were.
fn other(terms: &Terms, was: &Terms) -> String {
    let none = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
    let both = members(terms).into_iter().zip(members(was)).filter(|((_, new), (_, old))| new != old);
    let words: Vec<String> =
        both.map(|((name, new), (_, old))| format!("{name} {}, was {}", none(new), none(old))).collect();
    words.join("; ")
}

/// What programs are told: every change with what became of it, and what stays as it is.
pub(crate) fn object(plan: &Plan, sent: Option<&Sent>) -> Map<String, Value> {
    let fates = plan.changes.iter().enumerate().map(|(at, change)| {
        let mut told = told(change);
        let fate = sent.and_then(|sent| sent.fates.get(at));
        told.insert("state".to_owned(), json!(fate.map_or("planned", Fate::word)));
        if let Some(entries) = fate.map(Fate::entries).filter(|entries| !entries.is_empty()) {
            told.insert("entries".to_owned(), json!(entries));
        }
        Value::Object(told)
    });
    let left: Vec<Value> = plan.left.iter().map(|(agent, role, terms)| grant(agent, role, terms).into()).collect();
    let whole = json!({
        "between": plan.between,
        "changes": fates.collect::<Vec<_>>(),
        "forbidden": plan.forbidden,
        "left": left,
        "notes": plan.notes,
        "set": sent.map(|sent| &sent.set),
    });
    whole.as_object().cloned().unwrap_or_default()
}

fn told(change: &Change) -> Map<String, Value> {
    let (word, kind, mut members) = match change {
        Change::Revoke { agent, role, was } => ("revoke", "grant", grant(agent, role, was)),
        Change::Register { agent, kid, .. } => {
            ("create", "agent", Map::from_iter([("agent".to_owned(), json!(agent)), ("kid".to_owned(), json!(kid))]))
        }
        Change::Create(role) => ("create", "role", json!(role).as_object().cloned().unwrap_or_default()),
        Change::Grant { grant: GrantCreate { agent, role, terms }, was: None } => {
            ("create", "grant", grant(agent, role, terms))
        }
        Change::Grant { grant: GrantCreate { agent, role, terms }, was: Some(was) } => {
            let mut members = grant(agent, role, terms);
            members.insert("was".to_owned(), json!(was));
            ("replace", "grant", members)
        }
    };
    members.insert("change".to_owned(), json!(word));
    members.insert("kind".to_owned(), json!(kind));
    members
}

fn grant(agent: &AgentName, role: &RoleName, terms: &Terms) -> Map<String, Value> {
    let members = json!({ "agent": agent, "role": role, "terms": terms });
    members.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use nockvault::time::Seconds;

    use super::*;

    #[test]
    fn terms_are_told_as_the_file_says_them() {
        let terms = |ttl: u64| Terms {
            ttl: Seconds(ttl),
            max_ttl: Seconds(3600),
            max_uses: None,
            until: None,
            session: None,
            from: vec!["10.0.0.0/8".parse().unwrap()],
            rate: Some("10/m".parse().unwrap()),
        };
        assert_eq!(all(&terms(900)), "ttl 15m max_ttl 1h from 10.0.0.0/8 rate 10/1m");
        assert_eq!(all(&terms(3600)), "ttl 1h from 10.0.0.0/8 rate 10/1m");
        let was = Terms { rate: None, from: Vec::new(), max_uses: Some(3), ..terms(600) };
        let wanted = "ttl 15m, was 10m; max_uses none, was 3; from 10.0.0.0/8, was none; rate 10/1m, was none";
        assert_eq!(other(&terms(900), &was), wanted);
    }
}
