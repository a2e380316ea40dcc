//! A chain made long without the daemon: requests that the agent signed and the vault refuses, entered by the vault's own
//! store, which signs them, hashes them into the chain and makes them durable as it does for anybody. Many share a commit,
//! and there is no network, so that ten million take minutes and not hours.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use nockvault::config::Config;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, ChainName};
use nockvault::server::compose;
use nockvault::statement::lease::Release;
use nockvault::statement::request::{Request, Seen};
use nockvault::store::Refusal;
use nockvault::time::SystemClock;
use nockvault::vault::Vault;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::vault::{Where, agent, common};

/// How many are on their way at once, and after how many it is looked whether there are enough.
const AT_ONCE: u64 = 64;
const SLICE: u64 = 1 << 14;

/// What `fill` is told.
#[derive(Args)]
pub(crate) struct Fill {
    #[command(flatten)]
    place: Where,
    /// The vault's configuration. Its daemon does not run.
    #[arg(long)]
    config: PathBuf,
    /// How many entries the chain of the first agent is to have.
    #[arg(long)]
    entries: u64,
}

/// Who is refused, again and again.
struct Refused {
    vault: Arc<Vault>,
    agent: AgentName,
    key: SigningKey,
}

impl Fill {
    pub(crate) async fn run(self) -> anyhow::Result<Value> {
        let mut config = Config::read(&self.config)?;
        // Each refusal is to be an entry and no count; no entry says a larger number.
        config.limits.denials_per_minute = (1 << 53) - 1;
        let vault = compose::open(&config, Arc::new(SystemClock), Arc::new(OsEntropy)).await?;
        let stop = CancellationToken::new();
        let tending = tokio::spawn({
            let (vault, stop) = (Arc::clone(&vault), stop.clone());
            async move { vault.tend(stop).await }
        });
        let (agent, key) = agent(&self.place.seed()?, 0);
        let refused = Rc::new(Refused { vault: Arc::clone(&vault), agent, key });
        let mut size = refused.size().await?;
        while size < self.entries {
            refused.enter((self.entries - size).min(SLICE)).await?;
            size = refused.size().await?;
        }
        stop.cancel();
        tending.await?;
        vault.stop().await;
        Ok(json!({ "chain": refused.agent, "entries": size }))
    }
}

impl Refused {
    async fn size(&self) -> anyhow::Result<u64> {
        let chain = ChainName::from(&self.agent);
        let lines = self.vault.store().lines(&chain, 0, 1, 1).await?;
        Ok(lines.context("the agent is not registered: run `prepare` first")?.head.size)
    }

    async fn enter(self: &Rc<Self>, count: u64) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        for part in 0..AT_ONCE {
            let (own, mine) = (Rc::clone(self), count / AT_ONCE + u64::from(part < count % AT_ONCE));
            tasks.spawn_local(async move {
                for _ in 0..mine {
                    own.one().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    /// A lease that never was is given back.
    async fn one(&self) -> anyhow::Result<()> {
        let entropy: &dyn Entropy = &OsEntropy;
        let body = Release::Req(Digest::of(&entropy.bytes::<32>()));
        let common = common(self.vault.aud(), &self.agent, &self.key, &"fill".parse()?, Seen::NONE, &body);
        let (kid, nonce, iat) = (common.kid.clone(), common.nonce.clone(), common.iat);
        let envelope = Envelope::sign(PayloadType::Request, &Request { common, body }, &self.key, Form::Pae);
        let (agent, reason) = (&self.agent, Reason::LeaseUnknown);
        let refusal = Refusal { agent, kid: &kid, nonce: &nonce, iat, envelope: &envelope, reason };
        self.vault.store().deny(&refusal).await?.context("it was counted, and not entered")?;
        Ok(())
    }
}
