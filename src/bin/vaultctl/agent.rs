//! `vaultctl agent`: registers agents by the statements that their keys signed, lists and shows them, ends keys.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use nockvault::client::keyfile;
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, Kid};
use nockvault::statement::agent::{AgentKeyEnd, AgentList, AgentRegister, AgentShow};
use nockvault::statement::command::Page;
use nockvault::statement::register::Holder;
use nockvault::time::{Clock as _, SystemClock};
use serde_json::{Map, Value};

use crate::output::{As, Column, Output, Shape};
use crate::progress::Progress;
use crate::when::{self, When};
use crate::{Common, find, lease, rotate};

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Register an agent, or a further key of one, by the statement that `vaultctl keygen` wrote.
    Register {
        /// The register statement, NAME.register; - reads it from standard input.
        file: PathBuf,
    },
    /// List the agents.
    List,
    /// Show one agent: its keys, its grants, the head of its chain.
    Show {
        /// The agent.
        agent: AgentName,
    },
    /// End all keys of an agent, or one of them, now and for ever. What they sign is refused from here on.
    ///
    /// With all its keys every lease of the agent is revoked, and it is waited until their backends have taken the
    /// credentials away.
    EndKey {
        /// The agent.
        agent: AgentName,
        /// One key only; without it all end, also those that a thief brought by rotation.
        #[arg(long, allow_hyphen_values = true)]
        kid: Option<Kid>,
        /// Since when it may have been in wrong hands: RFC 3339, a date for its beginning in UTC, or how long ago, for
        /// example 6h. It is for readers of the trail, who are told which key to doubt from when on; the end itself is now.
        #[arg(long, value_name = "TIME", value_parser = when::since)]
        suspect_from: Option<When>,
    },
    Rotate(rotate::Rotate),
}

const COLUMNS: &[Column] = &[
    ("AGENT", "agent", As::Plain),
    ("KVER", "kver", As::Plain),
    ("GRANTS", "grants", As::Plain),
    ("FROZEN", "frozen", As::Plain),
    ("SINCE", "since", As::Time),
    ("KID", "kid", As::Plain),
];

impl Agent {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        if let Agent::Register { file } = self {
            return register(&file, None, common, output).await;
        }
        if let Agent::Rotate(rotate) = self {
            return rotate.run(common, output).await;
        }
        let operator = find::connect(common).await?;
        match self {
            Agent::Register { .. } | Agent::Rotate(_) => Ok(()),
            Agent::List => {
                let mut items = pages(async |page| Ok(operator.command(AgentList { page }).await?.result)).await?;
                if output.shape == Shape::Table && output.field.is_none() {
                    items.iter_mut().for_each(for_people);
                }
                output.list(&items, COLUMNS)
            }
            Agent::Show { agent } => output.one(&operator.command(AgentShow { agent }).await?.result),
            Agent::EndKey { agent, kid, suspect_from } => {
                let suspect_from = suspect_from.map(When::at);
                if let Some(later) = suspect_from.filter(|from| *from > SystemClock.now()) {
                    anyhow::bail!("--suspect-from {later} has not come yet; a key ends when it is said, which is now");
                }
                match &kid {
                    Some(kid) => {
                        say!("ending key {kid} of agent {agent}; its other keys and its leases stay as they are")
                    }
                    None => say!("ending every key of agent {agent}, and every lease"),
                }
                let waiting = lease::waiting(&operator).await?;
                let done = operator.command(AgentKeyEnd { agent, kid, suspect_from }).await?.result;
                output.one(&done)?;
                lease::undone(&operator, &done, waiting).await
            }
        }
    }
}

/// Says beside a key that it has ended.
fn for_people(item: &mut Map<String, Value>) {
    let ended = item.get("ended").is_some_and(Value::is_u64);
    if let (true, Some(Value::String(kid))) = (ended, item.get_mut("kid")) {
        kid.push_str(" (ended)");
    }
}

