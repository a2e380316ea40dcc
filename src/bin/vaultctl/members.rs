//! What an engine is told of a role or an authority: members given one by one (`--set`) or in a file of TOML or JSON.
//! Statements hold whole numbers, texts, lists and tables and nothing else, so that everybody signs the same bytes; what
//! does not fit is said here, with its file and line, and not by the vault.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, anyhow, bail};
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value;

/// From this number on, programs disagree about whole numbers.
const EXACT: i64 = 1 << 53;

/// What a file and `--set` say together. What is set takes the place of what the file has.
pub(crate) fn gather(file: Option<&Path>, set: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut members = file.map(read).transpose()?.unwrap_or_default();
    let mut seen = BTreeSet::new();
    for one in set {
        let (path, text) = one.split_once('=').with_context(|| format!("{one:?} is not NAME=VALUE"))?;
        if !seen.insert(path) {
            bail!("{path} is set twice");
        }
        let value = value::value(text).map_err(|why| anyhow!("--set {path}: {why}"))?;
        put(&mut members, path, value)?;
    }
    fits(&members, "").map_err(|(member, wrong)| anyhow!("--set: {member}: {wrong}"))?;
    Ok(members)
}

/// The parameters of a request, as `--param` said them. Names are as vault-agent sends them: a dot leads nowhere.
pub(crate) fn params(said: Vec<(String, Value)>) -> anyhow::Result<Map<String, Value>> {
    let mut params = Map::new();
    for (name, value) in said {
        if params.insert(name.clone(), value).is_some() {
            bail!("--param: {name} is given twice");
        }
    }
    fits(&params, "").map_err(|(member, wrong)| anyhow!("--param: {member}: {wrong}"))?;
    Ok(params)
}

/// The text of a file as the value of what is set.
pub(crate) fn of_file(path: &str, file: &Path) -> anyhow::Result<Value> {
    value::of_file(file).map_err(|why| anyhow!("--set {path}: {why}"))
}

/// Puts a value at a path: a dot leads into a table.
pub(crate) fn put(members: &mut Map<String, Value>, path: &str, value: Value) -> anyhow::Result<()> {
    let Some((table, rest)) = path.split_once('.') else {
        members.insert(path.to_owned(), value);
        return Ok(());
    };
    match members.entry(table).or_insert_with(|| Map::new().into()) {
        Value::Object(inner) => put(inner, rest, value),
        _ => bail!("--set: {table} is no table, so that nothing in it can be set"),
    }
}

/// The members of a file; `-` is standard input. A file named `.json`, or whose text begins as a JSON object, is JSON;
/// any other is TOML.
pub(crate) fn read(file: &Path) -> anyhow::Result<Map<String, Value>> {
    let mut text = String::new();
    let shown = file.display().to_string();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
        return parse(&text, "standard input", false);
    }
    text = std::fs::read_to_string(file).with_context(|| shown.clone())?;
    parse(&text, &shown, file.extension().is_some_and(|extension| extension == "json"))
}

fn parse(text: &str, file: &str, json: bool) -> anyhow::Result<Map<String, Value>> {
    if !json && !text.trim_start().starts_with('{') {
        return parse_toml(text, file);
    }
    let members: Map<String, Value> =
        serde_json::from_str(text).map_err(|why| anyhow::anyhow!("{file}:{}: no JSON object: {why}", why.line()))?;
    fits(&members, "").map_err(|(member, wrong)| anyhow::anyhow!("{file}: {member}: {wrong}"))?;
    Ok(members)
}

const FRACTION: &str = "a number with a fraction cannot be signed; write a whole number, or a text in quotes";
const LARGE: &str = "a whole number beyond 2^53 cannot be signed; write it as a text in quotes";
const DATE: &str = "a date cannot be signed; write it as a text in quotes";
const NAME: &str = "a member's name has a-z, 0-9 and _, and begins with a letter";

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Whether all of it can stand in a statement; if not, which member cannot and why.
fn fits(members: &Map<String, Value>, before: &str) -> Result<(), (String, &'static str)> {
    for (name, value) in members {
        let path = format!("{before}{name}");
        if !is_name(name) {
            return Err((path, NAME));
        }
        value_fits(value, path)?;
    }
    Ok(())
}

fn value_fits(value: &Value, path: String) -> Result<(), (String, &'static str)> {
    match value {
        Value::Number(number) if number.is_f64() => Err((path, FRACTION)),
        Value::Number(number) if number.as_i64().is_none_or(|number| number.abs() >= EXACT) => Err((path, LARGE)),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| value_fits(item, format!("{path}.{index}")))
        }
        Value::Object(members) => fits(members, &format!("{path}.")),
        _ => Ok(()),
    }
}

/// What in a TOML text cannot stand in a statement.
#[derive(Debug)]
pub(crate) struct Misfit {
    /// Where it begins, in bytes.
    pub(crate) at: usize,
    /// Which member it is.
    pub(crate) path: String,
    /// Why it cannot.
    pub(crate) why: &'static str,
}

fn parse_toml(text: &str, file: &str) -> anyhow::Result<Map<String, Value>> {
    let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
    let root = DeTable::parse(text).map_err(|why| {
        let at = why.span().map_or(0, |span| span.start);
        anyhow::anyhow!("{file}:{}: neither TOML nor a JSON object: {}", line(at), why.message())
    })?;
    let wrong = |Misfit { at, path, why }| anyhow::anyhow!("{file}:{}: {path}: {why}", line(at));
    table(root.get_ref(), "").map_err(wrong)
}

