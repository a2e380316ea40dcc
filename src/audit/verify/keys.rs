//! Keys as a chain tells them: the vault's audit keys by their certificates, and the holder's keys by their register
//! statements, each with the time in which it is accepted.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::ahead::{Guess, Opened, Read};
use super::freezes::LONGEST_SKEW;
use super::report::{Fault, Finding, KeySeen};
use crate::audit::certificate::{self, Life, open_signer};
use crate::audit::line::Frame;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{Form, PublicKey};
use crate::id::{AgentName, Aud, Kid};
use crate::statement::cert::KeyRole;
use crate::statement::directory::{Directory, ListedKey};
use crate::statement::register::{Holder, Register};
use crate::time::{Seconds, Timestamp};

/// How many audit keys may be good at once, and how many keys a holder may have had: whole chains hold far fewer, and a
/// file that was made to exhaust this program holds more.
const MOST: usize = 10_000;

/// How many audit keys a chain may have had.
const MOST_EVER: usize = 1_000_000;

/// The kind of entry that puts the clock back.
const CLOCK_RESET: &str = "clock_reset";

/// The kind of entry that begins a restored vault.
const RESTORE: &str = "restore";

/// How many of the newest keys are worth trying on lines whose turn has not come.
const WORTH_TRYING: usize = 4;

/// The audit keys that are still good. A key past its end is forgotten with the next certificate. Where an operator puts
/// the clock back, times tell no more which of them are over; then those do that others have taken over from.
#[derive(Debug)]
pub(super) struct AuditKeys {
    identity: PublicKey,
    good: HashMap<Kid, (PublicKey, Life)>,
    /// The one that signed the newest entry.
    newest: Option<Kid>,
    seen: Vec<Kid>,
    /// Others had taken over from these when the clock was put back, or the vault was restored: it has them no more.
    over: HashSet<Kid>,
}

impl AuditKeys {
    pub(super) fn new(identity: PublicKey) -> AuditKeys {
        AuditKeys { identity, good: HashMap::new(), newest: None, seen: Vec::new(), over: HashSet::new() }
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
        if frame.kind() == CLOCK_RESET {
            self.over.extend(self.seen.iter().filter(|kid| Some(*kid) != self.newest.as_ref()).cloned());
        }
        if frame.kind() == RESTORE {
            // They were in the memory of daemons that are no more.
            self.over.extend(self.seen.iter().cloned());
        }
        if self.over.contains(frame.kid()) {
            return Err(Fault::KeyLife.found(format!(
                "the audit key {} was over before: another took over from it when the clock was put back, or the vault was \
                 restored from a backup",
                frame.kid()
            )));
        }
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
        AuditKeys::within(self.good.len(), self.seen.len())
    }

    /// So many are good at once, and so many were there ever.
    fn within(good: usize, ever: usize) -> Result<(), Finding> {
        if good > MOST || ever > MOST_EVER {
            return Err(Finding::Unusable("more audit keys stand in the chain than this program keeps".into()));
        }
        Ok(())
    }
}

/// One key of the holder.
#[derive(Debug)]
pub(super) struct Key {
    kid: Kid,
    /// None where nobody told it.
    kver: Option<u64>,
    public: PublicKey,
    /// How it signs; none where nobody told it.
    form: Option<Form>,
    /// When it was registered; none where this part of the chain does not tell.
    since: Option<Timestamp>,
    /// When it was registered as the key directory has it, where this part of the chain does not tell.
    listed: Option<Timestamp>,
    /// Before when it is accepted.
    until: Option<Timestamp>,
    /// For how long beside its successor, where this chain tells.
    overlap: Option<Seconds>,
    /// An operator ended it.
    ended: bool,
    /// Since when it may have been in wrong hands: an operator's word, and no more.
    suspect_from: Option<Timestamp>,
    /// It is over whatever the clock says: it was ended, or its successor left it no grace.
    over: bool,
    signed: u64,
}

impl Key {
    fn of(register: &Register, since: Timestamp) -> Key {
        Key {
            kver: Some(register.kver),
            form: Some(register.form),
            since: Some(since),
            ..Key::given(register.pk.clone())
        }
    }

    /// A key of which nothing else is known.
    fn given(public: PublicKey) -> Key {
        Key {
            kid: public.kid(),
            kver: None,
            public,
            form: None,
            since: None,
            listed: None,
            until: None,
            overlap: None,
            ended: false,
            suspect_from: None,
            over: false,
            signed: 0,
        }
    }

    fn listed(listed: &ListedKey) -> Key {
        let (form, since, until) = (Some(listed.form), Some(listed.since), listed.until());
        Key { kver: listed.kver, form, listed: since, until, ..Key::given(listed.pk.clone()) }
    }

