//! Ways to a custodian's secret, as an operator names them: made anew for `init` and `custody add`, or come by again for
//! `restore`. No secret is an argument: it is typed, read from a file or from standard input, drawn here, or given by a
//! program or a token.

use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use nockvault::client::keyfile;
use nockvault::config::{self, Custody};
use nockvault::entropy::Entropy;
use nockvault::seal::custody::shares::{self, Gathered, Share};
use nockvault::seal::custody::{Custodian, CustodySecret, file, given, passphrase, pkcs11};
use nockvault::server::compose;
use nockvault::statement::custody::Kind;
use zeroize::Zeroizing;

/// How a custodian comes by its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// A file that the daemon reads.
    File,
    /// A passphrase that an operator types.
    Passphrase,
    /// Shares of several people, some of which are enough.
    Shares,
    /// A credential that systemd gives the daemon's unit.
    Credential,
    /// A program that prints it.
    Command,
    /// A token, by PKCS #11.
    Pkcs11,
}

/// What the ways need.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Custody")]
pub(crate) struct Ways {
    /// file, credential: the file with the 32 bytes, outside the data directory.
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key: Option<PathBuf>,
    /// passphrase: the file whose first line it is, - for standard input; without it, it is asked for at the terminal.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// shares: how many there are to be, at most 16.
    #[arg(long, value_name = "N")]
    pub(crate) shares: Option<u8>,
    /// shares: how many of them are enough, at least 2.
    #[arg(long, value_name = "K")]
    pub(crate) threshold: Option<u8>,
    /// shares: write each into a file of its own in this folder, instead of to the terminal.
    #[arg(long, value_name = "DIR")]
    pub(crate) shares_dir: Option<PathBuf>,
    /// credential: its name in the daemon's unit.
    #[arg(long, value_name = "NAME")]
    pub(crate) credential: Option<String>,
    /// command: the program and its arguments, which is run without a shell and prints 32 bytes or 64 hexadecimal digits.
    #[arg(long, value_name = "WORD", num_args = 1.., allow_hyphen_values = true, value_terminator = ";")]
    pub(crate) custody_command: Vec<String>,
    #[command(flatten)]
    pub(crate) token: TokenWay,
}

/// Where a token is, and how it is let in.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Custody")]
pub(crate) struct TokenWay {
    /// pkcs11: the library of the token's maker.
    #[arg(long, value_name = "FILE")]
    pkcs11_module: Option<PathBuf>,
    /// pkcs11: the token's label.
    #[arg(long, value_name = "LABEL")]
    pkcs11_token: Option<String>,
    /// pkcs11: the key's label; the key is made inside the token where there is none.
    #[arg(long, value_name = "LABEL", default_value = "nockvault-root")]
    pkcs11_key: String,
    /// pkcs11: the file with the PIN, of mode 0600.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// pkcs11: the program that prints the PIN, with its arguments.
    #[arg(long, value_name = "WORD", num_args = 1.., allow_hyphen_values = true, value_terminator = ";")]
    pin_command: Vec<String>,
}

/// A custodian that has its secret.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) kind: Kind,
    pub(crate) secret: CustodySecret,
    /// How a daemon comes by it at the start.
    pub(crate) opens: Custody,
}

impl TokenWay {
    /// Whether a token was named.
    pub(crate) fn is_named(&self) -> bool {
        self.pkcs11_module.is_some()
    }

    /// The token as a configuration names it.
    pub(crate) fn named(&self) -> anyhow::Result<config::Token> {
        let module = self.pkcs11_module.as_deref().context("name the token's library with --pkcs11-module FILE")?;
        let token = self.pkcs11_token.clone().context("name the token with --pkcs11-token LABEL")?;
        if self.pin_file.is_some() != self.pin_command.is_empty() {
            bail!("say with --pin-file FILE or with --pin-command WORD.. where the PIN comes from");
        }
        let pin_file = self.pin_file.as_deref().map(absolute).transpose()?;
        let (key, pin_command) = (self.pkcs11_key.clone(), self.pin_command.clone());
        Ok(config::Token { module: absolute(module)?, token, key, pin_file, pin_command })
    }
}

impl Ways {
    /// The way that is meant where none is named: that of what is given.
    pub(crate) fn meant(&self) -> Way {
        match self {
            _ if self.credential.is_some() => Way::Credential,
            _ if self.passphrase_file.is_some() => Way::Passphrase,
            _ if self.shares.is_some() => Way::Shares,
            _ if !self.custody_command.is_empty() => Way::Command,
            _ if self.token.is_named() => Way::Pkcs11,
            _ => Way::File,
        }
    }

