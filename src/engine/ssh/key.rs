//! Keys that certificates are over. [`presented`] takes exactly one plain Ed25519 public key out of a line that a
//! session sent, and nothing that stands around it; [`made`] draws one.

use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{PrivateKey, PublicKey};
use zeroize::Zeroizing;

use super::{internal, pem};
use crate::crypto::signature;
use crate::denial::{Denial, Reason};
use crate::entropy::Entropy;
use crate::secret::SecretBytes;

/// The longest line of a public key, its comment included, in bytes.
const LINE_MAX: usize = 512;
/// The word that an Ed25519 key's line begins with.
const KIND: &str = "ssh-ed25519";

/// The key of a line `ssh-ed25519 BASE64 [comment]`, which may be registered: canonical, and free of small order.
///
/// # Errors
/// [`Reason::ParamsRefused`] with what is wrong. The text of the line is not repeated.
pub(super) fn presented(line: &str) -> Result<Ed25519PublicKey, Denial> {
    parsed(line).map_err(|what| Denial::new(Reason::ParamsRefused).detail(format!("public_key: {what}")))
}

fn parsed(line: &str) -> Result<Ed25519PublicKey, String> {
    if line.bytes().any(|byte| byte == b'\n' || byte == b'\r') {
        return Err("it is one line, without its line end".into());
    }
    if !line.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("it has characters other than printable ASCII; leave the comment out".into());
    }
    let mut words = line.splitn(3, ' ');
    let (kind, base64) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if kind != KIND {
        return Err(other_kind(kind));
    }
    if line.len() > LINE_MAX {
        return Err(format!("the line is longer than {LINE_MAX} bytes; leave its comment out"));
    }
    let key = PublicKey::from_openssh(&format!("{kind} {base64}")).map_err(|_| NOT_A_KEY)?;
    // What a lax reader would skip or guess, the second writing does not have.
    if key.to_openssh().ok().as_deref() != Some(&line[..kind.len() + 1 + base64.len()]) {
        return Err(NOT_A_KEY.into());
    }
    let key = key.key_data().ed25519().ok_or(NOT_A_KEY)?;
    signature::PublicKey::from_bytes(&key.0).map_err(|fault| fault.to_string())?;
    Ok(*key)
}

const NOT_A_KEY: &str = "after ssh-ed25519 and one space stand the 68 characters of the key's base64";

fn other_kind(kind: &str) -> String {
    let what = if kind.contains("-cert-v0") {
        "it is a certificate; send the plain public key that it is over"
    } else if kind.starts_with("sk-") {
        "keys of security keys are not taken: a session has nobody to touch them"
    } else if kind.starts_with("ssh-") || kind.starts_with("ecdsa-") {
        "keys of this kind are not taken"
    } else {
        "it has to begin with ssh-ed25519; options before the key are not taken"
    };
    format!("{what}; make one with ssh-keygen -t ed25519")
}

/// A new key: its public half, and its private half in OpenSSH's format, named by `handle`.
pub(super) fn made(entropy: &dyn Entropy, handle: &str) -> Result<(Ed25519PublicKey, SecretBytes), Denial> {
    let key = drawn(entropy);
    let public = key.public;
    let private = PrivateKey::new(KeypairData::Ed25519(key), handle.to_owned()).map_err(internal)?;
    Ok((public, pem(&private)?))
}

/// A new pair of keys.
pub(super) fn drawn(entropy: &dyn Entropy) -> Ed25519Keypair {
    let mut seed = Zeroizing::new([0; 32]);
    entropy.fill(&mut *seed);
    Ed25519Keypair::from_seed(&seed)
}