    pub(super) fn kid(&self) -> &Kid {
        &self.kid
    }

    pub(super) fn kver(&self) -> Option<u64> {
        self.kver
    }

    /// Whether it signed this envelope.
    fn signed(&self, opened: &Opened) -> bool {
        match self.form {
            Some(form) => opened.signed_by(&self.public, form),
            None => [Form::Pae, Form::Sshsig].into_iter().any(|form| opened.signed_by(&self.public, form)),
        }
    }

    /// Whether it was accepted at `ts`.
    pub(super) fn accepted(&self, ts: Timestamp) -> Result<(), Finding> {
        match self.until {
            Some(until) if until <= ts || self.over => Err(self.was_over(until)),
            _ => Ok(()),
        }
    }

    /// Whether it was still accepted when a request of this `iat` may have come. An intent is older than the entry that it
    /// ends with, which may stand behind the end of the key.
    pub(super) fn accepted_once(&self, iat: Timestamp) -> Result<(), Finding> {
        match self.until {
            Some(until) if until <= iat.minus(LONGEST_SKEW) => Err(self.was_over(until)),
            _ => Ok(()),
        }
    }

    fn was_over(&self, until: Timestamp) -> Finding {
        Fault::RequestKey.found(format!(
            "it rests on a signature of the key {}, which was not accepted any more from {until} on",
            self.kid
        ))
    }
}

/// Which keys of a holder the reader knows from elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Pinned {
    /// No other may be registered, unless this is empty.
    pub(super) only: Vec<Kid>,
    /// What the vault's key directory lists.
    pub(super) directory: Option<Arc<Directory>>,
    /// That the vault's clock was never reset, so that the times of the directory are those of any entry.
    pub(super) never_reset: bool,
}

/// For how long after its entry a key may still lack in a directory: an entry is in the chain some time before it is out.
const IN_FLIGHT: Seconds = Seconds(60);

