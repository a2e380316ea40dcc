//! `vaultctl unseal`: gives what a custodian holds, so that the vault serves.

use clap::Args;

use crate::contribute::{For, Given};
use crate::output::Output;
use crate::{Common, find};

/// Unseal the vault, on its machine: give what a custodian of the root key holds.
///
/// No operator's key is needed, and none would help: a sealed vault can check no signature. Without a flag, the passphrase or
/// the shares are asked for. Several people give one share each, at the same terminal or each at his own; `vaultctl status`
/// says how many there are. Shares wait 15 minutes for the next. What is typed is stretched here and goes over the
/// operators' unix socket alone.
#[derive(Debug, Args)]
pub(crate) struct Unseal {
    #[command(flatten)]
    given: Given,
}

impl Unseal {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        self.given.give(For::Unsealing, &find::card(common)?, output).await
    }
}
