//! One TLS handshake on loopback, rustls on both sides, in which each shows a certificate.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use nockvault::client::agent::Credential;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, Stream};

use crate::stage::text;

/// A peer that does not answer fails the test.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a session holds of a certificate: its secret's texts.
fn sent(credential: &Credential) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = [text(credential, "certificate"), text(credential, "chain")].concat();
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_slice(text(credential, "private_key").as_bytes()).unwrap())
}

fn roots(credential: &Credential) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(text(credential, "ca").as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

/// Lets `client` call `server`, which takes nobody without a certificate under its own root and looks at the list.
pub(crate) fn meet(server: &Credential, client: Option<&Credential>, list: &[u8]) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let list = CertificateRevocationListDer::from(list.to_vec());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(server), Arc::clone(&provider)).with_crls([list]);
    let (chain, key) = sent(server);
    let serving =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let verifier = verifier.only_check_end_entity_revocation().build().unwrap();
    let serving = serving.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap();
    let calling = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let calling = calling.with_root_certificates(roots(server));
    let calling = match client.map(sent) {
        Some((chain, key)) => calling.with_client_auth_cert(chain, key).unwrap(),
        None => calling.with_no_client_auth(),
    };

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || answer(&listener, serving));
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ClientConnection::new(Arc::new(calling), ServerName::try_from("localhost").unwrap()).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut heard = [0; 4];
    let told = stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut heard));
    // What the client sees of a refusal depends on when it looks; the server's word counts.
    answering.join().unwrap()?;
    told.unwrap();
    assert_eq!(&heard, b"pong");
    Ok(())
}

fn answer(listener: &TcpListener, config: ServerConfig) -> Result<(), String> {
    let (mut socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ServerConnection::new(Arc::new(config)).unwrap();
    let mut stream = Stream::new(&mut connection, &mut socket);
    let mut asked = [0; 4];
    stream.read_exact(&mut asked).map_err(|why| why.to_string())?;
    stream.write_all(b"pong").map_err(|why| why.to_string())
}
