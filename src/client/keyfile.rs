//! Keys in files and environment variables, as NockGuard has them, so that an agent's key serves both. `<name>.ed25519`
//! holds the 32-byte seed in lower-case hex, mode 0600; `<name>.pub` the public key in hex. `<name>.register` beside
//! them is ours: the register statement, out of which comes the key's number. A variable wins over a file. Where there is
//! no private key but a register statement of the form `sshsig`, the key is taken to be in an ssh-agent.
//!
//! An operator's key may stand behind a passphrase in its file ([`super::passphrase`]).
//!
//! A key file is opened without following a link, and taken only where it is a regular file of this user's, closed to
//! everyone else, of at most 4096 bytes. One that is not is an error and never passed over for another.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};
use zeroize::Zeroizing;

use super::fault::Fault;
use super::passphrase::{self, NotUnlocked};
use super::place::config_dir;
use super::signer::Identity;
use super::sshagent::SshAgent;
use crate::base64url;
use crate::crypto::envelope::Embedded;
use crate::crypto::signature::{Form, PublicKey, SigningKey};
use crate::id::AgentName;
use crate::secret::{Secret, SecretBytes};
use crate::statement::register::{Holder, Register};

/// The largest key file.
const MAX: u64 = 4096;

/// The ending of a file with a private key.
pub const SECRET: &str = "ed25519";
/// The ending of a file with a public key.
pub const PUBLIC: &str = "pub";
/// The ending of a file with a register statement.
pub const REGISTER: &str = "register";

/// Bytes as lower-case hex, in one buffer that never grows, since they may be a key.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
    }
    text
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.as_bytes().chunks_exact(2) {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push((digit(pair[0])? << 4) | digit(pair[1])?);
    }
    Some(bytes)
}

/// Reads a private key: 64 digits of hex are a seed, 128 a seed with its public key after it, as Go writes it. Blanks
/// around it are passed over.
///
/// # Errors
/// What is wrong, in words that do not quote the text.
pub fn parse_secret(text: &str) -> Result<SigningKey, &'static str> {
    let bytes = unhex(text.trim()).ok_or("a private key is 64 or 128 digits of hex")?;
    let (seed, public) = match bytes.len() {
        32 => (&bytes[..], None),
        64 => (&bytes[..32], Some(&bytes[32..])),
        _ => return Err("a private key is 64 or 128 digits of hex"),
    };
    let seed = Secret::from_slice(seed).ok_or("a seed has 32 bytes")?;
    let key = SigningKey::from_seed(&seed);
    match public {
        Some(public) if key.public().to_bytes() != public => {
            Err("the two halves of the 128 digits do not belong together")
        }
        _ => Ok(key),
    }
}

/// Reads a public key: 64 digits of hex.
///
/// # Errors
/// What is wrong with it.
pub fn parse_public(text: &str) -> Result<PublicKey, String> {
    let bytes = unhex(text.trim()).and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok());
    let bytes = bytes.ok_or("a public key is 64 digits of hex")?;
    PublicKey::from_bytes(&bytes).map_err(|fault| fault.to_string())
}

fn at(path: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::Local(format!("{}: {why}", path.display()))
}

/// Opens a file that only this user can have written, and, where it is `secret`, only this user can read.
fn open_safely(path: &Path, secret: bool) -> Result<File, Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|why| match why {
        rustix::io::Errno::LOOP => at(path, "is a link; a key file is opened where it stands"),
        why => at(path, std::io::Error::from(why)),
    })?;
    let stat = rustix::fs::fstat(file.as_fd()).map_err(|why| at(path, std::io::Error::from(why)))?;
    let others = if secret { 0o077 } else { 0o022 };
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(at(path, "is not a regular file"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(at(path, "belongs to another user; a key file belongs to who uses it"));
    }
    if stat.st_mode & others != 0 {
        return Err(open_to_others(path, stat.st_mode));
    }
    if u64::try_from(stat.st_size).is_ok_and(|size| size > MAX) {
        return Err(at(path, format_args!("is larger than the {MAX} bytes of a key file")));
    }
    Ok(File::from(file))
}

