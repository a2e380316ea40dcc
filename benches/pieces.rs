//! What one issuance is made of, piece by piece: the sum that the whole is held against.
//!
//! `cargo bench --bench pieces`. Read the figures as CPU time of one core; every piece runs without I/O.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench that cannot go on stops; criterion's macros carry no docs"
)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use nockvault::audit::chain::{AuditKey, Head, append};
use nockvault::audit::entry::{self, Body};
use nockvault::authn::{Authenticated, Place};
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::json::{Admission, admit, canonical};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{Aud, ChainName, LeaseId, Nonce};
use nockvault::registry::HeldKey;
use nockvault::seal::reply;
use nockvault::secret::SecretBytes;
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::{Hdr, Revocation};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::session::Seal;
use nockvault::statement::{Body as _, VERSION};
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, json};

const NOW: Timestamp = Timestamp(1_780_511_400_123);

/// An agent, its vault and one request between them.
struct Scene {
    agent: SigningKey,
    vault: SigningKey,
    aud: Aud,
    session: SealSecretKey,
    request: Request<Issue>,
    held: HeldKey,
}

fn scene() -> Scene {
    let entropy: &dyn Entropy = &OsEntropy;
    let (agent, vault) = (SigningKey::generate(entropy), SigningKey::generate(entropy));
    let (aud, session) = (Aud::of_identity(&vault.kid()), SealSecretKey::generate(entropy));
    let common = Common {
        v: VERSION,
        typ: Issue::TYP.into(),
        aud: aud.clone(),
        agent: "kit".parse().unwrap(),
        kid: agent.kid(),
        kver: 1,
        sid: "nightly-7".parse().unwrap(),
        nonce: Nonce::from_bytes(&entropy.bytes()),
        iat: NOW,
        seen: Seen { head: Digest::of(b"head"), size: 1000 },
    };
    let body = Issue {
        role: "orders-read".parse().unwrap(),
        ttl: Seconds(900),
        params: Map::new(),
        purpose: Purpose::try_from("nightly report".to_owned()).unwrap(),
        seal: Seal { pk: session.public().into(), suite: SUITE.into(), sig_pk: None },
    };
    let register = Register {
        holder: Holder::Agent("kit".parse().unwrap()),
        aud: aud.clone(),
        form: Form::Pae,
        iat: NOW,
        kver: 1,
        nonce: Nonce::from_bytes(&entropy.bytes()),
        pk: agent.public(),
        prev: None,
    };
    let held = HeldKey::registered(&register, NOW);
    Scene { agent, vault, aud, session, request: Request { common, body }, held }
}

fn hdr(scene: &Scene, req: Digest) -> Hdr {
    Hdr {
        agent: "kit".parse().unwrap(),
        exp: NOW.plus(Seconds(900)),
        iat: NOW,
        kid: scene.agent.kid(),
        lease: LeaseId::new(NOW.0, [7; 10]),
        renewable: true,
        revocation: Revocation::None,
        req,
        role: "orders-read".parse().unwrap(),
        sid: "nightly-7".parse().unwrap(),
        vault: scene.aud.clone(),
    }
}

fn pieces(c: &mut Criterion) {
    let scene = scene();
    let envelope = Envelope::sign(PayloadType::Request, &scene.request, &scene.agent, Form::Pae);
    let key = scene.agent.public();
    let hdr = hdr(&scene, envelope.digest());
    let secret = SecretBytes::from(br#"{"type":"kv","value":"correct horse battery staple"}"#.to_vec());
    let place = Place { aud: &scene.aud, now: NOW, skew: Seconds(300), floor: Timestamp::ZERO };
    let audit = AuditKey::certify(
        SigningKey::generate(&OsEntropy),
        &scene.vault,
        &scene.aud,
        "bench",
        1,
        NOW,
        NOW.plus(Seconds(86_400)),
    );
    let head =
        Head { kid: Some(audit.kid().clone()), ..Head::empty(&"prod".parse().unwrap(), &ChainName::from(&hdr.agent)) };
    let body = Body::Issue(entry::Issue {
        grant: 2,
        handle: nockvault::id::handle(&hdr.agent, &hdr.lease),
        hdr: hdr.clone(),
        request: envelope.embed().unwrap(),
        sealed: Digest::of(b"sealed"),
    });
    let (line, _) = append(&head, &audit, &body, NOW).unwrap();

    c.bench_function("verify one signature", |b| {
        b.iter(|| {
            key.verify(Form::Pae, &envelope.payload_type, black_box(&envelope.payload), &envelope.signature).unwrap()
        });
    });
    c.bench_function("sign one statement", |b| b.iter(|| scene.vault.sign_raw(black_box(&line))));
    c.bench_function("admit one request", |b| {
        b.iter(|| admit(black_box(&envelope.payload), &Admission::AGENT).unwrap())
    });
    c.bench_function("authenticate one request", |b| {
        b.iter(|| Authenticated::<Request<Issue>>::check(envelope.clone(), Some(&scene.held), &place).unwrap());
    });
    let to = scene.session.public();
    c.bench_function("seal one secret", |b| b.iter(|| reply::seal(black_box(&secret), &hdr, &to, &OsEntropy).unwrap()));
    c.bench_function("make and sign one entry", |b| b.iter(|| append(black_box(&head), &audit, &body, NOW).unwrap()));
    c.bench_function("canonical form of one reply", |b| {
        let reply = json!({ "ct": "x".repeat(200), "hdr": hdr });
        b.iter(|| canonical(black_box(&reply)));
    });
    c.bench_function("hash one entry", |b| b.iter(|| leaf(black_box(&line))));
}

criterion_group!(benches, pieces);
criterion_main!(benches);
