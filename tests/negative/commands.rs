//! Commands. One that is refused changes nothing, and it stands in `_operators` with its reason all the same; one that
//! nobody proved stands nowhere.

use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::Sealed;
use nockvault::crypto::signature::Form;
use nockvault::denial::Reason::{self, *};
use nockvault::id::{ChainName, LeaseId, Nonce};
use nockvault::statement::Body;
use nockvault::statement::agent::{AgentKeyEnd, AgentShow};
use nockvault::statement::audit_read::AuditRead;
use nockvault::statement::ca::{CaCertify, CaCreate, CaImport, CaShow};
use nockvault::statement::grant::{GrantCreate, GrantRevoke, Rate, Terms};
use nockvault::statement::lease::{LeaseRevoke, Scope};
use nockvault::statement::role::{RoleCheck, RoleCreate, RoleRotate, RoleShow};
use nockvault::statement::secret::{SecretPut, SecretRollback, SecretUse, SecretVersions};
use nockvault::statement::status::StatusRead;
use nockvault::time::Seconds;
use nockvault::vault::operate::Call;
use serde_json::{Value, json};

use crate::stage::Stage;
use crate::support::picture::Picture;
use crate::support::{CALLS, START, call, new_key, terms};

/// What a refused command may change.
const COMMAND: [&str; 4] = ["chains", "lines", "nonces", "nonces_live"];

async fn refused<B: Body>(stage: &Stage, name: &str, body: B, wanted: Reason) {
    let before = stage.vault.picture();
    let refusal = stage.vault.order_refused(body).await;
    assert_eq!(refusal.reason, wanted, "{name}: {}", refusal.denial);
    assert!(refusal.said.is_some(), "{name}");
    chained(stage, name, &before, wanted).await;
}

async fn chained(stage: &Stage, name: &str, before: &Picture, wanted: Reason) {
    let after = stage.vault.picture();
    let changed = before.changed(&after);
    assert!(changed.iter().all(|table| COMMAND.contains(table)), "{name}: {changed:?}");
    assert_eq!(before.count("lines") + 1, after.count("lines"), "{name}");
    let entries = stage.vault.entries(&ChainName::operators()).await;
    let newest = entries.last().unwrap();
    assert_eq!(
        (&newest["kind"], &newest["body"]["result"]),
        (&json!("command"), &json!({"denied": wanted.code()})),
        "{name}"
    );
}

fn grant(role: &str, terms: Terms) -> GrantCreate {
    GrantCreate { agent: "ada".parse().unwrap(), role: role.parse().unwrap(), terms }
}

fn role(name: &str, engine: &str, config: Value) -> RoleCreate {
    RoleCreate { role: name.parse().unwrap(), engine: engine.into(), config: config.as_object().cloned().unwrap() }
}

