//! Conversations between a client and a vault: honest ones, and for each thing that a client must not believe one in
//! which the vault, or who poses as it, says it.

use nockvault::audit::certificate::Life;
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::hash::Digest;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::reply::{Closed, Described, Hdr, Opened, Released, Renewed, Rotated};
use nockvault::time::{Seconds, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::vault::*;

/// A conversation before it was held.
pub(crate) struct Plan {
    pub(crate) name: &'static str,
    /// This side's clock.
    pub(crate) clock: Timestamp,
    /// What the agent remembers, as its file has it.
    pub(crate) memory: Option<Value>,
    /// What the client is told to do, with what must come of it.
    pub(crate) acts: Vec<Value>,
    pub(crate) turns: Vec<Turn>,
}

const SECRET: &str = r#"{"type":"kv","value":"h\u00fcnter \"2\" \ud83d\udd11 </script>"}"#;

fn says(said: impl Fn(&Asked) -> Value + Send + 'static) -> Turn {
    Box::new(move |asked| Ok(signed(RESPONSE, &said(asked))))
}

fn value(said: &impl Serialize) -> Value {
    serde_json::to_value(said).unwrap()
}

fn describes() -> Turn {
    says(|asked| value(&described(asked)))
}

fn gives() -> Turn {
    says(|asked| value(&issued(asked, hdr(asked), SECRET.as_bytes())))
}

fn connect() -> Value {
    json!({"do": "connect", "expect": {"ok": {}}})
}

fn ask(expect: Value) -> Value {
    let ask = json!({"role": "orders-read", "ttl": 60, "params": {"table": "orders"}, "purpose": "n\u{e4}chtlich"});
    json!({"do": "request", "ask": ask, "expect": expect})
}

fn given() -> Value {
    let secret: Value = serde_json::from_str(SECRET).unwrap();
    let ok =
        json!({"secret": secret, "lease": LEASE, "exp": START.0 + 60_000, "renewable": true, "revocation": "none"});
    json!({ "ok": ok })
}

fn untrusted(why: &str) -> Value {
    json!({ "untrusted": {"why": why} })
}

fn other_terms(member: &str) -> Value {
    json!({ "untrusted": {"why": "other_terms", "member": member} })
}

fn refused(reason: &str, limit: Option<u64>, proven: bool) -> Value {
    json!({ "refused": {"reason": reason, "limit": limit, "proven": proven} })
}

/// The lease of every header here.
const LEASE: &str = "019e7044-8800-7707-8707-070707070707";

fn plan(name: &'static str, acts: Vec<Value>, turns: Vec<Turn>) -> Plan {
    Plan { name, clock: START, memory: None, acts, turns }
}

/// A connection that must fail.
fn stranger(name: &'static str, why: &str, described: Turn) -> Plan {
    plan(name, vec![json!({"do": "connect", "expect": untrusted(why)})], vec![described])
}

/// A request whose answer must not be used.
fn lie(name: &'static str, expect: Value, answer: Turn) -> Plan {
    plan(name, vec![connect(), ask(expect)], vec![describes(), answer])
}

fn changed_hdr(change: impl Fn(&mut Hdr) + Send + 'static) -> Turn {
    says(move |asked| {
        let mut hdr = hdr(asked);
        change(&mut hdr);
        value(&issued(asked, hdr, SECRET.as_bytes()))
    })
}

fn changed(change: impl Fn(&mut Value) + Send + 'static) -> Turn {
    says(move |asked| {
        let mut said = value(&issued(asked, hdr(asked), SECRET.as_bytes()));
        change(&mut said);
        said
    })
}

fn changed_envelope(change: impl Fn(&mut Envelope) + Send + 'static) -> Turn {
    Box::new(move |asked| {
        let mut envelope = signed(RESPONSE, &issued(asked, hdr(asked), SECRET.as_bytes()));
        change(&mut envelope);
        Ok(envelope)
    })
}

/// A payload that is not what `signed` would write, with a good signature over it.
fn written(change: impl Fn(String) -> String + Send + 'static) -> Turn {
    Box::new(move |asked| {
        use nockvault::crypto::envelope::PayloadType;
        use nockvault::crypto::signature::Form;
        let honest = signed(RESPONSE, &issued(asked, hdr(asked), SECRET.as_bytes()));
        let payload = change(String::from_utf8(honest.payload.clone()).unwrap()).into_bytes();
        let signature = key(RESPONSE).sign(Form::Pae, PayloadType::Response.as_str(), &payload);
        Ok(Envelope { payload, signature, ..honest })
    })
}

fn described_so(change: impl Fn(&mut Described) + Send + 'static) -> Turn {
    says(move |asked| {
        let mut said = described(asked);
        change(&mut said);
        value(&said)
    })
}

fn with_life(life: Life) -> Turn {
    described_so(move |said| said.certs = vec![certified(IDENTITY, &cert(RESPONSE, KeyRole::Response, life))])
}

/// Describes itself with another response key, which signs the description too.
fn describes_next() -> Turn {
    Box::new(|asked| {
        let mut said = described(asked);
        let life = Life { nbf: Timestamp(LIFE.nbf.0 + 500), ..LIFE };
        said.certs.insert(0, certified(IDENTITY, &cert(NEXT, KeyRole::Response, life)));
        Ok(signed(NEXT, &said))
    })
}

fn denies(code: Code, reason: &'static str, limit: Option<u64>) -> Turn {
    Box::new(move |asked| {
        let word = signed(RESPONSE, &denied(reason, limit, asked.envelope().digest()));
        Err(refusal(code, reason, limit, Some(word)))
    })
}

fn skewed() -> Turn {
    denies(Code::FailedPrecondition, "clock_skew", Some(300))
}

fn remembers(head: Digest, size: u64, cert_nbf: Timestamp) -> Option<Value> {
    Some(json!({"cert_nbf": cert_nbf, "head": head, "size": size}))
}

/// Every conversation.
pub(crate) fn all() -> Vec<Plan> {
    let groups = [
        honest(),
        sessions(),
        clocks(),
        refusals(),
        strangers(),
        signatures(),
        forms(),
        terms(),
        histories(),
        restores(),
        seals(),
    ];
    groups.into_iter().flatten().collect()
}

fn honest() -> Vec<Plan> {
    let twice = [json!({"do": "request", "expect": given(), "ask": {
        "role": "orders-read", "ttl": 0, "params": {}, "purpose": ""
    }})];
    let later = says(|asked| {
        let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
        said.entry = entry(SIZE + 4);
        value(&said)
    });
    vec![
        plan("a credential", vec![connect(), ask(given())], vec![describes(), gives()]),
        plan(
            "two credentials in one session: the second request countersigns the first answer",
            [vec![connect(), ask(given())], twice.to_vec()].concat(),
            vec![describes(), gives(), later],
        ),
        Plan {
            memory: remembers(Digest::of(b"head"), SIZE, Timestamp(7)),
            ..plan("what is remembered is countersigned", vec![connect(), ask(given())], vec![describes(), gives()])
        },
        plan(
            "a member that crit names and that is known",
            vec![connect(), ask(given())],
            vec![describes(), changed(|said| said["crit"] = json!(["hdr"]))],
        ),
        lie(
            "a member that is not known beside the others",
            given(),
            changed(|said| said["news"] = json!({"anything": [1]})),
        ),
        plan(
            "an answer by the next response key: the vault is asked for its keys, and nothing is sent again",
            vec![connect(), ask(given())],
            vec![
                describes(),
                Box::new(|asked| Ok(signed(NEXT, &issued(asked, hdr(asked), SECRET.as_bytes())))),
                describes_next(),
            ],
        ),
        Plan {
            memory: remembers(Digest::ZERO, 0, Timestamp(LIFE.nbf.0 + 500)),
            ..plan("the newer of two response keys", vec![connect()], vec![describes_next()])
        },
    ]
}

fn sessions() -> Vec<Plan> {
    let entry = || entry(SIZE);
    let opened = says(move |asked| {
        let (ends, req) = (START.plus(Seconds(3600)), asked.envelope().digest());
        value(&Opened::new(entry(), ends, Seconds(600), START, req))
    });
    let renewed = move |lease: &'static str, exp: Timestamp| {
        says(move |asked| value(&Renewed::new(entry(), exp, lease.parse().unwrap(), asked.envelope().digest())))
    };
    let released = move |lease: &'static str| {
        says(move |asked| value(&Released::new(entry(), lease.parse().unwrap(), asked.envelope().digest())))
    };
    let closed = move |sid: Option<&'static str>| {
        says(move |asked| {
            let sid = sid.map_or_else(|| asked.member("sid"), Value::from);
            let sid = serde_json::from_value(sid).unwrap();
            value(&Closed::new(entry(), 2, asked.envelope().digest(), sid))
        })
    };
    let rotated = move |of: u8| {
        says(move |asked| {
            let kid = key(of).kid();
            value(&Rotated::new(entry(), START.plus(Seconds(3600)), kid, 2, asked.envelope().digest()))
        })
    };
    let renew = |ttl: u64, expect: Value| json!({"do": "renew", "lease": LEASE, "ttl": ttl, "expect": expect});
    let release = |expect: Value| json!({"do": "release", "lease": LEASE, "expect": expect});
    let lost = Digest::of(b"lost");
    let by_req = |expect: Value| json!({"do": "release_unanswered", "req": lost, "expect": expect});
    let close = |expect: Value| json!({"do": "close", "expect": expect});
    let rotate = |expect: Value| json!({"do": "rotate_key", "seed": "43".repeat(32), "expect": expect});
    let ends = json!({"ok": {"ends": START.plus(Seconds(3600)), "idle": 600}});
    let exp = |exp: Timestamp| json!({"ok": {"exp": exp}});
    let (late, other) = (START.plus(Seconds(120)), "019b9f3a-0000-7000-8000-000000000000");
    let no = |name, act, turn| plan(name, vec![connect(), act], vec![describes(), turn]);
    vec![
        no("a session opened at once", json!({"do": "hello", "expect": ends}), opened),
        no("a lease renewed", renew(120, exp(late)), renewed(LEASE, late)),
        no("another lease renewed", renew(120, other_terms("lease")), renewed(other, late)),
        no(
            "a lease renewed for longer than was asked",
            renew(120, other_terms("exp")),
            renewed(LEASE, Timestamp(late.0 + 300_001)),
        ),
        no("a lease renewed that is over", renew(0, other_terms("exp")), renewed(LEASE, START)),
        no("a lease given back", release(json!({"ok": {}})), released(LEASE)),
        no("another lease given back", release(other_terms("lease")), released(other)),
        no("what an unanswered request made, given back", by_req(json!({"ok": {"lease": LEASE}})), released(LEASE)),
        no("a session closed", close(json!({"ok": {"leases": 2}})), closed(None)),
        no("another session closed", close(other_terms("sid")), closed(Some("other"))),
        plan(
            "the next key, which signs from there on",
            vec![connect(), rotate(json!({"ok": {"grace": START.plus(Seconds(3600))}})), ask(given())],
            vec![
                describes(),
                rotated(0x43),
                says(|asked| {
                    let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
                    said.entry = super::vault::entry(SIZE + 1);
                    value(&said)
                }),
            ],
        ),
        no("another key put in place", rotate(other_terms("kid")), rotated(STRANGER)),
    ]
}

