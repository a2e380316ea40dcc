//! `_vault`: daemons begin and end, and turn their audit keys, in an order in which that can happen.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::operators::{Commands, names_operators};
use super::report::{Fault, Finding};
use crate::audit::entry::{self, Body, By};
use crate::id::Aud;
use crate::time::Timestamp;

/// How the last entries leave the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    /// There was none yet.
    Founded,
    /// What stands before is not known.
    Unknown,
    Runs,
    Ended,
}

/// Whether everything is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Freeze {
    Thawed,
    Frozen,
    /// What stands before is not known.
    Unknown,
}

/// All that `_vault` has told so far.
#[derive(Debug)]
pub(super) struct VaultTrail {
    daemon: Daemon,
    /// A daemon that writes down its limits also writes down that the one before was broken off.
    tells: bool,
    /// A start after which a `recover` may stand, with the `ts` of the entry before that start.
    broken_off: Option<Timestamp>,
    /// It must stand.
    owed: bool,
    /// The entry before is a restore: its audit key is the one of the start that must follow.
    restored: bool,
    pub(super) starts: u64,
    pub(super) broken: u64,
    freeze: Freeze,
    aud: Aud,
    commands: Option<Arc<Commands>>,
    /// The entry of `_operators` that the newest freeze or thaw rests on.
    newest: Option<u64>,
    /// Those of the commands that had an effect here.
    obeyed: BTreeSet<u64>,
}

impl VaultTrail {
    /// Behind the genesis, or, `known` not, behind an entry before which nothing is known.
    pub(super) fn begin(known: bool, aud: &Aud, commands: Option<Arc<Commands>>) -> VaultTrail {
        let (daemon, freeze) =
            if known { (Daemon::Founded, Freeze::Thawed) } else { (Daemon::Unknown, Freeze::Unknown) };
        VaultTrail {
            daemon,
            tells: false,
            broken_off: None,
            owed: false,
            restored: false,
            starts: 0,
            broken: 0,
            freeze,
            aud: aud.clone(),
            commands,
            newest: None,
            obeyed: BTreeSet::new(),
        }
    }

    /// Judges an entry; `new_key` says that another audit key signed it than the entry before, which was of `before`.
    pub(super) fn judge(&mut self, body: &Body, before: Timestamp, new_key: bool) -> Result<(), Finding> {
        let order = |how: &str| Err(Fault::Order.found(how));
        let restored = std::mem::replace(&mut self.restored, matches!(body, Body::Restore(_)));
        if self.owed && !matches!(body, Body::Start(_) | Body::Recover(_) | Body::Config(_) | Body::Restore(_)) {
            return order("the daemon before did not end in order, and this one did not say what it found");
        }
        if restored && !matches!(body, Body::Start(_)) {
            return order("the vault was restored, and no daemon begins on it");
        }
        if matches!(body, Body::Start(_) | Body::Epoch(_)) && !new_key && !restored {
            return order("it says that a new audit key signs, and the one of the entry before it does");
        }
        match body {
            Body::Start(_) => {
                let broken = self.daemon == Daemon::Runs;
                self.broken_off = match (self.daemon, self.broken_off) {
                    // Of a daemon that was broken off before it could say so, the next one says it.
                    (Daemon::Runs, Some(since)) => Some(since),
                    (Daemon::Runs | Daemon::Unknown, None) => Some(before),
                    _ => None,
                };
                self.owed = broken && self.tells;
                self.daemon = Daemon::Runs;
                self.starts += 1;
                self.broken += u64::from(broken);
                Ok(())
            }
            Body::Restore(_) => {
                // Of a daemon that ran when the backup was made, the restored vault knows no end.
                if matches!(self.daemon, Daemon::Runs | Daemon::Unknown) {
                    self.broken_off.get_or_insert(before);
                }
                Ok(())
            }
            Body::Stop(_) | Body::Epoch(_) | Body::Config(_) | Body::Recover(_) => {
                if matches!(self.daemon, Daemon::Founded | Daemon::Ended) {
                    return order("no daemon runs at this place: it follows no start, or a stop");
                }
                match body {
                    Body::Stop(_) => self.daemon = Daemon::Ended,
                    Body::Config(_) => self.tells = true,
                    Body::Recover(recover) => return self.recover(recover),
                    _ => {}
                }
                if !matches!(body, Body::Config(_)) {
                    self.broken_off = None;
                }
                Ok(())
            }
            Body::VaultFreeze(freeze) => self.ordered(&freeze.by, true),
            Body::VaultThaw(thaw) => self.ordered(&thaw.by, false),
            _ => Ok(()),
        }
    }

    /// Everything was frozen, or thawed.
    fn ordered(&mut self, by: &By, freeze: bool) -> Result<(), Finding> {
        names_operators(by)?;
        if let Some(commands) = &self.commands {
            commands.froze_or_thawed(by, &self.aud, freeze)?;
        }
        if self.newest.is_some_and(|newest| by.seq <= newest) {
            return Err(Fault::By.found(format!(
                "it rests on entry {} of _operators, and a freeze or thaw before it on the same or a later one",
                by.seq
            )));
        }
        self.newest = Some(by.seq);
        if self.commands.is_some() {
            self.obeyed.insert(by.seq);
        }
        if !freeze && self.freeze == Freeze::Thawed {
            return Err(Fault::Order.found("it thaws what is not frozen"));
        }
        self.freeze = if freeze { Freeze::Frozen } else { Freeze::Thawed };
        Ok(())
    }

    /// Whether the last entries leave everything frozen.
    pub(super) fn is_frozen(&self) -> bool {
        self.freeze == Freeze::Frozen
    }

    /// Commands on everything, by their entries in `_operators`, on which nothing here rests.
    pub(super) fn without_effect(&self) -> Vec<u64> {
        let Some(commands) = &self.commands else { return Vec::new() };
        commands.about_the_vault().filter(|seq| !self.obeyed.contains(seq)).collect()
    }

    fn recover(&mut self, recover: &entry::Recover) -> Result<(), Finding> {
        self.owed = false;
        match self.broken_off.take() {
            Some(since) if recover.since < since => Err(Fault::Order.found(format!(
                "it says that the newest entry was of {}, where one of {since} stood here already",
                recover.since
            ))),
            Some(_) => Ok(()),
            None if self.daemon == Daemon::Unknown => Ok(()),
            None => {
                Err(Fault::Order.found("the daemon before ended in order, or this one has said before what it found"))
            }
        }
    }
}
