//! `vaultctl key`: the vault's own keys that an operator may rotate.

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use nockvault::client::operator::Operator;
use nockvault::statement::key::{KeyRotate, RingRotate, Rotated};
use nockvault::statement::status::StatusRead;
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value};

use crate::output::Output;
use crate::{Common, find};

/// How often one asks while it waits.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);

/// How often nothing may have changed.
const PATIENCE: u32 = 30;

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a new key: for tokens of the jwt engine, or the next data key.
    ///
    /// jwt: The new key is published at once and signs later, so that verifiers have fetched it by then. The keys before
    /// it stay published until all tokens that they signed have expired.
    ///
    /// data: Everything new is sealed under the new key at once. What older keys seal is sealed anew in the background,
    /// while the vault serves, and an older key is deleted once nothing is left of it. vaultctl key rotation shows how
    /// far it is.
    Rotate {
        /// What the key is for.
        #[arg(value_enum)]
        role: Role,
        /// How long a key for tokens is published before it signs: 10m if not said.
        #[arg(long, value_name = "TIME", conflicts_with = "now")]
        ahead: Option<Seconds>,
        /// Let a key for tokens sign at once. Verifiers that keep a key set refuse its tokens until they fetch the next.
        #[arg(long)]
        now: bool,
        /// For a key for tokens that is known to others: publish those before it no more once the new one signs. The
        /// tokens that they signed are refused then.
        #[arg(long)]
        withdraw: bool,
    },
    /// Show the data keys, and how much is still to be sealed anew under the newest.
    Rotation {
        /// Wait until nothing is left, or nothing more can be done.
        #[arg(long)]
        wait: bool,
    },
}

/// A key that can be rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    /// The key that signs tokens.
    Jwt,
    /// The key that seals what the vault keeps.
    Data,
}

impl Key {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Key::Rotate { role: Role::Jwt, ahead, now, withdraw } => {
                let ahead = if now { Seconds(0) } else { ahead.unwrap_or(KeyRotate::AHEAD) };
                rotate_jwt(common, output, KeyRotate { role: Rotated::Jwt, ahead, withdraw }).await
            }
            Key::Rotate { role: Role::Data, ahead: None, now: false, withdraw: false } => {
                let done = find::connect(common).await?.command(RingRotate {}).await?;
                say!(
                    "what older keys seal is sealed anew in the background; vaultctl key rotation shows how far it is"
                );
                output.one(&done.result)
            }
            Key::Rotate { role: Role::Data, .. } => {
                bail!("--ahead, --now and --withdraw are for keys for tokens; a data key is in use at once")
            }
            Key::Rotation { wait } => {
                let operator = find::connect(common).await?;
                let mut ring = read(&operator).await?;
                let mut idle = 0;
                while wait && keys(&ring) > 1 {
                    say!("{} rows are left", ring.get("left").and_then(Value::as_u64).unwrap_or_default());
                    tokio::time::sleep(LOOK).await;
                    let before = std::mem::replace(&mut ring, read(&operator).await?);
                    idle = if before == ring { idle + 1 } else { 0 };
                    if idle >= PATIENCE {
                        bail!("what is left belongs to chains that are set aside, or does not verify: vaultctl status");
                    }
                }
                output.one(&ring)
            }
        }
    }
}

fn keys(ring: &Map<String, Value>) -> usize {
    ring.get("epochs").and_then(Value::as_array).map_or(0, Vec::len)
}

async fn read(operator: &Operator) -> anyhow::Result<Map<String, Value>> {
    let status = operator.command(StatusRead {}).await?;
    Ok(status.result.get("ring").and_then(Value::as_object).cloned().unwrap_or_default())
}

async fn rotate_jwt(common: &Common, output: &Output, body: KeyRotate) -> anyhow::Result<()> {
    let done = find::connect(common).await?.command(body).await?;
    let time = |member: &str| done.result.get(member).and_then(Value::as_u64).map(Timestamp);
    if let (Some(signs), Some(former)) = (time("signs"), time("former_until")) {
        say!("the new key signs from {signs} on; those before it are published until {former}");
    }
    output.one(&done.result)
}
