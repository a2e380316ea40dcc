//! `vaultctl operator`: who commands the vault, with which duty and which keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, Stored};
use nockvault::client::operator::Operator as Connection;
use nockvault::client::signer::{Held, Identity};
use nockvault::crypto::envelope::Embedded;
use nockvault::denial::Reason;
use nockvault::id::{Kid, OperatorName, RoleName};
use nockvault::statement::card::Card;
use nockvault::statement::operator::{
    Duty, OperatorDuty, OperatorKeyEnd, OperatorList, OperatorRegister, OperatorRotate, OperatorShow,
};
use nockvault::statement::register::{Holder, Register};
use nockvault::time::{Clock as _, SystemClock, Timestamp};
use serde_json::{Map, Value, json};

use crate::audit::object;
use crate::contexts::chosen;
use crate::find::Place;
use crate::output::{As, Column, Output};
use crate::rotate::{Files, begin, resumed};
use crate::when::{self, When};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Operator {
    /// Register an operator with a duty, by the statement that `vaultctl keygen --operator NAME` wrote; or a further key of
    /// an operator, without a duty.
    Add {
        /// The register statement, NAME.register; - reads it from standard input. A bare name that is not here is looked for
        /// where keygen writes.
        file: PathBuf,
        #[command(flatten)]
        duty: OptionalDuty,
    },
    /// List the operators, those who are out too.
    List,
    /// Show one operator: its duty and its keys.
    Show {
        /// The operator.
        name: OperatorName,
    },
    /// Give an operator another duty.
    Duty {
        /// The operator.
        name: OperatorName,
        /// What it may do from here on.
        #[arg(value_enum)]
        duty: Word,
        /// A role that a grantor may grant; once for each.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<RoleName>,
    },
    /// End all keys of an operator, who is out then, or one of them. What they sign is refused from here on.
    ///
    /// A vault keeps at least one admin with a key.
    End {
        /// The operator.
        name: OperatorName,
        /// One key only; without it all end, also those that a thief brought by rotation.
        #[arg(long, allow_hyphen_values = true)]
        kid: Option<Kid>,
        /// Since when it may have been in wrong hands: RFC 3339, a date for its beginning in UTC, or how long ago, for
        /// example 6h. It is for readers of the trail; the end itself is now.
        #[arg(long, value_name = "TIME", value_parser = when::since)]
        suspect_from: Option<When>,
    },
    /// Make your own next key, sign with both, and put it in the old one's place. The old one is accepted for the overlap.
    ///
    /// It is kept in the folder `rotated` beside it. Where an answer was lost, the same command again goes on.
    Rotate,
}

/// What an operator may do: admin (everything), grantor (grants of named roles, new agents), auditor (reads only) or
/// responder (freezes, revokes, ends agents' keys, seals).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Word {
    /// Everything.
    Admin,
    /// Grants of the roles named with --role, and new agents. Reads.
    Grantor,
    /// Reads only.
    Auditor,
    /// Freezes, revokes leases, ends agents' keys, seals. Reads.
    Responder,
}

#[derive(Debug, Args)]
pub(crate) struct OptionalDuty {
    /// What a new operator may do.
    #[arg(long, value_enum)]
    duty: Option<Word>,
    /// A role that a grantor may grant; once for each.
    #[arg(long = "role", value_name = "ROLE", requires = "duty")]
    roles: Vec<RoleName>,
}

const COLUMNS: &[Column] = &[
    ("OPERATOR", "operator", As::Plain),
    ("DUTY", "duty", As::Plain),
    ("ROLES", "roles", As::Brief),
    ("OUT", "out", As::Plain),
    ("KVER", "kver", As::Plain),
    ("SINCE", "since", As::Time),
    ("KID", "kid", As::Plain),
];

/// The duty of this word.
fn duty(word: Word, roles: Vec<RoleName>) -> anyhow::Result<Duty> {
    match (word, roles.is_empty()) {
        (Word::Grantor, true) => bail!("a grantor is named the roles that it may grant: --role orders-read --role .."),
        (Word::Grantor, false) => Ok(Duty::Grantor { roles: roles.into_iter().collect() }),
        (_, false) => bail!("only a grantor is named roles"),
        (Word::Admin, true) => Ok(Duty::Admin),
        (Word::Auditor, true) => Ok(Duty::Auditor),
        (Word::Responder, true) => Ok(Duty::Responder),
    }
}

impl Operator {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Operator::Add { file, duty } => add(&file, duty, common, output).await,
            Operator::Rotate => rotate(common, output).await,
            Operator::List => {
                let result = find::connect(common).await?.command(OperatorList {}).await?.result;
                let items = result.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                let items: Vec<Map<String, Value>> = items.into_iter().map(object).collect();
                output.list(&items, COLUMNS)
            }
            Operator::Show { name } => {
                let shown = find::connect(common).await?.command(OperatorShow { operator: name }).await?;
                output.one(&shown.result)
            }
            Operator::Duty { name, duty: word, roles } => {
                let body = OperatorDuty { duty: duty(word, roles)?, operator: name };
                output.one(&find::connect(common).await?.command(body).await?.result)
            }
            Operator::End { name, kid, suspect_from } => {
                let suspect_from = suspect_from.map(When::at);
                if let Some(later) = suspect_from.filter(|from| *from > SystemClock.now()) {
                    bail!("--suspect-from {later} has not come yet; a key ends when it is said, which is now");
                }
                match &kid {
                    Some(kid) => say!("ending key {kid} of operator {name}; its other keys stay as they are"),
                    None => say!("ending every key of operator {name}"),
                }
                let body = OperatorKeyEnd { operator: name, kid, suspect_from };
                output.one(&find::connect(common).await?.command(body).await?.result)
            }
        }
    }
}

