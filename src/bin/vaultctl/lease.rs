//! `vaultctl lease`: what was handed out.

use clap::Subcommand;
use nockvault::id::AgentName;
use nockvault::statement::lease::LeaseList;

use crate::agent::pages;
use crate::output::{As, Column, Output};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Lease {
    /// List leases, newest first.
    List {
        /// Only this agent's.
        #[arg(long)]
        agent: Option<AgentName>,
        /// Also those that ended.
        #[arg(long)]
        all: bool,
    },
}

const COLUMNS: &[Column] = &[
    ("LEASE", "lease", As::Plain),
    ("AGENT", "agent", As::Plain),
    ("ROLE", "role", As::Plain),
    ("STATE", "state", As::Plain),
    ("ISSUED", "issued", As::Time),
    ("EXPIRES", "expires", As::Time),
    ("SESSION", "sid", As::Plain),
];

impl Lease {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let Lease::List { agent, all } = self;
        let operator = find::connect(common).await?;
        let ask = async |page| Ok(operator.command(LeaseList { agent: agent.clone(), live: !all, page }).await?.result);
        output.list(&pages(ask).await?, COLUMNS)
    }
}
