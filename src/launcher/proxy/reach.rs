//! The way out. A name is looked up here, once for each connection, and the connection goes to an address that was looked
//! at: what a name leads to a moment later does not matter. Addresses of this machine and of private networks are refused
//! where a rule does not allow them; those behind which clouds keep their credentials are refused always.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tower::Service;

/// How long a look-up, and one connection, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many addresses of one name are tried.
const TRIES: usize = 4;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Unreached {
    /// The name leads to addresses that are refused alone.
    Forbidden(String),
    /// The name leads nowhere, or nobody answers there.
    Away(String),
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Unreached::Forbidden(why) | Unreached::Away(why)) = self;
        f.write_str(why)
    }
}

impl std::error::Error for Unreached {}

/// What kind of place an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Public,
    /// Of this machine or of a private network.
    Private,
    /// Nobody's upstream.
    Never(&'static str),
}

const METADATA: Place = Place::Never("it is where a cloud keeps its machines' credentials");

fn place_v4(ip: Ipv4Addr) -> Place {
    match ip.octets() {
        [169, 254, 169, 254] | [100, 100, 100, 200] | [192, 0, 0, 192] | [168, 63, 129, 16] => METADATA,
        [169, 254, ..] => Place::Never("it is link-local"),
        [0, ..] => Place::Never("it is unspecified"),
        [224..=239, ..] => Place::Never("it is multicast"),
        [240..=255, ..] => Place::Never("it is reserved"),
        [127 | 10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Place::Private,
        // Shared by a carrier's customers, for protocols, for documents, for measuring.
        [100, 64..=127, ..] | [192, 0, 0 | 2, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => {
            Place::Private
        }
        _ => Place::Public,
    }
}

fn place_v6(ip: Ipv6Addr) -> Place {
    let last = u32::from(ip.segments()[6]) << 16 | u32::from(ip.segments()[7]);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Place::Never("it is unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Place::Private,
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] => Place::Never("it is an IPv4 address in disguise"),
        // All that Amazon serves there: credentials of machines (254) and of pods (23). Then Google, Oracle, Scaleway.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42] => METADATA,
        // The IPv4 Internet, as a network without it sees it (RFC 6052).
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => match place_v4(last.into()) {
            Place::Public => Place::Public,
            _ => Place::Never("it is an IPv4 address in disguise"),
        },
        [0x64, 0xff9b, ..] | [0x2001, 0, ..] | [0x2002, ..] => Place::Never("it is an IPv4 address in disguise"),
        [0xfe80..=0xfebf, ..] => Place::Never("it is link-local"),
        [0xff00..=0xffff, ..] => Place::Never("it is multicast"),
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x2001, 0xdb8, ..] => Place::Private,
        [0x2000..=0x3fff, ..] => Place::Public,
        // Nobody has been given an address out of these; some systems read an IPv4 address in them.
        _ => Place::Never("it is reserved"),
    }
}

/// Why nothing is sent to this address.
fn refused(ip: IpAddr, allow_private: bool) -> Option<&'static str> {
    let place = match ip {
        IpAddr::V4(ip) => place_v4(ip),
        IpAddr::V6(ip) => place_v6(ip),
    };
    match place {
        Place::Public => None,
        Place::Private if allow_private => None,
        Place::Private => Some("it is of this machine or of a private network, and no rule says allow_private = true"),
        Place::Never(why) => Some(why),
    }
}

/// Where to connect to.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) allow_private: bool,
}

impl Reach {
    /// Looks the name up and connects to one of the addresses that are allowed.
    ///
    /// # Errors
    /// [`Unreached`].
    pub(super) async fn connect(&self) -> Result<TcpStream, Unreached> {
        let mut why = String::new();
        for address in self.addresses().await?.into_iter().take(TRIES) {
            match timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small answers are not to wait for more.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => why = format!("{address}: {error}"),
                Err(_) => why = format!("{address} did not answer within {} s", PATIENCE.as_secs()),
            }
        }
        Err(Unreached::Away(format!("{} cannot be reached: {why}", self.host)))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, Unreached> {
        let name = &self.host;
        let found = match name.parse::<IpAddr>() {
            Ok(ip) => vec![SocketAddr::new(ip, self.port)],
            Err(_) => match timeout(PATIENCE, lookup_host((name.as_str(), self.port))).await {
                Ok(Ok(found)) => found.collect(),
                Ok(Err(error)) => return Err(Unreached::Away(format!("{name} cannot be looked up: {error}"))),
                Err(_) => return Err(Unreached::Away(format!("{name} could not be looked up in time"))),
            },
        };
        let allowed = self.allowed(&found);
        match found.first() {
            Some(first) if allowed.is_empty() => {
                let why = refused(first.ip(), self.allow_private).unwrap_or_default();
                Err(Unreached::Forbidden(format!("{name} leads to {}, which is refused: {why}", first.ip())))
            }
            Some(_) => Ok(allowed),
            None => Err(Unreached::Away(format!("{name} has no address"))),
        }
    }

    fn allowed(&self, found: &[SocketAddr]) -> Vec<SocketAddr> {
        found.iter().filter(|address| refused(address.ip(), self.allow_private).is_none()).copied().collect()
    }
}

impl Service<Uri> for Reach {
    type Response = TokioIo<TcpStream>;
    type Error = Unreached;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    /// Whatever the address of the request says, the connection goes to the rule's host.
    fn call(&mut self, _: Uri) -> Self::Future {
        let to = self.clone();
        Box::pin(async move { to.connect().await.map(TokioIo::new) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(text: &str, allow_private: bool) -> bool {
        refused(text.parse().unwrap(), allow_private).is_some()
    }

    #[test]
    fn public_addresses_alone_are_reached_unasked() {
        for ip in
            ["1.1.1.1", "104.18.6.192", "172.15.0.1", "172.32.0.1", "100.63.0.1", "2606:4700::1", "64:ff9b::101:101"]
        {
            assert!(!is_refused(ip, false), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "fd12::1",
            "fc00::1",
            "fec0::1",
        ] {
            assert!(is_refused(ip, false), "{ip}");
            assert!(!is_refused(ip, true), "{ip}");
        }
    }

    #[test]
    fn metadata_link_local_and_disguised_addresses_are_refused_always() {
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "fe80::1",
            "febf::1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "::ffff:0:127.0.0.1",
            "100::1",
            "4000::1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "240.0.0.1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1::1",
        ] {
            assert!(is_refused(ip, false) && is_refused(ip, true), "{ip}");
        }
    }

    #[tokio::test]
    async fn a_name_is_judged_by_where_it_leads() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["localhost", "127.0.0.1"] {
            let mut to = Reach { host: host.to_owned(), port, allow_private: false };
            assert!(matches!(to.connect().await, Err(Unreached::Forbidden(_))), "{host}");
            to.allow_private = true;
            to.connect().await.unwrap();
        }
        let away = Reach { host: "nowhere.invalid".to_owned(), port, allow_private: true };
        assert!(matches!(away.connect().await, Err(Unreached::Away(_))));
    }

    #[test]
    fn of_several_addresses_the_refused_ones_are_left_out() {
        let to = Reach { host: "x".to_owned(), port: 443, allow_private: false };
        let found = ["169.254.169.254:443", "1.1.1.1:443", "127.0.0.1:443"].map(|text| text.parse().unwrap());
        assert_eq!(to.allowed(&found), [found[1]]);
    }
}
