//! `nockvault/backup`: the command stands in `_operators` first, and what is given out then is a copy of everything at an
//! instant behind it. So a vault that is restored from it holds the command that it rests on.

use std::io::Write;
use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::super::Vault;
use super::super::answer::Outcome;
use super::Done;
use crate::crypto::envelope::Envelope;
use crate::crypto::hash::Digest;
use crate::denial::{Denial, Reason};
use crate::statement::backup::Backup;
use crate::store::{Belonging, Failure, Order, WantedBackup};

/// A backup that was commanded and is to be written.
#[derive(Debug)]
pub struct Making {
    vault: Arc<Vault>,
    wanted: WantedBackup,
    /// One at a time: each needs room for a copy.
    _turn: OwnedSemaphorePermit,
}

impl Making {
    /// Writes it to `out`, with these files, at the pace of `out`.
    ///
    /// # Errors
    /// Where the copy cannot be made, or `out` takes no more.
    pub async fn write(mut self, files: Vec<Belonging>, out: Box<dyn Write + Send>) -> Result<(), Failure> {
        self.wanted.files = files;
        self.vault.store.backup(self.wanted, out).await
    }
}

impl Vault {
    /// `MakeBackup`: the answer to the command, and where it was carried out, what is left to do.
    pub async fn backup(self: &Arc<Vault>, envelope: Envelope) -> (Outcome, Option<Making>) {
        match self.begin_backup(envelope).await {
            Ok((outcome, making)) => (outcome, Some(making)),
            Err(refused) => (refused, None),
        }
    }

    async fn begin_backup(self: &Arc<Vault>, envelope: Envelope) -> Result<(Outcome, Making), Outcome> {
        let admitted = self.command::<Backup>(envelope).await?;
        let command = &admitted.authenticated;
        let drawn = Digest::from_bytes(self.entropy.bytes());
        let turn = Arc::clone(&self.copying).try_acquire_owned();
        let busy = || Denial::new(Reason::Busy).detail("another backup is under way");
        let order = turn.as_ref().map(|_| Order::Backup(command, drawn)).map_err(|_| busy());
        let Done { entry, result } = self.carried(command, order).await?;
        let wanted = WantedBackup { by: entry.entry(), backup: drawn, files: Vec::new() };
        let outcome = self.executed(command, entry, result);
        // Without a turn it was refused.
        let turn = turn.map_err(|_| self.count_out(busy(), command.req()))?;
        Ok((outcome, Making { vault: Arc::clone(self), wanted, _turn: turn }))
    }
}
