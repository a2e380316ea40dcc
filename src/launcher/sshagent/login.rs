//! What an SSH client has signed when it logs in (RFC 4252 section 7, OpenSSH's PROTOCOL section 3.1), and what OpenSSH
//! tells an agent of the session it is for (PROTOCOL.agent section 1).
//!
//! ```text
//! login = str(session) || 50 || str(user) || str("ssh-connection") || str(method) || 1 || str(algorithm) || str(key)
//!         || (str(host key) where the method is hostbound)
//! bind  = str("session-bind@openssh.com") || str(host key) || str(session) || str(signature) || forwarding
//! ```

use crate::client::sshagent::wire::Reader;

/// The message with which a user logs in.
const USERAUTH_REQUEST: u8 = 50;
/// The name of certificates over Ed25519 keys.
const CERTIFICATE: &[u8] = b"ssh-ed25519-cert-v01@openssh.com";

/// A login that is to be signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Login<'a> {
    /// The session's id.
    pub(super) session: &'a [u8],
    /// The key or certificate that it is by.
    pub(super) key: &'a [u8],
    /// The host's key, where the login is bound to it.
    pub(super) host: Option<&'a [u8]>,
}

impl<'a> Login<'a> {
    /// Reads one by a certificate; nothing else reads.
    pub(super) fn read(data: &'a [u8]) -> Option<Login<'a>> {
        let mut reader = Reader::over(data);
        let session = reader.string().filter(|session| !session.is_empty())?;
        let begins = reader.u8()? == USERAUTH_REQUEST;
        let _user = reader.string()?;
        let connects = reader.string()? == b"ssh-connection";
        let bound = match reader.string()? {
            b"publickey" => false,
            b"publickey-hostbound-v00@openssh.com" => true,
            _ => return None,
        };
        let signs = reader.u8()? == 1;
        let algorithm = reader.string()?;
        let key = reader.string()?;
        let host = if bound { Some(reader.string()?) } else { None };
        let whole = begins && connects && signs && algorithm == CERTIFICATE;
        reader.end(Login { session, key, host }).filter(|_| whole)
    }
}

/// How many sessions a connection may be bound to one after another, as with OpenSSH's agent.
const BINDS_MAX: usize = 16;

/// What a client has said of where a connection leads.
#[derive(Debug, Default)]
pub(super) struct Bound {
    /// Session and host key, the newest last.
    sessions: Vec<(Vec<u8>, Vec<u8>)>,
    forwarded: bool,
}

impl Bound {
    /// Takes note of what an extension message says; tells whether it is a binding that was noted. The host's signature
    /// in it is not looked at: what is noted only narrows what will be signed, and who invents it narrows his own.
    pub(super) fn bind(&mut self, contents: &[u8]) -> bool {
        let mut reader = Reader::over(contents);
        let read = (|| {
            let named = reader.string()? == b"session-bind@openssh.com";
            let (host, session) = (reader.string()?, reader.string()?);
            let _signature = reader.string()?;
            let forwarding = reader.u8()?;
            reader.end((host, session, forwarding)).filter(|_| named)
        })();
        let Some((host, session, forwarding)) = read else { return false };
        // Behind a connection that was forwarded once, everything comes from another host.
        self.forwarded |= forwarding != 0;
        if self.sessions.len() >= BINDS_MAX {
            return false;
        }
        self.sessions.push((session.to_vec(), host.to_vec()));
        true
    }

    /// Whether a login may be signed on this connection.
    pub(super) fn allows(&self, login: &Login<'_>) -> bool {
        let here = self.sessions.last().is_none_or(|(session, host)| {
            session == login.session && login.host.is_none_or(|named| named == host.as_slice())
        });
        here && !self.forwarded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    fn login(session: &[u8], method: &[u8], host: &[u8]) -> Vec<u8> {
        let parts =
            [&string(session)[..], &[50], &string(b"deploy"), &string(b"ssh-connection"), &string(method), &[1]];
        [parts.concat(), string(CERTIFICATE), string(b"cert"), host.to_vec()].concat()
    }

    fn bind(host: &[u8], session: &[u8], forwarding: u8) -> Vec<u8> {
        let name = string(b"session-bind@openssh.com");
        [name, string(host), string(session), string(b"sig"), vec![forwarding]].concat()
    }

    const HOSTBOUND: &[u8] = b"publickey-hostbound-v00@openssh.com";

    #[test]
    fn only_a_login_by_a_certificate_reads() {
        let plain = login(b"s", b"publickey", b"");
        assert_eq!(Login::read(&plain), Some(Login { session: b"s", key: b"cert", host: None }));
        let bound = login(b"s", HOSTBOUND, &string(b"h"));
        assert_eq!(Login::read(&bound).unwrap().host, Some(&b"h"[..]));
        for end in 0..plain.len() {
            assert!(Login::read(&plain[..end]).is_none(), "{end} bytes");
        }
        let changed = |at: usize, byte: u8| {
            let mut data = plain.clone();
            data[at] = byte;
            data
        };
        let more = [&plain[..], b"x"].concat();
        let unsigned = plain.windows(2).position(|two| two == [1, 0]).unwrap();
        for bad in [
            more,
            changed(5, 51),
            changed(unsigned, 0),
            login(b"", b"publickey", b""),
            login(b"s", b"hostbased", b""),
            login(b"s", HOSTBOUND, b""),
            // What a commit or a file is signed over.
            b"SSHSIG\0\0\0\x03git\0\0\0\0\0\0\0\x06sha512\0\0\0\x01x".to_vec(),
        ] {
            assert!(Login::read(&bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_bound_connection_signs_for_its_session_and_a_forwarded_one_for_none() {
        let (plain, hosted) = (login(b"s", b"publickey", b""), login(b"s", HOSTBOUND, &string(b"h")));
        let (plain, hosted) = (Login::read(&plain).unwrap(), Login::read(&hosted).unwrap());
        let allows = |binds: &[Vec<u8>]| {
            let mut bound = Bound::default();
            assert!(binds.iter().all(|message| bound.bind(message)));
            (bound.allows(&plain), bound.allows(&hosted))
        };
        assert_eq!(allows(&[]), (true, true));
        assert_eq!(allows(&[bind(b"h", b"s", 0)]), (true, true));
        assert_eq!(allows(&[bind(b"other", b"s", 0)]), (true, false));
        assert_eq!(allows(&[bind(b"h", b"another", 0)]), (false, false));
        assert_eq!(allows(&[bind(b"h", b"s", 0), bind(b"h", b"next", 0)]), (false, false));
        assert_eq!(allows(&[bind(b"h", b"s", 1)]), (false, false));
        assert_eq!(allows(&[bind(b"h", b"s", 1), bind(b"h", b"s", 0)]), (false, false));
    }

    #[test]
    fn a_binding_that_does_not_read_is_none_and_there_is_an_end_to_them() {
        let mut bound = Bound::default();
        let good = bind(b"h", b"s", 0);
        assert!(!bound.bind(&good[..good.len() - 1]) && !bound.bind(&[&good[..], b"x"].concat()));
        assert!(!bound.bind(&string(b"query")));
        assert!((0..BINDS_MAX).all(|_| bound.bind(&good)) && !bound.bind(&good));
        // One too many that says "forwarded" is heard all the same.
        assert!(!bound.bind(&bind(b"h", b"s", 1)) && bound.forwarded);
    }
}
