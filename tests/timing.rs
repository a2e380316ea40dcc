//! A stranger learns nothing from how long a refusal takes: whether an agent, a key or only the signature is not the
//! vault's, the same work is done, and the same words are said. Looked at twice: where signatures are checked, which is
//! where fractions of a microsecond would show, and at the vault's door with all that it reads on the way. That such a
//! look finds what it is for is seen with differences that are put in.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

#[path = "timing/judge.rs"]
mod judge;

use std::time::Instant;

use nockvault::authn;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::json::Admission;
use nockvault::crypto::signature::{Form, Signature, SigningKey};
use nockvault::denial::Reason;
use nockvault::registry::HeldKey;
use nockvault::server::status;
use nockvault::statement::register::{Holder, Register};
use nockvault::vault::answer::Outcome;

use judge::apart;
use support::agent::{Agent, Rpc};
use support::{Harness, START, new_key, nonce, terms};

/// How often each sort is measured in a round.
const TURNS: usize = 1500;
/// How many different envelopes of each sort there are.
const DIFFERENT: usize = 32;
/// They measure: one at a time.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A signature that no key made of this payload, and how early that is seen.
fn bad(how: &str, form: Form, payload: &[u8]) -> Signature {
    let of_another = new_key().sign(form, PayloadType::Request.as_str(), payload);
    let mut bytes = *of_another.as_bytes();
    match how {
        "another key's" => {}
        "all zero" => bytes = [0; 64],
        "s not reduced" => bytes[32..].fill(0xff),
        // y = 2, which is on no point.
        "R no point" => {
            bytes[..32].fill(0);
            bytes[0] = 2;
        }
        other => panic!("no signature is bad in that it is {other}"),
    }
    Signature::from_bytes(bytes)
}

fn held(key: &SigningKey, form: Form) -> HeldKey {
    let register = Register {
        holder: Holder::Agent("kit".parse().unwrap()),
        aud: format!("nv1:{}", key.kid()).parse().unwrap(),
        form,
        iat: START,
        kver: 1,
        nonce: nonce(),
        pk: key.public(),
        prev: None,
    };
    HeldKey::registered(&register, START)
}

fn envelopes(how: &str, form: Form, length: usize) -> Vec<Envelope> {
    let payload = |index: usize| {
        let mut payload = vec![b'a'; length];
        payload[0] = index as u8;
        payload
    };
    let envelope = |payload: Vec<u8>| Envelope {
        payload_type: PayloadType::Request.as_str().to_owned(),
        signature: bad(how, form, &payload),
        payload,
        kid: new_key().kid().to_string(),
    };
    (0..DIFFERENT).map(|index| envelope(payload(index))).collect()
}

/// What the authenticator says to a stranger with this candidate key.
fn refused(envelope: &Envelope, candidate: Option<&HeldKey>) {
    let shaped = authn::shape(envelope, PayloadType::Request, &Admission::AGENT).unwrap();
    let denial = authn::signature(envelope, candidate, &shaped).unwrap_err();
    assert_eq!(denial.reason, Reason::Unauthenticated);
}

#[tokio::test]
async fn a_known_key_costs_a_bad_signature_what_an_unknown_one_costs() {
    let _alone = ALONE.lock().await;
    let key = new_key();
    for form in [Form::Pae, Form::Sshsig] {
        let key = held(&key, form);
        for (how, length) in [
            ("another key's", 600),
            ("another key's", Admission::AGENT.max_bytes),
            ("all zero", 600),
            ("s not reduced", 600),
            ("R no point", 600),
        ] {
            let envelopes = envelopes(how, form, length);
            let name = format!("{} keys, a signature that is {how}, {length} bytes", form.as_str());
            let found = apart(&name, &["an unknown key", "a known key"], TURNS, async |sort, turn| {
                refused(&envelopes[turn % DIFFERENT], (sort == 1).then_some(&key));
            });
            assert_eq!(found.await, None);
        }
    }
}

/// Every stranger there is, each with as many envelopes; those of a sort differ in what nobody looks at.
struct Strangers {
    names: Vec<&'static str>,
    envelopes: Vec<Vec<Envelope>>,
}

