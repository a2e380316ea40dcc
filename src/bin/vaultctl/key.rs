//! `vaultctl key`: the vault's own keys that an operator may rotate.

use clap::{Subcommand, ValueEnum};
use nockvault::statement::key::{KeyRotate, Rotated};
use nockvault::time::{Seconds, Timestamp};

use crate::output::Output;
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new key for tokens of the jwt engine.
    ///
    /// It is published at once and signs later, so that verifiers have fetched it by then. The keys before it stay
    /// published until all tokens that they signed have expired.
    Rotate {
        /// What the key is for.
        #[arg(value_enum)]
        role: Role,
        /// How long it is published before it signs: 10m if not said.
        #[arg(long, value_name = "TIME", conflicts_with = "now")]
        ahead: Option<Seconds>,
        /// Let it sign at once. Verifiers that keep a key set refuse its tokens until they fetch the next.
        #[arg(long)]
        now: bool,
        /// For a key that is known to others: publish those before it no more once the new one signs. The tokens that
        /// they signed are refused then.
        #[arg(long)]
        withdraw: bool,
    },
}

/// A key that can be rotated.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Role {
    /// The key that signs tokens.
    Jwt,
}

impl Key {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Key::Rotate { role: Role::Jwt, ahead, now, withdraw } = self;
        let ahead = if now { Seconds(0) } else { ahead.unwrap_or(KeyRotate::AHEAD) };
        let body = KeyRotate { role: Rotated::Jwt, ahead, withdraw };
        let done = find::connect(common).await?.command(body).await?;
        let time = |member: &str| done.result.get(member).and_then(serde_json::Value::as_u64).map(Timestamp);
        if let (Some(signs), Some(former)) = (time("signs"), time("former_until")) {
            say!("the new key signs from {signs} on; those before it are published until {former}");
        }
        output.one(&done.result)
    }
}
