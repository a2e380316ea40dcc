//! A custodian that is a token, spoken to by PKCS #11: `secret = HMAC-SHA256(key, "nockvault/custody/v1" 0x00 || salt)`,
//! computed inside the token under a key that does not leave it. The module is a library that runs in this process with
//! all its rights: name the one of your token, and nothing that others can write.

use std::path::PathBuf;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use zeroize::{Zeroize, Zeroizing};

use super::CustodySecret;
use super::given::{self, GivenFault};
use crate::base64url::Bytes;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::statement::custody::{Kind, SALT};

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The library of the token's maker.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub key: String,
    /// Where its PIN comes from.
    pub pin: Pin,
}

/// Where a PIN comes from. It never stands in a command line or a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// A file that nobody else may read.
    File(PathBuf),
    /// A program that prints it.
    Command(Vec<String>),
}

/// Why a token gives no secret.
#[derive(Debug, thiserror::Error)]
pub enum TokenFault {
    /// No token of this label.
    #[error("the module {module} knows no token {token:?}; it has: {known}", module = .module.display())]
    NoToken {
        /// The library.
        module: PathBuf,
        /// The label.
        token: String,
        /// The labels that there are.
        known: String,
    },
    /// No key of this label, or several.
    #[error("the token has {count} secret keys of the label {key:?}, and one is needed")]
    Keys {
        /// The label.
        key: String,
        /// How many.
        count: usize,
    },
    /// The PIN's file.
    #[error("{path}: {why}", path = .path.display())]
    Pin {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The PIN's program.
    #[error("the PIN: {0}")]
    Given(#[from] GivenFault),
    /// What holds the PIN holds something else.
    #[error("a PIN is a text of at most 66 bytes, its end of line among them")]
    NoPin,
    /// The record is no token's.
    #[error("this custodian is no token")]
    Kind,
    /// It gave something else than was asked for.
    #[error("the token gave no HMAC-SHA256 of 32 bytes")]
    NoMac,
    /// The token said no.
    #[error("the token {token:?}: {cause}")]
    Refused {
        /// Its label.
        token: String,
        /// What it said.
        cause: cryptoki::error::Error,
    },
}

/// A token's custodian with a new salt.
#[must_use]
pub fn kind(entropy: &dyn Entropy) -> Kind {
    Kind::Pkcs11 { salt: Bytes(entropy.bytes::<SALT>().to_vec()) }
}

impl Token {
    fn refused(&self, cause: cryptoki::error::Error) -> TokenFault {
        TokenFault::Refused { token: self.token.clone(), cause }
    }

    fn pin(&self) -> Result<Zeroizing<String>, TokenFault> {
        let bytes = match &self.pin {
            Pin::Command(command) => given::output(command)?,
            Pin::File(path) => closed(path).map_err(|why| TokenFault::Pin { path: path.clone(), why })?,
        };
        // Of a longer one only the beginning was read, and a token counts wrong PINs.
        let text =
            std::str::from_utf8(&bytes).ok().filter(|text| text.len() < given::LONGEST).ok_or(TokenFault::NoPin)?;
        Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Runs `work` in a session of the token's user.
    fn with<T>(&self, writes: bool, work: impl FnOnce(&Session) -> Result<T, TokenFault>) -> Result<T, TokenFault> {
        let refused = |cause| self.refused(cause);
        let module = Pkcs11::new(&self.module).map_err(refused)?;
        module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).map_err(refused)?;
        let mut known = Vec::new();
        for slot in module.get_slots_with_token().map_err(refused)? {
            let label = module.get_token_info(slot).map_err(refused)?.label().to_owned();
            if label != self.token {
                known.push(label);
                continue;
            }
            let session = if writes { module.open_rw_session(slot) } else { module.open_ro_session(slot) };
            let session = session.map_err(refused)?;
            session.login(UserType::User, Some(&AuthPin::from(self.pin()?.as_str()))).map_err(refused)?;
            return work(&session);
        }
        Err(TokenFault::NoToken { module: self.module.clone(), token: self.token.clone(), known: known.join(", ") })
    }

    fn keys(&self, session: &Session) -> Result<Vec<ObjectHandle>, TokenFault> {
        let wanted = [Attribute::Class(ObjectClass::SECRET_KEY), Attribute::Label(self.key.clone().into_bytes())];
        session.find_objects(&wanted).map_err(|cause| self.refused(cause))
    }

    /// The secret of the custodian of this kind.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn secret(&self, kind: &Kind) -> Result<CustodySecret, TokenFault> {
        let Kind::Pkcs11 { salt } = kind else { return Err(TokenFault::Kind) };
        let message = [b"nockvault/custody/v1\0", &salt.0[..]].concat();
        self.with(false, |session| {
            let keys = self.keys(session)?;
            let [key] = keys[..] else { return Err(TokenFault::Keys { key: self.key.clone(), count: keys.len() }) };
            let mut mac = session.sign(&Mechanism::Sha256Hmac, key, &message).map_err(|cause| self.refused(cause))?;
            let secret = Secret::from_slice(&mac);
            mac.zeroize();
            Ok(CustodySecret::new(secret.ok_or(TokenFault::NoMac)?))
        })
    }

    /// Makes the key inside the token where it has none of this label: 32 bytes that it draws and never gives out. Says
    /// whether it made one.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn make_key(&self) -> Result<bool, TokenFault> {
        self.with(true, |session| {
            match self.keys(session)?.len() {
                0 => {}
                1 => return Ok(false),
                count => return Err(TokenFault::Keys { key: self.key.clone(), count }),
            }
            let template = [
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::GENERIC_SECRET),
                Attribute::Label(self.key.clone().into_bytes()),
                Attribute::ValueLen(32.into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Sign(true),
            ];
            let made = session.generate_key(&Mechanism::GenericSecretKeyGen, &template);
            made.map(|_| true).map_err(|cause| self.refused(cause))
        })
    }
}

