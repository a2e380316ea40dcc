//! Custodians that give the secret to the daemon by themselves: a credential of its unit, and a program. Both give 32 bytes,
//! or 64 hexadecimal digits with or without an end of line.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::CustodySecret;
use crate::secret::Secret;

/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often is looked whether it has ended.
const TURN: Duration = Duration::from_millis(10);
/// One byte more than the longest text of a secret, 64 digits with CR LF.
pub(super) const LONGEST: usize = 67;

/// Why nothing was given.
#[derive(Debug, thiserror::Error)]
pub enum GivenFault {
    /// The unit has no credentials.
    #[error(
        "there is no $CREDENTIALS_DIRECTORY: the daemon must be started by systemd, with LoadCredential={0}:PATH or LoadCredentialEncrypted= in its unit"
    )]
    NoUnit(String),
    /// No name of a credential.
    #[error("{0:?} is no name of a credential; give the name alone, without a path")]
    Name(String),
    /// The credential cannot be read.
    #[error("the credential {name}: {cause}; see LoadCredential= in the daemon's unit")]
    Credential {
        /// Which.
        name: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The program cannot be run.
    #[error("{program}: {cause}")]
    Program {
        /// Which.
        program: String,
        /// What the system said.
        cause: std::io::Error,
    },
    /// It failed.
    #[error("{program} ended with {status}; what it said stands above")]
    Failed {
        /// Which.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// It took too long.
    #[error("{0} gave nothing within 30 seconds and was ended")]
    Late(String),
    /// What came is no secret.
    #[error("{0} gave neither 32 bytes nor 64 hexadecimal digits")]
    NoSecret(String),
    /// No program.
    #[error("a command has a program, and its arguments behind it")]
    Empty,
}

/// 32 bytes, or 64 hexadecimal digits.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<CustodySecret> {
    if let Some(secret) = Secret::from_slice(bytes) {
        return Some(CustodySecret::new(secret));
    }
    let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let digits = digits.strip_suffix(b"\r").unwrap_or(digits);
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let value = |digit: u8| (digit as char).to_digit(16).unwrap_or_default() as u8;
    let secret = Secret::init(|out: &mut [u8; 32]| {
        for (byte, pair) in out.iter_mut().zip(digits.chunks(2)) {
            *byte = value(pair[0]) << 4 | value(pair[1]);
        }
    });
    Some(CustodySecret::new(secret))
}

/// As many bytes as a secret's text can have, and one more.
pub(super) fn some(from: &mut impl Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST));
    let mut part = Zeroizing::new([0; LONGEST]);
    while bytes.len() < LONGEST {
        let room = LONGEST - bytes.len();
        match from.read(&mut part[..room])? {
            0 => break,
            more => bytes.extend_from_slice(&part[..more]),
        }
    }
    Ok(bytes)
}

/// A credential of the daemon's unit: a file of this name in the folder that systemd made for it alone.
///
/// # Errors
/// [`GivenFault`].
pub fn credential(folder: Option<&OsStr>, name: &str) -> Result<CustodySecret, GivenFault> {
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return Err(GivenFault::Name(name.to_owned()));
    }
    let folder = folder.ok_or_else(|| GivenFault::NoUnit(name.to_owned()))?;
    let read_file = || some(&mut File::open(Path::new(folder).join(name))?);
    let bytes = read_file().map_err(|cause| GivenFault::Credential { name: name.to_owned(), cause })?;
    read(&bytes).ok_or_else(|| GivenFault::NoSecret(format!("the credential {name}")))
}

/// Ends a program that is not waited for any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself is only waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a program prints, run without a shell. What it says on standard error is shown as it comes.
///
/// # Errors
/// [`GivenFault`].
pub fn command(command: &[String]) -> Result<CustodySecret, GivenFault> {
    let bytes = output(command)?;
    read(&bytes).ok_or_else(|| GivenFault::NoSecret(command.first().cloned().unwrap_or_default()))
}

/// What a program prints, at most a little more than a secret.
pub(super) fn output(command: &[String]) -> Result<Zeroizing<Vec<u8>>, GivenFault> {
    within(PATIENCE, command)
}