/// The members of a table, `before` what leads to it.
pub(crate) fn table(table: &DeTable<'_>, before: &str) -> Result<Map<String, Value>, Misfit> {
    let mut members = Map::new();
    for (name, value) in table {
        let path = format!("{before}{}", name.get_ref());
        if !is_name(name.get_ref()) {
            return Err(Misfit { at: name.span().start, path, why: NAME });
        }
        members.insert(name.get_ref().to_string(), of_toml(value, &path)?);
    }
    Ok(members)
}

/// A value as it stands in a statement.
pub(crate) fn of_toml(value: &Spanned<DeValue<'_>>, path: &str) -> Result<Value, Misfit> {
    let no = |why| Err(Misfit { at: value.span().start, path: path.to_owned(), why });
    match value.get_ref() {
        DeValue::String(text) => Ok(Value::String(text.to_string())),
        DeValue::Boolean(truth) => Ok(Value::Bool(*truth)),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if number.abs() < EXACT => Ok(number.into()),
            _ => no(LARGE),
        },
        DeValue::Float(_) => no(FRACTION),
        DeValue::Datetime(_) => no(DATE),
        DeValue::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| of_toml(item, &format!("{path}.{index}")));
            items.collect::<Result<Vec<Value>, Misfit>>().map(Value::Array)
        }
        DeValue::Table(inner) => table(inner, &format!("{path}.")).map(Value::Object),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_json_where_they_read_as_such() {
        let set_of = |words: &[&str]| gather(None, &words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let words = ["secret=orders-db", "version=3", r#"audience=["api"]"#, "text=\"3\"", "with=a=b"];
        let wanted = json!({"secret": "orders-db", "version": 3, "audience": ["api"], "text": "3", "with": "a=b"});
        assert_eq!(Value::Object(set_of(&words).unwrap()), wanted);
        for wrong in [
            &["x"][..],
            &["x=1", "x=2"],
            &["x=1.5"],
            &["X=1"],
            &["x={\"a-b\":1}"],
            &["x=[9007199254740992]"],
            &["=1"],
            &["x.=1"],
            &["x=1", "x.y=1"],
            &["x=@/nowhere"],
        ] {
            assert!(set_of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_set_takes_the_place_of_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("role.toml"), "host = \"db\"\nport = 5432\n[subject]\nname = \"a\"\n").unwrap();
        std::fs::write(path("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        std::fs::write(path("key.pem"), "-----BEGIN EC PRIVATE KEY-----\n").unwrap();
        let at = |name: &str| format!("ca=@{}", path(name).display());
        let words = ["port=6432".to_owned(), "subject.unit=b".to_owned(), "new.table.x=1".to_owned(), at("ca.pem")];
        let wanted = json!({
            "ca": "-----BEGIN CERTIFICATE-----\n", "host": "db", "port": 6432,
            "subject": {"name": "a", "unit": "b"}, "new": {"table": {"x": 1}},
        });
        assert_eq!(Value::Object(gather(Some(&path("role.toml")), &words).unwrap()), wanted);
        let told = gather(None, &[at("key.pem")]).unwrap_err().to_string();
        assert!(told.contains("holds a private key"), "{told}");
    }

    #[test]
    fn parameters_are_named_once_and_as_they_are_sent() {
        let params_of = |words: &[&str]| params(words.iter().map(|word| value::param(word).unwrap()).collect());
        let wanted = json!({"audience": "api", "lines": 3});
        assert_eq!(Value::Object(params_of(&["audience=api", "lines=3"]).unwrap()), wanted);
        for wrong in [&["x=1", "x=2"][..], &["x.y=1"], &["x=1.5"]] {
            let told = params_of(wrong).unwrap_err().to_string();
            assert!(told.starts_with("--param: x"), "{told}");
        }
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml =
            "host = \"db\"\nport = 5_432\n[tls]\nverify = true\nnames = [\"a\", \"b\"]\n[[grants]]\nmask = 0xff\n";
        let json = json!({
            "host": "db", "port": 5432, "tls": {"verify": true, "names": ["a", "b"]}, "grants": [{"mask": 255}],
        });
        assert_eq!(Value::Object(parse(toml, "f", false).unwrap()), json);
        assert_eq!(Value::Object(parse(&format!(" \n{json}"), "f", false).unwrap()), json);
        assert_eq!(Value::Object(parse(&json.to_string(), "f.json", true).unwrap()), json);
        assert!(parse("", "f", false).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_signed_is_named_with_its_line() {
        for (text, wanted) in [
            ("a = 1\nb = 1.5\n", "f:2: b: a number with a fraction"),
            ("a = 1\n[b]\nc = 2026-01-01\n", "f:3: b.c: a date"),
            ("a = [1, 9007199254740992]\n", "f:1: a.1: a whole number beyond"),
            ("a = 99999999999999999999\n", "f:1: a: a whole number beyond"),
            ("\nMax = 1\n", "f:2: Max: a member's name"),
            ("a = 1\na = 2\n", "f:2: neither TOML nor a JSON object"),
            ("a\n", "f:1: neither TOML nor a JSON object"),
            ("{\"a\": 1,\n\"b\"}", "f:2: no JSON object"),
            ("{\"a\": {\"b\": [0.5]}}", "f: a.b.0: a number with a fraction"),
        ] {
            let told = parse(text, "f", false).unwrap_err().to_string();
            assert!(told.starts_with(wanted), "{text:?}: {told}");
        }
    }
}
