//! `vaultctl audit export`: chains as the files that vault-verify reads, one entry a line, byte for byte as the vault has
//! them. A file is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::client::operator::Operator;
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::id::ChainName;

use super::prove;
use super::read::{Chain, Lines};
use crate::progress::Progress;
use crate::{Common, find};

/// Write chains as files that vault-verify reads, one entry a line.
///
/// For example: vaultctl audit export kit > kit.audit.jsonl, or vaultctl audit export --all --dir audit/2026-06-30.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// An agent's name, _operators or _vault.
    #[arg(required_unless_present = "all")]
    chain: Option<ChainName>,
    /// Every chain, each as CHAIN.audit.jsonl in a folder. _operators comes last, so that it has all that the others
    /// name.
    #[arg(long, conflicts_with_all = ["chain", "from", "file"], requires = "dir")]
    all: bool,
    /// The folder; made where it is missing.
    #[arg(long, value_name = "DIR", requires = "all")]
    dir: Option<PathBuf>,
    /// Only from this entry on. What stands before it must be verified, or known, from elsewhere.
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Only from the newest checkpoint on, for who has verified what stands before it.
    #[arg(long, conflicts_with_all = ["from", "all"])]
    since_checkpoint: bool,
    /// Write into this file instead of standard output; one that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Export {
    pub(crate) async fn run(self, common: &Common) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        match (self.chain, self.dir) {
            (Some(name), _) => {
                let chain = Chain::named(&operator, &name).await?;
                let from = match self.since_checkpoint {
                    // The entry that holds a checkpoint follows on what it is of.
                    true => prove::newest(&operator, &find::card(common)?, &name).await?.1.size,
                    false => self.from.unwrap_or(0),
                };
                match &self.file {
                    Some(file) => to_file(&operator, &chain, from, file).await,
                    None => {
                        copy(&operator, &chain, from, &mut BufWriter::new(io::stdout()), true).await?;
                        say_what(&chain, from);
                        Ok(())
                    }
                }
            }
            (None, Some(dir)) => every(&operator, &dir).await,
            (None, None) => bail!("name a chain, or --all and --dir"),
        }
    }
}

async fn every(operator: &Operator, dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    let file = |name: &ChainName| dir.join(format!("{name}.audit.jsonl"));
    let mut names: Vec<ChainName> = Chain::all(operator).await?.into_iter().map(|chain| chain.name).collect();
    names.sort_by_key(|name| *name == ChainName::operators());
    // Looked at before the first is written, so that no folder holds the chains of two days.
    if let Some(there) = names.iter().map(file).find(|file| file.exists()) {
        bail!("{} is there already; name another folder", there.display());
    }
    for name in &names {
        // Its length as it is now: _operators, the last, is as long as it must be for all the others.
        let chain = Chain::named(operator, name).await?;
        to_file(operator, &chain, 0, &file(name)).await?;
    }
    Ok(())
}

/// A crash leaves a stray `.part` and no file.
async fn to_file(operator: &Operator, chain: &Chain, from: u64, file: &Path) -> anyhow::Result<()> {
    let shown = || file.display().to_string();
    let mut part = file.file_name().context("--file names no file")?.to_owned();
    if file.symlink_metadata().is_ok() {
        bail!("{} is there already and is not replaced", file.display());
    }
    part.push(".part");
    let part = file.with_file_name(part);
    let write = async {
        let mut to = BufWriter::new(File::create(&part).with_context(shown)?);
        copy(operator, chain, from, &mut to, false).await?;
        to.get_ref().sync_all().with_context(shown)?;
        // Not a rename, which would replace what came to be meanwhile.
        fs::hard_link(&part, file).with_context(shown)
    };
    let written = write.await;
    let _ = fs::remove_file(&part);
    written.map(|()| say_what(chain, from))
}

/// Writes the lines, and sees that they hang together and end in the head that the vault named.
async fn copy(operator: &Operator, chain: &Chain, from: u64, to: &mut impl Write, shown: bool) -> anyhow::Result<()> {
    let (name, size) = (&chain.name, chain.head.size);
    if from > 0 && from >= size {
        bail!("{name} has {size} entries, and none from {from} on");
    }
    let (mut lines, mut newest): (_, Option<Digest>) = (Lines::of(operator, name, from, size), None);
    let progress = Progress::entries(name.as_str(), size - from, shown);
    while let Some((_, line)) = lines.next().await? {
        progress.more(1);
        newest = Some(leaf(&line));
        to.write_all(&line)?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    drop(progress);
    if newest.is_some_and(|leaf| leaf != chain.head.head) {
        bail!("the lines of {name} do not end in the head that the vault names; vault-verify says where they part");
    }
    Ok(())
}

/// What was written, once it was.
fn say_what(chain: &Chain, from: u64) {
    let Chain { name, head } = chain;
    say!(
        "{name}: {} of {size} entries, head {}:{size}; a head that is kept outside the vault shows later that nothing was cut off",
        head.size - from,
        head.head,
        size = head.size
    );
}
