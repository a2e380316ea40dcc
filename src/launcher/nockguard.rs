//! The agent's own NockGuard trail, by choice: one row for each request made in its name, signed with its key, in the
//! file that NockGuard's proxy writes for the same agent. So `nockguard verify --agent kit` covers credentials too.
//!
//! ```text
//! tool                                            decision     reason
//! nockvault:{issue,renew,release}:<role>          allow        lease <id>
//! nockvault:request:<role>                        deny         <code of the refusal>
//! nockvault:trail                                 state-write  cut <n> bytes of a row that broke off
//! ```
//!
//! Several programs append to one trail: each holds the file's lock (flock) while it reads the end, signs, appends and
//! replaces the checkpoint. A trail that does not verify under the agent's key is not appended to: all of it is verified at
//! the start, and afterwards that it still ends as its signed checkpoint says.
//!
//! What a crash leaves is mended: rows beyond the checkpoint are verified and counted, a line without its LF gets one,
//! and a last row that broke off is cut away and a row says so. Row and checkpoint are on disk before this returns, in
//! this order, so that a checkpoint never counts a row that is not there.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::wallet::{Event, Reporter};
use crate::audit::nockguard::written::{Decision, Head, NewRow};
use crate::audit::nockguard::{Key, verify};
use crate::audit::verify::report::Verdict;
use crate::client::fault::Fault;
use crate::client::keyfile::folder_is_safe;
use crate::client::signer::{Held, Signer};
use crate::id::AgentName;
use crate::time::Clock;

/// How often, and how long apart, a lock that another writer holds is tried: five seconds together.
const TRIES: u32 = 250;
const APART: Duration = Duration::from_millis(20);
/// How much of a trail's end is read to find its last row, and the largest checkpoint that is read.
const END: u64 = 16 * 1024;
const MARK: u64 = 4096;

/// An agent's trail, open for appending.
pub struct Trail {
    path: PathBuf,
    agent: AgentName,
    signer: Arc<dyn Signer>,
    session: String,
    clock: Arc<dyn Clock>,
    known: Mutex<Option<Known>>,
}

/// How the trail was left: the file, how long it was, and where it ended.
#[derive(Debug)]
struct Known {
    inode: (u64, u64),
    length: u64,
    count: u64,
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trail({})", self.path.display())
    }
}

fn at(path: &Path, why: impl fmt::Display) -> Fault {
    Fault::Local(format!("NockGuard's trail {}: {why}", path.display()))
}

/// Where NockGuard keeps an agent's trail: `~/.nockguard/logs/<agent>.audit.jsonl`.
#[must_use]
pub fn usual_place(agent: &AgentName) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute())?;
    Some(home.join(".nockguard/logs").join(format!("{agent}.audit.jsonl")))
}

