//! Which chains, and which of their entries.

use std::collections::{BTreeSet, VecDeque};

use anyhow::bail;
use clap::Args;
use clap::builder::PossibleValuesParser;
use nockvault::audit::entry::Body;
use nockvault::client::operator::Operator;
use nockvault::id::{AgentName, ChainName, LeaseId, RoleName, Sid};
use nockvault::time::Timestamp;
use serde_json::Value;

use super::read::{Chain, Entry};
use crate::when::{When, since, until};

/// How many leases are followed at once. Beyond that the oldest are no longer.
const FOLLOWED: usize = 100_000;

/// Which chains.
#[derive(Clone, Debug, Args)]
pub(crate) struct Which {
    /// Agents' names, _operators or _vault.
    // `advice` knows a chain's name by this id.
    #[arg(id = "chain", value_name = "CHAIN", required_unless_present_any = ["agent", "all"])]
    chains: Vec<ChainName>,
    /// The chain of this agent. May be repeated.
    #[arg(long, value_name = "NAME")]
    agent: Vec<AgentName>,
    /// Every chain of the vault.
    #[arg(long, conflicts_with_all = ["chain", "agent"])]
    all: bool,
}

impl Which {
    /// Whether chains may come to be that are meant too.
    pub(crate) fn open(&self) -> bool {
        self.all
    }

    /// The chains as they are now, each once.
    pub(crate) async fn find(&self, operator: &Operator) -> anyhow::Result<Vec<Chain>> {
        if self.all {
            return Chain::all(operator).await;
        }
        let mut found: Vec<Chain> = Vec::new();
        for name in self.chains.iter().cloned().chain(self.agent.iter().map(ChainName::from)) {
            if !found.iter().any(|chain| chain.name == name) {
                found.push(Chain::named(operator, &name).await?);
            }
        }
        Ok(found)
    }
}

/// Which entries.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Only entries")]
pub(crate) struct Filter {
    /// Of this session.
    #[arg(long, value_name = "SID")]
    session: Option<Sid>,
    /// About this role.
    #[arg(long)]
    role: Option<RoleName>,
    /// About this lease.
    #[arg(long)]
    lease: Option<LeaseId>,
    /// Of this kind. May be repeated.
    #[arg(long, value_parser = PossibleValuesParser::new(Body::KINDS.iter().copied().collect::<BTreeSet<_>>()))]
    kind: Vec<String>,
    /// From this time on: RFC 3339, a date for its beginning in UTC, or how long ago, for example 2h.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<When>,
    /// Before this time: as --since; a date for its end.
    #[arg(long, value_name = "TIME", value_parser = until)]
    pub(crate) until: Option<When>,
}

impl Filter {
    /// Whether nothing but a stretch of time is asked for.
    pub(crate) fn takes_all(&self) -> bool {
        self.session.is_none() && self.role.is_none() && self.lease.is_none() && self.kind.is_empty()
    }

    /// The sieve, for entries that come in order.
    pub(crate) fn sieve(&self) -> anyhow::Result<Sieve> {
        let (since, until) = (self.since.map(When::at), self.until.map(When::at));
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            bail!("--since {since} is not before --until {until}");
        }
        Ok(Sieve { filter: self.clone(), since, until, leases: BTreeSet::new(), oldest: VecDeque::new() })
    }
}

/// Lets through what is asked for. An entry that names only a lease is of the session and the role of the issuance that
/// came before it: such leases are remembered until they end.
#[derive(Debug)]
pub(crate) struct Sieve {
    filter: Filter,
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    leases: BTreeSet<String>,
    oldest: VecDeque<String>,
}

/// Where the members stand that name a session, a role, a lease.
const SESSIONS: &[&str] = &["/request/payload/sid", "/hdr/sid", "/sid", "/command/payload/body/scope/sid"];
const ROLES: &[&str] = &["/request/payload/role", "/hdr/role", "/role", "/command/payload/body/role"];
const LEASES: &[&str] = &[
    "/hdr/lease",
    "/lease",
    "/request/payload/lease",
    "/command/payload/body/lease",
    "/command/payload/body/scope/lease",
];

fn names(body: &Value, places: &[&str], wanted: &str) -> bool {
    places.iter().any(|place| body.pointer(place).and_then(Value::as_str) == Some(wanted))
}