#[tokio::test]
async fn a_command_that_does_not_fit_changes_nothing_and_stands_in_the_chain() {
    let stage = Stage::set().await;
    let s = &stage;
    s.vault.role("locked", "fake", json!({"secret": "not-there"})).await;
    let users = CaCreate { name: "users".parse().unwrap(), engine: "ssh".into(), wish: Default::default() };
    s.vault.order(users).await;
    let ada = || "ada".parse().unwrap();
    let nobody = GrantCreate { agent: "nobody".parse().unwrap(), ..grant("orders", terms()) };
    refused(s, "grant to nobody", nobody, NotFound).await;
    refused(s, "grant of no role", grant("nothing", terms()), NotFound).await;
    refused(s, "grant once more", grant("ada-only", terms()), AlreadyExists).await;
    for (name, terms) in [
        ("no life", Terms { ttl: Seconds(0), ..terms() }),
        ("a life past the longest", Terms { ttl: Seconds(3601), ..terms() }),
        ("no uses", Terms { max_uses: Some(0), ..terms() }),
        ("a rate of none", Terms { rate: Some(Rate { count: 0, per: Seconds(1) }), ..terms() }),
        ("a rate in no time", Terms { rate: Some(Rate { count: 1, per: Seconds(0) }), ..terms() }),
        ("until yesterday", Terms { until: Some(START), ..terms() }),
    ] {
        refused(s, name, grant("orders", terms), BadTerms).await;
    }
    refused(s, "revoke no grant", GrantRevoke { agent: ada(), role: "orders".parse().unwrap() }, NotFound).await;
    refused(s, "a role once more", role("orders", "kv", json!({"secret": "orders"})), AlreadyExists).await;
    refused(s, "a role of no engine", role("new", "shell", json!({})), BadRole).await;
    refused(s, "a role of another's members", role("new", "kv", json!({"audience": ["a"]})), BadRole).await;
    refused(s, "a role by a way round", role("new", "kv", json!({"secret": "../orders"})), BadRole).await;
    refused(s, "a token for nobody", role("new", "jwt", json!({"audience": []})), BadRole).await;
    refused(
        s,
        "a token that says what is the vault's",
        role("new", "jwt", json!({"audience": ["a"], "claims": {"sub": "x"}})),
        BadRole,
    )
    .await;
    refused(s, "back to no version", SecretRollback { name: "orders".parse().unwrap(), version: 9 }, NotFound).await;
    refused(s, "end no key", AgentKeyEnd { agent: ada(), kid: Some(new_key().kid()), suspect_from: None }, NotFound)
        .await;
    refused(
        s,
        "end another's key",
        AgentKeyEnd { agent: ada(), kid: Some(s.kit.key.kid()), suspect_from: None },
        NotFound,
    )
    .await;
    refused(s, "rotate no role", RoleRotate { role: "nothing".parse().unwrap() }, NotFound).await;
    refused(s, "rotate what has no password", RoleRotate { role: "orders".parse().unwrap() }, BadRole).await;
    refused(s, "rotate what nobody stored", RoleRotate { role: "locked".parse().unwrap() }, SecretMissing).await;
    for (name, engine, wish, wanted) in [
        ("new", "shell", json!({}), BadRole),
        ("new", "kv", json!({}), BadRole),
        ("new", "ssh", json!({"subject": 1}), BadRole),
        ("orders", "ssh", json!({}), AlreadyExists),
        ("users", "ssh", json!({}), AlreadyExists),
    ] {
        let wish = wish.as_object().cloned().unwrap();
        let body = CaCreate { name: name.parse().unwrap(), engine: engine.into(), wish };
        refused(s, &format!("an authority {name} of {engine}"), body, wanted).await;
    }
    for (name, engine, chain, wanted) in [
        ("nothing", "ssh", "", NotFound),
        ("orders", "ssh", "", NotFound),
        ("users", "kv", "", BadRole),
        ("users", "ssh", "-----BEGIN CERTIFICATE-----\n", BadRole),
        ("users", "fake", "-----BEGIN CERTIFICATE-----\n", NotFound),
    ] {
        let body = CaCertify { name: name.parse().unwrap(), engine: engine.into(), chain: chain.into() };
        refused(s, &format!("certify {name} of {engine}"), body, wanted).await;
    }
    refused(
        s,
        "revoke no lease",
        LeaseRevoke { reason: None, scope: Scope::Lease(LeaseId::new(1, [1; 10])) },
        NotFound,
    )
    .await;
    refused(
        s,
        "revoke what is over",
        LeaseRevoke { reason: None, scope: Scope::Lease(s.given_back.clone()) },
        LeaseEnded,
    )
    .await;
}

