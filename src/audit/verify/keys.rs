//! Keys as a chain tells them: the vault's audit keys by their certificates, and the holder's keys by their register
//! statements, each with the time in which it is accepted.

use std::collections::HashMap;

use super::ahead::{Guess, Opened, Read};
use super::report::{Fault, Finding, KeySeen};
use crate::audit::certificate::{self, Life, open_signer};
use crate::audit::line::Frame;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{Form, PublicKey};
use crate::id::{Aud, Kid};
use crate::statement::cert::KeyRole;
use crate::statement::register::{Holder, Register};
use crate::time::Timestamp;

/// How many audit keys may be good at once, and how many keys a holder may have had: whole chains hold far fewer, and a
/// file that was made to exhaust this program holds more.
const MOST: usize = 10_000;

/// How many audit keys a chain may have had.
const MOST_EVER: usize = 1_000_000;

/// How many of the newest keys are worth trying on lines whose turn has not come.
const WORTH_TRYING: usize = 4;

/// The audit keys that are still good. A key past its end is forgotten with the next certificate: `ts` never falls, so it
/// cannot come again.
#[derive(Debug)]
pub(super) struct AuditKeys {
    identity: PublicKey,
    good: HashMap<Kid, (PublicKey, Life)>,
    /// The one that signed the newest entry.
    newest: Option<Kid>,
    seen: Vec<Kid>,
}

impl AuditKeys {
    pub(super) fn new(identity: PublicKey) -> AuditKeys {
        AuditKeys { identity, good: HashMap::new(), newest: None, seen: Vec::new() }
    }

    pub(super) fn identity(&self) -> &PublicKey {
        &self.identity
    }

    pub(super) fn seen(self) -> Vec<Kid> {
        self.seen
    }

    /// Certificate, life and signature of an entry. Gives whether it is another key than that of the entry before.
    pub(super) fn check(&mut self, read: &Read) -> Result<bool, Finding> {
        let frame = &read.frame;
        if let Some(cert) = frame.cert() {
            self.take(cert, frame)?;
        }
        let Some((key, life)) = self.good.get(frame.kid()) else {
            return Err(Fault::Certificate
                .found(format!("no certificate in the chain makes {} an audit key at this time", frame.kid())));
        };
        if !life.holds(frame.ts()) {
            return Err(Fault::KeyLife.found(format!(
                "the audit key {} is good from {} and before {}, but the entry is of {}",
                frame.kid(),
                life.nbf,
                life.exp,
                frame.ts()
            )));
        }
        if !read.signed_by(key) {
            return Err(Fault::Signature
                .found(format!("its signature is not that of the audit key {} that it names", frame.kid())));
        }
        let another = self.newest.as_ref() != Some(frame.kid());
        if another {
            self.newest = Some(frame.kid().clone());
        }
        Ok(another)
    }

    /// The key that the next entries are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        let key = self.newest.as_ref().and_then(|kid| Some((kid, &self.good.get(kid)?.0)));
        key.into_iter().map(|(kid, key)| Guess { kid: kid.clone(), key: key.clone(), form: Form::Pae })
    }

    fn take(&mut self, cert: &Embedded, frame: &Frame) -> Result<(), Finding> {
        let kid = frame.kid();
        let (cert, key) = open_signer(cert, KeyRole::Audit, &self.identity)
            .map_err(|why| Fault::Certificate.found(format!("the certificate it carries is not good: {why}")))?;
        if cert.kid != *kid {
            return Err(Fault::Certificate
                .found(format!("it carries the certificate of {}, but names the audit key {kid}", cert.kid)));
        }
        self.good.retain(|_, (_, life)| frame.ts() < life.exp);
        if self.good.insert(kid.clone(), (key, certificate::life(&cert))).is_none() {
            self.seen.push(kid.clone());
        }
        if self.good.len() > MOST || self.seen.len() > MOST_EVER {
            return Err(Finding::Unusable("more audit keys stand in the chain than this program keeps".into()));
        }
        Ok(())
    }
}

/// One key of the holder.
#[derive(Debug)]
pub(super) struct Key {
    kid: Kid,
    pub(super) kver: u64,
    public: PublicKey,
    form: Form,
    since: Timestamp,
    /// Before when it is accepted.
    until: Option<Timestamp>,
    /// An operator ended it.
    ended: bool,
    /// It is over whatever the clock says: it was ended, or its successor left it no grace.
    over: bool,
    signed: u64,
}

impl Key {
    fn of(register: &Register, since: Timestamp) -> Key {
        Key {
            kid: register.pk.kid(),
            kver: register.kver,
            public: register.pk.clone(),
            form: register.form,
            since,
            until: None,
            ended: false,
            over: false,
            signed: 0,
        }
    }

    pub(super) fn kid(&self) -> &Kid {
        &self.kid
    }

    /// Whether it signed this envelope.
    fn signed(&self, opened: &Opened) -> bool {
        opened.signed_by(&self.public, self.form)
    }

