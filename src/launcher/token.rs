//! A token that stands for one run of a child: 32 random bytes that live as long as the launcher. Whoever shows it was
//! handed it by the launcher or by somebody whom the child handed it to. It is no credential of the agent: it opens
//! nothing but this launcher's own socket or its loopback answers, and dies with them.
//!
//! The child gets it in a sealed memory file that it inherits, whose number stands in `NOCKVAULT_AGENT_TOKEN_FD`. Each
//! reader opens the file anew by `/proc/self/fd`, so that reading it takes nothing from the next.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::base64url;
use crate::client::fault::Fault;
use crate::entropy::Entropy;
use crate::secret::Secret;

/// The variable with the number of the inherited file.
pub const TOKEN_FD: &str = "NOCKVAULT_AGENT_TOKEN_FD";

/// How many characters 32 bytes are in base64url.
const TEXT: usize = 43;

/// The token of one run.
pub struct Token(Secret<[u8; 32]>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// A new one.
    #[must_use]
    pub fn new(entropy: &dyn Entropy) -> Token {
        Token(Secret::init(|bytes: &mut [u8; 32]| entropy.fill(bytes)))
    }

    /// The one that was inherited, where the environment says that there is one.
    ///
    /// # Errors
    /// [`Fault::Local`] where the file that it names cannot be read or holds no token.
    pub fn inherited(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Token>, Fault> {
        let Some(number) = variable(TOKEN_FD).filter(|number| !number.is_empty()) else { return Ok(None) };
        let number: u32 = number.parse().map_err(|_| Fault::local(format!("{TOKEN_FD} is no number")))?;
        let mut text = Zeroizing::new(String::with_capacity(TEXT + 1));
        let file = File::open(format!("/proc/self/fd/{number}")).map_err(|why| {
            Fault::Local(format!(
                "{TOKEN_FD} names the open file {number}, which cannot be read: {why}; whoever started this program closed \
                 it, and has to hand it on (in Python: subprocess.run(.., pass_fds=({number},)))"
            ))
        })?;
        file.take(TEXT as u64 + 1).read_to_string(&mut text).map_err(Fault::local)?;
        let token =
            Token::read(&text).ok_or_else(|| Fault::local(format!("{TOKEN_FD} names a file without a token")))?;
        Ok(Some(token))
    }

    /// The token that is written so.
    fn read(text: &str) -> Option<Token> {
        let bytes = Zeroizing::new(base64url::decode_array::<32>(text)?);
        Some(Token(Secret::from_slice(&*bytes)?))
    }

    /// As it is shown: 43 characters of base64url.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(base64url::encode(self.0.expose()))
    }

    /// Whether this text is it, in a time that says nothing of how much of it is right.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        Token::read(text).is_some_and(|shown| bool::from(shown.0.expose().ct_eq(self.0.expose())))
    }

    /// A memory file that holds it and cannot be changed. It is closed on exec: whoever starts the child clears that flag
    /// for it, and puts the number into [`TOKEN_FD`].
    ///
    /// # Errors
    /// The system's.
    pub fn file(&self) -> std::io::Result<OwnedFd> {
        let fd = memfd_create(c"nockvault-token", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut file = File::from(fd);
        file.write_all(self.text().as_bytes())?;
        let fd = OwnedFd::from(file);
        fcntl_add_seals(&fd, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE)?;
        Ok(fd)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn only_the_token_itself_is_taken() {
        let token = Token::new(&SeededEntropy::new(1));
        let text = token.text();
        assert!(token.is(&text));
        assert_eq!(text.len(), TEXT);
        let other = Token::new(&SeededEntropy::new(2)).text();
        for wrong in ["", &other, &text[1..], &format!("{}=", *text), &text.to_lowercase()] {
            assert!(!token.is(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }

    #[test]
    fn every_reader_finds_the_whole_of_it() {
        let token = Token::new(&SeededEntropy::new(3));
        let file = token.file().unwrap();
        let number = file.as_raw_fd().to_string();
        let variable = |name: &str| (name == TOKEN_FD).then(|| number.clone());
        for _ in 0..3 {
            let read = Token::inherited(&variable).unwrap().unwrap();
            assert!(token.is(&read.text()));
        }
        assert!(File::from(file).write_all(b"x").is_err(), "it is sealed");
    }

    #[test]
    fn a_file_that_is_closed_or_no_token_is_told_of() {
        assert!(Token::inherited(&|_| None).unwrap().is_none());
        let closed = Token::inherited(&|_| Some("1000000".into())).unwrap_err().to_string();
        assert!(closed.contains("pass_fds"), "{closed}");
        assert!(Token::inherited(&|_| Some("../../etc/passwd".into())).is_err());
        let mut other = tempfile::tempfile().unwrap();
        other.write_all(b"short").unwrap();
        let number = other.as_raw_fd().to_string();
        assert!(Token::inherited(&|_| Some(number.clone())).unwrap_err().to_string().contains("without a token"));
    }
}