    /// Draws or comes by the secret of a new custodian. What people keep is handed out here.
    pub(crate) fn make(&self, way: Way, entropy: &dyn Entropy) -> anyhow::Result<Made> {
        match way {
            Way::File | Way::Credential => {
                let path = self.root_key.as_deref().context("name the file to make with --root-key FILE")?;
                let (kind, opens) = match way {
                    Way::File => (Kind::File, Custody::File(absolute(path)?)),
                    _ => (Kind::Credential, Custody::Credential(self.credential_name()?)),
                };
                let secret = file::create(path, Path::new(""), entropy)?;
                Ok(Made { kind, secret, opens })
            }
            Way::Passphrase => {
                let kind = passphrase::kind(entropy);
                let typed = self.passphrase(true)?;
                passphrase::fit(&typed)?;
                Ok(Made { secret: passphrase::stretch(&typed, &kind)?, kind, opens: Custody::Unseal })
            }
            Way::Shares => self.make_shares(entropy),
            Way::Command => {
                let command = self.custody_command.clone();
                let secret = given::command(&command)?;
                if given::command(&command)?.expose() != secret.expose() {
                    bail!("{} gives another secret each time; a vault with it could not be opened again", command[0]);
                }
                Ok(Made { kind: Kind::Command, secret, opens: Custody::Command(command) })
            }
            Way::Pkcs11 => {
                let named = self.token.named()?;
                let token = compose::token(&named);
                if token.make_key()? {
                    say!("made the key {} in the token {}", named.key, named.token);
                }
                let kind = pkcs11::kind(entropy);
                Ok(Made { secret: token.secret(&kind)?, kind, opens: Custody::Pkcs11(named) })
            }
        }
    }

    pub(crate) fn credential_name(&self) -> anyhow::Result<String> {
        let name = self.credential.clone().context("name the credential with --credential NAME")?;
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            bail!("{name:?} is no name of a credential");
        }
        Ok(name)
    }

    /// A passphrase: the first line of a file or of standard input, or what is typed, twice where it is new.
    pub(crate) fn passphrase(&self, new: bool) -> anyhow::Result<Zeroizing<String>> {
        if let Some(path) = &self.passphrase_file {
            let line = first_line(path).with_context(|| path.display().to_string())?;
            if line.is_empty() {
                bail!("{}: there is no passphrase", path.display());
            }
            return Ok(line);
        }
        let typed = Zeroizing::new(rpassword::prompt_password("passphrase: ").context(
            "there is no terminal to ask for the passphrase; name a file with --passphrase-file, - for standard input",
        )?);
        if new && *Zeroizing::new(rpassword::prompt_password("once more: ")?) != *typed {
            bail!("the two are not the same");
        }
        Ok(typed)
    }

    fn make_shares(&self, entropy: &dyn Entropy) -> anyhow::Result<Made> {
        let (Some(count), Some(threshold)) = (self.shares, self.threshold) else {
            bail!("say with --shares N how many there are to be, and with --threshold K how many are enough");
        };
        let secret = CustodySecret::generate(entropy);
        let (kind, shares) = shares::split(&secret, (threshold, count), entropy)?;
        let mut gathered = Gathered::of(&kind)?;
        for share in shares.iter().rev().take(threshold.into()) {
            gathered.add(share.text().parse()?)?;
        }
        if gathered.secret()?.expose() != secret.expose() {
            bail!("the shares do not give the secret again; nothing was made");
        }
        self.hand_out(&shares)?;
        Ok(Made { kind, secret, opens: Custody::Unseal })
    }

    fn hand_out(&self, shares: &[Share]) -> anyhow::Result<()> {
        if let Some(folder) = &self.shares_dir {
            use std::os::unix::fs::DirBuilderExt as _;
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            for share in shares {
                let path = folder.join(format!("share-{}", share.index()));
                let mut line = share.text();
                line.push('\n');
                keyfile::write(&path, line.as_bytes(), 0o600, false)?;
            }
            say!(
                "each share is in a file of its own in {}: give each to another person, and remove it here",
                folder.display()
            );
            return Ok(());
        }
        if !std::io::stderr().is_terminal() {
            bail!("shares are shown at a terminal only; name a folder for them with --shares-dir DIR");
        }
        say!("These are shown once. Give each to another person:");
        for share in shares {
            say!("{}", *share.text());
        }
        Ok(())
    }

    /// Comes by the secret of one of these custodians again.
    pub(crate) fn again(
        &self,
        (way, files): (Way, &[PathBuf]),
        data_dir: &Path,
        custodians: &[Custodian],
    ) -> anyhow::Result<(CustodySecret, Custody)> {
        let kinds = custodians.iter().map(|custodian| &custodian.who.kind);
        let opens = match way {
            Way::Passphrase => {
                let typed = self.passphrase(false)?;
                let all = kinds.filter(|kind| matches!(kind, Kind::Passphrase { .. }));
                return fitting(all.map(|kind| Ok(passphrase::stretch(&typed, kind)?)), custodians, Custody::Unseal);
            }
            Way::Shares => {
                let all = kinds.filter(|kind| matches!(kind, Kind::Shares { .. })).collect::<Vec<_>>();
                let [kind] = all[..] else { bail!("{} custodians have shares; name another way", all.len()) };
                return Ok((gather(kind, files)?, Custody::Unseal));
            }
            Way::File => {
                let path =
                    self.root_key.as_deref().context("name a way to a custodian's secret, as --root-key FILE")?;
                Custody::File(path.canonicalize().with_context(|| path.display().to_string())?)
            }
            Way::Credential => Custody::Credential(self.credential_name()?),
            Way::Command => Custody::Command(self.custody_command.clone()),
            Way::Pkcs11 => Custody::Pkcs11(self.token.named()?),
        };
        let (secrets, _) = compose::secrets(&opens, data_dir, custodians)?.context("nothing opens it")?;
        fitting(secrets.into_iter().map(Ok), custodians, opens)
    }
}

