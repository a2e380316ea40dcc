//! What to do next where a command failed. The fault itself says what was wrong; here stands what somebody types then,
//! and which name may have been meant.

use clap::ArgMatches;
use nockvault::client::fault::{Fault, Refusal, Untrusted};
use nockvault::client::operator::Operator;
use nockvault::denial::Reason;
use nockvault::statement::agent::AgentList;
use nockvault::statement::audit_read::AuditList;
use nockvault::statement::role::RoleList;
use nockvault::statement::secret::SecretList;
use serde_json::{Map, Value};

use crate::Common;
use crate::agent::pages;
use crate::contexts::chosen;
use crate::find::{self, Place};
use crate::near::near;

/// The names that were typed, each with what it is to be the name of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(Vec<(Kind, String)>);

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Agent,
    Role,
    Chain,
    Secret,
}

impl Kind {
    /// What it is called, and what lists all of it.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::Agent => ("agent", "vaultctl agent list"),
            Kind::Role => ("role", "vaultctl role list"),
            Kind::Chain => ("chain", "vaultctl audit list"),
            Kind::Secret => ("secret", "vaultctl secret list"),
        }
    }

    /// Those that there are.
    async fn all(self, operator: &Operator) -> anyhow::Result<Vec<String>> {
        let (items, member) = match self {
            Kind::Agent => (pages(async |page| Ok(operator.command(AgentList { page }).await?.result)).await?, "agent"),
            Kind::Role => (pages(async |page| Ok(operator.command(RoleList { page }).await?.result)).await?, "role"),
            Kind::Chain => (pages(async |page| Ok(operator.command(AuditList { page }).await?.result)).await?, "chain"),
            Kind::Secret => {
                (pages(async |page| Ok(operator.command(SecretList { page }).await?.result)).await?, "name")
            }
        };
        let name = |item: &Map<String, Value>| item.get(member).and_then(Value::as_str).map(str::to_owned);
        Ok(items.iter().filter_map(name).collect())
    }
}

impl Names {
    /// Those in what was typed, of the innermost command.
    pub(crate) fn of(matches: &ArgMatches) -> Names {
        let (mut inner, mut path) = (matches, Vec::new());
        while let Some((name, next)) = inner.subcommand() {
            path.push(name);
            inner = next;
        }
        let named = match path.first() {
            Some(&"secret") => ("name", Kind::Secret),
            Some(&("freeze" | "thaw")) => ("name", Kind::Agent),
            _ => ("", Kind::Agent),
        };
        let kinds = [("agent", Kind::Agent), ("role", Kind::Role), ("chain", Kind::Chain), named];
        let typed = |id: &str| inner.try_get_raw(id).ok().flatten().into_iter().flatten();
        let mut names = Vec::new();
        for (id, kind) in kinds {
            names.extend(typed(id).filter_map(|name| Some((kind, name.to_str()?.to_owned()))));
        }
        Names(names)
    }
}

/// What to do next, where there is something to say.
pub(crate) async fn next(why: &anyhow::Error, names: &Names, common: &Common) -> Option<String> {
    match why.downcast_ref::<Fault>()? {
        Fault::Refused(refusal) => match Reason::from_code(&refusal.code)? {
            Reason::NotFound => meant(names, common).await,
            reason => refused(reason, refusal, common),
        },
        Fault::Unreachable { address, why } => unreachable(address, why).map(str::to_owned),
        Fault::Untrusted(Untrusted::OtherVault { .. } | Untrusted::Tls { .. }) => Some(
            "vaultctl context show says which card is used; vaultctl context remove and add take another".to_owned(),
        ),
        _ => None,
    }
}

