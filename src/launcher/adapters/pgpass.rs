//! A line of libpq's password file: `hostname:port:database:username:password`, in which `:` and `\` are written with a
//! `\` before them. What a secret does not say is `*`, which fits anything.

use zeroize::Zeroizing;

use crate::client::fault::Fault;
use crate::launcher::ask::Given;

/// The line, with its end.
///
/// # Errors
/// [`Fault::Local`] where the secret has no user name or password, or a line break in one of its texts.
pub fn line(given: &Given) -> Result<Zeroizing<String>, Fault> {
    let any = |names: &[&str]| given.field(names);
    let parts = [
        any(&["host", "hostname"])?,
        any(&["port"])?,
        any(&["database", "dbname"])?,
        Some(given.needed(&["username", "user"])?),
        Some(given.needed(&["password"])?),
    ];
    let size: usize = parts.iter().flatten().map(|part| 2 * part.len() + 1).sum();
    let mut line = Zeroizing::new(String::with_capacity(size + 8));
    for part in &parts {
        match part {
            Some(text) => text.chars().for_each(|c| {
                if c == ':' || c == '\\' {
                    line.push('\\');
                }
                line.push(c);
            }),
            None => line.push('*'),
        }
        line.push(':');
    }
    line.pop();
    line.push('\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::launcher::ask::tests::given;

    #[test]
    fn separators_are_escaped_and_the_rest_fits_anything() {
        let login = json!({
            "type": "postgres", "host": "::1", "port": 5432, "database": "orders", "username": "nv_1", "password": "a:b\\c",
        });
        assert_eq!(line(&given(&login)).unwrap().as_str(), "\\:\\:1:5432:orders:nv_1:a\\:b\\\\c\n");
        let stored = json!({"type": "kv", "encoding": "utf8", "value": "{\"user\":\"ada\",\"password\":\"*\"}"});
        assert_eq!(line(&given(&stored)).unwrap().as_str(), "*:*:*:ada:*\n");
    }

    #[test]
    fn a_password_that_would_add_a_line_is_not_written() {
        let hostile = json!({"type": "postgres", "username": "a", "password": "x\n*:*:*:postgres:known"});
        assert!(line(&given(&hostile)).is_err());
        assert!(line(&given(&json!({"type": "jwt", "token": "a"}))).is_err());
    }
}
