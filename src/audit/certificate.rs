//! Certificates: the identity key names each other key of the vault, with one role and a life. A key without one
//! signs nothing that anybody believes.

use crate::base64url::Bytes;
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::hpke::SealPublicKey;
use crate::crypto::json::{Admission, admit_as};
use crate::crypto::signature::{Form, PublicKey, SigningKey};
use crate::id::{Aud, Kid};
use crate::statement::VERSION;
use crate::statement::cert::{Cert, KeyRole, TYP};
use crate::time::Timestamp;

/// Why a certificate is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCert {
    /// Not signed by the identity key.
    #[error("the identity key did not sign the certificate")]
    Signature,
    /// Signed, but no certificate of this protocol.
    #[error("the certificate is not well formed: {0}")]
    Malformed(String),
    /// A certificate of another vault.
    #[error("the certificate is of {0}, another vault")]
    OtherVault(Aud),
    /// The key does not fit its `kid` or its role.
    #[error("the certificate's key is not the one that its kid names, or not one of its role")]
    Key,
    /// A key of another role.
    #[error("the certificate is for the role {found:?}, not {wanted:?}")]
    Role {
        /// What the certificate says.
        found: KeyRole,
        /// What is asked for.
        wanted: KeyRole,
    },
}

/// The certificate of `pk`, 32 bytes, before it is signed.
#[must_use]
pub fn cert_of(role: KeyRole, pk: [u8; 32], kid: Kid, aud: &Aud, node: &str, epoch: u64, life: Life) -> Cert {
    Cert {
        aud: aud.clone(),
        epoch,
        exp: life.exp,
        kid,
        nbf: life.nbf,
        node: node.to_owned(),
        pk: Bytes(pk.to_vec()),
        role,
        typ: TYP.to_owned(),
        v: VERSION,
    }
}

/// From when on and before when a key is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Good from this on.
    pub nbf: Timestamp,
    /// Good before this.
    pub exp: Timestamp,
}

impl Life {
    /// Whether `at` lies in it.
    #[must_use]
    pub fn holds(&self, at: Timestamp) -> bool {
        self.nbf <= at && at < self.exp
    }
}

/// Signs a certificate with the identity key.
#[must_use]
pub fn certify_key(identity: &SigningKey, cert: &Cert) -> Embedded {
    Envelope::sign(PayloadType::Cert, cert, identity, Form::Pae).embed().expect("a certificate is a JSON object")
}

/// Reads a certificate: signed by the identity key, of its vault, and with a key that fits `kid` and role. Whether it
/// is good at some time is for the caller, see [`life`].
///
/// # Errors
/// [`BadCert`].
pub fn open_cert(embedded: &Embedded, identity: &PublicKey) -> Result<Cert, BadCert> {
    let envelope = embedded.open(PayloadType::Cert);
    identity
        .verify(Form::Pae, &envelope.payload_type, &envelope.payload, &envelope.signature)
        .map_err(|_| BadCert::Signature)?;
    let cert: Cert =
        admit_as(&envelope.payload, &Admission::AGENT).map_err(|why| BadCert::Malformed(why.to_string()))?;
    if cert.typ != TYP || cert.v != VERSION {
        return Err(BadCert::Malformed(format!("it is not a {TYP} of version {VERSION}")));
    }
    if cert.aud != Aud::of_identity(&identity.kid()) {
        return Err(BadCert::OtherVault(cert.aud));
    }
    let fits = match cert.role {
        KeyRole::Intake => seal_key(&cert).is_some_and(|key| key.kid() == cert.kid),
        _ => signing_key(&cert).is_some_and(|key| key.kid() == cert.kid),
    };
    if fits { Ok(cert) } else { Err(BadCert::Key) }
}

/// Reads the certificate of a key that signs in `role`, and gives the key with it.
///
/// # Errors
/// [`BadCert`]; a certificate of another role is [`BadCert::Role`].
pub fn open_signer(embedded: &Embedded, role: KeyRole, identity: &PublicKey) -> Result<(Cert, PublicKey), BadCert> {
    let cert = open_cert(embedded, identity)?;
    if cert.role != role {
        return Err(BadCert::Role { found: cert.role, wanted: role });
    }
    let key = signing_key(&cert).ok_or(BadCert::Key)?;
    Ok((cert, key))
}

