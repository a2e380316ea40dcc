//! Opens a key directory: the identity key certified the response key that signed it, it is whole and agrees with
//! itself, and it is still good.

use serde_json::Value;

use crate::audit::certificate::{BadCert, life, open_cert, open_signer};
use crate::crypto::envelope::{Embedded, PayloadType};
use crate::crypto::json::{Admission, NotAdmitted, admit_as, canonical};
use crate::crypto::signature::{Form, PublicKey};
use crate::id::{Aud, Kid};
use crate::statement::VERSION;
use crate::statement::cert::{Cert, KeyRole};
use crate::statement::directory::{Directory, ListedKey, MAX_BYTES, TYP};
use crate::time::{Seconds, Timestamp};

/// How far the maker's clock may be ahead of the reader's.
const AHEAD: Seconds = Seconds(300);

const ADMISSION: Admission = Admission { max_bytes: MAX_BYTES, max_depth: 12 };

/// Why a directory is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDirectory {
    /// Not the form of one.
    #[error("not a key directory: {0}")]
    Malformed(String),
    /// Of another vault.
    #[error("the key directory is of {found}, not of {wanted}")]
    OtherVault {
        /// Whose it is.
        found: Aud,
        /// Whose is asked for.
        wanted: Aud,
    },
    /// A certificate in it is not good.
    #[error("a certificate in the key directory is not good: {0}")]
    Cert(#[from] BadCert),
    /// No response key that is certified in it, and was good when it was made, signed it.
    #[error("no certified response key of the vault signed the key directory")]
    Signature,
    /// Its time is over.
    #[error("the key directory was good until {exp}, and it is {now}; fetch a new one")]
    Expired {
        /// Before when it was good.
        exp: Timestamp,
        /// The reader's time.
        now: Timestamp,
    },
    /// Made in the future.
    #[error("the key directory says that it was made at {iat}, and it is {now} here; one of the two clocks is wrong")]
    Future {
        /// When it says that it was made.
        iat: Timestamp,
        /// The reader's time.
        now: Timestamp,
    },
}

impl From<NotAdmitted> for BadDirectory {
    fn from(why: NotAdmitted) -> BadDirectory {
        BadDirectory::Malformed(why.to_string())
    }
}

/// The text of a signed directory: what is served and kept in files.
#[must_use]
pub fn write(signed: &Embedded) -> String {
    let mut text = String::from_utf8(canonical(signed)).expect("JSON is UTF-8");
    text.push('\n');
    text
}

/// Opens a directory that is to be relied on now.
///
/// # Errors
/// [`BadDirectory`].
pub fn open(text: &str, identity: &PublicKey, now: Timestamp) -> Result<Directory, BadDirectory> {
    let directory = open_at_any_time(text, identity)?;
    if directory.iat > now.plus(AHEAD) {
        return Err(BadDirectory::Future { iat: directory.iat, now });
    }
    if directory.exp <= now {
        return Err(BadDirectory::Expired { exp: directory.exp, now });
    }
    Ok(directory)
}

/// Opens a directory whose time may be over: what it says was so at its `iat`.
///
/// # Errors
/// [`BadDirectory`], but neither [`BadDirectory::Expired`] nor [`BadDirectory::Future`].
pub fn open_at_any_time(text: &str, identity: &PublicKey) -> Result<Directory, BadDirectory> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let signed: Embedded = admit_as(text.as_bytes(), &ADMISSION)?;
    let directory = read(&signed)?;
    let wanted = Aud::of_identity(&identity.kid());
    if directory.identity != *identity || directory.aud != wanted {
        return Err(BadDirectory::OtherVault { found: Aud::of_identity(&directory.identity.kid()), wanted });
    }
    let envelope = signed.open(PayloadType::Response);
    let mut verified = false;
    for embedded in &directory.certs {
        let cert = open_cert(embedded, identity)?;
        if cert.role == KeyRole::Response && life(&cert).holds(directory.iat) {
            let (_, key) = open_signer(embedded, KeyRole::Response, identity)?;
            verified |= key.verify(Form::Pae, &envelope.payload_type, &envelope.payload, &envelope.signature).is_ok();
        }
    }
    if verified { Ok(directory) } else { Err(BadDirectory::Signature) }
}