fn open_to_others(path: &Path, mode: u32) -> Fault {
    at(path, format_args!("is open to others (mode {:04o}); run: chmod 600 {}", mode & 0o777, path.display()))
}

/// Refuses a file with a secret that others can read. A pipe is let pass: whoever made it gave it to nobody else.
///
/// # Errors
/// [`Fault::Local`].
pub fn closed_to_others(file: &File, path: &Path) -> Result<(), Fault> {
    let stat = rustix::fs::fstat(file.as_fd()).map_err(|why| at(path, std::io::Error::from(why)))?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && stat.st_mode & 0o077 != 0 { Err(open_to_others(path, stat.st_mode)) } else { Ok(()) }
}

/// What a key file holds.
#[derive(Debug)]
pub enum Stored {
    /// A private key.
    Open(SigningKey),
    /// A private key behind a passphrase.
    Locked(Locked),
}

/// A private key behind a passphrase, as its file has it.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    pem: Zeroizing<String>,
}

impl Locked {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key, where this is its passphrase.
    ///
    /// # Errors
    /// [`NotUnlocked`].
    pub fn open(&self, passphrase: &SecretBytes) -> Result<SigningKey, NotUnlocked> {
        passphrase::unlock(&self.pem, passphrase)
    }
}

/// Reads what is in the key file `path`: a private key, or one behind a passphrase.
///
/// # Errors
/// [`Fault::Local`] where the file is not safe or holds no key.
pub fn read_stored(path: &Path) -> Result<Stored, Fault> {
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(MAX).unwrap_or_default() + 1));
    let file = open_safely(path, true)?;
    file.take(MAX + 1).read_to_string(&mut text).map_err(|why| at(path, why))?;
    if text.trim_start().starts_with(passphrase::BEGIN) {
        return Ok(Stored::Locked(Locked { path: path.to_owned(), pem: text }));
    }
    if text.contains("BEGIN OPENSSH PRIVATE KEY") {
        return Err(at(
            path,
            "is a key of OpenSSH's; give it to an ssh-agent (ssh-add FILE), and have the statement for it made: vaultctl \
             keygen --from-ssh-agent",
        ));
    }
    parse_secret(&text).map(Stored::Open).map_err(|why| at(path, why))
}

/// Reads the private key in `path`.
///
/// # Errors
/// [`Fault::Local`] where the file is not safe or holds no key, or one behind a passphrase.
pub fn read_secret(path: &Path) -> Result<SigningKey, Fault> {
    match read_stored(path)? {
        Stored::Open(key) => Ok(key),
        Stored::Locked(_) => Err(at(path, "is behind a passphrase, which only operators' keys may be")),
    }
}

/// Reads a passphrase out of a file that is for this user alone. A line end at its end is dropped.
///
/// # Errors
/// [`Fault::Local`] where the file is not safe, or empty.
pub fn read_passphrase(path: &Path) -> Result<SecretBytes, Fault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX).unwrap_or_default() + 1));
    open_safely(path, true)?.take(MAX + 1).read_to_end(&mut bytes).map_err(|why| at(path, why))?;
    let words = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let words = words.strip_suffix(b"\r").unwrap_or(words);
    if words.is_empty() { Err(at(path, "holds no passphrase")) } else { Ok(SecretBytes::new(words.to_vec())) }
}

/// Reads the public key in `path`.
///
/// # Errors
/// [`Fault::Local`] where others can write the file or it holds no key.
pub fn read_public(path: &Path) -> Result<PublicKey, Fault> {
    let mut text = String::new();
    open_safely(path, false)?.take(MAX + 1).read_to_string(&mut text).map_err(|why| at(path, why))?;
    parse_public(&text).map_err(|why| at(path, why))
}

