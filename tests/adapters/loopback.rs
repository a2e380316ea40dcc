//! A small HTTP server on a free port of 127.0.0.1, in plain or with TLS, which hands each request to a function and
//! notes it. It stops when it is dropped.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The client's certificate, where it showed one.
    pub(crate) certificate: Option<Vec<u8>>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What goes out.
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Told {
    pub(crate) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Told {
        Told { status, headers: vec![("Content-Type".into(), kind.into())], body: body.into() }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Told {
        self.headers.push((name.into(), value.into()));
        self
    }
}

pub(crate) struct Loopback {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        let _ = self.accepting.take().unwrap().join();
    }
}

impl Loopback {
    pub(crate) fn start(answer: impl Fn(&Asked) -> Told + Send + Sync + 'static) -> Loopback {
        Loopback::with(None, answer)
    }

    pub(crate) fn with(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Asked) -> Told + Send + Sync + 'static,
    ) -> Loopback {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (ended, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (over, noted, answer) = (ended.clone(), asked.clone(), Arc::new(answer));
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (tls, noted, answer) = (tls.clone(), noted.clone(), answer.clone());
                std::thread::spawn(move || converse(stream, tls, &noted, &*answer));
            }
        });
        Loopback { address, ended, asked, accepting: Some(accepting) }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// One request and its answer. Who does not go on is left.
fn converse(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    noted: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked) -> Told,
) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    match tls {
        None => {
            let mut reader = BufReader::new(stream);
            let asked = read(&mut reader)?;
            noted.lock().unwrap().push(asked.clone());
            tell(reader.get_mut(), answer(&asked))
        }
        Some(config) => {
            let stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
            let mut reader = BufReader::new(stream);
            let mut asked = read(&mut reader)?;
            let shown = reader.get_ref().conn.peer_certificates();
            asked.certificate = shown.and_then(|chain| chain.first()).map(|leaf| leaf.to_vec());
            noted.lock().unwrap().push(asked.clone());
            let told = tell(reader.get_mut(), answer(&asked));
            reader.get_mut().conn.send_close_notify();
            let _ = reader.get_mut().flush();
            told
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Asked> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    let mut asked = Asked { method, path, query, headers, body: Vec::new(), certificate: None };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body.resize(length, 0);
    reader.read_exact(&mut asked.body).ok()?;
    Some(asked)
}

fn tell(stream: &mut impl Write, told: Told) -> Option<()> {
    let mut head =
        format!("HTTP/1.1 {} Told\r\nConnection: close\r\nContent-Length: {}\r\n", told.status, told.body.len());
    for (name, value) in &told.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&told.body).ok()?;
    stream.flush().ok()
}
