//! Signed notes and what is made of them: C2SP's example, Go's, a checkpoint that sum.golang.org signed, and the format of
//! tlog-proof. The sequence of requests to a witness is in `tests/witness.rs`, which has a witness.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::proof::TlogProof;
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::secret::Secret;
use serde_json::Value;

use crate::folder::{each_json, flag, flip, list, some_bits, string};

/// The key that a vector gives, public or secret: `PRIVATE+KEY+name+id+base64(1 || seed)`.
fn key(test: &Value) -> (NoteKey, Option<SigningKey>) {
    if let Some(vkey) = test["vkey"].as_str() {
        let key: NoteKey = vkey.parse().unwrap();
        assert_eq!(key.to_string(), vkey);
        return (key, None);
    }
    let mut parts = string(&test["skey"]).splitn(5, '+').skip(2);
    let (name, id, key) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let seed = STANDARD.decode(key).unwrap()[1..].try_into().unwrap();
    let secret = SigningKey::from_seed(&Secret::new(seed));
    let key = NoteKey::new(name, secret.public()).unwrap();
    assert_eq!(format!("{:08x}", u32::from_be_bytes(key.id())), id);
    (key, Some(secret))
}

#[test]
fn signed_notes() {
    each_json("c2sp-tlog", "signed_notes", |file| {
        for test in list(file) {
            let ((key, secret), text) = (key(test), string(&test["note"]));
            let note = Note::read(text).unwrap();
            assert_eq!(note.write(), text);
            assert_eq!(note.verified_by(&key), flag(&test["valid"]), "{test}");
            if let Some(secret) = secret {
                assert_eq!(Note::signed(&note.text, key.name(), &secret).write(), text);
            }
            if test["valid"] == true {
                each_flipped(&note, &key);
            }
            let said = &test["checkpoint"];
            if said.is_null() {
                continue;
            }
            let checkpoint = Checkpoint::read(&note.text).unwrap();
            assert_eq!(checkpoint.text(), note.text);
            assert_eq!(
                (checkpoint.origin.as_str(), checkpoint.size),
                (string(&said["origin"]), said["size"].as_u64().unwrap())
            );
            assert_eq!(STANDARD.encode(checkpoint.root.as_bytes()), string(&said["root_b64"]));
        }
        list(file).len()
    });
}

fn each_flipped(note: &Note, key: &NoteKey) {
    for bit in some_bits(note.text.as_bytes()) {
        // Some bits spoil the encoding too; such a text cannot even be given.
        let Ok(text) = String::from_utf8(flip(note.text.as_bytes(), bit)) else { continue };
        assert!(!Note { text, ..note.clone() }.verified_by(key), "bit {bit}");
    }
    let length = note.signatures[0].signature.len();
    for bit in 0..8 * length {
        let mut changed = note.clone();
        changed.signatures[0].signature = flip(&note.signatures[0].signature, bit);
        assert!(!changed.verified_by(key), "bit {bit}");
    }
}

#[test]
fn proofs_of_one_entry() {
    each_json("c2sp-tlog", "tlog_proof_format", |file| {
        let (good, bad) = (list(&file["marshal"]), list(&file["unmarshal_errors"]));
        for test in good {
            let extra = test["extra_b64"].as_str().map(|text| STANDARD.decode(text).unwrap());
            let digest = |hash| Digest::from_bytes(STANDARD.decode(string(hash)).unwrap().try_into().unwrap());
            let path = list(&test["hashes"]).iter().map(digest).collect();
            let checkpoint = string(&test["checkpoint"]).to_owned();
            let proof = TlogProof { extra, index: test["index"].as_u64().unwrap(), path, checkpoint };
            assert_eq!(proof.write(), string(&test["text"]));
            assert_eq!(TlogProof::read(string(&test["text"])), Ok(proof));
        }
        for test in bad {
            assert!(TlogProof::read(string(&test["text"])).is_err(), "{test}");
        }
        good.len() + bad.len()
    });
}
