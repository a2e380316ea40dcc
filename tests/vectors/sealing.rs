//! Secrecy: RFC 9180, X25519 (Wycheproof and RFC 7748, through HPKE), the two ciphers (Wycheproof), HKDF (Wycheproof and
//! RFC 5869).

use std::sync::Mutex;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use nockvault::crypto::hpke::{self, SealKeyBytes, SealPublicKey, SealSecretKey, Sealed};
use nockvault::crypto::primitive::{hkdf_sha256, hmac_sha256, xchacha20poly1305_open, xchacha20poly1305_seal};
use nockvault::entropy::Entropy;
use nockvault::secret::Secret;
use serde_json::Value;

use crate::folder::{
    blocks, each_json, each_wycheproof, files, flip, from_hex, hex, list, root, some_bits, string, text,
};

/// Gives exactly these bytes, once.
#[derive(Debug)]
struct Script(Mutex<Vec<u8>>);

impl Entropy for Script {
    fn fill(&self, out: &mut [u8]) {
        let given: Vec<u8> = self.0.lock().unwrap().drain(..out.len()).collect();
        out.copy_from_slice(&given);
    }
}

/// RFC 9180 sections 4 to 5.1, written from its text for the one suite: what the sender derives from a Diffie-Hellman
/// result. It makes ciphertexts for [`hpke::open`] without [`hpke::seal`].
struct Schedule {
    key: [u8; 32],
    base_nonce: [u8; 12],
    exporter_secret: [u8; 32],
}

impl Schedule {
    fn of(dh: &[u8], enc: &[u8; 32], to: &SealPublicKey, info: &[u8]) -> Schedule {
        let kem = [b"KEM".as_slice(), &[0, 0x20]].concat();
        let prk = extract(&[0; 32], &kem, b"eae_prk", dh);
        let shared: [u8; 32] = expand(&prk, &kem, b"shared_secret", &[enc.as_slice(), to.as_bytes()].concat());
        let suite = [b"HPKE".as_slice(), &[0, 0x20, 0, 1, 0, 3]].concat();
        let psk_id = extract(&[0; 32], &suite, b"psk_id_hash", b"");
        let info = extract(&[0; 32], &suite, b"info_hash", info);
        let bound = [&[0][..], &psk_id, &info].concat();
        let secret = extract(&shared, &suite, b"secret", b"");
        Schedule {
            key: expand(&secret, &suite, b"key", &bound),
            base_nonce: expand(&secret, &suite, b"base_nonce", &bound),
            exporter_secret: expand(&secret, &suite, b"exp", &bound),
        }
    }

    fn seal(&self, seq: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let mut nonce = self.base_nonce;
        nonce[4..].iter_mut().zip(seq.to_be_bytes()).for_each(|(byte, seq)| *byte ^= seq);
        chacha(&self.key).encrypt(&nonce.into(), Payload { msg: plaintext, aad }).unwrap()
    }
}

fn extract(salt: &[u8; 32], suite: &[u8], label: &[u8], ikm: &[u8]) -> [u8; 32] {
    *hmac_sha256(salt, &[b"HPKE-v1", suite, label, ikm]).as_bytes()
}

fn expand<const N: usize>(prk: &[u8; 32], suite: &[u8], label: &[u8], info: &[u8]) -> [u8; N] {
    let length = [0, N as u8];
    let block = hmac_sha256(prk, &[&length, b"HPKE-v1", suite, label, info, &[1]]);
    block.as_bytes()[..N].try_into().expect("at most one block is asked for")
}

fn chacha(key: &[u8]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new_from_slice(key).expect("a key of 32 bytes")
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or_else(|_| panic!("{} bytes, not {N}", bytes.len()))
}

fn secret_key(bytes: &[u8]) -> SealSecretKey {
    SealSecretKey::from_bytes(&Secret::from_slice(bytes).expect("a key of 32 bytes"))
}

fn is_our_suite(case: &Value) -> bool {
    ["mode", "kem_id", "kdf_id", "aead_id"].map(|id| case[id].as_u64()) == [0, 0x20, 1, 3].map(Some)
}

/// Runs the cases of base mode in our suite. The RFC's file has other modes and suites, which the vault does not speak;
/// the committed set is one of ours.
fn each_of_our_suite(run: impl Fn(&Value)) {
    each_json("rfc9180", "", |file| {
        let (ours, others): (Vec<_>, Vec<_>) = list(file).iter().partition(|case| is_our_suite(case));
        assert!(!ours.is_empty() || !root().1, "no case of our suite");
        ours.iter().for_each(|case| run(case));
        eprintln!("{} cases of our suite, {} of others left out", ours.len(), others.len());
        ours.len() + others.len()
    });
}

#[test]
fn rfc9180() {
    each_of_our_suite(rfc9180_case);
}

