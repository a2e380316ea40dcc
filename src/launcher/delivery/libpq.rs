//! A PostgreSQL login as libpq takes it: variables and a password file (PostgreSQL's documentation, "The Password File"),
//! or a section of a service file ("The Connection Service File").

use std::path::Path;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::launcher::wallet::Held;

/// A login out of a `postgres` credential.
#[derive(Debug)]
pub struct Login<'a> {
    held: &'a Held,
    port: String,
}

#[derive(Deserialize)]
struct Port {
    port: u16,
}

impl<'a> Login<'a> {
    /// The login that is held.
    ///
    /// # Errors
    /// [`Fault::Local`] where it is a credential of another kind.
    pub fn of(held: &'a Held) -> Result<Login<'a>, Fault> {
        let role = &held.hdr.role;
        let kind = held.secret.kind().unwrap_or("unknown");
        if kind != "postgres" {
            return Err(Fault::Local(format!("{role} gives a credential of kind {kind}, not a login of PostgreSQL")));
        }
        let port: Port = serde_json::from_slice(held.secret.expose_json())
            .map_err(|_| Fault::Local(format!("the login of {role} has no port")))?;
        Ok(Login { held, port: port.port.to_string() })
    }

    fn member(&self, name: &str) -> &str {
        self.held.secret.expose(name).unwrap_or_default()
    }

    /// The authorities that the server's certificate is checked with, as PEM.
    #[must_use]
    pub fn ca(&self) -> Option<&str> {
        self.held.secret.expose("ca")
    }

    /// Where to connect, and as whom: no password.
    #[must_use]
    pub fn variables(&self) -> [(&'static str, &str); 5] {
        [
            ("PGHOST", self.member("host")),
            ("PGPORT", &self.port),
            ("PGDATABASE", self.member("database")),
            ("PGUSER", self.member("username")),
            ("PGSSLMODE", self.member("sslmode")),
        ]
    }

    /// The line of a password file: `hostname:port:database:username:password`, `:` and `\` with a `\` before them.
    ///
    /// # Errors
    /// [`Fault::Local`] where a part has a line break, which such a file cannot hold.
    pub fn pgpass(&self) -> Result<Zeroizing<String>, Fault> {
        let fields = [
            self.member("host"),
            &self.port,
            self.member("database"),
            self.member("username"),
            self.member("password"),
        ];
        let mut line = Zeroizing::new(String::with_capacity(512));
        for (i, field) in fields.iter().enumerate() {
            if field.contains(['\n', '\r', '\0']) {
                return Err(self.misfit());
            }
            if i > 0 {
                line.push(':');
            }
            for c in field.chars() {
                if matches!(c, ':' | '\\') {
                    line.push('\\');
                }
                line.push(c);
            }
        }
        line.push('\n');
        Ok(line)
    }

    /// A section of a service file, named as the role.
    ///
    /// # Errors
    /// [`Fault::Local`] where a part has a line break or blanks at its ends, which such a file cannot hold.
    pub(super) fn service(&self, role: &RoleName, ca: Option<&Path>) -> Result<Zeroizing<String>, Fault> {
        let ca = ca.map(|ca| ca.display().to_string());
        let mut section = Zeroizing::new(format!("[{role}]\n"));
        let settings = [
            ("host", self.member("host")),
            ("port", &self.port),
            ("dbname", self.member("database")),
            ("user", self.member("username")),
            ("password", self.member("password")),
            ("sslmode", self.member("sslmode")),
            ("sslrootcert", ca.as_deref().unwrap_or_default()),
        ];
        for (name, value) in settings.iter().filter(|(_, value)| !value.is_empty()) {
            if value.contains(['\n', '\r', '\0']) || value.trim() != *value {
                return Err(self.misfit());
            }
            section.push_str(name);
            section.push('=');
            section.push_str(value);
            section.push('\n');
        }
        Ok(section)
    }

    fn misfit(&self) -> Fault {
        Fault::Local(format!("the login of {} does not fit into a line of libpq's files", self.held.hdr.role))
    }
}
