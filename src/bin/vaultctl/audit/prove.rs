//! `vaultctl audit prove` and `vaultctl audit checkpoint`: what shows a stranger one entry, or a chain's state. Whatever
//! the vault gives is verified here, against the card, before it is handed on.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::audit::checkpoint;
use nockvault::audit::proof::{self, EntryProof, Proved};
use nockvault::client::operator::Operator;
use nockvault::crypto::envelope::Embedded;
use nockvault::crypto::hash::Digest;
use nockvault::id::ChainName;
use nockvault::statement::audit_read::{AuditCheckpoint, AuditProve};
use nockvault::statement::card::Card;
use nockvault::statement::command::Page;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::read::part;
use super::shown::object;
use crate::output::{Output, Shape, print};
use crate::{Common, find};

/// Write the proof of one entry: a file that shows a stranger this entry and nothing else of the chain.
///
/// It holds the entry, the way from it to the newest checkpoint that covers it, and that checkpoint with what witnesses
/// signed (c2sp.org/tlog-proof@v1). vault-verify checks it offline with the vault's card. An entry that no checkpoint
/// covers yet is covered by the next.
#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// An agent's name, _operators or _vault.
    chain: ChainName,
    /// The entry's number.
    seq: u64,
    /// Write into this file instead of standard output; one that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Prove {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let (card, operator) = (find::card(common)?, find::connect(common).await?);
        let told = operator.command(AuditProve { chain: self.chain.clone(), seq: self.seq }).await?.result;
        let line: String = member(&told, "line")?;
        let audit = certificate_of(&operator, &self.chain, self.seq, &line).await?;
        let path: Vec<Digest> = member(&told, "path")?;
        let (note, cert): (String, Embedded) = (member(&told, "note")?, member(&told, "cert")?);
        let text = EntryProof::of(line.as_bytes(), &audit, path, &note, &cert)?.write();
        let pins = proof::Pins {
            vault: Some(card.name.clone()),
            chain: Some(self.chain.clone()),
            ..proof::Pins::new(card.identity.clone())
        };
        let proved = proof::verify(&text, &pins).context("the vault's proof does not hold, and was not written")?;
        if proved.seq != self.seq {
            bail!("the vault gave the proof of entry {}, not of entry {}", proved.seq, self.seq);
        }
        match (&self.file, output.shape, &output.field) {
            (Some(file), ..) => {
                let shown = || file.display().to_string();
                let mut to = std::fs::File::create_new(file).with_context(shown)?;
                to.write_all(text.as_bytes()).and_then(|()| to.sync_all()).with_context(shown)?;
            }
            (None, Shape::Table, None) => print(&text)?,
            _ => output.one(&object(json!({
                "chain": self.chain,
                "checkpoint": note,
                "leaf": proved.leaf,
                "proof": text,
                "seq": proved.seq,
                "size": proved.checkpoint.size,
                "ts": proved.ts,
            })))?,
        }
        say_what(&proved, &told);
        Ok(())
    }
}

fn say_what(proved: &Proved, told: &Map<String, Value>) {
    let kind = proved.entry.as_ref().map_or("an entry that is not understood here", |entry| entry.body.kind());
    let cosigned = told.get("cosigned").and_then(Value::as_u64).unwrap_or_default();
    say!(
        "entry {} ({kind}, {}) under a checkpoint of {} entries with {cosigned} lines of witnesses",
        proved.seq,
        proved.ts,
        proved.checkpoint.size
    );
}

fn member<T: DeserializeOwned>(told: &Map<String, Value>, name: &str) -> anyhow::Result<T> {
    let value = told.get(name).cloned().unwrap_or_default();
    serde_json::from_value(value).with_context(|| format!("the vault's answer has no {name} that can be read"))
}

/// The certificate of the audit key that signed this line. It stands in the first entry that the key signed, and in
/// each checkpoint, so that a page or two back there is one.
async fn certificate_of(operator: &Operator, chain: &ChainName, seq: u64, line: &str) -> anyhow::Result<Embedded> {
    let read = |line: &[u8]| serde_json::from_slice::<Map<String, Value>>(line).context("a line that is no entry");
    let key = read(line.as_bytes())?.get("kid").cloned().unwrap_or_default();
    let mut end = seq + 1;
    while end > 0 {
        let begin = end.saturating_sub(Page::MAX);
        let mut page = Vec::new();
        while begin + (page.len() as u64) < end {
            let from = begin + page.len() as u64;
            let (lines, _) = part(operator, chain, from, end - from).await?;
            if lines.is_empty() {
                bail!("the vault gives no entry {from} of {chain}");
            }
            page.extend(lines);
        }
        for line in page.iter().rev() {
            let entry = read(line)?;
            if entry.get("kid") != Some(&key) {
                bail!("the chain {chain} does not carry the certificate of the audit key of entry {seq}");
            }
            if let Some(cert) = entry.get("cert") {
                return Ok(serde_json::from_value(cert.clone())?);
            }
        }
        end = begin;
    }
    bail!("the chain {chain} does not carry the certificate of the audit key of entry {seq}")
}

/// A chain's newest checkpoint, verified: what the vault said, and of how many entries it is.
pub(crate) async fn newest(
    operator: &Operator,
    card: &Card,
    chain: &ChainName,
) -> anyhow::Result<(Map<String, Value>, checkpoint::Checkpoint)> {
    let told = operator.command(AuditCheckpoint { chain: chain.clone() }).await?.result;
    let (note, cert): (String, Embedded) = (member(&told, "note")?, member(&told, "cert")?);
    let opened = checkpoint::open(&note, &cert, &card.identity)?;
    // After a restore the origin has a number behind it.
    let origin = format!("{}/{chain}", card.name);
    let of_it = opened.origin == origin || opened.origin.starts_with(&format!("{origin}~"));
    if of_it { Ok((told, opened)) } else { bail!("the vault gave a checkpoint of {}, not of {origin}", opened.origin) }
}

/// `vaultctl audit checkpoint`
pub(crate) async fn checkpoint(common: &Common, chain: &ChainName, output: &Output) -> anyhow::Result<()> {
    let card = find::card(common)?;
    let (mut told, opened) = newest(&find::connect(common).await?, &card, chain).await?;
    if output.shape == Shape::Table && output.field.is_none() {
        return print(&member::<String>(&told, "note")?);
    }
    told.insert("origin".to_owned(), json!(opened.origin));
    told.insert("root".to_owned(), json!(opened.root));
    output.one(&told)
}
