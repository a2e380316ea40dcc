//! The files that the daemon can reach, by Landlock. It allows:
//!
//! - all but running, in the data directory, the folder of the mirror, and the folders that keep checkpoints;
//! - making and removing sockets, in the folders of the sockets;
//! - reading: the certificate and its key with their folders, so that one that was renewed is found; files of authorities;
//!   programs and libraries under `/usr`; what names hosts; `/proc`, where the kernel shows a walled process only its own;
//! - listening on the TCP ports of the configuration; connecting to any.
//!
//! The root key's file is not among them: it was read before. Nothing can be run. Signals reach only the daemon itself. What was open before stays open.
//!
//! A file that programs replace by renaming another over it, as `/etc/resolv.conf` is, can be followed only where its
//! folder can be read. So all of `/etc` can be read, unless the daemon is root or its root key lies there: then the files
//! that name hosts are named one by one, and after one of them was replaced the daemon is to be started anew.
//!
//! A folder that is not there when the daemon starts, or a disk that is mounted over it later, stays closed until the
//! daemon is started anew; the log says so at the start.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;

use super::Raised;
use crate::config::{Config, Custody};
use crate::follow::mirror;
use crate::follow::places::Place;

/// What may be done at a place and all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Files can be read.
    Read,
    /// Files can be read and folders listed.
    List,
    /// Sockets can be made and removed.
    Sockets,
    /// Files and folders can be made, written and removed.
    Write,
}

/// What stays open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Places, each with what may be done there.
    pub places: BTreeSet<(PathBuf, Reach)>,
    /// Ports that may be listened on; 0 is any free one.
    pub ports: BTreeSet<u16>,
}

/// Folders of the system that a daemon reads from.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/proc",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
];

/// What names hosts and times.
const NAMES: &[&str] = &[
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/localtime",
    "/etc/ld.so.cache",
];

/// What this configuration needs, and these folders besides. Folders of the daemon that are not there yet are made, since only what is there can
/// be allowed.
#[must_use]
pub fn plan(config: &Config, also: &[&Path]) -> Plan {
    let mut plan = Plan::default();
    for folder in also {
        plan.allow(folder, Reach::Write);
    }
    plan.allow(&config.vault.data_dir, Reach::Write);
    for listen in [&config.agents, &config.operators] {
        plan.ports.extend(listen.tcp.map(|address| address.port()));
        if let Some(folder) = listen.unix.as_deref().and_then(Path::parent) {
            // What it cannot make, the listener cannot either, and says so.
            let _ = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            plan.allow(folder, Reach::Sockets);
        }
    }
    plan.ports.extend(config.http.map(|address| address.port()));
    if let Some(to) = &config.audit.mirror {
        // The mirror says without end where it cannot.
        let _ = mirror::make_folder(&to.dir);
        plan.kept(&to.dir);
    }
    for place in &config.checkpoints.places {
        if let Place::Folder(folder) = place {
            plan.kept(folder);
        }
    }
    // Both were read before, and are read by nobody from here on.
    let root = match &config.vault.custody {
        Custody::File(root) => Some(root.as_path()),
        Custody::Pkcs11(token) => token.pin_file.as_deref(),
        Custody::Credential(_) | Custody::Command(_) | Custody::Unseal => None,
    };
    if let Some(tls) = &config.tls {
        plan.renewed(&tls.cert, root);
        plan.renewed(&tls.key, root);
    }
    let authority = config.audit.otlp.as_ref().and_then(|otlp| otlp.ca.as_ref());
    for file in [authority, config.checkpoints.policy.as_ref()].into_iter().flatten() {
        plan.allow(file, Reach::Read);
    }
    plan.system(rustix::process::geteuid().is_root() || root.is_some_and(|root| lies_in(root, Path::new("/etc"))));
    plan
}

impl Plan {
    fn allow(&mut self, place: &Path, reach: Reach) {
        self.places.insert((place.to_owned(), reach));
    }

