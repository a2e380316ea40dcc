//! Certificate authorities: the keys with which the engines `ssh` and `x509` sign, and the lists by which they take back
//! what they signed. An authority is one stored secret of the use `ca`, made here or brought by an operator; its private
//! key leaves the vault in no way. What is public of it, and the list of what was revoked before its time, is fetched
//! over HTTP by those who rely on it.

use serde_json::{Map, Value};

use crate::denial::Denial;
use crate::entropy::Entropy;
use crate::id::{LeaseId, SecretName};
use crate::secret::SecretBytes;
use crate::time::{Seconds, Timestamp};

/// For how long past its own end a credential that was taken back still stands in the lists. Those who rely on it have
/// clocks of their own, which may be behind, or give some leeway: what was taken back must not come alive for them in
/// its last minutes (RFC 5280 section 3.3).
pub const LINGERS: Seconds = Seconds(600);

/// A lease that ended before its time, and whose credential would still be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which lease; the credential's serial number follows from it.
    pub lease: LeaseId,
    /// The credential's public name.
    pub handle: String,
    /// When it ended.
    pub ended: Timestamp,
    /// When the credential expires by itself.
    pub expires: Timestamp,
}

/// What can be fetched of an authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Document {
    /// Its public key or certificate chain.
    Authority,
    /// The list of revoked credentials.
    Revoked,
}

/// A document, as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its media type.
    pub media_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The authorities of an engine. Nothing here waits and nothing reads a store: values come in and go out.
pub trait CertificateAuthority: Send + Sync {
    /// Makes an authority. `wish` is what the operator wants of it (a subject, a life in days), as the engine takes it.
    /// Gives the value to store.
    ///
    /// # Errors
    /// [`crate::denial::Reason::BadRole`] with what does not fit.
    fn make(&self, wish: &Map<String, Value>, now: Timestamp, entropy: &dyn Entropy) -> Result<SecretBytes, Denial>;

    /// Takes an authority that was made elsewhere. Gives the value to store.
    ///
    /// # Errors
    /// [`crate::denial::Reason::BadSealedInput`] with what does not fit.
    fn import(&self, brought: &SecretBytes, now: Timestamp) -> Result<SecretBytes, Denial>;

    /// Gives an authority the certificate chain that a higher one signed for its key (PEM, its own first). Gives the
    /// value to store.
    ///
    /// # Errors
    /// [`crate::denial::Reason::BadRole`] with what does not fit.
    fn certify(&self, stored: &SecretBytes, chain: &str, now: Timestamp) -> Result<SecretBytes, Denial>;

    /// What may be shown of a stored authority.
    ///
    /// # Errors
    /// [`crate::denial::Reason::Internal`] for a value that is none of ours.
    fn public(&self, stored: &SecretBytes) -> Result<Map<String, Value>, Denial>;

    /// The authority that a role of this configuration signs with.
    ///
    /// # Errors
    /// [`crate::denial::Reason::BadRole`].
    fn of_role(&self, config: &Map<String, Value>) -> Result<SecretName, Denial>;

    /// A document of a stored authority. `ended` is what [`Document::Revoked`] lists.
    ///
    /// # Errors
    /// [`crate::denial::Reason::Internal`] for a value that is none of ours.
    fn publish(
        &self,
        stored: &SecretBytes,
        document: Document,
        ended: &[Ended],
        now: Timestamp,
    ) -> Result<Published, Denial>;
}
