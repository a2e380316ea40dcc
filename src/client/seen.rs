//! What an agent remembers of its own chain between requests: the newest state it was shown ([`Seen`]), which it
//! countersigns with its next request, and the birth of the newest response certificate. Both only ever grow. They are
//! kept in memory and, where a file is named, on disk too, so that the next process of the same agent goes on where
//! this one ended. Losing the file loses evidence, not access.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Refusal, Untrusted};
use crate::crypto::hash::Digest;
use crate::crypto::json::{Admission, admit_as, canonical};
use crate::denial::Reason;
use crate::id::{AgentName, Aud};
use crate::statement::reply::EntryRef;
use crate::statement::request::Seen;
use crate::time::Timestamp;

/// What is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    cert_nbf: Timestamp,
    head: Digest,
    /// How many restores of the vault were accepted: what was seen before one counts no more, however long it was.
    #[serde(default, skip_serializing_if = "is_none")]
    restores: u64,
    size: u64,
}

fn is_none(restores: &u64) -> bool {
    *restores == 0
}

impl State {
    const NONE: State = State { cert_nbf: Timestamp::ZERO, head: Digest::ZERO, restores: 0, size: 0 };

    fn seen(self) -> Seen {
        Seen { head: self.head, size: self.size }
    }

    /// Whether both tell of a chain of one size, and each of another: one of them is of a fork.
    fn parts_from(self, other: State) -> bool {
        self.restores == other.restores && self.size == other.size && self.head != other.head
    }

    /// The newer of each.
    fn joined(self, other: State) -> State {
        let newer = (other.restores, other.size) > (self.restores, self.size);
        let newest = if newer { other } else { self };
        State { cert_nbf: self.cert_nbf.max(other.cert_nbf), ..newest }
    }
}

/// One agent's memory of one vault.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    file: Option<PathBuf>,
}

impl Memory {
    /// A memory that ends with the process.
    #[must_use]
    pub fn fleeting() -> Memory {
        Memory { state: Mutex::new(State::NONE), file: None }
    }

