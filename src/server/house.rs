//! The life of the daemon behind its listeners: sealed until somebody unseals, unsealed until an operator seals, and over
//! and over until it is told to stop.

use std::any::Any;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::sealed::{self, Contributed, Refused};
use super::watch::Watch;
use super::{CARRY, Ended, RunFault, Serving, declare, marker, sinks};
use crate::config::Config;
use crate::failpoint::failpoint;
use crate::follow::Follower;
use crate::telemetry::Telemetry;
use crate::vault::{State, Vault};

/// How often it is looked at how the vault is.
const LOOK: Duration = Duration::from_millis(250);
/// How often what lives is counted for the metrics.
const COUNT: Duration = Duration::from_secs(15);
/// How often it is looked whether shares have waited for too long.
const TIRE: Duration = Duration::from_secs(30);
/// How long a sealed vault may take to leave memory once nobody needs it any more: what reads or writes at this moment
/// has its own deadlines.
const GONE: Duration = Duration::from_secs(10);

/// The daemon between its beginning and its end.
pub(super) struct House<'a> {
    pub(super) config: &'a Config,
    pub(super) serving: &'a Serving,
    pub(super) health: &'a [HealthReporter; 2],
    pub(super) doors: JoinSet<Ended>,
    pub(super) http: JoinSet<Ended>,
    pub(super) contributed: mpsc::Receiver<Contributed>,
    pub(super) stop: CancellationToken,
}

/// Why an unsealed phase is over.
enum Over {
    Sealed,
    Stopped(Result<(), RunFault>),
}

/// A vault at work, with all that works for it unasked.
pub(super) struct Unsealed {
    vault: Arc<Vault>,
    tending: JoinHandle<()>,
    end: CancellationToken,
    follower: Follower,
}

/// What is left in memory of a vault that ended: as long as any of it can be reached, so can its keys.
struct Remains {
    vault: Weak<Vault>,
    store: Weak<dyn Any + Send + Sync>,
}

impl Unsealed {
    fn begin(config: &Config, vault: Arc<Vault>, telemetry: &Telemetry) -> Result<Unsealed, RunFault> {
        let end = CancellationToken::new();
        let follower = sinks::follow(config, vault.store(), telemetry)?;
        let tending = tokio::spawn(Arc::clone(&vault).attend(end.clone()));
        Ok(Unsealed { vault, tending, end, follower })
    }

    /// Ends it in order. That it stopped is the last that is carried outside.
    pub(super) async fn end(self, carry: Duration) {
        self.remains(carry).await;
    }

    async fn remains(self, carry: Duration) -> Remains {
        let Unsealed { vault, tending, end, follower } = self;
        end.cancel();
        // It ends on its own, at the latest after the round it is in.
        let _ = tending.await;
        vault.stop().await;
        follower.stop(carry).await;
        let remains = Remains { vault: Arc::downgrade(&vault), store: vault.store().held() };
        // The store waits for its writer when it is dropped.
        let _ = tokio::task::spawn_blocking(move || drop(vault)).await;
        remains
    }
}

impl Remains {
    /// Whether all of it is gone from memory, at the latest after `within`.
    async fn gone(&self, within: Duration) -> bool {
        let gone = async {
            while self.vault.strong_count() + self.store.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(within, gone).await.is_ok()
    }
}

impl House<'_> {
    /// Lives until it is told to stop, or cannot go on. Gives the vault that is unsealed then.
    pub(super) async fn live(&mut self, mut vault: Option<Arc<Vault>>) -> (Result<(), RunFault>, Option<Unsealed>) {
        loop {
            let (vault, contributed) = match vault.take() {
                Some(vault) => (vault, None),
                None => match self.sealed().await {
                    Ok(Some((vault, contributed))) => (vault, Some(contributed)),
                    Ok(None) => return (Ok(()), None),
                    Err(fault) => return (Err(fault), None),
                },
            };
            let unsealed = match self.unseal(vault).await {
                Ok(unsealed) => unsealed,
                Err(fault) => return (Err(fault), None),
            };
            if let Some(contributed) = contributed {
                contributed.answer(Ok(()));
            }
            match self.unsealed(&unsealed).await {
                Over::Stopped(ended) => return (ended, Some(unsealed)),
                Over::Sealed => {
                    if let Err(fault) = self.seal(unsealed).await {
                        return (Err(fault), None);
                    }
                }
            }
        }
    }

