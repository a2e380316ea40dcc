//! A host behind the proxy: TLS under an authority of the test's own, HTTP/1.1 by hand, so that it can answer in ways that
//! no library would. It keeps each request as it came, to the byte.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

type Tls = StreamOwned<ServerConnection, std::net::TcpStream>;

/// A request, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
    /// How long the body was; of a long one only the beginning is kept.
    pub(crate) length: usize,
}

impl Seen {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// All values of this header.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

/// The host. Its threads end with the test.
pub(crate) struct Upstream {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Upstream {
    /// Serves `localhost` and `127.0.0.1`, and writes its authority to `ca.pem` in this folder.
    pub(crate) fn start(folder: &Path) -> Upstream {
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::default();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        std::fs::write(folder.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "the host");
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &rcgen::Issuer::new(ca, ca_key)).unwrap();
        let secret = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], secret)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let upstream = Upstream { port, seen: Arc::clone(&seen) };
        thread::spawn(move || {
            for stream in listener.incoming().map(Result::unwrap) {
                let (config, seen) = (Arc::clone(&config), Arc::clone(&seen));
                thread::spawn(move || {
                    let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                    while let Some(request) = request(&mut tls) {
                        seen.lock().unwrap().push(request.clone());
                        if answer(&mut tls, &request).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        upstream
    }

    /// What came so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The newest request.
    pub(crate) fn last(&self) -> Seen {
        self.seen().pop().expect("something came")
    }
}

fn line(tls: &mut Tls) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        match tls.read(&mut byte) {
            Ok(1) => line.push(byte[0]),
            _ => return None,
        }
    }
    Some(line)
}

fn request(tls: &mut Tls) -> Option<Seen> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(line(tls)?);
    }
    let mut seen = Seen { head: String::from_utf8_lossy(&head).into_owned(), body: Vec::new(), length: 0 };
    if let Some(length) = seen.all("content-length").first().map(|text| text.parse().unwrap()) {
        read(tls, &mut seen, length)?;
    } else if seen.all("transfer-encoding") == ["chunked"] {
        loop {
            let size = String::from_utf8(line(tls)?).unwrap();
            let size = usize::from_str_radix(size.trim().split(';').next().unwrap(), 16).unwrap();
            read(tls, &mut seen, size)?;
            line(tls)?;
            if size == 0 {
                break;
            }
        }
    }
    Some(seen)
}

fn read(tls: &mut Tls, seen: &mut Seen, mut left: usize) -> Option<()> {
    let mut part = vec![0; 64 << 10];
    while left > 0 {
        let most = left.min(part.len());
        let count = tls.read(&mut part[..most]).ok().filter(|count| *count > 0)?;
        if seen.body.len() < 64 << 10 {
            seen.body.extend_from_slice(&part[..count]);
        }
        seen.length += count;
        left -= count;
    }
    Some(())
}

fn plain(tls: &mut Tls, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(tls, "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len())?;
    tls.write_all(body)?;
    tls.flush()
}

fn chunk(tls: &mut Tls, part: &[u8]) -> std::io::Result<()> {
    write!(tls, "{:x}\r\n", part.len())?;
    tls.write_all(part)?;
    write!(tls, "\r\n")?;
    tls.flush()
}

/// The secret, in all the ways in which a text is written.
pub(crate) fn ways(secret: &str) -> Vec<String> {
    let json = serde_json::to_string(secret).unwrap();
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![secret.to_owned(), json[1..json.len() - 1].to_owned(), percent, hex.to_uppercase(), hex];
    for before in ["", "a", "ab", "user:", "Bearer "] {
        all.push(STANDARD.encode(format!("{before}{secret}")));
        all.push(URL_SAFE_NO_PAD.encode(format!("{before}{secret}")));
    }
    all
}

fn answer(tls: &mut Tls, request: &Seen) -> std::io::Result<()> {
    let path = request.line().split(' ').nth(1).unwrap().to_owned();
    let shown = request.all("authorization").first().copied().unwrap_or_default().to_owned();
    let secret = shown.strip_prefix("Bearer ").unwrap_or(&shown).to_owned();
    match path.split('?').next().unwrap() {
        "/v1/echo" if request.line().starts_with("HEAD ") => {
            write!(tls, "HTTP/1.1 200 OK\r\nx-echo: {shown}\r\ncontent-length: 1234\r\n\r\n")?;
            tls.flush()
        }
        "/v1/echo" => {
            plain(tls, "200 OK", "content-type: text/plain\r\n", &[request.head.as_bytes(), &request.body].concat())
        }
        // Byte by byte, each in a chunk and a record of its own.
        "/v1/ways" => {
            write!(tls, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for byte in ways(&secret).join("\n").as_bytes() {
                chunk(tls, &[*byte])?;
            }
            write!(tls, "0\r\nx-trailer: {secret}\r\n\r\n")?;
            tls.flush()
        }
        "/v1/headers" => {
            let lines: String = ways(&secret).iter().map(|way| format!("x-echo: a {way} z\r\n")).collect();
            let more = format!(
                "{lines}x-{}: 1\r\nset-cookie: session=as-good-as-the-key\r\nalt-svc: h3=\":443\"\r\n",
                ways(&secret)[4]
            );
            plain(tls, &format!("200 {secret}"), &more, b"ok\n")
        }
        "/v1/gzip" => plain(tls, "200 OK", "content-encoding: gzip\r\n", b"\x1f\x8b whatever"),
        "/v1/wide" => plain(tls, "200 OK", "content-type: text/html; charset=UTF-16LE\r\n", b"s\0e\0"),
        "/v1/moved" => plain(tls, "302 Found", "location: /v1/echo?moved=1\r\n", b""),
        "/v1/moved/away" => plain(tls, "302 Found", "location: https://elsewhere.example/v1/echo\r\n", b""),
        "/v1/denied" => plain(tls, "401 Unauthorized", "", b"no\n"),
        "/v1/both" => {
            write!(tls, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\nhello!!")?;
            tls.flush()
        }
        "/v1/big" => {
            let bytes: usize = path.split_once('=').unwrap().1.parse::<usize>().unwrap() << 20;
            let part: Vec<u8> = (0..64 << 10).map(|place| (place * 31 % 251) as u8).collect();
            write!(tls, "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n")?;
            for _ in 0..bytes / part.len() {
                tls.write_all(&part)?;
            }
            tls.flush()
        }
        "/v1/events" => {
            write!(tls, "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")?;
            chunk(tls, b"data: one\n\n")?;
            thread::sleep(Duration::from_secs(3));
            chunk(tls, b"data: two\n\n")?;
            write!(tls, "0\r\n\r\n")?;
            tls.flush()
        }
        "/v1/socket" => {
            write!(tls, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")?;
            tls.flush()?;
            let mut part = [0; 1024];
            loop {
                let count = tls.read(&mut part)?;
                if count == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                tls.write_all(&part[..count])?;
                tls.write_all(format!("<{secret}>").as_bytes())?;
                tls.flush()?;
            }
        }
        "/repo.git/info/refs" => {
            let refs = "003d1111111111111111111111111111111111111111 refs/heads/main\n0000";
            let body = format!(
                "001e# service=git-upload-pack\n0000{}",
                refs.replacen("refs/heads/main\n", "refs/heads/main\0", 1)
            );
            let body = body.replacen("003d", "003e", 1).replacen("main\0", "main\0\n", 1);
            plain(tls, "200 OK", "content-type: application/x-git-upload-pack-advertisement\r\n", body.as_bytes())
        }
        _ => plain(tls, "404 Not Found", "", b"nothing here\n"),
    }
}
