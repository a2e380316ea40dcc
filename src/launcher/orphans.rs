//! The sessions that a launcher has open, each noted in a file before the vault hears of it, and locked as long as the
//! launcher lives. A launcher that is killed leaves the file without a lock: the next one of the same agent ends that
//! session at the vault, and every lease in it, before it begins its own.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::client::agent::Agent;
use crate::client::fault::Fault;
use crate::denial::Reason;
use crate::id::{AgentName, Aud, Sid};

/// How many sessions one start ends; what is left is for the next.
const AT_ONCE: usize = 64;

/// The folder in which one agent's sessions at one vault are noted.
#[derive(Clone, Debug)]
pub struct Orphans {
    dir: PathBuf,
}

/// A note of a session of ours. It is taken away when this is dropped, for then the session was ended or never begun.
#[derive(Debug)]
pub struct Noted {
    path: PathBuf,
    _lock: File,
    leave: AtomicBool,
}

impl Noted {
    /// Leaves the note where it is: the session could not be ended, and the next launcher shall try.
    pub fn leave(&self) {
        self.leave.store(true, Ordering::Release);
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if !self.leave.load(Ordering::Acquire) {
            let _ = fs::remove_file(&self.path);
        }
    }
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
        let path = self.dir.join(sid.as_str());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|why| at(&path, why))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|why| at(&path, std::io::Error::from(why)))?;
        Ok(Noted { path, _lock: file, leave: AtomicBool::new(false) })
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

    /// Ends the sessions of launchers that were killed. Gives which, and how many leases ended with each. One that the
    /// vault cannot end now stays noted.
    ///
    /// # Errors
    /// The first [`Fault`] that was met.
    pub async fn end(&self, agent: &Agent) -> Result<Vec<(Sid, u64)>, Fault> {
        let mut ended = Vec::new();
        for (sid, path, _lock) in self.orphaned() {
            match agent.close(&sid).await {
                Ok(leases) => ended.push((sid, leases)),
                Err(fault) => match fault.reason() {
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