/// A bare name that is not here is looked for where `vaultctl keygen --operator` writes.
fn where_it_is(file: &Path, card: &Card) -> anyhow::Result<PathBuf> {
    let bare = file.file_name().is_some_and(|name| file.as_os_str() == name);
    if !bare || file.symlink_metadata().is_ok() {
        return Ok(file.to_owned());
    }
    let there = find::config_dir()?.join(card.name.as_str()).join(file);
    Ok(if there.symlink_metadata().is_ok() { there } else { file.to_owned() })
}

/// An operator's statement in a file, or on standard input, for the vault of this card.
pub(crate) fn newcomer(file: &Path, card: &Card) -> anyhow::Result<(Embedded, Register, OperatorName)> {
    let (statement, read) = if file == Path::new("-") {
        let text = std::io::read_to_string(std::io::stdin())?;
        keyfile::parse_register(&text).map_err(|why| anyhow::anyhow!("standard input {why}"))?
    } else {
        keyfile::read_register(&where_it_is(file, card)?)?
    };
    let shown = file.display();
    let Holder::Operator(name) = read.holder.clone() else {
        bail!("{shown}: this statement is of an {}, not of an operator; vaultctl agent register takes it", read.holder);
    };
    if read.aud != card.aud {
        bail!(
            "{shown}: this statement is for the vault {}, the card is of {} ({}); make it anew with vaultctl keygen --vault \
             CARD --operator {name}",
            read.aud,
            card.aud,
            card.name
        );
    }
    Ok((statement, read, name))
}

async fn add(file: &Path, given: OptionalDuty, common: &Common, output: &Output) -> anyhow::Result<()> {
    let card = find::card(common)?;
    let (statement, read, name) = newcomer(file, &card)?;
    let duty = match (given.duty, read.kver) {
        (Some(word), 1) => Some(duty(word, given.roles)?),
        (None, 1) => bail!("say what {name} may do: --duty admin, grantor, auditor or responder"),
        (None, _) => None,
        (Some(_), _) => {
            bail!(
                "this is key number {} of {name}, whose duty stays; vaultctl operator duty {name} changes it",
                read.kver
            )
        }
    };
    let operator = find::awaiting(common, Connection::connect(&card, find::operator(common, &card)?).await?);
    let done = operator.command(OperatorRegister { duty, register: statement }).await?;
    say!("registered {}, key {} (kver {})", read.holder, read.pk.kid(), read.kver);
    output.one(&done.result)
}

/// Puts the caller's own next key in place. The files go the way of an agent's, in a folder of their own: see [`Files`].
async fn rotate(common: &Common, output: &Output) -> anyhow::Result<()> {
    let card = find::card(common)?;
    let old = find::operator(common, &card)?;
    let file = match find::key_place(&chosen(common)?, &card)?.place {
        Place::File(file) if matches!(keyfile::read_stored(&file)?, Stored::Open(_)) => file,
        _ => bail!(
            "this key is behind a passphrase or in an ssh-agent, and its successor is to be so too. Make that with vaultctl keygen \
             --operator {name} --follows {kid}/{kver} --dir next and --passphrase or --from-ssh-agent; an admin types vaultctl \
             operator add next/{name}.register",
            name = old.name,
            kid = old.kid(),
            kver = old.kver
        ),
    };
    let files = Files::apart(&file)?;
    let holder = Holder::Operator(old.name.clone());
    let begun = files.next.symlink_metadata().is_ok();
    let (key, kver) = if begun { resumed(&files)? } else { begin(&holder, &card, (old.kid(), old.kver), &files)? };
    let (register, _) = keyfile::read_register(&files.next.with_extension(keyfile::REGISTER))
        .or_else(|_| keyfile::read_register(&files.now.with_extension(keyfile::REGISTER)))?;
    let next = Identity { name: old.name.clone(), signer: Arc::new(Held::new(key)), kver };
    let grace = if begun && taken(&card, next).await? {
        say!("an earlier run has brought key number {kver}; its files take their places");
        None
    } else {
        let operator = Connection::connect(&card, old.clone()).await?;
        let done = operator.command(OperatorRotate { register }).await.inspect_err(|fault| {
            if matches!(fault, Fault::NoAnswer { .. }) {
                say!("the new key is kept as {}; the same command again goes on", files.next.display());
            }
        })?;
        done.result.get("grace").and_then(Value::as_u64).map(Timestamp)
    };
    let kept = files.exchange(kver - 1)?;
    let until = grace.map_or_else(String::new, |grace| format!(" is accepted until {grace} and"));
    say!(
        "operator {} has key number {kver}; the old one{until} is kept as {}: remove it then",
        old.name,
        kept.display()
    );
    output.one(&object(json!({
        "grace": grace, "key": files.now, "kver": kver, "old_key": kept, "operator": old.name,
    })))
}

/// Whether the vault has the next key already.
async fn taken(card: &Card, next: Identity<OperatorName>) -> anyhow::Result<bool> {
    match Connection::connect(card, next).await?.command(OperatorList {}).await {
        Ok(_) => Ok(true),
        Err(fault) if fault.reason() == Some(Reason::Unauthenticated) => Ok(false),
        Err(fault) => Err(fault).context("the next key that an earlier run has made"),
    }
}
