//! A real sshd of its own: a free port on loopback, a folder, a host key, an authority that it trusts and a list of
//! revoked certificates. It takes certificates and nothing else, for the user that runs the test, and ends with its
//! [`Sshd`], also when the test panics.
//!
//! To be named by `#[path]` from any test; `openssh-server` and `openssh-client` must be there (`.ci/deps`).

#![allow(dead_code, reason = "each test uses its part")]

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long sshd may take until it greets.
const START: Duration = Duration::from_secs(20);

/// A running sshd.
pub(crate) struct Sshd {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl Sshd {
    /// One that trusts the authority of this public line, with an empty list of revoked certificates.
    pub(crate) fn start(ca_public_line: &str) -> Sshd {
        let folder = tempfile::tempdir().unwrap();
        keygen(&["-q", "-t", "ed25519", "-N", "", "-f", text(&folder.path().join("host"))]);
        keygen(&["-q", "-k", "-f", text(&folder.path().join("krl"))]);
        fs::write(folder.path().join("ca.pub"), format!("{}\n", ca_public_line.trim_end())).unwrap();
        if user() == "root" {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        // Another test may take the port between its choice and its use; then sshd ends, and the next one is tried.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
            let mut child = spawn(folder.path(), port);
            if greets(&mut child, port) {
                let host = fs::read_to_string(folder.path().join("host.pub")).unwrap();
                fs::write(folder.path().join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
                return Sshd { child, port, folder };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd did not start: {}", fs::read_to_string(folder.path().join("log")).unwrap_or_default());
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Puts a list of revoked certificates in place of the one that is there, in one step.
    pub(crate) fn set_krl(&self, bytes: &[u8]) {
        let new = self.folder.path().join("krl.new");
        fs::write(&new, bytes).unwrap();
        fs::rename(new, self.folder.path().join("krl")).unwrap();
    }

    /// Runs `command` as `user` with OpenSSH's own client, with this key and certificate and no other.
    pub(crate) fn login(&self, private_key: &Path, certificate: &Path, user: &str, command: &str) -> Output {
        self.client(private_key, certificate).arg(format!("{user}@127.0.0.1")).arg(command).output().unwrap()
    }

    /// The client of [`Sshd::login`], before it is told as whom and what to run.
    pub(crate) fn client(&self, private_key: &Path, certificate: &Path) -> Command {
        let mut ssh = self.any_client("none");
        ssh.arg("-i").arg(private_key).arg("-o").arg(format!("CertificateFile={}", text(certificate)));
        ssh.args(["-o", "IdentitiesOnly=yes"]);
        ssh
    }

    /// A client that has what the ssh-agent at `socket` has, and no other key.
    pub(crate) fn agent_client(&self, socket: &Path) -> Command {
        let mut ssh = self.any_client(text(socket));
        ssh.args(["-o", "IdentityFile=none"]);
        ssh
    }

    fn any_client(&self, agent: &str) -> Command {
        let known = format!("UserKnownHostsFile={}", text(&self.folder.path().join("known_hosts")));
        let agent = format!("IdentityAgent={agent}");
        let options = [
            known.as_str(),
            agent.as_str(),
            "GlobalKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=yes",
            "LogLevel=ERROR",
            "BatchMode=yes",
            "PreferredAuthentications=publickey",
            "ConnectTimeout=20",
        ];
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "/dev/null", "-n", "-p", &self.port.to_string()]);
        for option in options {
            ssh.args(["-o", option]);
        }
        ssh.env_remove("SSH_AUTH_SOCK");
        ssh
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.path().join("log")).unwrap()).into_owned()
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The user that runs this, as whom alone one can log in where that is not root.
pub(crate) fn user() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

/// What `ssh-keygen` says to these arguments. It must succeed.
pub(crate) fn keygen(args: &[&str]) -> String {
    let output = Command::new("ssh-keygen").args(args).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "ssh-keygen {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Writes a private key as OpenSSH wants to find it.
pub(crate) fn write_private(path: &Path, pem: &str) {
    fs::write(path, pem).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn program() -> PathBuf {
    let places = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/sbin/sshd"];
    places.iter().map(PathBuf::from).find(|path| path.is_file()).expect("sshd is installed; see .ci/deps")
}

fn spawn(folder: &Path, port: u16) -> Child {
    let own = folder.display();
    let config = folder.join("sshd_config");
    let mut lines = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {own}/host\nPidFile none\nAuthorizedKeysFile none\n\
         TrustedUserCAKeys {own}/ca.pub\nRevokedKeys {own}/krl\nPasswordAuthentication no\n\
         KbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nLogLevel VERBOSE\nMaxStartups 100\n\
         PermitRootLogin prohibit-password\n"
    );
    fs::write(&config, &lines).unwrap();
    // Newer ones shut out an address that failed to log in; older ones do not know the word.
    let penalties = "PerSourcePenalties no";
    let test = Command::new(program()).args(["-t", "-o", penalties, "-f"]).arg(&config).output().unwrap();
    if test.status.success() {
        lines.push_str(penalties);
        lines.push('\n');
        fs::write(&config, &lines).unwrap();
    }
    let log = File::create(folder.join("log")).unwrap();
    let mut sshd = Command::new(program());
    sshd.args(["-D", "-e", "-f"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    sshd.spawn().unwrap()
}

/// Whether it comes to greet on this port, and is not somebody else: it must still be running then.
fn greets(child: &mut Child, port: u16) -> bool {
    let since = Instant::now();
    while since.elapsed() < START {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            let mut greeting = [0; 4];
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            if stream.read_exact(&mut greeting).is_ok() && &greeting == b"SSH-" {
                return child.try_wait().unwrap().is_none();
            }
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}
