//! `vaultctl approve`, `withdraw` and `approvals`: commands that more than one operator must want. And what a command of one's
//! own does with `--wait-approval`.

use std::sync::Mutex;

use anyhow::bail;
use clap::{Args, Subcommand};
use nockvault::authz::operator::word;
use nockvault::client::approval::{Awaiting, Told, Waiting};
use nockvault::client::operator::Operator;
use nockvault::crypto::hash::Digest;
use nockvault::statement::approval::{Approve as Approval, Withdraw as Withdrawal};
use serde_json::{Map, Value, json};

use crate::output::{As, Column, Output};
use crate::{Common, find};

/// Want a command that another operator gave and that waits. It is carried out when that operator gives it again.
///
/// What it says is shown; its name is the digest of exactly that. `vaultctl approvals list` says what waits.
#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Which: its name, or how that begins.
    #[arg(allow_hyphen_values = true)]
    command: String,
}

/// Take back a command that waits for approval: your own, or as an admin anybody's.
#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// Which: its name, or how that begins.
    #[arg(allow_hyphen_values = true)]
    command: String,
}

/// What waits for approval.
#[derive(Debug, Subcommand)]
pub(crate) enum Approvals {
    /// List what waits, oldest first.
    List,
    /// Show a command that waits, as it was signed.
    Show {
        /// Which: its name, or how that begins.
        #[arg(allow_hyphen_values = true)]
        command: String,
    },
}

const COLUMNS: &[Column] = &[
    ("COMMAND", "command", As::Plain),
    ("OPERATOR", "operator", As::Plain),
    ("KIND", "kind", As::Plain),
    ("ABOUT", "about", As::Brief),
    ("MISSING", "missing", As::Plain),
    ("APPROVED BY", "approvals", As::Plain),
    ("EXPIRES", "expires", As::Time),
];

/// How much of a name is typed at least.
const TYPED: usize = 6;

impl Approve {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let waiting = named(&operator, &self.command).await?;
        let body = crate::output::calm(&waiting.body.to_string());
        say!("{} wants {}: {body}", waiting.operator, word(&waiting.typ));
        say!("{} wants {}: {}", waiting.operator, word(&waiting.typ), crate::output::in_a_line(&waiting.body));
        let done = operator.command(Approval { command: waiting.command }).await?.result;
        match waiting.missing {
            0 | 1 => say!("approved; {} gives the same command again now, and it is carried out", waiting.operator),
            missing => say!("approved; {} more have to approve it", missing - 1),
        }
        output.one(&done)
    }
}

impl Withdraw {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let command = match self.command.parse::<Digest>() {
            Ok(whole) => whole,
            Err(_) => named(&operator, &self.command).await?.command,
        };
        let done = operator.command(Withdrawal { command }).await?.result;
        say!("it does not wait any more");
        output.one(&done)
    }
}

impl Approvals {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        match self {
            Approvals::List => {
                let items: Vec<_> = operator.waiting().await?.iter().map(shown).collect();
                output.list(&items, COLUMNS)
            }
            Approvals::Show { command } => output.one(&shown(&named(&operator, &command).await?)),
        }
    }
}

/// The command that waits whose name begins so.
async fn named(operator: &Operator, typed: &str) -> anyhow::Result<Waiting> {
    if typed.len() < TYPED {
        bail!("type at least {TYPED} characters of its name; `vaultctl approvals list` says what waits");
    }
    let mut found: Vec<Waiting> = operator.waiting().await?;
    found.retain(|one| one.command.to_string().starts_with(typed));
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => bail!("more than one command that waits is named so; type more of its name"),
        (None, _) => bail!("no command of this name waits; `vaultctl approvals list` says what does"),
    }
}

fn shown(waiting: &Waiting) -> Map<String, Value> {
    let Waiting { command, operator, typ, body, iat, expires, persons, missing, approvals } = waiting;
    let about = body.as_object().into_iter().flatten().filter_map(|(_, value)| value.as_str());
    let shown = json!({
        "about": about.collect::<Vec<_>>().join(" "),
        "approvals": approvals,
        "body": body,
        "command": command,
        "expires": expires,
        "iat": iat,
        "kind": word(typ),
        "missing": missing,
        "operator": operator,
        "persons": persons,
    });
    shown.as_object().cloned().unwrap_or_default()
}

/// The command that this process waits for, while it does.
static AWAITED: Mutex<Option<(Digest, String)>> = Mutex::new(None);

/// The command that this process waits for now, and until when it waits at the vault.
pub(crate) fn awaited() -> Option<(Digest, String)> {
    AWAITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// Says how it stands while a command waits.
pub(crate) fn told() -> Told {
    Told::by(|what| {
        let mut awaited = AWAITED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match what {
            Awaiting::Waits(waiting) => {
                let Waiting { command, expires, missing, approvals, .. } = waiting;
                if awaited.is_none() {
                    say!("it waits until {expires}; another operator says: vaultctl approve {command}");
                } else {
                    say!("approved by {}", approvals.join(", "));
                }
                say!("{missing} more to approve it; Ctrl-C stops waiting");
                *awaited = Some((*command, expires.to_string()));
            }
            Awaiting::Again => {
                *awaited = None;
                say!("enough operators want it; it is given again");
            }
        }
    })
}

/// Until Ctrl-C, where it is waited for others; for ever, where it is not.
pub(crate) async fn interrupted(common: &Common) {
    if !common.wait_approval || tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Says what is left where somebody stopped waiting.
pub(crate) fn given_up() {
    if let Some((command, expires)) = awaited() {
        crate::output::fault(&format!(
            "vaultctl: it waits at the vault until {expires}; the very same command again goes on with it, and `vaultctl withdraw \
             {command}` takes it back"
        ));
    }
}

/// A file that is of use only if the command is carried out: it goes where somebody stops waiting for approval.
#[derive(Debug)]
pub(crate) struct Meanwhile<'a>(pub(crate) Option<&'a std::path::Path>);

impl Drop for Meanwhile<'_> {
    fn drop(&mut self) {
        // Nothing is under way while it is waited: what was made opens nothing.
        if let (Some(path), true) = (self.0, awaited().is_some())
            && std::fs::remove_file(path).is_ok()
        {
            crate::output::fault(&format!("vaultctl: {} is of no use now and was removed", path.display()));
        }
    }
}
