//! Good examples of each format, for the fuzzer to begin with. They are made here, of the house's own functions and of the
//! published schemas, and come out alike each time; those of trails are made in `tests/tamper/seeds.rs`.
//! `NOCKVAULT_REGENERATE=1` writes them anew. Seeds named `found-..` are inputs that once broke a reader; nobody makes
//! those.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::audit::nockguard::written::{Decision, Head, NewRow};
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::witness::{AddCheckpoint, WitnessKey, cosign};
use nockvault::client::keyfile::hex;
use nockvault::client::passphrase::lock;
use nockvault::config::{self, Places};
use nockvault::crypto::aead::Place;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::json::{canonical, canonical_value};
use nockvault::crypto::signature::Form;
use nockvault::id::{LeaseId, handle};
use nockvault::seal::at_rest::Ring;
use nockvault::seal::backup::{About, Manifest, Part, Sealing};
use nockvault::seal::custody::Appointed;
use nockvault::seal::custody::shares::split;
use nockvault::secret::SecretBytes;
use nockvault::statement::card::{Card, Genesis};
use nockvault::statement::reply::EntryRef;
use nockvault::statement::schema;
use nockvault::time::Timestamp;
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::{DescribeVaultRequest, OpenSessionRequest, SignedEnvelope, UnsealRequest};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::committed::stands;
use crate::targets::{wire, world};

type Seeds = BTreeMap<String, Vec<u8>>;

#[test]
fn the_seeds_are_those_that_are_made_here() {
    for (name, bytes) in all() {
        stands(format!("tests/fuzz/seeds/{name}"), bytes);
    }
}

fn all() -> Seeds {
    let mut seeds = Seeds::new();
    statements(&mut seeds);
    notes(&mut seeds);
    keys(&mut seeds);
    sealed(&mut seeds);
    words(&mut seeds);
    launcher(&mut seeds);
    certificates(&mut seeds);
    files(&mut seeds);
    seeds
}

fn put(seeds: &mut Seeds, name: &str, bytes: impl AsRef<[u8]>) {
    assert!(seeds.insert(name.to_owned(), bytes.as_ref().to_vec()).is_none(), "{name} is made twice");
}

/// The instance of a schema that has every member, each of the simplest value that fits.
struct Example<'a> {
    root: &'a Value,
    typ: String,
}

impl Example<'_> {
    fn of(&self, schema: &Value, name: &str) -> Value {
        if let Some(known) = self.known(schema, name) {
            return known;
        }
        // What is bounded here says more than what it refers to.
        if let (Some(_), Some(least)) = (schema.get("$ref"), schema["minimum"].as_u64()) {
            return json!(least.max(1));
        }
        if let Some(path) = schema["$ref"].as_str() {
            let found = self.root.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}"));
            let named = path.rsplit('/').next().unwrap();
            return self.known(found, named).unwrap_or_else(|| self.of(found, name));
        }
        if let Some(value) = schema.get("const") {
            return value.clone();
        }
        let first = |list: &str| schema[list].as_array().and_then(|all| all.first());
        if let Some(value) = first("enum") {
            return value.clone();
        }
        match &schema["type"] {
            Value::String(one) => self.of_type(one, schema, name),
            Value::Array(several) => self.of_type(several[0].as_str().unwrap(), schema, name),
            _ => match first("oneOf").or_else(|| first("anyOf")).or_else(|| first("allOf")) {
                Some(one) => self.of(one, name),
                None => json!({}),
            },
        }
    }

    fn of_type(&self, one: &str, schema: &Value, name: &str) -> Value {
        match one {
            "object" => self.object(schema),
            "array" if name == "from" => json!(["10.0.0.0/8"]),
            "array" => json!([self.of(&schema["items"], name)]),
            "integer" => json!(schema["minimum"].as_u64().unwrap_or(0).max(1)),
            "boolean" => json!(true),
            "string" if name == "from" => json!("10.0.0.1"),
            "null" => Value::Null,
            "string" => json!(text(schema["pattern"].as_str().unwrap_or_default())),
            other => panic!("{name} is of type {other}"),
        }
    }

    fn object(&self, schema: &Value) -> Value {
        let Some(members) = schema["properties"].as_object() else {
            return match schema["additionalProperties"].is_object() {
                true => json!({ "grant_create": self.of(&schema["additionalProperties"], "") }),
                false => json!({}),
            };
        };
        // Of members that exclude each other, the first.
        let apart: Vec<&str> = schema["oneOf"]
            .as_array()
            .into_iter()
            .flatten()
            .skip(1)
            .flat_map(|one| one["required"].as_array().into_iter().flatten().filter_map(Value::as_str))
            .collect();
        let members = members.iter().filter(|(name, _)| !apart.contains(&name.as_str()));
        members.map(|(name, schema)| (name.clone(), self.of(schema, name))).collect::<Map<_, _>>().into()
    }

    /// What its own rules hold to more than a schema says.
    fn known(&self, schema: &Value, name: &str) -> Option<Value> {
        let kit = world::kit();
        Some(match name {
            "typ" if schema["type"] == "string" => json!(self.typ),
            "aud" | "vault" if schema.get("$ref").is_some() => json!(world::aud()),
            "operator" if schema.get("$ref").is_some() => json!("root"),
            "v" | "kver" => json!(1),
            "iat" => json!(world::NOW),
            "Embedded" | "register" | "new" => json!(world::register(world::agent(), &kit).sign(&kit)),
            "Set" | "set" => json!({ "id": text("^[A-Za-z0-9_-]{22}$"), "of": 3, "part": 2 }),
            "CustodianKind" => json!({ "name": "pkcs11", "salt": text("^[A-Za-z0-9_-]{22}$") }),
            "Duty" => json!({ "name": "grantor", "roles": ["orders-read"] }),
            "PublicKey" | "pk" if schema["pattern"] == "^[A-Za-z0-9_-]{43}$" => json!(kit.public()),
            _ => return None,
        })
    }
}

