//! `vaultctl man`: the help as man pages, one a command.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man as Page;
use nockvault::time::{Clock as _, SystemClock, Timestamp};

/// Write the help as man pages, one a command.
///
/// They are named vaultctl.1, vaultctl-agent.1, vaultctl-agent-register.1 and so on. For example: vaultctl man --dir
/// ~/.local/share/man/man1, and then: man vaultctl-grant. Their date is that of SOURCE_DATE_EPOCH, or today.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write into; made where it is missing. Pages that are there are replaced.
    #[arg(long)]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let mut command = crate::Cli::command().disable_help_subcommand(true);
        command.build();
        write(&command, &self.dir, &today())
    }
}

/// The day that pages are dated with.
fn today() -> String {
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse::<u64>().ok());
    let now = epoch.map_or_else(|| SystemClock.now(), |seconds| Timestamp(seconds.saturating_mul(1000)));
    now.to_string().chars().take("2026-06-30".len()).collect()
}

/// Writes a command's page, and those of its subcommands.
fn write(command: &Command, dir: &Path, date: &str) -> anyhow::Result<()> {
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        write(inner, dir, date)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let file = dir.join(format!("{name}.1"));
    let page = Page::new(command.clone()).title(name).date(date).manual("NockVault");
    let page = page.source(concat!("NockVault ", env!("CARGO_PKG_VERSION")));
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    let roff = String::from_utf8(roff)?;
    fs::write(&file, tidy(&roff)).with_context(|| file.display().to_string())
}

/// The same with one request where a blank line stands between two breaks, which `mandoc` warns of.
fn tidy(roff: &str) -> String {
    roff.replace(".br\n\n.br\n", ".sp\n")
}
