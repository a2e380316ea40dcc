//! What happens in a run, as data: it is made before the run and names things by small numbers, so that any of it can be
//! left out and the rest still means something.

use nockvault::entropy::{Entropy, SeededEntropy};

/// How many agents there are.
pub const AGENTS: usize = 3;
/// The roles: the credentials of the first live nowhere, those of the others at a backend each.
pub const ROLES: [&str; 3] = ["near", "far", "deep"];

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slant {
    /// Nothing.
    Right,
    /// The key before the newest signs it.
    FormerKey,
    /// A key that nobody registered signs it.
    Stranger,
    /// A byte of the signature is another.
    Forged,
    /// It is for another vault.
    Elsewhere,
    /// It claims a history that never was.
    FalseSeen,
    /// It was signed so many seconds from now.
    Dated(i32),
    /// It names another seal than its session has.
    OtherSeal,
    /// It comes from an address that narrow grants do not cover.
    Outside,
}

/// Which session a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// The one that the agent had last.
    Same,
    /// One that nobody has opened yet.
    New,
    /// The one before.
    Former,
}

/// What an agent asks for. Leases are counted among those that it asked for, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Hello,
    Issue {
        role: usize,
        ttl: u64,
    },
    Renew {
        lease: usize,
        ttl: u64,
    },
    Release {
        lease: usize,
    },
    ReleaseReq {
        lease: usize,
    },
    /// A lease of another agent.
    ReleaseOthers {
        lease: usize,
    },
    Close,
    Rotate,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub agent: usize,
    pub session: In,
    pub ask: Ask,
    pub slant: Slant,
}

/// The terms of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    pub ttl: u64,
    pub max_ttl: u64,
    pub max_uses: Option<u64>,
    /// Seconds from the command on.
    pub lasts: Option<u64>,
    /// Whether it is for requests from this host alone.
    pub narrow: bool,
}

/// What an operator commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Grant {
        agent: usize,
        role: usize,
        terms: Terms,
    },
    Ungrant {
        agent: usize,
        role: usize,
    },
    FreezeAgent(usize),
    ThawAgent(usize),
    FreezeRole(usize),
    ThawRole(usize),
    FreezeVault,
    ThawVault,
    RevokeLease {
        agent: usize,
        lease: usize,
    },
    RevokeAgent(usize),
    RevokeSession(usize),
    RevokeRole(usize),
    RevokeAll,
    /// Ends the newest key, or all.
    EndKey {
        agent: usize,
        all: bool,
    },
    NextKey(usize),
    Forget {
        agent: usize,
        lease: usize,
    },
}

/// How a backend takes calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Temper {
    #[default]
    Well,
    Away,
    Refusing,
    /// It never answers, and does nothing.
    Silent,
    /// It does what it is told, and the answer is lost.
    Mute,
    /// It says yes and does nothing.
    Lying,
    /// What is to be made comes into being forty seconds later, when nobody waits for it any more.
    Late,
}

/// How the end of the database's log looks after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// It ends with a whole frame.
    Clean,
    /// It ends within a frame.
    Short,
    /// A sector within is empty, though later ones are there.
    Hole,
    /// Behind it stands what was never written.
    Garbage,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Request(Wish),
    /// The same bytes as an earlier request or command, the newest first.
    Again(usize),
    /// Another body under the nonce of an earlier request.
    Reuse(usize, Ask),
    /// Copies that arrive together.
    Storm(Wish, usize),
    Command(Order),
    /// While the backend makes the credential, something else happens.
    Meanwhile(Wish, Box<Op>),
    /// While the backend makes the credential, the caller goes away.
    Gone(Wish),
    /// Seconds.
    Clock(i64),
    Tend,
    Undo,
    Sweep,
    Temper(usize, Temper),
    /// The database can grow no more, or can again.
    Full(bool),
    /// An orderly stop and a start.
    Restart,
    /// A crash after so much (of 255) of what the step wrote, whose answer nobody hears.
    Crash {
        during: Option<Box<Op>>,
        after: u8,
        torn: Torn,
    },
}

/// Draws from one stream.
pub struct Dice(SeededEntropy);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    pub fn below(&mut self, bound: usize) -> usize {
        let entropy: &dyn Entropy = &self.0;
        usize::try_from(u64::from_le_bytes(entropy.bytes()) % bound as u64).unwrap_or_default()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// One in so many.
    fn once_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn ask(&mut self) -> Ask {
        let lease = self.below(4);
        match self.below(20) {
            0 => Ask::Hello,
            1..=8 => Ask::Issue { role: self.below(ROLES.len()), ttl: self.of(&[0, 0, 0, 30, 300, 900, 3600, 8000]) },
            9..=11 => Ask::Renew { lease, ttl: self.of(&[0, 0, 60, 600, 3600]) },
            12..=14 => Ask::Release { lease },
            15 => Ask::ReleaseReq { lease },
            16 => Ask::ReleaseOthers { lease },
            17 => Ask::Close,
            _ => Ask::Rotate,
        }
    }

    fn slant(&mut self) -> Slant {
        match self.below(40) {
            0 => Slant::FormerKey,
            1 => Slant::Stranger,
            2 => Slant::Forged,
            3 => Slant::Elsewhere,
            4 => Slant::FalseSeen,
            5 | 6 => Slant::Dated(self.of(&[-301, -300, -299, -20, 20, 299, 300, 301])),
            7 => Slant::OtherSeal,
            8 => Slant::Outside,
            _ => Slant::Right,
        }
    }

