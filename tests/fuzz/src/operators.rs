//! Files that operators write and hand on.

use std::fs;
use std::path::PathBuf;

use nockvault::statement::card::Card;
use tempfile::TempDir;

use super::vault_toml::Wanted;
use super::world;

/// A vault's card is written so that it reads as the same.
pub(super) fn card(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    match Card::read(text) {
        Ok(card) => {
            assert_eq!(Card::read(&card.write()), Ok(card));
            true
        }
        Err(_) => false,
    }
}

thread_local! {
    static FOLDER: TempDir = tempfile::Builder::new().prefix("nockvault-fuzz-").tempdir().expect("a temporary folder");
}

/// A folder of this thread.
pub(super) fn folder() -> PathBuf {
    FOLDER.with(|folder| folder.path().to_owned())
}

/// `vault.toml`, what `vaultctl apply` reads.
pub(super) fn apply(data: &[u8]) -> bool {
    let file = folder().join("vault.toml");
    fs::write(&file, data).expect("a temporary file");
    match Wanted::read(&file, &world::aud()) {
        Ok(wanted) => {
            for (agent, role) in wanted.grants.keys() {
                assert!(wanted.agents.contains_key(agent) && wanted.roles.contains_key(role));
            }
            assert!(wanted.grants.values().all(|(_, terms)| terms.consistent().is_ok()));
            true
        }
        Err(_) => false,
    }
}
