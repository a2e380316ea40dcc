//! What a sealed daemon still has in its memory.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use nockvault::crypto::aead::{self, DataKey, Place, Record};
use nockvault::crypto::hpke::{self, SealSecretKey, Sealed};
use nockvault::crypto::json::canonical;
use nockvault::secret::Secret;
use nockvault::store::sqlite::Sqlite;
use serde_json::json;

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

/// The root key of today and the ring's keys, out of the vault's files, as somebody has them who has both.
fn keys(vault: &Vault) -> Vec<(&'static str, Vec<u8>)> {
    let file = std::fs::read(vault.path().join("vault/root.key")).unwrap();
    let data = vault.path().join("vault/data");
    let (custodians, aud, _) = Sqlite::custodians(&data).unwrap();
    let custodian = &custodians[0];
    let info = b"nockvault/custody/v1";
    let secret = SealSecretKey::derive(&Secret::from_slice(&file).unwrap(), info);
    let who = &custodian.who;
    let aad = json!({ "aud": aud, "kind": who.kind, "name": who.name, "root": custodian.root, "v": 1 });
    let stored = custodian.sealed();
    let sealed = Sealed { enc: stored[..32].try_into().unwrap(), ct: stored[32..].to_vec() };
    let root = hpke::open(&secret, &sealed, info, &canonical(&aad)).unwrap().expose().clone();
    let mut keys = vec![("the custodian's secret", file), ("the root key", root.clone())];
    let root = DataKey::from_bytes(Secret::from_slice(&root).unwrap());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(data.join("vault.db"), flags).unwrap();
    let mut ring = database.prepare("SELECT epoch, wrapped FROM ring").unwrap();
    let rows = ring.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
    for row in rows {
        let (epoch, wrapped) = row.unwrap();
        let epoch = epoch.to_string();
        let place = Place { table: "ring", column: "key", row: &epoch, purpose: "data_key", ver: 1 };
        let key = aead::open(&root, &place, &Record::from_bytes(&wrapped).unwrap()).unwrap();
        keys.push(("a key of the ring", key.expose().clone()));
    }
    keys
}

#[test]
fn a_sealed_daemon_has_no_key_in_memory() {
    let vault = vault(|config| config);
    for round in 0..2 {
        assert_eq!(agent(&vault).ok(), SECRET);
        let keys = keys(&vault);
        assert!(keys.len() >= 3);
        let (_, ring) = &keys[2];
        assert!(found(&vault, ring) > 0, "what is there is found");
        seal(&vault).ok();
        for (name, key) in &keys {
            assert_eq!(found(&vault, key), 0, "round {round}: {name}");
        }
        unseal(&vault).ok();
    }
}