fn clocks() -> Vec<Plan> {
    let hour = |plan: Plan| Plan { clock: START.minus(Seconds(3600)), ..plan };
    // The vault's clock as the description has it is this side's, so that the first request is signed with it.
    let agreeing = || described_so(|said| said.now = START.minus(Seconds(500)));
    let here = |plan: Plan| Plan { clock: START.minus(Seconds(500)), ..plan };
    let unsigned: fn() -> Turn = || Box::new(|_| Err(refusal(Code::FailedPrecondition, "clock_skew", Some(300), None)));
    vec![
        hour(plan(
            "a clock that is behind is corrected when connecting",
            vec![connect(), ask(given())],
            vec![describes(), gives()],
        )),
        Plan {
            clock: Timestamp(START.0 + 900),
            ..plan(
                "a difference of less than a second is left alone",
                vec![connect(), ask(given())],
                vec![describes(), gives()],
            )
        },
        here(plan(
            "a signed clock_skew corrects the clock, and a new statement is signed once",
            vec![connect(), ask(given())],
            vec![agreeing(), skewed(), gives()],
        )),
        here(plan(
            "a second clock_skew is the caller's to know",
            vec![connect(), ask(refused("clock_skew", Some(300), true))],
            vec![agreeing(), skewed(), skewed()],
        )),
        plan(
            "an unsigned clock_skew corrects nothing: the vault itself is asked, and says that the clock was right",
            vec![connect(), ask(refused("clock_skew", None, false))],
            vec![describes(), unsigned(), describes()],
        ),
        here(plan(
            "an unsigned clock_skew where the vault itself says, signed, that the clock was wrong",
            vec![connect(), ask(given())],
            vec![agreeing(), unsigned(), describes(), gives()],
        )),
    ]
}

