//! Authentication by itself, on the public types and without a vault around it: each step refuses for its own reason, in
//! the order of the protocol, and up to the very edge. Whatever is changed in signed bytes, nobody is there to have
//! signed them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use nockvault::authn::{self, Authenticated, Place, Refused};
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::json::{Admission, canonical};
use nockvault::crypto::signature::{Form, Signature, SigningKey};
use nockvault::denial::Reason::{self, *};
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::{Aud, Nonce, OperatorName};
use nockvault::registry::{HeldKey, Session};
use nockvault::statement::Body;
use nockvault::statement::command::Command;
use nockvault::statement::issue::Issue;
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::session::Seal;
use nockvault::statement::status::StatusRead;
use nockvault::time::{Seconds, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NOW: Timestamp = Timestamp(1_780_000_000_000);
const SKEW: Seconds = Seconds(300);
const FLOOR: Timestamp = Timestamp(1_779_999_900_000);

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(seed))
}

fn aud() -> Aud {
    Aud::of_identity(&key(99).kid())
}

fn nonce(seed: u64) -> Nonce {
    let entropy: &dyn Entropy = &SeededEntropy::new(seed);
    Nonce::from_bytes(&entropy.bytes())
}

fn seal(seed: u64) -> Seal {
    let secret = SealSecretKey::generate(&SeededEntropy::new(seed));
    Seal { pk: secret.public().into(), suite: SUITE.to_owned(), sig_pk: None }
}

/// Kit's key, as the registry holds it.
fn held() -> HeldKey {
    let register = Register {
        holder: Holder::Agent("kit".parse().unwrap()),
        aud: aud(),
        form: Form::Pae,
        iat: NOW,
        kver: 2,
        nonce: nonce(1),
        pk: key(1).public(),
        prev: Some(key(2).kid()),
    };
    HeldKey::registered(&register, NOW)
}

fn request() -> Request<Issue> {
    let common = Common {
        v: 1,
        typ: Issue::TYP.to_owned(),
        aud: aud(),
        agent: "kit".parse().unwrap(),
        kid: key(1).kid(),
        kver: 2,
        sid: "work".parse().unwrap(),
        nonce: nonce(3),
        iat: NOW,
        seen: Seen { head: Digest::of(b"the newest"), size: 7 },
    };
    let body = Issue {
        role: "orders/read".parse().unwrap(),
        ttl: Seconds(60),
        params: Map::new(),
        purpose: "a test".to_owned().try_into().unwrap(),
        seal: seal(4),
    };
    Request { common, body }
}

fn signed_by(key: &SigningKey, payload: Vec<u8>) -> Envelope {
    let payload_type = PayloadType::Request.as_str().to_owned();
    let signature = key.sign(Form::Pae, &payload_type, &payload);
    Envelope { kid: key.kid().to_string(), payload_type, payload, signature }
}

fn signed(statement: &impl serde::Serialize) -> Envelope {
    signed_by(&key(1), canonical(statement))
}

fn check(envelope: Envelope, candidate: Option<&HeldKey>) -> Result<Authenticated<Request<Issue>>, Refused> {
    let aud = aud();
    Authenticated::check(envelope, candidate, &Place { aud: &aud, now: NOW, skew: SKEW, floor: FLOOR })
}

/// Why it is refused, and whether the signature had been found to be the key's.
fn refused(envelope: Envelope) -> (Reason, bool) {
    let Refused { denial, signed } = check(envelope, Some(&held())).unwrap_err();
    (denial.reason, signed)
}

/// The request with one member changed, signed anew by its own key.
fn with(edit: impl FnOnce(&mut Value)) -> Envelope {
    let mut value = serde_json::to_value(request()).unwrap();
    edit(&mut value);
    signed(&value)
}

#[test]
fn who_signed_well_is_known_with_all_that_was_said() {
    let envelope = signed(&request());
    let known = check(envelope.clone(), Some(&held())).unwrap();
    assert_eq!(known.statement(), &request());
    assert_eq!((known.envelope(), known.req(), known.at()), (&envelope, envelope.digest(), NOW));
    assert_eq!((known.key(), known.seen()), (&held(), request().common.seen));
}

