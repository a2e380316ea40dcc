//! Backups in the words of the store: what is wanted of one, what goes with it, and where a store comes from.

use std::sync::Arc;

use crate::crypto::hash::Digest;
use crate::secret::SecretBytes;
use crate::statement::reply::EntryRef;

/// A file that belongs to a vault, and goes with its backup.
#[derive(Clone, Debug)]
pub struct Belonging {
    /// What it is, such as `tls/server.key`.
    pub name: String,
    /// What is in it.
    pub bytes: Arc<SecretBytes>,
}

/// A backup that is to be made.
#[derive(Clone, Debug)]
pub struct WantedBackup {
    /// The command that wants it, durable in `_operators`.
    pub by: EntryRef,
    /// What the result of that command drew for it.
    pub backup: Digest,
    /// What goes with it.
    pub files: Vec<Belonging>,
}

/// Where a store comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// How often it was restored from a backup.
    pub restores: u64,
    /// It was restored, and no daemon has begun on it yet.
    pub unbegun: bool,
    /// It is the rehearsal of a restore: it must touch no backend, where production's credentials are.
    pub rehearsal: bool,
}
