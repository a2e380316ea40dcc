//! A private key behind a passphrase: `EncryptedPrivateKeyInfo` (RFC 5958, section 3) as PEM, as openssl reads and
//! writes it.
//!
//! ```text
//! key       = scrypt(passphrase, salt, N = 2^14, r = 8, p = 5)          RFC 7914; 16 MiB
//! encrypted = AES-256-CBC(key, iv, PrivateKeyInfo(Ed25519, seed))       PBES2 of RFC 8018, RFC 8410
//! ```
//!
//! Whatever PBES2 names is read, so that a key that openssl protected serves as well; what is written is the above: the
//! most memory that openssl takes by itself, five times over. A passphrase that is wrong is found by the padding and by
//! what has to stand behind it; what comes out is in addition held against the public key by whoever has that.

use pkcs8::der::SecretDocument;
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::spki::AlgorithmIdentifierRef;
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier, PrivateKeyInfoRef};
use zeroize::Zeroizing;

use crate::crypto::signature::SigningKey;
use crate::entropy::Entropy;
use crate::secret::{Secret, SecretBytes};

/// How a protected key begins.
pub const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
/// The label between the hyphens.
const LABEL: &str = "ENCRYPTED PRIVATE KEY";

/// The fewest characters of a passphrase that protects anything.
pub const LEAST: usize = 8;

/// id-Ed25519 (RFC 8410).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
/// scrypt's N, as its logarithm, and its r and p.
const COST: (u8, u32, u32) = (14, 8, 5);
/// The dearest that is tried: a file of another's making must not fill the memory. Bytes of scrypt's, sixteen times what is
/// written here; its r and p; and rounds of PBKDF2.
const MEMORY: u64 = 256 << 20;
const WIDEST: (u16, u16) = (128, 64);
const ROUNDS: u32 = 10_000_000;
const DEAR: &str = "to try a passphrase would take more than 256 MiB of memory, or too long; have it protected anew where it \
     was made: openssl pkcs8 -topk8 -scrypt";

/// Why a protected key was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotUnlocked {
    /// It is none, or made in a way that is not known here.
    #[error("is no private key behind a passphrase that can be read here: {0}")]
    Form(&'static str),
    /// The passphrase.
    #[error("the passphrase does not open it")]
    Passphrase,
}

/// Puts a key behind a passphrase. The passphrase is taken as its bytes, without a line end.
///
/// # Errors
/// [`NotUnlocked::Form`] where the parameters are not taken, which they are.
pub fn lock(
    key: &SigningKey,
    passphrase: &SecretBytes,
    entropy: &dyn Entropy,
) -> Result<Zeroizing<String>, NotUnlocked> {
    let no = |_| NotUnlocked::Form("it cannot be written");
    let (log_n, r, p) = COST;
    let cost = scrypt::Params::new(log_n, r, p).map_err(|_| NotUnlocked::Form("scrypt's parameters"))?;
    let (salt, iv): ([u8; 16], [u8; 16]) = (entropy.bytes(), entropy.bytes());
    let way =
        Parameters::generate_scrypt_aes256cbc(cost, &salt, iv).map_err(|_| NotUnlocked::Form("its parameters"))?;
    let seed = key.seed();
    // CurvePrivateKey ::= OCTET STRING, within the OCTET STRING of PrivateKeyInfo.
    let mut inner = Zeroizing::new([0; 34]);
    inner[..2].copy_from_slice(&[4, 32]);
    inner[2..].copy_from_slice(seed.expose());
    let algorithm = AlgorithmIdentifierRef { oid: ED25519, parameters: None };
    let private_key = OctetStringRef::new(&*inner).map_err(no)?;
    let sealed = PrivateKeyInfoRef::new(algorithm, private_key)
        .encrypt_with_params(way, passphrase.expose())
        .map_err(|_| NotUnlocked::Form("it cannot be encrypted"))?;
    sealed.to_pem(LABEL, LineEnding::LF).map_err(no)
}

/// Opens a key behind a passphrase.
///
/// # Errors
/// [`NotUnlocked`], in words that quote nothing of it.
pub fn unlock(pem: &str, passphrase: &SecretBytes) -> Result<SigningKey, NotUnlocked> {
    let no = |_| NotUnlocked::Form("it does not read as PEM of PKCS #8");
    let (label, sealed) = SecretDocument::from_pem(pem.trim()).map_err(no)?;
    if label != LABEL {
        return Err(NotUnlocked::Form("it is another kind of PEM"));
    }
    let sealed: EncryptedPrivateKeyInfoRef<'_> = sealed.decode_msg().map_err(no)?;
    bearable(&sealed.encryption_algorithm)?;
    let opened = sealed.decrypt(passphrase.expose()).map_err(|_| NotUnlocked::Passphrase)?;
    // One wrong passphrase in some hundred leaves a padding that looks right.
    let read: PrivateKeyInfoRef<'_> = opened.decode_msg().map_err(|_| NotUnlocked::Passphrase)?;
    if read.algorithm.oid != ED25519 {
        return Err(NotUnlocked::Form("it is no Ed25519 key"));
    }
    let seed = read.private_key.as_bytes().strip_prefix(&[4, 32]).and_then(Secret::from_slice);
    Ok(SigningKey::from_seed(&seed.ok_or(NotUnlocked::Form("its Ed25519 key has not 32 bytes"))?))
}