fn within(patience: Duration, command: &[String]) -> Result<Zeroizing<Vec<u8>>, GivenFault> {
    let (program, arguments) = command.split_first().ok_or(GivenFault::Empty)?;
    let failed = |cause| GivenFault::Program { program: program.clone(), cause };
    let child = Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = Running(child.map_err(failed)?);
    let mut out = child.0.stdout.take().ok_or_else(|| failed(std::io::Error::other("it has no output")))?;
    let (send, answer) = mpsc::channel();
    let reader = std::thread::Builder::new().name("custody-command".to_owned());
    let reader = reader.spawn(move || drop(send.send(some(&mut out)))).map_err(failed)?;
    let bytes = match answer.recv_timeout(patience) {
        Ok(bytes) => {
            // It has said all that it had to say. No thread is left behind, which would stay outside of the daemon's walls.
            let _ = reader.join();
            bytes.map_err(failed)?
        }
        Err(_) => return Err(GivenFault::Late(program.clone())),
    };
    for _ in 0..patience.as_millis() / TURN.as_millis() {
        match child.0.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(bytes),
            Some(status) => return Err(GivenFault::Failed { program: program.clone(), status }),
            None => std::thread::sleep(TURN),
        }
    }
    Err(GivenFault::Late(program.clone()))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[test]
    fn bytes_and_digits_are_read_and_nothing_else() {
        assert_eq!(read(&[7; 32]).unwrap().expose(), &[7; 32]);
        for text in ["0a".repeat(32), format!("{}\n", "0A".repeat(32)), format!("{}\r\n", "0a".repeat(32))] {
            assert_eq!(read(text.as_bytes()).unwrap().expose(), &[10; 32], "{text:?}");
        }
        for text in ["", "hunter2", &"0a".repeat(31), &"0g".repeat(32), &format!(" {}", "0a".repeat(32))] {
            assert!(read(text.as_bytes()).is_none(), "{text:?}");
        }
        assert!(read(&[7; 33]).is_none());
    }

    #[test]
    fn a_program_prints_a_secret_or_says_why_not() {
        let digits = "1f".repeat(32);
        assert_eq!(command(&sh(&format!("echo {digits}"))).unwrap().expose(), &[0x1f; 32]);
        assert_eq!(command(&sh("head -c 32 /dev/zero")).unwrap().expose(), &[0; 32]);
        let fault = |script: &str| command(&sh(script)).unwrap_err().to_string();
        assert!(fault(&format!("echo {digits}; exit 3")).contains("exit status: 3"));
        for script in ["true", "yes", &format!("echo {digits} {digits}")] {
            let told = fault(script);
            assert!(["neither 32 bytes", "SIGPIPE", "141"].iter().any(|why| told.contains(why)), "{told}");
            assert!(!told.contains(&digits), "the error shows what was printed");
        }
        assert!(matches!(command(&["/no/such/program".to_owned()]), Err(GivenFault::Program { .. })));
        assert!(matches!(command(&[]), Err(GivenFault::Empty)));
    }

    #[test]
    fn a_program_that_goes_on_for_too_long_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        // One that says nothing, and one that has said all and does not end.
        for first in ["", "exec >&-;"] {
            let (script, began) = (format!("echo $$ > {}; {first} exec sleep 60", pid.display()), Instant::now());
            let told = within(Duration::from_secs(2), &sh(&script)).unwrap_err();
            assert!(matches!(told, GivenFault::Late(_)), "{told}");
            assert!(began.elapsed() < Duration::from_secs(30), "it was waited for");
            let pid = std::fs::read_to_string(&pid).unwrap();
            assert!(!Path::new("/proc").join(pid.trim()).exists(), "it was left behind");
        }
    }

    #[test]
    fn a_credential_comes_from_the_folder_of_the_unit() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root"), [9; 32]).unwrap();
        std::fs::write(folder.path().join("short"), [9; 31]).unwrap();
        let of = |name: &str| credential(Some(folder.path().as_os_str()), name);
        assert_eq!(of("root").unwrap().expose(), &[9; 32]);
        assert!(of("short").unwrap_err().to_string().contains("neither 32 bytes"));
        assert!(of("none").unwrap_err().to_string().contains("LoadCredential="));
        for name in ["../root", "", ".", "/etc/passwd"] {
            assert!(matches!(of(name), Err(GivenFault::Name(_))), "{name}");
        }
        assert!(matches!(credential(None, "root"), Err(GivenFault::NoUnit(_))));
    }
}
