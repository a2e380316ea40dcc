//! Signatures and keys: Wycheproof, "Taming the many EdDSAs", CCTV, RFC 8032, the thumbprint and JWS of RFC 8037, and
//! OpenSSH's example of a signature.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nockvault::crypto::signature::{PublicKey, Signature, SigningKey};
use nockvault::secret::Secret;
use serde_json::Value;

use crate::folder::{each_json, each_wycheproof, flag, flip, hex, list, some_bits, string};

/// A signature checked as the vault checks it: the key must be one that may be registered.
fn accepts(key: &[u8], message: &[u8], sig: &[u8]) -> bool {
    let key = key.try_into().ok().and_then(|key| PublicKey::from_bytes(key).ok());
    let sig = Signature::from_slice(sig);
    key.zip(sig).is_some_and(|(key, sig)| key.verify_raw(message, &sig).is_ok())
}

fn registrable(key: &[u8]) -> bool {
    key.try_into().is_ok_and(|key| PublicKey::from_bytes(key).is_ok())
}

/// `expected`, and where it is acceptance, refusal of every change.
fn holds(about: &Value, expected: bool, key: &[u8], message: &[u8], sig: &[u8]) {
    assert_eq!(accepts(key, message, sig), expected, "{about}");
    if expected {
        for bit in some_bits(sig) {
            assert!(!accepts(key, message, &flip(sig, bit)), "bit {bit} of the signature: {about}");
        }
        for bit in some_bits(message) {
            assert!(!accepts(key, &flip(message, bit), sig), "bit {bit} of the message: {about}");
        }
        for bit in some_bits(key) {
            assert!(!accepts(&flip(key, bit), message, sig), "bit {bit} of the key: {about}");
        }
        assert!(!accepts(key, message, &sig[..63]), "a byte less: {about}");
        assert!(!accepts(key, message, &[sig, &[0]].concat()), "a byte more: {about}");
    }
}

#[test]
fn wycheproof() {
    each_wycheproof("ed25519", |group, test| {
        let expected = string(&test["result"]) == "valid";
        holds(test, expected, &hex(&group["publicKey"]["pk"]), &hex(&test["msg"]), &hex(&test["sig"]));
    });
}

#[test]
fn speccheck() {
    each_json("ed25519-speccheck", "", |file| {
        let cases = list(&file["cases"]);
        for case in cases {
            let (key, message, sig) = (hex(&case["pub_key"]), hex(&case["message"]), hex(&case["signature"]));
            assert_eq!(registrable(&key), flag(&case["expect"]["key"]["registrable"]), "{case}");
            holds(case, flag(&case["expect"]["nockvault_accept"]), &key, &message, &sig);
        }
        cases.len()
    });
}

#[test]
fn cctv() {
    each_json("cctv-ed25519", "", |file| {
        let cases = list(file);
        for case in cases {
            let (key, message, sig) = (hex(&case["key"]), string(&case["msg"]).as_bytes(), hex(&case["sig"]));
            let expect = &case["expect"];
            assert_eq!(registrable(&key), flag(&expect["registrable"]), "{case}");
            if registrable(&key) {
                // For a key that the vault takes, the strict rule is the whole rule.
                assert_eq!(accepts(&key, message, &sig), flag(&expect["dalek_verify_strict"]), "{case}");
            }
            holds(case, flag(&expect["nockvault_accept"]), &key, message, &sig);
        }
        cases.len()
    });
}

#[test]
fn rfc8032() {
    each_json("rfc8032", "", |file| {
        let cases = list(file);
        for case in cases {
            let seed = Secret::from_slice(&hex(&case["seed"])).expect("a seed of 32 bytes");
            let (key, message, sig) = (hex(&case["public"]), hex(&case["message"]), hex(&case["signature"]));
            let signer = SigningKey::from_seed(&seed);
            assert_eq!(signer.public().to_bytes().as_slice(), key, "{case}");
            assert_eq!(signer.sign_raw(&message).as_bytes().as_slice(), sig, "{case}");
            let other = SigningKey::from_seed(&Secret::from_slice(&flip(seed.expose(), 17)).unwrap());
            assert_ne!(other.public().to_bytes().as_slice(), key, "{case}");
            holds(case, true, &key, &message, &sig);
        }
        cases.len()
    });
}

#[test]
fn rfc8037_thumbprint_and_jws() {
    each_json("jose", "rfc8037", |file| {
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
        let jwk = &file["jwk_private"];
        let signer = SigningKey::from_seed(&Secret::from_slice(&bytes(string(&jwk["d"]))).unwrap());
        let key = bytes(string(&jwk["x"]));
        assert_eq!(signer.public().to_bytes().as_slice(), key);
        assert_eq!(signer.kid().as_str(), string(&file["thumbprint_sha256_b64u"]));
        let changed = (0..256).filter_map(|bit| PublicKey::from_bytes(&flip(&key, bit).try_into().unwrap()).ok());
        assert!(changed.inspect(|key| assert_ne!(key.kid(), signer.kid())).count() > 0);

        let (input, sig) = string(&file["compact"]).rsplit_once('.').unwrap();
        assert_eq!(signer.sign_raw(input.as_bytes()).as_bytes().as_slice(), bytes(sig));
        holds(file, true, &key, input.as_bytes(), &bytes(sig));
        1
    });
}

/// The example gives no message, and it is older than the member that names the hash, so it shows only that the fields
/// stand as our preamble has them and that its key and signature are ones we take. A signature that OpenSSH made over a
/// known message is among the unit tests.
#[test]
fn sshsig_layout() {
    each_json("sshsig", "", |file| {
        let lines: Vec<_> = string(&file["armored"]).lines().filter(|line| !line.starts_with('-')).collect();
        let blob = STANDARD.decode(lines.concat()).unwrap();
        let mut rest = blob.strip_prefix(b"SSHSIG\0\0\0\x01").expect("the magic and version 1");
        let mut fields = Vec::new();
        while !rest.is_empty() {
            fields.push(ssh_string(&mut rest));
        }
        let [mut key, namespace, reserved, .., mut sig] = fields[..] else { panic!("{} fields", fields.len()) };
        assert!(!namespace.is_empty() && reserved.is_empty());
        assert_eq!((ssh_string(&mut key), ssh_string(&mut sig)), (&b"ssh-ed25519"[..], &b"ssh-ed25519"[..]));
        let (key, sig) = (ssh_string(&mut key), ssh_string(&mut sig));
        assert!(registrable(key));
        assert!((0..256).any(|bit| !registrable(&flip(key, bit))));
        assert!(Signature::from_slice(sig).is_some() && Signature::from_slice(&sig[1..]).is_none());
        1
    });
}

fn ssh_string<'a>(from: &mut &'a [u8]) -> &'a [u8] {
    let (length, rest) = from.split_first_chunk::<4>().expect("a length");
    let (text, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
    *from = rest;
    text
}