/// Reads the register statement in `path` and checks that the key it names signed it.
///
/// # Errors
/// [`Fault::Local`] where there is none, or it proves nothing.
pub fn read_register(path: &Path) -> Result<(Embedded, Register), Fault> {
    let text = fs::read_to_string(path).map_err(|why| at(path, why))?;
    parse_register(&text).map_err(|why| at(path, why))
}

/// Reads a register statement, as JSON or as the base64url of it, which environments carry without quotes.
///
/// # Errors
/// What is wrong with it.
pub fn parse_register(text: &str) -> Result<(Embedded, Register), String> {
    let text = text.trim();
    let json = if text.starts_with('{') { Some(text.as_bytes().to_vec()) } else { base64url::decode(text) };
    let embedded: Option<Embedded> = json.and_then(|json| serde_json::from_slice(&json).ok());
    let embedded = embedded.ok_or("is not a register statement; vaultctl keygen makes one")?;
    let register = Register::open(&embedded).map_err(|denial| denial.detail)?;
    Ok((embedded, register))
}

/// Writes a file of this mode; an old one is replaced only with `force`, and a link never.
///
/// # Errors
/// [`Fault::Local`] where it exists or cannot be written.
pub fn write(path: &Path, contents: &[u8], mode: u32, force: bool) -> Result<(), Fault> {
    match fs::symlink_metadata(path) {
        Ok(old) if !old.is_file() => return Err(at(path, "is there already, and is no regular file")),
        Ok(_) if !force => return Err(at(path, "is there already; --force replaces it for good")),
        Ok(_) => {}
        Err(why) if why.kind() == ErrorKind::NotFound => {}
        Err(why) => return Err(at(path, why)),
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = (|| {
        // A crash between here and the rename leaves a stray file beside an untouched old one.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&new, path)
    })();
    written.map_err(|why| {
        if why.kind() != ErrorKind::AlreadyExists {
            let _ = fs::remove_file(&new);
        }
        at(&new, why)
    })
}

/// The part of a variable's name that stands for the agent: upper case, with `.` and `-` as `_`.
#[must_use]
pub fn variable_part(agent: &AgentName) -> String {
    agent.collision_form().to_ascii_uppercase()
}

/// The key with which an agent already signs its NockGuard trail, and where it is: in the variable
/// `NOCKGUARD_AGENT_<NAME>_ED25519_KEY`, which wins, or in `<home>/.nockguard/keys/<name>.ed25519`. The folder is held to
/// NockGuard's rule: no link, this user's, and writable to nobody else. Nothing unsafe is passed over for another place.
///
/// # Errors
/// [`Fault::Local`] where there is no key, or it is not safe, or is none.
pub fn of_nockguard(
    name: &str,
    home: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(SigningKey, String), Fault> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-')) {
        return Err(Fault::Local(format!(
            "{name:?} is no agent of NockGuard's: letters, digits, dots and hyphens name one"
        )));
    }
    let part = name.replace(['.', '-'], "_").to_ascii_uppercase();
    let named = format!("NOCKGUARD_AGENT_{part}_ED25519_KEY");
    if let Some(text) = variable(&named).filter(|text| !text.is_empty()).map(Zeroizing::new) {
        let key = parse_secret(&text).map_err(|why| Fault::Local(format!("{named}: {why}")))?;
        return Ok((key, named));
    }
    let missing = |also: String| {
        Fault::Local(format!(
            "NockGuard has no key of agent {name}: neither {named}{also}; nockguard keygen --agent {name} makes one"
        ))
    };
    let Some(dir) = home.map(|home| home.join(".nockguard/keys")) else { return Err(missing(String::new())) };
    let path = dir.join(format!("{name}.{SECRET}"));
    if !folder_is_safe(&dir)? || fs::symlink_metadata(&path).is_err_and(|why| why.kind() == ErrorKind::NotFound) {
        return Err(missing(format!(" nor {}", path.display())));
    }
    Ok((read_secret(&path)?, path.display().to_string()))
}