fn refusals() -> Vec<Plan> {
    let by = |name, signer: u8, req: Option<Digest>| -> Plan {
        let turn: Turn = Box::new(move |asked| {
            let req = req.unwrap_or_else(|| asked.envelope().digest());
            let word = signed(signer, &denied("no_grant", None, req));
            Err(refusal(Code::PermissionDenied, "no_grant", None, Some(word)))
        });
        // A word by an unknown key may be by a newer key, so the vault is asked for its keys.
        let again = (signer == STRANGER).then(describes);
        let turns = [describes(), turn].into_iter().chain(again).collect();
        plan(name, vec![connect(), ask(refused("no_grant", None, false))], turns)
    };
    vec![
        lie("a signed refusal", refused("no_grant", None, true), denies(Code::PermissionDenied, "no_grant", None)),
        lie(
            "a signed refusal with its limit",
            refused("ttl_exceeds_grant", Some(30), true),
            denies(Code::PermissionDenied, "ttl_exceeds_grant", Some(30)),
        ),
        lie(
            "the signed reason counts, not the one beside it",
            refused("no_grant", None, true),
            Box::new(|asked| {
                let word = signed(RESPONSE, &denied("no_grant", None, asked.envelope().digest()));
                Err(refusal(Code::FailedPrecondition, "clock_skew", None, Some(word)))
            }),
        ),
        lie(
            "an unsigned refusal is shown and proves nothing",
            refused("unauthenticated", None, false),
            Box::new(|_| Err(refusal(Code::Unauthenticated, "unauthenticated", None, None))),
        ),
        by("a refusal that another key signed", STRANGER, None),
        by("a signed refusal of another request", RESPONSE, Some(Digest::of(b"another"))),
        lie(
            "no answer: what was asked may have happened",
            json!({"no_answer": {}}),
            Box::new(|_| Err(Status::unavailable("the connection broke"))),
        ),
        plan(
            "nobody answers the challenge",
            vec![json!({"do": "connect", "expect": {"unreachable": {}}})],
            vec![Box::new(|_| Err(Status::unavailable("nobody is here")))],
        ),
    ]
}

