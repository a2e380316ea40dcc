//! `vaultctl secret`: values for the kv engine. A value comes from standard input, a file or a prompt and never from
//! the command line, where everybody on the machine could read it; it leaves this process sealed to the vault.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Subcommand, ValueEnum};
use nockvault::id::SecretName;
use nockvault::secret::SecretBytes;
use nockvault::statement::secret::{SEALED_INPUT_MAX, SecretList, SecretRollback, SecretUse, SecretVersions};
use nockvault::time::Timestamp;
use zeroize::Zeroizing;

use crate::agent::pages;
use crate::output::{As, Column, Output};
use crate::terms::instant;
use crate::{Common, find};

/// The largest value: the seal adds an encapsulated key and a tag.
const MAX: usize = SEALED_INPUT_MAX - 48;

#[derive(Debug, Subcommand)]
pub(crate) enum Secret {
    /// Store a new version of a secret. The value comes from a pipe, a file, or a prompt.
    Put {
        /// Its name.
        name: SecretName,
        /// @FILE reads the value from a file, and a single - from standard input.
        #[arg(value_name = "@FILE|-", conflicts_with = "file")]
        dash: Option<OsString>,
        /// Read the value from this file; - is standard input.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// Keep a line end at the end of the value, which is dropped otherwise.
        #[arg(long)]
        exact: bool,
        /// What it is for: a value that the kv engine hands out, or what an engine needs to be let in at its backend.
        /// The latter is never handed out.
        #[arg(long = "use", value_enum, default_value_t = Use::Kv)]
        used: Use,
        /// When the value stops being good: RFC 3339, or a date, which means the end of that day in UTC. No lease of it lives longer.
        #[arg(long, value_name = "TIME", value_parser = instant)]
        expires: Option<Timestamp>,
    },
    /// Store the value of an earlier version once more, as the newest. The value does not leave the vault.
    Rollback {
        /// The secret.
        name: SecretName,
        /// The version whose value it is.
        #[arg(long, value_name = "N")]
        to: u64,
    },
    /// List stored secrets, without values.
    List,
    /// List the versions of one secret, without values.
    Versions {
        /// The secret.
        name: SecretName,
    },
}

/// What a stored secret is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Use {
    /// A value that the kv engine hands out.
    Kv,
    /// What an engine needs to be let in at its backend.
    Backend,
}

impl From<Use> for SecretUse {
    fn from(used: Use) -> SecretUse {
        match used {
            Use::Kv => SecretUse::Kv,
            Use::Backend => SecretUse::Backend,
        }
    }
}

const COLUMNS: &[Column] = &[
    ("NAME", "name", As::Plain),
    ("VERSION", "version", As::Plain),
    ("USE", "use", As::Plain),
    ("BYTES", "bytes", As::Plain),
    ("SINCE", "since", As::Time),
    ("EXPIRES", "expires", As::Time),
];

impl Secret {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Secret::Put { name, dash, file, exact, used, expires } => {
                let value = match (dash, file) {
                    (Some(given), _) => match place(&given) {
                        Some(place) => read(place)?,
                        None => bail!(
                            "a value is never given on the command line, where everybody on this machine can read it; pipe \
                             it in with -, or name a file with @FILE. Consider the one that was typed known"
                        ),
                    },
                    (None, Some(file)) => read(&file)?,
                    (None, None) if std::io::stdin().is_terminal() => prompt(&name)?,
                    (None, None) => read(Path::new("-"))?,
                };
                let value = checked(value, exact)?;
                let done = find::connect(common).await?.put_secret(&name, &value, used.into(), expires).await?;
                say!("stored {name}, {} bytes", value.expose().len());
                output.one(&done.result)
            }
            Secret::Rollback { name, to } => {
                let body = SecretRollback { name: name.clone(), version: to };
                let done = find::connect(common).await?.command(body).await?;
                say!("stored {name} once more as it was in version {to}");
                output.one(&done.result)
            }
            Secret::List => {
                let operator = find::connect(common).await?;
                let items = pages(async |page| Ok(operator.command(SecretList { page }).await?.result)).await?;
                output.list(&items, COLUMNS)
            }
            Secret::Versions { name } => {
                let operator = find::connect(common).await?;
                let ask = async |_| Ok(operator.command(SecretVersions { name: name.clone() }).await?.result);
                output.list(&pages(ask).await?, COLUMNS)
            }
        }
    }
}

pub(crate) fn read(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    // One buffer that never grows, so that no half of the value stays behind.
    let mut value = Zeroizing::new(Vec::with_capacity(MAX + 3));
    let limit = MAX as u64 + 3;
    if file == Path::new("-") {
        if std::io::stdin().is_terminal() {
            say!("reading the value from standard input; end it with control-d");
        }
        std::io::stdin().lock().take(limit).read_to_end(&mut value)?;
    } else {
        let opened = std::fs::File::open(file).with_context(|| format!("{}", file.display()))?;
        opened.take(limit).read_to_end(&mut value).with_context(|| format!("{}", file.display()))?;
    }
    Ok(value)
}

/// Where a value is that is not typed itself: `-`, or the file of `@FILE`.
pub(crate) fn place(given: &OsStr) -> Option<&Path> {
    let file = given.as_bytes().strip_prefix(b"@").map(|file| Path::new(OsStr::from_bytes(file)));
    file.or_else(|| (given == "-").then(|| Path::new("-")))
}

fn prompt(name: &SecretName) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let first = Zeroizing::new(rpassword::prompt_password(format!("value of {name}: "))?.into_bytes());
    let again = Zeroizing::new(rpassword::prompt_password("once more: ")?.into_bytes());
    if first != again {
        bail!("the two are not the same; nothing was stored");
    }
    Ok(first)
}

pub(crate) fn checked(mut value: Zeroizing<Vec<u8>>, exact: bool) -> anyhow::Result<SecretBytes> {
    if !exact && value.last() == Some(&b'\n') {
        value.pop();
        if value.last() == Some(&b'\r') {
            value.pop();
        }
    }
    match value.len() {
        0 => bail!("the value is empty; nothing was stored"),
        length if length > MAX => bail!("the value is larger than {MAX} bytes; nothing was stored"),
        _ => Ok(SecretBytes::new(std::mem::take(&mut *value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_dropped() {
        let kept = |text: &str, exact| {
            checked(Zeroizing::new(text.as_bytes().to_vec()), exact).map(|value| value.expose().clone()).ok()
        };
        assert_eq!(kept("a\n", false), Some(b"a".to_vec()));
        assert_eq!(kept("a\r\n", false), Some(b"a".to_vec()));
        assert_eq!(kept("a\n\n", false), Some(b"a\n".to_vec()));
        assert_eq!(kept("a\n", true), Some(b"a\n".to_vec()));
        assert_eq!((kept("", false), kept("\n", false)), (None, None));
        assert_eq!(kept(&"x".repeat(MAX), false).map(|value| value.len()), Some(MAX));
        assert_eq!(kept(&"x".repeat(MAX + 1), false), None);
    }
}