    /// Whether it was accepted at `ts`.
    pub(super) fn accepted(&self, ts: Timestamp) -> Result<(), Finding> {
        match self.until {
            Some(until) if until <= ts || self.over => Err(Fault::RequestKey.found(format!(
                "it rests on a signature of the key {} (kver {}), which was not accepted any more from {until} on",
                self.kid, self.kver
            ))),
            _ => Ok(()),
        }
    }
}

/// All keys of a chain's holder, the newest last.
#[derive(Debug)]
pub(super) struct KeyHistory {
    holder: Holder,
    aud: Aud,
    keys: Vec<Key>,
    pinned: Vec<Kid>,
}

impl KeyHistory {
    /// The history that begins with the register statement of a genesis. Where `pinned` names any key, no other may
    /// ever be registered.
    pub(super) fn begin(
        holder: Holder,
        aud: &Aud,
        first: &Embedded,
        ts: Timestamp,
        pinned: &[Kid],
    ) -> Result<KeyHistory, Finding> {
        let mut history = KeyHistory { holder, aud: aud.clone(), keys: Vec::new(), pinned: pinned.to_vec() };
        let register = history.open(first)?;
        history.keys.push(Key::of(&register, ts));
        Ok(history)
    }

    /// Reads a register statement: proved by its own key, for this holder and vault, and the next in line.
    fn open(&self, embedded: &Embedded) -> Result<Register, Finding> {
        let register = Register::open(embedded).map_err(|denial| {
            let why = denial.detail;
            Fault::Register.found(format!("the register statement in it does not prove its key: {why}"))
        })?;
        if register.holder != self.holder || register.aud != self.aud {
            return Err(Fault::Register.found(format!(
                "the register statement in it is of {} for {}, not of {} for {}",
                register.holder, register.aud, self.holder, self.aud
            )));
        }
        let kid = register.pk.kid();
        let newest = self.keys.last();
        if register.kver != newest.map_or(1, |key| key.kver + 1) || register.prev.as_ref() != newest.map(Key::kid) {
            return Err(Fault::KeyOrder.found(format!(
                "the key {kid} claims to be number {} and to follow {}, which is not the holder's newest key",
                register.kver,
                register.prev.as_ref().map_or("none", Kid::as_str)
            )));
        }
        if self.keys.iter().any(|key| key.kid == kid) {
            return Err(Fault::KeyOrder.found(format!("the key {kid} was registered before")));
        }
        if !self.pinned.is_empty() && !self.pinned.contains(&kid) {
            return Err(Fault::KeyPin.found(format!("it registers the key {kid}, which is not among those pinned")));
        }
        Ok(register)
    }

    /// A successor takes over; the old key is accepted until `grace`, or not any more.
    pub(super) fn succeed(
        &mut self,
        register: &Embedded,
        ts: Timestamp,
        grace: Option<Timestamp>,
    ) -> Result<(), Finding> {
        let register = self.open(register)?;
        if self.keys.len() >= MOST {
            return Err(Finding::Unusable("the holder had more keys than this program keeps".into()));
        }
        if let Some(old) = self.keys.last_mut() {
            let end = grace.unwrap_or(ts);
            old.over |= grace.is_none();
            old.until = Some(old.until.map_or(end, |until| until.min(end)));
        }
        self.keys.push(Key::of(&register, ts));
        Ok(())
    }

    /// An operator ends a key.
    pub(super) fn end(&mut self, kid: &Kid, ts: Timestamp) -> Result<(), Finding> {
        let Some(key) = self.keys.iter_mut().find(|key| key.kid == *kid) else {
            return Err(Fault::KeyOrder.found(format!("it ends the key {kid}, which was never registered")));
        };
        if key.ended {
            return Err(Fault::KeyOrder.found(format!("it ends the key {kid}, which was ended before")));
        }
        (key.ended, key.over) = (true, true);
        key.until = Some(key.until.map_or(ts, |until| until.min(ts)));
        Ok(())
    }

    pub(super) fn newest(&self) -> Option<&Key> {
        self.keys.last()
    }

    /// The keys that the next requests are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        let guess = |key: &Key| Guess { kid: key.kid.clone(), key: key.public.clone(), form: key.form };
        self.keys.iter().rev().take(WORTH_TRYING).map(guess)
    }

    /// The key that signed an envelope which claims to be signed by `kid`.
    pub(super) fn signer(&mut self, kid: &str, opened: &Opened) -> Result<&Key, Finding> {
        let holder = &self.holder;
        let Some(key) = self.keys.iter_mut().find(|key| key.kid.as_str() == kid) else {
            return Err(Fault::RequestSignature.found(format!("what it rests on names a key that {holder} never had")));
        };
        if !key.signed(opened) {
            return Err(Fault::RequestSignature
                .found(format!("what it rests on was not signed by the key {} of {holder}, which it names", key.kid)));
        }
        key.signed += 1;
        Ok(key)
    }

    pub(super) fn seen(&self) -> Vec<KeySeen> {
        let seen = |key: &Key| KeySeen {
            kid: key.kid.clone(),
            kver: key.kver,
            since: key.since,
            until: key.until,
            signed: key.signed,
        };
        self.keys.iter().map(seen).collect()
    }
}
