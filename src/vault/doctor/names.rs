//! Operators, agents and grants: who is alone, whose key is old, what nobody uses.

use std::collections::BTreeSet;

use super::super::Vault;
use super::rows::{Rows, State};
use super::{MONTH, YEAR, days, names};
use crate::authz::policy::strictest;
use crate::denial::Denial;
use crate::id::ChainName;
use crate::registry::{Duty, HeldKey};
use crate::statement::command::Page;
use crate::store::{Failure, Health, Listed};
use crate::time::Timestamp;

/// How many pages of a thousand are looked at: more is told as such.
pub(super) const PAGES: usize = 20;
/// How many are named.
const NAMED: usize = 5;

/// All items of a list of the store, as far as they are looked at.
macro_rules! whole {
    ($store:expr, $verb:ident($($of:expr)?)) => {{
        let (mut all, mut page) = (Vec::new(), Page::first());
        for _ in 0..names::PAGES {
            let Listed { items, next } = $store.$verb($($of,)? &page).await.map_err(Failure::denial)?;
            all.extend(items);
            match next {
                Some(after) => page.after = after,
                None => break,
            }
        }
        all
    }};
}
pub(super) use whole;

pub(super) fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    match (names.len(), more) {
        (0, _) => "none".to_owned(),
        (_, 0) => named,
        (_, more) => format!("{named} and {more} more"),
    }
}

pub(super) fn row(rows: &mut Rows, check: &'static str, names: &[String], what: &str) {
    let state = if names.is_empty() { State::Ok } else { State::Warn };
    rows.add(check, state, some(names), what);
}

impl Vault {
    pub(super) async fn examine_names(&self, health: &Health, now: Timestamp, rows: &mut Rows) -> Result<(), Denial> {
        let old =
            |key: Option<&HeldKey>| key.filter(|key| key.since.plus(YEAR) < now).map(|key| days(now.since(key.since)));
        let operators = self.store.operators().await.map_err(Failure::denial)?;
        let acting = |keys: &[HeldKey]| keys.iter().any(|key| key.accepted(now).is_ok());
        let able: Vec<_> = operators.iter().filter(|operator| operator.lives() && acting(&operator.keys)).collect();
        let admins: Vec<_> = able.iter().filter(|operator| operator.duty == Duty::Admin).collect();
        let names: Vec<String> = admins.iter().map(|operator| operator.name.to_string()).collect();
        let state = if admins.len() > 1 { State::Ok } else { State::Warn };
        let what = "register a second admin (vaultctl operator add): losing the only key loses the command";
        rows.add("operators", state, some(&names), what);
        let strictest = strictest(&self.store.policy().await.map_err(Failure::denial)?.rules);
        let (state, found) =
            match (strictest, operators.iter().filter(|one| one.duty == Duty::Admin && one.lives()).count()) {
                (1, _) => (State::Ok, "none".to_owned()),
                (most, admins) if (admins as u64) < most => {
                    (State::Bad, format!("{most} must agree to change them; {admins} are admins"))
                }
                (most, admins) if admins as u64 == most => {
                    (State::Warn, format!("{most} must agree to change them, as many as are admins"))
                }
                (most, admins) => (State::Ok, format!("{most} must agree to change them; {admins} are admins")),
            };
        let what = match state {
            State::Bad => "too few are left to change anything of this: custody makes an admin (vaultctl recover)",
            _ => "register more admins (vaultctl operator add) while enough are left to agree",
        };
        rows.add("rules", state, found, what);
        let aged =
            able.iter().filter_map(|operator| Some(format!("{} ({})", operator.name, old(operator.keys.last())?)));
        row(rows, "operator_keys", &aged.collect::<Vec<_>>(), "give each of them a new key");

        let agents = whole!(self.store, agents());
        let aged: Vec<String> =
            agents.iter().filter_map(|agent| Some(format!("{} ({})", agent.name, old(agent.newest())?))).collect();
        row(rows, "agent_keys", &aged, "where the agent has its key: vaultctl agent rotate");
        let idle = agents.iter().filter(|agent| agent.grants.is_empty() && agent.since.plus(MONTH) < now);
        let idle: Vec<String> = idle.map(|agent| agent.name.to_string()).collect();
        row(rows, "agents_without_grants", &idle, "vaultctl agent end-key AGENT for those that are not needed");

        let grants = whole!(self.store, grants(None));
        let called = |grant: &crate::store::GrantInUse| format!("{} {}", grant.grant.agent, grant.grant.role);
        let unused = grants.iter().filter(|grant| grant.uses.count == 0 && grant.grant.since.plus(MONTH) < now);
        row(rows, "grants_unused", &unused.map(called).collect::<Vec<_>>(), "vaultctl revoke AGENT ROLE");
        let over = grants.iter().filter(|grant| grant.grant.terms.until.is_some_and(|until| until <= now));
        row(
            rows,
            "grants_over",
            &over.map(called).collect::<Vec<_>>(),
            "vaultctl revoke AGENT ROLE; then it can be given anew",
        );
        let endless = grants.iter().filter(|grant| grant.grant.terms.until.is_none()).count();
        rows.add("grants_endless", State::Ok, endless.to_string(), "");
        self.examine_limits(health, rows);
        Ok(())
    }

    /// Who comes close to what one agent may have.
    fn examine_limits(&self, health: &Health, rows: &mut Rows) {
        let rules = &self.limits.rules;
        let close = |most: &Option<(ChainName, u64)>, limit: u64, what: &str| {
            let (name, count) = most.as_ref()?;
            (count.saturating_mul(5) >= limit.saturating_mul(4)).then(|| format!("{name}: {count} of {limit} {what}"))
        };
        let close: BTreeSet<String> = [
            close(&health.most_leases, rules.leases_per_agent, "leases"),
            close(&health.most_sessions, rules.sessions_per_agent, "sessions"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let names: Vec<String> = close.into_iter().collect();
        row(
            rows,
            "limits",
            &names,
            "look whether it gives back what it is done with; or raise the limit under [limits]",
        );
    }
}
