//! `vaultctl audit verify`: a chain from the vault, or a file, through the verifier. Lines go into it as they come.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use nockvault::audit::directory::{certs, open_at_any_time};
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::{Report, Verdict};
use nockvault::audit::verify::{Commands, Kept, Pins, verify, verify_operators};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile;
use nockvault::client::operator::Operator;
use nockvault::id::{ChainName, Kid};
use nockvault::statement::card::Card;
use nockvault::statement::cert::KeyRole;
use nockvault::statement::directory::MAX_BYTES;
use nockvault::time::{Clock as _, Seconds, SystemClock};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::read::{Chain, Lines};
use super::shown::object;
use crate::output::{As, Column, Output, Shape, print};
use crate::progress::Progress;
use crate::{Common, find};

/// How many lines go to the verifier at once, and how often that much may wait for it.
const BATCH: usize = 256;
const WAITING: usize = 4;

/// Verify a chain, or all. Exit codes: 0 intact, 2 tampered with, 1 it cannot be told; of several the worst.
///
/// A chain is read from the vault together with _operators, so that each act of an operator is looked up there. With
/// --file nothing is asked of the vault; vault-verify does the same and takes more evidence.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// An agent's name, _operators or _vault.
    #[arg(required_unless_present_any = ["file", "all"], conflicts_with = "file")]
    chain: Option<ChainName>,
    /// Verify every chain of the vault, _operators first.
    #[arg(long, conflicts_with_all = ["chain", "file", "agent_key", "receipt", "checkpoint", "max_age"])]
    all: bool,
    /// Verify this file.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A key that may stand in an agent's chain, by its kid or as its public key in hex or in a file NAME.pub; once one is
    /// given, no other may. May be repeated.
    #[arg(long, value_name = "KID|KEY|FILE", value_parser = kid, allow_hyphen_values = true)]
    agent_key: Vec<Kid>,
    /// An answer of the vault that was kept: its entry must be in the chain. May be repeated.
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// A checkpoint that was kept elsewhere: the chain must go on from it. May be repeated.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// A key directory that was kept elsewhere: a key that it does not list is found, where it was registered before the
    /// directory was made.
    #[arg(long, value_name = "FILE")]
    directory: Option<PathBuf>,
    /// How old the newest entry may be, for example 90s, 15m, 1h30m or 7d.
    #[arg(long, value_name = "DURATION")]
    max_age: Option<Seconds>,
}

/// A key's id, or that of the key that a text or a file is, as keygen hands them out.
fn kid(text: &str) -> Result<Kid, String> {
    if let Ok(kid) = text.parse() {
        return Ok(kid);
    }
    let public = keyfile::parse_public(text).or_else(|_| keyfile::read_public(Path::new(text)));
    public.map(|public| public.kid()).map_err(|why| format!("neither a key id nor a public key: {why}"))
}

impl Verify {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        let card = find::card(common)?;
        let mut pins = self.pins(&card)?;
        if self.all {
            return all(&find::connect(common).await?, &card, &pins, output).await;
        }
        let Some(name) = &self.chain else {
            let file = self.file.unwrap_or_default();
            let shown = || file.display().to_string();
            let opened = std::fs::File::open(&file).with_context(shown)?;
            let length = opened.metadata().map_or(0, |about| about.len());
            let progress = Progress::bytes(&shown(), length);
            let report = verify(BufReader::new(progress.reading(opened)), &pins).with_context(shown)?;
            drop(progress);
            return tell(&report, output);
        };
        let operator = find::connect(common).await?;
        let chain = Chain::named(&operator, name).await?;
        if *name != ChainName::operators() {
            // Its length is of after that of the chain, so that whatever that one names is in it.
            let (report, commands) = commands(&operator, &card).await?;
            if report.verdict != Verdict::Intact {
                // Nothing can rest on it, so that it is the answer to what was asked.
                return tell(&report, output);
            }
            pins.operators = commands;
        }
        tell(&through(&operator, &chain, move |lines| verify(lines, &pins)).await?, output)
    }
}

/// `_operators` as it is now, verified, and the commands in it for the chains that rest on them.
async fn commands(operator: &Operator, card: &Card) -> anyhow::Result<(Report, Option<Arc<Commands>>)> {
    let chain = Chain::named(operator, &ChainName::operators()).await?;
    let asked = Pins { chain: Some(ChainName::operators()), ..Pins::of_card(card) };
    let (report, commands) = through(operator, &chain, move |lines| verify_operators(lines, &asked)).await?;
    Ok((report, commands.map(Arc::new)))
}

const CHAINS: &[Column] = &[
    ("CHAIN", "chain", As::Plain),
    ("ENTRIES", "size", As::Plain),
    ("VERDICT", "verdict", As::Plain),
    ("NOTE", "note", As::Plain),
];

