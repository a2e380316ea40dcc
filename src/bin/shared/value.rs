//! A value as it is typed behind `NAME=`: `@FILE` is the text of a file and `@-` that of standard input; anything else is
//! JSON where it reads as such, and a text where it does not. Both programs read it here, so that what vaultctl explains
//! is what vault-agent asks for.

use std::io;
use std::path::Path;

use serde_json::Value;

/// By what a private key in PEM is known.
pub(crate) const PRIVATE: &str = "PRIVATE KEY";

/// A parameter as it was typed.
pub(crate) fn param(typed: &str) -> Result<(String, Value), String> {
    let (name, text) = typed.split_once('=').ok_or_else(|| format!("{typed:?} is not NAME=VALUE"))?;
    Ok((name.to_owned(), value(text)?))
}

/// The value that a text stands for.
pub(crate) fn value(text: &str) -> Result<Value, String> {
    match text.strip_prefix('@') {
        None => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))),
        Some("-") => public("standard input", io::read_to_string(io::stdin())),
        Some(file) => of_file(Path::new(file)),
    }
}

/// The text of a file as a value.
pub(crate) fn of_file(file: &Path) -> Result<Value, String> {
    public(&file.display().to_string(), std::fs::read_to_string(file))
}

fn public(shown: &str, read: io::Result<String>) -> Result<Value, String> {
    let text = read.map_err(|why| format!("{shown}: {why}"))?;
    if text.contains(PRIVATE) {
        return Err(format!("{shown} holds a private key, and this value stands in the audit trail. Nothing was sent"));
    }
    Ok(Value::String(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_is_a_files_text_or_json_or_a_text() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("x.csr"), "-----BEGIN CERTIFICATE REQUEST-----\n").unwrap();
        std::fs::write(at("x.key"), "-----BEGIN EC PRIVATE KEY-----\n").unwrap();
        let of = |name: &str| param(&format!("csr=@{}", at(name).display()));
        assert_eq!(of("x.csr").unwrap(), ("csr".to_owned(), json!("-----BEGIN CERTIFICATE REQUEST-----\n")));
        assert!(of("x.key").unwrap_err().contains("holds a private key"));
        assert!(of("nosuch").unwrap_err().contains("nosuch: "));
        assert_eq!(param("ttl=3").unwrap().1, json!(3));
        assert_eq!(param("with=a=b").unwrap(), ("with".to_owned(), json!("a=b")));
        assert_eq!(param("at=\"@home\"").unwrap().1, json!("@home"));
        assert!(param("csr").unwrap_err().contains("is not NAME=VALUE"));
    }
}