    /// A memory in `<dir>/<aud>/<agent>.seen`, made where it does not exist.
    ///
    /// # Errors
    /// [`Fault::Local`] where it cannot be read or made, or does not hold what it should.
    pub fn kept_in(dir: &Path, aud: &Aud, agent: &AgentName) -> Result<Memory, Fault> {
        let dir = dir.join(aud.as_str());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|why| at(&dir, &why))?;
        let file = dir.join(format!("{agent}.seen"));
        let state = Mutex::new(read(&file)?);
        Ok(Memory { state, file: Some(file) })
    }

    /// The newest state of the agent's chain that was shown to it.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.state().seen()
    }

    /// The `nbf` of the newest response certificate that was accepted.
    #[must_use]
    pub fn cert_nbf(&self) -> Timestamp {
        self.state().cert_nbf
    }

    /// The file that it is kept in, where there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Takes in the entry that answers a request which was sent with `sent`.
    ///
    /// # Errors
    /// [`Untrusted::OlderHistory`] where the entry stands before what was seen when the request was signed, or where it
    /// is another than the one already seen at its place.
    pub(super) fn learn(&self, sent: Seen, entry: EntryRef) -> Result<(), Fault> {
        if entry.seq < sent.size {
            let held = self.seen();
            return Err(Untrusted::OlderHistory { seq: entry.seq, size: held.size, head: held.head }.into());
        }
        let (Seen { head, size }, restores) = (entry.seen(), self.state().restores);
        self.keep(State { head, size, restores, ..State::NONE })
    }

    /// Takes in a certificate's `nbf`.
    pub(super) fn certified(&self, nbf: Timestamp) -> Result<(), Fault> {
        if nbf > self.cert_nbf() { self.keep(State { cert_nbf: nbf, ..State::NONE }) } else { Ok(()) }
    }

    /// Accepts that the vault was restored from a backup that is older than what was seen, as `refusal` says it: the
    /// vault's signed `restored`, and no other word. What was seen is put aside as evidence, beside the file as
    /// `<agent>.seen.lost-<size>`, and given back; from here on the vault is believed as if nothing had been seen.
    ///
    /// It is for whoever owns the agent to decide: until the vault is asked who restored it and why, a restore looks like
    /// a history that somebody rolled back.
    ///
    /// # Errors
    /// [`Fault::Local`] where the vault has not said so, where nothing was seen, or where the files cannot be written.
    pub fn accept_restore(&self, refusal: &Refusal) -> Result<Seen, Fault> {
        if !refusal.proven || Reason::from_code(&refusal.code) != Some(Reason::Restored) {
            return Err(Fault::local("the vault has not said, signed, that it was restored; nothing is accepted"));
        }
        let mut state = self.state();
        let lock = self.locked()?;
        let held = match &self.file {
            Some(file) => state.joined(read(file)?),
            None => *state,
        };
        let lost = held.seen();
        if lost.size == 0 {
            return Err(Fault::local("nothing was seen of this agent's chain; there is nothing to accept"));
        }
        let begun = State { cert_nbf: held.cert_nbf, restores: held.restores + 1, ..State::NONE };
        if let Some(file) = &self.file {
            let evidence = file.with_extension(format!("seen.lost-{}", lost.size));
            write(&evidence, held).map_err(|why| at(&evidence, &why))?;
            write(file, begun).map_err(|why| at(file, &why))?;
        }
        *state = begun;
        drop(lock);
        Ok(lost)
    }

    /// The lock that other processes respect, where there is a file.
    fn locked(&self) -> Result<Option<File>, Fault> {
        let Some(file) = &self.file else { return Ok(None) };
        let lock = file.with_extension("seen.lock");
        let guard = private(&lock, false).map_err(|why| at(&lock, &why))?;
        flock(&guard, FlockOperation::LockExclusive).map_err(|why| at(&lock, &why.into()))?;
        Ok(Some(guard))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins `news` with what is in memory and, under a lock that other processes respect, with what is on disk. Compared
    /// under the same locks, so that of two answers at once, or to two processes, the second is held against the first.
    fn keep(&self, news: State) -> Result<(), Fault> {
        let mut state = self.state();
        forked(*state, news)?;
        let joined = state.joined(news);
        let Some(file) = &self.file else {
            *state = joined;
            return Ok(());
        };
        let _lock = self.locked()?;
        let kept = read(file)?;
        forked(kept, news)?;
        *state = joined.joined(kept);
        write(file, *state).map_err(|why| at(file, &why))
    }
}

fn forked(held: State, news: State) -> Result<(), Untrusted> {
    match news.size.checked_sub(1) {
        Some(seq) if held.parts_from(news) => Err(Untrusted::OlderHistory { seq, size: held.size, head: held.head }),
        _ => Ok(()),
    }
}

/// Where memories are kept by habit: `$XDG_STATE_HOME/nockvault`, or `~/.local/state/nockvault`.
#[must_use]
pub fn usual_dir() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))?;
    Some(state.join("nockvault"))
}

fn at(path: &Path, why: &std::io::Error) -> Fault {
    Fault::Local(format!("{}: {why}", path.display()))
}

fn private(path: &Path, anew: bool) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(anew).mode(0o600).open(path)
}

fn read(file: &Path) -> Result<State, Fault> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(State::NONE),
        Err(why) => return Err(at(file, &why)),
    };
    let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    admit_as(text, &Admission::AGENT).map_err(|why| {
        Fault::Local(format!("{}: {why}; move it away to begin anew, and keep it as evidence", file.display()))
    })
}

