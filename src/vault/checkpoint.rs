//! Checkpoints on time: each chain that is due gets one, in the background, so that no request waits for a signature over
//! its chain. When the vault stops, every chain that has something new gets one, as far as that can be done in time; what
//! is not reached is due at the next start.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::{Vault, keys, tend};
use crate::audit::certificate::BadCert;
use crate::audit::chain::CheckpointKey;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{PublicKey, SigningKey};
use crate::failpoint::failpoint;
use crate::id::ChainName;
use crate::store::{Failure, KeptKey};
use crate::time::{Seconds, Timestamp};

/// The most batches in one round, so that what else is to be done is not kept waiting.
const BATCHES: usize = 10;
/// For how long a vault that stops signs checkpoints.
const STOPPING: Duration = Duration::from_secs(5);

/// For how long a chain that could not be given its checkpoint lets others go first.
const PATIENCE: Seconds = Seconds(60);

/// The checkpoint key as it is kept, and ready to sign.
#[derive(Debug)]
pub(super) struct Checkpoints {
    held: Mutex<(KeptKey, Arc<CheckpointKey>)>,
    /// Chains that could not be given their checkpoint, and when each is tried again: they stay the longest due, and the
    /// others must not wait behind them.
    failing: Mutex<HashMap<ChainName, Timestamp>>,
}

impl Checkpoints {
    pub(super) fn of(kept: KeptKey, identity: &PublicKey) -> Result<Checkpoints, BadCert> {
        let key = ready(&kept, identity)?;
        Ok(Checkpoints { held: Mutex::new((kept, key)), failing: Mutex::default() })
    }

    /// The chains that wait for another try, at `now`.
    fn failing(&self, now: Timestamp) -> HashSet<ChainName> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits longer than that, whatever became of the clock.
        failing.retain(|_, again| *again > now && *again <= now.plus(PATIENCE));
        failing.keys().cloned().collect()
    }

    fn failed(&self, chain: ChainName, now: Timestamp) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).insert(chain, now.plus(PATIENCE));
    }

    pub(super) fn cert(&self) -> Embedded {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).0.cert.clone()
    }

    fn key(&self) -> Arc<CheckpointKey> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner).1)
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
        let failing = self.checkpoints.failing(self.clock.now());
        let limit = tend::BATCH + failing.len() as u64;
        let mut due = match self.store.checkpoints_due(at, limit).await {
            Ok(due) => due,
            Err(failure) => {
                tracing::warn!(why = %failure, "it is not known which chains are due for a checkpoint");
                return false;
            }
        };
        let more = due.len() as u64 == limit;
        due.retain(|chain| !failing.contains(chain));
        due.truncate(tend::BATCH as usize);
        let (key, mut signing) = (self.checkpoints.key(), JoinSet::new());
        for chain in due {
            let (store, key) = (Arc::clone(&self.store), Arc::clone(&key));
            signing.spawn(async move { store.checkpoint(&chain, key).await.map_err(|failure| (chain, failure)) });
        }
        while let Some(signed) = signing.join_next().await {
            match signed {
                Ok(Ok(_)) => {
                    failpoint!("checkpoint: committed");
                }
                Ok(Err((chain, failure))) => {
                    tracing::warn!(%chain, why = %failure, "a chain could not be given its checkpoint");
                    self.checkpoints.failed(chain, self.clock.now());
                }
                Err(error) => {
                    tracing::error!(%error, "a fault of our own");
                    return false;
                }
            }
        }
        more
    }

    /// Certifies the checkpoint key anew where its certificate is past half its life, or of a future that is none.
    async fn renew_checkpoint_cert(&self) -> Result<(), String> {
        let now = self.clock.now();
        let renewed = {
            let held = self.checkpoints.held.lock().unwrap_or_else(PoisonError::into_inner);
            keys::renewed(&held.0, &self.identity, &self.limits.node, now, self.epochs.history())
        };
        let Some(cert) = renewed else { return Ok(()) };
        let said = |failure: Failure| failure.to_string();
        self.store.replace_cert(crate::statement::cert::KeyRole::Checkpoint, &cert).await.map_err(said)?;
        let mut held = self.checkpoints.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.cert = cert;
        held.1 = ready(&held.0, &self.identity.public()).map_err(|why| why.to_string())?;
        Ok(())
    }
}
