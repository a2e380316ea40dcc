//! `vaultctl doctor`: whether this vault will be well tomorrow: what stands at the operator's side, and what the vault says of
//! itself.

mod here;

use std::process::ExitCode;

use clap::Args;
use nockvault::client::operator::Operator;
use nockvault::statement::doctor::DoctorRead;
use serde_json::{Map, Value, json};

use crate::output::{As, Column, Output};
use crate::{Common, status};

/// Go through all that decides whether this vault will be well tomorrow, and say of each what was found and what to do.
///
/// Looks at the card, the key and the clock here, and asks the vault for the rest: clock, disk, custody, backends, stuck
/// leases, checkpoints, certificates, keys, grants, backups. Nothing is changed. Exit codes: 0 where all is ok or a warning, 1
/// where the vault could not be asked, 2 where something is bad.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Do not ask the backends of roles if they could serve.
    #[arg(long)]
    no_probe: bool,
    /// Exit code 2 also for warnings.
    #[arg(long)]
    strict: bool,
}

const COLUMNS: &[Column] = &[
    ("CHECK", "check", As::Plain),
    ("STATE", "state", As::Plain),
    ("FOUND", "found", As::Plain),
    ("DO", "do", As::Plain),
];

pub(crate) type Row = Map<String, Value>;

/// A thing here, how it is, and what is to be done where it is not well.
fn row(check: &str, state: &str, found: impl Into<String>, what: &str) -> Row {
    let advice = (state != "ok").then_some(what);
    let found: String = found.into();
    let row = json!({ "check": check, "state": state, "found": found, "do": advice });
    row.as_object().cloned().unwrap_or_default()
}

/// All that is known of a sealed vault: it answers, and gives no more.
fn sealed() -> Row {
    let what = "on its machine, `vaultctl unseal` opens it; what else is to be looked at is looked at then";
    row("unsealed", "bad", "the vault is sealed and carries nothing out", what)
}

impl Doctor {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        let (mut rows, found) = here::files(common);
        let reached = match found {
            Some((card, identity)) => Operator::connect(&card, identity).await.map_err(anyhow::Error::from),
            None => Err(anyhow::anyhow!("there is no card and key to ask with")),
        };
        let asked = match reached {
            Ok(operator) => {
                match operator.command(DoctorRead { probe: !self.no_probe }).await.map_err(anyhow::Error::from) {
                    Ok(told) => {
                        rows.extend(here::beside(&operator, &told));
                        let checks = told.result.get("checks").and_then(Value::as_array).into_iter().flatten();
                        rows.extend(checks.filter_map(Value::as_object).cloned());
                    }
                    Err(why) if status::sealed(&why) => rows.push(sealed()),
                    Err(why) => return Err(why),
                }
                true
            }
            Err(why) if status::sealed(&why) => {
                rows.push(sealed());
                true
            }
            Err(why) => {
                let what = "start vaultd, or mend what the line says; vaultctl card shows where it is looked for";
                rows.push(row("connection", "bad", format!("{why:#}"), what));
                false
            }
        };
        output.list(&rows, COLUMNS)?;
        let any = |state: &str| rows.iter().any(|row| row.get("state").and_then(Value::as_str) == Some(state));
        Ok(match asked {
            false => ExitCode::from(1),
            true if any("bad") || self.strict && any("warn") => ExitCode::from(2),
            true => ExitCode::SUCCESS,
        })
    }
}
