//! Statements with blanks. An operator writes SQL with `{{words}}`; what is filled in is quoted already, as the
//! identifier, literal or number that it is, so that nobody can forget to. Quotes around a blank are therefore a
//! mistake, and refused when the role is made.
//!
//! | blank | filled with |
//! |---|---|
//! | `{{name}}` | the minted role's name, as an identifier: `"nv_kit_.."` |
//! | `{{name_literal}}` | the same as a text: `'nv_kit_..'` |
//! | `{{password}}` | the SCRAM-SHA-256 verifier of its password, as a text: `'SCRAM-SHA-256$..'` |
//! | `{{expiration}}` | when it ends, as a text with the time zone: `'2026-06-03T18:30:00.123Z'` |
//! | `{{connections}}` | how many connections it may have, as a number |
//! | `{{owner}}` | who gets what it leaves behind, as an identifier; where `owner` is named |
//!
//! Each text is one statement; the server refuses two in one. They run in one transaction, with a `search_path` of
//! `pg_catalog`, so that other objects are named with their schema.

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::config::Config;
use crate::time::Timestamp;

const CREATION: &[&str] = &["CREATE ROLE {{name}} LOGIN INHERIT CONNECTION LIMIT {{connections}} \
                             PASSWORD {{password}} VALID UNTIL {{expiration}}"];
const RENEWAL: &[&str] = &["ALTER ROLE {{name}} VALID UNTIL {{expiration}}"];
const REVOCATION: &[&str] = &["DROP OWNED BY {{name}}"];
const REVOCATION_TO_OWNER: &[&str] = &["REASSIGN OWNED BY {{name}} TO {{owner}}", "DROP OWNED BY {{name}}"];

const STATEMENTS_MAX: usize = 32;
const STATEMENT_BYTES: usize = 8192;

/// Words that would end the transaction in which the statements run.
const TRANSACTION_WORDS: &[&str] =
    &["abort", "begin", "commit", "end", "prepare", "release", "rollback", "savepoint", "start"];

/// What is filled in.
type Blanks<'a> = [(&'a str, String)];

/// The statements that make `handle`.
pub(super) fn creation(
    config: &Config,
    handle: &str,
    verifier: &str,
    expires: Timestamp,
) -> Result<Vec<String>, String> {
    let blanks = [
        ("name", escape_identifier(handle)),
        ("name_literal", escape_literal(handle)),
        ("password", escape_literal(verifier)),
        ("expiration", escape_literal(&expires.to_string())),
        ("connections", config.connections.to_string()),
    ];
    fill_all(config.creation.as_deref(), CREATION, &blanks)
}

/// The statements that let `handle` live until `expires`.
pub(super) fn renewal(config: &Config, handle: &str, expires: Timestamp) -> Result<Vec<String>, String> {
    let blanks = [
        ("name", escape_identifier(handle)),
        ("name_literal", escape_literal(handle)),
        ("expiration", escape_literal(&expires.to_string())),
    ];
    fill_all(config.renewal.as_deref(), RENEWAL, &blanks)
}

/// The statements that clean up after `handle`.
pub(super) fn revocation(config: &Config, handle: &str) -> Result<Vec<String>, String> {
    let mut blanks = vec![("name", escape_identifier(handle)), ("name_literal", escape_literal(handle))];
    blanks.extend(config.owner.iter().map(|owner| ("owner", escape_identifier(owner))));
    let usual = if config.owner.is_some() { REVOCATION_TO_OWNER } else { REVOCATION };
    fill_all(config.revocation.as_deref(), usual, &blanks)
}

/// Checks the statements that an operator gave.
pub(super) fn check_all(config: &Config) -> Result<(), String> {
    let given = [
        ("creation", &config.creation, &["{{name}}", "{{password}}"][..]),
        ("renewal", &config.renewal, &["{{expiration}}"]),
        ("revocation", &config.revocation, &[]),
    ];
    for (member, statements, needed) in given {
        let Some(statements) = statements else { continue };
        if statements.is_empty() || statements.len() > STATEMENTS_MAX {
            return Err(format!("{member} has 1 to {STATEMENTS_MAX} statements; leave it out for the usual ones"));
        }
        for statement in statements {
            shape(statement).map_err(|what| format!("{member}: {what}"))?;
        }
        if let Some(missing) = needed.iter().find(|blank| !statements.iter().any(|text| text.contains(**blank))) {
            return Err(format!("{member} nowhere uses {missing}"));
        }
    }
    let sample = ("nv_a_0", Timestamp::ZERO);
    creation(config, sample.0, "", sample.1).map_err(|what| format!("creation: {what}"))?;
    renewal(config, sample.0, sample.1).map_err(|what| format!("renewal: {what}"))?;
    revocation(config, sample.0).map_err(|what| format!("revocation: {what}")).map(|_| ())
}

