//! `vaultctl audit`: reads chains and verifies them. What is verified is verified here, from public keys, and not
//! believed because the vault says so.

use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use nockvault::audit::verify::report::{Report, Verdict};
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::client::operator::Operator;
use nockvault::crypto::hash::leaf;
use nockvault::id::ChainName;
use nockvault::statement::audit_read::AuditRead;
use nockvault::statement::command::Page;
use nockvault::statement::request::Seen;
use serde_json::{Map, Value, json};

use crate::output::{As, Column, Output, Shape, print};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Show entries of a chain, the newest last.
    Show {
        /// An agent's name, _operators or _vault.
        chain: ChainName,
        /// From this entry on, to the end.
        #[arg(long, value_name = "SEQ", conflicts_with = "last")]
        from: Option<u64>,
        /// Only so many of the newest.
        #[arg(long, value_name = "N", default_value_t = 20)]
        last: u64,
    },
    /// Write a whole chain as a file that vault-verify reads, one entry a line.
    Export {
        /// An agent's name, _operators or _vault.
        chain: ChainName,
        /// Write into this file instead of standard output; one that is there is not replaced.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Verify a chain. Exit codes: 0 intact, 2 tampered with, 1 it cannot be told.
    ///
    /// An agent's chain is read from the vault together with _operators, so that each act of an operator is looked up
    /// there. With --file nothing is asked of the vault; vault-verify does the same and takes more evidence.
    Verify {
        /// An agent's name, _operators or _vault.
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        chain: Option<ChainName>,
        /// Verify this file.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

const COLUMNS: &[Column] =
    &[("SEQ", "seq", As::Plain), ("TIME", "ts", As::Time), ("KIND", "kind", As::Plain), ("WHAT", "what", As::Plain)];

/// The members of a body that say in a word what an entry is about.
const TELLING: &[&str] = &[
    "reason",
    "/request/payload/role",
    "role",
    "/hdr/lease",
    "lease",
    "outcome",
    "/register/payload/kid",
    "kid",
    "/request/payload/sid",
    "sid",
    "/request/payload/purpose",
    "/command/payload/typ",
    "/command/payload/operator",
];

impl Audit {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        match self {
            Audit::Show { chain, from, last } => show(&find::connect(common).await?, chain, from, last, output).await,
            Audit::Export { chain, file } => export(&find::connect(common).await?, &chain, file).await,
            Audit::Verify { chain: None, file: Some(file) } => {
                let bytes = std::fs::read(&file).with_context(|| format!("{}", file.display()))?;
                judge(&bytes, &Pins::of_card(&find::card(common)?), output)
            }
            Audit::Verify { chain: Some(chain), .. } => {
                let mut pins = Pins { chain: Some(chain.clone()), ..Pins::of_card(&find::card(common)?) };
                let operator = find::connect(common).await?;
                let bytes = whole(&operator, &chain).await?;
                if chain.agent().is_some() {
                    // Read after the agent's chain, so that whatever that one names is in it.
                    let commands = whole(&operator, &ChainName::operators()).await?;
                    let asked = Pins { chain: Some(ChainName::operators()), ..pins.clone() };
                    let (report, commands) = verify_operators(commands.as_slice(), &asked)?;
                    if report.verdict != Verdict::Intact {
                        // Nothing can rest on it, so that it is the answer to what was asked.
                        return tell(&report, output);
                    }
                    pins.operators = commands.map(Arc::new);
                }
                judge(&bytes, &pins, output)
            }
            Audit::Verify { .. } => bail!("name a chain, or a file with --file"),
        }
    }
}

fn judge(bytes: &[u8], pins: &Pins, output: &Output) -> anyhow::Result<ExitCode> {
    tell(&verify(bytes, pins)?, output)
}

fn tell(report: &Report, output: &Output) -> anyhow::Result<ExitCode> {
    if output.shape == Shape::Table && output.field.is_none() {
        print(&report.to_string())?;
    } else {
        output.one(json!(report).as_object().unwrap_or(&Map::new()))?;
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// A part of a chain, and how long the chain was then.
async fn part(operator: &Operator, chain: &ChainName, from: u64, limit: u64) -> anyhow::Result<(Vec<Vec<u8>>, Seen)> {
    let (lines, told) = operator.read_audit(AuditRead { chain: chain.clone(), from, limit }).await?;
    let head = told.result.get("head").cloned().unwrap_or_default();
    Ok((lines, serde_json::from_value(head).context("the vault did not say how long the chain is")?))
}

/// Gives `take` each line from `from` on, up to the end that the chain had when its last part was read.
async fn each(
    operator: &Operator,
    chain: &ChainName,
    mut from: u64,
    mut take: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Seen> {
    loop {
        let (lines, head) = part(operator, chain, from, Page::MAX).await?;
        lines.iter().try_for_each(|line| take(line))?;
        from += lines.len() as u64;
        if from >= head.size {
            return Ok(head);
        }
        if lines.is_empty() {
            bail!("the vault says that {chain} has {} entries, and gives none from {from} on", head.size);
        }
    }
}

async fn whole(operator: &Operator, chain: &ChainName) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    each(operator, chain, 0, |line| {
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        Ok(())
    })
    .await?;
    Ok(bytes)
}

async fn show(
    operator: &Operator,
    chain: ChainName,
    from: Option<u64>,
    last: u64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let from = match from {
        Some(from) => from,
        None => part(operator, &chain, 0, 1).await?.1.size.saturating_sub(last),
    };
    let mut items = Vec::new();
    each(operator, &chain, from, |line| {
        let mut entry: Map<String, Value> =
            serde_json::from_slice(line).context("the vault sent a line that is no entry")?;
        if output.shape == Shape::Table && output.field.is_none() {
            entry.insert("what".into(), json!(told(entry.get("body").unwrap_or(&Value::Null))));
        }
        items.push(entry);
        Ok(())
    })
    .await?;
    output.list(&items, COLUMNS)?;
    Ok(ExitCode::SUCCESS)
}

fn told(body: &Value) -> String {
    let find = |name: &&str| if name.starts_with('/') { body.pointer(name) } else { body.get(name) };
    let texts = TELLING.iter().filter_map(find).filter_map(Value::as_str).filter(|text| !text.is_empty());
    texts.collect::<Vec<_>>().join(" ")
}

async fn export(operator: &Operator, chain: &ChainName, file: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let to: Box<dyn std::io::Write> = match &file {
        Some(file) => Box::new(std::fs::File::create_new(file).with_context(|| format!("{}", file.display()))?),
        None => Box::new(std::io::stdout()),
    };
    let (mut to, mut newest) = (BufWriter::new(to), None);
    let head = each(operator, chain, 0, |line| {
        newest = Some(leaf(line));
        to.write_all(line)?;
        Ok(to.write_all(b"\n")?)
    })
    .await?;
    to.flush()?;
    if newest.is_some_and(|leaf| leaf != head.head) {
        bail!("the lines do not end in the head that the vault names; vault-verify says where they part");
    }
    say!(
        "{} entries, head {}:{}; a head that is kept outside the vault shows later that nothing was cut off",
        head.size,
        head.head,
        head.size
    );
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_told_in_a_few_words() {
        let body =
            json!({"hdr": {"lease": "L"}, "request": {"payload": {"role": "orders-read", "sid": "s", "purpose": ""}}});
        assert_eq!(told(&body), "orders-read L s");
        assert_eq!(told(&json!({"reason": "no_grant"})), "no_grant");
        assert_eq!(told(&json!({})), "");
    }
}
