//! Keeping a child away from files with keys. A child of the launcher's own user can read what that user can read; the
//! ways out are another user (`--user`), a key that lies in no file (an ssh-agent), or Landlock, which takes files away
//! from a process and all that it starts, for good, and needs no privilege.
//!
//! Landlock can only allow. So [`landlock()`] allows the reading of everything beside the way to a forbidden place, at the
//! time it is called, and says nothing of writing, running and listing. What follows from that, and what it does not do:
//!
//! - A file that is made later right in a folder on the way (for `~/.config/nockvault/agents`: in `/`, `/home`, `~`,
//!   `~/.config`, `~/.config/nockvault`) cannot be read by the child that made it. In any folder beside the way it can.
//! - A file cannot be moved or linked to where it could be read. Nothing can be mounted, and no program gains privileges
//!   by its mode (`sudo`, `su`); other processes than the child's own cannot be debugged.
//! - A forbidden place that is visible under a second name by a bind mount is not hidden there.
//! - It holds the child, not those whom the child can ask: a program of the same user that runs outside and reads files
//!   for others (`systemd-run --user`, a container daemon, `at`) reads these too. Root can read the disk itself.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    AccessFs, BitFlags, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus,
};
use rustix::fs::{Mode, OFlags};

use crate::client::fault::Fault;
use crate::client::keyfile::{Places, SECRET};
use crate::client::place::config_dir;

/// What became of a confinement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// This process, and all that it starts, can read nothing that is forbidden.
    Enforced,
    /// The kernel has no Landlock, or it is switched off: everything can be read as before.
    Missing,
}

impl std::fmt::Display for Confinement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Confinement::Enforced => "files with keys are closed to what is run here",
            Confinement::Missing => {
                "files with keys are as open as before: this kernel has no Landlock (Linux 5.13 or newer, with landlock \
                 among lsm=); run the command as another user (--user), or keep the key in an ssh-agent (vaultctl keygen \
                 --from-ssh-agent)"
            }
        })
    }
}

/// Why a child that runs as the user `child`, or as this one, could read the key in `file`, with what to do; nothing
/// where it could not.
#[must_use]
pub fn exposed(file: &Path, child: Option<u32>) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let child = child.unwrap_or(own);
    let stat = fs::metadata(file).ok()?;
    let why = if child == 0 {
        "it runs as root, who reads every file"
    } else if child == stat.uid() {
        "it runs as the user whom the file belongs to"
    } else if stat.mode() & 0o044 != 0 {
        "the file is open to others"
    } else {
        return None;
    };
    Some(format!(
        "the command can read the agent's key in {}: {why}; run it as another user (--user NAME), keep the key in an \
         ssh-agent (vaultctl keygen --from-ssh-agent), or close the file to it (--landlock)",
        file.display()
    ))
}

/// The same of a key that is in an ssh-agent: a child whom that obeys could have it sign.
#[must_use]
pub fn exposed_in_ssh_agent(socket: &Path, child: Option<u32>) -> Option<String> {
    let own = rustix::process::geteuid().as_raw();
    let child = child.unwrap_or(own);
    (child == 0 || child == own).then(|| {
        format!(
            "the command can have the ssh-agent at {} sign with the agent's key, though it cannot take the key: it runs as \
             the same user; run it as another (--user NAME), or let the ssh-agent ask first (ssh-add -c)",
            socket.display()
        )
    })
}

/// Where keys lie on this machine, as far as it is known: the folders of agents' keys, ours and NockGuard's; the folders
/// of operators' keys; the key file `named`; and beside it, as in each of `dirs`, every file that ends as key files do.
#[must_use]
pub fn places_of_keys(named: Option<&Path>, dirs: &[PathBuf]) -> Vec<PathBuf> {
    let entries = |dir: &Path| fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut places = Places::usual().dirs;
    if let Some(config) = config_dir() {
        places.extend(entries(&config).filter(|path| path.is_dir()));
    }
    places.extend(named.map(Path::to_owned));
    let beside = named.map(|file| file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    for dir in dirs.iter().map(PathBuf::as_path).chain(beside) {
        places.extend(entries(dir).filter(|path| path.extension().is_some_and(|ending| ending == SECRET)));
    }
    places
}

/// Takes the reading of these files and folders away from the calling thread and from everything that it will run, for
/// good. A place that does not exist is passed over. To be called by the process that becomes the child, in the thread
/// that then executes it: what is open already stays open.
///
/// # Errors
/// [`Fault::Local`] where a place cannot be looked at, or the kernel takes the rules and does not enforce them.
pub fn landlock(forbidden: &[PathBuf]) -> Result<Confinement, Fault> {
    let mut closed = BTreeSet::new();
    for place in forbidden {
        match fs::canonicalize(place) {
            Ok(real) => drop(closed.insert(real)),
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => {}
            Err(why) => return Err(Fault::Local(format!("{}: {why}", place.display()))),
        }
    }
    if closed.contains(Path::new("/")) {
        return Err(Fault::local("/: everything cannot be closed; name the folder of the keys"));
    }
    let failed = |why: landlock::RulesetError| Fault::Local(format!("Landlock: {why}"));
    // Refer is denied by every ruleset that does not speak of it; here it is to be as free as it can.
    let handled = AccessFs::ReadFile | AccessFs::Refer;
    let ruleset = Ruleset::default().handle_access(handled).and_then(Ruleset::create).map_err(failed)?;
    let mut ruleset = allow(ruleset, Path::new("/"), AccessFs::Refer.into()).map_err(failed)?;
    for open in beside(&closed) {
        ruleset = allow(ruleset, &open, AccessFs::ReadFile.into()).map_err(failed)?;
    }
    match ruleset.restrict_self().map_err(failed)?.ruleset {
        RulesetStatus::NotEnforced => Ok(Confinement::Missing),
        // All but the first version know both rights; the first denies every move between folders instead.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(Confinement::Enforced),
    }
}

/// Allows `access` at a place and all below it. What is gone by now, or closed to this user, needs no rule.
fn allow(
    ruleset: RulesetCreated,
    place: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, landlock::RulesetError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::open(place, flags, Mode::empty()) {
        Ok(there) => ruleset.add_rule(PathBeneath::new(there, access)),
        Err(_) => Ok(ruleset),
    }
}

/// Everything beside the ways from the root to these places: files and folders, and no links, since what a link leads to
/// is judged where it lies.
fn beside(closed: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ways = vec![PathBuf::from("/")];
    while let Some(way) = ways.pop() {
        if closed.contains(&way) {
            continue;
        }
        if !closed.iter().any(|place| place.starts_with(&way)) {
            found.push(way);
            continue;
        }
        // A folder that cannot be listed still has the next step of the way, which is known by name.
        let listed = fs::read_dir(&way).into_iter().flatten().filter_map(Result::ok);
        let listed = listed.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        let next = closed.iter().filter_map(|place| place.strip_prefix(&way).ok()?.components().next());
        let mut steps: BTreeSet<PathBuf> = next.map(|step| way.join(step)).collect();
        steps.extend(listed.map(|entry| entry.path()));
        ways.extend(steps);
    }
    found
}