/// Every chain there is when it begins, `_operators` first. Where that is not intact nothing can rest on it, and the others
/// are verified without. A chain that the vault does not give leaves the others to be told of.
async fn all(operator: &Operator, card: &Card, pins: &Pins, output: &Output) -> anyhow::Result<ExitCode> {
    let chains = Chain::all(operator).await?;
    let (report, commands) = commands(operator, card).await?;
    let operators = commands.filter(|_| report.verdict == Verdict::Intact);
    let mut worst = report.verdict.exit_code();
    let mut rows = vec![row(&ChainName::operators(), &report)];
    for chain in chains.iter().filter(|chain| chain.name != ChainName::operators()) {
        let pins = Pins { chain: Some(chain.name.clone()), operators: operators.clone(), ..pins.clone() };
        let (code, row) = match through(operator, chain, move |lines| verify(lines, &pins)).await {
            Ok(report) => (report.verdict.exit_code(), row(&chain.name, &report)),
            Err(why) if refused(&why) => {
                let verdict = format!("not given by the vault: {why:#}");
                (1, object(json!({ "chain": chain.name, "size": chain.head.size, "verdict": verdict })))
            }
            Err(why) => return Err(why),
        };
        // One that was tampered with, 2, is worse than one of which nothing can be told, 1.
        worst = worst.max(code);
        rows.push(row);
    }
    output.list(&rows, CHAINS)?;
    Ok(ExitCode::from(worst))
}

fn refused(why: &anyhow::Error) -> bool {
    matches!(why.downcast_ref::<Fault>(), Some(Fault::Refused(_)))
}

fn row(chain: &ChainName, report: &Report) -> Map<String, Value> {
    let (verdict, size) = (report.verdict.to_string(), report.size);
    let note: Vec<String> = report.made_by_custody.iter().map(ToString::to_string).collect();
    object(json!({
        "chain": chain, "head": report.head, "note": note.join("; "), "size": size, "verdict": verdict, "what": report.verdict,
    }))
}

impl Verify {
    /// What the reader knows from elsewhere.
    fn pins(&self, card: &Card) -> anyhow::Result<Pins> {
        let mut pins = Pins { chain: self.chain.clone(), ..Pins::of_card(card) };
        pins.agent_keys.clone_from(&self.agent_key);
        pins.max_age = self.max_age.map(|age| (SystemClock.now(), age));
        for path in &self.receipt {
            let receipt = Receipt::read(&read(path)?).map_err(|why| anyhow!("{}: {why}", path.display()))?;
            pins.receipts.push(receipt);
        }
        for path in &self.checkpoint {
            // Its words hold those of what caused it.
            let kept = Kept::read(&read(path)?).map_err(|why| anyhow!("{}: {why}", path.display()))?;
            pins.checkpoints.push(kept);
        }
        if let Some(path) = &self.directory {
            // What it says of its time holds also where it is no longer good.
            let opened = open_at_any_time(&read(path)?, &card.identity);
            let opened = opened.map_err(|why| anyhow!("{}: {why}", path.display()))?;
            pins.certs = certs(&opened, KeyRole::Checkpoint).map(|(.., cert)| cert.clone()).collect();
            pins.directory = Some(Arc::new(opened));
        }
        Ok(pins)
    }
}

/// The most bytes of a file that is held in memory: what a key directory may have, and far more than a receipt has.
const MOST: u64 = MAX_BYTES as u64;

fn read(path: &Path) -> anyhow::Result<String> {
    let (shown, mut text) = (|| path.display().to_string(), String::new());
    let file = std::fs::File::open(path).with_context(shown)?;
    file.take(MOST + 1).read_to_string(&mut text).with_context(shown)?;
    if text.len() as u64 > MOST {
        bail!("{}: it has more than {MOST} bytes, which is more than any such file", shown());
    }
    Ok(text)
}

fn tell(report: &Report, output: &Output) -> anyhow::Result<ExitCode> {
    if output.shape == Shape::Table && output.field.is_none() {
        print(&report.to_string())?;
    } else {
        output.one(&object(json!(report)))?;
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

/// Lets `judge` read a chain as it comes. What the vault does not give is an error to it, and not the chain's end.
async fn through<T: Send + 'static>(
    operator: &Operator,
    chain: &Chain,
    judge: impl FnOnce(BufReader<Pipe>) -> io::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    let (to, from) = mpsc::channel(WAITING);
    let judging = tokio::task::spawn_blocking(move || judge(BufReader::new(Pipe { from, left: Vec::new(), at: 0 })));
    let sent = feed(operator, chain, &to).await;
    if let Err(why) = sent {
        let _ = to.send(Err(io::Error::other("the vault broke off"))).await;
        drop(to);
        let _ = judging.await;
        return Err(why);
    }
    drop(to);
    Ok(judging.await??)
}

type Batch = io::Result<Vec<u8>>;

async fn feed(operator: &Operator, chain: &Chain, to: &mpsc::Sender<Batch>) -> anyhow::Result<()> {
    let mut lines = Lines::of(operator, &chain.name, 0, chain.head.size);
    let (mut batch, mut count) = (Vec::new(), 0);
    let progress = Progress::entries(chain.name.as_str(), chain.head.size, false);
    while let Some((_, line)) = lines.next().await? {
        batch.extend_from_slice(&line);
        batch.push(b'\n');
        count += 1;
        progress.more(1);
        if count % BATCH == 0 && to.send(Ok(std::mem::take(&mut batch))).await.is_err() {
            // The verdict stands already.
            return Ok(());
        }
    }
    let _ = to.send(Ok(batch)).await;
    Ok(())
}

/// Lines on their way to where they are verified.
struct Pipe {
    from: mpsc::Receiver<Batch>,
    left: Vec<u8>,
    at: usize,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.left.len() {
            match self.from.blocking_recv() {
                None => return Ok(0),
                Some(batch) => (self.left, self.at) = (batch?, 0),
            }
        }
        let count = into.len().min(self.left.len() - self.at);
        into[..count].copy_from_slice(&self.left[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
