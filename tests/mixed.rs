//! Everything at once, drawn at random: agents that ask, renew and give back, operators that grant, take back and give
//! up, a backend of every temper, time, and crashes in the middle. Whatever was drawn, the offline verifier finds every
//! chain intact, its counts are the store's, and in the end nothing is left at the backend.

#![cfg(feature = "daemon")]
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use nockvault::audit::verify::report::{Report, Verdict};
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::id::{ChainName, LeaseId};
use nockvault::lease::{Lease, State};
use nockvault::statement::Body;
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::command::Page;
use nockvault::statement::freeze::{RoleFreeze, RoleThaw, VaultFreeze, VaultThaw};
use nockvault::statement::grant::{GrantCreate, GrantRevoke};
use nockvault::statement::issue::Purpose;
use nockvault::statement::lease::{LeaseForget, LeaseRevoke, Release, Renew, Scope, Which};
use nockvault::statement::reply::{Closed, Issued, Opened, Released, Renewed, Reply, Revocation};
use nockvault::statement::session::{Close, Hello};
use nockvault::time::{Seconds, Timestamp};
use nockvault::vault::answer::Outcome;

use support::agent::{Agent, Rpc};
use support::far::Temper;
use support::{Harness, call, rules, terms};

/// How many runs, and how many steps each has.
const SEEDS: u64 = 8;
const STEPS: u64 = 70;
const ROLES: [&str; 3] = ["far", "birds", "token"];

fn reason() -> Purpose {
    "it was drawn".to_owned().try_into().unwrap()
}

/// SplitMix64: the same draws for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() { None } else { items.get(self.below(items.len() as u64) as usize) }
    }
}

struct Run {
    vault: Harness,
    agents: [Agent; 2],
    /// All leases that an agent was told of.
    told: [Vec<LeaseId>; 2],
    sessions: u64,
    dice: Dice,
}

impl Run {
    async fn new(seed: u64) -> Run {
        let mut vault = Harness::new().await;
        vault.engine_deadline = Duration::from_millis(40);
        vault.reopen_under(rules()).await;
        vault.role("far", "far", serde_json::json!({})).await;
        vault.kv_role("birds", b"a value").await;
        vault.role("token", "jwt", serde_json::json!({"audience": ["a"]})).await;
        let agents = [vault.agent("kit").await, vault.agent("ada").await];
        for agent in &agents {
            for role in ROLES {
                vault.grant(&agent.name, role, terms()).await;
            }
        }
        Run { vault, agents, told: Default::default(), sessions: 0, dice: Dice(seed) }
    }

    /// Sends a request, which may be refused; what is answered is believed as an agent does.
    async fn ask<B: Body, R: Reply>(&mut self, who: usize, rpc: Rpc, body: B) -> Option<R> {
        let envelope = self.agents[who].signed(body);
        match self.vault.send(rpc, envelope.clone()).await {
            outcome @ Outcome::Released(_) => Some(self.vault.released(outcome, envelope.digest())),
            Outcome::Refused(_) => None,
        }
    }

    /// Commands what may be refused.
    async fn order<B: Body>(&self, body: B) {
        let envelope = self.vault.operator.sign(&self.vault.operator.command(body));
        drop(self.vault.operate(call(B::TYP), envelope, None).await);
    }

    async fn leases(&self, which: Which) -> Vec<Lease> {
        let (mut all, mut page) = (Vec::new(), Page::first());
        loop {
            let part = self.vault.vault().store().leases(None, which, &page).await.unwrap();
            all.extend(part.items);
            match part.next {
                Some(after) => page.after = after,
                None => return all,
            }
        }
    }

    async fn issue(&mut self, who: usize) {
        let role = ROLES[self.dice.below(3) as usize];
        let body = self.agents[who].issue_body(role);
        if self.dice.below(6) == 0 {
            // The caller goes away in the middle, or a crash takes the vault; some tempers leave an intent then.
            let envelope = self.agents[who].signed(body);
            let sent = self.vault.send(Rpc::RequestCredential, envelope);
            let _ = tokio::time::timeout(Duration::from_millis(15), sent).await;
            if self.dice.below(2) == 0 {
                self.vault.reopen().await;
            }
        } else if let Some(issued) = self.ask::<_, Issued>(who, Rpc::RequestCredential, body).await {
            self.agents[who].keep(issued.entry);
            self.told[who].push(issued.hdr.lease);
        }
    }