#[tokio::test]
async fn sealed_input_belongs_to_its_command() {
    let stage = Stage::set().await;
    let (vault, operator) = (&stage.vault, &stage.vault.operator);
    let put = |sealed: Digest| {
        operator.command(SecretPut { name: "new".parse().unwrap(), sealed, expires: None, used: SecretUse::Kv })
    };
    let input = |nonce: &Nonce| vault.seal_input(b"a value", nonce);
    let mut cases = Vec::new();

    cases.push(("no input", put(Digest::ZERO), None));
    let mut command = put(Digest::ZERO);
    let sealed = input(&command.nonce);
    cases.push(("another digest", command.clone(), Some(sealed)));
    let another = put(Digest::ZERO);
    let other = input(&another.nonce);
    command.nonce = crate::support::nonce();
    command.body.sealed = other.digest();
    cases.push(("the input of another command", command, Some(other)));
    let mut command = put(Digest::ZERO);
    let mut changed = input(&command.nonce);
    changed.ct[0] ^= 1;
    command.body.sealed = changed.digest();
    cases.push(("changed input", command, Some(changed)));
    for (name, command, sealed) in cases {
        let before = vault.picture();
        let envelope = operator.sign(&command);
        let req = envelope.digest();
        let refusal = vault.refused(vault.operate(Call::SecretPut, envelope, sealed).await, req);
        assert_eq!(refusal.reason, BadSealedInput, "{name}");
        chained(&stage, name, &before, BadSealedInput).await;
    }
    let mut command = put(Digest::ZERO);
    let large = vault.seal_input(&vec![7; (1 << 20) - 15], &command.nonce);
    command.body.sealed = large.digest();
    let envelope = operator.sign(&command);
    let req = envelope.digest();
    let before = vault.picture();
    assert_eq!(vault.refused(vault.operate(Call::SecretPut, envelope, Some(large)).await, req).reason, Oversize);
    chained(&stage, "too large", &before, Oversize).await;
}

#[tokio::test]
async fn an_authority_that_is_brought_belongs_to_its_command() {
    let stage = Stage::set().await;
    let (vault, operator) = (&stage.vault, &stage.vault.operator);
    let import = |engine: &str, sealed: Digest| {
        operator.command(CaImport { name: "new".parse().unwrap(), engine: engine.into(), sealed })
    };
    let with = |engine: &str, value: &[u8], changed: bool| {
        let mut command = import(engine, Digest::ZERO);
        let mut sealed = vault.seal_input(value, &command.nonce);
        sealed.ct[0] ^= u8::from(changed);
        command.body.sealed = sealed.digest();
        (command, Some(sealed))
    };
    let (mut exchanged, another) = with("fake", b"key-1", false);
    exchanged.body.sealed = Digest::ZERO;
    let cases = [
        ("no input", (import("fake", Digest::ZERO), None), BadSealedInput),
        ("another digest", (exchanged, another), BadSealedInput),
        ("changed input", with("fake", b"key-1", true), BadSealedInput),
        ("no key", with("fake", b"value", false), BadSealedInput),
        ("no key of OpenSSH", with("ssh", b"key-1", false), BadSealedInput),
        ("an engine without authorities", with("kv", b"key-1", false), BadRole),
        ("no engine", with("shell", b"key-1", false), BadRole),
    ];
    for (name, (command, sealed), wanted) in cases {
        let before = vault.picture();
        let envelope = operator.sign(&command);
        let req = envelope.digest();
        let refusal = vault.refused(vault.operate(Call::CaImport, envelope, sealed).await, req);
        assert_eq!(refusal.reason, wanted, "{name}: {}", refusal.denial);
        assert!(!refusal.denial.to_string().contains("key-1"), "{name}");
        chained(&stage, name, &before, wanted).await;
    }
    // The same command twice, with the same input.
    let (command, sealed) = with("fake", b"key-1", false);
    let envelope = operator.sign(&command);
    let copy = || sealed.as_ref().map(|sealed| Sealed { enc: sealed.enc, ct: sealed.ct.clone() });
    let first = vault.operate(Call::CaImport, envelope.clone(), copy()).await;
    vault.released::<nockvault::statement::reply::Executed>(first, envelope.digest());
    let again = vault.operate(Call::CaImport, envelope.clone(), copy()).await;
    assert_eq!(vault.refused(again, envelope.digest()).reason, Replay);
}

