//! The real thing beside the model: a vault with its store, backends, agents and an operator, all in this process, on one
//! clock and one source of randomness. Each step is done to both, and whatever differs ends the run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use nockvault::audit::verify::Verifier;
use nockvault::authz::Peer;
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SealSecretKey, Sealed};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::denial::Reason;
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::LeaseId;
use nockvault::seal::reply as seal;
use nockvault::statement::reply::{EntryRef, Issued};
use nockvault::time::{ManualClock, Timestamp};
use nockvault::vault::Vault;
use nockvault::vault::answer::Outcome;
use nockvault::vault::operate::Call;
use rusqlite::Connection;
use serde_json::Value;

use super::backend::Far;
use super::model::{self, CHAINS, Come, Model};
use super::ops::{AGENTS, Dice, In, Op, Order, ROLES, Slant, Temper, Wish};
use super::sign::{Hand, Rpc};
use super::template::{self, Opened, START, TEMPLATE};
use super::wal::Position;

/// A defect that is put in on purpose, to see that it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Nothing,
    /// A crash takes the nonces with it.
    ForgetsNonces,
    /// A crash takes what was answered last with it, as on a disk that does not sync.
    LosesTheLast,
    /// A backend that keeps what it says it has taken away.
    Clings,
}

/// What was done in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub runs: u64,
    pub ops: u64,
    pub statements: u64,
    pub accepted: u64,
    pub crashes: u64,
    /// Crashes that lost a part of what the step had written.
    pub cut: u64,
    pub faults: u64,
    /// Writes for which there was no room.
    pub full: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Figures) {
        self.runs += other.runs;
        self.ops += other.ops;
        self.statements += other.statements;
        self.accepted += other.accepted;
        self.crashes += other.crashes;
        self.cut += other.cut;
        self.faults += other.faults;
        self.full += other.full;
    }
}

/// What somebody signed and sent.
#[derive(Clone)]
pub struct Sent {
    pub envelope: Envelope,
    pub said: Said,
}

#[derive(Clone, Copy)]
pub enum Said {
    Request(model::Request, Rpc),
    Command(model::Command, Call),
}

pub type Step = Result<(), String>;

pub struct World {
    _folder: tempfile::TempDir,
    pub data: PathBuf,
    pub clock: ManualClock,
    pub entropy: Arc<dyn Entropy>,
    pub dice: Dice,
    pub far: Far,
    pub hurried: bool,
    pub planted: Planted,
    pub opened: Option<Opened>,
    pub database: Option<Connection>,
    pub model: Model,
    pub hands: Vec<Hand>,
    pub sent: Vec<Sent>,
    /// The latest that the clock ever said.
    pub latest: u64,
    pub full: bool,
    /// Nobody hears the answers.
    pub deaf: bool,
    pub receipts: Vec<(usize, EntryRef)>,
    /// Leases as the vault names them, by the number of their request, and back.
    pub ids: BTreeMap<u64, LeaseId>,
    pub numbers: BTreeMap<Digest, u64>,
    /// Leases whose credential is rightly not where it was made.
    pub excused: std::collections::BTreeSet<u64>,
    /// Keys that statements brought, by the number of the statement.
    pub made: BTreeMap<u64, SigningKey>,
    /// Where the log was when the step before began.
    pub former: Position,
    start: Position,
    pub chains: Vec<super::look::ChainSeen>,
    /// Of each chain, how many entries the model does not tell.
    pub beside: [usize; CHAINS],
    pub verifiers: Vec<Verifier<'static>>,
    pub figures: Figures,
}

/// From where a request comes.
pub fn peer(near: bool) -> Peer {
    if near { Peer::Unix(None) } else { Peer::Tcp([10, 0, 0, 1].into()) }
}

pub async fn call(vault: &Vault, sent: &Sent) -> Outcome {
    let envelope = sent.envelope.clone();
    match sent.said {
        Said::Request(asked, rpc) => match rpc {
            Rpc::OpenSession => vault.open_session(envelope).await,
            Rpc::Issue => vault.issue(envelope, peer(asked.near)).await,
            Rpc::Renew => vault.renew(envelope, peer(asked.near)).await,
            Rpc::Release => vault.release(envelope).await,
            Rpc::Close => vault.close(envelope).await,
            Rpc::RotateKey => vault.rotate_key(envelope).await,
        },
        Said::Command(_, call) => vault.operate(call, envelope, None).await,
    }
}

