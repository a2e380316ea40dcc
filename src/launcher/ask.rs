//! Where a tool beside the child gets its credential: from the launcher's socket where `NOCKVAULT_AGENT_SOCKET` names
//! one, else with the agent's own key. What comes by the socket is held by the launcher, which renews it and gives it
//! back. What comes by the key is a lease of a session that nobody keeps: it lives until its end, since the tool that
//! asked is gone by then.

use std::fmt;

use serde_json::Value;
use zeroize::Zeroizing;

use super::socket;
use super::wallet::{Held, Wallet};
use super::want::Want;
use crate::base64url;
use crate::client::fault::Fault;
use crate::client::material::Material;
use crate::id::{LeaseId, RoleName};
use crate::secret::SecretBytes;
use crate::time::Timestamp;

/// The members that stand for a whole secret, in the order in which they are looked for.
const USUAL: [&str; 4] = ["value", "token", "url", "password"];

/// Who is asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// The launcher that this program runs under.
    Socket(socket::Client),
    /// The vault, with the agent's own key.
    Own(Wallet),
}

/// A credential that was given.
#[derive(Debug)]
pub struct Given {
    /// Of which role.
    pub role: RoleName,
    /// Its engine's name for what it is.
    pub kind: String,
    /// The lease it is held under.
    pub lease: LeaseId,
    /// When it ends.
    pub exp: Timestamp,
    /// Whether the lease can be prolonged.
    pub renewable: bool,
    /// The secret.
    pub secret: Material,
}

impl Source {
    /// Asks for a credential: one that is held already, where there is one with enough of its life left.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn ask(&self, want: &Want) -> Result<Given, Fault> {
        match self {
            Source::Socket(client) => client.get(want, false).await,
            Source::Own(wallet) => Given::of(&*wallet.hold(want).await?),
        }
    }

    /// Asks for a new one in any case.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn fresh(&self, want: &Want) -> Result<Given, Fault> {
        match self {
            Source::Socket(client) => client.get(want, true).await,
            Source::Own(wallet) => Given::of(&*wallet.fresh(want).await?),
        }
    }

    /// Gives back what the launcher holds of this role, and says how many leases that were.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn release(&self, role: &RoleName) -> Result<usize, Fault> {
        match self {
            Source::Socket(client) => client.release(role).await,
            Source::Own(wallet) => wallet.release(role).await,
        }
    }

    /// A tool was told that this credential is refused where it was used. Where it is the one that the launcher holds, it
    /// is given back, so that the next to ask gets another.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub async fn rejected(&self, want: &Want, is_it: impl Fn(&Given) -> bool) -> Result<(), Fault> {
        let Source::Socket(client) = self else { return Ok(()) };
        if client.list().await?.iter().any(|held| held.role == want.role) && is_it(&client.get(want, false).await?) {
            client.release(&want.role).await?;
        }
        Ok(())
    }
}

impl Given {
    /// A copy of what is held.
    pub(super) fn of(held: &Held) -> Result<Given, Fault> {
        let copy = SecretBytes::new(held.secret.expose_json().to_vec());
        let secret = Material::read(copy).ok_or_else(|| Fault::local("a held secret is an object"))?;
        let kind = secret.kind().unwrap_or("?").to_owned();
        let hdr = &held.hdr;
        let (role, lease, renewable) = (hdr.role.clone(), hdr.lease.clone(), hdr.renewable);
        Ok(Given { role, kind, lease, exp: held.exp(), renewable, secret })
    }