    /// Waits until somebody unseals, who is to be answered when the vault serves. None where it is told to stop.
    async fn sealed(&mut self) -> Result<Option<(Arc<Vault>, Contributed)>, RunFault> {
        tracing::info!("sealed");
        let mut tire = tokio::time::interval(TIRE);
        loop {
            tokio::select! {
                _ = tire.tick() => self.serving.custody.tire(),
                () = self.stop.cancelled() => return Ok(None),
                Some(ended) = self.doors.join_next() => return Err(RunFault::Listener(told(ended))),
                Some(ended) = self.http.join_next() => return Err(RunFault::Listener(told(ended))),
                Some(contributed) = self.contributed.recv() => match sealed::open(self.config, &contributed).await {
                    Ok(vault) => {
                        failpoint!("unseal: opened");
                        self.begin_again(&vault);
                        return Ok(Some((vault, contributed)));
                    }
                    Err(refused) => contributed.answer(Err(refused)),
                },
            }
        }
    }

    /// Forgets that the vault was sealed.
    fn begin_again(&self, vault: &Vault) {
        self.serving.custody.forget();
        if let Err(error) = marker::clear(&self.config.vault.data_dir) {
            tracing::error!(%error, "the vault is unsealed, but will be sealed when the daemon starts again");
        }
        tracing::info!(vault = %vault.aud(), name = %vault.name(), "unsealed");
    }

    /// Has everything work for this vault.
    async fn unseal(&self, vault: Arc<Vault>) -> Result<Unsealed, RunFault> {
        let unsealed = Unsealed::begin(self.config, Arc::clone(&vault), &self.serving.telemetry)?;
        self.serving.phases.unseal(vault);
        declare(self.health, ServingStatus::Serving).await;
        Ok(unsealed)
    }

    /// Returns when it was told to stop or to seal, or with what went wrong.
    async fn unsealed(&mut self, unsealed: &Unsealed) -> Over {
        let Unsealed { vault, follower, .. } = unsealed;
        let mut watch = Watch::new(self.config, vault, &self.serving.telemetry, self.health);
        let mut look = tokio::time::interval(LOOK);
        let mut count = tokio::time::interval(COUNT);
        let mut tire = tokio::time::interval(TIRE);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Over::Stopped(Ok(())),
                () = vault.sealing().cancelled() => return Over::Sealed,
                Some(ended) = self.doors.join_next() => return Over::Stopped(Err(RunFault::Listener(told(ended)))),
                Some(ended) = self.http.join_next() => return Over::Stopped(Err(RunFault::Listener(told(ended)))),
                Some(contributed) = self.contributed.recv() => contributed.answer(Err(Refused::not_sealed())),
                _ = look.tick() => {
                    watch.look().await;
                    if vault.state() == State::Failed {
                        return Over::Stopped(Err(RunFault::Vault));
                    }
                }
                _ = count.tick() => watch.count(follower).await,
                _ = tire.tick() => self.serving.custody.tire(),
            }
        }
    }

    /// Takes the vault away in order. Whoever commanded it is answered when nothing of it is left.
    async fn seal(&self, unsealed: Unsealed) -> Result<(), RunFault> {
        tracing::info!("sealing, as an operator commanded");
        if let Err(error) = marker::set(&self.config.vault.data_dir) {
            tracing::error!(%error, "the vault is sealed now, but may not be when the daemon starts again");
        }
        failpoint!("seal: marked");
        self.serving.telemetry.ready(false);
        declare(self.health, ServingStatus::NotServing).await;
        self.serving.phases.empty(Duration::from_secs(self.config.limits.drain_s)).await;
        self.serving.custody.forget_recoveries();
        let remains = unsealed.remains(CARRY).await;
        failpoint!("seal: ended");
        let gone = remains.gone(GONE).await;
        // Where it is not, the process ends at once, and the keys with it.
        self.serving.phases.sealed();
        if gone { Ok(()) } else { Err(RunFault::Held) }
    }
}

fn told(ended: Result<Ended, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "without being told to".to_owned(),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    }
}