/// Whether the folder is there. One in which others could put files is an error.
///
/// # Errors
/// [`Fault::Local`] for a link, another user's folder, and one that others can write.
pub fn folder_is_safe(dir: &Path) -> Result<bool, Fault> {
    let stat = match rustix::fs::lstat(dir) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(why) => return Err(at(dir, std::io::Error::from(why))),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(at(dir, "is a link or no folder; the folder itself is used"));
    }
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(at(dir, "belongs to another user; such a folder belongs to who uses it"));
    }
    if stat.st_mode & 0o022 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err(at(
            dir,
            format_args!("can be written by others (mode {mode:04o}); run: chmod 700 {}", dir.display()),
        ));
    }
    Ok(true)
}

/// Where an agent's key is looked for, in this order.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// A key file, named outright.
    pub file: Option<PathBuf>,
    /// Folders that may hold `<name>.ed25519`.
    pub dirs: Vec<PathBuf>,
}

impl Places {
    /// The usual folders: `~/.config/nockvault/agents` and `~/.nockguard/keys`.
    #[must_use]
    pub fn usual() -> Places {
        let home = std::env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let dirs = config_dir().map(|dir| dir.join("agents")).into_iter();
        Places { file: None, dirs: dirs.chain(home.map(|home| home.join(".nockguard/keys"))).collect() }
    }
}

/// Where a key came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable of this name.
    Variable(String),
    /// This file.
    File(PathBuf),
    /// Standard input.
    Input,
    /// The ssh-agent, which keeps it.
    SshAgent,
}

/// The name of a file that stands for standard input.
pub const INPUT: &str = "-";