    async fn with_a_lease(&mut self, who: usize) {
        let Some(lease) = self.dice.of(&self.told[who]).cloned() else { return };
        if self.dice.below(2) == 0 {
            let ttl = Seconds(self.dice.below(4000));
            if let Some(renewed) = self.ask::<_, Renewed>(who, Rpc::RenewLease, Renew { lease, ttl }).await {
                self.agents[who].keep(renewed.entry);
            }
        } else if let Some(released) = self.ask::<_, Released>(who, Rpc::ReleaseLease, Release::Lease(lease)).await {
            self.agents[who].keep(released.entry);
        }
    }

    async fn with_a_session(&mut self, who: usize) {
        if self.dice.below(3) == 0
            && let Some(closed) = self.ask::<_, Closed>(who, Rpc::CloseSession, Close {}).await
        {
            self.agents[who].keep(closed.entry);
        }
        self.sessions += 1;
        self.agents[who].new_session(&format!("s{}", self.sessions));
        let seal = self.agents[who].seal_statement();
        if let Some(opened) = self.ask::<_, Opened>(who, Rpc::OpenSession, Hello { seal }).await {
            self.agents[who].keep(opened.entry);
        }
    }

    async fn operate(&mut self, who: usize) {
        let (agent, sid) = (self.agents[who].name.clone(), self.agents[who].sid.clone());
        let role = ROLES[self.dice.below(3) as usize].parse().unwrap();
        match self.dice.below(14) {
            8 => self.order(AgentFreeze { reason: None, agent }).await,
            9 => self.order(RoleFreeze { reason: reason(), role }).await,
            10 => self.order(VaultFreeze { reason: reason() }).await,
            11..=13 => self.thaw().await,
            0 => {
                self.order(GrantRevoke { agent: agent.clone(), role }).await;
            }
            1 | 2 => {
                for role in ROLES.map(|role| role.parse().unwrap()) {
                    self.order(GrantCreate { agent: agent.clone(), role, terms: terms() }).await;
                }
            }
            3 => {
                let stuck = self.leases(Which::Stuck).await;
                let Some(lease) = self.dice.of(&stuck).map(|lease| lease.id.clone()) else { return };
                self.order(LeaseForget { lease }).await;
            }
            4 => {
                let Some(lease) = self.dice.of(&self.told[who]).cloned() else { return };
                self.order(LeaseRevoke { reason: None, scope: Scope::Lease(lease) }).await;
            }
            5 => self.order(LeaseRevoke { reason: None, scope: Scope::Session(agent, sid) }).await,
            6 => self.order(LeaseRevoke { reason: None, scope: Scope::Role(role) }).await,
            _ => {
                let scope = if self.dice.below(2) == 0 { Scope::All } else { Scope::Agent(agent) };
                self.order(LeaseRevoke { reason: None, scope }).await;
            }
        }
    }

    /// Thaws all that there is; what is not frozen is refused.
    async fn thaw(&self) {
        self.order(VaultThaw {}).await;
        for agent in &self.agents {
            self.order(AgentThaw { agent: agent.name.clone() }).await;
        }
        for role in ROLES.map(|role| role.parse().unwrap()) {
            self.order(RoleThaw { role }).await;
        }
    }

    async fn step(&mut self) {
        let who = self.dice.below(2) as usize;
        match self.dice.below(22) {
            20 => self.thaw().await,
            // Behind by less than the skew, a clock is good.
            21 => {
                let now = self.vault.clock_now();
                self.vault.clock.set(Timestamp(now.0 - self.dice.below(250_000)));
            }
            0..=7 => self.issue(who).await,
            8..=10 => self.with_a_lease(who).await,
            11 => self.with_a_session(who).await,
            12 | 13 => self.operate(who).await,
            14 => {
                let tempers = [Temper::Well, Temper::Well, Temper::Away, Temper::Refusing, Temper::Mute];
                self.vault.far.temper(tempers[self.dice.below(5) as usize]);
            }
            15 => {
                let (_, rotated) = match self.dice.below(3) {
                    0 => {
                        self.thaw().await;
                        self.agents[who].rotate(&self.vault).await
                    }
                    _ => return,
                };
                self.agents[who].keep(rotated.entry);
            }
            16 => self.vault.reopen().await,
            17 => self.vault.vault().undo_once().await,
            _ => {
                self.vault.clock.advance(Seconds(self.dice.below(400)));
                self.vault.vault().tend_once().await;
            }
        }
    }

