//! The vault's own keys, each with one role, and the audit key of the present epoch.
//!
//! Identity, response, checkpoint, intake and token keys are kept at rest under the root key. Audit keys are not kept:
//! each daemon makes one at its start and another every day, certifies it with the identity key and forgets the one
//! before, so that who takes one can forge from then on and not backwards.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::audit::certificate::{Life, cert_of, certify_key, open_cert};
use crate::audit::chain::AuditKey;
use crate::crypto::envelope::Embedded;
use crate::crypto::hpke::SealSecretKey;
use crate::crypto::signature::SigningKey;
use crate::entropy::Entropy;
use crate::id::Aud;
use crate::secret::Secret;
use crate::statement::cert::{Cert, KeyRole};
use crate::store::KeptKey;
use crate::time::{Seconds, Timestamp};

/// How long a certificate of a kept key is good.
const CERT_LIFE: Seconds = Seconds(365 * 86_400);
/// How long an audit key signs before the next takes over.
pub(super) const EPOCH: Seconds = Seconds(86_400);
/// How long an audit key's certificate is good: past its turn, so that a turn may be late.
const AUDIT_CERT_LIFE: Seconds = Seconds(2 * 86_400);

/// The roles whose keys are kept.
pub(super) const KEPT: [KeyRole; 4] = [KeyRole::Response, KeyRole::Checkpoint, KeyRole::Intake, KeyRole::Jwt];

/// Makes a kept key of this role.
pub(super) fn make(role: KeyRole, identity: &SigningKey, node: &str, now: Timestamp, entropy: &dyn Entropy) -> KeptKey {
    let secret = Secret::init(|bytes: &mut [u8; 32]| entropy.fill(bytes));
    numbered(role, 1, secret, identity, node, now)
}

/// Makes the key for tokens that has this number.
pub(super) fn make_token_key(
    epoch: u64,
    identity: &SigningKey,
    node: &str,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> KeptKey {
    let secret = Secret::init(|bytes: &mut [u8; 32]| entropy.fill(bytes));
    numbered(KeyRole::Jwt, epoch, secret, identity, node, now)
}

fn numbered(
    role: KeyRole,
    epoch: u64,
    secret: Secret<[u8; 32]>,
    identity: &SigningKey,
    node: &str,
    now: Timestamp,
) -> KeptKey {
    let life = Life { nbf: now, exp: now.plus(CERT_LIFE) };
    let cert = certificate(role, &secret, identity, node, epoch, life);
    KeptKey { role, secret, cert }
}

/// The certificate of a kept key.
fn certificate(
    role: KeyRole,
    secret: &Secret<[u8; 32]>,
    identity: &SigningKey,
    node: &str,
    epoch: u64,
    life: Life,
) -> Embedded {
    let (pk, kid) = if role == KeyRole::Intake {
        let public = SealSecretKey::from_bytes(secret).public();
        (*public.as_bytes(), public.kid())
    } else {
        let public = SigningKey::from_seed(secret).public();
        (public.to_bytes(), public.kid())
    };
    certify_key(identity, &cert_of(role, pk, kid, &Aud::of_identity(&identity.kid()), node, epoch, life))
}

/// A new certificate for a kept key whose own is past half its life at `now` or at `until`, or is from the future. It is
/// good until past both.
pub(super) fn renewed(
    key: &KeptKey,
    identity: &SigningKey,
    node: &str,
    now: Timestamp,
    until: Timestamp,
) -> Option<Embedded> {
    let cert = open_cert(&key.cert, &identity.public()).ok();
    let until = until.max(now);
    let fresh = |cert: &Cert| cert.nbf <= now && until < Timestamp(cert.nbf.0.midpoint(cert.exp.0));
    if cert.as_ref().is_some_and(fresh) {
        return None;
    }
    Some(anew(key, identity, node, now, until))
}

/// A new certificate for a kept key, good until past `now` and `until`.
pub(super) fn anew(key: &KeptKey, identity: &SigningKey, node: &str, now: Timestamp, until: Timestamp) -> Embedded {
    let epoch = open_cert(&key.cert, &identity.public()).map_or(1, |cert| cert.epoch);
    let life = Life { nbf: now, exp: until.max(now).plus(CERT_LIFE) };
    certificate(key.role, &key.secret, identity, node, epoch, life)
}

/// The audit key of the present epoch, as far as the flow must know it: the key itself is the store's writer's alone.
#[derive(Debug)]
pub(super) struct Epochs {
    newest: AtomicU64,
    since: AtomicU64,
    /// The newest entry there was at the start.
    history: AtomicU64,
    turning: tokio::sync::Mutex<()>,
}

impl Epochs {
    /// So many epochs have been, and entries up to `history`.
    pub(super) fn after(newest: u64, history: Timestamp) -> Epochs {
        Epochs {
            newest: newest.into(),
            since: 0.into(),
            history: history.0.into(),
            turning: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether the key should make place for the next: its day is over.
    pub(super) fn due(&self, now: Timestamp) -> bool {
        now >= Timestamp(self.since.load(Ordering::Acquire)).plus(EPOCH)
    }

    /// One turn at a time.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turning.lock().await
    }

    /// The next key, certified by `identity`. No entry is of before the one it follows: where the clock was ahead once
    /// and the history with it, the key is good until past that, or the vault could neither begin nor end anything.
    pub(super) fn next(&self, identity: &SigningKey, node: &str, now: Timestamp, entropy: &dyn Entropy) -> AuditKey {
        let epoch = self.newest.load(Ordering::Acquire) + 1;
        let aud = Aud::of_identity(&identity.kid());
        let exp = now.max(self.history()).plus(AUDIT_CERT_LIFE);
        AuditKey::certify(SigningKey::generate(entropy), identity, &aud, node, epoch, now, exp)
    }

    /// The newest entry that there was at the start, or since the clock was reset.
    pub(super) fn history(&self) -> Timestamp {
        Timestamp(self.history.load(Ordering::Acquire))
    }

    /// The next key where all that was written before is of a clock that was ahead.
    pub(super) fn anew(&self, identity: &SigningKey, node: &str, now: Timestamp, entropy: &dyn Entropy) -> AuditKey {
        let epoch = self.newest.load(Ordering::Acquire) + 1;
        let aud = Aud::of_identity(&identity.kid());
        let exp = now.plus(AUDIT_CERT_LIFE);
        AuditKey::certify(SigningKey::generate(entropy), identity, &aud, node, epoch, now, exp)
    }

    /// Remembers that such a key took over at `now`.
    pub(super) fn reset(&self, now: Timestamp) {
        self.history.store(now.0, Ordering::Release);
        self.turned(now);
    }

    /// Remembers that the next key took over at `now`.
    pub(super) fn turned(&self, now: Timestamp) {
        self.newest.fetch_add(1, Ordering::AcqRel);
        self.since.store(now.0, Ordering::Release);
    }

    /// When the certificate of the present key ends.
    pub(super) fn ends(&self) -> Timestamp {
        Timestamp(self.since.load(Ordering::Acquire)).max(self.history()).plus(AUDIT_CERT_LIFE)
    }

    /// How many epochs have been.
    pub(super) fn newest(&self) -> u64 {
        self.newest.load(Ordering::Acquire)
    }
}