/// Reads the certificate of the intake key, and gives the key with it.
///
/// # Errors
/// [`BadCert`]; a certificate of another role is [`BadCert::Role`].
pub fn open_intake(embedded: &Embedded, identity: &PublicKey) -> Result<(Cert, SealPublicKey), BadCert> {
    let cert = open_cert(embedded, identity)?;
    if cert.role != KeyRole::Intake {
        return Err(BadCert::Role { found: cert.role, wanted: KeyRole::Intake });
    }
    let key = seal_key(&cert).ok_or(BadCert::Key)?;
    Ok((cert, key))
}

/// The time in which the certificate's key is good.
#[must_use]
pub fn life(cert: &Cert) -> Life {
    Life { nbf: cert.nbf, exp: cert.exp }
}

fn signing_key(cert: &Cert) -> Option<PublicKey> {
    PublicKey::from_bytes(cert.pk.0.as_slice().try_into().ok()?).ok()
}

fn seal_key(cert: &Cert) -> Option<SealPublicKey> {
    SealPublicKey::from_bytes(cert.pk.0.as_slice().try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::hpke::SealSecretKey;
    use crate::entropy::SeededEntropy;

    const LIFE: Life = Life { nbf: Timestamp(1_000), exp: Timestamp(2_000) };

    fn certified(role: KeyRole) -> (SigningKey, Cert) {
        let entropy = SeededEntropy::new(1);
        let identity = SigningKey::generate(&entropy);
        let aud = Aud::of_identity(&identity.kid());
        let cert = if role == KeyRole::Intake {
            let key = SealSecretKey::generate(&entropy).public();
            cert_of(role, *key.as_bytes(), key.kid(), &aud, "n1", 1, LIFE)
        } else {
            let key = SigningKey::generate(&entropy);
            cert_of(role, key.public().to_bytes(), key.kid(), &aud, "n1", 1, LIFE)
        };
        (identity, cert)
    }

    #[test]
    fn what_the_identity_signed_is_read_back() {
        for role in [KeyRole::Response, KeyRole::Audit, KeyRole::Checkpoint, KeyRole::Intake, KeyRole::Jwt] {
            let (identity, cert) = certified(role);
            assert_eq!(open_cert(&certify_key(&identity, &cert), &identity.public()).unwrap(), cert);
        }
    }

    #[test]
    fn a_certificate_is_for_one_vault_one_role_and_one_key() {
        let (identity, cert) = certified(KeyRole::Audit);
        let open = |cert: &Cert| open_signer(&certify_key(&identity, cert), KeyRole::Audit, &identity.public());
        assert!(open(&cert).is_ok());
        let other = SigningKey::generate(&SeededEntropy::new(9));
        assert_eq!(open_cert(&certify_key(&other, &cert), &identity.public()), Err(BadCert::Signature));
        let elsewhere = Aud::of_identity(&other.kid());
        assert_eq!(open(&Cert { aud: elsewhere.clone(), ..cert.clone() }).unwrap_err(), BadCert::OtherVault(elsewhere));
        let response = BadCert::Role { found: KeyRole::Response, wanted: KeyRole::Audit };
        assert_eq!(open(&Cert { role: KeyRole::Response, ..cert.clone() }).unwrap_err(), response);
        assert_eq!(open(&Cert { kid: other.kid(), ..cert.clone() }).unwrap_err(), BadCert::Key);
        assert_eq!(open(&Cert { role: KeyRole::Intake, ..cert.clone() }).unwrap_err(), BadCert::Key);
        assert!(matches!(open(&Cert { v: 2, ..cert.clone() }).unwrap_err(), BadCert::Malformed(_)));
    }

    #[test]
    fn a_key_is_good_from_its_first_instant_and_before_its_last() {
        for (at, good) in [(999, false), (1_000, true), (1_999, true), (2_000, false)] {
            assert_eq!(LIFE.holds(Timestamp(at)), good, "{at}");
        }
    }

    #[test]
    fn a_sealing_key_is_certified_for_intake_alone() {
        let (identity, cert) = certified(KeyRole::Intake);
        let open = |cert: &Cert| open_intake(&certify_key(&identity, cert), &identity.public());
        let (opened, key) = open(&cert).unwrap();
        assert_eq!((&opened, key.kid()), (&cert, cert.kid.clone()));
        let response = BadCert::Role { found: KeyRole::Response, wanted: KeyRole::Intake };
        assert_eq!(open(&certified(KeyRole::Response).1).unwrap_err(), response);
    }
}
