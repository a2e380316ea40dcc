//! `vaultctl apply`: makes a vault's agents, roles and grants what a file says, so that they live in git. The file is read
//! whole, held against what stands, and what the vault would refuse is found before the first command is sent.
//!
//! Who may command, what takes several operators, and custody are not in it: whoever can change a file that some program
//! applies must not become an operator by that. Secrets are not in it: it is for many eyes. And it never thaws: what was
//! stopped in an emergency is let go by somebody who looked, not by the next run of a pipeline.

mod file;
pub(crate) mod plan;
mod send;
pub(crate) mod shown;
pub(crate) mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use nockvault::authz::operator::permits;
use nockvault::client::fault::Fault;
use nockvault::client::operator::Operator;
use nockvault::statement::Body as _;
use nockvault::statement::role::RoleCheck;
use serde_json::{Value, json};

use crate::output::{Output, Shape, calm, print};
use crate::{Common, find, lease, role};
use file::Wanted;
use plan::{Plan, Standing, plan};
use send::{Sent, send};

/// The vault is not as the file says: something differs, or waits for other operators.
const DIFFERS: u8 = 3;
/// More grants than these are not pruned without a word.
const MANY: usize = 10;
/// What is said where nothing differs.
const NOTHING: &str = "nothing to do: the vault is as the file says";

/// Make agents, roles and grants what a file of TOML says. What is so already is left alone, so that the same file can be
/// applied again and again.
///
/// The difference is printed (+ made, ~ on other terms, - revoked, ? there and not in the file), and then made, by signed
/// commands that name each other as one set. Nothing is sent where the file has a mistake, or where the vault would refuse a
/// part of it. Keys of agents, roles and what is frozen are never changed. A change of terms revokes the grant with its
/// leases and gives it anew. Ends with 0 where the vault is as the file says, with 3 where it is not: something differs
/// (--dry-run), or waits for other operators.
#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// The file; - reads it from standard input. Files that it names lie beside it.
    #[arg(long, short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// Send nothing: print the difference, and end with 3 where there is one.
    #[arg(long)]
    dry_run: bool,
    /// Revoke grants that the file does not name: between agents and roles that it does name, or with =all every other.
    #[arg(long, value_name = "REACH", num_args = 0..=1, require_equals = true, default_missing_value = "named", value_enum)]
    prune: Option<Prune>,
    /// Prune also more than 10 grants at once, or by a file that names no grant at all; change terms also where the new grant
    /// waits for other operators, so that its agent has none until then.
    #[arg(long)]
    yes: bool,
    /// Make new roles without letting the vault look at their backends before.
    #[arg(long)]
    no_check: bool,
}

/// How far pruning reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prune {
    /// Grants between agents and roles that the file names.
    Named,
    /// Every grant of the vault.
    All,
}

impl Apply {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<ExitCode> {
        let card = find::card(common)?;
        let wanted = Wanted::read(&self.file, &card.aud)?;
        let identity = find::operator(common, &card)?;
        let name = identity.name.clone();
        let operator = find::awaiting(common, Operator::connect(&card, identity).await?);
        let standing = state::for_file(&operator, &name, &wanted).await?;
        let plan = self.planned(&operator, &wanted, &standing).await?;
        if self.dry_run {
            show(&plan, None, output)?;
            plan.forbidden.iter().for_each(|forbidden| say!("{name} may not carry this out: {forbidden}"));
            plan.between.iter().for_each(|between| say!("{between}"));
            if plan.changes.is_empty() {
                say!("{NOTHING}");
            }
            return Ok(code(plan.changes.is_empty()));
        }
        self.allowed(&wanted, &plan)?;
        if plan.changes.is_empty() {
            show(&plan, None, output)?;
            say!("{NOTHING}");
            return Ok(ExitCode::SUCCESS);
        }
        if output.shape == Shape::Table && output.field.is_none() {
            print(&shown::lines(&plan, output.color))?;
        }
        let waiting = lease::waiting(&operator).await?;
        let sent = send(&operator, &plan).await;
        finish(&operator, &plan, sent, waiting, output).await
    }

