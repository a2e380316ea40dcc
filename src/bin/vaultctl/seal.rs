//! `vaultctl seal` and `unseal`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use nockvault::client::custody::Custody;
use nockvault::entropy::OsEntropy;
use nockvault::secret::SecretBytes;
use nockvault::statement::issue::Purpose;
use nockvault::statement::seal::VaultSeal;
use nockvault::wire::v1::Custodian;
use serde_json::{Map, Value, json};

use crate::output::Output;
use crate::{Common, find};

/// Seal the vault: every key leaves the daemon's memory, and every request is answered `sealed`.
///
/// Requests in hand get the daemon's drain_s to finish. The vault stays sealed, over restarts too, until somebody says
/// `vaultctl unseal`. Nothing is revoked: leases live on at their backends until they expire there or the vault is
/// unsealed. To take everything back first, use `vaultctl lock-down`.
#[derive(Debug, Args)]
pub(crate) struct Seal {
    /// Why, for whoever reads the trail; at most 256 bytes.
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

impl Seal {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let reason = Purpose::try_from(self.reason).map_err(|why| anyhow::anyhow!("--reason: {why}"))?;
        let done = find::connect(common).await?.command(VaultSeal { reason }).await?;
        let told = json!({ "entry": done.entry.map(|entry| entry.seq), "sealed": true });
        output.one(told.as_object().unwrap_or(&Map::new()))?;
        say!("The vault is sealed and stays so until somebody says `vaultctl unseal`.");
        Ok(())
    }
}

/// Unseal the vault, on its machine: give what a custodian of the root key holds.
///
/// No operator's key is needed, and none would help: a sealed vault can check no signature. What is given goes over the
/// operators' unix socket alone.
#[derive(Debug, Args)]
pub(crate) struct Unseal {
    /// The file of the root key.
    #[arg(long, value_name = "FILE")]
    root_key: PathBuf,
}

impl Unseal {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let custody = Custody::connect(&card).await?;
        let secret = read(&self.root_key)?;
        custody.unseal("", &secret, &OsEntropy).await?;
        let told = json!({ "sealed": false, "vault": card.name });
        output.one(told.as_object().unwrap_or(&Map::new()))
    }
}

/// A custodian, as it is shown.
pub(crate) fn shown(custodian: &Custodian) -> Value {
    let Custodian { name, kind, threshold, contributed, .. } = custodian;
    match threshold {
        0 => json!({ "kind": kind, "name": name }),
        needed => json!({ "contributed": contributed, "kind": kind, "name": name, "needed": needed }),
    }
}

fn read(path: &Path) -> anyhow::Result<SecretBytes> {
    std::fs::read(path).map(SecretBytes::from).with_context(|| path.display().to_string())
}
