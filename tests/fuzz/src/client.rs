//! What a vault answers its clients, and what an agent remembers on disk.

use std::fs;
use std::sync::OnceLock;

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::base64url::Bytes;
use nockvault::client::pins::Pins;
use nockvault::client::seen::Memory;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SealSecretKey, Sealed};
use nockvault::crypto::json::canonical;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::seal::reply::open;
use nockvault::secret::Secret;
use nockvault::statement::card::{Card, Genesis};
use nockvault::statement::cert::KeyRole;
use nockvault::statement::reply::*;
use nockvault::time::{Seconds, Timestamp};

use super::operators::folder;
use super::world;

const CHALLENGE: [u8; 32] = [3; 32];

fn response() -> SigningKey {
    world::key(2)
}

/// A card of the vault that answers here.
pub(super) fn answering() -> Card {
    Card {
        name: "prod".parse().expect("it is a name"),
        aud: world::aud(),
        identity: world::identity().public(),
        agents: "unix:/nowhere/agents.sock".to_owned(),
        operators: "unix:/nowhere/operators.sock".to_owned(),
        ca: None,
        genesis: Genesis { vault: Digest::of(b"v"), operators: Digest::of(b"o") },
    }
}

/// The response key's certificate.
fn cert() -> Embedded {
    let life = Life { nbf: Timestamp::ZERO, exp: world::NOW.plus(Seconds(3600)) };
    let (key, aud) = (response(), world::aud());
    certify_key(
        &world::identity(),
        &cert_of(KeyRole::Response, key.public().to_bytes(), key.kid(), &aud, "n1", 1, life),
    )
}

/// What this vault says of itself.
pub fn described() -> Described {
    Described {
        typ: Described::TYP.to_owned(),
        v: 1,
        accepts: vec![Accepted { typ: "nockvault/issue".to_owned(), v: 1 }],
        aud: world::aud(),
        certs: vec![cert()],
        identity: Bytes(world::identity().public().to_bytes().to_vec()),
        limits: Limits {
            skew: Seconds(300),
            request_bytes: 8192,
            command_bytes: 65536,
            sealed_input_bytes: 65536,
            session_idle: Seconds(3600),
            session_max: Seconds(7200),
        },
        name: "prod".parse().expect("it is a name"),
        now: world::NOW,
        req: Bytes(CHALLENGE.to_vec()),
        suites: vec![nockvault::crypto::hpke::SUITE.to_owned()],
    }
}

fn signed(payload: &[u8]) -> Envelope {
    let (key, t) = (response(), PayloadType::Response.as_str());
    let (signature, kid) = (key.sign(Form::Pae, t, payload), key.kid().to_string());
    Envelope { payload_type: t.to_owned(), payload: payload.to_vec(), signature, kid }
}

fn pins() -> &'static Pins {
    static PINS: OnceLock<Pins> = OnceLock::new();
    PINS.get_or_init(|| {
        let reply = signed(&canonical(&described()));
        Pins::check(&answering(), &CHALLENGE, &reply, Timestamp::ZERO, None).expect("this vault describes itself")
    })
}

/// A payload that the response key signed, as an honest or a broken vault would; and the same without its signature, as
/// anybody between could. Only what is signed is read.
pub(super) fn answer(data: &[u8]) -> bool {
    let reply = signed(data);
    let unsigned = Envelope { signature: world::key(3).sign(Form::Pae, &reply.payload_type, data), ..reply.clone() };
    let described = Pins::check(&answering(), &CHALLENGE, &reply, Timestamp::ZERO, None);
    match &described {
        Ok(pins) => assert!(pins.described().aud == world::aud() && pins.described().req.0 == CHALLENGE),
        Err(why) => super::told(why),
    }
    assert!(Pins::check(&answering(), &CHALLENGE, &unsigned, Timestamp::ZERO, None).is_err(), "anybody is believed");
    let issued = reads::<Issued>(&reply, &unsigned);
    if let Some(issued) = &issued {
        let key = SealSecretKey::from_bytes(&Secret::new([4; 32]));
        if let Ok(enc) = issued.enc.0.as_slice().try_into() {
            assert!(open(&key, &issued.hdr, &Sealed { enc, ct: issued.ct.0.clone() }).is_err(), "nobody sealed this");
        }
    }
    issued.is_some()
        || described.is_ok()
        || reads::<Opened>(&reply, &unsigned).is_some()
        || reads::<Renewed>(&reply, &unsigned).is_some()
        || reads::<Released>(&reply, &unsigned).is_some()
        || reads::<Closed>(&reply, &unsigned).is_some()
        || reads::<Rotated>(&reply, &unsigned).is_some()
        || reads::<Executed>(&reply, &unsigned).is_some()
        || reads::<Denied>(&reply, &unsigned).is_some()
}

fn reads<R: Reply>(reply: &Envelope, unsigned: &Envelope) -> Option<R> {
    assert!(pins().read::<R>(unsigned, world::NOW).is_err(), "an answer that nobody signed is read");
    match pins().read::<R>(reply, world::NOW) {
        Ok(read) => Some(read),
        Err(why) => {
            super::told(why);
            None
        }
    }
}

/// What an agent remembers of its chain: the file is read whole or is an error, and is never taken for another state.
pub(super) fn seen(data: &[u8]) -> bool {
    let (aud, agent) = (world::aud(), "kit".parse().expect("it is a name"));
    let place = folder().join(aud.as_str());
    fs::create_dir_all(&place).expect("a temporary folder");
    fs::write(place.join("kit.seen"), data).expect("a temporary file");
    match Memory::kept_in(&folder(), &aud, &agent) {
        Ok(memory) => {
            let seen = memory.seen();
            let text = super::text(data).expect("what was read is JSON");
            assert!(text.contains(&seen.size.to_string()) && text.contains(&seen.head.to_string()));
            true
        }
        Err(why) => {
            super::told(why);
            false
        }
    }
}