fn strangers() -> Vec<Plan> {
    let certs =
        |certs: fn() -> Vec<nockvault::crypto::envelope::Embedded>| described_so(move |said| said.certs = certs());
    vec![
        stranger(
            "another vault, by its identity key",
            "other_vault",
            described_so(|said| said.identity = Bytes(key(STRANGER).public().to_bytes().to_vec())),
        ),
        stranger(
            "another vault, by its aud",
            "other_vault",
            described_so(|said| said.aud = nockvault::id::Aud::of_identity(&key(STRANGER).kid())),
        ),
        stranger(
            "a description that answers another challenge",
            "other_request",
            described_so(|said| said.req = Bytes(vec![9; 32])),
        ),
        stranger(
            "a certificate by another identity",
            "certificate",
            certs(|| vec![certified(STRANGER, &cert(RESPONSE, KeyRole::Response, LIFE))]),
        ),
        stranger(
            "a certificate of another vault",
            "certificate",
            certs(|| {
                let mut cert = cert(RESPONSE, KeyRole::Response, LIFE);
                cert.aud = nockvault::id::Aud::of_identity(&key(STRANGER).kid());
                vec![certified(IDENTITY, &cert)]
            }),
        ),
        stranger(
            "a certificate whose kid is another key's",
            "certificate",
            certs(|| {
                let mut cert = cert(RESPONSE, KeyRole::Response, LIFE);
                cert.kid = key(STRANGER).kid();
                vec![certified(IDENTITY, &cert)]
            }),
        ),
        stranger(
            "a certificate of another version",
            "certificate",
            certs(|| {
                let mut cert = cert(RESPONSE, KeyRole::Response, LIFE);
                cert.v = 2;
                vec![certified(IDENTITY, &cert)]
            }),
        ),
        stranger("a response key that is over", "signature", with_life(Life { nbf: LIFE.nbf, exp: START })),
        stranger(
            "a response key that is not good yet",
            "signature",
            with_life(Life { nbf: Timestamp(START.0 + 1), exp: LIFE.exp }),
        ),
        stranger(
            "an audit key that signs an answer",
            "signature",
            certs(|| vec![certified(IDENTITY, &cert(RESPONSE, KeyRole::Audit, LIFE))]),
        ),
        stranger("no certificate at all", "signature", certs(Vec::new)),
        stranger(
            "a description that the certified key did not sign",
            "signature",
            Box::new(|asked| Ok(signed(STRANGER, &described(asked)))),
        ),
        Plan {
            memory: remembers(Digest::ZERO, 0, Timestamp(LIFE.nbf.0 + 1)),
            ..stranger("a response key that is older than the last one seen", "certificate", describes())
        },
    ]
}