/// What to do where the vault said no.
fn refused(reason: Reason, refusal: &Refusal, common: &Common) -> Option<String> {
    let text = match reason {
        Reason::Unauthenticated => {
            let chosen = chosen(common).ok()?;
            let card = find::card(common).ok()?;
            let place = find::key_place(&chosen, &card).ok()?;
            return Some(format!(
                "the vault {} knows no such key of an operator {}: {place}. Look whether that is the right key (vaultctl context \
                 show, --operator NAME, --key FILE), and whether an operator of the vault registered it",
                card.name, place.operator
            ));
        }
        Reason::WrongHolder => {
            let chosen = chosen(common).ok()?;
            let place = find::key_place(&chosen, &find::card(common).ok()?).ok()?;
            return Some(format!(
                "it was signed as operator {}, whom --operator or the key file's name says; --operator NAME says another",
                place.operator
            ));
        }
        Reason::KeyRetired => "this key was ended; take the operator's newer key with --key FILE",
        Reason::NotPermitted => "another operator has to do this, one whose duties allow it",
        Reason::NeedsApproval => {
            "vaultctl approvals list shows what waits; custody add, and times such as 6h, want --wait-approval, for typed again \
             they say something else"
        }
        Reason::CannotApprove => "vaultctl approvals list shows whose it is, and who has approved it",
        Reason::ClockBehind => "set the machine's clock right and start vaultd anew; then: vaultctl clock reset",
        Reason::Busy | Reason::RateLimited if refusal.limit.is_none() => "wait a little, and try again",
        Reason::SecretMissing => "vaultctl secret list shows the secrets there are; vaultctl secret put makes one",
        _ => return None,
    };
    Some(text.to_owned())
}

/// What to do where nobody answered.
fn unreachable(address: &str, why: &str) -> Option<&'static str> {
    let says = |words: &str| why.to_ascii_lowercase().contains(words);
    let unix = address.starts_with("unix:");
    Some(match () {
        () if says("expired") && says("certificate") => {
            "the TLS certificate of the vault has run out, or this machine's clock is wrong. Where the vault runs: put a new \
             certificate in the place that [tls] of vaultd.toml names, and start vaultd anew"
        }
        () if says("notvalidyet") || says("not valid yet") => {
            "the TLS certificate of the vault is not good yet: see that this machine's clock is right"
        }
        () if says("notvalidforname") || says("not valid for name") => {
            "the TLS certificate is for another name than the card's address has; vaultctl init --host NAME makes one for it"
        }
        () if unix && says("permission denied") => {
            "operators' socket is open to the user that vaultd runs as: run vaultctl as that user (sudo -u USER vaultctl ..), or \
             let operators in over TCP (listen under [operators] in vaultd.toml)"
        }
        () if unix && (says("no such file") || says("connection refused")) => {
            "start the vault on this machine: vaultd --config FILE (systemctl start nockvault). On another machine a card with \
             a unix socket does not serve: the vault has to listen for operators over TCP"
        }
        () if says("connection refused") => "nobody listens there: start vaultd, or see what its log says",
        () if says("timed out") || says("deadline") => {
            "nothing came back in time: a firewall in between, or another address than the vault's"
        }
        () => return None,
    })
}

/// The name that was meant, or those that there are.
async fn meant(names: &Names, common: &Common) -> Option<String> {
    let card = find::card(common).ok()?;
    // Not where somebody would be asked for a passphrase once more, only for advice.
    match find::key_place(&chosen(common).ok()?, &card).ok()?.place {
        Place::File(file) => drop(nockvault::client::keyfile::read_secret(&file).ok()?),
        Place::SshAgent(_) => {}
    }
    let operator = find::connect(common).await.ok()?;
    for (kind, name) in &names.0 {
        let there = kind.all(&operator).await.ok()?;
        if there.contains(name) {
            continue;
        }
        let (what, list) = kind.words();
        return Some(match (near(name, there.iter().map(String::as_str)), there.as_slice()) {
            (Some(meant), _) => format!("there is no {what} {name}; did you mean {meant}?"),
            (None, []) => format!("there is no {what} {name}, and none at all yet"),
            (None, few) if few.len() <= 8 => format!("there is no {what} {name}; there are {}", few.join(", ")),
            (None, _) => format!("there is no {what} {name}; {list} shows those there are"),
        });
    }
    None
}
