//! How somebody gives what a custodian holds, over the unix socket alone: to unseal, or to have an operator made. A vault that
//! was sealed by command is not opened by its own custody either, so there is a way for each kind.

use std::io::{BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use nockvault::client::custody::{Custody, Newcomer};
use nockvault::client::fault::Fault;
use nockvault::entropy::OsEntropy;
use nockvault::id::CustodianName;
use nockvault::seal::custody::purpose::Purpose;
use nockvault::seal::custody::shares::Share;
use nockvault::seal::custody::{CustodySecret, given, passphrase};
use nockvault::secret::SecretBytes;
use nockvault::server::compose;
use nockvault::statement::card::Card;
use nockvault::statement::custody::Kind;
use nockvault::wire::v1::{Custodian, RecoverResponse};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::output::Output;
use crate::ways::{TokenWay, check_programs, first_line};

/// After a wrong contribution the daemon takes none for a second.
const PACE: Duration = Duration::from_millis(1100);

/// What is given.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// The custodian. Without it, the only one that what is given can be of.
    #[arg(value_name = "CUSTODIAN")]
    custodian: Option<CustodianName>,
    /// Give the 32 bytes of this file, or its 64 hexadecimal digits.
    #[arg(long, value_name = "FILE", group = "given")]
    root_key: Option<PathBuf>,
    /// Give the passphrase that is the first line of this file, - for standard input.
    #[arg(long, value_name = "FILE", group = "given")]
    passphrase_file: Option<PathBuf>,
    /// Give the shares in this file, a line each, - for standard input.
    #[arg(long, value_name = "FILE", group = "given")]
    share_file: Option<PathBuf>,
    /// Give what this program prints, run without a shell: 32 bytes or 64 hexadecimal digits. All words up to ';' in quotes,
    /// or to the end of the line, are the program's.
    #[arg(
        long,
        value_name = "WORD",
        num_args = 1..,
        allow_hyphen_values = true,
        value_terminator = ";",
        group = "given"
    )]
    custody_command: Vec<String>,
    /// Have the shares forgotten that were given until now.
    #[arg(long, conflicts_with = "given")]
    reset: bool,
    #[command(flatten)]
    token: TokenWay,
}

/// What it is given for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum For<'a> {
    /// To unseal.
    Unsealing,
    /// To have this operator made.
    Making(&'a Newcomer),
}

impl For<'_> {
    fn purpose(self) -> Purpose {
        match self {
            For::Unsealing => Purpose::Unseal,
            For::Making(newcomer) => newcomer.purpose(),
        }
    }

    /// The command by which it is given.
    fn command(self) -> &'static str {
        match self {
            For::Unsealing => "unseal",
            For::Making(_) => "recover",
        }
    }
}

impl Given {
    /// Gives it, and shows what came of it.
    pub(crate) async fn give(self, what_for: For<'_>, card: &Card, output: &Output) -> anyhow::Result<()> {
        check_programs(&[what_for.command()])?;
        let custody = Custody::connect(card).await?;
        let named = self.custodian.as_ref().map(CustodianName::as_str).unwrap_or_default();
        if self.reset {
            let withdrawn = custody.withdraw(named).await?;
            return output.one(&object(json!({ "withdrawn": withdrawn })));
        }
        let known = custody.read_for(what_for.purpose()).await?;
        if known.aud != card.aud.to_string() {
            bail!("the daemon at {} serves another vault, {}; nothing was given to it", card.operators, known.vault);
        }
        let desk = Desk { custody: &custody, what_for, known: &known.custodians, named, output };
        match self {
            Given { root_key: Some(path), .. } => {
                let bytes = Zeroizing::new(std::fs::read(&path).with_context(|| path.display().to_string())?);
                let secret = given::read(&bytes);
                let secret =
                    secret.with_context(|| format!("{} holds neither 32 bytes nor 64 digits", path.display()))?;
                desk.secret(named, &secret).await
            }
            Given { custody_command, .. } if !custody_command.is_empty() => {
                desk.secret(named, &given::command(&custody_command)?).await
            }
            Given { passphrase_file: Some(path), .. } => {
                let (name, kind) = desk.one("passphrase")?;
                desk.passphrase(&name, &kind, &first_line(&path)?).await
            }
            Given { share_file: Some(path), .. } => {
                let lines = lines(&path)?;
                if lines.is_empty() {
                    bail!("{}: the file holds no share", path.display());
                }
                let (name, _) = desk.one("shares")?;
                desk.shares(&name, &lines).await
            }
            Given { token, .. } if token.is_named() => {
                let (name, kind) = desk.one("pkcs11")?;
                desk.secret(&name, &compose::token(&token.named()?).secret(&kind)?).await
            }
            _ => desk.ask().await,
        }
    }
}

/// What is said to the daemon, and about whom.
struct Desk<'a> {
    custody: &'a Custody,
    what_for: For<'a>,
    known: &'a [Custodian],
    named: &'a str,
    output: &'a Output,
}