/// Fails where a list about an agent is empty because there is no such agent: a name that was mistyped has no answer.
pub(crate) async fn known(
    operator: &Operator,
    agent: Option<&AgentName>,
    items: &[Map<String, Value>],
) -> anyhow::Result<()> {
    if let (Some(agent), []) = (agent, items) {
        operator.command(AgentShow { agent: agent.clone() }).await?;
    }
    Ok(())
}

/// Registers the key of a statement; where `agent` is given, as that agent's next.
pub(crate) async fn register(
    file: &Path,
    agent: Option<&AgentName>,
    common: &Common,
    output: &Output,
) -> anyhow::Result<()> {
    let card = find::card(common)?;
    let (statement, read) = if file == Path::new("-") {
        let text = std::io::read_to_string(std::io::stdin())?;
        keyfile::parse_register(&text).map_err(|why| anyhow::anyhow!("standard input {why}"))?
    } else {
        keyfile::read_register(file)?
    };
    if !matches!(read.holder, Holder::Agent(_)) {
        anyhow::bail!("{}: this statement is of an {}, not of an agent", file.display(), read.holder);
    }
    if let Some(agent) = agent.filter(|agent| read.holder != Holder::Agent((*agent).clone())) {
        anyhow::bail!("{}: this statement is of {}, not of agent {agent}", file.display(), read.holder);
    }
    if read.aud != card.aud {
        anyhow::bail!(
            "{}: this statement is for the vault {}, the card is of {} ({}); make it anew with vaultctl keygen --vault CARD",
            file.display(),
            read.aud,
            card.aud,
            card.name
        );
    }
    let operator = find::awaiting(common, Operator::connect(&card, find::operator(common, &card)?).await?);
    if let Some(agent) = agent {
        rotate::follows(&operator, agent, &read).await?;
    }
    let done = operator.command(AgentRegister { register: statement }).await?;
    say!("registered {}, key {} (kver {})", read.holder, read.pk.kid(), read.kver);
    if agent.is_some() {
        rotate::overlap(&operator, &read).await?;
    }
    output.one(&done.result)
}

/// The most items that are held of a list, and the most answers that bring none: whoever answers without an end is no
/// vault of ours.
const MOST: usize = 1_000_000;
const EMPTY: usize = 100;

/// All items of a list, page by page.
pub(crate) async fn pages(
    ask: impl AsyncFn(Page) -> anyhow::Result<Map<String, Value>>,
) -> anyhow::Result<Vec<Map<String, Value>>> {
    let (mut page, mut all, mut empty, mut progress) = (Page::first(), Vec::new(), 0, None);
    loop {
        let mut result = ask(page.clone()).await?;
        let Some(Value::Array(items)) = result.remove("items") else {
            anyhow::bail!("the vault's answer has no items; a newer vaultctl may read it");
        };
        empty += usize::from(items.is_empty());
        all.extend(items.into_iter().filter_map(|item| item.as_object().cloned()));
        if all.len() > MOST || empty > EMPTY {
            anyhow::bail!("the list has no end: it was given up after {} items", all.len());
        }
        match result.get("next").and_then(Value::as_str) {
            Some(next) if next != page.after => {
                next.clone_into(&mut page.after);
                progress.get_or_insert_with(Progress::items).at(all.len() as u64);
            }
            _ => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What a vault answers that has always one more page.
    fn endless(items: &Value) -> impl AsyncFn(Page) -> anyhow::Result<Map<String, Value>> {
        let items = items.clone();
        async move |page: Page| {
            let next = if page.after == "x" { "y" } else { "x" };
            Ok(json!({ "items": items, "next": next }).as_object().cloned().unwrap_or_default())
        }
    }

    #[tokio::test]
    async fn a_list_without_an_end_is_given_up() {
        for items in [json!([]), Value::Array(vec![json!({}); 5000])] {
            let given_up = pages(endless(&items)).await;
            assert!(given_up.is_err_and(|why| why.to_string().contains("no end")));
        }
    }
}
