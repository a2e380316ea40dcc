//! OpenSSH's own ssh-agent, in a folder of its own, with what `ssh-add` puts into it. It ends with its [`Held`], also
//! when the test panics. `openssh-client` must be there (`.ci/deps`).

#![allow(dead_code, reason = "each test uses its part")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running ssh-agent.
pub(crate) struct Held {
    child: Child,
    folder: TempDir,
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Held {
    /// One without keys. `asks` is what it runs where a key has to be confirmed.
    pub(crate) fn start(asks: Option<&str>) -> Held {
        let folder = tempfile::Builder::new().prefix("held").tempdir().unwrap();
        let socket = folder.path().join("agent");
        let mut agent = Command::new("ssh-agent");
        agent.arg("-D").arg("-a").arg(&socket).stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(asks) = asks {
            agent.env("SSH_ASKPASS", asks).env("SSH_ASKPASS_REQUIRE", "force");
        }
        let mut child = agent.spawn().unwrap();
        let since = Instant::now();
        while !socket.exists() {
            assert!(since.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none(), "no ssh-agent");
            std::thread::sleep(Duration::from_millis(10));
        }
        Held { child, folder }
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    /// Makes a key of this kind and comment, adds it with these options, and removes its file: from here on the agent
    /// alone has it. Gives its public line.
    pub(crate) fn add(&self, kind: &str, comment: &str, options: &[&str]) -> String {
        let file = self.folder.path().join("key");
        let make = ["-q", "-t", kind, "-N", "", "-C", comment, "-f"];
        assert!(Command::new("ssh-keygen").args(make).arg(&file).status().unwrap().success());
        self.ssh_add(&[options, &["-q", file.to_str().unwrap()]].concat());
        let public = file.with_extension("pub");
        let line = std::fs::read_to_string(&public).unwrap();
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(public).unwrap();
        line.trim_end().to_owned()
    }

    /// What `ssh-add` prints. It must succeed.
    pub(crate) fn ssh_add(&self, options: &[&str]) -> String {
        let output = ssh_add(&self.socket()).args(options).output().unwrap();
        assert!(output.status.success(), "ssh-add {options:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Locks it or unlocks it; the passphrase is always the same.
    pub(crate) fn lock(&self, how: &str) {
        let asks = self.folder.path().join("asks");
        script(&asks, "echo together");
        let mut add = ssh_add(&self.socket());
        add.arg(how).env("SSH_ASKPASS", &asks).env("SSH_ASKPASS_REQUIRE", "force").env("DISPLAY", ":0");
        assert!(add.stdin(Stdio::null()).output().unwrap().status.success());
    }
}

/// `ssh-add`, at this socket.
pub(crate) fn ssh_add(socket: &Path) -> Command {
    let mut add = Command::new("ssh-add");
    add.env("SSH_AUTH_SOCK", socket).stdin(Stdio::null());
    add
}

/// Writes a program of the shell.
pub(crate) fn script(path: &Path, what: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, format!("#!/bin/sh\n{what}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}
