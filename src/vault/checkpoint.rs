//! Checkpoints on time: each chain that is due gets one, in the background, so that no request waits for a signature over
//! its chain. When the vault stops, every chain that has something new gets one, as far as that can be done in time; what
//! is not reached is due at the next start.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Vault, keys, tend};
use crate::audit::certificate::BadCert;
use crate::audit::chain::CheckpointKey;
use crate::crypto::signature::{PublicKey, SigningKey};
use crate::failpoint::failpoint;
use crate::id::ChainName;
use crate::store::{Failure, KeptKey};
use crate::time::Timestamp;

/// The most batches in one round, so that what else is to be done is not kept waiting.
const BATCHES: usize = 10;
/// For how long a vault that stops signs checkpoints.
const STOPPING: Duration = Duration::from_secs(5);

/// The checkpoint key as it is kept, and ready to sign.
#[derive(Debug)]
pub(super) struct Checkpoints(Mutex<(KeptKey, Arc<CheckpointKey>)>);

impl Checkpoints {
    pub(super) fn of(kept: KeptKey, identity: &PublicKey) -> Result<Checkpoints, BadCert> {
        let key = ready(&kept, identity)?;
        Ok(Checkpoints(Mutex::new((kept, key))))
    }

    fn key(&self) -> Arc<CheckpointKey> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner).1)
    }
}

fn ready(kept: &KeptKey, identity: &PublicKey) -> Result<Arc<CheckpointKey>, BadCert> {
    CheckpointKey::new(SigningKey::from_seed(&kept.secret), kept.cert.clone(), identity).map(Arc::new)
}

impl Vault {
    /// Gives checkpoints to the chains that are due. What fails is said in the log and done in the next round.
    pub(super) async fn checkpoint_due(&self) {
        if let Err(why) = self.renew_checkpoint_cert().await {
            tracing::warn!(why, "the certificate of the checkpoint key could not be renewed");
        }
        for _ in 0..BATCHES {
            if !self.checkpoint_batch(self.clock.now()).await {
                return;
            }
        }
    }

    /// Gives checkpoints to all chains that have something new, for a while.
    pub(super) async fn checkpoint_all(&self) {
        let all = async { while self.checkpoint_batch(Timestamp(u64::MAX)).await {} };
        if tokio::time::timeout(STOPPING, all).await.is_err() {
            tracing::warn!("not every chain got a checkpoint before the stop; the next start goes on");
        }
    }

    /// Gives a chain a checkpoint now, if anything in it is new.
    pub(super) async fn checkpoint_now(&self, chain: &ChainName) -> Result<(), Failure> {
        self.store.checkpoint(chain, self.checkpoints.key()).await.map(drop)
    }

    /// Gives checkpoints to some of those that are due at `at`. Whether there may be more that can get one.
    async fn checkpoint_batch(&self, at: Timestamp) -> bool {
        let due = match self.store.checkpoints_due(at, tend::BATCH).await {
            Ok(due) => due,
            Err(failure) => {
                tracing::warn!(why = %failure, "it is not known which chains are due for a checkpoint");
                return false;
            }
        };
        let more = due.len() as u64 == tend::BATCH;
        let (key, mut signing) = (self.checkpoints.key(), JoinSet::new());
        for chain in due {
            let (store, key) = (Arc::clone(&self.store), Arc::clone(&key));
            signing.spawn(async move { store.checkpoint(&chain, key).await.map_err(|failure| (chain, failure)) });
        }
        let mut failed = false;
        while let Some(signed) = signing.join_next().await {
            match signed {
                Ok(Ok(_)) => {
                    failpoint!("checkpoint: committed");
                }
                Ok(Err((chain, failure))) => {
                    tracing::warn!(%chain, why = %failure, "a chain could not be given its checkpoint");
                    failed = true;
                }
                Err(error) => {
                    tracing::error!(%error, "a fault of our own");
                    failed = true;
                }
            }
        }
        more && !failed
    }

    /// Certifies the checkpoint key anew where its certificate is past half its life, or of a future that is none.
    async fn renew_checkpoint_cert(&self) -> Result<(), String> {
        let now = self.clock.now();
        let renewed = {
            let held = self.checkpoints.0.lock().unwrap_or_else(PoisonError::into_inner);
            keys::renewed(&held.0, &self.identity, &self.limits.node, now, self.epochs.history())
        };
        let Some(cert) = renewed else { return Ok(()) };
        let said = |failure: Failure| failure.to_string();
        self.store.replace_cert(crate::statement::cert::KeyRole::Checkpoint, &cert).await.map_err(said)?;
        let mut held = self.checkpoints.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.cert = cert;
        held.1 = ready(&held.0, &self.identity.public()).map_err(|why| why.to_string())?;
        Ok(())
    }
}