fn signatures() -> Vec<Plan> {
    // An answer by an unknown key may be by a newer one, so the vault is asked for its keys before it is not believed.
    let not_signed = |name, answer: Turn| {
        plan(name, vec![connect(), ask(untrusted("signature"))], vec![describes(), answer, describes()])
    };
    vec![
        not_signed(
            "an answer that no certified key signed",
            Box::new(|asked| Ok(signed(STRANGER, &issued(asked, hdr(asked), SECRET.as_bytes())))),
        ),
        not_signed(
            "an answer of another payload type",
            changed_envelope(|envelope| envelope.payload_type = "application/vnd.nockvault.audit.v1+json".into()),
        ),
        not_signed(
            "an answer that was changed after it was signed",
            changed_envelope(|envelope| {
                envelope.payload = String::from_utf8(envelope.payload.clone()).unwrap().replace("true", "false").into();
            }),
        ),
        plan(
            "an answer by a key that ended since the vault was asked for its keys",
            vec![connect(), json!({"do": "wait", "seconds": 1000, "expect": {"ok": {}}}), ask(untrusted("signature"))],
            vec![describes(), gives(), describes()],
        ),
    ]
}

fn forms() -> Vec<Plan> {
    let form = |name, answer| lie(name, untrusted("form"), answer);
    vec![
        form("an answer of another typ", changed(|said| said["typ"] = json!("nockvault/opened"))),
        form("an answer of another version", changed(|said| said["v"] = json!(2))),
        form(
            "an answer with a member of importance that is not known",
            changed(|said| {
                said["crit"] = json!(["news"]);
                said["news"] = json!(1);
            }),
        ),
        form("an answer whose crit is no list", changed(|said| said["crit"] = json!("hdr"))),
        form(
            "an answer without its entry",
            changed(|said| {
                said.as_object_mut().unwrap().remove("entry");
            }),
        ),
        form("an answer with a number as its enc", changed(|said| said["enc"] = json!(7))),
        form("an answer with a fraction", written(|text| text.replace("\"renewable\":true", "\"renewable\":1.0"))),
        form(
            "an answer with a number of 2^53",
            written(|text| text.replace("\"hdr\":", "\"hd\":9007199254740992,\"hdr\":")),
        ),
        form("an answer that is not canonical: a space", written(|text| text + " ")),
        form(
            "an answer that is not canonical: an escape",
            written(|text| text.replace("orders-read", "orders\\u002dread")),
        ),
        form(
            "an answer that is not canonical: order",
            written(|text| {
                let rest = text.strip_suffix(",\"v\":1}").unwrap();
                format!("{{\"v\":1,{}}}", &rest[1..])
            }),
        ),
        form("an answer with a member twice", written(|text| text.replace("\"v\":1}", "\"v\":1,\"v\":1}"))),
        form("an answer that is cut off", written(|text| text[..text.len() - 1].to_owned())),
        form("an answer that is no object", written(|_| "[]".to_owned())),
        form(
            "an answer with base64url that is not canonical",
            changed(|said| {
                let leaf = said["entry"]["leaf"].as_str().unwrap().to_owned();
                // 32 bytes leave two bits of the last character without meaning; they are zero.
                let last = leaf.chars().last().unwrap();
                let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
                let next = digits.chars().nth(digits.find(last).unwrap() + 1).unwrap();
                said["entry"]["leaf"] = format!("{}{next}", &leaf[..leaf.len() - 1]).into();
            }),
        ),
    ]
}