    /// A folder that others look after, perhaps a disk of its own.
    fn kept(&mut self, folder: &Path) {
        if !folder.is_dir() {
            tracing::warn!(
                folder = %folder.display(),
                "there is no such folder now; when there is one, start vaultd anew, or Landlock keeps it closed"
            );
        }
        self.allow(folder, Reach::Write);
    }

    /// A file that is replaced from time to time: its folder too, unless the root key is in it or below.
    fn renewed(&mut self, file: &Path, root: Option<&Path>) {
        self.allow(file, Reach::Read);
        let real = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        for folder in [file.parent(), real.parent()].into_iter().flatten() {
            if root.is_none_or(|root| !lies_in(root, folder)) {
                self.allow(folder, Reach::List);
            }
        }
    }

    fn system(&mut self, one_by_one: bool) {
        for place in SYSTEM {
            self.allow(Path::new(place), Reach::List);
        }
        if one_by_one {
            for file in NAMES {
                self.allow(Path::new(file), Reach::Read);
            }
        } else {
            self.allow(Path::new("/etc"), Reach::List);
        }
    }
}

/// Whether a file lies in this folder or below, by its name or in truth.
fn lies_in(file: &Path, folder: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    file.starts_with(folder) || real(file).starts_with(real(folder))
}

impl Reach {
    fn rights(self, is_folder: bool) -> BitFlags<AccessFs> {
        let read = BitFlags::from(AccessFs::ReadFile);
        let all = match self {
            Reach::Read => read,
            Reach::List => read | AccessFs::ReadDir,
            Reach::Sockets => AccessFs::MakeSock | AccessFs::RemoveFile,
            Reach::Write => {
                let change = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::Refer;
                let make = AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile | AccessFs::RemoveDir;
                read | AccessFs::ReadDir | change | make
            }
        };
        if is_folder { all } else { all & AccessFs::from_file(KNOWN) }
    }
}

/// The newest version of Landlock whose every right was looked at here. An older kernel enforces what it knows.
const KNOWN: ABI = ABI::V6;

/// Closes everything else to the calling thread and to those that it will start, for good.
///
/// # Errors
/// A place cannot be looked at, or the kernel took the rules and did not enforce them.
pub fn close(plan: &Plan) -> Result<Raised, String> {
    let failed = |error: landlock::RulesetError| error.to_string();
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(KNOWN))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::BindTcp))
        .and_then(|ruleset| ruleset.scope(Scope::Signal))
        .and_then(Ruleset::create)
        .map_err(failed)?;
    let mut ruleset = ruleset;
    for (place, reach) in &plan.places {
        ruleset = allow(ruleset, place, *reach)?;
    }
    for port in &plan.ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp)).map_err(failed)?;
    }
    match ruleset.restrict_self().map_err(failed)?.ruleset {
        RulesetStatus::FullyEnforced => Ok(Raised::Stands("enforced".to_owned())),
        RulesetStatus::PartiallyEnforced => {
            Ok(Raised::Stands("enforced as far as this kernel's Landlock goes".to_owned()))
        }
        RulesetStatus::NotEnforced => Ok(Raised::Missing(
            "the daemon can reach all files of its user: this kernel has no Landlock (Linux 5.13 or newer, with landlock \
             among lsm=)"
                .to_owned(),
        )),
    }
}

/// What is not there, or is closed to this user, needs no rule. Of what cannot be looked at for another reason nobody
/// knows which rights it takes, and a folder with a file's would be closed to the daemon itself.
fn allow(ruleset: RulesetCreated, place: &Path, reach: Reach) -> Result<RulesetCreated, String> {
    let failed = |error: Errno| format!("{}: {}", place.display(), io::Error::from(error));
    let there = match rustix::fs::open(place, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(there) => there,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(ruleset),
        Err(error) => return Err(failed(error)),
    };
    let is_folder = FileType::from_raw_mode(fstat(&there).map_err(failed)?.st_mode).is_dir();
    ruleset.add_rule(PathBeneath::new(there, reach.rights(is_folder))).map_err(|error| error.to_string())
}
