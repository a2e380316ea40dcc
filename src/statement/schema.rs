//! The published JSON Schemas (draft 2020-12) of all statements, made from their Rust types. A test holds the files
//! under `proto/schema/` against [`all`].

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::command::Command;
use super::request::Request;
use super::{
    Body, agent, approval, audit_read, backup, ca, cert, clock, custody, directory, doctor, explain, freeze, grant,
    issue, key, lease, operator, register, reply, role, rotate_key, seal, secret, session, status,
};

/// One flat object out of two: the common members, then those of the `typ`, whose name becomes the only value of `typ`.
pub(super) fn merged(common: Schema, body: Schema, typ: &str) -> Schema {
    let mut whole = common.to_value();
    let body = body.to_value();
    for member in ["properties", "required"] {
        match (&mut whole[member], &body[member]) {
            (Value::Object(all), Value::Object(more)) => all.extend(more.clone()),
            (Value::Array(all), Value::Array(more)) => all.extend(more.iter().cloned()),
            _ => {}
        }
    }
    for member in ["oneOf", "anyOf", "description"] {
        if let Some(value) = body.get(member) {
            whole[member] = value.clone();
        }
    }
    constant(&mut whole, typ);
    Schema::try_from(whole).expect("an object is a schema")
}

fn constant(schema: &mut Value, typ: &str) {
    schema["properties"]["typ"] = json!({ "const": typ });
    schema["properties"]["v"] = json!({ "const": super::VERSION });
}

fn one<T: JsonSchema>(typ: &str) -> (String, Value) {
    let mut schema =
        SchemaGenerator::new(schemars::generate::SchemaSettings::draft2020_12()).into_root_schema_for::<T>().to_value();
    constant(&mut schema, typ);
    require_nullable(&mut schema);
    schema["title"] = json!(typ);
    (typ.trim_start_matches("nockvault/").to_owned(), schema)
}

/// A member that may be `null` is always there: one that is left out is another statement.
fn require_nullable(schema: &mut Value) {
    let nullable = |member: &Value| {
        let null = |kind: &Value| kind == "null" || kind["type"] == "null";
        ["type", "anyOf"].iter().any(|key| member[*key].as_array().is_some_and(|kinds| kinds.iter().any(null)))
    };
    if let Some(members) = schema.get("properties").and_then(Value::as_object) {
        let names: Vec<Value> =
            members.iter().filter(|(_, member)| nullable(member)).map(|(name, _)| json!(name)).collect();
        if let (false, Some(required)) = (names.is_empty(), schema.get_mut("required").and_then(Value::as_array_mut)) {
            required.extend(names.into_iter().filter(|name| !required.contains(name)).collect::<Vec<_>>());
        }
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(require_nullable),
        Value::Array(items) => items.iter_mut().for_each(require_nullable),
        _ => {}
    }
}

fn request<B: Body>() -> (String, Value) {
    one::<Request<B>>(B::TYP)
}

fn command<B: Body>() -> (String, Value) {
    one::<Command<B>>(B::TYP)
}

/// Every statement's schema by the last part of its `typ`.
#[must_use]
pub fn all() -> Map<String, Value> {
    [
        request::<session::Hello>(),
        request::<issue::Issue>(),
        request::<lease::Renew>(),
        request::<lease::Release>(),
        request::<session::Close>(),
        request::<rotate_key::RotateKey>(),
        command::<status::StatusRead>(),
        command::<explain::Explain>(),
        command::<doctor::DoctorRead>(),
        command::<agent::AgentRegister>(),
        command::<agent::AgentList>(),
        command::<agent::AgentShow>(),
        command::<agent::AgentKeyEnd>(),
        command::<agent::AgentFreeze>(),
        command::<agent::AgentThaw>(),
        command::<freeze::VaultFreeze>(),
        command::<freeze::VaultThaw>(),
        command::<freeze::RoleFreeze>(),
        command::<freeze::RoleThaw>(),
        command::<seal::VaultSeal>(),
        command::<custody::CustodyList>(),
        command::<custody::CustodyAdd>(),
        command::<custody::CustodyRemove>(),
        command::<custody::CustodyRotate>(),
        command::<role::RoleCreate>(),
        command::<role::RoleCheck>(),
        command::<role::RoleRotate>(),
        command::<role::RoleList>(),
        command::<role::RoleShow>(),
        command::<secret::SecretPut>(),
        command::<secret::SecretRollback>(),
        command::<secret::SecretList>(),
        command::<secret::SecretVersions>(),
        command::<ca::CaCreate>(),
        command::<ca::CaImport>(),
        command::<ca::CaCertify>(),
        command::<ca::CaShow>(),
        command::<grant::GrantCreate>(),
        command::<grant::GrantList>(),
        command::<grant::GrantRevoke>(),
        command::<lease::LeaseList>(),
        command::<lease::LeaseShow>(),
        command::<lease::LeaseRevoke>(),
        command::<lease::LeaseForget>(),
        command::<key::KeyRotate>(),
        command::<key::RingRotate>(),
        command::<clock::ClockReset>(),
        command::<operator::OperatorRegister>(),
        command::<operator::OperatorDuty>(),
        command::<operator::OperatorKeyEnd>(),
        command::<operator::OperatorRotate>(),
        command::<operator::OperatorList>(),
        command::<operator::OperatorShow>(),
        command::<approval::PolicySet>(),
        command::<approval::PolicyShow>(),
        command::<approval::Approve>(),
        command::<approval::Withdraw>(),
        command::<approval::ApprovalList>(),
        command::<backup::Backup>(),
        command::<audit_read::AuditRead>(),
        command::<audit_read::AuditList>(),
        command::<audit_read::AuditCheckpoint>(),
        command::<audit_read::AuditProve>(),
        command::<directory::DirectoryRead>(),
        one::<register::Register>(register::TYP),
        one::<cert::Cert>(cert::TYP),
        one::<reply::Issued>(reply::Issued::TYP),
        one::<reply::Opened>(reply::Opened::TYP),
        one::<reply::Renewed>(reply::Renewed::TYP),
        one::<reply::Released>(reply::Released::TYP),
        one::<reply::Closed>(reply::Closed::TYP),
        one::<reply::Rotated>(reply::Rotated::TYP),
        one::<reply::Executed>(reply::Executed::TYP),
        one::<reply::Denied>(reply::Denied::TYP),
        one::<reply::Described>(reply::Described::TYP),
        one::<directory::Directory>(directory::TYP),
    ]
    .into_iter()
    .collect()
}