    /// The bytes of one member, or of the one that stands for the whole. A stored value that is no text is decoded; where
    /// it is a JSON object, its members count too.
    ///
    /// # Errors
    /// [`Fault::Local`] where there is no such text, with the names of those that there are.
    pub fn bytes(&self, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let names = match &member {
            Some(member) => std::slice::from_ref(member),
            None => &USUAL,
        };
        let Some((name, text)) = names.iter().find_map(|name| Some((*name, self.secret.expose(name)?))) else {
            let within = member.zip(self.stored()?).and_then(|(name, stored)| exposed(&stored, name));
            let within = within.ok_or_else(|| self.lacks(member.unwrap_or("value")))?;
            return Ok(Zeroizing::new(within.as_bytes().to_vec()));
        };
        if name == "value" && self.secret.expose("encoding") == Some("base64url") {
            let bytes = base64url::decode(text).ok_or_else(|| Fault::local("the value is not in its encoding"))?;
            return Ok(Zeroizing::new(bytes));
        }
        Ok(Zeroizing::new(text.as_bytes().to_vec()))
    }

    /// The stored value, where it is a JSON object.
    fn stored(&self) -> Result<Option<Material>, Fault> {
        match self.secret.expose("value") {
            Some(_) => Ok(Material::read(SecretBytes::new(self.bytes(Some("value"))?.to_vec()))),
            None => Ok(None),
        }
    }

    /// The same, where it is a text that fits on one line: no control character is in it. What a tool reads by lines
    /// could otherwise be told by a secret's author what to do.
    ///
    /// # Errors
    /// [`Fault::Local`] where there is none, or it is no such text.
    pub fn line(&self, member: Option<&str>) -> Result<Zeroizing<String>, Fault> {
        let bytes = self.bytes(member)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| self.no_line(member.unwrap_or("value")))?;
        one_line(text).map_err(|_| self.no_line(member.unwrap_or("value")))
    }

    /// What a tool wants to know by name: a member of the secret, or of the JSON object that a stored value is.
    ///
    /// # Errors
    /// [`Fault::Local`] where there is one with a control character in it.
    pub fn field(&self, names: &[&str]) -> Result<Option<Zeroizing<String>>, Fault> {
        let stored = self.stored()?;
        for name in names {
            for within in std::iter::once(&self.secret).chain(&stored) {
                if let Some(text) = exposed(within, name) {
                    return one_line(&text).map(Some).map_err(|_| self.no_line(name));
                }
            }
        }
        Ok(None)
    }

    /// The same, where it has to be there.
    ///
    /// # Errors
    /// [`Fault::Local`] where it is not.
    pub fn needed(&self, names: &[&str]) -> Result<Zeroizing<String>, Fault> {
        self.field(names)?.ok_or_else(|| self.lacks(&names.join(" or ")))
    }

    fn lacks(&self, what: &str) -> Fault {
        let members: Vec<_> = self.secret.members().filter(|name| *name != "type").collect();
        Fault::Local(format!(
            "the secret of {} ({}) has no text {what}; it has {}",
            self.role,
            self.kind,
            members.join(", ")
        ))
    }

    fn no_line(&self, what: &str) -> Fault {
        Fault::Local(format!(
            "{what} of {} has a line break or another control character in it, and is not handed on",
            self.role
        ))
    }
}

/// A member as a text, also where it is a whole number.
fn exposed(within: &Material, name: &str) -> Option<Zeroizing<String>> {
    if let Some(text) = within.expose(name) {
        return Some(Zeroizing::new(text.to_owned()));
    }
    // Only a secret that has such a member is read once more, for numbers are not secret and stand nowhere else.
    within.members().find(|member| *member == name)?;
    let number = number(within.expose_json(), name)?;
    Some(Zeroizing::new(number.to_string()))
}