/// The certificates in a directory that was opened, of one role.
pub fn certs<'a>(
    directory: &'a Directory,
    role: KeyRole,
) -> impl Iterator<Item = (Cert, PublicKey, &'a Embedded)> + 'a {
    directory.certs.iter().filter_map(move |embedded| {
        let (cert, key) = open_signer(embedded, role, &directory.identity).ok()?;
        Some((cert, key, embedded))
    })
}

/// Its members, and whether they agree with each other. Members that are not known are ignored, unless `crit` names any.
fn read(signed: &Embedded) -> Result<Directory, BadDirectory> {
    let malformed = |why: &str| Err(BadDirectory::Malformed(why.to_owned()));
    if signed.payload.get("typ").and_then(Value::as_str) != Some(TYP) {
        return malformed("its typ is another");
    }
    if signed.payload.get("v").and_then(Value::as_u64) != Some(VERSION) {
        return malformed("its version is not known here; a newer program may read it");
    }
    let directory: Directory = serde_json::from_value(signed.payload.clone())
        .map_err(|_| BadDirectory::Malformed("a member is missing or of another kind".to_owned()))?;
    if let Some(crit) = signed.payload.get("crit") {
        let known = serde_json::to_value(&directory).unwrap_or_default();
        let understood = |name: &Value| name.as_str().is_some_and(|name| known.get(name).is_some());
        if !crit.as_array().is_some_and(|names| names.iter().all(understood)) {
            return malformed("crit names a member that is not understood here; a newer program may read it");
        }
    }
    let named = |key: &ListedKey, agent: bool| {
        let whole = key.agent.is_some() == (agent && directory.names)
            && key.operator.is_some() != (agent || !directory.names)
            && key.kver.is_some() == directory.names;
        whole && key.pk.kid() == key.kid
    };
    let fits = directory.agents.iter().all(|key| named(key, true))
        && directory.operators.iter().all(|key| named(key, false))
        && (directory.names || directory.operators.is_empty());
    if !fits {
        return malformed("a key does not fit its kid, or has a name where there are none, or none where there are");
    }
    let keys = directory.agents.iter().chain(&directory.operators);
    let mut kids: Vec<&Kid> = keys.map(|key| &key.kid).collect();
    kids.sort_by_key(|kid| kid.as_str());
    if kids.windows(2).any(|pair| pair[0] == pair[1]) {
        return malformed("a key stands in it twice");
    }
    if directory.exp <= directory.iat {
        return malformed("it ends before it begins");
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::certificate::{Life, cert_of, certify_key};
    use crate::crypto::envelope::Envelope;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;
    use crate::statement::directory::{GOOD_FOR, Of};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    struct Stage {
        identity: SigningKey,
        response: SigningKey,
        directory: Directory,
    }

    fn listed(key: &SigningKey) -> ListedKey {
        ListedKey {
            agent: None,
            ended: None,
            form: Form::Pae,
            grace: None,
            kid: key.kid(),
            kver: Some(1),
            operator: None,
            pk: key.public(),
            since: NOW,
        }
    }

    fn stage() -> Stage {
        let entropy = SeededEntropy::new(1);
        let [identity, response, kit, nova, ada] = [(); 5].map(|()| SigningKey::generate(&entropy));
        let aud = Aud::of_identity(&identity.kid());
        let life = Life { nbf: NOW, exp: NOW.plus(GOOD_FOR) };
        let cert = |role, key: &SigningKey| {
            let cert = cert_of(role, key.public().to_bytes(), key.kid(), &aud, "n1", 1, life);
            certify_key(&identity, &cert)
        };
        let of = Of {
            aud: aud.clone(),
            certs: vec![cert(KeyRole::Checkpoint, &kit), cert(KeyRole::Response, &response)],
            identity: identity.public(),
            name: "prod".parse().unwrap(),
        };
        let agents = vec![
            ListedKey { agent: Some("kit".parse().unwrap()), grace: Some(NOW.plus(Seconds(9))), ..listed(&kit) },
            ListedKey { agent: Some("nova".parse().unwrap()), ..listed(&nova) },
        ];
        let operators = vec![ListedKey { operator: Some("ada".parse().unwrap()), ..listed(&ada) }];
        Stage { directory: Directory::new(of, agents, operators, NOW), identity, response }
    }

    fn signed(directory: &Directory, by: &SigningKey) -> String {
        write(&Envelope::sign(PayloadType::Response, directory, by, Form::Pae).embed().unwrap())
    }

    impl Stage {
        fn open(&self, directory: &Directory) -> Result<Directory, BadDirectory> {
            open(&signed(directory, &self.response), &self.identity.public(), NOW)
        }
    }

    #[test]
    fn what_the_vault_signed_is_read_back_with_names_and_without() {
        let stage = stage();
        for directory in [stage.directory.clone(), stage.directory.nameless()] {
            assert_eq!(stage.open(&directory).unwrap(), directory);
        }
        let text = signed(&stage.directory.nameless(), &stage.response);
        for name in ["kit", "nova", "ada", "kver"] {
            assert!(!text.contains(&format!("\"{name}\"")), "{name}: {text}");
        }
        let name = "kit".parse().unwrap();
        let kit = stage.directory.of_agent(&name).next().unwrap();
        assert_eq!((kit.good(NOW), kit.good(NOW.plus(Seconds(9)))), (true, false));
        assert_eq!(certs(&stage.directory, KeyRole::Response).count(), 1);
    }

    #[test]
    fn it_is_good_for_its_time_and_its_vault() {
        let stage = stage();
        let text = signed(&stage.directory, &stage.response);
        let at = |now| open(&text, &stage.identity.public(), now);
        let exp = stage.directory.exp;
        assert!(at(NOW.minus(AHEAD)).is_ok() && at(Timestamp(exp.0 - 1)).is_ok());
        assert_eq!(at(exp), Err(BadDirectory::Expired { exp, now: exp }));
        assert!(matches!(at(NOW.minus(Seconds(301))), Err(BadDirectory::Future { .. })));
        assert!(open_at_any_time(&text, &stage.identity.public()).is_ok());
        let other = SigningKey::generate(&SeededEntropy::new(9)).public();
        assert!(matches!(open(&text, &other, NOW), Err(BadDirectory::OtherVault { .. })));
    }

    #[test]
    fn nobody_but_a_certified_response_key_signs_one() {
        let stage = stage();
        let identity = stage.identity.public();
        let open = |directory: &Directory, by: &SigningKey| open(&signed(directory, by), &identity, NOW);
        assert_eq!(open(&stage.directory, &stage.identity), Err(BadDirectory::Signature));
        let uncertified = Directory { certs: stage.directory.certs[..1].to_vec(), ..stage.directory.clone() };
        assert_eq!(open(&uncertified, &stage.response), Err(BadDirectory::Signature));
        let mut forged = stage.directory.clone();
        forged.certs[0].payload["epoch"] = 2.into();
        assert_eq!(open(&forged, &stage.response), Err(BadDirectory::Cert(BadCert::Signature)));
        // A response key that was not good yet when it was made.
        let early = Directory { iat: Timestamp(NOW.0 - 1), ..stage.directory.clone() };
        assert_eq!(open(&early, &stage.response), Err(BadDirectory::Signature));
        let text = signed(&stage.directory, &stage.response).replace("\"names\":true", "\"names\":false");
        assert!(matches!(super::open(&text, &identity, NOW), Err(BadDirectory::Malformed(_))));
        let text = signed(&stage.directory, &stage.response).replace("\"prod\"", "\"test\"");
        assert_eq!(super::open(&text, &identity, NOW), Err(BadDirectory::Signature));
    }

    #[test]
    fn one_that_contradicts_itself_is_refused() {
        let stage = stage();
        let changed = |change: fn(&mut Directory)| {
            let mut directory = stage.directory.clone();
            change(&mut directory);
            assert!(matches!(stage.open(&directory), Err(BadDirectory::Malformed(_))), "{directory:?}");
        };
        changed(|directory| directory.agents[0].kid = directory.agents[1].kid.clone());
        changed(|directory| directory.agents[1] = directory.agents[0].clone());
        changed(|directory| directory.agents[0].agent = None);
        changed(|directory| directory.agents[0].operator = Some("ada".parse().unwrap()));
        changed(|directory| directory.operators[0].operator = None);
        changed(|directory| directory.names = false);
        changed(|directory| directory.agents[0].kver = None);
        changed(|directory| directory.exp = directory.iat);
        changed(|directory| directory.v = 2);
        changed(|directory| directory.typ = "nockvault/described".into());
    }

    #[test]
    fn a_text_that_is_no_directory_is_refused() {
        let stage = stage();
        let text = signed(&stage.directory, &stage.response);
        for text in ["", "{}", "[]\n", &text.replace(':', ": "), &format!("{text}\n"), &text[..text.len() - 2]] {
            assert!(matches!(open_at_any_time(text, &stage.identity.public()), Err(BadDirectory::Malformed(_))));
        }
    }

    #[test]
    fn what_is_critical_is_understood_or_refused() {
        let stage = stage();
        let with = |crit: Value, member: Option<&str>| {
            let mut payload = serde_json::to_value(&stage.directory).unwrap();
            payload["crit"] = crit;
            member.into_iter().for_each(|member| payload[member] = 1.into());
            let signed = Envelope::sign(PayloadType::Response, &payload, &stage.response, Form::Pae).embed().unwrap();
            open(&write(&signed), &stage.identity.public(), NOW)
        };
        let known = serde_json::json!(["names", "exp"]);
        assert_eq!(with(known, Some("a_later_member")).unwrap(), stage.directory);
        for crit in
            [serde_json::json!(["a_later_member"]), serde_json::json!("names"), serde_json::json!([1]), Value::Null]
        {
            assert!(matches!(with(crit.clone(), Some("a_later_member")), Err(BadDirectory::Malformed(_))), "{crit}");
        }
    }

    #[test]
    fn one_of_another_vault_is_refused_by_its_key_and_by_its_id() {
        let stage = stage();
        let other = SigningKey::generate(&SeededEntropy::new(9)).public();
        let identity = Directory { identity: other.clone(), ..stage.directory.clone() };
        let aud = Directory { aud: Aud::of_identity(&other.kid()), ..stage.directory.clone() };
        for directory in [identity, aud] {
            assert!(matches!(stage.open(&directory), Err(BadDirectory::OtherVault { .. })));
        }
    }
}
