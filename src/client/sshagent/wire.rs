//! The messages of the ssh-agent protocol (draft-miller-ssh-agent, and RFC 4251 section 5 for what they are made of), as
//! far as both sides here need them.
//!
//! ```text
//! message    = u32(len) || type || contents          (len counts type and contents; numbers big-endian)
//! str(s)     = u32(len s) || s
//! key blob   = str("ssh-ed25519") || str(32 bytes)
//! signature  = str("ssh-ed25519") || str(64 bytes)
//! identities = u32(n) || n * (str(key blob) || str(comment))
//! sign       = str(key blob) || str(data) || u32(flags)
//! ```
//! What is read is bounded by the message that it stands in, and a message by [`MAX`]; nothing is allocated by what a
//! length claims.

#![cfg_attr(not(feature = "launcher"), allow(dead_code, reason = "the launcher speaks the other side of it"))]

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::crypto::signature::{PublicKey, Signature};

/// The longest message, type and contents: what OpenSSH's own agent takes.
pub(crate) const MAX: usize = 256 * 1024;

/// The name of Ed25519 keys and of what they sign.
pub(crate) const ED25519: &[u8] = b"ssh-ed25519";

/// The types of messages that are spoken here.
pub(crate) mod kind {
    /// No.
    pub(crate) const FAILURE: u8 = 5;
    /// Done, with nothing to say.
    pub(crate) const SUCCESS: u8 = 6;
    /// Which keys are there?
    pub(crate) const REQUEST_IDENTITIES: u8 = 11;
    /// These.
    pub(crate) const IDENTITIES: u8 = 12;
    /// Sign this.
    pub(crate) const SIGN_REQUEST: u8 = 13;
    /// Signed.
    pub(crate) const SIGN_RESPONSE: u8 = 14;
    /// Something that one implementation has of its own.
    pub(crate) const EXTENSION: u8 = 27;
}

/// A message in the making, its length in front.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Of this type, and empty.
    pub(crate) fn of(kind: u8) -> Message {
        Message(vec![0, 0, 0, 1, kind])
    }

    /// With a number.
    pub(crate) fn u32(mut self, number: u32) -> Message {
        self.0.extend_from_slice(&number.to_be_bytes());
        self.counted()
    }

    /// With a string. Nothing of ours comes near 4 GiB.
    pub(crate) fn string(mut self, bytes: &[u8]) -> Message {
        put(&mut self.0, bytes);
        self.counted()
    }

    fn counted(mut self) -> Message {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// The bytes to send.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

fn put(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend_from_slice(bytes);
}

/// The blob of a plain Ed25519 key.
pub(crate) fn blob(key: &PublicKey) -> Vec<u8> {
    pair(&key.to_bytes())
}

/// The blob of a signature by one.
pub(crate) fn signature(signature: &Signature) -> Vec<u8> {
    pair(signature.as_bytes())
}

fn pair(bytes: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(8 + ED25519.len() + bytes.len());
    put(&mut blob, ED25519);
    put(&mut blob, bytes);
    blob
}

/// What is left of a message to read. Each step gives nothing where the message ends before it.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Over these bytes.
    pub(crate) fn over(bytes: &'a [u8]) -> Reader<'a> {
        Reader(bytes)
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(count)?;
        self.0 = left;
        Some(taken)
    }

    /// A byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    /// A number.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// A string.
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// The whole, where nothing is left behind it.
    pub(crate) fn end<T>(self, whole: T) -> Option<T> {
        self.0.is_empty().then_some(whole)
    }
}

/// The two strings of a key or a signature, where it is one of a plain Ed25519 key.
pub(crate) fn ed25519(blob: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::over(blob);
    let (name, bytes) = (reader.string()?, reader.string()?);
    reader.end(bytes).filter(|_| name == ED25519)
}

/// What came over the socket.
pub(crate) enum Received {
    /// A message: its type, and its contents.
    Message(u8, Vec<u8>),
    /// The end, before another message began.
    End,
}

/// Reads one message.
///
/// # Errors
/// Those of the socket; `InvalidData` where the length is 0 or beyond `max`; `UnexpectedEof` in the middle.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin), max: usize) -> std::io::Result<Received> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(Received::End);
    }
    from.read_exact(&mut length[1..]).await?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length == 0 || length > max {
        let why = format!("a message of {length} bytes; it has 1 to {max}");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
    }
    // Grows with what comes, and not by what the length claims.
    let mut message = Vec::new();
    from.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut message).await?;
    if message.len() < length {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let kind = message.remove(0);
    Ok(Received::Message(kind, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_counts_itself_and_reads_back() {
        let message = Message::of(kind::SIGN_REQUEST).string(b"key").string(b"").u32(7);
        assert_eq!(message.bytes(), b"\0\0\0\x10\x0d\0\0\0\x03key\0\0\0\0\0\0\0\x07");
        let mut reader = Reader::over(&message.bytes()[4..]);
        assert_eq!((reader.u8(), reader.string(), reader.string()), (Some(13), Some(&b"key"[..]), Some(&b""[..])));
        assert_eq!(reader.u32(), Some(7));
        assert!(reader.end(()).is_some() && reader.u8().is_none());
    }

    #[test]
    fn a_length_that_claims_too_much_reads_as_nothing() {
        assert!(Reader::over(b"\xff\xff\xff\xffabc").string().is_none());
        assert!(Reader::over(b"\0\0\0\x04abc").string().is_none());
        assert!(Reader::over(b"\0\0").u32().is_none());
        assert!(ed25519(b"\0\0\0\x0bssh-ed25519\0\0\0\x01x!").is_none(), "something is left behind it");
        assert_eq!(ed25519(b"\0\0\0\x0bssh-ed25519\0\0\0\x01x"), Some(&b"x"[..]));
        assert!(ed25519(b"\0\0\0\x0bssh-ed25518\0\0\0\x01x").is_none());
    }

    #[tokio::test]
    async fn what_comes_is_bounded() {
        let read = async |bytes: &'static [u8]| {
            let mut bytes = bytes;
            super::read(&mut bytes, 8).await
        };
        assert!(matches!(read(b"").await, Ok(Received::End)));
        assert!(matches!(read(b"\0\0\0\x02\x05x").await, Ok(Received::Message(5, x)) if x == b"x"));
        for bad in [&b"\0\0\0\0"[..], b"\0\0\0\x09123456789", b"\xff\xff\xff\xff1", b"\0\0\0\x02\x05", b"\0\0"] {
            assert!(read(bad).await.is_err(), "{bad:?}");
        }
    }
}