fn text(pattern: &str) -> String {
    match pattern {
        "" => "orders".to_owned(),
        "^[A-Za-z0-9_-]{43}$" => world::kit().kid().to_string(),
        "^[A-Za-z0-9_-]{86}$" => "A".repeat(86),
        "^[A-Za-z0-9_-]{22,43}$" | "^[A-Za-z0-9_-]{22}$" | "^[A-Za-z0-9_-]*$" => "A".repeat(22),
        "^nv1:[A-Za-z0-9_-]{43}$" => world::aud().to_string(),
        "^[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*$" => "orders-read".to_owned(),
        "^(_operators|_vault|[a-z0-9][a-z0-9.-]{0,62})$" | "^[a-z0-9][a-z0-9.-]{0,62}$" => "kit".to_owned(),
        "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$" => "nightly-7".to_owned(),
        "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$" => lease().to_string(),
        other => panic!("no text of the pattern {other}"),
    }
}

fn lease() -> LeaseId {
    LeaseId::new(world::NOW.0, [7; 10])
}

/// Whose key signs: operators command, agents request.
fn kid_of(statement: &Value) -> Value {
    match statement.get("operator").is_some() && statement.get("body").is_some() {
        true => json!(world::root().kid()),
        false => json!(world::kit().kid()),
    }
}

