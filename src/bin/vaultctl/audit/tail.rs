//! `vaultctl audit tail`: the newest entries, and with `--follow` each as it comes. The vault is asked once a second with
//! a signed question; where it is away for a while, it is asked until it is back, and nothing is left out.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::client::operator::Operator;
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::denial::Reason;
use nockvault::id::ChainName;
use nockvault::statement::request::Seen;
use serde_json::json;

use super::filter::{Filter, Sieve, Which};
use super::read::{Chain, Lines, Merged};
use super::shown::Shown;
use crate::output::{Output, Shape};
use crate::{Common, find};

/// How long it is waited between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest time between two tries while the vault is away.
const LONGEST: Duration = Duration::from_secs(10);

/// Where a chain that nothing was seen of begins.
const BEGIN: Seen = Seen { head: Digest::ZERO, size: 0 };
/// What it is where a chain does not go on.
const PUT_BACK: &str = "the vault's database was put back, or it is not the same vault; keep what was shown, and see \
                        `vaultctl audit verify` with a checkpoint that is kept elsewhere";

/// Show the newest entries, and with --follow each that comes.
///
/// Ends with Ctrl-C. Where the daemon is away it waits for it. Where a chain no longer goes on from what was shown of it,
/// it ends with an error: the vault's database was put back. With --all, agents that are registered meanwhile are
/// followed too. With -o json or yaml what follows comes as with jsonl, one line an entry.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    #[command(flatten)]
    which: Which,
    /// How many of the newest, of all chains together.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(..=super::MOST))]
    last: u64,
    /// Go on, entry by entry.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    filter: Filter,
}

impl Tail {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let mut operator = find::connect(common).await?;
        let chains = self.which.find(&operator).await?;
        let mut sieve = self.filter.sieve()?;
        let shape = if self.follow && output.shape != Shape::Table { Shape::Jsonl } else { output.shape };
        let output = Output { shape, ..output.clone() };
        let several = chains.len() > 1 || self.which.open();
        let mut shown = Shown::of(&output, chains.iter().map(|chain| chain.name.as_str()), several);
        let (newest, _) = super::newest(&operator, &chains, self.last, &mut sieve, self.filter.takes_all()).await?;
        newest.iter().try_for_each(|entry| shown.show(entry))?;
        if !self.follow {
            return shown.end();
        }
        let mut places: BTreeMap<ChainName, Seen> = chains.into_iter().map(|chain| (chain.name, chain.head)).collect();
        let follow = async {
            let mut pause = PAUSE;
            loop {
                tokio::time::sleep(pause).await;
                match self.more(&operator, &mut places, &mut sieve, &mut shown).await {
                    Ok(()) => pause = PAUSE,
                    Err(why) if passing(&why) => {
                        if pause == PAUSE {
                            say!("the vault does not answer; waiting for it ({why:#})");
                        }
                        pause = (pause * 2).min(LONGEST);
                        // A new connection: what was learned of the old vault's keys is asked for anew.
                        if let Ok(anew) = find::connect(common).await {
                            (operator, pause) = (anew, PAUSE);
                        }
                    }
                    Err(why) => return Err(why),
                }
            }
        };
        tokio::select! {
            ended = follow => ended,
            stopped = tokio::signal::ctrl_c() => Ok(stopped?),
        }
    }

    /// What came since the last time. A place moves on with each entry that was shown, so that a broken answer leaves no
    /// gap and no entry comes twice. What comes goes on from what was there, or it is told that it does not.
    async fn more(
        &self,
        operator: &Operator,
        places: &mut BTreeMap<ChainName, Seen>,
        sieve: &mut Sieve,
        shown: &mut Shown<'_>,
    ) -> anyhow::Result<()> {
        let now = if self.which.open() {
            Chain::all(operator).await?
        } else {
            let mut now = Vec::new();
            for name in places.keys() {
                now.push(Chain::named(operator, name).await?);
            }
            now
        };
        let place = |name: &ChainName| places.get(name).copied().unwrap_or(BEGIN);
        if let Some(gone) = places.keys().find(|name| !now.iter().any(|chain| chain.name == **name)) {
            bail!("{gone} is no longer there: {PUT_BACK}");
        }
        for Chain { name, head } in &now {
            let place = place(name);
            if head.size < place.size || (head.size == place.size && head.head != place.head) {
                bail!(
                    "{name} had {} entries with the head {}, and now it has {} with the head {}: {PUT_BACK}",
                    place.size,
                    place.head,
                    head.size,
                    head.head
                );
            }
        }
        let longer = now.iter().filter(|chain| chain.head.size > place(&chain.name).size);
        let lines = longer.map(|chain| Lines::of(operator, &chain.name, place(&chain.name).size, chain.head.size));
        let mut entries = Merged::of(lines.collect());
        while let Some(entry) = entries.next().await? {
            let before = places.get(&entry.chain).copied().unwrap_or(BEGIN);
            if entry.members.get("prev") != Some(&json!(before.head)) {
                bail!(
                    "entry {} of {} does not follow on what was there, the head {}: {PUT_BACK}",
                    entry.seq,
                    entry.chain,
                    before.head
                );
            }
            if sieve.takes(&entry) {
                shown.show(&entry)?;
            }
            let head = leaf(&entry.line);
            places.insert(entry.chain, Seen { head, size: entry.seq + 1 });
        }
        Ok(())
    }
}

/// Whether it may pass by itself: the daemon is away, stops, or has too much to do.
fn passing(why: &anyhow::Error) -> bool {
    let busy = [
        Reason::AuditUnavailable,
        Reason::Busy,
        Reason::ClockBehind,
        Reason::Interrupted,
        Reason::OutcomeUnknown,
        Reason::RateLimited,
        Reason::Sealed,
    ];
    match why.downcast_ref::<Fault>() {
        Some(Fault::Unreachable { .. } | Fault::NoAnswer { .. }) => true,
        Some(fault @ Fault::Refused(_)) => fault.reason().is_some_and(|reason| busy.contains(&reason)),
        _ => false,
    }
}