fn terms() -> Vec<Plan> {
    let wrong = |name, member: &str, change: fn(&mut Hdr)| lie(name, other_terms(member), changed_hdr(change));
    vec![
        lie(
            "an answer to another request",
            untrusted("other_request"),
            changed_hdr(|hdr| hdr.req = Digest::of(b"another")),
        ),
        wrong("an answer of another vault", "vault", |hdr| {
            hdr.vault = nockvault::id::Aud::of_identity(&key(STRANGER).kid());
        }),
        wrong("an answer for another agent", "agent", |hdr| hdr.agent = "ada".parse().unwrap()),
        wrong("an answer for another key", "kid", |hdr| hdr.kid = key(STRANGER).kid()),
        wrong("an answer of another role", "role", |hdr| hdr.role = "orders-write".parse().unwrap()),
        wrong("an answer for another session", "sid", |hdr| hdr.sid = "other".parse().unwrap()),
        wrong("a longer life than was asked for", "exp", |hdr| hdr.exp = Timestamp(hdr.exp.0 + 1)),
        wrong("a life that is over", "exp", |hdr| hdr.exp = START),
        wrong("a life that begins long before now", "iat", |hdr| {
            hdr.iat = Timestamp(START.0 - 300_001);
            hdr.exp = Timestamp(START.0 + 1);
        }),
        wrong("a life that begins long after now", "iat", |hdr| {
            hdr.iat = Timestamp(START.0 + 300_001);
            hdr.exp = hdr.iat.plus(Seconds(60));
        }),
    ]
}

fn histories() -> Vec<Plan> {
    let held = |name, size: u64, head: Digest, seq: u64| Plan {
        memory: remembers(head, size, Timestamp(7)),
        ..lie(
            name,
            untrusted("older_history"),
            says(move |asked| {
                let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
                said.entry = entry(seq);
                value(&said)
            }),
        )
    };
    vec![
        held("an entry before those that were seen", 9, entry(8).leaf, 3),
        held("the very entry that was countersigned", 9, entry(8).leaf, 8),
        plan(
            "two answers whose entries stand at one place",
            vec![connect(), ask(given()), ask(untrusted("older_history"))],
            vec![describes(), gives(), gives()],
        ),
    ]
}