#[test]
fn each_step_refuses_for_its_own_reason_and_says_whether_a_key_stood_behind_it() {
    let bytes = |text: &str| signed_by(&key(1), text.as_bytes().to_vec());
    let most = Admission::AGENT.max_bytes;
    let typed = |payload_type: &str| Envelope { payload_type: payload_type.to_owned(), ..signed(&request()) };
    for (name, envelope, wanted) in [
        ("a byte too many", bytes(&" ".repeat(most + 1)), (Oversize, false)),
        ("another type", typed(PayloadType::Command.as_str()), (WrongPayloadType, false)),
        ("nothing", bytes(""), (Malformed, false)),
        ("another's signature", signed_by(&key(5), canonical(&request())), (Unauthenticated, false)),
        ("all the bytes there may be", bytes(&" ".repeat(most)), (NotCanonical, true)),
        ("no JSON", bytes("kit"), (NotCanonical, true)),
        ("a space", bytes("{ }"), (NotCanonical, true)),
        ("another typ", with(|r| r["typ"] = json!("nockvault/renew")), (WrongTyp, true)),
        ("no typ", with(|r| drop(r.as_object_mut().unwrap().remove("typ"))), (Schema, true)),
        ("another version", with(|r| r["v"] = json!(2)), (UnsupportedVersion, true)),
        ("no version", with(|r| drop(r.as_object_mut().unwrap().remove("v"))), (Schema, true)),
        ("one member more", with(|r| r["more"] = json!(1)), (Schema, true)),
        ("another vault", with(|r| r["aud"] = json!(Aud::of_identity(&key(8).kid()))), (WrongVault, true)),
        ("another agent", with(|r| r["agent"] = json!("ada")), (WrongHolder, true)),
        ("another key", with(|r| r["kid"] = json!(key(5).kid())), (WrongKey, true)),
        ("the number before", with(|r| r["kver"] = json!(1)), (WrongKey, true)),
        ("the number after", with(|r| r["kver"] = json!(3)), (WrongKey, true)),
    ] {
        assert_eq!(refused(envelope), wanted, "{name}");
    }
    let Refused { denial, signed } = check(signed(&request()), None).unwrap_err();
    assert_eq!((denial.reason, signed), (Unauthenticated, false), "nobody has the key");
}

#[test]
fn what_a_refusal_says_to_a_program_is_the_limit_and_the_time() {
    let denial = check(signed_by(&key(1), vec![b' '; 8193]), Some(&held())).unwrap_err().denial;
    assert_eq!(denial.limit, Some(8192));
    let denial = check(with(|r| r["v"] = json!(2)), Some(&held())).unwrap_err().denial;
    assert_eq!(denial.limit, Some(1));
    let denial = check(with(|r| r["iat"] = json!(1)), Some(&held())).unwrap_err().denial;
    assert_eq!((denial.reason, denial.limit, denial.now), (ClockSkew, Some(300), Some(NOW)));
}

/// An operator's command is authenticated by the same steps, and neither is taken for the other.
#[test]
fn commands_and_requests_are_told_apart() {
    let command = Command {
        v: 1,
        typ: StatusRead::TYP.to_owned(),
        aud: aud(),
        operator: "kit".parse::<OperatorName>().unwrap(),
        kid: key(1).kid(),
        kver: 2,
        nonce: nonce(5),
        iat: NOW,
        body: StatusRead {},
        set: None,
    };
    let envelope = Envelope::sign(PayloadType::Command, &command, &key(1), Form::Pae);
    assert_eq!(refused(envelope.clone()), (WrongPayloadType, false));
    let aud = aud();
    let place = Place { aud: &aud, now: NOW, skew: SKEW, floor: FLOOR };
    let operators = HeldKey { holder: Holder::Operator("kit".parse().unwrap()), ..held() };
    let known = Authenticated::<Command<StatusRead>>::check(envelope.clone(), Some(&operators), &place).unwrap();
    assert_eq!((known.statement(), known.key()), (&command, &operators));
    // The key of an agent of that name.
    let taken = Authenticated::<Command<StatusRead>>::check(envelope, Some(&held()), &place);
    assert_eq!(taken.unwrap_err().denial.reason, WrongHolder);
}

#[test]
fn a_key_is_taken_before_its_end_and_not_at_it() {
    let said = |grace: Option<u64>, ended: Option<u64>| {
        let key = HeldKey { grace: grace.map(Timestamp), ended: ended.map(Timestamp), ..held() };
        check(signed(&request()), Some(&key)).map(drop).map_err(|refused| refused.denial.reason)
    };
    assert_eq!(said(Some(NOW.0 + 1), None), Ok(()));
    for (grace, ended) in
        [(Some(NOW.0), None), (Some(NOW.0 - 1), None), (None, Some(NOW.0)), (None, Some(0)), (None, Some(u64::MAX))]
    {
        assert_eq!(said(grace, ended), Err(KeyRetired), "{grace:?} {ended:?}");
    }
}

