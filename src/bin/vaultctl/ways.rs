//! Ways to a custodian's secret, as an operator names them: made anew for `init` and `custody add`, or come by again for
//! `restore`. No secret is an argument: it is typed, read from a file or from standard input, drawn here, or given by a
//! program or a token.

use std::fs;
use std::io::{BufRead as _, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
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
    /// passphrase: the file of mode 0600 whose first line it is, - for standard input; without it, it is asked for at the
    /// terminal.
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
    /// All words up to ';' in quotes, or to the end of the line, are the program's.
    #[arg(long, value_name = "WORD", num_args = 1.., allow_hyphen_values = true, value_terminator = ";")]
    pub(crate) custody_command: Vec<String>,
    #[command(flatten)]
    pub(crate) token: TokenWay,
}

/// The key's label where none is given.
const TOKEN_KEY: &str = "nockvault-root";

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
    #[arg(long, value_name = "LABEL", default_value = TOKEN_KEY)]
    pkcs11_key: String,
    /// pkcs11: the file with the PIN, of mode 0600.
    #[arg(long, value_name = "FILE")]
    pin_file: Option<PathBuf>,
    /// pkcs11: the program that prints the PIN, with its arguments. All words up to ';' in quotes, or to the end of the line,
    /// are the program's.
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
    /// The files that were made for it. They open nothing where it becomes no custodian.
    pub(crate) files: Vec<PathBuf>,
}

impl Made {
    fn new(kind: Kind, secret: CustodySecret, opens: Custody) -> Made {
        Made { kind, secret, opens, files: Vec::new() }
    }
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
        let (key, pin_command) = (self.pkcs11_key.clone(), found_anywhere(&self.pin_command)?);
        Ok(config::Token { module: absolute(module)?, token, key, pin_file, pin_command })
    }
}

impl Ways {
    /// The options that were given, each with the ways that it is for.
    fn given(&self) -> Vec<(&'static str, &'static [Way])> {
        let token = &self.token;
        let all: [(&'static str, bool, &'static [Way]); 12] = [
            ("--root-key", self.root_key.is_some(), &[Way::File, Way::Credential]),
            ("--passphrase-file", self.passphrase_file.is_some(), &[Way::Passphrase]),
            ("--shares", self.shares.is_some(), &[Way::Shares]),
            ("--threshold", self.threshold.is_some(), &[Way::Shares]),
            ("--shares-dir", self.shares_dir.is_some(), &[Way::Shares]),
            ("--credential", self.credential.is_some(), &[Way::Credential]),
            ("--custody-command", !self.custody_command.is_empty(), &[Way::Command]),
            ("--pkcs11-module", token.is_named(), &[Way::Pkcs11]),
            ("--pkcs11-token", token.pkcs11_token.is_some(), &[Way::Pkcs11]),
            ("--pkcs11-key", token.pkcs11_key != TOKEN_KEY, &[Way::Pkcs11]),
            ("--pin-file", token.pin_file.is_some(), &[Way::Pkcs11]),
            ("--pin-command", !token.pin_command.is_empty(), &[Way::Pkcs11]),
        ];
        all.into_iter().filter(|(_, given, _)| *given).map(|(option, _, ways)| (option, ways)).collect()
    }

    /// The way that is meant where none is named: the first that all of what is given is for. Where there is none, it is
    /// that of the first option, and [`Ways::check`] names the other one.
    pub(crate) fn meant(&self) -> Way {
        let given = self.given();
        let fits = |way: &Way| given.iter().all(|(_, ways)| ways.contains(way));
        let first = given.first().map(|(_, ways)| ways[0]);
        Way::value_variants().iter().copied().find(fits).or(first).unwrap_or(Way::File)
    }

