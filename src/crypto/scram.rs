//! What a server keeps of a password that it checks with SCRAM-SHA-256, as PostgreSQL writes it:
//! `SCRAM-SHA-256$<i>:<salt>$<StoredKey>:<ServerKey>` in base64, with `SaltedPassword = PBKDF2-HMAC-SHA256(password, salt,
//! i)`, `StoredKey = H(HMAC(SaltedPassword, "Client Key"))` and `ServerKey = HMAC(SaltedPassword, "Server Key")`. RFC 5802,
//! RFC 7677. Whoever sends this in place of a password shows nobody the password.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// How often the hash is repeated: PostgreSQL's own number. A password of 256 random bits needs no more.
pub const ITERATIONS: u32 = 4096;

/// The verifier of `password`, which is taken as it is: SASLprep leaves printable ASCII alone, and nothing else may be
/// given.
#[must_use]
pub fn sha256_verifier(password: &[u8], salt: &[u8; 16], iterations: u32) -> String {
    let salted = salted(password, salt, iterations);
    let client = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
    let server = Zeroizing::new(hmac(&*salted, &[b"Server Key"]));
    let stored = Sha256::digest(*client);
    let [salt, stored, server] = [&salt[..], &stored[..], &server[..]].map(|bytes| STANDARD.encode(bytes));
    format!("SCRAM-SHA-256${iterations}:{salt}${stored}:{server}")
}

/// The first block of PBKDF2, which is all that SCRAM takes.
fn salted(password: &[u8], salt: &[u8; 16], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut last = Zeroizing::new(hmac(password, &[salt, &1u32.to_be_bytes()]));
    let mut sum = last.clone();
    // The key is taken in once: that is half of the work.
    let keyed = Hmac::<Sha256>::new_from_slice(password).expect("HMAC takes a key of any length");
    for _ in 1..iterations {
        *last = keyed.clone().chain_update(*last).finalize().into_bytes().into();
        sum.iter_mut().zip(last.iter()).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677 section 3: the client's proof and the server's signature follow from the verifier.
    #[test]
    fn the_verifier_is_that_of_rfc_7677() {
        let salt: [u8; 16] = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap().try_into().unwrap();
        let verifier = sha256_verifier(b"pencil", &salt, 4096);
        let (stored, server) =
            verifier.strip_prefix("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$").unwrap().split_once(':').unwrap();
        let [stored, server] = [stored, server].map(|text| STANDARD.decode(text).unwrap());

        let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let message =
            format!("n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}");
        let signature = hmac(&server, &[message.as_bytes()]);
        assert_eq!(STANDARD.encode(signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_signature = hmac(&stored, &[message.as_bytes()]);
        let client_key: Vec<u8> = proof.iter().zip(client_signature).map(|(proof, mask)| proof ^ mask).collect();
        assert_eq!(Sha256::digest(client_key)[..], stored[..]);
    }
}
