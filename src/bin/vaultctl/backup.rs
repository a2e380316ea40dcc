//! `vaultctl backup` and `vaultctl restore`.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::client::operator::Made;
use nockvault::config::Places;
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::server::restore::{self, Laid, Plan};
use nockvault::store::sqlite::RestoredStore;
use serde_json::{Map, json};

use crate::contexts::chosen;
use crate::output::Output;
use crate::progress::Progress;
use crate::ways::{Way, Ways};
use crate::{Common, find};

/// Write a backup: all that the vault keeps, at one instant, in a file that only a custodian opens.
///
/// The daemon makes it while it serves on. The command stands in _operators, and a vault that is restored from this file
/// names it in every chain. Any custodian of today opens it; no custodian's secret is in it, so keep one elsewhere.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// Write into this file; one that is there is not replaced.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

impl Backup {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let file = &self.file;
        let shown = || file.display().to_string();
        if file.symlink_metadata().is_ok() {
            bail!("{} is there already and is not replaced", shown());
        }
        let mut part = file.file_name().context("--file names no file")?.to_owned();
        part.push(".part");
        let part = file.with_file_name(part);
        let operator = find::connect(common).await?;
        let written = async {
            let mut to = BufWriter::new(private(&part).with_context(|| part.display().to_string())?);
            let progress = Progress::open("backup");
            let made = operator.backup(&mut progress.counting(&mut to)).await?;
            drop(progress);
            to.flush().and_then(|()| to.get_ref().sync_all()).with_context(shown)?;
            // Not a rename, which would replace what came to be meanwhile.
            fs::hard_link(&part, file).with_context(shown)?;
            anyhow::Ok(made)
        };
        let written = written.await;
        let _ = fs::remove_file(&part);
        let Made { executed, bytes, digest } = written?;
        let told = json!({
            "backup": executed.result.get("backup"),
            "bytes": bytes,
            "entry": executed.entry.map(|entry| entry.seq),
            "file": file,
            "sha256": digest,
        });
        output.one(told.as_object().unwrap_or(&Map::new()))?;
        say!("A custodian of today opens it, and nothing else does: see that the secret of one is kept elsewhere.");
        Ok(())
    }
}

/// A new file for this user alone, in the place of what an earlier try left.
fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Make a vault out of a backup, in a folder that is not there yet. No daemon runs yet.
///
/// The whole file is verified before anything is written: that it is of the vault of the card, that the custodian opens it,
/// and that every chain in it holds. What the vault did after the backup is lost: requests of before are refused, what was
/// live in the backup is taken back, each chain goes on with an entry that says so, and each agent's owner accepts that
/// once. It is no continuation, and must not run beside the vault it came from: at their backends the two would take away
/// each other's credentials. To try a backup, use --rehearsal.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
    /// The folder to make.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// By which custodian of the time of the backup it is opened; without it, by the one that the options below name. The
    /// configuration names it too.
    #[arg(long, value_name = "KIND", value_enum)]
    custody: Option<Way>,
    /// A file with shares, a line each, - for standard input; may stand several times.
    #[arg(long, value_name = "FILE")]
    share_file: Vec<PathBuf>,
    #[command(flatten)]
    ways: Ways,
    /// Where agents reach it, as the new card says then; without it 127.0.0.1:8440 and a card that leads where the old one
    /// does, or a free port of 127.0.0.1 for a rehearsal.
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Where operators reach it over the network, beside the unix socket.
    #[arg(long, value_name = "IP:PORT")]
    listen_operators: Option<SocketAddr>,
    /// Where health, metrics and the JWKS are, without TLS; without it 127.0.0.1:8441, or a free port for a rehearsal.
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// The number of this restore, which stands behind the names of the chains; without it, one more than the backup has
    /// behind it. Give a higher one where this backup was restored, and served, before.
    #[arg(long, value_name = "N")]
    number: Option<u64>,
    /// Only to try it: the vault serves, but touches no backend, and can never become the real one.
    #[arg(long)]
    rehearsal: bool,
}

