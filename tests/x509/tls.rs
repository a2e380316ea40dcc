//! TLS between two peers on loopback: rustls on both sides, or `openssl s_server`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};
use x509_parser::extensions::GeneralName;

use super::bench::{Bench, Leaf, show};

/// A peer that does not answer fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path).unwrap().map(Result::unwrap).collect()
}

fn sent(leaf: &Leaf) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = [certificates(&leaf.certificate), certificates(&leaf.chain)].concat();
    (chain, PrivateKeyDer::from_pem_file(&leaf.key).unwrap())
}

fn roots(leaf: &Leaf) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    certificates(&leaf.ca).into_iter().for_each(|root| roots.add(root).unwrap());
    Arc::new(roots)
}

/// Lets `client` call `server`, which demands a client certificate under its own root and looks at `list`. Gives the
/// URIs in the certificate that the server took, or why it took none.
pub(crate) fn meet(server: &Leaf, client: Option<&Leaf>, list: &[u8]) -> Result<Vec<String>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server), provider.clone())
        .with_crls([CertificateRevocationListDer::from(list.to_vec())])
        .only_check_end_entity_revocation()
        .build()
        .unwrap();
    let (chain, key) = sent(server);
    let serving = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let calling = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let calling = calling.with_root_certificates(roots(server));
    let calling = match client.map(sent) {
        Some((chain, key)) => calling.with_client_auth_cert(chain, key).unwrap(),
        None => calling.with_no_client_auth(),
    };

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || answer(&listener, serving));
    // What the client sees of a refusal depends on when it looks; the server's word counts.
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(calling), name).unwrap();
    let mut answer = String::new();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let heard = stream.write_all(b"ping").and_then(|()| stream.read_to_string(&mut answer));
    let uris = answering.join().unwrap()?;
    heard.unwrap();
    assert_eq!(answer, "pong");
    Ok(uris)
}

fn answer(listener: &TcpListener, config: ServerConfig) -> Result<Vec<String>, String> {
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
    let mut asked = [0; 4];
    Stream::new(&mut connection, &mut socket).read_exact(&mut asked).map_err(|why| why.to_string())?;
    assert_eq!(&asked, b"ping");
    let uris = uris(&connection.peer_certificates().unwrap()[0]);
    Stream::new(&mut connection, &mut socket).write_all(b"pong").unwrap();
    connection.send_close_notify();
    connection.write_tls(&mut socket).unwrap();
    Ok(uris)
}

/// The URI names of a certificate.
fn uris(der: &[u8]) -> Vec<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_owned()),
        _ => None,
    };
    names.value.general_names.iter().filter_map(uri).collect()
}

/// `openssl s_server` on a free port of loopback, which demands a client certificate. It ends with its guard.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: String,
    /// Held, or the server would end with its first line.
    _said: BufReader<ChildStdout>,
}

impl Server {
    pub(crate) fn start(bench: &Bench, leaf: &Leaf) -> Server {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", "127.0.0.1:0", "-rev", "-Verify", "4", "-verify_return_error"]);
        command.args(["-CAfile", show(&leaf.ca), "-cert", show(&leaf.certificate), "-key", show(&leaf.key)]);
        command.args(["-cert_chain", show(&leaf.chain)]).current_dir(bench.folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("ACCEPT") {
            line.clear();
            if said.read_line(&mut line).unwrap() == 0 {
                let _ = child.kill();
                panic!("openssl s_server ended: {}", child.wait().unwrap());
            }
        }
        let port = line.trim().rsplit(':').next().unwrap().to_owned();
        Server { child, port, _said: said }
    }

    /// Calls by `openssl s_client`, which sends one line. Gives what it printed.
    pub(crate) fn called_by(&self, bench: &Bench, more: &[&str]) -> String {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("127.0.0.1:{}", self.port), "-quiet", "-verify_return_error"]);
        command.args(more).args(["-verify_hostname", "localhost"]).current_dir(bench.folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut typing = child.stdin.take().unwrap();
        // A client that was refused does not read; what it printed says so.
        let _ = typing.write_all(b"gnip\nCLOSE\n");
        let output = child.wait_with_output().unwrap();
        drop(typing);
        format!("{}{}", super::bench::text(&output.stdout), super::bench::text(&output.stderr))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