    /// The plan, where the vault could become what the file says.
    async fn planned(&self, operator: &Operator, wanted: &Wanted, standing: &Standing) -> anyhow::Result<Plan> {
        let (mut plan, mut wrong) = match plan(wanted, standing, self.prune) {
            Ok(plan) => (plan, Vec::new()),
            Err(wrong) => (Plan::default(), wrong),
        };
        if !self.no_check {
            checked(operator, wanted, standing, &mut plan, &mut wrong).await?;
        }
        if wrong.is_empty() {
            return Ok(plan);
        }
        bail!("the vault cannot become what the file says, and nothing was sent\n{}", calm(&wrong.join("\n")))
    }

    /// Whether it may be carried out.
    fn allowed(&self, wanted: &Wanted, plan: &Plan) -> anyhow::Result<()> {
        if !plan.forbidden.is_empty() {
            bail!("this operator may not do all of it, and nothing was sent\n{}", plan.forbidden.join("\n"));
        }
        if self.yes {
            return Ok(());
        }
        if !plan.between.is_empty() {
            bail!("nothing was sent\n{}\nif that is meant: --yes", plan.between.join("\n"));
        }
        let pruned = plan.pruned();
        if pruned == 0 {
            return Ok(());
        }
        if wanted.grants.is_empty() {
            bail!(
                "the file names no grant, and --prune would revoke {pruned}; nothing was sent. If that is meant: --yes"
            );
        }
        if pruned > MANY {
            bail!(
                "--prune would revoke {pruned} grants; nothing was sent. See them with --dry-run; if they are meant: --yes"
            );
        }
        Ok(())
    }
}

/// Lets the vault look at each new role, where this operator may ask for it.
async fn checked(
    operator: &Operator,
    wanted: &Wanted,
    standing: &Standing,
    plan: &mut Plan,
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    let new: Vec<_> = wanted.roles.iter().filter(|(name, _)| !standing.roles.contains_key(*name)).collect();
    if !new.is_empty() && permits(&standing.duty, RoleCheck::TYP, &json!({})).is_err() {
        plan.notes
            .push(format!("new roles were not checked: role_check takes the duty admin, yours is {}", standing.duty));
        return Ok(());
    }
    for (name, role) in new {
        let Some((engine, config)) = &role.made else { continue };
        match role::check(operator, engine.clone(), config.clone()).await {
            Ok(_) => {}
            Err(why) if why.is::<Fault>() => return Err(why),
            Err(why) => wrong.push(wanted.wrong(role.at, format!("role {name}: {why:#}"))),
        }
    }
    Ok(())
}

fn show(plan: &Plan, sent: Option<&Sent>, output: &Output) -> anyhow::Result<()> {
    if output.shape == Shape::Table && output.field.is_none() {
        if sent.is_none() {
            print(&shown::lines(plan, output.color))?;
        }
    } else {
        output.one(&shown::object(plan, sent))?;
    }
    plan.notes.iter().for_each(|note| say!("{note}"));
    Ok(())
}

/// Says what became of it.
async fn finish(
    operator: &Operator,
    plan: &Plan,
    mut sent: Sent,
    waiting: u64,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    show(plan, Some(&sent), output)?;
    if let Some(why) = sent.stopped.take() {
        return Err(why);
    }
    let commands = |n: usize| if n == 1 { "1 command".to_owned() } else { format!("{n} commands") };
    say!("{} carried out, as the set {}", commands(sent.done), sent.set);
    let ended = [("leases".to_owned(), Value::from(sent.leases))].into_iter().collect();
    lease::undone(operator, &ended, waiting).await?;
    match sent.waiting() {
        0 => Ok(ExitCode::SUCCESS),
        waiting => {
            say!("{waiting} of {} changes wait for other operators; then the same command again", plan.changes.len());
            Ok(code(false))
        }
    }
}

fn code(same: bool) -> ExitCode {
    if same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERS) }
}