impl World {
    pub async fn begin(seed: u64, planted: Planted) -> Result<World, String> {
        let folder = template::folder();
        let data = folder.path().join("data");
        TEMPLATE.copy_to(&data);
        let hurried = seed % 16 == 15;
        let clock = ManualClock::at(START);
        let far = Far::new(&ROLES, clock.clone(), data.clone(), hurried);
        if planted == Planted::Clings {
            far.cling();
        }
        let mut world = World {
            _folder: folder,
            data,
            clock,
            entropy: Arc::new(SeededEntropy::new(seed)),
            dice: Dice::new(seed ^ 0x6469_6365),
            far,
            hurried,
            planted,
            opened: None,
            database: None,
            model: TEMPLATE.model(hurried),
            hands: (0..AGENTS).map(|_| Hand::default()).collect(),
            sent: Vec::new(),
            latest: START.0,
            full: false,
            deaf: false,
            receipts: Vec::new(),
            ids: BTreeMap::new(),
            numbers: BTreeMap::new(),
            excused: Default::default(),
            made: BTreeMap::new(),
            former: Position::default(),
            start: Position::default(),
            chains: Vec::new(),
            beside: [0; CHAINS],
            verifiers: Vec::new(),
            figures: Figures { runs: 1, ..Figures::default() },
        };
        world.open().await?;
        world.model.start();
        world.check().await?;
        Ok(world)
    }

    pub async fn open(&mut self) -> Step {
        let with = (&self.clock, &self.entropy);
        self.opened = Some(template::open(&self.data, &TEMPLATE.root, with, &self.far, self.hurried).await?);
        self.database = Some(super::look::connect(&self.data));
        self.chains = (0..CHAINS).map(|_| Default::default()).collect();
        self.beside = [0; CHAINS];
        self.verifiers = (0..CHAINS).map(|_| Verifier::new(&TEMPLATE.pins)).collect();
        self.full = false;
        Ok(())
    }

    /// The process is gone, without a word.
    pub fn close(&mut self) {
        self.database = None;
        self.opened = None;
    }

