//! `vaultctl clock`: what to do when the vault's clock was wrong.

use clap::Subcommand;
use nockvault::statement::clock::ClockReset;
use nockvault::time::Timestamp;

use crate::output::Output;
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Clock {
    /// Let the vault issue again after its clock was ahead and was set right.
    ///
    /// Set the machine's clock right and start vaultd anew first. Sessions and leases that were given under the wrong
    /// clock are taken back. Requests are good again after a few minutes (skew_s): the command says from when on.
    Reset,
}

impl Clock {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Clock::Reset = self;
        let done = find::connect(common).await?.command(ClockReset {}).await?;
        let floor = done.result.get("floor").and_then(serde_json::Value::as_u64).map(Timestamp);
        if let Some(floor) = floor {
            say!("requests that are signed after {floor} are good again");
        }
        output.one(&done.result)
    }
}