impl Restore {
    pub(crate) fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let card = find::card(common)?;
        let (places, moved) = (self.places()?, self.listen.is_some());
        let (number, rehearsal) = (self.number, self.rehearsal);
        let mut plan = Plan { file: self.file, folder: self.dir, card, places, moved, number, rehearsal };
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        // Nobody is asked for a passphrase for what cannot be.
        if plan.folder.symlink_metadata().is_ok() {
            return Err(restore::LayFault::Exists(plan.folder).into());
        }
        let way = match self.custody {
            Some(way) => way,
            None if !self.share_file.is_empty() => Way::Shares,
            None => self.ways.meant(),
        };
        let (data, custodians) = (plan.folder.join(&plan.places.data_dir), restore::custodians(&plan)?);
        let (secret, opens) = self.ways.again((way, &self.share_file), &data, &custodians)?;
        plan.places.custody = opens;
        let progress = Progress::working("verifying and writing");
        let laid = restore::lay(&plan, &secret, &entropy)?;
        drop(progress);
        tell(&plan, &laid, output)?;
        let by = named(common, &plan);
        if plan.rehearsal {
            say_rehearsal(&plan, &laid, &by);
        } else {
            say_restored(&laid, &by);
        }
        Ok(())
    }

    /// Where it listens. A rehearsal stands beside the vault that has the usual ports.
    fn places(&self) -> anyhow::Result<Places> {
        let usual = Places::default();
        let place = |said: Option<SocketAddr>, usual| match said {
            Some(address) => Ok(address),
            None if self.rehearsal => restore::free_port().context("no free port"),
            None => Ok(usual),
        };
        let (agents, http) = (place(self.listen, usual.agents)?, place(self.http, usual.http)?);
        Ok(Places { agents, operators: self.listen_operators, http, ..usual })
    }
}

/// ` --operator NAME` or ` --key FILE`, which a command that names the card needs to find its key, where it is known.
fn named(common: &Common, plan: &Plan) -> String {
    let Ok(chosen) = chosen(common) else { return String::new() };
    let operator = find::key_place(&chosen, &plan.card).ok().map(|place| place.operator);
    let operator = operator.map_or_else(String::new, |name| format!(" --operator {name}"));
    match &chosen.key {
        Some(key) => format!("{operator} --key {}", key.display()),
        None => operator,
    }
}

fn tell(plan: &Plan, laid: &Laid, output: &Output) -> anyhow::Result<()> {
    let Laid { config, card_path, store } = laid;
    let RestoredStore { name, by, made, number, chains, entries, quarantined, .. } = store;
    let told = json!({
        "aud": plan.card.aud,
        "backup_entry": by.seq,
        "card": card_path,
        "chains": chains,
        "config": config,
        "entries": entries,
        "made": made,
        "number": number,
        "quarantined": quarantined.iter().map(|(chain, _)| chain).collect::<Vec<_>>(),
        "rehearsal": plan.rehearsal,
        "vault": name,
    });
    output.one(told.as_object().unwrap_or(&Map::new()))?;
    for (chain, why) in quarantined {
        say!("{chain} does not verify and stays set aside: {why}");
    }
    Ok(())
}

/// What is left to do.
fn say_restored(laid: &Laid, by: &str) {
    let Laid { config, card_path, store: RestoredStore { name, made, number, .. } } = laid;
    say!(
        "\nThe vault {name} is restored to {made}, restore number {number}. Before it serves:\n\
         \x20 see that the vault it came from is stopped and stays so: it would issue on under the same keys\n\
         \x20 put your settings into {config}: it holds the defaults\n\
         Then:\n\
         \x20 vaultd --config {config}\n\
         \x20 vaultctl --vault {card}{by} status         answered once the window of accepted clocks has passed\n\
         What was done after {made} is to be done again, revocations first: grants, keys and agents that were taken away\n\
         since are back. The chains as they were carried outside, _operators before all, tell which.",
        config = config.display(),
        card = card_path.display(),
    );
}

/// What can be tried, and with what it must not be.
fn say_rehearsal(plan: &Plan, laid: &Laid, by: &str) {
    let Laid { config, card_path, store: RestoredStore { name, made, .. } } = laid;
    let Places { agents, http, .. } = &plan.places;
    say!(
        "\nThis is a rehearsal of the vault {name} as it was at {made}. The real one serves on meanwhile. The rehearsal touches\n\
         no backend, and never becomes the real one. Agents reach it at {agents}, health is at {http}:\n\
         \x20 vaultd --config {config}\n\
         \x20 vaultctl --vault {card}{by} status         answered once the window of accepted clocks has passed\n\
         Ask it for nothing from an agent's own account: what the agent saw here would keep it from the real vault. Take\n\
         another HOME, and a copy of the agent's key. When it has shown what it should, stop it and remove {folder}.",
        config = config.display(),
        card = card_path.display(),
        folder = plan.folder.display(),
    );
}