#[tokio::test]
async fn a_command_that_nobody_may_believe_leaves_nothing() {
    let stage = Stage::set().await;
    let (vault, operator) = (&stage.vault, &stage.vault.operator);
    let good = || serde_json::to_value(operator.command(grant("orders", terms()))).unwrap();
    let sign = |value: &Value| operator.sign(value);
    let edited = |edit: fn(&mut Value)| {
        let mut value = good();
        edit(&mut value);
        sign(&value)
    };
    let spaced = |envelope: &Envelope| {
        let payload = [envelope.payload.as_slice(), b" "].concat();
        let signature = operator.key.sign(Form::Pae, &envelope.payload_type, &payload);
        Envelope { payload, signature, ..envelope.clone() }
    };
    let large = nockvault::crypto::json::canonical(&json!("x".repeat(64 << 10)));
    let cases = [
        ("another version", edited(|c| c["v"] = json!(2)), UnsupportedVersion),
        ("another vault", edited(|c| c["aud"] = json!(format!("nv1:{}", Digest::ZERO))), WrongVault),
        ("another operator", edited(|c| c["operator"] = json!("eve")), WrongHolder),
        ("another kver", edited(|c| c["kver"] = json!(2)), WrongKey),
        ("too early", edited(|c| c["iat"] = json!(START.0 - 300_001)), ClockSkew),
        ("one member more", edited(|c| c["extra"] = json!(1)), Schema),
        ("one member more in the body", edited(|c| c["body"]["extra"] = json!(1)), Schema),
        (
            "terms without a member",
            edited(|c| drop(c["body"]["terms"].as_object_mut().unwrap().remove("rate"))),
            Schema,
        ),
        ("no body", edited(|c| drop(c.as_object_mut().unwrap().remove("body"))), Schema),
        ("with a space", spaced(&sign(&good())), NotCanonical),
        ("by another key", Envelope::sign(PayloadType::Command, &good(), &new_key(), Form::Pae), Unauthenticated),
        ("as a request", Envelope::sign(PayloadType::Request, &good(), &operator.key, Form::Pae), WrongPayloadType),
        ("too large", Envelope { payload: large, ..sign(&good()) }, Oversize),
    ];
    for (name, envelope, wanted) in cases {
        let before = vault.picture();
        let req = envelope.digest();
        let refusal = vault.refused(vault.operate(Call::GrantCreate, envelope, None).await, req);
        assert_eq!(refusal.reason, wanted, "{name}: {}", refusal.denial);
        assert_eq!(before, vault.picture(), "{name} left something");
    }
    vault.order(grant("orders", terms())).await;
}

#[tokio::test]
async fn each_command_is_taken_by_one_call_and_once() {
    let stage = Stage::set().await;
    let (vault, operator) = (&stage.vault, &stage.vault.operator);
    let before = vault.picture();
    for (typ, own) in CALLS {
        let mut command = serde_json::to_value(operator.command(StatusRead {})).unwrap();
        command["typ"] = json!(typ);
        let envelope = operator.sign(&command);
        for (_, other) in CALLS.iter().filter(|(_, other)| other != own) {
            let outcome = vault.operate(*other, envelope.clone(), None).await;
            assert_eq!(vault.refused(outcome, envelope.digest()).reason, WrongTyp, "{typ} at {other:?}");
        }
        let (outcome, lines) = vault.vault().read_audit(envelope.clone()).await;
        assert_eq!(vault.refused(outcome, envelope.digest()).reason, WrongTyp, "{typ} at ReadAudit");
        assert!(lines.is_empty());
        let (outcome, directory) = vault.vault().read_directory(envelope.clone()).await;
        assert_eq!(vault.refused(outcome, envelope.digest()).reason, WrongTyp, "{typ} at ReadDirectory");
        assert!(directory.is_empty());
    }
    assert_eq!(before, vault.picture());

    // Questions are spent too, though they stand in no chain.
    let show = AgentShow { agent: "kit".parse().unwrap() };
    let envelope = operator.sign(&operator.command(show));
    let first = vault.operate(call(AgentShow::TYP), envelope.clone(), None).await;
    vault.released::<nockvault::statement::reply::Executed>(first, envelope.digest());
    let again = vault.operate(call(AgentShow::TYP), envelope.clone(), None).await;
    assert_eq!(vault.refused(again, envelope.digest()).reason, Replay);
    let envelope = operator.sign(&operator.command(grant("orders", terms())));
    let first = vault.operate(Call::GrantCreate, envelope.clone(), None).await;
    vault.released::<nockvault::statement::reply::Executed>(first, envelope.digest());
    vault.ungrant(&"ada".parse().unwrap(), "orders").await;
    let again = vault.operate(Call::GrantCreate, envelope.clone(), None).await;
    assert_eq!(vault.refused(again, envelope.digest()).reason, Replay, "a grant that was taken back comes back");
}

