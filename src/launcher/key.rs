//! The agent's key is the launcher's alone. The process shows nothing of itself to others of its user, and the child's
//! environment is made without any agent's key: by the names under which they are kept, and by what the values are.

use std::ffi::{OsStr, OsString};

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::client::fault::Fault;
use crate::client::keyfile::parse_secret;
use crate::crypto::signature::PublicKey;

/// What the names of variables with agents' keys begin with. The register statements beside them go too: a child that is
/// to ask for itself gets a launcher's socket.
const BEGINNINGS: &[&str] = &["NOCKVAULT_AGENT_", "NOCKGUARD_AGENT_"];
/// What they end with.
const ENDINGS: &[&str] = &["_ED25519_KEY", "_REGISTER", "_KEY"];

/// Closes this process to debuggers, core dumps and readers of `/proc/self/mem` and `/proc/self/environ` that run as the
/// same user. To be called before a key is read.
///
/// # Errors
/// [`Fault::Local`] where the kernel refuses.
pub fn hide() -> Result<(), Fault> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|why| Fault::Local(format!("the kernel does not close this process to others: {why}")))
}

/// The variables that a child may have of these, and the names of those that it must not: they hold an agent's key by
/// their name, or, where `own` is known, the key that it is the public half of, under whatever name.
#[must_use]
pub fn without_keys(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    own: Option<&PublicKey>,
) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let mut dropped = Vec::new();
    let mut kept = Vec::new();
    for (name, value) in variables {
        if is_named_as_key(&name) || own.is_some_and(|own| is_key_of(&value, own)) {
            dropped.push(name.to_string_lossy().into_owned());
        } else {
            kept.push((name, value));
        }
    }
    (kept, dropped)
}

fn is_named_as_key(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
        && ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_key_of(value: &OsStr, own: &PublicKey) -> bool {
    value.to_str().and_then(|text| parse_secret(text).ok()).is_some_and(|key| key.public() == *own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::signature::SigningKey;
    use crate::secret::Secret;

    #[test]
    fn no_key_is_left_under_any_name() {
        let seed = Secret::from_slice(&[7; 32]).unwrap();
        let own = SigningKey::from_seed(&seed).public();
        let hex = "07".repeat(32);
        let variables = [
            ("PATH", "/bin"),
            ("NOCKVAULT_AGENT_KIT_ED25519_KEY", "x"),
            ("NOCKGUARD_AGENT_OTHER_ED25519_KEY", "y"),
            ("NOCKVAULT_AGENT_KIT_REGISTER", "{}"),
            ("NOCKVAULT_AGENT_KEY", "/home/kit/kit.ed25519"),
            ("SOME_NAME", hex.as_str()),
            ("A_DIGEST", &"08".repeat(32)),
            ("NOCKVAULT_CARD", "prod.card"),
        ];
        let variables = variables.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let (kept, dropped) = without_keys(variables.clone(), Some(&own));
        let kept: Vec<_> = kept.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(kept, ["PATH", "A_DIGEST", "NOCKVAULT_CARD"]);
        assert_eq!(dropped.len(), 5, "{dropped:?}");
        let (_, dropped) = without_keys(variables, None);
        assert_eq!(dropped.len(), 4, "by their names alone: {dropped:?}");
    }
}
