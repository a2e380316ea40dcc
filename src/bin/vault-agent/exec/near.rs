//! How near a child comes to the key that its credentials are asked for with: what is said of it, and what is done.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use nockvault::client::keyfile::Origin;
use nockvault::launcher::child::Program;
use nockvault::launcher::confine::{exposed, exposed_in_ssh_agent, places_of_keys};
use nockvault::launcher::folder::Account;

/// The variable that leads to an ssh-agent.
const SSH_AGENT: &str = "SSH_AUTH_SOCK";

/// Where the key is, and whether files with keys are closed to the child.
pub(super) struct Near {
    pub(super) origin: Origin,
    pub(super) landlock: bool,
}

impl Near {
    /// Says so where the child could take the key, or have it used.
    pub(super) fn warn(&self, account: Option<Account>) {
        let child = account.map(|account| account.uid);
        let words = match &self.origin {
            Origin::File(file) if !self.landlock => exposed(file, child),
            Origin::SshAgent => {
                std::env::var_os(SSH_AGENT).and_then(|socket| exposed_in_ssh_agent(Path::new(&socket), child))
            }
            _ => None,
        };
        if let Some(words) = words {
            say!("{}", crate::calm(&words));
        }
    }

    /// Whether the launcher's standard input brought the key. A file there could be read once more.
    pub(super) fn came_in(&self) -> bool {
        self.origin == Origin::Input
    }

    /// Takes the way to an ssh-agent with the key out of the child's environment.
    pub(super) fn take_from(&self, environment: &mut BTreeMap<OsString, OsString>) {
        if self.origin == Origin::SshAgent {
            environment.remove(OsStr::new(SSH_AGENT));
        }
    }

    /// The program, behind the step that closes files with keys to it where that was asked for.
    pub(super) fn around(&self, program: Program) -> Program {
        if !self.landlock {
            return program;
        }
        let named = if let Origin::File(file) = &self.origin { Some(file.as_path()) } else { None };
        let mut arguments: Vec<OsString> = vec!["confined".into()];
        for place in places_of_keys(named, &[PathBuf::from(".")]) {
            arguments.extend(["--closed".into(), place.into()]);
        }
        arguments.extend(["--".into(), program.name]);
        arguments.extend(program.arguments);
        // By this name it can be started by a user who cannot reach the place that it lies in.
        Program { name: "/proc/self/exe".into(), arguments, ..program }
    }
}
