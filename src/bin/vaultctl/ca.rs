//! `vaultctl ca`: the authorities that the engines ssh and x509 sign with. A private key that was made elsewhere comes
//! from a file or standard input and leaves this process sealed to the vault; none ever comes back.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use nockvault::id::SecretName;
use nockvault::statement::ca::{CaCertify, CaCreate, CaShow};

use crate::output::Output;
use crate::{Common, find, members, secret};

#[derive(Debug, Subcommand)]
pub(crate) enum Ca {
    /// Have the vault make an authority. Its private key never leaves the vault.
    ///
    /// Engine ssh: --set comment=TEXT, or nothing. Engine x509: --set 'subject={"common_name":"mesh"}' [--set days=365].
    /// Where a higher authority is to sign an x509 one, `ca show --field request` is what it signs, and `ca certify` takes
    /// what it gives.
    Create {
        /// Its name, among those of stored secrets; never used again.
        name: SecretName,
        /// The engine that signs with it.
        #[arg(long)]
        engine: String,
        /// What is wished of it, also in place of what the file says. The value is JSON where it reads as such, the text
        /// of a file where it is @FILE (@- is standard input), else a text. A dot in the name leads into a table.
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
        /// What is wished of it, in a file of TOML or JSON; - reads it from standard input.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Bring an authority that was made elsewhere: its private key, and what the engine takes beside it.
    Import {
        /// Its name, among those of stored secrets; never used again.
        name: SecretName,
        /// @FILE reads the key from a file, and a single - from standard input.
        #[arg(value_name = "@FILE|-", conflicts_with = "file")]
        dash: Option<OsString>,
        /// The engine that signs with it.
        #[arg(long)]
        engine: String,
        /// Read the key from this file; - is standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Give an authority the certificate chain that a higher one signed for its key.
    Certify {
        /// Which authority.
        name: SecretName,
        /// The engine that signs with it.
        #[arg(long)]
        engine: String,
        /// The chain as PEM, the authority's own certificate first; - reads it from standard input.
        #[arg(long, value_name = "FILE")]
        chain: PathBuf,
    },
    /// Show what is public of an authority. With --field, one member of it, for a file.
    Show {
        /// Which authority.
        name: SecretName,
        /// The engine that signs with it.
        #[arg(long)]
        engine: String,
    },
}

impl Ca {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Ca::Create { name, engine, set, config } => {
                let wish = members::gather(config.as_deref(), &set)?;
                let body = CaCreate { name: name.clone(), engine, wish };
                let done = find::connect(common).await?.command(body).await?;
                say!("made the authority {name}; its private key stays in the vault");
                output.one(&done.result)
            }
            Ca::Import { name, dash, engine, file } => {
                let key = match (dash, file) {
                    (Some(given), _) => match secret::place(&given) {
                        Some(place) => secret::read(place)?,
                        None => bail!(
                            "a private key is never given on the command line, where everybody on this machine can read it; \
                             pipe it in with -, or name its file with @FILE. Consider the one that was typed known"
                        ),
                    },
                    (None, Some(file)) => secret::read(&file)?,
                    (None, None) => secret::read(Path::new("-"))?,
                };
                let key = secret::checked(key, true)?;
                let done = find::connect(common).await?.import_ca(&name, &engine, &key).await?;
                say!(
                    "the vault has the authority {name}; what is left of its key elsewhere signs as well as the vault"
                );
                output.one(&done.result)
            }
            Ca::Certify { name, engine, chain } => {
                let text = if chain == Path::new("-") {
                    std::io::read_to_string(std::io::stdin())?
                } else {
                    std::fs::read_to_string(&chain).with_context(|| chain.display().to_string())?
                };
                if text.contains("PRIVATE KEY") {
                    bail!("{} holds a private key; only certificates belong here. Nothing was sent", chain.display());
                }
                let body = CaCertify { name: name.clone(), engine, chain: text };
                let done = find::connect(common).await?.command(body).await?;
                say!("the authority {name} shows this chain from now on");
                output.one(&done.result)
            }
            Ca::Show { name, engine } => {
                output.one(&find::connect(common).await?.command(CaShow { name, engine }).await?.result)
            }
        }
    }
}