/// What a file of a few bytes holds, where nobody else can read it.
fn closed(path: &std::path::Path) -> Result<Zeroizing<Vec<u8>>, String> {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::File::open(path).map_err(|cause| cause.to_string())?;
    let about = file.metadata().map_err(|cause| cause.to_string())?;
    if !about.is_file() {
        return Err("no regular file".to_owned());
    }
    if about.mode() & 0o077 != 0 {
        return Err(format!("others can use it (mode {:04o}); `chmod 600 {}`", about.mode() & 0o7777, path.display()));
    }
    given::some(&mut &file).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn token(pin: Pin) -> Token {
        Token { module: "none.so".into(), token: "prod".into(), key: "nockvault".into(), pin }
    }

    #[test]
    fn a_pin_comes_from_a_file_that_nobody_else_may_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let of = |path: &std::path::Path| token(Pin::File(path.to_owned())).pin();
        assert!(matches!(of(&path), Err(TokenFault::Pin { .. })));
        assert!(matches!(of(folder.path()), Err(TokenFault::Pin { why, .. }) if why == "no regular file"));
        let longest = "1".repeat(65) + "\n";
        for (text, pin) in [("1234", "1234"), ("12 34 \r\n", "12 34 "), (&longest, &longest[..65])] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            assert_eq!(of(&path).unwrap().as_str(), pin);
        }
        for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let told = of(&path).unwrap_err().to_string();
            assert!(told.contains(&format!("(mode {mode:04o}); `chmod 600 ")), "{told}");
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for bytes in [&b"12\xff4"[..], &[b'1'; 67], &[b'1'; 100]] {
            fs::write(&path, bytes).unwrap();
            assert!(matches!(of(&path), Err(TokenFault::NoPin)), "{bytes:?}");
        }
    }

    #[test]
    fn a_pin_comes_from_a_program() {
        let of = |script: &str| token(Pin::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())).pin();
        assert_eq!(of("echo 1234").unwrap().as_str(), "1234");
        assert!(matches!(of("exit 1"), Err(TokenFault::Given(GivenFault::Failed { .. }))));
    }
}
