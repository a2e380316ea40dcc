//! The child: started with an environment that is made for it, as another user where that was asked for, and with the
//! files that it inherits and no others. Signals that reach the launcher are passed on to it; its end is the launcher's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind, IsTerminal as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::delivery::Placed;
use super::folder::Account;

/// What is run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program, as it is looked for on the path.
    pub name: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The user that it runs as; none is this one.
    pub account: Option<Account>,
    /// Whether its standard input is empty, since the launcher's brought the key.
    pub no_input: bool,
}

impl Program {
    /// Starts it with exactly these variables and what was placed for it. `piped`: its output passes through this process.
    ///
    /// # Errors
    /// The system's: [`code_of`] gives the exit code that stands for it.
    pub fn start(
        &self,
        environment: &BTreeMap<OsString, OsString>,
        placed: &Placed,
        inherited: &[OwnedFd],
        piped: bool,
    ) -> io::Result<Child> {
        let mut command = Command::new(&self.name);
        command.args(&self.arguments).env_clear().envs(environment);
        command.envs(placed.variables());
        if piped {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        if self.no_input {
            command.stdin(Stdio::null());
        }
        if let Some(Account { uid, gid }) = self.account {
            command.uid(uid).gid(gid);
        }
        // Inherited by this child alone: nothing else is started between here and the end of this function.
        for file in placed.inherited().iter().chain(inherited) {
            fcntl_setfd(file.as_fd(), FdFlags::empty())?;
        }
        let child = command.spawn();
        for file in placed.inherited().iter().chain(inherited) {
            fcntl_setfd(file.as_fd(), FdFlags::CLOEXEC)?;
        }
        child
    }
}

/// The exit code of a launcher whose child could not be started: 127 where there is no such program, else 126, as shells
/// and `env` have it.
#[must_use]
pub fn code_of(why: &io::Error) -> u8 {
    if why.kind() == ErrorKind::NotFound { 127 } else { 126 }
}

/// The exit code that tells how a child ended: its own, or 128 and the signal's number.
#[must_use]
pub fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Sends a signal to a child that was not waited for yet.
pub fn pass(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // A child that has just ended needs no signal.
        let _ = kill_process(pid, signal);
    }
}

/// The signals that reach this process, for its child.
///
/// # Errors
/// The system's.
pub fn signals() -> io::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(16);
    let passed = [
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::quit(), Signal::QUIT),
        (SignalKind::hangup(), Signal::HUP),
        (SignalKind::user_defined1(), Signal::USR1),
        (SignalKind::user_defined2(), Signal::USR2),
        (SignalKind::window_change(), Signal::WINCH),
    ];
    for (kind, which) in passed {
        let (mut stream, sender) = (signal(kind)?, sender.clone());
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(which).await.is_ok() {} });
    }
    Ok(receiver)
}

/// Whether the terminal itself sent this signal to the child too: what a key or a window sends goes to all in front of
/// the terminal.
#[must_use]
pub fn came_from_terminal(which: Signal) -> bool {
    let stdin = io::stdin();
    let from_keys = matches!(which, Signal::INT | Signal::QUIT | Signal::WINCH);
    from_keys
        && stdin.is_terminal()
        && rustix::termios::tcgetpgrp(&stdin).is_ok_and(|group| group == rustix::process::getpgrp())
}
