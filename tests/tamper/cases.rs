//! The bad files: for each thing that a verifier checks, a chain in which just that is wrong, and everything that can be
//! made right is, since whoever forged it holds the vault's audit key.

use std::sync::Arc;

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::audit::entry;
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::Fault;
use nockvault::audit::verify::{Pins, verify_operators};
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::statement::cert::KeyRole;
use nockvault::statement::grant::Terms;
use nockvault::statement::reply::Issued;
use nockvault::time::Seconds;

use crate::world::{START, World, copy};

/// A bad file: what is wrong with it, and what pins show it. The wrong entry is the last, where it names no other.
pub(crate) struct Bad {
    pub(crate) lines: Vec<Vec<u8>>,
    pub(crate) pins: Pins,
    pub(crate) entry: usize,
    /// The file of `_operators`, where the pins hold its commands.
    pub(crate) operators: Option<Vec<Vec<u8>>>,
}

impl From<World> for Bad {
    fn from(world: World) -> Bad {
        let lines = world.kit.lines.clone();
        Bad { entry: lines.len() - 1, pins: world.pins(), lines, operators: None }
    }
}

impl Bad {
    /// The wrong entry is this one.
    pub(crate) fn at(self, entry: usize) -> Bad {
        Bad { entry, ..self }
    }
}

/// A name, the fault that must be found, and how to make the file.
pub(crate) type Case = (&'static str, Fault, fn() -> Bad);

/// `kit` at work, and then something that may not be.
pub(crate) fn then(wrong: impl FnOnce(&mut World)) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    world.into()
}

/// An issuance that was changed before the vault recorded it.
pub(crate) fn issued(change: impl FnOnce(&World, &mut entry::Issue)) -> Bad {
    then(|world| {
        let mut issue = world.next_issue();
        change(world, &mut issue);
        world.put(issue);
    })
}

/// An issuance under these terms.
pub(crate) fn under(terms: Terms, change: impl FnOnce(&World, &mut entry::Issue)) -> Bad {
    then(|world| {
        world.ungrant();
        world.give(terms);
        let mut issue = world.next_issue();
        change(world, &mut issue);
        world.put(issue);
    })
}

/// The newest entry, rewritten by the thief of the audit key.
pub(crate) fn rewritten(change: impl FnOnce(&mut serde_json::Value)) -> Bad {
    then(|world| {
        let key = copy(&world.stolen);
        world.rewrite(&key, change);
    })
}

/// A chain with what stands in `_operators` beside it.
pub(crate) fn with_operators(wrong: impl FnOnce(&mut World)) -> Bad {
    then_with(wrong, |world| {
        let (report, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
        Pins { operators: Some(Arc::new(commands.unwrap_or_else(|| panic!("{report}")))), ..world.pins() }
    })
}

pub(crate) fn then_with(wrong: impl FnOnce(&mut World), pins: impl FnOnce(&World) -> Pins) -> Bad {
    let mut world = World::at_work(7);
    wrong(&mut world);
    let pins = pins(&world);
    let operators = pins.operators.is_some().then(|| world.operators.lines.clone());
    Bad { pins, operators, ..Bad::from(world) }
}

pub(crate) fn certificate(world: &World, role: KeyRole, key: &SigningKey, by: &SigningKey) -> serde_json::Value {
    let life = Life { nbf: START, exp: START.plus(Seconds(86_400)) };
    let cert = cert_of(role, key.public().to_bytes(), key.kid(), &world.aud, "n1", 1, life);
    serde_json::to_value(certify_key(by, &cert)).unwrap()
}

/// The sealed credential of every receipt here, and its digest.
pub(crate) fn sealed() -> (Bytes, Bytes, Digest) {
    let (enc, ct) = (vec![1; 32], vec![2; 80]);
    let digest = Digest::of_parts(&[&enc, &ct]);
    (Bytes(enc), Bytes(ct), digest)
}

/// The receipt of what was issued last, signed by a certified response key. Its ciphertext fits the entry only where
/// that was made with [`sealed`].
pub(crate) fn receipt(world: &World, change: impl FnOnce(&mut Issued)) -> Receipt {
    let response = SigningKey::generate(&world.entropy);
    let cert = certificate(world, KeyRole::Response, &response, &world.identity);
    let (enc, ct, _) = sealed();
    let mut issued = Issued::new(ct, enc, world.kit.head.entry().unwrap(), world.last_issue().hdr);
    change(&mut issued);
    let answer = Envelope::sign(PayloadType::Response, &issued, &response, Form::Pae);
    Receipt::keep(&answer, Some(&serde_json::from_value(cert).unwrap())).unwrap()
}