/// One of each kind; and those of agents and operators again as envelopes and as messages of gRPC.
fn statements(seeds: &mut Seeds) {
    for (kind, schema) in schema::all() {
        let mut statement = Example { root: &schema, typ: format!("nockvault/{kind}") }.of(&schema, "");
        if statement.get("kid").is_some() {
            statement["kid"] = kid_of(&statement);
        }
        if kind == "register" {
            statement = json!(world::register(world::agent(), &world::kit()));
        }
        let payload = canonical_value(&statement);
        if kind != "described" && (statement.get("req").is_some() || statement.get("hdr").is_some()) {
            put(seeds, &format!("answer/{kind}"), &payload);
        }
        put(seeds, &format!("statement/{kind}"), payload);
    }
    put(seeds, "answer/described-here", canonical(&crate::targets::client::described()));
    let hello = seeds["statement/hello"].clone();
    put(seeds, "json/hello", &hello);
    put(seeds, "json/numbers", br#"{"a":[0,1,-1,9007199254740991,-9007199254740991],"b":{"c":null,"d":true}}"#);
    put(seeds, "json/texts", r#"{"a":"\"\\\b\f\n\r\t\u0001/é😂","b":[[],{},""]}"#);
    put(seeds, "envelope/payload", &hello);
    let key = world::kit();
    let value: Value = serde_json::from_slice(&hello).unwrap();
    let signed = Envelope::sign(PayloadType::Request, &value, &key, Form::Pae);
    let wire = SignedEnvelope::from(signed.clone());
    put(seeds, "envelope/message", wire.encode_to_vec());
    put(seeds, "envelope/register", canonical(&world::register(world::agent(), &key).sign(&key)));
    requests(seeds, &wire);
    let details = RefusalDetails {
        reason: "clock_skew".to_owned(),
        metadata: [("now".to_owned(), "1780000000000".to_owned())].into(),
        signed: Some(signed),
    };
    put(seeds, "status/refusal", details.into_status(tonic::Code::FailedPrecondition, "mind the clock").details());
}

fn requests(seeds: &mut Seeds, wire: &SignedEnvelope) {
    let place = |name: &str| wire::REQUESTS.iter().position(|(known, _)| *known == name).unwrap() as u8;
    for (name, message) in [
        ("OpenSessionRequest", OpenSessionRequest { signed: Some(wire.clone()) }.encode_to_vec()),
        ("DescribeVaultRequest", DescribeVaultRequest { challenge: vec![7; 32] }.encode_to_vec()),
        (
            "UnsealRequest",
            UnsealRequest { custodian: "ops".into(), sealed_enc: vec![1; 32], sealed_ct: vec![2; 48] }.encode_to_vec(),
        ),
    ] {
        put(seeds, &format!("grpc/{name}"), [&[place(name)], message.as_slice()].concat());
    }
}

fn notes(seeds: &mut Seeds) {
    let text = "prod/kit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let (key, witness) = (world::key(1), world::key(2));
    let note = Note::signed("one\n\ntwo\n", "example.com/a", &key);
    put(seeds, "note/signed", note.write());
    let note_key = NoteKey::new("example.com/a", key.public()).unwrap().to_string();
    let witness_key = WitnessKey::new("example.com/w", witness.public()).unwrap().to_string();
    put(seeds, "vkey/note", &note_key);
    put(seeds, "vkey/witness", &witness_key);
    let policy = format!(
        "# who watches\nlog {note_key} https://log.example/\nwitness w1 {witness_key} https://w.example/\n\
         group g 1 w1\nquorum g\n"
    );
    put(seeds, "policy/group", policy);
    put(seeds, "policy/none", "quorum none\n");
    let asked = AddCheckpoint { old: 9, proof: vec![Digest::ZERO, Digest::of(b"1")], note: note.write() };
    put(seeds, "witness/asked", asked.write());
    let line = cosign(text, "example.com/w", &witness, 7);
    // The first byte stands for the status.
    put(seeds, "witness/cosigned", format!("\u{0}{line}\n"));
    put(seeds, "witness/has", "\u{1}17\n");
    put(seeds, "witness/refused", "\u{2}unknown log\n");
    let hash = Digest::of(b"h");
    let numbers = |old: u64, size: u64, index: u64| {
        [&old.to_be_bytes()[..], &size.to_be_bytes(), &index.to_be_bytes(), hash.as_bytes()].concat()
    };
    put(seeds, "tree/two", numbers(1, 2, 0));
    put(seeds, "tree/large", numbers(1 << 40, 1 << 41, 77));
}

fn keys(seeds: &mut Seeds) {
    let key = world::kit();
    put(seeds, "keyfile/secret", hex(key.seed().expose()) + "\n");
    put(seeds, "keyfile/go", hex(key.seed().expose()) + &hex(&key.public().to_bytes()));
    put(seeds, "keyfile/public", hex(&key.public().to_bytes()) + "\n");
    put(seeds, "keyfile/register", canonical(&world::register(world::operator(), &key).sign(&key)));
    let words = SecretBytes::new(b"correct horse".to_vec());
    let locked = lock(&key, &words, &world::entropy()).unwrap();
    // Trying it would cost what it is meant to cost; what is fed stops before that.
    put(seeds, "keyfile/found-locked", locked.as_bytes());
    let secret = world::custody();
    put(seeds, "custody/bytes", secret.expose());
    put(seeds, "custody/digits", hex(secret.expose()) + "\n");
    let (kind, shares) = split(&secret, (2, 3), &world::entropy()).unwrap();
    put(seeds, "custody/share", shares[0].text().as_bytes());
    let lines: Vec<String> = shares.iter().map(|share| share.text().to_string()).collect();
    put(seeds, "custody/found-shares", lines.join("\n"));
    put(seeds, "custody/kind", canonical(&kind));
    let who = Appointed { name: "ops".parse().unwrap(), kind, public: secret.public() };
    let custodian = who.appoint(&world::root_key(), &world::aud(), &world::entropy());
    put(seeds, "custody/custodian", canonical(&custodian));
}

fn sealed(seeds: &mut Seeds) {
    let (entropy, root) = (world::entropy(), world::root_key());
    let ring = Ring::generate(&entropy);
    let about = About {
        aud: world::aud(),
        backup: Digest::of(b"backup"),
        by: EntryRef { leaf: Digest::of(b"leaf"), seq: 9 },
        made: world::NOW,
        name: "prod".parse().unwrap(),
    };
    let files = vec![Part { bytes: 3, name: "tls/server.key".to_owned() }];
    let manifest = Manifest { chains: 1, database: 500, entries: 2, files, heads: Digest::ZERO, schema: 5, v: 1 };
    let who = Appointed {
        name: "ops".parse().unwrap(),
        kind: nockvault::statement::custody::Kind::File,
        public: world::custody().public(),
    };
    let custodians = vec![who.appoint(&root, &world::aud(), &entropy)];
    let wrapped = ring.wrap(&root, &entropy);
    let mut sealing = Sealing::begin(Vec::new(), about, &ring, (custodians, wrapped), &manifest, &entropy).unwrap();
    std::io::Write::write_all(&mut sealing, &[b'k'; 503]).unwrap();
    let file = sealing.finish().unwrap();
    let magic = nockvault::seal::backup::MAGIC.len();
    let length = u32::from_be_bytes(file[magic..magic + 4].try_into().unwrap()) as usize;
    put(seeds, "backup/found-header", &file[magic + 4..magic + 4 + length]);
    put(seeds, "backup/whole", file);
    // The ring of the reader, which draws the same numbers.
    let (entropy, place) =
        (world::entropy(), Place { table: "secret", column: "value", row: "orders", purpose: "kv", ver: 1 });
    let ring = Ring::generate(&entropy);
    put(seeds, "record/sealed", ring.seal(&place, b"hunter2", &entropy));
    put(seeds, "record/mac", ring.mac(&place, b"row").to_bytes());
}

fn words(seeds: &mut Seeds) {
    for (name, text) in [
        ("agent", "kit.b-2".to_owned()),
        ("role", "db/orders/read_only".to_owned()),
        ("sid", "Nightly-7_a.b".to_owned()),
        ("kid", world::kit().kid().to_string()),
        ("aud", world::aud().to_string()),
        ("lease", lease().to_string()),
        ("handle", handle(&"kit".parse().unwrap(), &lease())),
        ("origin", "prod/kit~3".to_owned()),
        ("chain", "_operators".to_owned()),
    ] {
        put(seeds, &format!("ids/{name}"), text);
    }
    for (name, text) in [
        ("span", "1h30m"),
        ("days", "7d"),
        ("bare", "90"),
        ("rate", "3/10m"),
        ("short", "10/m"),
        ("instant", "2026-06-03T18:30:00.123Z"),
        ("offset", "2026-06-03T18:30:00+02:00"),
    ] {
        put(seeds, &format!("times/{name}"), text);
    }
    put(seeds, "scope/star", "nightly-*-*7\nnightly-1-77\n10.0.0.0/8\n10.1.2.3");
    put(seeds, "scope/v6", "*a*b\naxb\n2001:db8::/32\n2001:db8::1");
    put(seeds, "path/below", "/v1/*\n/v1/mod%65ls/a");
    put(seeds, "path/exact", "/v1/%c3%a9\n/v1/%C3%A9");
}

fn launcher(seeds: &mut Seeds) {
    let seen = json!({ "cert_nbf": 5, "head": Digest::of(b"head"), "size": 7 });
    put(seeds, "seen/state", [canonical(&seen).as_slice(), b"\n"].concat());
    put(
        seeds,
        "adapters/git",
        "capability[]=authtype\nprotocol=https\nhost=git.example\npath=team/repo\nusername=kit\n\n",
    );
    put(seeds, "adapters/provide", br#"{"protocolVersion":1,"ids":["orders:password","other"]}"#);
    put(
        seeds,
        "adapters/kube",
        br#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"cluster":{"server":"https://k8s.example:6443"},"interactive":false}}"#,
    );
    put(seeds, "adapters/slot", "DB_PASS=team/orders-db:password");
    put(seeds, "adapters/hosts", "# where\nkit@git.example/team=orders\nlocalhost:8080=local\n");
    let rules = "passthrough = [\"pypi.org\"]\n[[rule]]\nname = \"api\"\nrole = \"orders-read\"\nhost = \"api.example\"\n\
                 methods = [\"GET\"]\npaths = [\"/v1/*\"]\nvalue = \"Bearer {}\"\nconnect = true\nvariable = \"API_URL\"\n\
                 base = \"/v1\"\nplaceholders = [\"API_KEY\"]\nttl = \"15m\"\n";
    put(seeds, "rules/api", rules);
    put(
        seeds,
        "rules/basic",
        rules.replace("value = \"Bearer {}\"", "basic = { username = \"{user}\", password = \"{}\" }"),
    );
    let secret = "sk-live/7Qy+zR\"x\\w&0123456789";
    put(
        seeds,
        "redact/secret",
        [&[secret.len() as u8, 3], secret.as_bytes(), b"before sk-live/7Qy+zR and after"].concat(),
    );
    put(seeds, "redact/again", [&[8, 0], &b"aaaaaaab"[..], b"aaaaaaaaaaaaab aaaaaaa%61b YWFhYWFhYWI="].concat());
    put(seeds, "sshagent/list", b"\0\0\0\x01\x0b");
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let blob = [string(b"ssh-ed25519"), string(&world::kit().public().to_bytes())].concat();
    let message = |kind: u8, contents: &[u8]| {
        let length = u32::try_from(contents.len() + 1).unwrap();
        [&length.to_be_bytes()[..], &[kind], contents].concat()
    };
    let login = [
        string(b"session"),
        vec![50],
        string(b"kit"),
        string(b"ssh-connection"),
        string(b"publickey"),
        vec![1],
        string(b"ssh-ed25519-cert-v01@openssh.com"),
        string(&blob),
    ];
    put(seeds, "sshagent/sign", message(13, &[string(&blob), string(&login.concat()), vec![0; 4]].concat()));
    let bind = [string(b"session-bind@openssh.com"), string(&blob), string(b"session"), string(b"sig"), vec![0]];
    put(seeds, "sshagent/bind", message(27, &bind.concat()));
    put(seeds, "sshagent/listed", message(12, &[vec![0, 0, 0, 1], string(&blob), string(b"kit")].concat()));
    put(seeds, "question/list", br#"{"v":1,"do":"list"}"#);
    put(
        seeds,
        "question/get",
        br#"{"v":1,"do":"get","role":"orders-read","params":{"a":1},"ttl":60,"purpose":"a test"}"#,
    );
    put(seeds, "question/release", br#"{"v":1,"do":"release","role":"orders-read","token":"x"}"#);
    put(seeds, "proxy/base", "GET /{token}/api/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    put(
        seeds,
        "proxy/post",
        "POST /{token}/api/v1/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}",
    );
    put(
        seeds,
        "proxy/connect",
        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\nProxy-Authorization: Bearer {token}\r\n\r\n",
    );
}

fn certificates(seeds: &mut Seeds) {
    let [csr, chain, bundle] = crate::targets::certificates::example();
    put(
        seeds,
        "csr/ed25519",
        STANDARD.decode(csr.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap(),
    );
    put(seeds, "csr/pem", csr);
    put(seeds, "authority/chain", chain);
    put(seeds, "authority/bundle", bundle);
    let blob =
        [&11_u32.to_be_bytes()[..], b"ssh-ed25519", &32_u32.to_be_bytes(), &world::kit().public().to_bytes()].concat();
    put(seeds, "sshkey/line", format!("ssh-ed25519 {} kit@host", STANDARD.encode(&blob)));
    put(seeds, "sshkey/blob", blob);
    for (name, role) in [
        ("kv", json!({"engine": "kv", "config": {"secret": "orders", "version": 3}})),
        (
            "jwt",
            json!({"engine": "jwt", "config": {"audience": ["api"], "scope": "a b", "claims": {"team": "{{agent}}"}}, "params": {"scope": "a"}}),
        ),
        (
            "ssh",
            json!({"engine": "ssh", "config": {"ca": "hosts", "principals": ["deploy", "ops@prod"], "extensions": ["permit-pty"],
                "critical_options": {"force_command": "/usr/bin/run", "source_address": ["10.0.0.0/8"]}}, "params": {"principals": ["deploy"]}}),
        ),
        (
            "x509",
            json!({"engine": "x509", "config": {"ca": "agents", "trust_domain": "prod.example", "dns": ["*.svc.example"],
                "wildcards": true, "usage": ["client", "server"], "crl": "https://v.example/crl"}, "params": {"dns": ["a.svc.example"]}}),
        ),
        (
            "postgres",
            json!({"engine": "postgres", "config": {"host": "db.example", "database": "orders", "user": "vault", "password": "db",
                "tls": "require", "grants": ["reader"], "owner": "nobody",
                "creation": ["-- made by the vault\nCREATE ROLE {{name}} LOGIN PASSWORD {{password}} VALID UNTIL {{expiration}}"],
                "revocation": ["/* gone */ DROP OWNED BY {{name}}"]}}),
        ),
    ] {
        put(seeds, &format!("engine/{name}"), canonical_value(&role));
    }
}

fn files(seeds: &mut Seeds) {
    let places = Places {
        data_dir: "data".into(),
        custody: config::Custody::File("root.key".into()),
        agents: "127.0.0.1:8440".parse().unwrap(),
        agents_unix: "agents.sock".into(),
        operators_unix: "operators.sock".into(),
        operators: None,
        http: "127.0.0.1:8441".parse().unwrap(),
        audit: "audit".into(),
        cert: "tls/server.pem".into(),
        key: "tls/server.key".into(),
    };
    put(seeds, "config/example", config::example(&places));
    put(
        seeds,
        "config/least",
        "[vault]\ndata_dir = \"data\"\ncustody = { file = \"root.key\" }\n[agents]\nunix = \"a.sock\"\n[operators]\nunix = \"o.sock\"\n",
    );
    put(seeds, "config/found-place", "https://checkpoints.example/put?token=x");
    put(seeds, "config/found-syslog", "tcp:[::1]:514");
    put(
        seeds,
        "apply/terms",
        "secrets = [\"orders-db\"]\n[agents.\"a.b\"]\n[agents.kit]\n[roles.orders]\nengine = \"kv\"\nconfig = { secret = \"orders-db\" }\n\
         set = { version = 3 }\n[roles.\"x/y\"]\n[[grants]]\nagent = \"kit\"\nrole = \"orders\"\nttl = \"15m\"\nmax_ttl = \"1h\"\n\
         max_uses = 100\nuntil = 2026-12-31\nsession = \"nightly-*\"\nfrom = [\"10.0.0.0/8\", \"::1\"]\nrate = \"10/m\"\n",
    );
    let card = Card {
        name: "prod".parse().unwrap(),
        aud: world::aud(),
        identity: world::identity().public(),
        agents: "https://vault.example:8440".into(),
        operators: "unix:/run/vaultd/operators.sock".into(),
        ca: Some("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n".into()),
        genesis: Genesis { vault: Digest::of(b"v"), operators: Digest::of(b"o") },
    };
    put(seeds, "card/vault", card.write());
    nockguard(seeds);
}

/// A trail as it is read here: the checkpoint in the first line, the rows behind it.
fn nockguard(seeds: &mut Seeds) {
    let (agent, key) = ("kit".parse().unwrap(), world::kit());
    let (mut head, mut rows) = (Head::default(), String::new());
    for (nth, (tool, decision)) in
        [("vault.issue", Decision::Allow), ("vault.issue", Decision::Deny), ("x", Decision::StateWrite)]
            .into_iter()
            .enumerate()
    {
        let ts = Timestamp(world::NOW.0 + 1000 * nth as u64);
        let row = NewRow { ts, agent: &agent, tool, decision, reason: "a <test>", session_id: "" };
        let pending = head.next(&row, &key.public());
        let sig = key.sign_raw(pending.message().as_bytes());
        let (line, next) = pending.signed(&sig);
        rows += &line;
        head = next;
    }
    let mark = head.marked(&key.sign_raw(head.message().as_bytes()));
    put(seeds, "nockguard/trail", mark + &rows);
}