    fn wish(&mut self) -> Wish {
        let session = match self.below(12) {
            0 | 1 => In::New,
            2 => In::Former,
            _ => In::Same,
        };
        Wish { agent: self.below(AGENTS), session, ask: self.ask(), slant: self.slant() }
    }

    /// A request that is likely to come to a backend.
    fn issue(&mut self) -> Wish {
        let ask = Ask::Issue { role: 1 + self.below(2), ttl: 0 };
        Wish { ask, slant: Slant::Right, ..self.wish() }
    }

    fn terms(&mut self) -> Terms {
        Terms {
            ttl: self.of(&[60, 300]),
            max_ttl: self.of(&[300, 900, 3600]),
            max_uses: self.of(&[None, None, Some(1), Some(3)]),
            lasts: self.of(&[None, None, None, Some(0), Some(120), Some(1000)]),
            narrow: self.once_in(4),
        }
    }

    fn order(&mut self) -> Order {
        let (agent, role, lease) = (self.below(AGENTS), self.below(ROLES.len()), self.below(3));
        match self.below(26) {
            0..=6 => Order::Grant { agent, role, terms: self.terms() },
            7 | 8 => Order::Ungrant { agent, role },
            9 => Order::FreezeAgent(agent),
            10 | 11 => Order::ThawAgent(agent),
            12 => Order::FreezeRole(role),
            13 | 14 => Order::ThawRole(role),
            15 => Order::FreezeVault,
            16 | 17 => Order::ThawVault,
            18 => Order::RevokeLease { agent, lease },
            19 => Order::RevokeAgent(agent),
            20 => Order::RevokeSession(agent),
            21 => self.of(&[Order::RevokeRole(role), Order::RevokeAll]),
            22 => Order::EndKey { agent, all: self.once_in(2) },
            23 | 24 => Order::NextKey(agent),
            _ => Order::Forget { agent, lease },
        }
    }

    fn clock(&mut self) -> i64 {
        let ahead = self.of(&[0, 1, 20, 45, 61, 130, 299, 301, 700, 3601, 7300, 90_000, 400_000]);
        if self.once_in(4) { -self.of(&[1, 30, 299, 301, 1000, 100_000]) } else { ahead }
    }

    fn temper(&mut self) -> Op {
        let tempers = [
            Temper::Well,
            Temper::Well,
            Temper::Away,
            Temper::Refusing,
            Temper::Silent,
            Temper::Mute,
            Temper::Lying,
            Temper::Late,
        ];
        Op::Temper(1 + self.below(2), self.of(&tempers))
    }

    /// A step that has no other within.
    fn plain(&mut self) -> Op {
        match self.below(50) {
            0..=21 => Op::Request(self.wish()),
            22..=24 => Op::Again(self.below(12)),
            25 => Op::Reuse(self.below(6), self.ask()),
            26..=34 => Op::Command(self.order()),
            35..=39 => Op::Clock(self.clock()),
            40..=43 => Op::Tend,
            44..=46 => Op::Undo,
            47 => Op::Sweep,
            _ => self.temper(),
        }
    }

    fn crash(&mut self) -> Op {
        let during = (!self.once_in(4)).then(|| Box::new(self.plain()));
        let after = if self.once_in(3) { 255 } else { u8::try_from(self.below(256)).unwrap_or_default() };
        Op::Crash { during, after, torn: self.of(&[Torn::Clean, Torn::Short, Torn::Hole, Torn::Garbage]) }
    }

    fn op(&mut self) -> Op {
        match self.below(60) {
            0..=3 => self.crash(),
            4 | 5 => Op::Meanwhile(self.issue(), Box::new(self.plain())),
            6 => Op::Gone(self.issue()),
            7 => Op::Storm(self.wish(), 2 + self.below(6)),
            8 => Op::Full(self.once_in(2)),
            9 if self.once_in(2) => Op::Restart,
            10..=20 => Op::Request(self.issue()),
            _ => self.plain(),
        }
    }
}

/// All that happens in the run of this seed.
pub fn drawn(seed: u64) -> Vec<Op> {
    let mut dice = Dice::new(seed ^ 0x6f70_7321);
    let count = 6 + dice.below(30);
    (0..count).map(|_| dice.op()).collect()
}

impl Op {
    /// The same where so many statements less were made since the one that it names.
    pub fn nearer(&self, by: usize) -> Op {
        match self {
            Op::Again(which) => Op::Again(which.saturating_sub(by)),
            Op::Reuse(which, ask) => Op::Reuse(which.saturating_sub(by), *ask),
            op => op.clone(),
        }
    }

    /// Steps that are a part of this one.
    pub fn simpler(&self) -> Vec<Op> {
        match self {
            Op::Crash { during: Some(op), after, torn } => vec![
                (**op).clone(),
                Op::Crash { during: None, after: *after, torn: *torn },
                Op::Crash { during: Some(op.clone()), after: *after, torn: Torn::Clean },
            ],
            Op::Meanwhile(wish, other) => vec![(**other).clone(), Op::Request(*wish)],
            Op::Gone(wish) | Op::Storm(wish, _) => vec![Op::Request(*wish)],
            _ => Vec::new(),
        }
    }
}
