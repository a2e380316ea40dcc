//! The lines of the table: for every call what is sent, so that it reaches the question of who asks and, where that one
//! may, is carried out or finds nothing there.

use nockvault::crypto::envelope::PayloadType;
use nockvault::crypto::hash::Digest;
use nockvault::statement::explain::Explain;
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::operator::Duty;
use nockvault::statement::session::{Close, Hello};
use nockvault::time::Seconds;
use nockvault::wire::v1::SignedEnvelope;
use prost::Message as _;
use serde_json::{Value, json};

use crate::stage::{Asked, Asker, Stage};
use crate::support::agent::Agent;
use crate::support::{Operator, new_key, terms};

/// What is sent.
pub(crate) enum Says {
    /// A command of this body.
    Command(fn(&Stage, &Asker) -> Value),
    /// This request.
    Request(fn(&Stage, &Agent) -> Value),
    /// A message without a signature.
    Unsigned(fn(&Stage) -> Asked),
}

/// A line.
pub(crate) struct Line {
    pub(crate) rpc: &'static str,
    /// What it is about, where a call has several lines.
    pub(crate) of: &'static str,
    pub(crate) typ: &'static str,
    pub(crate) says: Says,
}

const fn command(rpc: &'static str, typ: &'static str, body: fn(&Stage, &Asker) -> Value) -> Line {
    Line { rpc, of: "", typ, says: Says::Command(body) }
}

const fn command_of(rpc: &'static str, of: &'static str, typ: &'static str, body: fn(&Stage, &Asker) -> Value) -> Line {
    Line { rpc, of, typ, says: Says::Command(body) }
}

const fn request(rpc: &'static str, of: &'static str, typ: &'static str, says: fn(&Stage, &Agent) -> Value) -> Line {
    Line { rpc, of, typ, says: Says::Request(says) }
}

const fn unsigned(rpc: &'static str, message: fn(&Stage) -> Asked) -> Line {
    Line { rpc, of: "", typ: "", says: Says::Unsigned(message) }
}