impl Trail {
    /// Opens the trail in `path` and verifies all of it; makes it where there is none. `session` is NockLock's, from
    /// `NOCKLOCK_SESSION_ID`, where there is one.
    ///
    /// # Errors
    /// [`Fault::Local`] where the key is not in this process's memory, where the file or its folder is a link, another
    /// user's or open to others, and where the trail does not verify.
    pub fn open(
        path: &Path,
        agent: &AgentName,
        signer: Arc<dyn Signer>,
        session: Option<&str>,
        clock: Arc<dyn Clock>,
    ) -> Result<Trail, Fault> {
        let session = session.unwrap_or_default();
        if session.len() > 128 || session.chars().any(char::is_control) {
            return Err(Fault::local("NOCKLOCK_SESSION_ID is no session id: it has more than 128 bytes or no text"));
        }
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder_is_safe(dir)? {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|why| at(dir, why))?;
        }
        let trail = Trail {
            path: path.to_owned(),
            agent: agent.clone(),
            signer,
            session: session.to_owned(),
            clock,
            known: Mutex::default(),
        };
        trail.held()?;
        trail.locked(|_, _| Ok(()))?;
        Ok(trail)
    }

    /// Appends a row, signed and durable.
    ///
    /// # Errors
    /// [`Fault::Local`] where the trail cannot be written, or no longer verifies. Nothing was appended then, but where
    /// the words say that the checkpoint alone could not be replaced.
    pub fn row(&self, tool: &str, decision: Decision, reason: &str) -> Result<(), Fault> {
        self.locked(|file, head| self.append(file, head, (tool, decision, reason)))
    }

    fn held(&self) -> Result<&Held, Fault> {
        self.signer.held().ok_or_else(|| {
            at(
                &self.path,
                "its rows are signed by the key itself, and this key's holder (an SSH agent) signs requests alone; use a \
                 key file, or leave out --nockguard-trail",
            )
        })
    }

    /// Holds the trail's lock, finds where it ends, and runs `then`.
    fn locked(&self, then: impl FnOnce(&File, &mut Head) -> Result<(), Fault>) -> Result<(), Fault> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.lock()?;
        let mut head = self.end(&file, known.as_ref())?;
        let done = then(&file, &mut head);
        let now = file.metadata().map_err(|why| at(&self.path, why))?;
        *known = Some(Known { inode: (now.dev(), now.ino()), length: now.len(), count: head.count() });
        done
    }

    /// The file under this name, with its lock.
    fn lock(&self) -> Result<File, Fault> {
        let file = open(&self.path, OFlags::RDWR | OFlags::APPEND | OFlags::CREATE)?;
        for _ in 0..TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let (own, named) = (file.metadata(), fs::symlink_metadata(&self.path));
                    let (own, named) = (own.map_err(|why| at(&self.path, why))?, named.ok());
                    // It was rotated while this waited: the lock is on a file that nobody looks at.
                    return match named {
                        Some(named) if (named.dev(), named.ino()) == (own.dev(), own.ino()) => Ok(file),
                        _ => Err(at(&self.path, "was moved or replaced while a row was to be written; try again")),
                    };
                }
                Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(APART),
                Err(why) => return Err(at(&self.path, std::io::Error::from(why))),
            }
        }
        Err(at(&self.path, "another program holds its lock and does not let go"))
    }

    /// Where the trail ends. What the signed checkpoint says of the last row is enough; else all of it is verified.
    fn end(&self, file: &File, known: Option<&Known>) -> Result<Head, Fault> {
        let now = file.metadata().map_err(|why| at(&self.path, why))?;
        let same = known.filter(|known| known.inode == (now.dev(), now.ino()));
        let mark = self.mark()?;
        let public = self.signer.public();
        let head = match (same, &mark) {
            (Some(_), Some(mark)) => last_line(file).ok().flatten().and_then(|last| Head::at(mark, &last, public)),
            _ => None,
        };
        let head = match head {
            Some(head) => head,
            None => self.verified(file, mark.as_deref())?,
        };
        if same.is_some_and(|known| now.len() < known.length || head.count() < known.count) {
            return Err(at(
                &self.path,
                "is shorter than this program left it: rows were taken away; nothing is appended",
            ));
        }
        Ok(head)
    }

    /// Verifies the whole trail, mends what a crash left at its end, and gives where it ends.
    fn verified(&self, mut file: &File, mark: Option<&[u8]>) -> Result<Head, Fault> {
        let fails = |why: std::io::Error| at(&self.path, why);
        let length = file.metadata().map_err(fails)?.len();
        if length == 0 && mark.is_none() {
            return Ok(Head::default());
        }
        file.seek(SeekFrom::Start(0)).map_err(fails)?;
        let keys = [Key::Agent(self.signer.public().clone())];
        let report = verify(BufReader::new(file), mark, &keys, None).map_err(fails)?;
        let head = Head::of(&report);
        let whole = whole_lines(file, length).map_err(fails)?;
        match report.verdict {
            Verdict::Intact if whole < length => {
                // The last row is whole, and its LF was not written.
                file.write_all(b"\n").and_then(|()| file.sync_data()).map_err(fails)?;
                Ok(head)
            }
            Verdict::Intact => Ok(head),
            // Its signature was never whole, so that no checkpoint counts it. Without one, it was the very first.
            Verdict::Torn { .. } => self.cut(file, head, whole, length),
            Verdict::Tampered { .. } | Verdict::Unusable { .. } if whole == 0 && mark.is_none() && !ends(file) => {
                self.cut(file, head, whole, length)
            }
            verdict => Err(at(
                &self.path,
                format_args!(
                    "does not verify under the key of agent {} ({verdict}); nothing is appended to it. Keep it and its \
                     .hwm as evidence, and where the agent's key was replaced move both aside: a new trail begins",
                    self.agent
                ),
            )),
        }
    }

    /// Takes away the row that broke off, and says so in the trail.
    fn cut(&self, file: &File, mut head: Head, whole: u64, length: u64) -> Result<Head, Fault> {
        file.set_len(whole).map_err(|why| at(&self.path, why))?;
        let reason = format!("cut {} bytes of a row that broke off", length - whole);
        self.append(file, &mut head, ("nockvault:trail", Decision::StateWrite, &reason))?;
        Ok(head)
    }

    fn append(
        &self,
        mut file: &File,
        head: &mut Head,
        (tool, decision, reason): (&str, Decision, &str),
    ) -> Result<(), Fault> {
        let (held, public) = (self.held()?, self.signer.public());
        let row =
            NewRow { ts: self.clock.now(), agent: &self.agent, tool, decision, reason, session_id: &self.session };
        let pending = head.next(&row, public);
        let sig = held.sign_nockguard(pending.message());
        let (line, next) = pending.signed(&sig);
        let before = file.metadata().map_err(|why| at(&self.path, why))?.len();
        // A crash after this leaves a row, or a part of one, that the checkpoint does not count.
        if let Err(why) = file.write_all(line.as_bytes()).and_then(|()| file.sync_data()) {
            let _ = file.set_len(before);
            return Err(at(&self.path, why));
        }
        *head = next;
        let sig = held.sign_nockguard(&head.message());
        self.replace_mark(&head.marked(&sig)).map_err(|why| {
            at(&self.path, format_args!("the row was written, but its checkpoint (.hwm) cannot be replaced: {why}"))
        })
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// The checkpoint, where there is one.
    fn mark(&self) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.beside(".hwm");
        if fs::symlink_metadata(&path).is_err_and(|why| why.kind() == ErrorKind::NotFound) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        let file = open(&path, OFlags::RDONLY)?;
        file.take(MARK + 1).read_to_end(&mut bytes).map_err(|why| at(&path, why))?;
        Ok(Some(bytes))
    }

    /// Puts a checkpoint in place of the old one at once. The caller holds the trail's lock.
    fn replace_mark(&self, text: &str) -> std::io::Result<()> {
        // NockGuard's name for it; what lies there was left by a crash.
        let new = self.beside(".hwm.tmp");
        match fs::remove_file(&new) {
            Err(why) if why.kind() != ErrorKind::NotFound => return Err(why),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, self.beside(".hwm"))
    }
}