fn rfc9180_case(case: &Value) {
    let (info, enc, receiver) = (hex(&case["info"]), array(&hex(&case["enc"])), secret_key(&hex(&case["skRm"])));
    assert_eq!(receiver.public().as_bytes().as_slice(), hex(&case["pkRm"]));
    assert_eq!(secret_key(&hex(&case["skEm"])).public().as_bytes(), &enc);

    // One shot is the first message of the context; the key schedule written above gives the others too.
    let first = &list(&case["encryptions"])[0];
    let (aad, plaintext, ct) = (hex(&first["aad"]), hex(&first["pt"]), hex(&first["ct"]));
    let draw = |ikm: &[u8]| Script(Mutex::new(ikm.to_vec()));
    let ikm = hex(&case["ikmE"]);
    let sealed = hpke::seal(&receiver.public(), &info, &aad, &plaintext, &draw(&ikm)).unwrap();
    assert_eq!(sealed, Sealed { enc, ct: ct.clone() });
    assert_eq!(hpke::open(&receiver, &sealed, &info, &aad).unwrap().expose(), &plaintext);

    for bit in some_bits(&ikm) {
        let other = hpke::seal(&receiver.public(), &info, &aad, &plaintext, &draw(&flip(&ikm, bit))).unwrap();
        assert!(other.enc != enc && other.ct != ct);
    }
    for bit in 0..8 * ct.len() {
        assert!(hpke::open(&receiver, &Sealed { enc, ct: flip(&ct, bit) }, &info, &aad).is_err());
    }
    for bit in 0..8 * enc.len() {
        let changed = Sealed { enc: array(&flip(&enc, bit)), ct: ct.clone() };
        assert!(hpke::open(&receiver, &changed, &info, &aad).is_err());
    }
    assert!(hpke::open(&receiver, &sealed, &flip(&info, 3), &aad).is_err());
    assert!(hpke::open(&receiver, &sealed, &info, &flip(&aad, 3)).is_err());
}

/// The schedule above against the intermediate values of the RFC. The Diffie-Hellman result is not among them, so it is
/// computed with the curve's own crate.
#[test]
fn rfc9180_key_schedule() {
    each_of_our_suite(|case| {
        let (enc, private) = (array(&hex(&case["enc"])), array(&hex(&case["skRm"])));
        let dh = curve25519_dalek::MontgomeryPoint(enc).mul_clamped(private).0;
        let schedule = Schedule::of(&dh, &enc, &secret_key(&private).public(), &hex(&case["info"]));
        assert_eq!(schedule.key.as_slice(), hex(&case["key"]));
        assert_eq!(schedule.base_nonce.as_slice(), hex(&case["base_nonce"]));
        assert_eq!(schedule.exporter_secret.as_slice(), hex(&case["exporter_secret"]));
        for message in list(&case["encryptions"]) {
            let seq = message["seq"].as_u64().unwrap();
            let ct = schedule.seal(seq, &hex(&message["aad"]), &hex(&message["pt"]));
            assert_eq!(ct, hex(&message["ct"]), "message {seq}");
        }
    });
}

/// One Diffie-Hellman computation, seen through what the vault uses it for: a ciphertext made from the expected result
/// opens with the secret key, and one made from any other does not. An all-zero result must never open.
fn x25519(private: &[u8], public: &[u8], shared: &[u8]) {
    let (key, enc) = (secret_key(private), array(public));
    let opens = |dh: &[u8]| {
        let ct = Schedule::of(dh, &enc, &key.public(), b"info").seal(0, b"aad", b"secret");
        hpke::open(&key, &Sealed { enc, ct }, b"info", b"aad").is_ok()
    };
    let zero = shared.iter().all(|byte| *byte == 0);
    assert_eq!(opens(shared), !zero);
    assert!(some_bits(shared).iter().all(|bit| !opens(&flip(shared, *bit))));

    // The same point as a key to seal to: refused where it is unsafe or has another, canonical encoding.
    let prime = from_hex(&format!("7f{}ed", "ff".repeat(30)));
    let canonical = public.iter().rev().lt(prime.iter());
    assert_eq!(SealKeyBytes::from_bytes(enc).check().is_ok(), canonical && !zero);
}

#[test]
fn wycheproof_x25519() {
    each_wycheproof("x25519", |_, test| {
        let (private, public, shared) = (hex(&test["private"]), hex(&test["public"]), hex(&test["shared"]));
        if string(&test["result"]) == "invalid" {
            assert!(public.len() != 32 || private.len() != 32, "{test}");
        } else {
            x25519(&private, &public, &shared);
        }
    });
}

#[test]
fn rfc7748() {
    for file in files("x25519", "rfc7748", ".txt") {
        let cases = blocks(&text(&file));
        assert!(!cases.is_empty(), "{} is empty", file.display());
        for case in cases {
            let [scalar, u, out] = ["INPUT_SCALAR", "INPUT_U", "OUTPUT_U"].map(|name| from_hex(&case[name]));
            x25519(&scalar, &u, &out);
        }
    }
}

