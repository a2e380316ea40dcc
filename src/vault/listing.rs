//! How the vault's things look in the `result` of a signed answer: plain JSON objects with the words of the house.
//! Instants are milliseconds, durations seconds. No secret and no sealed value is ever among them.

use serde_json::{Map, Value, json};

use crate::authz::policy::{GUARDED, strictest};
use crate::crypto::hash::Digest;
use crate::grant::Role;
use crate::id::ChainName;
use crate::lease::Lease;
use crate::registry::{Agent, Duty, HeldKey, Operator};
use crate::seal::custody::Custodian;
use crate::statement::approval::PolicySet;
use crate::statement::request::Seen;
use crate::store::{GrantInUse, KeptCustodian, Lines, Listed, Noted, SecretVersion, Waiting};

type Object = Map<String, Value>;

fn object(value: Value) -> Object {
    match value {
        Value::Object(members) => members,
        _ => Object::new(),
    }
}

/// `{"items": [..], "next": TEXT | null}`
pub(super) fn page<T>(listed: Listed<T>, one: impl Fn(&T) -> Object) -> Object {
    let items: Vec<Value> = listed.items.iter().map(|item| Value::Object(one(item))).collect();
    object(json!({ "items": items, "next": listed.next }))
}

/// A list that is always whole.
pub(super) fn whole(items: impl Iterator<Item = Object>) -> Object {
    object(json!({ "items": items.map(Value::Object).collect::<Vec<_>>(), "next": null }))
}

/// An agent in a list.
pub(super) fn agent(agent: &Agent) -> Object {
    let newest = agent.newest();
    object(json!({
        "agent": agent.name,
        "ended": newest.and_then(|key| key.ended),
        "frozen": agent.frozen,
        "grants": agent.grants.len(),
        "kid": newest.map(|key| &key.kid),
        "kver": newest.map(|key| key.kver),
        "since": agent.since,
    }))
}

/// An agent with all there is to know of it.
pub(super) fn agent_whole(agent: &Agent, head: Seen) -> Object {
    let grants: Vec<Value> = agent
        .grants
        .iter()
        .map(|grant| json!({ "role": grant.role, "seq": grant.seq, "since": grant.since }))
        .collect();
    object(json!({
        "agent": agent.name,
        "chain": head,
        "frozen": agent.frozen,
        "grants": grants,
        "keys": agent.keys.iter().map(key).collect::<Vec<_>>(),
        "since": agent.since,
    }))
}

/// An operator in a list.
pub(super) fn operator(operator: &Operator) -> Object {
    let newest = operator.newest();
    let roles = match &operator.duty {
        Duty::Grantor { roles } => Some(roles),
        _ => None,
    };
    object(json!({
        "duty": operator.duty.name(),
        "kid": newest.map(|key| &key.kid),
        "kver": newest.map(|key| key.kver),
        "operator": operator.name,
        "out": !operator.lives(),
        "roles": roles,
        "since": operator.since,
    }))
}

/// An operator with its keys.
pub(super) fn operator_whole(one: &Operator) -> Object {
    let mut whole = operator(one);
    whole.retain(|member, _| member != "kid" && member != "kver");
    whole.insert("keys".to_owned(), one.keys.iter().map(key).collect());
    whole
}

fn key(key: &HeldKey) -> Value {
    json!({
        "ended": key.ended,
        "form": key.form,
        "grace": key.grace,
        "kid": key.kid,
        "kver": key.kver,
        "since": key.since,
    })
}

/// A role.
pub(super) fn role(role: &Role) -> Object {
    object(json!({
        "config": role.config,
        "engine": role.engine,
        "frozen": role.frozen,
        "role": role.name,
        "since": role.since,
    }))
}

/// A custodian. What the root key is sealed in is nobody's to ask for.
pub(super) fn custodian(kept: &KeptCustodian) -> Object {
    let Custodian { who, root, .. } = &kept.custodian;
    object(json!({
        "automatic": who.kind.is_automatic(),
        "custodian": who.name,
        "kind": who.kind.name(),
        "params": who.kind,
        "public": who.public,
        "root": root,
        "since": kept.since,
    }))
}