impl Pinned {
    /// Whether this key may be registered at `ts` for this holder.
    fn admits(&self, kid: &Kid, holder: &Holder, ts: Timestamp) -> Result<(), Finding> {
        if !self.only.is_empty() && !self.only.contains(kid) {
            return Err(Fault::KeyPin.found(format!("it registers the key {kid}, which is not among those pinned")));
        }
        match &self.directory {
            Some(directory) if ts.plus(IN_FLIGHT) < directory.iat && !lists(directory, kid, holder) => {
                Err(Fault::KeyPin.found(format!(
                    "it registers the key {kid}, which the key directory of {} does not list for {holder}",
                    directory.iat
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Whether the directory lists the key as one of this holder; where it has no names, as one of its sort.
fn lists(directory: &Directory, kid: &Kid, holder: &Holder) -> bool {
    directory.of(holder).any(|key| key.kid == *kid)
}

/// All keys of a chain's holder, the newest last.
#[derive(Debug)]
pub(super) struct KeyHistory {
    holder: Option<Holder>,
    aud: Aud,
    keys: Vec<Key>,
    /// What stands before is not known, and neither may be a key.
    part: bool,
    pinned: Pinned,
    /// The clock was put back, so that times do not tell what came first.
    reset: bool,
    /// What was registered between the backup and the restore is not known: from the last entry of before to the restore.
    gaps: Vec<(Timestamp, Timestamp)>,
    /// How many requests were signed by keys that are not known.
    pub(super) unchecked: u64,
}

impl KeyHistory {
    /// The history that begins with the register statement of a genesis.
    pub(super) fn begin(
        holder: Holder,
        aud: &Aud,
        first: &Embedded,
        ts: Timestamp,
        pinned: Pinned,
    ) -> Result<KeyHistory, Finding> {
        let mut history = KeyHistory {
            holder: Some(holder),
            aud: aud.clone(),
            keys: Vec::new(),
            part: false,
            pinned,
            reset: false,
            gaps: Vec::new(),
            unchecked: 0,
        };
        let register = history.open(first, ts)?;
        history.keys.push(Key::of(&register, ts));
        Ok(history)
    }

    /// The history of a part of a chain: keys that were registered before it are known from elsewhere or not at all.
    pub(super) fn resume(holder: Option<Holder>, aud: &Aud, given: &[PublicKey], pinned: Pinned) -> KeyHistory {
        // Where it has no names, a key of it may be any agent's: whoever has one could speak for this agent.
        let named = pinned.directory.iter().filter(|directory| directory.names);
        let listed = named.flat_map(|directory| match &holder {
            Some(holder) => directory.of(holder).collect::<Vec<_>>(),
            None => directory.operators.iter().collect(),
        });
        let mut keys: Vec<Key> = listed.map(Key::listed).collect();
        for public in given {
            if keys.iter().all(|key| key.public != *public) {
                keys.push(Key::given(public.clone()));
            }
        }
        KeyHistory { holder, aud: aud.clone(), keys, part: true, pinned, reset: false, gaps: Vec::new(), unchecked: 0 }
    }

    /// The clock was put back.
    pub(super) fn clock_reset(&mut self) {
        self.reset = true;
    }

    /// The clock was put back to `ts`: from there on a key that had a successor is accepted for its overlap at the most.
    pub(super) fn begin_overlaps_anew(&mut self, ts: Timestamp) {
        for key in self.keys.iter_mut().filter(|key| !key.over) {
            if let (Some(until), Some(overlap)) = (key.until, key.overlap) {
                key.until = Some(until.min(ts.plus(overlap)));
            }
        }
    }

    /// The vault was restored at `ts`; the entry before is of `before`.
    pub(super) fn restored(&mut self, before: Timestamp, ts: Timestamp) {
        self.gaps.push((before, ts));
    }

    /// Whether the clock was ever put back.
    pub(super) fn is_reset(&self) -> bool {
        self.reset
    }

    /// The newest key, where this chain registered it.
    fn newest_here(&self) -> Option<&Key> {
        self.keys.last().filter(|key| key.since.is_some())
    }

    /// Reads a register statement: proved by its own key, for this holder and vault, and the next in line.
    fn open(&self, embedded: &Embedded, ts: Timestamp) -> Result<Register, Finding> {
        let register = Register::open(embedded).map_err(|denial| {
            let why = denial.detail;
            Fault::Register.found(format!("the register statement in it does not prove its key: {why}"))
        })?;
        if self.holder.as_ref().is_some_and(|holder| register.holder != *holder) || register.aud != self.aud {
            let holder = self.holder.as_ref().map_or_else(String::new, |holder| format!("of {holder} "));
            return Err(Fault::Register.found(format!(
                "the register statement in it is of {} for {}, not {holder}for {}",
                register.holder, register.aud, self.aud
            )));
        }
        let kid = register.pk.kid();
        let newest = self.newest_here();
        let follows = register.kver == newest.map_or(1, |key| key.kver.unwrap_or_default() + 1)
            && register.prev.as_ref() == newest.map(Key::kid);
        // Which key it follows is not known where none was registered in this part.
        if !(follows || self.part && newest.is_none()) {
            return Err(Fault::KeyOrder.found(format!(
                "the key {kid} claims to be number {} and to follow {}, which is not the holder's newest key",
                register.kver,
                register.prev.as_ref().map_or("none", Kid::as_str)
            )));
        }
        if self.keys.iter().any(|key| key.kid == kid && key.since.is_some()) {
            return Err(Fault::KeyOrder.found(format!("the key {kid} was registered before")));
        }
        if !self.reset {
            self.pinned.admits(&kid, &register.holder, ts)?;
        }
        Ok(register)
    }

    /// The directory lists the keys that the chain has: what only the end can tell. `to` is the `ts` of the last entry.
    pub(super) fn lacks(&self, agent: &AgentName, to: Timestamp) -> Result<(), Finding> {
        let Some(directory) = self.pinned.directory.as_ref().filter(|_| !self.part && !self.reset) else {
            return Ok(());
        };
        let lost = |at: Timestamp| self.gaps.iter().any(|(from, to)| *from <= at && at <= *to);
        let lacks = |listed: &&ListedKey| {
            listed.since <= to && !lost(listed.since) && self.keys.iter().all(|key| key.kid != listed.kid)
        };
        match directory.of_agent(agent).find(lacks) {
            Some(ListedKey { kid, since, .. }) => Err(Fault::KeyPin.found(format!(
                "the key directory of {} lists the key {kid} of {agent}, registered at {since}, and this chain does not",
                directory.iat
            ))),
            None => Ok(()),
        }
    }

    /// A successor takes over; the old key is accepted until `grace`, or not any more.
    pub(super) fn succeed(
        &mut self,
        register: &Embedded,
        ts: Timestamp,
        grace: Option<Timestamp>,
    ) -> Result<(), Finding> {
        let register = self.open(register, ts)?;
        if self.keys.len() >= MOST {
            return Err(Finding::Unusable("the holder had more keys than this program keeps".into()));
        }
        let kid = register.pk.kid();
        self.keys.retain(|key| key.kid != kid);
        // In a part of a chain that is one which the reader gave, or none that is known.
        if let Some(old) = self.keys.iter_mut().find(|key| Some(&key.kid) == register.prev.as_ref()) {
            let end = grace.unwrap_or(ts);
            old.over |= grace.is_none();
            old.overlap = Some(end.since(ts));
            old.until = Some(old.until.map_or(end, |until| until.min(end)));
        }
        self.keys.push(Key::of(&register, ts));
        Ok(())
    }

    /// An operator ends a key.
    pub(super) fn end(&mut self, kid: &Kid, ts: Timestamp, suspect_from: Option<Timestamp>) -> Result<(), Finding> {
        let Some(key) = self.keys.iter_mut().find(|key| key.kid == *kid) else {
            if self.part {
                return Ok(());
            }
            return Err(Fault::KeyOrder.found(format!("it ends the key {kid}, which was never registered")));
        };
        if key.ended {
            return Err(Fault::KeyOrder.found(format!("it ends the key {kid}, which was ended before")));
        }
        (key.ended, key.over) = (true, true);
        key.suspect_from = suspect_from;
        key.until = Some(key.until.map_or(ts, |until| until.min(ts)));
        Ok(())
    }

    /// Whether this key is one of them.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_str() == kid)
    }

    /// Whether this key was ended.
    pub(super) fn is_ended(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_str() == kid && key.ended)
    }

    /// Whether the newest key is not ended.
    pub(super) fn lives(&self) -> bool {
        self.keys.last().is_none_or(|key| !key.ended)
    }

    /// Whether a key of it was registered in this chain.
    pub(super) fn began(&self) -> bool {
        self.newest_here().is_some()
    }

    /// The keys that are not ended, as far as this chain registered them.
    pub(super) fn unended(&self) -> Vec<Kid> {
        self.keys.iter().filter(|key| key.since.is_some() && !key.ended).map(|key| key.kid.clone()).collect()
    }

    /// Whether the newest key may be of another number than this: a key that is not the newest names no successor.
    pub(super) fn is_newest(&self, kver: u64) -> bool {
        match self.newest_here() {
            Some(newest) => newest.kver == Some(kver),
            None => self.part,
        }
    }

    /// The keys that the next requests are likely signed by.
    pub(super) fn guesses(&self) -> impl Iterator<Item = Guess> {
        let guess = |key: &Key| {
            let form = key.form.unwrap_or(Form::Pae);
            Guess { kid: key.kid.clone(), key: key.public.clone(), form }
        };
        self.keys.iter().rev().take(WORTH_TRYING).map(guess)
    }

    /// The key that signed what claims to be signed by `kid`; none where that key is of before the part that is known.
    ///
    /// Nor is one told that the directory lists as registered only after `ts`. It was not this holder's key then; but
    /// where the clock may have been reset, it may be that it was.
    pub(super) fn signer(&mut self, kid: &str, opened: &Opened, ts: Timestamp) -> Result<Option<&Key>, Finding> {
        let holder = self.holder.as_ref().map_or_else(|| "the operator".to_owned(), Holder::to_string);
        let Some(key) = self.keys.iter_mut().find(|key| key.kid.as_str() == kid) else {
            if self.part {
                self.unchecked += 1;
                return Ok(None);
            }
            return Err(Fault::RequestSignature.found(format!("what it rests on names a key that {holder} never had")));
        };
        if !key.signed(opened) {
            return Err(Fault::RequestSignature
                .found(format!("what it rests on was not signed by the key {} of {holder}, which it names", key.kid)));
        }
        if let Some(listed) = key.listed.filter(|listed| key.since.is_none() && ts < *listed) {
            if self.pinned.never_reset && !self.reset {
                return Err(Fault::RequestKey.found(format!(
                    "it rests on a signature of the key {}, which by the key directory was registered at {listed}, later",
                    key.kid
                )));
            }
            self.unchecked += 1;
            return Ok(None);
        }
        key.signed += 1;
        Ok(Some(key))
    }

    pub(super) fn seen(&self) -> Vec<KeySeen> {
        let seen = |key: &Key| KeySeen {
            kid: key.kid.clone(),
            kver: key.kver,
            since: key.since,
            until: key.until,
            suspect_from: key.suspect_from,
            signed: key.signed,
        };
        self.keys.iter().map(seen).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;
    use crate::id::Nonce;

    fn register(key: &SigningKey, aud: &Aud, follows: Option<&SigningKey>) -> Embedded {
        let (holder, prev) = (Holder::Agent("kit".parse().unwrap()), follows.map(|key| key.public().kid()));
        let (iat, nonce, pk) = (Timestamp(1), Nonce::from_bytes(&[7; 24]), key.public());
        let kver = 1 + u64::from(follows.is_some());
        Register { holder, aud: aud.clone(), form: Form::Pae, iat, kver, nonce, pk, prev }.sign(key)
    }

    #[test]
    fn a_holder_has_so_many_keys_and_no_more() {
        let [first, next] = [1, 2].map(|seed| SigningKey::generate(&SeededEntropy::new(seed)));
        let aud = Aud::of_identity(&first.public().kid());
        let holder = Holder::Agent("kit".parse().unwrap());
        let (begins, follows) = (register(&first, &aud, None), register(&next, &aud, Some(&first)));
        for (before, fits) in [(MOST - 1, true), (MOST, false)] {
            let mut keys = KeyHistory::begin(holder.clone(), &aud, &begins, Timestamp(1), Pinned::default()).unwrap();
            let newest = keys.keys.pop().unwrap();
            keys.keys.extend((1..before).map(|_| Key::given(nobodys())));
            keys.keys.push(newest);
            assert_eq!(keys.keys.len(), before);
            let said = keys.succeed(&follows, Timestamp(2), None);
            assert!(if fits { said.is_ok() } else { matches!(said, Err(Finding::Unusable(_))) }, "{said:?}");
        }
    }

    /// Some key that is nobody's.
    fn nobodys() -> PublicKey {
        static KEY: std::sync::LazyLock<PublicKey> =
            std::sync::LazyLock::new(|| SigningKey::generate(&SeededEntropy::new(3)).public());
        KEY.clone()
    }

    #[test]
    fn a_chain_has_so_many_audit_keys_and_no_more() {
        for (good, ever, fits) in
            [(MOST, MOST_EVER, true), (MOST + 1, MOST_EVER, false), (MOST, MOST_EVER + 1, false), (0, 0, true)]
        {
            assert_eq!(AuditKeys::within(good, ever).is_ok(), fits, "{good} {ever}");
        }
    }

    fn directory(listed: Vec<ListedKey>, iat: u64) -> Option<Arc<Directory>> {
        let identity = nobodys();
        let of = crate::statement::directory::Of {
            aud: Aud::of_identity(&identity.kid()),
            certs: Vec::new(),
            identity,
            name: "prod".parse().unwrap(),
        };
        Some(Arc::new(Directory::new(of, listed, Vec::new(), Timestamp(iat))))
    }

    #[test]
    fn a_key_may_lack_in_a_directory_that_was_made_within_a_minute() {
        let kit = Holder::Agent("kit".parse().unwrap());
        let pinned = Pinned { directory: directory(Vec::new(), 1_000_000), ..Pinned::default() };
        let admits = |ts: u64| pinned.admits(&nobodys().kid(), &kit, Timestamp(ts)).is_ok();
        assert_eq!([admits(939_999), admits(940_000), admits(1_000_000)], [false, true, true]);
    }

    #[test]
    fn a_chain_has_the_keys_that_a_directory_lists_but_for_what_was_lost() {
        let first = SigningKey::generate(&SeededEntropy::new(1));
        let aud = Aud::of_identity(&first.public().kid());
        let name: AgentName = "kit".parse().unwrap();
        let (pk, since) = (nobodys(), Timestamp(500));
        let (agent, kid) = (Some(name.clone()), pk.kid());
        let listed = ListedKey {
            agent,
            ended: None,
            form: Form::Pae,
            grace: None,
            kid,
            kver: Some(2),
            operator: None,
            pk,
            since,
        };
        let lacks = |to: u64, change: &dyn Fn(&mut KeyHistory)| {
            let pinned = Pinned { directory: directory(vec![listed.clone()], 1_000_000), ..Pinned::default() };
            let (holder, begins) = (Holder::Agent(name.clone()), register(&first, &aud, None));
            // That the directory lists another key than the chain registers is not what this is about.
            let mut keys = KeyHistory::begin(holder, &aud, &begins, Timestamp(990_000), pinned).unwrap();
            change(&mut keys);
            keys.lacks(&name, Timestamp(to)).is_err()
        };
        let as_is = |_: &mut KeyHistory| {};
        assert_eq!([lacks(499, &as_is), lacks(500, &as_is), lacks(501, &as_is)], [false, true, true]);
        for (gap, lost) in [((500, 600), true), ((400, 500), true), ((501, 600), false), ((400, 499), false)] {
            let restored = |keys: &mut KeyHistory| keys.restored(Timestamp(gap.0), Timestamp(gap.1));
            assert_eq!(lacks(9_000, &restored), !lost, "{gap:?}");
        }
        assert!(!lacks(9_000, &|keys| keys.clock_reset()) && !lacks(9_000, &|keys| keys.part = true));
    }
}