/// Every line, in the order of the contract.
#[rustfmt::skip]
pub(crate) const LINES: &[Line] = &[
    unsigned("DescribeVault", |_| Asked::of(vec![7; 32])),
    request("OpenSession", "its own", "nockvault/hello", |_, a| hello(a)),
    request("OpenSession", "in another's name", "nockvault/hello", |_, a| named(hello(a))),
    request("RequestCredential", "a role granted to it", "nockvault/issue", |_, a| a.issue_value("orders-read")),
    request("RequestCredential", "another's role", "nockvault/issue", |_, a| a.issue_value("billing")),
    request("RequestCredential", "in another's name", "nockvault/issue", |_, a| named(a.issue_value("billing"))),
    request("RenewLease", "its own", "nockvault/renew", |s, a| renew(a, &s.own)),
    request("RenewLease", "another's lease", "nockvault/renew", |s, a| renew(a, &s.others)),
    request("RenewLease", "in another's session", "nockvault/renew", |s, a| inside(renew(a, &s.others))),
    request("RenewLease", "in another's name", "nockvault/renew", |s, a| named(renew(a, &s.others))),
    request("ReleaseLease", "its own", "nockvault/release", |s, a| release(a, &s.own)),
    request("ReleaseLease", "another's lease", "nockvault/release", |s, a| release(a, &s.others)),
    request("ReleaseLease", "in another's session", "nockvault/release", |s, a| inside(release(a, &s.others))),
    request("ReleaseLease", "in another's name", "nockvault/release", |s, a| named(release(a, &s.others))),
    request("CloseSession", "its own", "nockvault/close", |_, a| close(a)),
    request("CloseSession", "another's session", "nockvault/close", |_, a| inside(close(a))),
    request("CloseSession", "in another's name", "nockvault/close", |_, a| named(inside(close(a)))),
    request("RotateKey", "another's key", "nockvault/rotate_key", |s, a| rotate(a, &s.other)),
    request("RotateKey", "in another's name", "nockvault/rotate_key", |s, a| named(rotate(a, &s.other))),
    request("RotateKey", "its own", "nockvault/rotate_key", |_, a| rotate(a, a)),

    command("ReadStatus", "nockvault/status_read", |_, _| json!({})),
    command("Explain", "nockvault/explain", |_, _| explain()),
    command("ReadDoctor", "nockvault/doctor_read", |_, _| json!({"probe": false})),
    command_of("RegisterAgent", "a first key", "nockvault/agent_register", first_key),
    command_of("RegisterAgent", "a further key", "nockvault/agent_register",
        |s, _| json!({"register": s.other.rotation(&new_key()).new})),
    command("ListAgents", "nockvault/agent_list", |_, _| page()),
    command("ShowAgent", "nockvault/agent_show", |_, _| json!({"agent": "ada"})),
    command("EndAgentKey", "nockvault/agent_key_end",
        |_, _| json!({"agent": "mira", "kid": new_key().kid(), "suspect_from": null})),
    command("FreezeAgent", "nockvault/agent_freeze", |_, _| json!({"agent": "mira", "reason": "a drill"})),
    command("ThawAgent", "nockvault/agent_thaw", |_, _| json!({"agent": "mira"})),
    command("FreezeVault", "nockvault/vault_freeze", |_, _| json!({"reason": "a drill"})),
    command("ThawVault", "nockvault/vault_thaw", |_, _| json!({})),
    command("FreezeRole", "nockvault/role_freeze", |_, _| json!({"reason": "a drill", "role": "billing"})),
    command("ThawRole", "nockvault/role_thaw", |_, _| json!({"role": "billing"})),
    command("ListCustodians", "nockvault/custody_list", |_, _| json!({})),
    command("AddCustodian", "nockvault/custody_add",
        |s, _| json!({"kind": {"name": "file"}, "name": "spare", "public": s.other.seal_statement().pk})),
    command("RemoveCustodian", "nockvault/custody_remove", |_, _| json!({"name": "nothing"})),
    command("RotateRoot", "nockvault/custody_rotate", |_, _| json!({})),
    command("CreateRole", "nockvault/role_create",
        |_, _| json!({"config": {"audience": ["more"]}, "engine": "jwt", "role": "more"})),
    command("CheckRole", "nockvault/role_check", |_, _| json!({"config": {"audience": ["more"]}, "engine": "jwt"})),
    command("RotateRole", "nockvault/role_rotate", |_, _| json!({"role": "billing"})),
    command("ListRoles", "nockvault/role_list", |_, _| page()),
    command("ShowRole", "nockvault/role_show", |_, _| json!({"role": "billing"})),
    command("PutSecret", "nockvault/secret_put",
        |_, _| json!({"expires": null, "name": "more", "sealed": Digest::ZERO, "use": "kv"})),
    command("RollbackSecret", "nockvault/secret_rollback", |_, _| json!({"name": "nothing", "version": 1})),
    command("ListSecrets", "nockvault/secret_list", |_, _| page()),
    command("ListSecretVersions", "nockvault/secret_versions", |_, _| json!({"name": "users"})),
    command("CreateCa", "nockvault/ca_create", |_, _| json!({"engine": "ssh", "name": "hosts", "wish": {}})),
    command("ImportCa", "nockvault/ca_import", |_, _| json!({"engine": "ssh", "name": "brought", "sealed": Digest::ZERO})),
    command("CertifyCa", "nockvault/ca_certify", |_, _| json!({"chain": "", "engine": "ssh", "name": "nothing"})),
    command("ShowCa", "nockvault/ca_show", |_, _| json!({"engine": "ssh", "name": "users"})),
    command_of("CreateGrant", "a role of theirs", "nockvault/grant_create", |_, _| grant("orders-read")),
    command_of("CreateGrant", "another role", "nockvault/grant_create", |_, _| grant("billing")),
    command("ListGrants", "nockvault/grant_list", |_, _| json!({"agent": null, "page": page_alone()})),
    command_of("RevokeGrant", "a role of theirs", "nockvault/grant_revoke",
        |_, _| json!({"agent": "mira", "role": "orders-read"})),
    command_of("RevokeGrant", "another role", "nockvault/grant_revoke", |_, _| json!({"agent": "ada", "role": "billing"})),
    command("ListLeases", "nockvault/lease_list", |_, _| json!({"agent": null, "page": page_alone(), "which": "all"})),
    command("ShowLease", "nockvault/lease_show", |s, _| json!({"lease": s.others})),
    command("RevokeLeases", "nockvault/lease_revoke", |_, _| json!({"scope": {"agent": "mira"}})),
    command("ForgetLease", "nockvault/lease_forget", |s, _| json!({"lease": s.others})),
    command("RotateVaultKey", "nockvault/key_rotate", |_, _| json!({"ahead": 600, "role": "jwt", "withdraw": false})),
    command("RotateRing", "nockvault/ring_rotate", |_, _| json!({})),
    command("ResetClock", "nockvault/clock_reset", |_, _| json!({})),
    command("MakeBackup", "nockvault/backup", |_, _| json!({})),
    command("RegisterOperator", "nockvault/operator_register", first_operator_key),
    command("SetOperatorDuty", "nockvault/operator_duty",
        |_, _| json!({"duty": {"name": "admin"}, "operator": "nobody"})),
    command("EndOperatorKey", "nockvault/operator_key_end",
        |_, _| json!({"kid": null, "operator": "nobody", "suspect_from": null})),
    command_of("RotateOperatorKey", "another's key", "nockvault/operator_rotate", |s, w| next_key(another(s, w))),
    command_of("RotateOperatorKey", "its own key", "nockvault/operator_rotate", |_, w| next_key(&w.operator)),
    command("ListOperators", "nockvault/operator_list", |_, _| json!({})),
    command("ShowOperator", "nockvault/operator_show", |_, _| json!({"operator": "ada"})),
    command("SetPolicy", "nockvault/policy_set", |_, _| json!({"rules": {}, "wait": 60})),
    command("ShowPolicy", "nockvault/policy_show", |_, _| json!({})),
    command("Approve", "nockvault/approve", |_, _| json!({"command": Digest::ZERO})),
    command("Withdraw", "nockvault/withdraw", |_, _| json!({"command": Digest::ZERO})),
    command("ListApprovals", "nockvault/approval_list", |_, _| page()),
    command("ListChains", "nockvault/audit_list", |_, _| page()),
    command("ReadCheckpoint", "nockvault/audit_checkpoint", |_, _| json!({"chain": "_operators"})),
    command("ProveEntry", "nockvault/audit_prove", |_, _| json!({"chain": "_operators", "seq": 0})),
    command("ReadAudit", "nockvault/audit_read", |_, _| json!({"chain": "_operators", "from": 0, "limit": 10})),
    command("ReadDirectory", "nockvault/directory_read", |_, _| json!({})),
    command("SealVault", "nockvault/vault_seal", |_, _| json!({"reason": "a drill"})),

    unsigned("ReadCustody", |_| Asked::default()),
    unsigned("Unseal", |_| Asked { first: b"file".to_vec(), sealed_enc: vec![9; 32], sealed_ct: vec![9; 48] }),
    unsigned("WithdrawShares", |_| Asked::of(b"file".to_vec())),
    unsigned("Recover", |s| Asked { sealed_enc: vec![9; 32], sealed_ct: vec![9; 48], ..Asked::of(statement(s)) }),
];

