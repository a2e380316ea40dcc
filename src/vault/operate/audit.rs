//! Questions about chains: which there are, their lines, their newest checkpoints, and the proof of one entry. What is
//! told of a chain proves itself, so that a chain that is set aside is told of too. A question may have a checkpoint made
//! before its time, so that whoever asks need not wait.

use serde_json::{Map, Value, json};

use super::{Told, found};
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::id::ChainName;
use crate::statement::audit_read::{AuditCheckpoint, AuditList, AuditProve, AuditRead};
use crate::store::{Failure, Noted};
use crate::vault::answer::Outcome;
use crate::vault::{Vault, listing};

/// The most bytes of audit lines in one answer: below what gRPC clients take by default, with room for the envelope.
const LINES_BYTES: usize = 3 << 20;

impl Vault {
    /// `ReadAudit`: lines of a chain beside the signed answer, whose result holds the digest of their concatenation.
    pub async fn read_audit(&self, envelope: Envelope) -> (Outcome, Vec<Vec<u8>>) {
        let admitted = match self.command::<AuditRead>(envelope).await {
            Ok(admitted) => admitted,
            Err(refused) => return (refused, Vec::new()),
        };
        let AuditRead { chain, from, limit } = &admitted.authenticated.statement().body;
        let found = found(self.store.lines(chain, *from, *limit, LINES_BYTES).await);
        match found {
            Ok(part) => {
                let told = self.tell(&admitted.authenticated, Ok(listing::lines(chain, *from, &part))).await;
                let lines = if matches!(told, Outcome::Released(_)) { part.lines } else { Vec::new() };
                (told, lines)
            }
            Err(denial) => (self.tell(&admitted.authenticated, Err(denial)).await, Vec::new()),
        }
    }

    pub(super) async fn audit_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AuditList>(envelope).await?;
        let listed = self.store.chains(&admitted.authenticated.statement().body.page).await;
        let told = listed.map(|chains| listing::page(chains, listing::chain)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn audit_checkpoint(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AuditCheckpoint>(envelope).await?;
        let chain = &admitted.authenticated.statement().body.chain;
        let told = self.checkpoint_over(chain, 0).await.map(|noted| listing::checkpoint(chain, &noted));
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn audit_prove(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<AuditProve>(envelope).await?;
        let AuditProve { chain, seq } = &admitted.authenticated.statement().body;
        let told = self.proof(chain, *seq).await;
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    /// The newest checkpoint of a chain, which covers the entry `seq`: where none does yet, one is made.
    async fn checkpoint_over(&self, chain: &ChainName, seq: u64) -> Result<Noted, Denial> {
        let newest = async || self.store.newest_checkpoint(chain).await.map_err(Failure::denial);
        let covers = |noted: &Noted| seq < noted.seq;
        if let Some(noted) = newest().await?.filter(covers) {
            return Ok(noted);
        }
        self.checkpoint_now(chain).await.map_err(Failure::denial)?;
        newest().await?.filter(covers).ok_or_else(|| {
            let why =
                format!("no checkpoint of {chain} covers entry {seq}; one will when an entry that is none follows");
            Denial::new(Reason::NotFound).detail(why)
        })
    }

    async fn proof(&self, chain: &ChainName, seq: u64) -> Told {
        let mut lines = found(self.store.lines(chain, seq, 1, LINES_BYTES).await)?.lines;
        let none = || Denial::new(Reason::NotFound).detail(format!("{chain} has no entry {seq}"));
        let line = String::from_utf8(lines.pop().ok_or_else(none)?).map_err(|_| Reason::Internal)?;
        let noted = self.checkpoint_over(chain, seq).await?;
        let path = found(self.store.inclusion(chain, seq, noted.seq).await)?;
        let mut told = Map::from_iter([("line".to_owned(), Value::from(line)), ("path".to_owned(), json!(path))]);
        told.extend(listing::checkpoint(chain, &noted));
        Ok(told)
    }
}
