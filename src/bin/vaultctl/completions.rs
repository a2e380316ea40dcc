//! `vaultctl completions`: what a shell needs to complete our words.

use clap::Args;
use clap_complete::Shell;

/// Print what a shell needs to complete commands and options.
///
/// bash: vaultctl completions bash > ~/.local/share/bash-completion/completions/vaultctl. zsh: vaultctl completions zsh >
/// FOLDER/_vaultctl, of a FOLDER in $fpath. fish: vaultctl completions fish > ~/.config/fish/completions/vaultctl.fish
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::command_line(), "vaultctl", &mut script);
        crate::output::print(&String::from_utf8(script)?)
    }
}
