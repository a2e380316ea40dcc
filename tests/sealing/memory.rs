//! What a sealed daemon still has in its memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use nockvault::crypto::aead::Place;

use crate::programs::Vault;
use crate::stage::{SECRET, agent, seal, unseal, vault};

/// How often these bytes stand in what a process can write: stacks, heaps, and what it keeps besides.
fn found(vault: &Vault, needle: &[u8]) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", vault.id())).unwrap();
    let mut memory = File::open(format!("/proc/{}/mem", vault.id())).unwrap();
    let mut found = 0;
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        // A page that cannot be read holds nothing either.
        if memory.read_exact(&mut bytes).is_ok() {
            found += bytes.windows(needle.len()).filter(|window| *window == needle).count();
        }
    }
    found
}

#[test]
fn a_sealed_daemon_has_no_key_in_memory() {
    let vault = vault(|config| config);
    assert_eq!(agent(&vault).ok(), SECRET);
    let root = std::fs::read(vault.path().join("vault/root.key")).unwrap();
    let _ = Place { table: "", column: "", row: "", purpose: "", ver: 1 };
    for round in 0..2 {
        assert!(found(&vault, SECRET.as_bytes()) < 1000, "it can be searched");
        seal(&vault).ok();
        assert_eq!(found(&vault, &root), 0, "round {round}: the root key");
        unseal(&vault).ok();
        assert_eq!(agent(&vault).ok(), SECRET);
    }
}