/// The first secret that may be one of theirs; else what came of the last: whoever opens with it refuses it.
fn fitting(
    secrets: impl Iterator<Item = anyhow::Result<CustodySecret>>,
    custodians: &[Custodian],
    opens: Custody,
) -> anyhow::Result<(CustodySecret, Custody)> {
    let mut last = None;
    for secret in secrets {
        let fits = secret.as_ref().is_ok_and(|secret| custodians.iter().any(|custodian| custodian.fits(secret)));
        // One that cannot be had stands in the way of no other.
        if secret.is_ok() || last.is_none() {
            last = Some(secret);
        }
        if fits {
            break;
        }
    }
    Ok((last.context("no custodian comes by its secret in this way")??, opens))
}

/// The secret out of files with shares, a line each; `-` is standard input.
fn gather(kind: &Kind, files: &[PathBuf]) -> anyhow::Result<CustodySecret> {
    let mut gathered = Gathered::of(kind)?;
    for path in files {
        let text = Zeroizing::new(match path.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin())?,
            false => fs::read_to_string(path).with_context(|| path.display().to_string())?,
        });
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let added = line.parse::<Share>().and_then(|share| gathered.add(share));
            added.with_context(|| path.display().to_string())?;
        }
    }
    Ok(gathered.secret()?)
}

fn first_line(path: &Path) -> std::io::Result<Zeroizing<String>> {
    const LONGEST: u64 = 4096;
    let mut line = Zeroizing::new(String::with_capacity(LONGEST as usize));
    if path.as_os_str() == "-" {
        std::io::BufReader::new(std::io::stdin().take(LONGEST)).read_line(&mut line)?;
    } else {
        std::io::BufReader::new(fs::File::open(path)?.take(LONGEST)).read_line(&mut line)?;
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| path.display().to_string())?;
    if path.to_str().is_none() {
        bail!("{}: the path is not UTF-8", path.display());
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use nockvault::entropy::SeededEntropy;
    use nockvault::seal::custody::{Appointed, RootKey};

    use super::*;

    #[test]
    fn a_custodian_whose_secret_cannot_be_had_stands_in_the_way_of_no_other() {
        let (entropy, aud) = (SeededEntropy::new(3), nockvault::id::Aud::of_identity(&kid()));
        let secret = || CustodySecret::generate(&SeededEntropy::new(4));
        let who = Appointed { name: "ada".parse().unwrap(), kind: Kind::File, public: secret().public() };
        let custodians = [who.appoint(&RootKey::generate(&entropy), &aud, &entropy)];
        let dear = || Err(anyhow::anyhow!("it is too dear"));
        let other = || Ok(CustodySecret::generate(&SeededEntropy::new(5)));
        let of = |all: Vec<anyhow::Result<CustodySecret>>| {
            let found = fitting(all.into_iter(), &custodians, Custody::Unseal);
            found.map(|(secret, _)| *secret.expose()).map_err(|why| why.to_string())
        };
        let (wanted, wrong) =
            (Ok(*secret().expose()), other().map(|secret| *secret.expose()).map_err(|_: anyhow::Error| String::new()));
        assert_eq!(of(vec![dear(), Ok(secret()), dear()]), wanted);
        assert_eq!(of(vec![other(), dear()]), wrong);
        assert_eq!(of(vec![dear(), other()]), wrong);
        assert_eq!(of(vec![dear()]), Err("it is too dear".to_owned()));
        assert!(of(Vec::new()).is_err());
    }

    fn kid() -> nockvault::id::Kid {
        nockvault::crypto::signature::SigningKey::generate(&SeededEntropy::new(6)).kid()
    }
}