/// Whether trying it costs no more than is good.
fn bearable(way: &EncryptionScheme) -> Result<(), NotUnlocked> {
    let EncryptionScheme::Pbes2(Parameters { kdf, .. }) = way else {
        return Err(NotUnlocked::Form("it is protected in a way of before PBES2"));
    };
    let bearable = match kdf {
        Kdf::Scrypt(scrypt) => {
            // N blocks; the p beside them are 1 MiB at the most.
            let block = 128 * u64::from(scrypt.block_size);
            let (r, p) = WIDEST;
            scrypt.cost_parameter.saturating_mul(block) <= MEMORY
                && scrypt.block_size <= r
                && scrypt.parallelization <= p
        }
        Kdf::Pbkdf2(pbkdf2) => pbkdf2.iteration_count <= ROUNDS,
        _ => false,
    };
    if bearable { Ok(()) } else { Err(NotUnlocked::Form(DEAR)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    fn words(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    #[test]
    fn a_locked_key_opens_with_its_passphrase_alone() {
        let key = SigningKey::from_seed(&Secret::new([7; 32]));
        let pem = lock(&key, &words("correct horse"), &OsEntropy).unwrap();
        assert!(pem.starts_with(BEGIN) && pem.len() < 1024, "{} bytes", pem.len());
        assert_eq!(unlock(&pem, &words("correct horse")).unwrap().public(), key.public());
        for wrong in ["correct hors", "correct horse\n", ""] {
            assert_eq!(unlock(&pem, &words(wrong)).unwrap_err(), NotUnlocked::Passphrase);
        }
        // Another salt and another iv each time.
        assert_ne!(*lock(&key, &words("correct horse"), &OsEntropy).unwrap(), *pem);
    }

    #[test]
    fn a_file_does_not_say_how_much_memory_is_taken() {
        let scrypt = |log_n, r, p| {
            let cost = scrypt::Params::new(log_n, r, p).unwrap();
            bearable(&Parameters::generate_scrypt_aes256cbc(cost, &[7; 16], [7; 16]).unwrap().into())
        };
        let (log_n, r, p) = COST;
        // What is written here, what openssl writes, and 256 MiB.
        for (log_n, r, p) in [(log_n, r, p), (14, 8, 1), (18, 8, 1), (18, 8, 64), (14, 128, 1)] {
            assert_eq!(scrypt(log_n, r, p), Ok(()), "{log_n} {r} {p}");
        }
        for (log_n, r, p) in [(19, 8, 1), (20, 8, 1), (18, 9, 1), (14, 8, 65), (1, 129, 1), (1, 32_768, 64)] {
            assert_eq!(scrypt(log_n, r, p), Err(NotUnlocked::Form(DEAR)), "{log_n} {r} {p}");
        }
        let pbkdf2 =
            |rounds| bearable(&Parameters::generate_pbkdf2_sha256_aes256cbc(rounds, &[7; 16], [7; 16]).unwrap().into());
        assert_eq!((pbkdf2(ROUNDS), pbkdf2(ROUNDS + 1)), (Ok(()), Err(NotUnlocked::Form(DEAR))));
        // And the passphrase is not tried.
        let cost = scrypt::Params::new(24, 8, 1).unwrap();
        let way = Parameters::generate_scrypt_aes256cbc(cost, &[7; 16], [7; 16]).unwrap();
        let encrypted_data = OctetStringRef::new(&[7; 48]).unwrap();
        let sealed = EncryptedPrivateKeyInfoRef { encryption_algorithm: way.into(), encrypted_data };
        let pem = SecretDocument::encode_msg(&sealed).unwrap().to_pem(LABEL, LineEnding::LF).unwrap();
        assert_eq!(unlock(&pem, &words("x")).unwrap_err(), NotUnlocked::Form(DEAR));
    }

    #[test]
    fn what_is_no_locked_key_is_named() {
        for (text, wanted) in [
            ("", "PEM"),
            (
                "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END PRIVATE KEY-----\n",
                "another kind",
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "PKCS #8",
            ),
        ] {
            let told = unlock(text, &words("x")).unwrap_err().to_string();
            assert!(told.contains(wanted), "{told}");
        }
    }
}