impl Desk<'_> {
    /// The custodian of this kind that was named, or the only one.
    fn one(&self, kind: &str) -> anyhow::Result<(String, Kind)> {
        let fits = |known: &&Custodian| known.kind == kind && (self.named.is_empty() || known.name == self.named);
        let found: Vec<_> = self.known.iter().filter(fits).collect();
        match found.as_slice() {
            [one] => Ok((one.name.clone(), serde_json::from_str(&one.parameters).context("the custodian's record")?)),
            [] => bail!("the vault has no such custodian of the kind {kind}; it has {}", self.names()),
            _ => bail!("there is more than one custodian of the kind {kind}; name one of {}", self.names()),
        }
    }

    fn names(&self) -> String {
        let names = self.known.iter().map(|known| format!("{} ({})", known.name, known.kind));
        names.collect::<Vec<_>>().join(", ")
    }

    /// Asks at the terminal for what the custodian wants.
    async fn ask(&self) -> anyhow::Result<()> {
        let asked = |known: &&Custodian| {
            ["passphrase", "shares"].contains(&known.kind.as_str())
                && (self.named.is_empty() || known.name == self.named)
        };
        let found: Vec<_> = self.known.iter().filter(asked).collect();
        let [one] = found.as_slice() else {
            bail!(
                "say which custodian, or give --root-key FILE, --custody-command PROGRAM or --pkcs11-module FILE; the vault \
                 has {}",
                self.names()
            );
        };
        if !std::io::stdin().is_terminal() {
            bail!("there is no terminal to ask at; give --passphrase-file - or --share-file -");
        }
        let (name, kind) = self.one(&one.kind)?;
        if one.kind == "passphrase" {
            let typed = Zeroizing::new(rpassword::prompt_password(format!("passphrase of {name}: "))?);
            return self.passphrase(&name, &kind, &typed).await;
        }
        let (mut given, needed) = (one.contributed.len(), one.threshold);
        loop {
            let prompt =
                format!("share of {name} ({given} of {needed} given; an empty line leaves the rest to others): ");
            let typed = Zeroizing::new(rpassword::prompt_password(prompt)?);
            if typed.trim().is_empty() {
                return Ok(());
            }
            // One that is mistyped is typed again, and loses nothing.
            match self.share(&name, &typed).await {
                Ok(true) => return Ok(()),
                Ok(false) => given += 1,
                Err(why) => {
                    say!("{why:#}");
                    if why.downcast_ref::<Fault>().is_some() {
                        tokio::time::sleep(PACE).await;
                    }
                }
            }
        }
    }

    async fn passphrase(&self, name: &str, kind: &Kind, typed: &str) -> anyhow::Result<()> {
        say!("stretching the passphrase");
        self.secret(name, &passphrase::stretch(typed, kind)?).await
    }

    async fn secret(&self, name: &str, secret: &CustodySecret) -> anyhow::Result<()> {
        let came = self.contribute(name, &SecretBytes::new(secret.expose().to_vec())).await?;
        self.done(&came)
    }

    /// What came of a contribution.
    async fn contribute(&self, name: &str, bytes: &SecretBytes) -> Result<Came, Fault> {
        Ok(match self.what_for {
            For::Unsealing => {
                let came = self.custody.unseal(name, bytes, &OsEntropy).await?;
                let done = came.unsealed.then_some(Done::Unsealed);
                Came { done, contributed: came.contributed, threshold: came.threshold }
            }
            For::Making(newcomer) => {
                let came = self.custody.recover(newcomer, name, bytes, &OsEntropy).await?;
                let (contributed, threshold) = (came.contributed.clone(), came.threshold);
                Came { done: came.recovered.then_some(Done::Made(Box::new(came))), contributed, threshold }
            }
        })
    }

    async fn shares(&self, name: &str, lines: &[Zeroizing<String>]) -> anyhow::Result<()> {
        for line in lines {
            if self.share(name, line).await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether it was the last that was needed.
    async fn share(&self, name: &str, text: &str) -> anyhow::Result<bool> {
        // One that is mistyped is told here, and costs nobody a second.
        text.trim().parse::<Share>()?;
        let bytes = SecretBytes::new(text.trim().as_bytes().to_vec());
        let came = self.contribute(name, &bytes).await?;
        if came.done.is_some() {
            self.done(&came)?;
            return Ok(true);
        }
        say!("{} of {}", came.contributed.len(), came.threshold);
        let mut told = object(json!({ "contributed": came.contributed, "custodian": name, "needed": came.threshold }));
        let (state, value) = match self.what_for {
            For::Unsealing => ("sealed", true),
            For::Making(_) => ("recovered", false),
        };
        told.insert(state.to_owned(), value.into());
        self.output.one(&told)?;
        Ok(false)
    }

    fn done(&self, came: &Came) -> anyhow::Result<()> {
        let Some(Done::Made(made)) = &came.done else {
            say!("The vault is unsealed.");
            return self.output.one(&object(json!({ "sealed": false })));
        };
        let RecoverResponse { operator, kid, custodian, seq, contributed, .. } = &**made;
        say!(
            "{operator} is an admin now; entry {seq} of _operators says that the custodian {custodian} made it so. Next, as \
             {operator}: vaultctl operator list, and vaultctl operator end NAME for each whose keys are lost"
        );
        self.output.one(&object(json!({
            "custodian": custodian, "kid": kid, "operator": operator, "recovered": true, "seq": seq, "shares": contributed,
        })))
    }
}

/// What came of a contribution.
struct Came {
    done: Option<Done>,
    contributed: Vec<u32>,
    threshold: u32,
}

/// What it completed.
enum Done {
    Unsealed,
    Made(Box<RecoverResponse>),
}

fn object(value: Value) -> Map<String, Value> {
    crate::audit::object(value)
}

fn lines(path: &Path) -> anyhow::Result<Vec<Zeroizing<String>>> {
    let whole = if path == Path::new("-") {
        let mut all = Vec::new();
        for line in std::io::stdin().lock().lines() {
            all.push(Zeroizing::new(line?));
        }
        all
    } else {
        let text = Zeroizing::new(std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
        text.lines().map(|line| Zeroizing::new(line.to_owned())).collect()
    };
    Ok(whole.into_iter().filter(|line| !line.trim().is_empty()).collect())
}