/// The `typ` of every statement that a vault takes.
#[must_use]
pub fn accepted() -> Vec<&'static str> {
    vec![
        session::Hello::TYP,
        issue::Issue::TYP,
        lease::Renew::TYP,
        lease::Release::TYP,
        session::Close::TYP,
        rotate_key::RotateKey::TYP,
        status::StatusRead::TYP,
        explain::Explain::TYP,
        doctor::DoctorRead::TYP,
        agent::AgentRegister::TYP,
        agent::AgentList::TYP,
        agent::AgentShow::TYP,
        agent::AgentKeyEnd::TYP,
        agent::AgentFreeze::TYP,
        agent::AgentThaw::TYP,
        freeze::VaultFreeze::TYP,
        freeze::VaultThaw::TYP,
        freeze::RoleFreeze::TYP,
        freeze::RoleThaw::TYP,
        seal::VaultSeal::TYP,
        custody::CustodyList::TYP,
        custody::CustodyAdd::TYP,
        custody::CustodyRemove::TYP,
        custody::CustodyRotate::TYP,
        role::RoleCreate::TYP,
        role::RoleCheck::TYP,
        role::RoleRotate::TYP,
        role::RoleList::TYP,
        role::RoleShow::TYP,
        secret::SecretPut::TYP,
        secret::SecretRollback::TYP,
        secret::SecretList::TYP,
        secret::SecretVersions::TYP,
        ca::CaCreate::TYP,
        ca::CaImport::TYP,
        ca::CaCertify::TYP,
        ca::CaShow::TYP,
        grant::GrantCreate::TYP,
        grant::GrantList::TYP,
        grant::GrantRevoke::TYP,
        lease::LeaseList::TYP,
        lease::LeaseShow::TYP,
        lease::LeaseRevoke::TYP,
        lease::LeaseForget::TYP,
        key::KeyRotate::TYP,
        key::RingRotate::TYP,
        clock::ClockReset::TYP,
        operator::OperatorRegister::TYP,
        operator::OperatorDuty::TYP,
        operator::OperatorKeyEnd::TYP,
        operator::OperatorRotate::TYP,
        operator::OperatorList::TYP,
        operator::OperatorShow::TYP,
        approval::PolicySet::TYP,
        approval::PolicyShow::TYP,
        approval::Approve::TYP,
        approval::Withdraw::TYP,
        approval::ApprovalList::TYP,
        backup::Backup::TYP,
        audit_read::AuditRead::TYP,
        audit_read::AuditList::TYP,
        audit_read::AuditCheckpoint::TYP,
        audit_read::AuditProve::TYP,
        directory::DirectoryRead::TYP,
        register::TYP,
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_accepted_is_what_somebody_else_signs() {
        let has = |schema: &Value, member: &str| schema["properties"].get(member).is_some();
        let signed = |schema: &Value| {
            (has(schema, "operator") && has(schema, "body")) || (has(schema, "sid") && has(schema, "seen"))
        };
        let all = all();
        let of_others = all.values().filter(|schema| signed(schema)).map(|schema| schema["title"].as_str().unwrap());
        let wanted: BTreeSet<&str> = of_others.chain([register::TYP]).collect();
        assert_eq!(accepted().into_iter().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(accepted().len(), wanted.len());
    }

    #[test]
    fn what_may_be_null_is_required_however_deep_it_stands() {
        let shape = |required: &[&str]| {
            json!([{ "properties": {
                "both": { "type": ["string", "null"] },
                "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                "other": { "anyOf": [{ "$ref": "#/$defs/Other" }, { "type": "null" }] },
                "there": { "type": "string" },
            }, "required": required }])
        };
        let mut schema = shape(&["there"]);
        require_nullable(&mut schema);
        assert_eq!(schema, shape(&["there", "both", "other"]));
        require_nullable(&mut schema);
        assert_eq!(schema, shape(&["there", "both", "other"]), "and each once");
    }
}
