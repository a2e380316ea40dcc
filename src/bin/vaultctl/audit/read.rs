//! Chains as they come from the vault, page by page: one after another entry of one chain ([`Lines`]), or of many in the
//! order of their times ([`Merged`]). No more than a page of each chain is ever held.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use anyhow::{Context as _, bail};
use nockvault::client::operator::Operator;
use nockvault::id::ChainName;
use nockvault::statement::audit_read::{AuditList, AuditRead};
use nockvault::statement::command::Page;
use nockvault::statement::request::Seen;
use nockvault::time::Timestamp;
use serde_json::{Map, Value};

use crate::agent::pages;

/// How many lines are held at once, of all chains together, as far as a page of one is not more.
const HELD: u64 = 20_000;
/// Beyond the end of any chain: who asks from there on is told how long the chain is and gets no line.
const NOWHERE: u64 = (1 << 53) - 1;
/// The fewest lines that are asked for at once.
const FEWEST: u64 = 10;

/// An entry as it came.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) chain: ChainName,
    pub(crate) seq: u64,
    pub(crate) ts: Timestamp,
    /// The line, without its LF.
    pub(crate) line: Vec<u8>,
    /// The same, read.
    pub(crate) members: Map<String, Value>,
}

impl Entry {
    fn read(chain: &ChainName, seq: u64, line: Vec<u8>) -> anyhow::Result<Entry> {
        let members: Map<String, Value> =
            serde_json::from_slice(&line).context("the vault sent a line that is no entry")?;
        let ts = Timestamp(members.get("ts").and_then(Value::as_u64).unwrap_or_default());
        Ok(Entry { chain: chain.clone(), seq, ts, line, members })
    }
}

/// A part of a chain, and how long the chain was then.
pub(crate) async fn part(
    operator: &Operator,
    chain: &ChainName,
    from: u64,
    limit: u64,
) -> anyhow::Result<(Vec<Vec<u8>>, Seen)> {
    let (lines, told) = operator.read_audit(AuditRead { chain: chain.clone(), from, limit }).await?;
    let head = told.result.get("head").cloned().unwrap_or_default();
    Ok((lines, serde_json::from_value(head).context("the vault did not say how long the chain is")?))
}

/// A chain, and how long it was when that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: ChainName,
    pub(crate) head: Seen,
}

impl Chain {
    /// The chain of this name.
    pub(crate) async fn named(operator: &Operator, name: &ChainName) -> anyhow::Result<Chain> {
        Ok(Chain { name: name.clone(), head: part(operator, name, NOWHERE, 1).await?.1 })
    }

    /// Every chain of the vault, by name.
    pub(crate) async fn all(operator: &Operator) -> anyhow::Result<Vec<Chain>> {
        let items = pages(async |page| Ok(operator.command(AuditList { page }).await?.result)).await?;
        let read = |item: &Map<String, Value>| -> Option<Chain> {
            let name = item.get("chain")?.as_str()?.parse().ok()?;
            let head = serde_json::from_value(item.get("head")?.clone()).ok()?;
            Some(Chain { name, head: Seen { head, size: item.get("size")?.as_u64()? } })
        };
        items.iter().map(|item| read(item).context("the vault sent a chain that cannot be read")).collect()
    }

    /// The first entry that is not of before `at`, where the chain's times rise; its length where there is none.
    pub(crate) async fn first_at(&self, operator: &Operator, at: Timestamp) -> anyhow::Result<u64> {
        let (mut low, mut high) = (0, self.head.size);
        while low < high {
            let middle = low + (high - low) / 2;
            let (lines, _) = part(operator, &self.name, middle, 1).await?;
            let line = lines.into_iter().next().context("the vault did not give an entry of the chain")?;
            if Entry::read(&self.name, middle, line)?.ts < at { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }
}

/// The lines of one chain, in order, up to an end that is fixed.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    operator: &'a Operator,
    chain: ChainName,
    next: u64,
    end: u64,
    limit: u64,
    page: VecDeque<Vec<u8>>,
}

impl<'a> Lines<'a> {
    /// From entry `from` on, before entry `end`.
    pub(crate) fn of(operator: &'a Operator, chain: &ChainName, from: u64, end: u64) -> Lines<'a> {
        Lines { operator, chain: chain.clone(), next: from, end, limit: Page::MAX, page: VecDeque::new() }
    }

    /// The next line and its number.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
        if self.next >= self.end {
            return Ok(None);
        }
        if self.page.is_empty() {
            let limit = self.limit.min(self.end - self.next);
            let (lines, head) = part(self.operator, &self.chain, self.next, limit).await?;
            if lines.is_empty() {
                bail!("{} has {} entries, and the vault gives none from {} on", self.chain, head.size, self.next);
            }
            self.page = lines.into();
        }
        let seq = self.next;
        self.next += 1;
        Ok(self.page.pop_front().map(|line| (seq, line)))
    }

    async fn entry(&mut self) -> anyhow::Result<Option<Entry>> {
        match self.next().await? {
            Some((seq, line)) => Entry::read(&self.chain, seq, line).map(Some),
            None => Ok(None),
        }
    }
}

/// The entries of several chains by time. What one chain says stays in its order; of two chains with the same time, the
/// one that was named first comes first.
#[derive(Debug)]
pub(crate) struct Merged<'a> {
    chains: Vec<Lines<'a>>,
    first: Vec<Option<Entry>>,
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
    begun: bool,
}

impl<'a> Merged<'a> {
    pub(crate) fn of(mut chains: Vec<Lines<'a>>) -> Merged<'a> {
        let limit = (HELD / (chains.len() as u64).max(1)).clamp(FEWEST, Page::MAX);
        chains.iter_mut().for_each(|chain| chain.limit = limit);
        Merged { first: Vec::new(), order: BinaryHeap::new(), chains, begun: false }
    }

    /// Reads on in the chain `index`. Where the clock was put back a chain's time falls: its entries still come one after
    /// another, at once.
    async fn advance(&mut self, index: usize) -> anyhow::Result<()> {
        let entry = self.chains[index].entry().await?;
        if let Some(entry) = &entry {
            self.order.push(Reverse((entry.ts, index)));
        }
        self.first[index] = entry;
        Ok(())
    }

    /// The next entry of all.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Entry>> {
        if !self.begun {
            self.begun = true;
            self.first.resize_with(self.chains.len(), || None);
            for index in 0..self.chains.len() {
                self.advance(index).await?;
            }
        }
        let Some(Reverse((_, index))) = self.order.pop() else { return Ok(None) };
        let entry = self.first[index].take();
        self.advance(index).await?;
        Ok(entry)
    }
}