/// A crash before the rename leaves the old file and a stray one beside it; a crash after it leaves the new file.
fn write(file: &Path, state: State) -> std::io::Result<()> {
    let new = file.with_extension("seen.new");
    let mut out = private(&new, true)?;
    out.write_all(&[canonical(&state).as_slice(), b"\n"].concat())?;
    out.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, leaf: &str) -> EntryRef {
        EntryRef { seq, leaf: Digest::of(leaf.as_bytes()) }
    }

    #[test]
    fn it_grows_and_never_shrinks() {
        let memory = Memory::fleeting();
        memory.learn(Seen::NONE, entry(4, "e")).unwrap();
        assert_eq!(memory.seen(), entry(4, "e").seen());
        // An answer that was under way when a newer one came: older than what is held, not than what was sent.
        memory.learn(Seen::NONE, entry(3, "d")).unwrap();
        assert_eq!(memory.seen().size, 5);
        memory.certified(Timestamp(7)).unwrap();
        memory.certified(Timestamp(6)).unwrap();
        assert_eq!(memory.cert_nbf(), Timestamp(7));
    }

    #[test]
    fn an_older_entry_and_a_fork_are_refused() {
        let memory = Memory::fleeting();
        memory.learn(Seen::NONE, entry(4, "e")).unwrap();
        let sent = memory.seen();
        let older =
            |sent, entry| matches!(memory.learn(sent, entry), Err(Fault::Untrusted(Untrusted::OlderHistory { .. })));
        assert!(older(sent, entry(3, "d")), "an entry from before what was countersigned");
        assert!(older(sent, entry(4, "e")), "the very entry that was countersigned");
        assert!(older(Seen::NONE, entry(4, "other")), "another entry in the place of one that was seen");
        assert_eq!(memory.seen(), sent);
    }

    fn restored(proven: bool, code: &str) -> Refusal {
        Refusal { code: code.into(), limit: None, retry_after_ms: None, now: None, message: String::new(), proven }
    }

    #[test]
    fn a_restore_is_accepted_on_the_vaults_signed_word_alone_and_the_old_head_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (aud, agent) = (format!("nv1:{}", "A".repeat(43)).parse().unwrap(), "kit".parse().unwrap());
        let open = || Memory::kept_in(dir.path(), &aud, &agent).unwrap();
        let (one, two) = (open(), open());
        assert!(one.accept_restore(&restored(true, "restored")).is_err(), "nothing was seen");
        one.certified(Timestamp(7)).unwrap();
        one.learn(Seen::NONE, entry(9, "j")).unwrap();
        two.learn(Seen::NONE, entry(8, "i")).unwrap();
        for refusal in [restored(false, "restored"), restored(true, "history_mismatch")] {
            assert!(one.accept_restore(&refusal).is_err());
        }
        let lost = one.accept_restore(&restored(true, "restored")).unwrap();
        assert_eq!((lost, one.seen(), one.cert_nbf()), (entry(9, "j").seen(), Seen::NONE, Timestamp(7)));
        let kept = read(&dir.path().join(aud.as_str()).join("kit.seen.lost-10")).unwrap();
        assert_eq!(kept.seen(), lost);
        // Another process, which had seen more, does not bring it back.
        two.certified(Timestamp(8)).unwrap();
        assert_eq!((two.seen(), open().seen()), (Seen::NONE, Seen::NONE));
        one.learn(Seen::NONE, entry(3, "other")).unwrap();
        assert_eq!((open().seen(), open().cert_nbf()), (entry(3, "other").seen(), Timestamp(8)));
    }

    #[test]
    fn two_processes_of_one_agent_share_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let (aud, agent) = (format!("nv1:{}", "A".repeat(43)).parse().unwrap(), "kit".parse().unwrap());
        let open = || Memory::kept_in(dir.path(), &aud, &agent).unwrap();
        let (one, two) = (open(), open());
        one.learn(Seen::NONE, entry(9, "j")).unwrap();
        two.learn(Seen::NONE, entry(2, "c")).unwrap();
        assert_eq!((two.seen(), open().seen()), (entry(9, "j").seen(), entry(9, "j").seen()));
        let three = open();
        one.learn(Seen::NONE, entry(11, "l")).unwrap();
        let fork = three.learn(Seen::NONE, entry(11, "other"));
        assert!(matches!(fork, Err(Fault::Untrusted(Untrusted::OlderHistory { size: 12, .. }))), "{fork:?}");
        assert_eq!(open().seen(), entry(11, "l").seen());
        let file = dir.path().join(aud.as_str()).join("kit.seen");
        fs::write(&file, "{}").unwrap();
        assert!(Memory::kept_in(dir.path(), &aud, &agent).is_err());
    }
}
