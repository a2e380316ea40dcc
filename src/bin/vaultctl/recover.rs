//! `vaultctl recover`: gives what a custodian holds, so that the vault has an operator again.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use nockvault::client::custody::Newcomer;

use crate::contribute::{For, Given};
use crate::operator::newcomer;
use crate::output::Output;
use crate::{Common, find};

/// Make an operator by custody, on the vault's machine, where no admin is left who could: give what a custodian of the root
/// key holds.
///
/// Make the new key first, with `vaultctl keygen --operator NAME`, under a name that no operator had. No operator's key is
/// needed here. What a custodian is asked for is the same as for `vaultctl unseal`, and the vault must be unsealed. Several
/// people give one share each, every one with the same statement, and compare the key id that is shown before. Shares wait
/// 15 minutes for the next. The new operator may do everything; that custody made it, and by which custodian, stands in
/// `_operators` for good, and everybody who verifies that chain is told.
#[derive(Debug, Args)]
pub(crate) struct Recover {
    /// The register statement of the new operator, NAME.register; - reads it from standard input. A bare name that is not
    /// here is looked for where keygen writes.
    register: PathBuf,
    #[command(flatten)]
    given: Given,
}

impl Recover {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let (statement, read, name) = newcomer(&self.register, &card)?;
        if read.kver != 1 {
            bail!(
                "this is key number {} of {name}, and custody makes a new operator by its first key: vaultctl keygen \
                 --operator NAME, under a name that no operator had",
                read.kver
            );
        }
        say!(
            "{name} is to be an admin of the vault {}, by the key {}; everybody who gives a share sees this key id",
            card.name,
            read.pk.kid()
        );
        let newcomer = Newcomer::of(&statement)?;
        self.given.give(For::Making(&newcomer), &card, output).await
    }
}