/// A vault that comes out of a backup, and an agent whose owner accepts it, or may not.
fn restores() -> Vec<Plan> {
    let (head, size) = (entry(8).leaf, 9);
    let accept = |expect: Value| json!({"do": "accept_restore", "expect": expect});
    let lost = json!({"ok": {"head": head, "size": size}});
    let restored = || denies(Code::FailedPrecondition, "restored", None);
    let no = |proven: bool| ask(refused("restored", None, proven));
    let young = |asked: &Asked| {
        let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
        said.entry = entry(3);
        value(&said)
    };
    let plan = |name, acts: Vec<Value>, turns: Vec<Turn>| Plan {
        memory: remembers(head, size, Timestamp(7)),
        ..plan(name, [vec![connect()], acts].concat(), [describes()].into_iter().chain(turns).collect())
    };
    vec![
        plan(
            "a restore that is accepted: from there on the vault is believed as if nothing had been seen",
            vec![no(true), accept(lost.clone()), ask(given())],
            vec![restored(), says(young)],
        ),
        plan("a restore that nobody accepted", vec![no(true), no(true)], vec![restored(), restored()]),
        plan(
            "a restore that the vault did not sign is not accepted",
            vec![no(false), accept(json!({"local": {}}))],
            vec![Box::new(|_| Err(refusal(Code::FailedPrecondition, "restored", None, None)))],
        ),
        plan(
            "another history is no restore, and is not accepted as one",
            vec![ask(refused("history_mismatch", None, true)), accept(json!({"local": {}}))],
            vec![denies(Code::FailedPrecondition, "history_mismatch", None)],
        ),
        Plan {
            memory: Some(json!({"cert_nbf": 7, "head": head, "restores": 2, "size": size})),
            ..plan(
                "what was seen since a restore that was accepted is countersigned",
                vec![ask(given())],
                vec![says(|asked| {
                    let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
                    said.entry = entry(12);
                    value(&said)
                })],
            )
        },
        Plan {
            memory: remembers(Digest::ZERO, 0, Timestamp(7)),
            ..plan(
                "nothing was seen, so there is nothing to accept",
                vec![no(true), accept(json!({"local": {}}))],
                vec![restored()],
            )
        },
    ]
}

fn seals() -> Vec<Plan> {
    let seal = |name, answer| lie(name, untrusted("seal"), answer);
    let flipped = |member: &'static str| {
        changed(move |said| {
            let mut bytes = nockvault::base64url::decode(said[member].as_str().unwrap()).unwrap();
            bytes[5] ^= 1;
            said[member] = nockvault::base64url::encode(&bytes).into();
        })
    };
    let raw = |bytes: Vec<u8>| says(move |asked| value(&issued_raw(asked, &bytes)));
    let framed =
        |length: u32, secret: &[u8], padding: usize| [&length.to_be_bytes(), secret, &vec![0; padding]].concat();
    let secret = br#"{"type":"kv"}"#;
    let mut dirty = framed(13, secret, 47);
    dirty[63] = 1;
    vec![
        seal("a ciphertext that was changed", flipped("ct")),
        seal("an encapsulated key that was changed", flipped("enc")),
        seal(
            "an encapsulated key of small order",
            changed(|said| said["enc"] = nockvault::base64url::encode(&[0; 32]).into()),
        ),
        seal(
            "an encapsulated key that is too short",
            changed(|said| said["enc"] = nockvault::base64url::encode(&[9; 31]).into()),
        ),
        seal(
            "a secret that was sealed under another header",
            says(|asked| {
                let mut said = issued(asked, hdr(asked), SECRET.as_bytes());
                said.hdr.renewable = false;
                value(&said)
            }),
        ),
        seal("a frame that is no whole block", raw(framed(13, secret, 46))),
        seal("a frame with a block too many", raw(framed(13, secret, 47 + 64))),
        seal("a frame whose padding is not zero", raw(dirty)),
        seal("a frame that is longer than it is", raw(framed(61, secret, 47))),
        seal("an empty frame", raw(Vec::new())),
        seal("a secret that is no object", raw(framed(2, b"[]", 58))),
    ]
}