fn number(json: &[u8], name: &str) -> Option<u64> {
    struct Find<'a>(&'a str);

    impl<'de> serde::de::Visitor<'de> for Find<'_> {
        type Value = Option<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut members: A) -> Result<Option<u64>, A::Error> {
            let mut found = None;
            while let Some(key) = members.next_key::<String>()? {
                if key == self.0 {
                    found = members.next_value::<Value>()?.as_u64();
                } else {
                    members.next_value::<serde::de::IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_slice(json);
    serde::Deserializer::deserialize_map(&mut reader, Find(name)).ok()?
}

/// The text, where no control character is in it.
pub(super) fn one_line(text: &str) -> Result<Zeroizing<String>, ()> {
    if text.chars().any(char::is_control) { Err(()) } else { Ok(Zeroizing::new(text.to_owned())) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::client::Surroundings;
    use crate::client::signer::Identity;
    use crate::crypto::hash::Digest;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;
    use crate::id::Aud;
    use crate::launcher::wallet::{Owner, Silent};
    use crate::launcher::want::Roles;
    use crate::statement::card::{Card, Genesis};

    /// A wallet whose vault is nowhere.
    pub(in crate::launcher) fn nowhere(roles: Roles) -> Wallet {
        let key = SigningKey::generate(&SeededEntropy::new(1));
        let card = Card {
            name: "prod".parse().unwrap(),
            aud: Aud::of_identity(&key.kid()),
            identity: key.public(),
            agents: "http://127.0.0.1:1".into(),
            operators: "http://127.0.0.1:1".into(),
            ca: None,
            genesis: Genesis { vault: Digest::of(b"v"), operators: Digest::of(b"o") },
        };
        Wallet::new(Owner {
            card,
            identity: Identity::held("kit".parse().unwrap(), key, 1),
            around: Surroundings::default(),
            label: "test".into(),
            roles,
            reporter: std::sync::Arc::new(Silent),
            orphans: None,
        })
    }

    /// What a launcher would give.
    pub(in crate::launcher) fn given(secret: &Value) -> Given {
        let text = SecretBytes::new(serde_json::to_vec(secret).unwrap());
        let secret = Material::read(text).unwrap();
        Given {
            role: "orders".parse().unwrap(),
            kind: secret.kind().unwrap_or("?").to_owned(),
            lease: LeaseId::new(1_780_000_000_000, [7; 10]),
            exp: Timestamp(1_780_000_000_999),
            renewable: false,
            secret,
        }
    }

    #[test]
    fn the_usual_member_is_found_and_a_stored_value_decoded() {
        let token = given(&serde_json::json!({"type": "jwt", "token": "a.b.c"}));
        assert_eq!(&**token.bytes(None).unwrap(), b"a.b.c");
        let raw = given(&serde_json::json!({"type": "kv", "encoding": "base64url", "value": "AAH_"}));
        assert_eq!(&**raw.bytes(None).unwrap(), [0, 1, 255]);
        assert!(raw.line(None).is_err());
        let lacks = token.bytes(Some("none")).unwrap_err().to_string();
        assert!(lacks.contains("no text none; it has token"), "{lacks}");
    }

    #[test]
    fn what_is_not_one_line_is_not_handed_on() {
        for value in ["a\nb", "a\rb", "a\0b", "a\u{85}b", "a\n"] {
            let given = given(&serde_json::json!({"type": "kv", "encoding": "utf8", "value": value}));
            let why = given.line(None).unwrap_err().to_string();
            assert!(why.contains("control character") && !why.contains(value), "{why}");
        }
    }

    #[test]
    fn fields_are_members_or_members_of_a_stored_object() {
        let stored = given(&serde_json::json!({
            "type": "kv", "encoding": "utf8", "value": r#"{"user":"ada","port":5432,"name":"inner"}"#, "name": "outer",
        }));
        let field = |name| stored.field(&[name]).unwrap().map(|text| text.to_string());
        assert_eq!(field("user").as_deref(), Some("ada"));
        assert_eq!(field("port").as_deref(), Some("5432"));
        assert_eq!(field("none"), None);
        assert_eq!(stored.line(Some("user")).unwrap().as_str(), "ada");
        assert_eq!(stored.line(Some("name")).unwrap().as_str(), "outer");
        assert!(stored.line(Some("none")).unwrap_err().to_string().contains("no text none"));
        let login = given(&serde_json::json!({"type": "postgres", "port": 5433, "username": "nv_1"}));
        assert_eq!(login.field(&["port"]).unwrap().unwrap().as_str(), "5433");
        assert!(login.needed(&["password"]).unwrap_err().to_string().contains("no text password"));
    }
}