    /// The reports on the agents' chains; every chain of the vault is intact.
    async fn reports(&self) -> Vec<Report> {
        self.vault.verify_all().await;
        let identity = Some(self.vault.identity.clone());
        let mut pins = Pins { identity, aud: Some(self.vault.aud.clone()), ..Pins::default() };
        let operators = self.vault.file(&ChainName::operators()).await;
        let (_, commands) = verify_operators(operators.as_slice(), &pins).unwrap();
        pins.operators = commands.map(Arc::new);
        let mut reports = Vec::new();
        for agent in &self.agents {
            let file = self.vault.file(&ChainName::from(&agent.name)).await;
            let report = verify(file.as_slice(), &pins).unwrap();
            assert_eq!(report.verdict, Verdict::Intact, "{report}");
            reports.push(report);
        }
        reports
    }

    /// What the chains say is what the store has.
    async fn chains_and_store_agree(&self) {
        let leases = self.leases(Which::All).await;
        for (agent, report) in self.agents.iter().zip(self.reports().await) {
            let own: Vec<&Lease> = leases.iter().filter(|lease| lease.agent == agent.name).collect();
            let of = |states: &[State]| own.iter().filter(|lease| states.contains(&lease.state)).count() as u64;
            let told = |kind: &str| report.kinds.get(kind).copied().unwrap_or_default();
            let given = [State::Live, State::Released, State::Revoked, State::Expired, State::Undelivered];
            assert_eq!(told("issue"), of(&given), "{report}");
            assert_eq!(told("expire"), of(&[State::Expired]), "{report}");
            assert_eq!(told("revoke"), of(&[State::Revoked]), "{report}");
            assert_eq!(told("undelivered"), of(&[State::Undelivered]), "{report}");
            assert!(told("release") <= of(&[State::Released]), "{report}");
            let over = |lease: &&&Lease| lease.revocation == Revocation::Backend && lease.state.ended();
            let waiting = own.iter().filter(over).filter(|lease| lease.undo.is_some()).count() as u64;
            let gone = own.iter().filter(over).filter(|lease| lease.undo.is_none()).count() as u64;
            assert_eq!(told("undone") + told("forget"), gone, "{report}");
            let says = |count: u64, what: &str| {
                let begins = format!("{count} {what}");
                report.unproved.iter().any(|said| said.contains(&begins))
            };
            let (credentials, leases) = (
                if waiting == 1 { "credential is gone" } else { "credentials are gone" },
                if of(&[State::Live]) == 1 { "lease that no entry" } else { "leases that no entry" },
            );
            assert_eq!(
                says(waiting, &format!("{credentials} from their backends: the leases")),
                waiting > 0,
                "{report}"
            );
            assert_eq!(says(of(&[State::Live]), leases), of(&[State::Live]) > 0, "{report}");
        }
    }

    /// Time passes and the backend is well: all ends, and all that was made is gone.
    async fn wind_up(&mut self) {
        self.vault.far.temper(Temper::Well);
        self.vault.reopen().await;
        for _ in 0..4 {
            self.vault.clock.advance(Seconds(4000));
            self.vault.vault().tend_once().await;
            self.vault.vault().undo_once().await;
        }
        self.vault.vault().sweep().await;
        assert!(self.vault.far.handles().is_empty(), "left at the backend: {:?}", self.vault.far.handles());
        let census = self.vault.vault().store().census().await.unwrap();
        assert_eq!((census.leases, census.sessions, census.quarantined.len()), (0, 0, 0));
        assert!(self.leases(Which::Stuck).await.is_empty() && self.leases(Which::Live).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_the_chains_are_intact_and_agree_with_the_store() {
    let (mut kinds, mut runs) = (std::collections::BTreeMap::<String, u64>::new(), Vec::new());
    for seed in 1..=SEEDS {
        runs.push(tokio::spawn(async move {
            let mut run = Run::new(seed).await;
            for step in 1..=STEPS {
                run.step().await;
                if step % 35 == 0 {
                    run.chains_and_store_agree().await;
                }
            }
            run.wind_up().await;
            run.chains_and_store_agree().await;
            run.reports().await
        }));
    }
    for (run, seed) in runs.into_iter().zip(1_u64..) {
        let reports = run.await.unwrap_or_else(|why| panic!("the run of seed {seed}: {why}"));
        for (kind, count) in reports.into_iter().flat_map(|report| report.kinds) {
            *kinds.entry(kind).or_default() += count;
        }
    }
    // Chance has brought all of it.
    for kind in [
        "issue",
        "deny",
        "renew",
        "release",
        "close",
        "revoke",
        "expire",
        "undone",
        "forget",
        "session_end",
        "freeze",
        "thaw",
    ] {
        assert!(kinds.get(kind).is_some_and(|count| *count > 0), "no {kind} in any run: {kinds:?}");
    }
}
