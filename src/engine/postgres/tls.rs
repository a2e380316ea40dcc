//! The way to the server: plain, or TLS that checks the certificate, or TLS that binds the login to whatever certificate
//! the server shows.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio_postgres::{CancelToken, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{Config, Tls, roots};
use crate::denial::{Denial, Reason};

/// What connects.
#[derive(Clone)]
pub(super) enum Connector {
    Plain,
    Tls(MakeRustlsConnect),
}

impl Connector {
    /// The one that a role's configuration asks for.
    pub(super) fn of(config: &Config) -> Result<Connector, Denial> {
        let internal = |why: rustls::Error| Denial::new(Reason::Internal).internal(why);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(internal)?;
        let client = match config.tls() {
            Tls::Off => return Ok(Connector::Plain),
            Tls::Require => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
                .with_no_client_auth(),
            Tls::VerifyFull => {
                let roots = roots(config.ca.as_deref().unwrap_or_default())
                    .map_err(|what| Denial::new(Reason::BadRole).detail(what))?;
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Connector::Tls(MakeRustlsConnect::new(client)))
    }

    /// Asks the server to break off what a connection is doing. Whether it did is not told.
    pub(super) async fn cancel(self, token: CancelToken) {
        let _ = match self {
            Connector::Plain => token.cancel_query(NoTls).await,
            Connector::Tls(tls) => token.cancel_query(tls).await,
        };
    }
}

/// Takes every certificate whose holder signs the handshake. Only with a login that is bound to the certificate.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