#[tokio::test]
async fn questions_about_nothing_are_answered_so_and_stand_in_no_chain() {
    let stage = Stage::set().await;
    let before = stage.vault.picture();
    assert_eq!(stage.vault.order_refused(AgentShow { agent: "nobody".parse().unwrap() }).await.reason, NotFound);
    assert_eq!(stage.vault.order_refused(RoleShow { role: "nothing".parse().unwrap() }).await.reason, NotFound);
    let locked = json!({"secret": "not-there"}).as_object().cloned().unwrap();
    for (engine, config, wanted) in [
        ("shell", Default::default(), BadRole),
        ("kv", Default::default(), BadRole),
        ("kv", locked.clone(), SecretMissing),
        ("fake", locked, SecretMissing),
    ] {
        let check = RoleCheck { engine: engine.into(), config };
        assert_eq!(stage.vault.order_refused(check).await.reason, wanted, "{engine}");
    }
    for (name, engine, wanted) in [("nothing", "ssh", NotFound), ("orders", "ssh", NotFound), ("orders", "kv", BadRole)]
    {
        let show = CaShow { name: name.parse().unwrap(), engine: engine.into() };
        assert_eq!(stage.vault.order_refused(show).await.reason, wanted, "{name} of {engine}");
    }
    assert_eq!(stage.vault.order_refused(SecretVersions { name: "nothing".parse().unwrap() }).await.reason, NotFound);
    let changed = before.changed(&stage.vault.picture()).join(" ");
    assert_eq!(changed, "nonces nonces_live");
}

/// A zero bounds nothing away: a list of at most none is refused or gives none, and never all.
#[tokio::test]
async fn a_list_of_at_most_none_is_no_way_to_all() {
    let stage = Stage::set().await;
    let s = &stage.vault;
    for typ in ["agent_list", "approval_list", "audit_list", "grant_list", "lease_list", "role_list", "secret_list"] {
        for (limit, why) in [
            (json!(0), "1 to 1000"),
            (json!(1001), "1 to 1000"),
            (json!(-1), "a whole number"),
            (Value::Null, "a whole number"),
        ] {
            let typ = format!("nockvault/{typ}");
            let mut command = serde_json::to_value(s.operator.command(StatusRead {})).unwrap();
            (command["typ"], command["body"]) = (json!(typ), json!({"page": {"after": "", "limit": limit}}));
            for (of, more) in [("grant_list", "agent"), ("lease_list", "agent")] {
                if typ.ends_with(of) {
                    command["body"][more] = Value::Null;
                }
            }
            if typ.ends_with("lease_list") {
                command["body"]["which"] = json!("all");
            }
            let envelope = s.operator.sign(&command);
            let req = envelope.digest();
            let refusal = s.refused(s.operate(call(&typ), envelope, None).await, req);
            // It is the limit that is refused, and not the form of the question.
            let text = format!("{} {}", refusal.denial, refusal.denial.detail);
            assert!(refusal.reason == Schema && text.contains(why), "{typ} {limit}: {text}");
        }
    }
    for limit in [0, 1001] {
        let read = AuditRead { chain: ChainName::operators(), from: 0, limit };
        let envelope = s.operator.sign(&s.operator.command(read));
        let req = envelope.digest();
        let (outcome, lines) = s.vault().read_audit(envelope).await;
        let refusal = s.refused(outcome, req);
        assert_eq!((refusal.reason, lines.len()), (Schema, 0), "{limit} lines");
    }
}
