//! `vaultctl policy`: which kinds of commands more than one operator must want.

use anyhow::bail;
use clap::Subcommand;
use nockvault::statement::approval::{PolicySet, PolicyShow, Rules};
use nockvault::time::Seconds;
use serde_json::{Map, Value};

use crate::output::Output;
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Show the rules, and what follows from them.
    Show,
    /// Set the rules. They replace those of before.
    ///
    /// For example: vaultctl policy set grant_create=2 role_create=2. While there is any rule, the rules, operators and
    /// custodians are changed by as many operators as the strictest asks for, and a further key of an agent takes as many as a
    /// grant. What is for emergencies takes one, unless it is ruled itself.
    Set {
        /// How many operators must want a command of this kind, the one who gives it among them: 2 to 9.
        #[arg(value_name = "KIND=N", value_parser = rule, required_unless_present = "none")]
        rules: Vec<(String, u64)>,
        /// No rules: each command takes one operator.
        #[arg(long, conflicts_with = "rules")]
        none: bool,
        /// For how long a command waits for approval, 60s to 30d; without it, as long as before.
        #[arg(long, value_name = "SPAN", value_parser = wait)]
        wait: Option<Seconds>,
    },
}

fn rule(text: &str) -> Result<(String, u64), String> {
    let bad = || format!("{text:?} is no rule; write grant_create=2");
    let (kind, persons) = text.split_once('=').ok_or_else(bad)?;
    let persons: u64 = persons.parse().map_err(|_| bad())?;
    let (fewest, most) = PolicySet::PERSONS;
    if !(fewest..=most).contains(&persons) {
        return Err(format!("a rule asks for {fewest} to {most} operators; a kind without a rule takes one"));
    }
    Ok((kind.to_owned(), persons))
}

fn wait(text: &str) -> Result<Seconds, String> {
    let wait: Seconds = text.parse()?;
    let (least, most) = PolicySet::WAITS;
    if !(least..=most).contains(&wait) {
        return Err(format!("a command waits for approval for {least} to {most}"));
    }
    Ok(wait)
}

impl Policy {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        let operator = find::connect(common).await?;
        let shown = operator.command(PolicyShow {}).await?.result;
        match self {
            Policy::Show => {
                warn(&shown);
                output.one(&shown)
            }
            Policy::Set { rules, none: _, wait } => {
                let before = shown.get("wait").and_then(Value::as_u64).map(Seconds);
                let wait = wait.or(before).unwrap_or(PolicySet::default().wait);
                let count = rules.len();
                let rules: Rules = rules.into_iter().collect();
                if rules.len() != count {
                    bail!("a kind of command is named twice; nothing was sent");
                }
                let done = operator.command(PolicySet { rules, wait }).await?.result;
                say!("the rules are set");
                output.one(&done)
            }
        }
    }
}

/// Fewer admins than it takes to lift the rules cannot lift them.
fn warn(shown: &Map<String, Value>) {
    if shown.get("enough") == Some(&Value::Bool(false)) {
        say!(
            "There are fewer admins in force than the strictest rule asks for: the rules, operators and custodians cannot be \
             changed by commands. `vaultctl recover`, with custody of the root key, brings a new operator."
        );
    }
}
