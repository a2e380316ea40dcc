//! Merkle trees: inclusion and consistency proofs of transparency-dev/merkle, good ones and each way to spoil them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nockvault::audit::tree::{BadProof, verify_consistency, verify_inclusion};
use nockvault::crypto::hash::Digest;
use serde_json::Value;

use crate::folder::{each_json, flag, list, string};

/// A hash in base64; none where it has not 32 bytes, as in some vectors that must fail.
fn digest(value: &Value) -> Option<Digest> {
    let bytes = STANDARD.decode(string(value)).unwrap();
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

/// A root in base64. Where the vectors do not care which, a text stands there, and its hash does as well.
fn root(value: &Value) -> Digest {
    digest(value).unwrap_or_else(|| Digest::of(string(value).as_bytes()))
}

fn path(test: &Value) -> Option<Vec<Digest>> {
    if test["proof"].is_null() { Some(Vec::new()) } else { list(&test["proof"]).iter().map(digest).collect() }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn spoilt(digest: &Digest) -> Digest {
    let mut bytes = *digest.as_bytes();
    bytes[17] ^= 0x10;
    Digest::from_bytes(bytes)
}

/// What a proof with hashes of a wrong length ends as: it cannot even be read.
fn unread() -> Result<(), BadProof> {
    Err(BadProof::Length)
}

#[test]
fn inclusion() {
    each_json("rfc6962-merkle", "inclusion", |file| {
        let tests = list(file);
        for test in tests {
            let (index, size) = (number(&test["leafIdx"]), number(&test["treeSize"]));
            let parts = digest(&test["leafHash"]).zip(digest(&test["root"])).zip(path(test));
            let answer = parts
                .as_ref()
                .map_or_else(unread, |((leaf, root), path)| verify_inclusion(leaf, index, size, path, root));
            assert_eq!(answer.is_err(), flag(&test["wantErr"]), "{test}: {answer:?}");
            let Some(((leaf, root), path)) = parts.filter(|_| answer.is_ok()) else { continue };
            assert!(verify_inclusion(&spoilt(&leaf), index, size, &path, &root).is_err(), "{test}");
            assert!(verify_inclusion(&leaf, index, size, &path, &spoilt(&root)).is_err(), "{test}");
            each_spoilt(&path, |path| assert!(verify_inclusion(&leaf, index, size, path, &root).is_err(), "{test}"));
        }
        tests.len()
    });
}

/// The vectors hold a proof from size 0 to be an error, and so does the vault: whoever asks decides what follows on
/// nothing.
#[test]
fn consistency() {
    each_json("rfc6962-merkle", "consistency", |file| {
        let tests = list(file);
        for test in tests {
            let (old, size) = (number(&test["size1"]), number(&test["size2"]));
            let parts = path(test).map(|path| ((root(&test["root1"]), root(&test["root2"])), path));
            let answer = parts
                .as_ref()
                .map_or_else(unread, |((was, root), path)| verify_consistency(old, was, size, root, path));
            assert_eq!(answer.is_err(), flag(&test["wantErr"]), "{test}: {answer:?}");
            let Some(((was, root), path)) = parts.filter(|_| answer.is_ok()) else { continue };
            assert!(verify_consistency(old, &spoilt(&was), size, &root, &path).is_err(), "{test}");
            assert!(verify_consistency(old, &was, size, &spoilt(&root), &path).is_err(), "{test}");
            each_spoilt(&path, |path| assert!(verify_consistency(old, &was, size, &root, path).is_err(), "{test}"));
        }
        tests.len()
    });
}

fn each_spoilt(path: &[Digest], check: impl Fn(&[Digest])) {
    for nth in 0..path.len() {
        let mut changed = path.to_vec();
        changed[nth] = spoilt(&changed[nth]);
        check(&changed);
    }
}
