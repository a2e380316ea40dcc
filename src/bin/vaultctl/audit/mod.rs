//! `vaultctl audit`: reads chains and verifies them. What is verified is verified here, from public keys, and not
//! believed because the vault says so. Chains come page by page and go on as they come: no whole chain is ever held.

mod export;
mod filter;
mod prove;
mod read;
mod shown;
mod tail;
mod verify;

use std::collections::VecDeque;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use nockvault::client::operator::Operator;
use nockvault::id::ChainName;
use nockvault::statement::status::StatusRead;
use serde_json::{Value, json};

use crate::output::{As, Column, Output};
use crate::{Common, find};
use filter::{Filter, Sieve, Which};
pub(crate) use read::Chain;
use read::{Entry, Lines, Merged};
use shown::Shown;
pub(crate) use shown::object;

/// The most entries that `--last` holds back.
const MOST: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// List the chains, each with its newest state: a head that is kept outside the vault shows later that nothing was
    /// cut off.
    List,
    Show(Box<Show>),
    Tail(Box<tail::Tail>),
    Export(export::Export),
    /// Show a chain's newest checkpoint: the signed note, with what witnesses added. Kept elsewhere, it holds the vault to
    /// this history.
    Checkpoint {
        /// An agent's name, _operators or _vault.
        chain: ChainName,
    },
    Prove(prove::Prove),
    Verify(Box<verify::Verify>),
}

/// Show entries of chains by time, the newest last.
///
/// For example: vaultctl audit show kit --since 2h --kind issue --kind deny. An entry that names only a lease, such as
/// expire, is of the session and the role of its issuance, where that stands among the entries looked through.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
    /// From this entry of the chain on, to the end.
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["last", "since", "all"])]
    from: Option<u64>,
    /// Only so many of the newest: 20, unless --from or --since is said.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=MOST))]
    last: Option<u64>,
    #[command(flatten)]
    filter: Filter,
}

const CHAINS: &[Column] = &[("CHAIN", "chain", As::Plain), ("SIZE", "size", As::Plain), ("HEAD", "head", As::Plain)];

impl Audit {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        match self {
            Audit::List => list(&find::connect(common).await?, output).await,
            Audit::Show(show) => show.run(&find::connect(common).await?, output).await,
            Audit::Tail(tail) => tail.run(common, output).await,
            Audit::Export(export) => export.run(common).await,
            Audit::Checkpoint { chain } => prove::checkpoint(common, &chain, output).await,
            Audit::Prove(prove) => prove.run(common, output).await,
            Audit::Verify(verify) => return verify.run(common, output).await,
        }?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn list(operator: &Operator, output: &Output) -> anyhow::Result<()> {
    let chains = Chain::all(operator).await?;
    let told = |chain: &Chain| object(json!({"chain": chain.name, "size": chain.head.size, "head": chain.head.head}));
    output.list(&chains.iter().map(told).collect::<Vec<_>>(), CHAINS)
}

impl Show {
    async fn run(self, operator: &Operator, output: &Output) -> anyhow::Result<()> {
        let chains = self.which.find(operator).await?;
        if self.from.is_some() && chains.len() != 1 {
            bail!("--from is the number of an entry of one chain; --since is of all");
        }
        let mut sieve = self.filter.sieve()?;
        let several = chains.len() > 1 || self.which.open();
        let mut shown = Shown::of(output, chains.iter().map(|chain| chain.name.as_str()), several);
        let whole = self.from.is_some() || self.filter.since.is_some();
        if let (None, true) = (self.last, whole) {
            let mut entries = stretch(operator, &chains, self.from, &sieve).await?;
            while let Some(entry) = entries.next().await? {
                if sieve.takes(&entry) {
                    shown.show(&entry)?;
                }
            }
            return shown.end();
        }
        let last = self.last.unwrap_or(20);
        let (newest, earlier) = newest(operator, &chains, last, &mut sieve, self.filter.takes_all()).await?;
        newest.iter().try_for_each(|entry| shown.show(entry))?;
        shown.end()?;
        // Who said how many knows that there are more.
        if self.last.is_none() && earlier > 0 {
            let all = if chains.len() == 1 { "--from 0 shows all" } else { "--last N shows more" };
            say!("{earlier} earlier: {all}");
        }
        Ok(())
    }
}

/// Whether the vault's clock was never reset, so that the times of a chain rise from its beginning to its end.
async fn times_rise(operator: &Operator) -> anyhow::Result<bool> {
    let status = operator.command(StatusRead {}).await?.result;
    // A vault that does not say it may have.
    Ok(status.get("clock_resets").and_then(Value::as_u64) == Some(0))
}

/// The entries from `from`, or from the sieve's time, up to its other time. Where times rise, that stretch of a chain is
/// found by halving; else all of it is read, and the sieve finds what is of the time.
async fn stretch<'a>(
    operator: &'a Operator,
    chains: &[Chain],
    from: Option<u64>,
    sieve: &Sieve,
) -> anyhow::Result<Merged<'a>> {
    let timed = (from.is_none() && sieve.since.is_some()) || sieve.until.is_some();
    let halved = timed && times_rise(operator).await?;
    let mut lines = Vec::new();
    for chain in chains {
        let begin = match (from, sieve.since) {
            (Some(from), _) => from,
            (None, Some(since)) if halved => chain.first_at(operator, since).await?,
            (None, _) => 0,
        };
        let end = match sieve.until {
            Some(until) if halved => chain.first_at(operator, until).await?,
            _ => chain.head.size,
        };
        lines.push(Lines::of(operator, &chain.name, begin, end));
    }
    Ok(Merged::of(lines))
}

/// The newest entries that the sieve takes, by time, and how many it takes before them. Where it takes everything, only the ends of the chains are read.
async fn newest(
    operator: &Operator,
    chains: &[Chain],
    last: u64,
    sieve: &mut Sieve,
    takes_all: bool,
) -> anyhow::Result<(VecDeque<Entry>, u64)> {
    let mut earlier = 0;
    let mut entries = if takes_all && sieve.until.is_none() && sieve.since.is_none() {
        earlier = chains.iter().map(|chain| chain.head.size.saturating_sub(last)).sum();
        let end = |chain: &Chain| {
            let size = chain.head.size;
            Lines::of(operator, &chain.name, size.saturating_sub(last), size)
        };
        Merged::of(chains.iter().map(end).collect())
    } else {
        stretch(operator, chains, None, sieve).await?
    };
    let mut newest = VecDeque::new();
    while let Some(entry) = entries.next().await? {
        if sieve.takes(&entry) {
            newest.push_back(entry);
        }
        if newest.len() as u64 > last {
            newest.pop_front();
            earlier += 1;
        }
    }
    Ok((newest, earlier))
}
