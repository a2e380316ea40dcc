//! A custodian that is a passphrase: `secret = argon2id(passphrase, salt, m, t, p, 32 bytes)` (RFC 9106), with what the record
//! says. Stretching is done where the passphrase is typed; the daemon never learns it, and spends no memory on it.

use argon2::{Algorithm, Argon2, Params, Version};

use super::CustodySecret;
use crate::base64url::Bytes;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::statement::custody::{Kind, SALT};

/// The second choice of RFC 9106: 64 MiB, 3 passes, 4 lanes.
const COST: (u32, u32, u32) = (1 << 16, 3, 4);

/// The most memory that is spent on one, in KiB: four times that of today. Who is asked for a passphrase has the record from
/// a daemon, or from a database or a backup of which nothing is verified yet, and it may ask for 1 GiB.
const MOST: u32 = 1 << 18;

/// The least characters of a passphrase. A copy of the database can be guessed at for as long as somebody likes.
pub const LEAST: usize = 12;

/// Why a passphrase gives no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseFault {
    /// Too short.
    #[error(
        "the passphrase has fewer than 12 characters; whoever has a copy of the database may guess as long as he likes"
    )]
    Short,
    /// No passphrase's custodian.
    #[error("this custodian is no passphrase")]
    Kind,
    /// It asks for too much memory.
    #[error(
        "this custodian's passphrase takes {0} KiB of memory, and more than 262144 are not spent here; no vaultctl has \
         appointed such a one: open the vault with what did, or by another custodian"
    )]
    Dear(u32),
    /// There was no memory for it.
    #[error("the passphrase could not be stretched; {0} KiB of memory are needed")]
    Memory(u32),
}

/// A passphrase's custodian with a new salt, and the cost of today.
#[must_use]
pub fn kind(entropy: &dyn Entropy) -> Kind {
    let (m_kib, t, p) = COST;
    Kind::Passphrase { m_kib, p, salt: Bytes(entropy.bytes::<SALT>().to_vec()), t }
}

/// Whether a passphrase may be chosen.
///
/// # Errors
/// [`PassphraseFault::Short`].
pub fn fit(passphrase: &str) -> Result<(), PassphraseFault> {
    if passphrase.chars().count() < LEAST { Err(PassphraseFault::Short) } else { Ok(()) }
}

/// Stretches a passphrase as the record says.
///
/// # Errors
/// [`PassphraseFault::Kind`], [`PassphraseFault::Dear`], [`PassphraseFault::Memory`].
pub fn stretch(passphrase: &str, kind: &Kind) -> Result<CustodySecret, PassphraseFault> {
    let Kind::Passphrase { m_kib, p, salt, t } = kind else { return Err(PassphraseFault::Kind) };
    if *m_kib > MOST {
        return Err(PassphraseFault::Dear(*m_kib));
    }
    let memory = |_| PassphraseFault::Memory(*m_kib);
    let params = Params::new(*m_kib, *t, *p, Some(32)).map_err(memory)?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut stretched = Ok(());
    let secret = Secret::init(|out: &mut [u8; 32]| {
        stretched = argon.hash_password_into(passphrase.as_bytes(), &salt.0, out);
    });
    stretched.map_err(memory)?;
    Ok(CustodySecret::new(secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn a_passphrase_gives_the_same_secret_under_the_same_record_only() {
        let entropy = SeededEntropy::new(1);
        let small = |salt: u8| Kind::Passphrase { m_kib: 19456, p: 1, salt: Bytes(vec![salt; SALT]), t: 2 };
        let of = |text: &str, kind: &Kind| stretch(text, kind).unwrap().public();
        let known = of("correct horse battery", &small(1));
        assert_eq!(known, of("correct horse battery", &small(1)));
        assert_ne!(known, of("correct horse batterz", &small(1)));
        assert_ne!(known, of("correct horse battery", &small(2)));
        assert!(stretch("x", &Kind::File).is_err());
        assert_eq!(fit("eleven char"), Err(PassphraseFault::Short));
        fit("twelve chars").unwrap();
        assert_ne!(kind(&entropy), kind(&entropy), "two custodians share a salt");
        let default: Kind = serde_json::from_str(&serde_json::to_string(&kind(&entropy)).unwrap()).unwrap();
        assert_eq!(default.name(), "passphrase", "the cost of today is not within the bounds");
    }

    #[test]
    fn a_record_does_not_say_how_much_memory_is_taken() {
        let of = |m_kib| stretch("correct horse", &Kind::Passphrase { m_kib, p: 1, salt: Bytes(vec![1; SALT]), t: 2 });
        for m_kib in [MOST + 1, 1 << 20] {
            assert!(matches!(of(m_kib), Err(PassphraseFault::Dear(told)) if told == m_kib), "{m_kib} KiB");
        }
        assert!(of(MOST).is_ok());
        assert!(COST.0 * 4 <= MOST, "today's is not within it with room");
    }
}