impl Strangers {
    /// With signatures that are bad in this way.
    fn of(vault: &Harness, kit: &Agent, how: &str) -> Strangers {
        let requests = |name: &str, kid: &str| {
            let one = |_| {
                let hand = Agent::new(name, new_key(), Form::Pae, &vault.aud, &vault.clock);
                let Envelope { payload_type, payload, .. } = hand.issue("orders");
                let kid = if kid.is_empty() { hand.key.kid().to_string() } else { kid.to_owned() };
                Envelope { signature: bad(how, Form::Pae, &payload), payload_type, payload, kid }
            };
            (0..DIFFERENT).map(one).collect::<Vec<_>>()
        };
        let (kits, operators) = (kit.key.kid().to_string(), vault.operator.key.kid().to_string());
        let sorts = [
            ("an unknown agent", requests("ned", "")),
            ("an unknown key", requests("kit", "")),
            ("a bad signature", requests("kit", &kits)),
            ("a bad signature, an operator's key", requests("kit", &operators)),
        ];
        let (names, envelopes) = sorts.into_iter().unzip();
        Strangers { names, envelopes }
    }
}

/// All that a peer sees of a refusal.
fn said(outcome: Outcome) -> (i32, String, Vec<u8>) {
    let Outcome::Refused(refused) = outcome else { panic!("a stranger was served") };
    assert!(refused.signed.is_none());
    let status = status::refusal(&refused.denial, refused.signed);
    (i32::from(status.code()), status.message().to_owned(), status.details().to_vec())
}

#[tokio::test]
async fn unknown_agents_unknown_keys_and_bad_signatures_take_alike_time() {
    let _alone = ALONE.lock().await;
    let vault = Harness::new().await;
    vault.kv_role("orders", b"a value").await;
    let mut kit = vault.agent("kit").await;
    vault.grant(&kit.name, "orders", terms()).await;
    kit.get(&vault, "orders").await;
    for how in ["another key's", "all zero"] {
        let Strangers { names, envelopes } = Strangers::of(&vault, &kit, how);
        let mut answers = Vec::new();
        for envelopes in &envelopes {
            answers.push(said(vault.send(Rpc::RequestCredential, envelopes[0].clone()).await));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let name = format!("at the door, a signature that is {how}");
        let found = apart(&name, &names, TURNS, async |sort, turn| {
            let envelope = envelopes[sort][turn % DIFFERENT].clone();
            assert!(matches!(vault.send(Rpc::RequestCredential, envelope).await, Outcome::Refused(_)));
        });
        assert_eq!(found.await, None);
    }
}

#[tokio::test]
async fn an_early_return_is_found() {
    let _alone = ALONE.lock().await;
    let key = held(&new_key(), Form::Pae);
    let envelopes = envelopes("another key's", Form::Pae, 600);
    let found = apart("an early return", &["an unknown key", "a known key"], TURNS, async |sort, turn| {
        // What a door does that looks for the key first and has nobody in mind who holds a watch.
        if sort == 1 {
            refused(&envelopes[turn % DIFFERENT], Some(&key));
        }
    });
    assert!(found.await.is_some());
}

#[tokio::test]
async fn a_sixth_more_work_is_found() {
    let _alone = ALONE.lock().await;
    let envelopes = envelopes("another key's", Form::Pae, 600);
    let mut once = async |_: usize, turn: usize| refused(&envelopes[turn % DIFFERENT], None);
    let usual = judge::sample(1, 300, &mut once).await.remove(0);
    let more = judge::compare(&usual, &usual).median / 6.0;
    let found = apart("a sixth more", &["as usual", "a sixth more"], TURNS, async |sort, turn| {
        refused(&envelopes[turn % DIFFERENT], None);
        let begin = Instant::now();
        while sort == 1 && (begin.elapsed().as_nanos() as f64) < more {}
    });
    assert!(found.await.is_some());
}

/// Two sorts that are one are not apart, however restless the machine is.
#[tokio::test]
async fn the_same_work_is_not_told_apart() {
    let _alone = ALONE.lock().await;
    let envelopes = envelopes("another key's", Form::Pae, 600);
    let found = apart("the same", &["one", "the other"], TURNS, async |_, turn| {
        refused(&envelopes[turn % DIFFERENT], None);
    });
    assert_eq!(found.await, None);
}