    /// Refuses what would be passed over in silence: options of another way, and options of `vaultctl`'s that went to a
    /// program. `command` is the command that was typed.
    pub(crate) fn check(&self, way: Way, command: &[&str]) -> anyhow::Result<()> {
        match self.given().into_iter().find(|(_, ways)| !ways.contains(&way)) {
            Some((option, ways)) => Err(foreign(option, ways, way)),
            None => check_programs(command),
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
                Ok(Made { kind, secret, opens, files: vec![path.to_owned()] })
            }
            Way::Passphrase => {
                let kind = passphrase::kind(entropy);
                let typed = self.passphrase(true)?;
                passphrase::fit(&typed)?;
                let secret = passphrase::stretch(&typed, &kind)?;
                Ok(Made::new(kind, secret, Custody::Unseal))
            }
            Way::Shares => self.make_shares(entropy),
            Way::Command => {
                let command = found_anywhere(&self.custody_command)?;
                let secret = given::command(&command)?;
                if given::command(&command)?.expose() != secret.expose() {
                    bail!("{} gives another secret each time; a vault with it could not be opened again", command[0]);
                }
                Ok(Made::new(Kind::Command, secret, Custody::Command(command)))
            }
            Way::Pkcs11 => {
                let named = self.token.named()?;
                let token = compose::token(&named);
                if token.make_key()? {
                    say!("made the key {} in the token {}", named.key, named.token);
                }
                let kind = pkcs11::kind(entropy);
                let secret = token.secret(&kind)?;
                Ok(Made::new(kind, secret, Custody::Pkcs11(named)))
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
            return first_line(path);
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
        let files = self.hand_out(&shares)?;
        Ok(Made { kind, secret, opens: Custody::Unseal, files })
    }

    /// Gives the shares to whoever typed the command, and says in which files they are.
    fn hand_out(&self, shares: &[Share]) -> anyhow::Result<Vec<PathBuf>> {
        if let Some(folder) = &self.shares_dir {
            let files = write_shares(shares, folder)?;
            say!(
                "each share is in a file of its own in {}: give each to another person, and remove it here",
                folder.display()
            );
            return Ok(files);
        }
        if !std::io::stderr().is_terminal() {
            bail!("shares are shown at a terminal only; name a folder for them with --shares-dir DIR");
        }
        say!("These are shown once. Give each to another person:");
        for share in shares {
            say!("{}", *share.text());
        }
        Ok(Vec::new())
    }

    /// Comes by the secret of one of these custodians again.
    pub(crate) fn again(
        &self,
        (way, files): (Way, &[PathBuf]),
        data_dir: &Path,
        custodians: &[Custodian],
    ) -> anyhow::Result<(CustodySecret, Custody)> {
        self.check(way, &["restore"])?;
        if way != Way::Shares && !files.is_empty() {
            return Err(foreign("--share-file", &[Way::Shares], way));
        }
        let kinds = custodians.iter().map(|custodian| &custodian.who.kind);
        let opens = match way {
            Way::Passphrase => {
                let all = kinds.filter(|kind| matches!(kind, Kind::Passphrase { .. })).collect::<Vec<_>>();
                if all.is_empty() {
                    // Nobody is asked for what opens nothing.
                    return Err(none_fits(custodians));
                }
                let typed = self.passphrase(false)?;
                let secrets =
                    all.into_iter().map(|kind| passphrase::stretch(&typed, kind).map_err(anyhow::Error::from));
                return fitting(secrets, custodians, Custody::Unseal);
            }
            Way::Shares => {
                let all = kinds.filter(|kind| matches!(kind, Kind::Shares { .. })).collect::<Vec<_>>();
                let [kind] = all[..] else {
                    bail!(
                        "{} custodians have shares; name another way: the backup has {}",
                        all.len(),
                        shown(custodians)
                    )
                };
                return Ok((gather(kind, files)?, Custody::Unseal));
            }
            Way::File => {
                let path =
                    self.root_key.as_deref().context("name a way to a custodian's secret, as --root-key FILE")?;
                Custody::File(path.canonicalize().with_context(|| path.display().to_string())?)
            }
            Way::Credential => Custody::Credential(self.credential_name()?),
            Way::Command => Custody::Command(found_anywhere(&self.custody_command)?),
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
    Ok((last.ok_or_else(|| none_fits(custodians))??, opens))
}

fn none_fits(custodians: &[Custodian]) -> anyhow::Error {
    anyhow!("no custodian comes by its secret in this way; the backup has {}", shown(custodians))
}

/// Custodians, each with its kind.
fn shown(custodians: &[Custodian]) -> String {
    let each = custodians.iter().map(|one| format!("{} ({})", one.who.name, one.who.kind.name()));
    each.collect::<Vec<_>>().join(", ")
}

/// That an option does not go with this way.
fn foreign(option: &str, ways: &[Way], way: Way) -> anyhow::Error {
    let word = |way: &Way| way.to_possible_value().map(|word| word.get_name().to_owned()).unwrap_or_default();
    anyhow!(
        "{option} is for a custodian of the kind {}, and this one is of the kind {}; leave out what is not meant",
        ways.iter().map(word).collect::<Vec<_>>().join(" or "),
        word(&way)
    )
}

/// The options whose words are a program and its arguments.
const PROGRAMS: [&str; 2] = ["--custody-command", "--pin-command"];

/// Refuses words of a program's that are options of this command too: behind a program they go to it, which is seldom meant.
/// Whether `;` ended the words, so that each of them is meant, only the command line itself says.
pub(crate) fn check_programs(command: &[&str]) -> anyhow::Result<()> {
    let typed: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = crate::command_line();
    let known = command.iter().try_fold(&line, |at, name| at.find_subcommand(name));
    let own: Vec<&str> =
        known.into_iter().flat_map(|known| known.get_arguments()).filter_map(|option| option.get_long()).collect();
    if let Some((program, option)) = taken(&typed, &own) {
        bail!(
            "behind {program}, --{option} would go to the program, and vaultctl has an option of this name: put it in front of \
             {program}, or write ';' (in quotes) where the program's words end"
        );
    }
    Ok(())
}

/// The first of the options `own` behind a program whose words no `;` ends, and the option that the program is for.
fn taken<'a>(typed: &'a [String], own: &[&str]) -> Option<(&'a str, &'a str)> {
    let at = typed.iter().position(|word| PROGRAMS.contains(&word.as_str()))?;
    let words = &typed[at + 1..];
    if let Some(end) = words.iter().position(|word| word == ";") {
        return taken(&words[end + 1..], own);
    }
    let options = words.iter().filter_map(|word| word.strip_prefix("--"));
    let mut names = options.map(|option| option.split_once('=').map_or(option, |(name, _)| name));
    names.find(|name| own.contains(name)).map(|name| (typed[at].as_str(), name))
}

/// A program's words, with its path from the root on where it has one: the daemon starts in another folder. What is a bare
/// name is looked for in PATH.
fn found_anywhere(words: &[String]) -> anyhow::Result<Vec<String>> {
    let mut words = words.to_vec();
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        *program = absolute(Path::new(program.as_str()))?.display().to_string();
    }
    Ok(words)
}

/// Writes each share into a file of its own. None is replaced: it may be of another custodian.
fn write_shares(shares: &[Share], folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    use std::os::unix::fs::DirBuilderExt as _;
    let files: Vec<PathBuf> = shares.iter().map(|share| folder.join(format!("share-{}", share.index()))).collect();
    if let Some(file) = files.iter().find(|file| file.symlink_metadata().is_ok()) {
        bail!("{} is there already, and may be of another custodian; name another folder", file.display());
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(|| folder.display().to_string())?;
    for (done, (share, file)) in shares.iter().zip(&files).enumerate() {
        let mut line = share.text();
        line.push('\n');
        if let Err(why) = keyfile::write(file, line.as_bytes(), 0o600, false) {
            take_away(&files[..done]);
            return Err(why.into());
        }
    }
    Ok(files)
}

/// Removes files that were made a moment ago for a custodian that there is not: they open nothing.
pub(crate) fn take_away(files: &[PathBuf]) {
    let gone = files.iter().filter(|file| fs::remove_file(file).is_ok());
    let gone: Vec<String> = gone.map(|file| file.display().to_string()).collect();
    if !gone.is_empty() {
        say!("what was made opens nothing and was removed: {}", gone.join(", "));
    }
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

/// The passphrase that is the first line of this file, which is closed to others, or of standard input.
pub(crate) fn first_line(path: &Path) -> anyhow::Result<Zeroizing<String>> {
    const LONGEST: u64 = 4096;
    let mut line = Zeroizing::new(String::with_capacity(LONGEST as usize));
    let at = || path.display().to_string();
    if path.as_os_str() == "-" {
        std::io::BufReader::new(std::io::stdin().take(LONGEST)).read_line(&mut line).with_context(at)?;
    } else {
        let file = fs::File::open(path).with_context(at)?;
        keyfile::closed_to_others(&file, path)?;
        std::io::BufReader::new(file.take(LONGEST)).read_line(&mut line).with_context(at)?;
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    if line.is_empty() {
        bail!("{} holds no passphrase", at());
    }
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

    #[test]
    fn an_option_of_ours_goes_to_no_program_unless_the_words_are_ended() {
        let taken_of = |line: &str| {
            let typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
            super::taken(&typed, &["dir", "output"]).map(|(program, option)| format!("{program} {option}"))
        };
        for (line, wanted) in [
            ("init --custody-command prog --dir x", Some("--custody-command dir")),
            ("init --custody-command prog --dir=x", Some("--custody-command dir")),
            ("init --custody-command prog ; --pin-command prog a --output b", Some("--pin-command output")),
            ("init --custody-command prog ; --dir x", None),
            ("init --custody-command prog --output text ; --dir x", None),
            ("init --dir x --custody-command prog --directory -o dir", None),
            ("init --dir x", None),
        ] {
            assert_eq!(taken_of(line).as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn a_program_is_named_from_the_root_on() {
        let found = |words: &[&str]| {
            found_anywhere(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap().join(" ")
        };
        assert_eq!(found(&["cat", "a/b"]), "cat a/b");
        assert_eq!(found(&["/bin/cat", "x"]), "/bin/cat x");
        let rooted = std::env::current_dir().unwrap().join("prog");
        assert_eq!(found(&["./prog", "x"]), format!("{} x", rooted.display()));
        assert_eq!(found(&[]), "");
    }

    fn kid() -> nockvault::id::Kid {
        nockvault::crypto::signature::SigningKey::generate(&SeededEntropy::new(6)).kid()
    }
}