impl Sieve {
    /// Whether the entry is asked for.
    pub(crate) fn takes(&mut self, entry: &Entry) -> bool {
        let body = entry.members.get("body").unwrap_or(&Value::Null);
        let kind = entry.members.get("kind").and_then(Value::as_str).unwrap_or_default();
        let lease = LEASES.iter().find_map(|place| body.pointer(place)).and_then(Value::as_str);
        let session = self.filter.session.as_ref().is_none_or(|sid| names(body, SESSIONS, sid.as_str()));
        let role = self.filter.role.as_ref().is_none_or(|role| names(body, ROLES, role.as_str()));
        let of_both = session && role;
        if kind == "issue"
            && of_both
            && let Some(lease) = lease
        {
            self.follow(lease);
        }
        let follows = lease.is_some_and(|lease| self.leases.contains(lease));
        self.since.is_none_or(|since| entry.ts >= since)
            && self.until.is_none_or(|until| entry.ts < until)
            && (self.filter.kind.is_empty() || self.filter.kind.iter().any(|wanted| wanted == kind))
            && self.filter.lease.as_ref().is_none_or(|wanted| names(body, LEASES, &wanted.to_string()))
            && (of_both || follows)
    }

    fn follow(&mut self, lease: &str) {
        if self.filter.session.is_none() && self.filter.role.is_none() {
            return;
        }
        if self.leases.insert(lease.to_owned()) {
            self.oldest.push_back(lease.to_owned());
        }
        if self.oldest.len() > FOLLOWED
            && let Some(old) = self.oldest.pop_front()
        {
            self.leases.remove(&old);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(seq: u64, kind: &str, body: Value) -> Entry {
        let members = json!({"kind": kind, "body": body, "ts": 1000 + seq});
        Entry {
            chain: "kit".parse().unwrap(),
            seq,
            ts: Timestamp(1000 + seq),
            line: Vec::new(),
            members: members.as_object().cloned().unwrap(),
        }
    }

    fn filter() -> Filter {
        Filter { session: None, role: None, lease: None, kind: Vec::new(), since: None, until: None }
    }

    fn taken(filter: &Filter, entries: &[Entry]) -> Vec<u64> {
        let mut sieve = filter.sieve().unwrap();
        entries.iter().filter(|entry| sieve.takes(entry)).map(|entry| entry.seq).collect()
    }

    #[test]
    fn what_becomes_of_a_lease_is_of_its_session_and_role() {
        let lease = "019a0000-0000-7000-8000-000000000001";
        let other = "019a0000-0000-7000-8000-000000000002";
        let issue = |lease: &str, sid: &str, role: &str| {
            json!({"hdr": {"lease": lease, "sid": sid, "role": role},
                   "request": {"payload": {"sid": sid, "role": role}}})
        };
        let entries = [
            entry(0, "genesis", json!({"agent": "kit"})),
            entry(1, "issue", issue(lease, "s1", "orders")),
            entry(2, "issue", issue(other, "s2", "orders")),
            entry(3, "renew", json!({"lease": lease, "request": {"payload": {"sid": "s1", "lease": lease}}})),
            entry(4, "expire", json!({"lease": lease, "outcome": "none"})),
            entry(5, "expire", json!({"lease": other, "outcome": "none"})),
            entry(6, "deny", json!({"reason": "no_grant", "request": {"payload": {"sid": "s1", "role": "mail"}}})),
        ];
        assert_eq!(taken(&filter(), &entries), [0, 1, 2, 3, 4, 5, 6]);
        let of = |sid: &str| Filter { session: Some(sid.parse().unwrap()), ..filter() };
        assert_eq!(taken(&of("s1"), &entries), [1, 3, 4, 6]);
        assert_eq!(taken(&of("s2"), &entries), [2, 5]);
        let role = Filter { role: Some("orders".parse().unwrap()), ..filter() };
        assert_eq!(taken(&role, &entries), [1, 2, 3, 4, 5]);
        let both = Filter { role: role.role.clone(), ..of("s1") };
        assert_eq!(taken(&both, &entries), [1, 3, 4]);
        let one = Filter { lease: Some(lease.parse().unwrap()), ..filter() };
        assert_eq!(taken(&one, &entries), [1, 3, 4]);
        let kinds = Filter { kind: vec!["issue".into(), "deny".into()], ..of("s1") };
        assert_eq!(taken(&kinds, &entries), [1, 6]);
        let time =
            Filter { since: Some(When::At(Timestamp(1002))), until: Some(When::At(Timestamp(1004))), ..filter() };
        assert_eq!(taken(&time, &entries), [2, 3]);
        assert!(Filter { since: time.until, until: time.since, ..filter() }.sieve().is_err());
    }
}
