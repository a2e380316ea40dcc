//! A chain of any length, as a vault writes it of one agent that works: a session of a hundred entries, in it credentials
//! that are given and given back, and its end; a checkpoint after each thousand entries, a new audit key after each ten
//! thousand. Every request countersigns the newest entry.

use std::io::{self, Write};

use nockvault::audit::certificate::{Life, cert_of, certify_key};
use nockvault::audit::chain::{AuditKey, Head, append};
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::entry::{self, Body, By};
use nockvault::base64url::Bytes;
use nockvault::crypto::envelope::{Embedded, Envelope, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::id::{Aud, ChainName, LeaseId, Nonce, Sid, handle};
use nockvault::statement::cert::KeyRole;
use nockvault::statement::grant::Terms;
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::lease::Release;
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::reply::{Hdr, Revocation};
use nockvault::statement::request::{Common, Request};
use nockvault::statement::session::{Close, Seal};
use nockvault::statement::{self, VERSION};
use nockvault::time::{Seconds, Timestamp};

const START: Timestamp = Timestamp(1_780_500_000_000);
const TTL: Seconds = Seconds(600);
const SESSION: u64 = 100;
const CHECKPOINT: u64 = 1000;
const EPOCH: u64 = 10_000;

/// The vault's identity key.
pub(crate) fn identity() -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(1))
}

struct Scribe<W> {
    out: W,
    entropy: SeededEntropy,
    aud: Aud,
    agent: SigningKey,
    checkpoint: SigningKey,
    audit: AuditKey,
    seal: Seal,
    head: Head,
    now: Timestamp,
    sid: Sid,
    grant: u64,
    lease: Option<LeaseId>,
}

/// Writes a chain of so many entries, at least two.
pub(crate) fn write(out: &mut impl Write, size: u64) -> io::Result<()> {
    let entropy = SeededEntropy::new(2);
    let (agent, checkpoint) = (SigningKey::generate(&entropy), SigningKey::generate(&entropy));
    let aud = Aud::of_identity(&identity().kid());
    let mut scribe = Scribe {
        out,
        seal: Seal { pk: SealSecretKey::generate(&entropy).public().into(), suite: SUITE.into(), sig_pk: None },
        audit: audit_key(&aud, &entropy, START),
        head: Head::empty(&"prod".parse().unwrap(), &"kit".parse().unwrap()),
        now: START,
        sid: "work-0".parse().unwrap(),
        grant: 1,
        lease: None,
        entropy,
        aud,
        agent,
        checkpoint,
    };
    scribe.begin()?;
    while scribe.head.size < size {
        scribe.next()?;
    }
    scribe.out.flush()
}

fn audit_key(aud: &Aud, entropy: &SeededEntropy, now: Timestamp) -> AuditKey {
    let key = SigningKey::generate(entropy);
    AuditKey::certify(key, &identity(), aud, "n1", 1, now, now.plus(Seconds(86_400)))
}

impl<W: Write> Scribe<W> {
    fn random<const N: usize>(&self) -> [u8; N] {
        let entropy: &dyn Entropy = &self.entropy;
        entropy.bytes()
    }

    fn put(&mut self, body: impl Into<Body>) -> io::Result<()> {
        self.now = Timestamp(self.now.0 + 100);
        let (mut line, head) = append(&self.head, &self.audit, &body.into(), self.now).unwrap();
        line.push(b'\n');
        self.head = head;
        self.out.write_all(&line)
    }

    fn by(&self, seq: u64) -> By {
        By { chain: ChainName::operators(), leaf: Digest::of(&self.random::<8>()), seq }
    }

    fn begin(&mut self) -> io::Result<()> {
        let register = Register {
            holder: Holder::Agent("kit".parse().unwrap()),
            aud: self.aud.clone(),
            form: Form::Pae,
            iat: self.now,
            kver: 1,
            nonce: Nonce::from_bytes(&self.random()),
            pk: self.agent.public(),
            prev: None,
        };
        let genesis = entry::Genesis {
            agent: "kit".parse().unwrap(),
            by: self.by(1),
            identity: Bytes(identity().public().to_bytes().to_vec()),
            register: register.sign(&self.agent),
            salt: Bytes(self.random::<16>().to_vec()),
        };
        self.put(genesis)?;
        let terms = Terms {
            ttl: TTL,
            max_ttl: Seconds(3600),
            max_uses: None,
            until: None,
            session: None,
            from: Vec::new(),
            rate: None,
        };
        self.put(entry::Grant { by: self.by(2), role: "orders-read".parse().unwrap(), terms })
    }

    fn next(&mut self) -> io::Result<()> {
        let size = self.head.size;
        if size.is_multiple_of(EPOCH) {
            self.audit = audit_key(&self.aud, &self.entropy, self.now);
        }
        if size % CHECKPOINT == CHECKPOINT - 1 {
            return self.vouch();
        }
        if size % SESSION == SESSION - 2 {
            let request = self.ask(Close {});
            self.lease = None;
            self.put(entry::Close { request })?;
            self.sid = format!("work-{size}").parse().unwrap();
            return Ok(());
        }
        match self.lease.take() {
            Some(lease) => {
                let request = self.ask(Release::Lease(lease.clone()));
                self.put(entry::Release { lease, request })
            }
            None => self.issue(),
        }
    }

    fn vouch(&mut self) -> io::Result<()> {
        let public = self.checkpoint.public();
        let life = Life { nbf: START, exp: self.now.plus(Seconds(86_400)) };
        let cert = cert_of(KeyRole::Checkpoint, public.to_bytes(), public.kid(), &self.aud, "n1", 1, life);
        let note = Checkpoint::of(&self.head.origin, &self.head.tree).sign(&self.checkpoint);
        let tree = self.head.tree.peaks().to_vec();
        self.put(entry::Checkpoint { cert: certify_key(&identity(), &cert), note, tree })
    }

    fn issue(&mut self) -> io::Result<()> {
        let request = self.ask(Issue {
            role: "orders-read".parse().unwrap(),
            ttl: TTL,
            params: serde_json::Map::new(),
            purpose: Purpose::default(),
            seal: self.seal.clone(),
        });
        let lease = LeaseId::new(self.now.0, self.random());
        let hdr = Hdr {
            agent: "kit".parse().unwrap(),
            exp: self.now.plus(TTL),
            iat: self.now,
            kid: self.agent.kid(),
            lease: lease.clone(),
            renewable: true,
            revocation: Revocation::None,
            req: request.open(PayloadType::Request).digest(),
            role: "orders-read".parse().unwrap(),
            sid: self.sid.clone(),
            vault: self.aud.clone(),
        };
        let handle = handle(&hdr.agent, &hdr.lease);
        self.lease = Some(lease);
        let sealed = Digest::of(&self.random::<8>());
        self.put(entry::Issue { grant: self.grant, handle, hdr, request, sealed })
    }

    fn ask<B: statement::Body>(&self, body: B) -> Embedded {
        let common = Common {
            v: VERSION,
            typ: B::TYP.into(),
            aud: self.aud.clone(),
            agent: "kit".parse().unwrap(),
            kid: self.agent.kid(),
            kver: 1,
            sid: self.sid.clone(),
            nonce: Nonce::from_bytes(&self.random()),
            iat: self.now,
            seen: self.head.seen(),
        };
        Envelope::sign(PayloadType::Request, &Request { common, body }, &self.agent, Form::Pae).embed().unwrap()
    }
}
