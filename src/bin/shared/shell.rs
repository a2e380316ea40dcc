//! What a shell and `man` need of a program of ours: completions and pages, made from the same description as its help.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man as Page;
use nockvault::time::{Clock as _, SystemClock, Timestamp};

/// Print what a shell needs to complete commands and options.
///
/// For a PROGRAM of ours, bash: PROGRAM completions bash > ~/.local/share/bash-completion/completions/PROGRAM. zsh: PROGRAM
/// completions zsh > FOLDER/_PROGRAM, of a FOLDER in $fpath. fish: PROGRAM completions fish >
/// ~/.config/fish/completions/PROGRAM.fish
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// The script.
    pub(crate) fn script(&self, mut program: Command) -> Vec<u8> {
        let (name, mut script) = (program.get_name().to_owned(), Vec::new());
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        script
    }
}

/// Write the help as man pages, one a command.
///
/// They are named PROGRAM.1, PROGRAM-COMMAND.1 and so on. For example, with --dir ~/.local/share/man/man1: man
/// vaultctl-grant. Their date is that of SOURCE_DATE_EPOCH, or today.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder to write into; made where it is missing. Pages that are there are replaced.
    #[arg(long)]
    dir: PathBuf,
}

impl Man {
    /// Writes the pages.
    pub(crate) fn write(&self, program: Command) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| self.dir.display().to_string())?;
        let mut program = program.disable_help_subcommand(true);
        program.build();
        write(&program, &self.dir, &today())
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
    fs::write(&file, tidy(&String::from_utf8(roff)?)).with_context(|| file.display().to_string())
}

/// The same with one request where a blank line stands between two breaks, which `mandoc` warns of.
fn tidy(roff: &str) -> String {
    roff.replace(".br\n\n.br\n", ".sp\n")
}
