//! Files of one chain that part: behind the entries that they share, the vault wrote two histories. Where one of them goes
//! on with a `restore`, the other is what was lost then; where none does, somebody had the vault's keys and used them twice.
//!
//! Only whole chains that were found good are compared, so that both histories are the vault's own words.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nockvault::audit::entry::{Body, Entry, Origin};
use serde_json::{Value, json};

use super::{Arguments, Output, shown, unread};

/// A line over this is none of a chain's.
const LONGEST: u64 = 256 << 10;

/// How one history goes on where two part.
enum Next {
    Restore(u64, String),
    Entry,
}

/// What two files of one chain share, and how each goes on.
struct Parting {
    same: u64,
    nexts: [Next; 2],
    /// How many entries each has behind that.
    more: [u64; 2],
}

/// Says of each two files of one chain whether they part. Gives the worst exit code.
pub(super) fn run(arguments: &Arguments, files: &[PathBuf]) -> anyhow::Result<u8> {
    let mut worst = 0;
    for (chain, files) in by_chain(files)? {
        for (at, one) in files.iter().enumerate() {
            for two in &files[at + 1..] {
                if let Some(parting) = parting(one, two)? {
                    worst = worst.max(say(arguments, [one, two], &chain, &parting)?);
                }
            }
        }
    }
    Ok(worst)
}

/// The files that begin with the first entry of a chain, by that chain.
fn by_chain(files: &[PathBuf]) -> anyhow::Result<BTreeMap<String, Vec<&PathBuf>>> {
    let mut chains: BTreeMap<String, Vec<&PathBuf>> = BTreeMap::new();
    for path in files {
        let first = line(&mut lines(path)?).with_context(|| unread(path))?;
        if let Some(chain) = first.and_then(|first| whole(&first)) {
            chains.entry(chain).or_default().push(path);
        }
    }
    Ok(chains)
}

fn lines(path: &Path) -> anyhow::Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| unread(path))?))
}

fn line(from: &mut BufReader<File>) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    from.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
    if line.ends_with(b"\n") {
        line.pop();
    }
    Ok((!line.is_empty()).then_some(line))
}

/// Where two files of one chain part; nothing where one is the beginning of the other.
fn parting(one: &Path, two: &Path) -> anyhow::Result<Option<Parting>> {
    let (mut ones, mut twos) = (lines(one)?, lines(two)?);
    let mut same = 0;
    loop {
        let both = line(&mut ones).with_context(|| unread(one))?.zip(line(&mut twos).with_context(|| unread(two))?);
        let Some((first, second)) = both else { return Ok(None) };
        if first != second {
            let rest = |from: &mut BufReader<File>, path: &Path| -> anyhow::Result<u64> {
                let mut count = 1;
                while line(from).with_context(|| unread(path))?.is_some() {
                    count += 1;
                }
                Ok(count)
            };
            let more = [rest(&mut ones, one)?, rest(&mut twos, two)?];
            return Ok(Some(Parting { same, nexts: [next(&first), next(&second)], more }));
        }
        same += 1;
    }
}

/// The chain that this line begins; none where it is not the first of its chain.
fn whole(line: &[u8]) -> Option<String> {
    let entry = Entry::read(line).ok().filter(|entry| entry.seq == 0)?;
    let Origin { vault, chain, .. } = Origin::parse(&entry.origin)?;
    Some(format!("{vault}/{chain}"))
}

fn next(line: &[u8]) -> Next {
    match Entry::read(line) {
        Ok(Entry { body: Body::Restore(restore), ts, .. }) => Next::Restore(restore.number, ts.to_string()),
        // A chain that begins after a restore is told by its origin.
        Ok(entry) if entry.seq == 0 => match Origin::parse(&entry.origin) {
            Some(origin) if origin.restored > 0 => Next::Restore(origin.restored, entry.ts.to_string()),
            _ => Next::Entry,
        },
        _ => Next::Entry,
    }
}

fn entries(count: u64) -> String {
    format!("{count} {}", if count == 1 { "entry" } else { "entries" })
}

fn say(arguments: &Arguments, files: [&PathBuf; 2], chain: &str, parting: &Parting) -> anyhow::Result<u8> {
    let names = files.map(|path| shown(path));
    let Parting { same, nexts, more } = parting;
    let how = |at: usize| match &nexts[at] {
        Next::Restore(number, ts) => format!(
            "{} goes on with restore number {number} of {ts}, {} in all: the vault says there that it came out of a backup",
            names[at],
            entries(more[at])
        ),
        Next::Entry => format!("{} goes on with {} that the other does not have", names[at], entries(more[at])),
    };
    let restored = nexts.iter().any(|next| matches!(next, Next::Restore(..)));
    let judgement = match restored {
        true => "What one has and the other has not was lost to a restore, and says so; both were the vault's.",
        false => "NEITHER IS A RESTORE: the vault signed two histories of one chain, which it never does.",
    };
    let text = format!(
        "{chain}: two branches of one chain\n  the first {} are the same in both\n  {}\n  {}\n  {judgement}\n",
        entries(*same),
        how(0),
        how(1)
    );
    let number = |next: &Next| match next {
        Next::Restore(number, _) => Value::from(*number),
        Next::Entry => Value::Null,
    };
    let told = json!({
        "branches": {
            "chain": chain, "fork": !restored, "more": more, "same": same,
            "restores": nexts.iter().map(number).collect::<Vec<_>>(),
        },
        "files": names,
    });
    let printed = match arguments.output {
        Output::Human => text,
        Output::Json => format!("{told}\n"),
    };
    super::print(&printed)?;
    Ok(if restored { 0 } else { 2 })
}
