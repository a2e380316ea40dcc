//! Every statement that an agent signs, in both forms, as the bytes that it is.

use nockvault::base64url::encode;
use nockvault::client::keyfile::hex;
use nockvault::crypto::envelope::{Envelope, PayloadType, pae};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::json::{Admission, admit, canonical};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::{Aud, Nonce};
use nockvault::secret::Secret;
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{Release, Renew};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello, Seal};
use nockvault::statement::{Body, VERSION};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use super::vault::START;

const FORMS: [Form; 2] = [Form::Pae, Form::Sshsig];
const LEASE: &str = "019b9f3a-0000-7000-8000-000000000000";

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&Secret::new([seed; 32]))
}

/// The key of the session.
fn session() -> SealSecretKey {
    SealSecretKey::from_bytes(&Secret::new([0x5e; 32]))
}

fn nonce(n: u8) -> Nonce {
    Nonce::from_bytes(&[n; 24])
}

/// What is signed in this form, written out here a second time.
fn message(form: Form, payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let message = pae(payload_type, payload);
    if form == Form::Pae {
        return message;
    }
    let mut blob = b"SSHSIG".to_vec();
    for part in [payload_type.as_bytes(), b"", b"sha512", &Sha512::digest(&message)] {
        blob.extend(u32::try_from(part.len()).unwrap().to_be_bytes());
        blob.extend(part);
    }
    blob
}

/// The list while it grows.
struct Vectors {
    aud: Aud,
    list: Vec<Value>,
}

impl Vectors {
    /// Signs a statement and writes down what goes in and what comes out.
    fn add<T: Serialize>(&mut self, name: &str, form: Form, t: PayloadType, statement: &T, given: Value, ask: Value) {
        let key = key(0x42);
        let envelope = Envelope::sign(t, statement, &key, form);
        let message = message(form, t.as_str(), &envelope.payload);
        key.public().verify_raw(&message, &envelope.signature).unwrap();
        key.public().verify(form, t.as_str(), &envelope.payload, &envelope.signature).unwrap();
        let payload = String::from_utf8(envelope.payload.clone()).unwrap();
        let typ = serde_json::from_str::<Value>(&payload).unwrap()["typ"].clone();
        self.list.push(json!({
            "name": format!("{name}, {}", form.as_str()),
            "form": form,
            "seed": "42".repeat(32),
            "typ": typ,
            "given": given,
            "ask": ask,
            "payload_type": t.as_str(),
            "payload": payload,
            "pae": encode(&pae(t.as_str(), &envelope.payload)),
            "signed": encode(&message),
            "signature": envelope.signature,
            "kid": envelope.kid,
            "req": envelope.digest(),
        }));
    }

    /// A request, once in each form.
    fn request<B: Body>(&mut self, name: &str, seen: Seen, body: &B, ask: &Value) {
        for form in FORMS {
            let common = Common {
                v: VERSION,
                typ: B::TYP.into(),
                aud: self.aud.clone(),
                agent: "kit".parse().unwrap(),
                kid: key(0x42).kid(),
                kver: 7,
                sid: "run-0123456789abcdef".parse().unwrap(),
                nonce: nonce(9),
                iat: START,
                seen,
            };
            let mut given = json!({
                "aud": common.aud, "agent": common.agent, "kver": common.kver, "sid": common.sid, "nonce": common.nonce,
                "iat": common.iat, "seen": common.seen,
            });
            if ask.get("role").is_some() || B::TYP == Hello::TYP {
                given["session_key"] = hex(session().to_bytes().expose()).into();
            }
            let request = Request { common, body: body.clone() };
            self.add(name, form, PayloadType::Request, &request, given, ask.clone());
        }
    }

    fn issue(&mut self, name: &str, ask: Value) {
        let mut body = ask.clone();
        body["seal"] = serde_json::to_value(seal()).unwrap();
        let issue: Issue = serde_json::from_value(body).unwrap();
        self.request(name, Seen { head: Digest::of(b"head"), size: 41 }, &issue, &ask);
    }
}

fn seal() -> Seal {
    Seal { pk: session().public().into(), suite: SUITE.into(), sig_pk: None }
}

fn register(aud: &Aud, seed: u8, form: Form, kver: u64, prev: Option<&SigningKey>) -> Register {
    Register {
        holder: Holder::Agent("kit".parse().unwrap()),
        aud: aud.clone(),
        form,
        iat: START,
        kver,
        nonce: nonce(8),
        pk: key(seed).public(),
        prev: prev.map(|key| key.kid()),
    }
}