/// A vector of an AEAD: `seal` and `open` as functions of key, nonce, AAD and text, `None` where a length or tag is wrong.
fn aead(
    test: &Value,
    seal: impl Fn(&[u8], &[u8], &[u8], &[u8]) -> Option<Vec<u8>>,
    open: impl Fn(&[u8], &[u8], &[u8], &[u8]) -> Option<Vec<u8>>,
) {
    let [key, nonce, aad, message, ct, tag] = ["key", "iv", "aad", "msg", "ct", "tag"].map(|name| hex(&test[name]));
    let ct = [ct, tag].concat();
    if string(&test["result"]) != "valid" {
        assert_eq!(open(&key, &nonce, &aad, &ct), None, "{test}");
        return;
    }
    assert_eq!(seal(&key, &nonce, &aad, &message).as_ref(), Some(&ct), "{test}");
    assert_eq!(open(&key, &nonce, &aad, &ct), Some(message), "{test}");
    for bit in some_bits(&ct).into_iter().chain([8 * ct.len() - 128]) {
        assert_eq!(open(&key, &nonce, &aad, &flip(&ct, bit)), None, "{test}");
    }
    for bit in some_bits(&key) {
        assert_eq!(open(&flip(&key, bit), &nonce, &aad, &ct), None, "{test}");
        assert_eq!(open(&key, &flip(&nonce, bit), &aad, &ct), None, "{test}");
        assert_eq!(open(&key, &nonce, &flip(&aad, bit), &ct), None, "{test}");
    }
}

#[test]
fn wycheproof_xchacha20_poly1305() {
    each_wycheproof("xchacha20_poly1305", |_, test| {
        aead(
            test,
            |key, nonce, aad, message| {
                Some(xchacha20poly1305_seal(key.try_into().ok()?, nonce.try_into().ok()?, aad, message))
            },
            |key, nonce, aad, ct| {
                let opened = xchacha20poly1305_open(key.try_into().ok()?, nonce.try_into().ok()?, aad, ct);
                opened.ok().map(|text| text.expose().clone())
            },
        );
    });
}

/// The cipher inside HPKE, with the crate that HPKE uses.
#[test]
fn wycheproof_chacha20_poly1305() {
    let nonce = |bytes: &[u8]| Nonce::try_from(bytes).ok();
    each_wycheproof("chacha20_poly1305", |_, test| {
        aead(
            test,
            |key, iv, aad, msg| chacha(key).encrypt(&nonce(iv)?, Payload { msg, aad }).ok(),
            |key, iv, aad, msg| chacha(key).decrypt(&nonce(iv)?, Payload { msg, aad }).ok(),
        );
    });
}

/// The output asked for, or `None` where it is more than HKDF gives.
fn hkdf(ikm: &[u8], salt: &[u8], info: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut out = vec![0; size];
    hkdf_sha256(ikm, salt, info, &mut out).ok().map(|()| out)
}

fn hkdf_holds(ikm: &[u8], salt: &[u8], info: &[u8], expected: &[u8]) {
    let size = expected.len();
    assert_eq!(hkdf(ikm, salt, info, size).as_deref(), Some(expected));
    // Of a very short output, a change gives the same by chance.
    for bit in some_bits(ikm).into_iter().filter(|_| size >= 8) {
        assert_ne!(hkdf(&flip(ikm, bit), salt, info, size).as_deref(), Some(expected));
        assert_ne!(hkdf(ikm, salt, &flip(info, bit), size).as_deref(), Some(expected));
        // An empty salt and one of zeros are the same to HKDF, so only a real one is changed.
        assert!(salt.is_empty() || hkdf(ikm, &flip(salt, bit), info, size).as_deref() != Some(expected));
    }
}

#[test]
fn wycheproof_hkdf_sha256() {
    each_wycheproof("hkdf_sha256", |_, test| {
        let [ikm, salt, info, okm] = ["ikm", "salt", "info", "okm"].map(|name| hex(&test[name]));
        let size = test["size"].as_u64().unwrap() as usize;
        if string(&test["result"]) == "valid" {
            assert_eq!(okm.len(), size, "{test}");
            hkdf_holds(&ikm, &salt, &info, &okm);
        } else {
            assert_eq!(hkdf(&ikm, &salt, &info, size), None, "{test}");
        }
    });
}

#[test]
fn rfc5869() {
    for file in files("hkdf", "", "sha256.txt") {
        let cases = blocks(&text(&file));
        assert!(!cases.is_empty(), "{} is empty", file.display());
        for case in cases {
            let [ikm, salt, info, okm] = ["IKM", "salt", "info", "OKM"].map(|name| from_hex(&case[name]));
            assert_eq!(okm.len().to_string(), case["L"]);
            hkdf_holds(&ikm, &salt, &info, &okm);
        }
    }
}
