//! `vaultctl status`: how the vault is.

use nockvault::statement::status::StatusRead;

use crate::output::Output;
use crate::{Common, find};

pub(crate) async fn run(common: &Common, output: &Output) -> anyhow::Result<()> {
    output.one(&find::connect(common).await?.command(StatusRead {}).await?.result)
}