// --- what agents sign

fn value(request: &impl serde::Serialize) -> Value {
    serde_json::to_value(request).unwrap()
}

fn hello(agent: &Agent) -> Value {
    value(&agent.request(Hello { seal: agent.seal_statement() }))
}

fn renew(agent: &Agent, lease: &Value) -> Value {
    value(&agent.request(Renew { lease: serde_json::from_value(lease.clone()).unwrap(), ttl: Seconds(0) }))
}

fn release(agent: &Agent, lease: &Value) -> Value {
    value(&agent.request(Release::Lease(serde_json::from_value(lease.clone()).unwrap())))
}

fn close(agent: &Agent) -> Value {
    value(&agent.request(Close {}))
}

/// A new key in the place of that of `whose`, in a session that was not closed.
fn rotate(agent: &Agent, whose: &Agent) -> Value {
    let mut request = value(&agent.request(whose.rotation(&new_key())));
    request["sid"] = json!("after");
    request
}

/// The same in the other agent's name.
fn named(mut request: Value) -> Value {
    request["agent"] = json!("mira");
    request
}

/// The same in the other agent's session.
fn inside(mut request: Value) -> Value {
    request["sid"] = json!("private");
    request
}

// --- what operators sign

fn page_alone() -> Value {
    json!({"after": "", "limit": 100})
}

fn page() -> Value {
    json!({"page": page_alone()})
}

fn grant(role: &str) -> Value {
    let to = if role == "billing" { "ada" } else { "mira" };
    json!({"agent": to, "role": role, "terms": terms()})
}

fn explain() -> Value {
    let revoke = GrantRevoke { agent: "mira".parse().unwrap(), role: "billing".parse().unwrap() };
    value(&Explain::Revoke(revoke))
}

fn first_key(stage: &Stage, asker: &Asker) -> Value {
    let agent = stage.newcomer(&format!("new-{}", asker.column));
    json!({"register": agent.register_statement().sign(&agent.key)})
}

fn first_operator_key(stage: &Stage, asker: &Asker) -> Value {
    let key = stage.newcomer("unused").key;
    let name = format!("new-{}", asker.column).parse().unwrap();
    value(&Operator { name, key, kver: 1, ..asker.operator.again() }.registration(Some(Duty::Admin)))
}

/// The statement of an operator whom nobody registered, on the wire.
fn statement(stage: &Stage) -> Vec<u8> {
    let (name, key) = ("recovered".parse().unwrap(), stage.newcomer("unused").key);
    let register = Operator { name, key, kver: 1, ..stage.askers[0].operator.again() }.registration(None).register;
    SignedEnvelope::from(register.open(PayloadType::Register)).encode_to_vec()
}

/// An operator who is not this one.
fn another<'a>(stage: &'a Stage, asker: &Asker) -> &'a Operator {
    let of = |column: &str| &stage.askers.iter().find(|asker| asker.column == column).unwrap().operator;
    if asker.column == "admin" { of("auditor") } else { of("admin") }
}

fn next_key(operator: &Operator) -> Value {
    json!({"register": operator.next().register_after(Some(operator.key.kid()))})
}
