//! The sessions that a launcher has open, each noted in a file before the vault hears of it, and locked as long as the
//! launcher lives. A launcher that is killed leaves the file without a lock: the next one of the same agent ends that
//! session at the vault, and every lease in it, before it begins its own.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::client::agent::Agent;
use crate::client::fault::Fault;
use crate::denial::Reason;
use crate::id::{AgentName, Aud, Sid};
use crate::time::{Seconds, Timestamp};

/// How many sessions one start ends; what is left is for the next.
const AT_ONCE: usize = 64;
/// What the name of a note begins with before it is locked. No session's id does.
const UNLOCKED: &str = "%";
/// How long a request may be under way at the vault after its launcher was killed. The first one begins its session.
const UNDER_WAY: Seconds = Seconds(120);

/// The folder in which one agent's sessions at one vault are noted.
#[derive(Clone, Debug)]
pub struct Orphans {
    dir: PathBuf,
}

/// A session that was ended for the launcher that began it.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Which.
    pub sid: Sid,
    /// How many leases ended with it.
    pub leases: u64,
    /// Whether its launcher ended in order and could not end it; else it was killed.
    pub left: bool,
}

/// What a note says whose launcher could not end its session.
const LEFT: &[u8] = b"left\n";

/// A note of a session of ours. It is taken away when this is dropped, for then the session was ended or never begun.
#[derive(Debug)]
pub struct Noted {
    path: PathBuf,
    lock: File,
    leave: AtomicBool,
}

impl Noted {
    /// Leaves the note where it is: the session could not be ended, and the next launcher shall try.
    pub fn leave(&self) {
        self.leave.store(true, Ordering::Release);
        // Without this word, the next launcher takes this one for killed.
        let _ = (&self.lock).write_all(LEFT);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.leave.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Whether a note was made so lately that its session's first request may still be under way.
fn is_young(note: &File, now: Timestamp) -> bool {
    let made = note.metadata().map_or(0, |stat| stat.mtime());
    u64::try_from(made).is_ok_and(|made| now.whole_seconds().saturating_sub(made) < UNDER_WAY.0)
}

fn at(path: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::Local(format!("{}: {why}", path.display()))
}

impl Orphans {
    /// The folder `<state>/<aud>/<agent>.sessions`, made where it does not exist, for this user alone.
    ///
    /// # Errors
    /// [`Fault::Local`] where it cannot be made.
    pub fn kept_in(state: &Path, aud: &Aud, agent: &AgentName) -> Result<Orphans, Fault> {
        let dir = state.join(aud.as_str()).join(format!("{agent}.sessions"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(|why| at(&dir, why))?;
        Ok(Orphans { dir })
    }

    /// Notes a session, before it is begun.
    ///
    /// # Errors
    /// [`Fault::Local`] where that cannot be done.
    pub fn note(&self, sid: &Sid) -> Result<Noted, Fault> {
        let (path, made) = (self.dir.join(sid.as_str()), self.dir.join(format!("{UNLOCKED}{sid}")));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made);
        let file = file.map_err(|why| at(&made, why))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|why| at(&made, std::io::Error::from(why)))?;
        // Under its name it is locked from the first moment on: no other launcher finds it without a lock.
        fs::rename(&made, &path).map_err(|why| at(&path, why))?;
        Ok(Noted { path, lock: file, leave: AtomicBool::new(false) })
    }

    /// The sessions whose launcher is gone, each with the lock on its note, so that no other launcher ends it too.
    fn orphaned(&self) -> Vec<(Sid, PathBuf, File)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().filter_map(Result::ok);
        let orphaned = entries.filter_map(|entry| {
            let sid: Sid = entry.file_name().to_str()?.parse().ok()?;
            let file = OpenOptions::new().write(true).open(entry.path()).ok()?;
            flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
            Some((sid, entry.path(), file))
        });
        orphaned.take(AT_ONCE).collect()
    }

    /// Ends the sessions of launchers that were killed, or could not end them. One that the
    /// vault cannot end now stays noted. `now` is this machine's.
    ///
    /// # Errors
    /// The first [`Fault`] that was met.
    pub async fn end(&self, agent: &Agent, now: Timestamp) -> Result<Vec<Orphan>, Fault> {
        let mut ended = Vec::new();
        for (sid, path, lock) in self.orphaned() {
            match agent.close(&sid).await {
                Ok(leases) => {
                    let left = lock.metadata().is_ok_and(|stat| stat.len() > 0);
                    ended.push(Orphan { sid, leases, left });
                }
                Err(fault) => match fault.reason() {
                    // It may begin yet: the next launcher looks again.
                    Some(Reason::SessionUnknown) if is_young(&lock, now) => continue,
                    // It had ended by itself, or had never begun.
                    Some(Reason::SessionEnded | Reason::SessionUnknown) => {}
                    _ => return Err(fault),
                },
            }
            match fs::remove_file(&path) {
                Err(why) if why.kind() != ErrorKind::NotFound => return Err(at(&path, why)),
                _ => {}
            }
        }
        Ok(ended)
    }

    /// Whether there is anything to end.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.orphaned().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_an_orphan_once_its_launcher_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (aud, agent) = (format!("nv1:{}", "A".repeat(43)).parse().unwrap(), "kit".parse().unwrap());
        let orphans = Orphans::kept_in(dir.path(), &aud, &agent).unwrap();
        let noted = orphans.note(&"exec-1".parse().unwrap()).unwrap();
        assert!(!orphans.any(), "its launcher lives");
        noted.leave();
        drop(noted);
        assert_eq!(orphans.orphaned()[0].0.as_str(), "exec-1");
        drop(orphans.note(&"exec-2".parse().unwrap()).unwrap());
        assert_eq!(orphans.orphaned().len(), 1, "what was ended leaves no note");
    }
}
