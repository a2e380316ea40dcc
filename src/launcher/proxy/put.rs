//! What is put into a header. A template is text in which `{}` stands for the secret, that is its usual member, and `{name}`
//! for the member of that name. What was put in is remembered, to be taken out of what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use zeroize::Zeroizing;

use super::rules::sensitive;
use crate::launcher::redact::SHORTEST;
use crate::launcher::wallet::Held;

/// The longest secret that is put into a header, in bytes.
const LONGEST: usize = 16 << 10;

/// A text with places for a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Member(Option<String>),
}

/// What stands in the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Put {
    /// This.
    Value(Template),
    /// These two as RFC 7617 writes them.
    Basic { username: Template, password: Template },
}

/// A header's value and the secrets in it.
pub(super) struct Filled {
    pub(super) value: HeaderValue,
    pub(super) secrets: Vec<Zeroizing<String>>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Braces that do not fit, or a control character.
    pub(super) fn read(text: &str) -> Result<Template, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        if text.chars().any(char::is_control) {
            return Err("a template holds no control characters".into());
        }
        while let Some((before, from)) = rest.split_once('{') {
            let (name, after) = from.split_once('}').ok_or("a { without its }; {} stands for the secret")?;
            if before.contains('}') || name.contains('{') {
                return Err("braces do not fit; {} stands for the secret, {name} for its member of that name".into());
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Member((!name.is_empty()).then(|| name.to_owned())));
            rest = after;
        }
        if rest.contains('}') {
            return Err("a } without its {; {} stands for the secret".into());
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Template(parts))
    }

    /// Reads a template that has a place for a secret.
    ///
    /// # Errors
    /// As [`Template::read`], and where there is no such place.
    pub(super) fn secret(text: &str) -> Result<Template, String> {
        let template = Template::read(text)?;
        if template.0.iter().any(|part| matches!(part, Part::Member(_))) {
            return Ok(template);
        }
        Err(format!("{text:?} holds no place for the secret; write {{}} where it belongs"))
    }

    /// Whether its own text holds a colon.
    pub(super) fn holds_colon(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Text(text) if text.contains(':')))
    }

    fn fill(&self, held: &Held) -> Result<(Zeroizing<String>, Vec<Zeroizing<String>>), String> {
        let (mut whole, mut secrets) = (Zeroizing::new(String::new()), Vec::new());
        for part in &self.0 {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Member(name) => {
                    let secret = held.member(name.as_deref()).ok_or_else(|| missing(name.as_deref(), held))?;
                    if secret.len() > LONGEST {
                        return Err(format!("its secret is longer than {LONGEST} bytes and goes into no header"));
                    }
                    // The line end of a file is what people put into vaults without knowing.
                    let secret = secret.trim_end_matches(['\r', '\n']);
                    whole.push_str(secret);
                    // What stands around it in spaces is lost on the way, and not looked for in what comes back.
                    secrets.push(Zeroizing::new(secret.trim().to_owned()));
                }
            }
        }
        Ok((whole, secrets))
    }
}

fn missing(name: Option<&str>, held: &Held) -> String {
    let there: Vec<_> = held.secret.members().collect();
    match name {
        Some(name) => format!("its secret has no text member {name:?}; it has: {}", there.join(", ")),
        None => {
            format!("its secret has none of value, token, url and password; name a member out of: {}", there.join(", "))
        }
    }
}

impl Put {
    /// The value with this credential's secret.
    ///
    /// # Errors
    /// What is wrong with the secret, without a word of it.
    pub(super) fn fill(&self, held: &Held) -> Result<Filled, String> {
        let (text, secrets) = match self {
            Put::Value(template) => template.fill(held)?,
            Put::Basic { username, password } => {
                let ((username, _), (password, secrets)) = (username.fill(held)?, password.fill(held)?);
                if username.contains(':') {
                    return Err("a username with a colon cannot be told from its password".into());
                }
                let both = Zeroizing::new(format!("{}:{}", *username, *password));
                (Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(both.as_bytes())))), secrets)
            }
        };
        if secrets.iter().any(|secret| secret.len() < SHORTEST) {
            return Err(format!(
                "its secret is shorter than {SHORTEST} bytes, and could not be told from other text in an answer"
            ));
        }
        let value = sensitive(&text).ok_or("its secret holds characters that no header may hold")?;
        Ok(Filled { value, secrets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_name_members() {
        let text = |text: &str| Part::Text(text.to_owned());
        let read = Template::read("Bearer {value} {}x").unwrap();
        let wanted = [text("Bearer "), Part::Member(Some("value".into())), text(" "), Part::Member(None), text("x")];
        assert_eq!(read.0, wanted);
        for bad in ["{", "}", "a}b{}", "{{}}", "{a", "a\nb", "{a{b}"] {
            assert!(Template::read(bad).is_err(), "{bad:?}");
        }
        assert!(Template::secret("Bearer x").is_err());
    }
}
