//! Claims that a role adds to its tokens. A text among them may hold `{{agent}}`, `{{session}}`, `{{role}}` and
//! `{{lease}}`, which become names that the vault has checked. They are replaced within a JSON text that was read before,
//! so that no name can end it. **The session's name is the agent's own choice**, as long as it has the form of one: a
//! verifier that decides by a claim decides by `{{agent}}` or `{{role}}`, and by `{{session}}` only where the grant
//! restricts the names of sessions. Names hold `-` and `.`, so that `{{agent}}-{{session}}` has more than one reading;
//! no name of an agent or session holds `/` or `:`.
//!
//! What the vault says itself is not for a role to say: a claim of [`RESERVED`] is refused when the role is made, and so
//! are an unknown word between braces and claims beyond the bounds.

use serde_json::{Map, Value};

use crate::authz::Permit;

/// The claims that the vault sets.
pub(super) const RESERVED: [&str; 11] = ["iss", "sub", "aud", "iat", "nbf", "exp", "jti", "sid", "req", "cnf", "scope"];

/// The most bytes of a role's claims, as compact JSON.
const BYTES: usize = 4096;
/// The deepest nesting of claims, the object of all of them being the first.
const DEPTH: usize = 4;
/// The most words to replace, so that a token stays small enough for a header.
const WORDS: usize = 32;

/// What stands between braces.
#[derive(Clone, Copy)]
enum Word {
    Agent,
    Session,
    Role,
    Lease,
}

impl Word {
    fn of(text: &str) -> Option<Word> {
        match text {
            "agent" => Some(Word::Agent),
            "session" => Some(Word::Session),
            "role" => Some(Word::Role),
            "lease" => Some(Word::Lease),
            _ => None,
        }
    }

    fn of_permit(self, permit: &Permit) -> &str {
        match self {
            Word::Agent => permit.agent().as_str(),
            Word::Session => permit.sid().as_str(),
            Word::Role => permit.role().name.as_str(),
            Word::Lease => permit.lease().as_str(),
        }
    }
}

/// Cuts a text at its words. Each piece is the text before a word, and the word, which the last has not.
fn pieces(mut text: &str) -> Result<Vec<(&str, Option<Word>)>, String> {
    let mut pieces = Vec::new();
    while let Some((before, rest)) = text.split_once("{{") {
        let (word, after) =
            rest.split_once("}}").ok_or_else(|| format!("{text:?} opens braces and does not close them"))?;
        let known = Word::of(word).ok_or_else(|| {
            format!(
                "{{{{{word}}}}} is not known; there are {{{{agent}}}}, {{{{session}}}}, {{{{role}}}}, {{{{lease}}}}"
            )
        })?;
        pieces.push((before, Some(known)));
        text = after;
    }
    pieces.push((text, None));
    Ok(pieces)
}

/// Checks the claims of a role.
///
/// # Errors
/// What does not fit, for the operator.
pub(super) fn check(claims: &Map<String, Value>) -> Result<(), String> {
    if let Some(name) = RESERVED.iter().find(|name| claims.contains_key(**name)) {
        return Err(format!("the claim {name} is the vault's own; a role cannot set it"));
    }
    let mut words = 0;
    within(claims, DEPTH, &mut words)?;
    if words > WORDS {
        return Err(format!("claims hold {words} words between braces; {WORDS} are the most"));
    }
    let bytes = serde_json::to_vec(claims).map_or(usize::MAX, |json| json.len());
    if bytes > BYTES { Err(format!("claims have {bytes} bytes; {BYTES} are the most")) } else { Ok(()) }
}

fn within(claims: &Map<String, Value>, depth: usize, words: &mut usize) -> Result<(), String> {
    for (name, value) in claims {
        if name.is_empty() || name.chars().any(char::is_control) || name.contains("{{") {
            return Err(format!("{name:?} is no name of a claim"));
        }
        one(value, depth, words)?;
    }
    Ok(())
}

fn one(value: &Value, depth: usize, words: &mut usize) -> Result<(), String> {
    match value {
        Value::String(text) => {
            *words += pieces(text)?.len() - 1;
            Ok(())
        }
        Value::Number(number) if number.as_i64().is_none_or(|whole| whole.unsigned_abs() >= 1 << 53) => {
            Err(format!("{number} is not a whole number below 2^53"))
        }
        Value::Object(_) | Value::Array(_) if depth == 1 => Err(format!("claims are nested deeper than {DEPTH}")),
        Value::Object(members) => within(members, depth - 1, words),
        Value::Array(items) => items.iter().try_for_each(|item| one(item, depth - 1, words)),
        _ => Ok(()),
    }
}

/// The claims of a role in one token.
///
/// # Errors
/// As [`check`], which a role that was made has passed.
pub(super) fn filled(claims: &Map<String, Value>, permit: &Permit) -> Result<Map<String, Value>, String> {
    claims.iter().map(|(name, value)| Ok((name.clone(), fill(value, permit)?))).collect()
}

fn fill(value: &Value, permit: &Permit) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => {
            let filled = |(before, word): (&str, Option<Word>)| {
                [before, word.map_or("", |word| word.of_permit(permit))].concat()
            };
            Value::String(pieces(text)?.into_iter().map(filled).collect())
        }
        Value::Object(members) => Value::Object(filled(members, permit)?),
        Value::Array(items) => Value::Array(items.iter().map(|item| fill(item, permit)).collect::<Result<_, _>>()?),
        other => other.clone(),
    })
}