#[test]
fn the_window_and_the_floor_hold_to_the_millisecond() {
    let said = |iat: u64, floor: u64| {
        authn::window(Timestamp(iat), NOW, SKEW, Timestamp(floor)).map(drop).map_err(|denial| denial.reason)
    };
    let (first, last) = (NOW.0 - 300_000, NOW.0 + 300_000);
    assert_eq!((said(first, 0), said(last, 0)), (Ok(()), Ok(())));
    assert_eq!((said(first - 1, 0), said(last + 1, 0)), (Err(ClockSkew), Err(ClockSkew)));
    assert_eq!((said(NOW.0, NOW.0 - 1), said(NOW.0, NOW.0)), (Ok(()), Err(Stale)));
    assert_eq!(said(NOW.0, NOW.0 + 1), Err(Stale));
    // A floor that lies ahead says from which second on something new is taken; one that is past does not.
    let told = |floor: u64| authn::window(NOW, NOW, SKEW, Timestamp(floor)).unwrap_err().to_string();
    assert!(told(NOW.0 + 1_500).contains(&Timestamp(NOW.0 + 2_000).to_string()), "{}", told(NOW.0 + 1_500));
    assert!(told(NOW.0).contains("nothing signed before"), "{}", told(NOW.0));
    let past = authn::window(Timestamp(NOW.0 - 2), NOW, SKEW, Timestamp(NOW.0 - 1)).unwrap_err();
    assert!(past.reason == Stale && !past.to_string().contains("nothing signed before"), "{past}");
    assert_eq!(past.now, Some(NOW));
}

#[test]
fn a_session_is_bound_to_its_seal_while_it_lives() {
    let session = Session {
        agent: "kit".parse().unwrap(),
        sid: "work".parse().unwrap(),
        seal: seal(4),
        opened: Timestamp(NOW.0 - 50_000),
        used: Timestamp(NOW.0 - 10_000),
        ends: Timestamp(NOW.0 + 1),
        ended: None,
    };
    let said = |session: Option<&Session>, seal: Option<&Seal>, idle: u64| {
        authn::bind(session, seal, NOW, Seconds(idle)).map(drop).map_err(|denial| denial.reason)
    };
    let (own, other) = (seal(4), seal(5));
    assert_eq!(said(None, None, 60), Err(SessionUnknown));
    assert_eq!(said(None, Some(&own), 60), Ok(()));
    assert_eq!(said(Some(&session), None, 60), Ok(()));
    assert_eq!(said(Some(&session), Some(&own), 60), Ok(()));
    assert_eq!(said(Some(&session), Some(&other), 60), Err(SealMismatch));
    assert_eq!(said(Some(&session), Some(&own), 11), Ok(()));
    assert_eq!(said(Some(&session), Some(&own), 10), Err(SessionEnded), "idle for as long as it may be");
    let over = Session { ends: NOW, ..session.clone() };
    assert_eq!(said(Some(&over), Some(&own), 60), Err(SessionEnded));
    let closed = Session { ended: Some(Timestamp(u64::MAX)), ..session };
    assert_eq!(said(Some(&closed), None, 60), Err(SessionEnded));
}

#[test]
fn a_seal_is_of_the_one_suite_and_to_a_safe_point() {
    let said = |seal: &Seal| authn::seal_acceptable(seal).map(drop).map_err(|denial| denial.reason);
    assert_eq!(said(&seal(4)), Ok(()));
    assert_eq!(said(&Seal { suite: SUITE.to_lowercase(), ..seal(4) }), Err(SealSuite));
    let weak = serde_json::from_value(json!({"pk": "A".repeat(43), "suite": SUITE})).unwrap();
    assert_eq!(said(&weak), Err(SealKey));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    /// Whatever is done to the bytes between agent and vault: nobody signed that.
    #[test]
    fn any_change_of_signed_bytes_makes_them_nobodys(
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        how in 0usize..5,
    ) {
        let mut envelope = signed(&request());
        match how {
            0 => { let at = at.index(envelope.payload.len()); envelope.payload[at] ^= flip }
            1 => {
                let mut bytes = *envelope.signature.as_bytes();
                bytes[at.index(64)] ^= flip;
                envelope.signature = Signature::from_bytes(bytes);
            }
            2 => { let at = at.index(envelope.payload.len()); let _ = envelope.payload.remove(at); }
            3 => { let at = at.index(envelope.payload.len()); envelope.payload.insert(at, flip) }
            _ => envelope.payload.truncate(1 + at.index(envelope.payload.len() - 1)),
        }
        prop_assert_eq!(refused(envelope), (Unauthenticated, false));
    }

    /// In, exactly between the edges and above the floor, however they lie to each other and to the ends of time.
    #[test]
    fn time_is_in_the_window_or_refused(
        now in prop_oneof![0u64..2_000_000, (1u64 << 53) - 2_000_000..1 << 53, any::<u64>()],
        off in -1_000_001i64..1_000_001,
        skew in prop_oneof![0u64..1_000, any::<u64>()],
        below in 0u64..400_000,
    ) {
        let iat = Timestamp(now.saturating_add_signed(off));
        let floor = Timestamp(now.saturating_sub(below));
        let said = authn::window(iat, Timestamp(now), Seconds(skew), floor).map(drop).map_err(|denial| denial.reason);
        let away = u128::from(iat.0.abs_diff(now));
        let wanted = if away > u128::from(skew) * 1000 {
            Err(ClockSkew)
        } else if iat <= floor {
            Err(Stale)
        } else {
            Ok(())
        };
        prop_assert_eq!(said, wanted);
    }
}