/// Finds an agent's key: `NOCKVAULT_AGENT_<NAME>_ED25519_KEY`, then NockGuard's variable of that form, then the files.
/// The key's number comes from the register statement beside it (`NOCKVAULT_AGENT_<NAME>_REGISTER`, or the file), and
/// is 1 where there is none. Where only a register statement is found and its key signs in the form `sshsig`, the key is
/// in the ssh-agent that `SSH_AUTH_SOCK` names; it is not asked before something is to be signed.
///
/// # Errors
/// [`Fault::Local`] for an unsafe or broken key, and where there is none at all, with the places that were tried.
pub fn find_agent(
    agent: &AgentName,
    places: &Places,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Identity<AgentName>, Fault> {
    locate_agent(agent, places, variable).map(|(identity, _)| identity)
}

/// As [`find_agent`], and says where the key was. The file `-` is standard input, and wins over the variables.
///
/// # Errors
/// As [`find_agent`].
pub fn locate_agent(
    agent: &AgentName,
    places: &Places,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Identity<AgentName>, Origin), Fault> {
    let part = variable_part(agent);
    let numbered_by_variable = |key| {
        let named = format!("NOCKVAULT_AGENT_{part}_REGISTER");
        let register = variable(&named).map(|text| parse_register(&text)).transpose();
        let register = register.map_err(|why| Fault::Local(format!("{named}: {why}")))?;
        Ok::<_, Fault>(numbered(agent, key, register.map(|(_, register)| register)))
    };
    if places.file.as_deref() == Some(Path::new(INPUT)) {
        let mut text = Zeroizing::new(String::with_capacity(256));
        let read = std::io::stdin().lock().take(MAX).read_to_string(&mut text);
        read.map_err(|why| Fault::Local(format!("the key on standard input: {why}")))?;
        let key = parse_secret(&text).map_err(|why| Fault::Local(format!("standard input: {why}")))?;
        return Ok((numbered_by_variable(key)?, Origin::Input));
    }
    for house in ["NOCKVAULT", "NOCKGUARD"] {
        let name = format!("{house}_AGENT_{part}_ED25519_KEY");
        let Some(text) = variable(&name).map(Zeroizing::new) else { continue };
        let key = parse_secret(&text).map_err(|why| Fault::Local(format!("{name}: {why}")))?;
        return Ok((numbered_by_variable(key)?, Origin::Variable(name)));
    }
    let mut tried = vec![format!("NOCKVAULT_AGENT_{part}_ED25519_KEY")];
    let files = places.dirs.iter().map(|dir| dir.join(format!("{agent}.{SECRET}")));
    for file in places.file.clone().into_iter().chain(files) {
        let there = fs::symlink_metadata(&file).is_ok();
        if !there && places.file.as_ref() != Some(&file) {
            tried.push(file.display().to_string());
            continue;
        }
        let key = read_secret(&file)?;
        let beside = file.with_extension(REGISTER);
        let register = if beside.exists() { Some(read_register(&beside)?.1) } else { None };
        return Ok((numbered(agent, key, register), Origin::File(file)));
    }
    if let Some(register) = register_of(agent, places, variable)?.filter(|register| register.form == Form::Sshsig) {
        let identity = in_agent(agent, &SshAgent::usual(variable)?, register.pk, register.kver);
        return Ok((identity, Origin::SshAgent));
    }
    Err(Fault::Local(format!(
        "no key of agent {agent}: neither {}; vaultctl keygen --agent {agent} makes one, and an operator registers it: \
         vaultctl agent register {agent}.register",
        tried.join(" nor ")
    )))
}

/// An agent's register statement: in `NOCKVAULT_AGENT_<NAME>_REGISTER`, or the first that lies where its key would.
fn register_of(
    agent: &AgentName,
    places: &Places,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Register>, Fault> {
    let named = format!("NOCKVAULT_AGENT_{}_REGISTER", variable_part(agent));
    let register = match variable(&named) {
        Some(text) => parse_register(&text).map_err(|why| Fault::Local(format!("{named}: {why}")))?.1,
        None => {
            let files = places.dirs.iter().map(|dir| dir.join(format!("{agent}.{REGISTER}")));
            match files.into_iter().find(|file| file.exists()) {
                Some(file) => read_register(&file)?.1,
                None => return Ok(None),
            }
        }
    };
    // Another agent's statement under this name would lead to another agent's key.
    Ok(Some(register).filter(|register| register.holder == Holder::Agent(agent.clone())))
}

fn in_agent(agent: &AgentName, held: &SshAgent, key: PublicKey, kver: u64) -> Identity<AgentName> {
    Identity { name: agent.clone(), signer: Arc::new(held.key(key)), kver }
}

/// Finds an agent's key in the ssh-agent that `SSH_AUTH_SOCK` names. `wanted` is its fingerprint (`SHA256:..`), its key
/// id, its public line or its comment; without it, the key is the one in the register statement, or else the only
/// Ed25519 key there is. Its number is the register statement's, and 1 where there is none of this key.
///
/// # Errors
/// [`Fault::Local`] where the ssh-agent does not answer, the key is not there or is of a kind that does not serve, and
/// where it is registered in another form than an ssh-agent signs in.
pub async fn find_in_ssh_agent(
    agent: &AgentName,
    wanted: Option<&str>,
    places: &Places,
    variable: &(dyn Fn(&str) -> Option<String> + Sync),
) -> Result<Identity<AgentName>, Fault> {
    let held = SshAgent::usual(&variable)?;
    let register = register_of(agent, places, &variable)?;
    let kid = register.as_ref().filter(|register| register.form == Form::Sshsig).map(|register| register.pk.kid());
    let wanted = wanted.map(str::to_owned).or(kid.map(String::from));
    let listed = held.find(wanted.as_deref()).await?;
    let key = listed.public.clone().ok_or_else(|| Fault::Local(format!("{listed} is no plain Ed25519 key")))?;
    let register = register.filter(|register| register.pk == key);
    if let Some(Register { form, .. }) = register.as_ref().filter(|register| register.form != Form::Sshsig) {
        return Err(Fault::Local(format!(
            "{listed}: this key is registered in the form {}, and an ssh-agent signs in the form sshsig; give agent {agent} \
             a key of its own there: vaultctl keygen --agent {agent} --from-ssh-agent",
            form.as_str()
        )));
    }
    Ok(in_agent(agent, &held, key, register.map_or(1, |register| register.kver)))
}

/// The key with its number; a register statement of another key says nothing about this one.
fn numbered(agent: &AgentName, key: SigningKey, register: Option<Register>) -> Identity<AgentName> {
    let kver = register.filter(|register| register.pk == key.public()).map_or(1, |register| register.kver);
    Identity::held(agent.clone(), key, kver)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::id::Kid;

    /// NockGuard's own test seed, and its public key.
    const SEED: &str = "4242424242424242424242424242424242424242424242424242424242424242";
    const PUB: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";

    fn place(contents: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kit.ed25519");
        write(&path, contents.as_bytes(), mode, false).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn nockguards_keys_are_read_in_both_lengths() {
        for text in [SEED.to_owned(), format!(" {SEED}\n"), format!("{SEED}{PUB}"), SEED.to_uppercase()] {
            assert_eq!(hex(&parse_secret(&text).unwrap().public().to_bytes()), PUB);
        }
        for bad in
            ["", "42", &SEED[1..], &format!("{SEED}{SEED}"), &SEED.replace('2', "g"), &format!("{}é", &SEED[..62])]
        {
            assert!(parse_secret(bad).is_err(), "{bad:?} was taken");
        }
        assert!(parse_public(PUB).is_ok() && parse_public(&"0".repeat(64)).is_err());
    }

    #[test]
    fn a_key_file_is_private_regular_and_no_link() {
        let (dir, path) = place(SEED, 0o600);
        assert_eq!(hex(&read_secret(&path).unwrap().public().to_bytes()), PUB);
        let link = dir.path().join("link.ed25519");
        symlink(&path, &link).unwrap();
        assert!(read_secret(&link).unwrap_err().to_string().contains("link"));
        assert!(read_secret(dir.path()).unwrap_err().to_string().contains("regular"));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610] {
            let (_dir, path) = place(SEED, mode);
            let text = read_secret(&path).unwrap_err().to_string();
            assert!(text.contains("chmod 600") && !text.contains("4242"), "{text}");
        }
        let (_dir, path) = place(&format!("{SEED}{}", " ".repeat(4096)), 0o600);
        assert!(read_secret(&path).unwrap_err().to_string().contains("4096"));
    }

    #[test]
    fn a_file_is_replaced_by_force_alone_and_a_link_never() {
        let (dir, path) = place("old", 0o600);
        assert!(write(&path, b"new", 0o600, false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, b"new", 0o600, true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let link = dir.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(write(&link, b"x", 0o600, true).is_err());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_variable_wins_over_a_file_and_ours_over_nockguards() {
        let (dir, path) = place(SEED, 0o600);
        let agent: AgentName = "mira-nock.os".parse().unwrap();
        fs::rename(&path, dir.path().join("mira-nock.os.ed25519")).unwrap();
        let places = Places { file: None, dirs: vec![dir.path().join("none"), dir.path().to_owned()] };
        let other = SigningKey::from_seed(&Secret::new([7; 32]));
        let seed = hex(other.seed().expose());
        let found = |ours: bool, guards: bool| {
            let variable = |name: &str| match name {
                "NOCKVAULT_AGENT_MIRA_NOCK_OS_ED25519_KEY" => ours.then(|| seed.clone()),
                "NOCKGUARD_AGENT_MIRA_NOCK_OS_ED25519_KEY" => guards.then(|| SEED.to_owned()),
                _ => None,
            };
            find_agent(&agent, &places, &variable).unwrap().kid()
        };
        assert_eq!(found(true, true), other.kid());
        assert_eq!(found(false, true), parse_secret(SEED).unwrap().kid());
        assert_eq!(found(false, false), parse_secret(SEED).unwrap().kid());
        let text = find_agent(&"ada".parse().unwrap(), &places, &|_| None).unwrap_err().to_string();
        assert!(text.contains("NOCKVAULT_AGENT_ADA_ED25519_KEY") && text.contains("keygen"), "{text}");
    }

    fn guarded(name: &str, home: &Path, value: Option<&str>) -> Result<(Kid, String), String> {
        let variable = |asked: &str| {
            assert_eq!(asked, "NOCKGUARD_AGENT_MIRA_NOCK_OS_ED25519_KEY");
            value.map(str::to_owned)
        };
        of_nockguard(name, Some(home), &variable).map(|(key, place)| (key.kid(), place)).map_err(|why| why.to_string())
    }

    #[test]
    fn nockguards_key_is_found_where_nockguard_finds_it() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".nockguard/keys");
        let none = guarded("Mira-nock.os", home.path(), None).unwrap_err();
        assert!(none.contains("nockguard keygen --agent Mira-nock.os"), "{none}");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(guarded("Mira-nock.os", home.path(), None).is_err());
        let path = dir.join("Mira-nock.os.ed25519");
        write(&path, SEED.as_bytes(), 0o600, false).unwrap();
        let kid = parse_secret(SEED).unwrap().kid();
        let file = guarded("Mira-nock.os", home.path(), None).unwrap();
        assert_eq!(file, (kid.clone(), path.display().to_string()));
        assert_eq!(guarded("Mira-nock.os", home.path(), Some("")).unwrap(), file);
        let other = "07".repeat(32);
        let by_variable = guarded("Mira-nock.os", home.path(), Some(&other)).unwrap();
        assert_eq!(by_variable.0, parse_secret(&other).unwrap().kid());
        assert_eq!(by_variable.1, "NOCKGUARD_AGENT_MIRA_NOCK_OS_ED25519_KEY");
        assert_eq!(guarded("Mira-nock.os", home.path(), Some(&format!("{SEED}{PUB}\n"))).unwrap().0, kid);
        for name in ["", "a/b", "../kit", "a_b", "kit "] {
            assert!(of_nockguard(name, Some(home.path()), &|_| None).unwrap_err().to_string().contains("no agent"));
        }
    }

    /// A broken variable is not passed over for the file, nor an unsafe file or folder for anything else.
    #[test]
    fn what_nockguard_would_refuse_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().join(".nockguard/keys");
        fs::create_dir_all(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let path = dir.join("mira-nock.os.ed25519");
        write(&path, SEED.as_bytes(), 0o600, false).unwrap();
        let refused = |value: Option<&str>| guarded("mira-nock.os", home.path(), value).unwrap_err();
        assert!(refused(Some("42")).starts_with("NOCKGUARD_AGENT_MIRA_NOCK_OS_ED25519_KEY: "));
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(None).contains("chmod 600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for mode in [0o720, 0o702, 0o777] {
            fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refused(None).contains("chmod 700"));
        }
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(guarded("mira-nock.os", home.path(), None).is_ok());
        let kept = dir.join("kept");
        fs::rename(&path, &kept).unwrap();
        symlink(&kept, &path).unwrap();
        assert!(refused(None).contains("is a link"));
        let moved = home.path().join("moved");
        fs::rename(&dir, &moved).unwrap();
        symlink(&moved, &dir).unwrap();
        assert!(refused(None).contains("link or no folder"));
    }

    #[test]
    fn an_unsafe_file_is_not_passed_over() {
        let (dir, _path) = place(SEED, 0o644);
        let (safe, _) = place(SEED, 0o600);
        let places = Places { file: None, dirs: vec![dir.path().to_owned(), safe.path().to_owned()] };
        assert!(find_agent(&"kit".parse().unwrap(), &places, &|_| None).is_err());
    }
}