/// Texts that JSON may write in more than one way.
const PURPOSE: &str = "n\u{e4}chtlicher \"Bericht\" \\ / \u{2028} </script> \u{1f511} \u{fb01}";

fn params() -> Value {
    json!({
        "zeta": true, "alpha": null, "a": [], "a_b": {}, "a1": -1, "ab": 9_007_199_254_740_991_u64,
        "list": [1, "two", [3, {"four": "\u{8}\t\n\u{c}\r\u{0}\u{1f}\u{7f}\u{80}\u{ffff}"}]], "text": PURPOSE,
    })
}

/// Every request vector.
pub(crate) fn all(aud: &Aud) -> Value {
    let mut vectors = Vectors { aud: aud.clone(), list: Vec::new() };
    let none = json!({});
    vectors.request("hello, with nothing held yet", Seen::NONE, &Hello { seal: seal() }, &none);
    vectors.issue("issue", json!({"role": "orders-read", "ttl": 0, "params": {}, "purpose": ""}));
    vectors.issue(
        "issue with texts in need of care",
        json!({"role": "db/orders.v2/read_only", "ttl": 900, "params": params(), "purpose": PURPOSE}),
    );
    let longest = "\u{e9}".repeat(128);
    vectors.issue("issue with the longest purpose", json!({"role": "r", "ttl": 1, "params": {}, "purpose": longest}));
    let seen = Seen { head: Digest::of(b"head"), size: 41 };
    let renew: Renew = serde_json::from_value(json!({"lease": LEASE, "ttl": 60})).unwrap();
    vectors.request("renew", seen, &renew, &json!({"lease": LEASE, "ttl": 60}));
    vectors.request("release by lease", seen, &Release::Lease(LEASE.parse().unwrap()), &json!({"lease": LEASE}));
    let req = Digest::of(b"a request whose answer was lost");
    vectors.request("release by request", seen, &Release::Req(req), &json!({"req": req}));
    vectors.request("close", seen, &Close {}, &none);
    for next in FORMS {
        let new = register(aud, 0x43, next, 8, Some(&key(0x42)));
        let ask = json!({"next": {
            "seed": "43".repeat(32), "form": next, "iat": new.iat, "nonce": new.nonce,
        }});
        let body = RotateKey { new: new.sign(&key(0x43)) };
        vectors.request(&format!("rotate_key to a key of form {}", next.as_str()), seen, &body, &ask);
    }
    for form in FORMS {
        for (name, kver, prev) in [("a first key", 1, None), ("a second key", 2, Some(key(0x41)))] {
            let statement = register(aud, 0x42, form, kver, prev.as_ref());
            let given = json!({
                "aud": aud, "agent": "kit", "kver": kver, "nonce": statement.nonce, "iat": statement.iat,
                "prev": statement.prev.clone().map(String::from).unwrap_or_default(),
            });
            let name = format!("register {name}");
            vectors.add(&name, form, PayloadType::Register, &statement, given, json!({}));
            assert!(Register::open(&statement.sign(&key(0x42))).is_ok());
        }
    }
    json!({ "vectors": vectors.list, "unsayable": unsayable() })
}

/// Params that a request cannot carry: the vault admits no such payload, so a client says so before it signs.
fn unsayable() -> Vec<Value> {
    let deep = (0..8).fold(json!(1), |inner, _| json!([inner]));
    let cases = [
        ("a fraction", json!({"n": 1.5})),
        ("2^53", json!({"n": 9_007_199_254_740_992_u64})),
        ("-2^53", json!({"n": -9_007_199_254_740_992_i64})),
        ("a member with a capital", json!({"Name": 1})),
        ("a member with an umlaut", json!({"n\u{e4}me": 1})),
        ("a member beginning with a digit, far inside", json!({"a": [{"1a": 1}]})),
        ("an empty member", json!({"": 1})),
        ("nested too deep", json!({"deep": deep})),
    ];
    let case = |(name, params): &(&str, Value)| {
        let issue = json!({"role": "orders-read", "ttl": 0, "params": params, "purpose": ""});
        assert!(admit(&canonical(&issue), &Admission::AGENT).is_err(), "{name}");
        json!({"name": name, "params": params})
    };
    cases.iter().map(case).collect()
}
