//! Keys in files, shares, backups, and what is sealed at rest.

use nockvault::client::keyfile::{hex, parse_public, parse_register, parse_secret};
use nockvault::client::passphrase::unlock;
use nockvault::crypto::aead::{Place, Record};
use nockvault::crypto::json::{Admission, admit, canonical};
use nockvault::seal::at_rest::{Mac, Ring};
use nockvault::seal::backup::{custodians, open};
use nockvault::seal::custody::shares::{Gathered, Share};
use nockvault::seal::custody::{Custodian, given};
use nockvault::secret::SecretBytes;
use nockvault::statement::custody::Kind;
use nockvault::statement::register::Register;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::SecretDocument;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::Kdf;
use serde_json::Value;

use super::world;

/// A key file: a private key, a public one, a register statement, or a private key behind a passphrase.
pub(super) fn keyfile(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let secret = parse_secret(text);
    if let Ok(key) = &secret {
        let seed = key.seed();
        let seed = hex(seed.expose());
        assert!(text.trim().to_ascii_lowercase().starts_with(&seed), "another key was read");
    }
    let public = parse_public(text);
    match &public {
        Ok(key) => assert_eq!(hex(&key.to_bytes()), text.trim().to_ascii_lowercase()),
        Err(why) => super::told(why),
    }
    let register = parse_register(text);
    match &register {
        Ok((embedded, register)) => {
            assert_eq!(Register::open(embedded).as_ref(), Ok(register));
            assert_eq!(serde_json::to_value(register).ok().as_ref(), Some(&embedded.payload));
        }
        Err(why) => super::told(why),
    }
    let unlocked = if cheap(text) { unlock(text, &SecretBytes::new(b"correct horse".to_vec())).ok() } else { None };
    secret.is_ok() || public.is_ok() || register.is_ok() || unlocked.is_some()
}

/// Whether trying a passphrase takes no more than milliseconds. What may take longer is bounded elsewhere.
fn cheap(pem: &str) -> bool {
    let Ok((_, sealed)) = SecretDocument::from_pem(pem.trim()) else { return true };
    let Ok(sealed) = sealed.decode_msg::<EncryptedPrivateKeyInfoRef<'_>>() else { return true };
    let EncryptionScheme::Pbes2(parameters) = &sealed.encryption_algorithm else { return true };
    match &parameters.kdf {
        Kdf::Scrypt(scrypt) => {
            let blocks = scrypt.cost_parameter.saturating_mul(u64::from(scrypt.block_size));
            blocks.saturating_mul(u64::from(scrypt.parallelization)) <= 1 << 10
        }
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= 1 << 10,
        _ => true,
    }
}

/// What a custodian yields, a share of it, and the record of a custodian.
pub(super) fn custody(data: &[u8]) -> bool {
    let secret = given::read(data);
    if let Some(secret) = &secret {
        let (digits, bytes) = (hex(secret.expose()), &secret.expose()[..]);
        assert!(bytes == data || data.trim_ascii().eq_ignore_ascii_case(digits.as_bytes()), "another secret was read");
    }
    let share = super::text(data).and_then(|text| text.parse::<Share>().ok());
    if let (Some(share), Some(text)) = (&share, super::text(data)) {
        assert_eq!(*share.text(), text.trim().to_ascii_lowercase(), "a share is written otherwise than it was read");
    }
    shares(data);
    let custodian = serde_json::from_slice::<Value>(data).ok().and_then(|value| {
        let read: Custodian = serde_json::from_value(value.clone()).ok()?;
        assert_eq!(canonical(&read), canonical(&value), "a custodian is written otherwise than it was read");
        let _ = read.open(&world::aud(), &world::custody());
        Some(read)
    });
    let kind = serde_json::from_slice::<Kind>(data).ok();
    if let Some(kind) = &kind {
        let again: Kind = serde_json::from_slice(&canonical(kind)).expect("it was written as JSON");
        assert_eq!(again, *kind);
    }
    secret.is_some() || share.is_some() || custodian.is_some() || kind.is_some()
}

/// Lines of shares, put together.
fn shares(data: &[u8]) {
    let Some(text) = super::text(data) else { return };
    let lines: Vec<Share> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let Some(first) = lines.first() else { return };
    let set: Vec<u8> = (0..8)
        .filter_map(|at| u8::from_str_radix(first.text().split('-').nth(2)?.get(2 * at..2 * at + 2)?, 16).ok())
        .collect();
    let kind = Kind::Shares { count: 16, set: nockvault::base64url::Bytes(set), threshold: first.threshold() };
    let mut gathered = Gathered::of(&kind).expect("it has shares");
    for share in lines {
        let _ = gathered.add(share);
    }
    assert_eq!(gathered.secret().is_ok(), gathered.is_enough());
}

const BACKUP: &[u8] = include_bytes!("../seeds/backup/whole");

/// A backup file, or its header alone, which is put before what follows one. What opens is what was written.
pub(super) fn backup(data: &[u8]) -> bool {
    let framed = data.starts_with(b"{").then(|| {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        [nockvault::seal::backup::MAGIC, &length.to_be_bytes(), data, &BACKUP[BACKUP.len() / 2..]].concat()
    });
    let file = framed.as_deref().unwrap_or(data);
    if let Err(why) = custodians(file) {
        super::told(why);
    }
    let opened = match open(file, &world::aud(), &world::root_key()) {
        Ok(opened) => opened,
        Err(why) => {
            super::told(why);
            return false;
        }
    };
    // The head is bound to every chunk, so that one that was changed opens none.
    let (manifest, mut rest, mut read) = (opened.manifest, opened.rest, Vec::new());
    assert!(manifest.database < 1 << 20, "nobody wrote this manifest");
    let wanted = manifest.database + manifest.files.iter().map(|part| part.bytes).sum::<u64>();
    let whole = rest.copy(wanted, &mut read).is_ok() && rest.end().is_ok();
    assert!(!whole || file == BACKUP, "a backup that was changed opens");
    whole
}

/// A record that is sealed to its place, and the MAC beside a row.
pub(super) fn record(data: &[u8]) -> bool {
    if let Some(mac) = Mac::from_slice(data) {
        assert_eq!(mac.to_bytes()[..], *data);
    }
    let record = Record::from_bytes(data).ok();
    if let Some(record) = &record {
        if admit(data, &Admission::AGENT).is_ok() {
            assert_eq!(record.to_bytes(), data, "a record is written otherwise than it was read");
        }
        assert_eq!(Ring::epoch_of(data), Some(record.epoch()));
    }
    let ring = Ring::generate(&world::entropy());
    let place = Place { table: "secret", column: "value", row: "orders", purpose: "kv", ver: 1 };
    if let Ok(opened) = ring.open(&place, data) {
        assert_eq!(opened.expose(), b"hunter2", "nobody sealed this");
        return true;
    }
    record.is_some() || data.len() == 40
}