/// The rules of several persons with what follows from them: by how many operators what guards the rules must be wanted, and
/// how many admins are in force for it.
pub(super) fn policy(policy: &PolicySet, admins: usize) -> Object {
    let strictest = strictest(&policy.rules);
    let guarded = GUARDED.iter().filter(|_| strictest > 1);
    object(json!({
        "admins": admins,
        "enough": admins as u64 >= strictest,
        "guarded": guarded.collect::<Vec<_>>(),
        "rules": policy.rules,
        "strictest": strictest,
        "wait": policy.wait,
    }))
}

/// A command that waits for approval, as it was signed.
pub(super) fn waiting(waiting: &Waiting) -> Object {
    object(json!({
        "approvals": waiting.approvals,
        "command": waiting.command,
        "entry": waiting.entry,
        "envelope": waiting.envelope,
        "expires": waiting.expires,
        "missing": waiting.persons.saturating_sub(1 + waiting.approvals.len() as u64),
        "operator": waiting.operator,
        "persons": waiting.persons,
        "since": waiting.since,
    }))
}

/// A version of a stored secret.
pub(super) fn secret(secret: &SecretVersion) -> Object {
    object(json!({
        "bytes": secret.bytes,
        "expires": secret.expires,
        "name": secret.name,
        "since": secret.since,
        "use": secret.used,
        "version": secret.version,
    }))
}

/// A grant and what it has given.
pub(super) fn grant(given: &GrantInUse) -> Object {
    let grant = &given.grant;
    object(json!({
        "agent": grant.agent,
        "role": grant.role,
        "seq": grant.seq,
        "since": grant.since,
        "terms": grant.terms,
        "uses": given.uses.count,
    }))
}

/// A lease.
pub(super) fn lease(lease: &Lease) -> Object {
    object(json!({
        "agent": lease.agent,
        "ended": lease.ended,
        "expires": lease.expires,
        "grant": lease.grant,
        "handle": lease.handle,
        "issued": lease.issued,
        "latest": lease.latest,
        "lease": lease.id,
        "renewable": lease.renewable,
        "revocation": lease.revocation,
        "role": lease.role,
        "sid": lease.sid,
        "state": lease.state.as_str(),
        "undo": lease.undo.as_ref().filter(|_| lease.state.ended()).map(|undo| json!({
            "fault": undo.fault,
            "retry": undo.retry,
            "tries": undo.tries,
        })),
    }))
}

/// A chain and its newest state.
pub(super) fn chain((chain, head): &(ChainName, Seen)) -> Object {
    object(json!({ "chain": chain, "head": head.head, "size": head.size }))
}

/// A checkpoint: its note with the lines of witnesses, and the certificate of its key.
pub(super) fn checkpoint(chain: &ChainName, noted: &Noted) -> Object {
    let cosigned: String = noted.cosigned.iter().map(|line| format!("{line}\n")).collect();
    object(json!({
        "cert": noted.cert,
        "chain": chain,
        "cosigned": noted.cosigned.len(),
        "note": format!("{}{cosigned}", noted.note),
        "size": noted.seq,
    }))
}

/// What an answer says of a text beside it: how many bytes, and H(text).
pub(super) fn text(text: &str) -> Object {
    object(json!({ "bytes": text.len(), "digest": Digest::of(text.as_bytes()) }))
}

/// What an answer says of the audit lines beside it: from where, how many, H(each line and LF, concatenated).
pub(super) fn lines(chain: &ChainName, from: u64, part: &Lines) -> Object {
    let with_ends: Vec<&[u8]> = part.lines.iter().flat_map(|line| [line.as_slice(), b"\n"]).collect();
    object(json!({
        "chain": chain,
        "count": part.lines.len(),
        "digest": Digest::of_parts(&with_ends),
        "from": from,
        "head": part.head,
    }))
}