    pub fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.opened.as_ref().unwrap().0)
    }

    // --- steps

    pub async fn step(&mut self, op: &Op) -> Step {
        self.figures.ops += 1;
        self.far.begin();
        self.former = std::mem::replace(&mut self.start, Position::of(&self.data));
        if self.full && self.model.turns() {
            // Which key signs from when on is not for the full disk to make unclear.
            self.full(false).await?;
        }
        match op {
            Op::Meanwhile(wish, other) => {
                let sent = self.request(wish, None);
                self.meanwhile(sent, Some(other)).await?;
            }
            Op::Gone(wish) => {
                let sent = self.request(wish, None);
                self.meanwhile(sent, None).await?;
            }
            Op::Storm(wish, copies) => {
                let sent = self.request(wish, None);
                self.storm(sent, *copies).await?;
            }
            Op::Full(full) => self.full(*full).await?,
            Op::Restart => self.restart().await?,
            Op::Crash { during, after, torn } => self.crash(during.as_deref(), *after, *torn).await?,
            plain => self.plain(plain).await?,
        }
        self.check().await
    }

    /// A step that has no other within.
    pub async fn plain(&mut self, op: &Op) -> Step {
        match op {
            Op::Request(wish) => {
                let sent = self.request(wish, None);
                self.give(sent).await
            }
            Op::Again(which) => match self.sent.iter().rev().nth(*which).cloned() {
                Some(sent) => self.give(sent).await,
                None => Ok(()),
            },
            Op::Reuse(which, ask) => {
                let requests = self.sent.iter().rev().filter_map(|sent| match sent.said {
                    Said::Request(asked, _) => Some(asked),
                    Said::Command(..) => None,
                });
                let Some(first) = requests.skip(*which).map(|asked| (asked.agent, asked.nonce)).next() else {
                    return Ok(());
                };
                let wish = Wish { agent: first.0, session: In::Same, ask: *ask, slant: Slant::Right };
                let sent = self.request(&wish, Some(first.1));
                self.give(sent).await
            }
            Op::Command(order) => {
                let sent = self.command(order);
                self.give(sent).await
            }
            Op::Clock(seconds) => self.set_clock(*seconds).await,
            Op::Tend => self.tend().await,
            Op::Undo => {
                self.vault().undo_once().await;
                Ok(())
            }
            Op::Sweep => self.sweep().await,
            Op::Temper(role, temper) => {
                self.far.temper(ROLES[*role], *temper);
                Ok(())
            }
            other => Err(format!("{other:?} has no place here")),
        }
    }

    async fn set_clock(&mut self, seconds: i64) -> Step {
        if self.full && seconds.abs() >= 3600 {
            self.full(false).await?;
        }
        let to = self.model.now.saturating_add_signed(seconds * 1000);
        self.clock.set(Timestamp(to));
        self.model.now = to;
        self.latest = self.latest.max(to);
        // What looks after the vault does so each second; no daemon lets a day go by.
        if seconds.abs() >= 86_400 { self.tend().await } else { Ok(()) }
    }

    async fn tend(&mut self) -> Step {
        let before = self.model.clone();
        self.model.steps.clear();
        self.model.tend();
        self.vault().tend_once().await;
        if self.full { self.settle_for(before, None).await } else { Ok(()) }
    }

    async fn sweep(&mut self) -> Step {
        for (number, lease) in &self.model.leases {
            if lease.expires + model::LATE <= self.model.now {
                self.excused.insert(*number);
            }
        }
        self.vault().sweep().await;
        for place in &ROLES[1..] {
            let there = self.far.there(place);
            let orphans: Vec<&String> = there.credentials.keys().filter(|handle| !self.answered_for(handle)).collect();
            if there.temper == Temper::Well && !orphans.is_empty() {
                return Err(format!("the sweep left at {place} what no lease answers for: {orphans:?}"));
            }
        }
        Ok(())
    }

    pub async fn full(&mut self, full: bool) -> Step {
        let limit = if full { 1 } else { 1 << 40 };
        let store = Arc::clone(&self.opened.as_ref().unwrap().1);
        store.limit_size(limit).await.map_err(|why| format!("the size cannot be limited: {why}"))?;
        self.full = full;
        Ok(())
    }

    async fn restart(&mut self) -> Step {
        self.full(false).await?;
        self.vault().stop().await;
        self.close();
        self.open().await?;
        self.model.start();
        Ok(())
    }

    // --- statements

    /// What the model says of a statement, and what comes of it.
    fn foretell(&mut self, said: &Said) -> Result<(), Reason> {
        self.model.steps.clear();
        match said {
            Said::Command(given, _) => self.model.command(given),
            Said::Request(asked, _) => {
                let renews = self.renews(asked);
                match self.model.request(asked, renews)? {
                    Come::Done => Ok(()),
                    Come::Making => self.model.made(asked, Far::says(self.temper_of(asked))),
                }
            }
        }
    }

    fn temper_of(&self, asked: &model::Request) -> Temper {
        match asked.what {
            model::What::Issue { role, .. } if role > 0 => self.far.there(ROLES[role]).temper,
            _ => Temper::Well,
        }
    }

    /// What the backend of a lease says when it is asked to prolong.
    fn renews(&self, asked: &model::Request) -> Result<(), Reason> {
        let model::What::Renew { lease: number, .. } = asked.what else { return Ok(()) };
        let Some(lease) = self.model.leases.get(&number).filter(|lease| lease.role > 0) else { return Ok(()) };
        let there = self.far.there(ROLES[lease.role]);
        Far::says(there.temper)?;
        let known = self.handle_of(number).is_some_and(|handle| there.credentials.contains_key(&handle));
        if known || there.temper == Temper::Lying { Ok(()) } else { Err(Reason::EngineRefused) }
    }

    /// Gives a statement to both, and holds what they say against each other.
    async fn give(&mut self, sent: Sent) -> Step {
        self.figures.statements += 1;
        let before = self.model.clone();
        let foretold = self.foretell(&sent.said);
        let outcome = call(&self.vault(), &sent).await;
        self.compare(&sent, foretold, outcome, before).await
    }

    async fn compare(&mut self, sent: &Sent, foretold: Result<(), Reason>, outcome: Outcome, before: Model) -> Step {
        let happened = match &outcome {
            Outcome::Released(_) => Ok(()),
            Outcome::Refused(refused) => Err(refused.denial.reason),
        };
        if self.full && happened == Err(Reason::AuditUnavailable) {
            self.figures.full += 1;
            let asked = match sent.said {
                Said::Request(asked, _) => Some(asked.number),
                Said::Command(..) => None,
            };
            return self.settle_for(before, asked).await;
        }
        if happened != foretold {
            return Err(format!("{} was {happened:?}, and should be {foretold:?}", told(&sent.said)));
        }
        match outcome {
            Outcome::Released(released) => {
                self.figures.accepted += 1;
                if self.deaf { Ok(()) } else { self.hear(sent, &released.into_envelope()) }
            }
            // A stranger gets no signed word, everybody else does.
            Outcome::Refused(refused) => {
                let signed = refused.signed.is_some();
                let stranger = refused.denial.reason == Reason::Unauthenticated;
                if signed != stranger { Ok(()) } else { Err(format!("{}: signed {signed}", told(&sent.said))) }
            }
        }
    }

    /// Someone gets the answer: it is the vault's, its entry stands, and what is sealed opens.
    fn hear(&mut self, sent: &Sent, envelope: &Envelope) -> Step {
        let wrong = |what: &str| format!("{}: the answer {what}", told(&sent.said));
        let signed =
            TEMPLATE.response.verify(Form::Pae, PayloadType::Response.as_str(), &envelope.payload, &envelope.signature);
        signed.map_err(|_| wrong("is not the vault's"))?;
        let said: Value = serde_json::from_slice(&envelope.payload).map_err(|_| wrong("is no JSON"))?;
        let entry: EntryRef = serde_json::from_value(said["entry"].clone()).map_err(|_| wrong("names no entry"))?;
        let Said::Request(asked, rpc) = sent.said else {
            self.receipts.push((model::OPERATORS, entry));
            return Ok(());
        };
        self.receipts.push((asked.agent, entry));
        let hand = &mut self.hands[asked.agent];
        if entry.seq + 1 > hand.seen.size {
            hand.seen = entry.seen();
        }
        if rpc == Rpc::Issue {
            let issued: Issued = serde_json::from_value(said).map_err(|_| wrong("is no credential"))?;
            let model::What::Issue { seal: which, .. } = asked.what else { return Err(wrong("is for nobody")) };
            let key: &SealSecretKey = &hand.seals[&(asked.sid, which)];
            let enc = issued.enc.0.as_slice().try_into().map_err(|_| wrong("is not sealed"))?;
            let sealed = Sealed { enc, ct: issued.ct.0.clone() };
            let secret = seal::open(key, &issued.hdr, &sealed).map_err(|_| wrong("does not open"))?;
            let secret: Value = serde_json::from_slice(secret.expose()).map_err(|_| wrong("holds no JSON"))?;
            let handle = nockvault::id::handle(&issued.hdr.agent, &issued.hdr.lease);
            if secret["name"] != handle.as_str() {
                return Err(wrong("holds another credential"));
            }
            self.ids.insert(asked.number, issued.hdr.lease);
        }
        Ok(())
    }

    /// The backend makes the credential, and before its answer arrives something else happens; or nobody waits for it.
    async fn meanwhile(&mut self, sent: Sent, other: Option<&Op>) -> Step {
        let Said::Request(asked, _) = sent.said else { return Ok(()) };
        let makes = matches!(self.temper_of(&asked), Temper::Well | Temper::Lying);
        if self.full || self.hurried || !makes {
            return self.give(sent).await;
        }
        self.figures.statements += 1;
        let before = self.model.clone();
        self.model.steps.clear();
        let foretold = self.model.request(&asked, Ok(()));
        if foretold != Ok(Come::Making) {
            let outcome = call(&self.vault(), &sent).await;
            return self.compare(&sent, foretold.map(drop), outcome, before).await;
        }
        self.far.hold(true);
        let (vault, far, asking) = (self.vault(), self.far.clone(), sent.clone());
        let mut under_way = Box::pin(async move { call(&vault, &asking).await });
        tokio::select! {
            _ = &mut under_way => return Err(format!("{} was answered before its backend", told(&sent.said))),
            () = far.reached() => {}
        }
        self.check().await?;
        let Some(other) = other else {
            // It is dropped here.
            return Ok(());
        };
        Box::pin(self.plain(other)).await?;
        self.check().await?;
        let before = self.model.clone();
        let foretold = self.model.made(&asked, Ok(()));
        self.far.go_on();
        let outcome = under_way.await;
        self.compare(&sent, foretold, outcome, before).await
    }

    /// Copies of one statement at once: one is taken as any, the others as its copies.
    async fn storm(&mut self, sent: Sent, copies: usize) -> Step {
        if self.full {
            return self.give(sent).await;
        }
        self.figures.statements += copies as u64;
        let first = self.foretell(&sent.said);
        let again = self.foretell(&sent.said);
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..copies {
            let (vault, sent) = (self.vault(), sent.clone());
            calls.spawn(async move { call(&vault, &sent).await });
        }
        let mut happened = Vec::new();
        while let Some(done) = calls.join_next().await {
            match done.map_err(|why| format!("a copy ended with {why}"))? {
                Outcome::Released(released) => {
                    self.figures.accepted += 1;
                    happened.push(Ok(()));
                    self.hear(&sent, &released.into_envelope())?;
                }
                Outcome::Refused(refused) => happened.push(Err(refused.denial.reason)),
            }
        }
        let one = happened.iter().position(|one| *one == first);
        let rest = one.map(|one| happened.swap_remove(one)).is_some();
        let good = |one: &Result<(), Reason>| *one == again || *one == Err(Reason::Replay);
        if rest && happened.iter().all(good) {
            return Ok(());
        }
        Err(format!("of copies of {} one should be {first:?} and the rest {again:?}: {happened:?}", told(&sent.said)))
    }

    fn command(&mut self, order: &Order) -> Sent {
        let sent = self.sign_command(order);
        self.sent.push(sent.clone());
        sent
    }

    fn request(&mut self, wish: &Wish, nonce: Option<u64>) -> Sent {
        let sent = self.sign_request(wish, nonce);
        self.sent.push(sent.clone());
        sent
    }
}

/// A statement, for people.
pub fn told(said: &Said) -> String {
    match said {
        Said::Request(asked, _) => format!("{asked:?}"),
        Said::Command(given, _) => format!("{given:?}"),
    }
}