/// Opens a file of this user's that nobody else can have written, and no link.
fn open(path: &Path, flags: OFlags) -> Result<File, Fault> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::from_raw_mode(0o600)).map_err(|why| match why {
        rustix::io::Errno::LOOP => at(path, "is a link; a trail is written where it stands"),
        why => at(path, std::io::Error::from(why)),
    })?;
    let stat = rustix::fs::fstat(file.as_fd()).map_err(|why| at(path, std::io::Error::from(why)))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(at(path, "is not a regular file"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(at(path, "belongs to another user; a trail belongs to who writes it"));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err(at(
            path,
            format_args!("can be written by others (mode {mode:04o}); run: chmod 600 {}", path.display()),
        ));
    }
    Ok(File::from(file))
}

/// The last line that is whole, without its LF; none where it is too long to be looked for, or the file does not end so.
fn last_line(mut file: &File) -> std::io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let mut end = Vec::new();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    file.take(END).read_to_end(&mut end)?;
    let Some(end) = end.strip_suffix(b"\n") else { return Ok(None) };
    let begins = match end.iter().rposition(|byte| *byte == b'\n') {
        Some(before) => before + 1,
        None if length <= END => 0,
        None => return Ok(None),
    };
    Ok(Some(end[begins..].to_vec()))
}

/// How many bytes stand before the end of the last whole line.
fn whole_lines(mut file: &File, length: u64) -> std::io::Result<u64> {
    let mut to = length;
    while to > 0 {
        let from = to.saturating_sub(END);
        let mut part = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.take(to - from).read_to_end(&mut part)?;
        if let Some(lf) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + lf as u64 + 1);
        }
        to = from;
    }
    Ok(0)
}

/// Whether the file, which is one line without its LF, is a whole JSON text: then it did not break off.
fn ends(mut file: &File) -> bool {
    let mut text = Vec::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(END).read_to_end(&mut text));
    // Nothing but the beginning of a row is taken for one that broke off.
    let begins = text.starts_with(b"{\"ts\":\"") || b"{\"ts\":\"".starts_with(text.as_slice());
    let whole = !serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_err_and(|why| why.is_eof());
    read.is_err() || whole || !begins
}

impl Reporter for Trail {
    fn report(&self, event: &Event<'_>) -> Result<(), Fault> {
        let (verb, hdr) = match event {
            Event::Issued(hdr) => ("issue", hdr),
            Event::Renewed(hdr, _) => ("renew", hdr),
            Event::Released(hdr) => ("release", hdr),
            Event::Refused(role, refusal) => {
                return self.row(&format!("nockvault:request:{role}"), Decision::Deny, &refusal.code);
            }
        };
        self.row(&format!("nockvault:{verb}:{}", hdr.role), Decision::Allow, &format!("lease {}", hdr.lease))
    }
}