fn shape(statement: &str) -> Result<(), String> {
    if statement.trim().is_empty() || statement.len() > STATEMENT_BYTES || statement.contains('\0') {
        return Err(format!("a statement has 1 to {STATEMENT_BYTES} bytes and no NUL"));
    }
    let first: String = without_comments(statement).chars().take_while(char::is_ascii_alphabetic).collect();
    if TRANSACTION_WORDS.contains(&first.to_ascii_lowercase().as_str()) {
        return Err(format!("{first} would end the transaction in which the vault runs these statements"));
    }
    Ok(())
}

/// The statement from its first word on.
fn without_comments(statement: &str) -> &str {
    let mut rest = statement.trim_start_matches(|character: char| character.is_whitespace() || character == ';');
    loop {
        let after = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, after)| after)
        } else if rest.starts_with("/*") {
            after_comment(rest)
        } else {
            return rest;
        };
        rest = after.trim_start_matches(|character: char| character.is_whitespace() || character == ';');
    }
}

/// What follows a comment of the form `/* .. */`, which may hold others.
fn after_comment(text: &str) -> &str {
    let (mut depth, mut rest) = (0_u32, text);
    while let Some(at) = rest.find(['/', '*']) {
        let mark = rest.get(at..at + 2).unwrap_or_default();
        depth = match mark {
            "/*" => depth + 1,
            "*/" => depth - 1,
            _ => depth,
        };
        rest = &rest[at + if matches!(mark, "/*" | "*/") { 2 } else { 1 }..];
        if depth == 0 {
            return rest;
        }
    }
    ""
}

fn fill_all(given: Option<&[String]>, usual: &[&str], blanks: &Blanks<'_>) -> Result<Vec<String>, String> {
    match given {
        Some(given) => given.iter().map(|statement| fill(statement, blanks)).collect(),
        None => usual.iter().map(|statement| fill(statement, blanks)).collect(),
    }
}

/// Fills each blank once, from left to right: what was filled in is not read again.
fn fill(statement: &str, blanks: &Blanks<'_>) -> Result<String, String> {
    let mut filled = String::with_capacity(statement.len() + 256);
    let mut rest = statement;
    while let Some(start) = rest.find("{{") {
        let end = rest[start..].find("}}").ok_or("a {{ is never closed by }}")? + start;
        let (before, word, after) = (&rest[..start], &rest[start + 2..end], &rest[end + 2..]);
        if before.ends_with(is_quote) || after.starts_with(is_quote) {
            return Err(format!("{{{{{word}}}}} comes with its quotes; leave those around it away"));
        }
        let Some((_, value)) = blanks.iter().find(|(blank, _)| *blank == word) else {
            let known: Vec<_> = blanks.iter().map(|(blank, _)| format!("{{{{{blank}}}}}")).collect();
            return Err(format!("there is no {{{{{word}}}}} here; there are: {}", known.join(", ")));
        };
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_quote(character: char) -> bool {
    matches!(character, '\'' | '"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blanks() -> Vec<(&'static str, String)> {
        vec![("name", escape_identifier("nv_{{password}}\"x")), ("password", escape_literal("a'b\\"))]
    }

    #[test]
    fn blanks_are_quoted_and_filled_once() {
        let filled = fill("CREATE ROLE {{name}} PASSWORD {{password}};", &blanks()).unwrap();
        assert_eq!(filled, r#"CREATE ROLE "nv_{{password}}""x" PASSWORD  E'a''b\\';"#);
        assert_eq!(fill("SELECT 1", &blanks()).unwrap(), "SELECT 1");
    }

    #[test]
    fn what_is_not_there_or_quoted_twice_is_refused() {
        for (statement, what) in [
            ("DROP ROLE {{nome}}", "there is no {{nome}} here; there are: {{name}}, {{password}}"),
            ("DROP ROLE {{ name }}", "there is no {{ name }} here; there are: {{name}}, {{password}}"),
            ("DROP ROLE \"{{name}}\"", "{{name}} comes with its quotes; leave those around it away"),
            ("SELECT '{{name}}'", "{{name}} comes with its quotes; leave those around it away"),
            ("DROP ROLE {{name", "a {{ is never closed by }}"),
        ] {
            assert_eq!(fill(statement, &blanks()).unwrap_err(), what);
        }
    }
}
