//! A role's configuration: where the server is, who the vault is there, and what the minted roles may do. Everything in
//! it is an operator's word; it is checked when the role is made, and quoted all the same.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::members;
use super::template;
use crate::denial::{Denial, Reason};
use crate::id::SecretName;

/// PostgreSQL's limit for a name, in bytes.
const NAME_MAX: usize = 63;

/// How the way to the server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tls {
    /// TLS; the server's certificate must be good for `host` under an authority in `ca`. The login is bound to it, as with
    /// `require`: the server never sees the admin's password, and one that asks for it is refused.
    VerifyFull,
    /// TLS with whatever certificate the server shows. The login is bound to that certificate (SCRAM with channel
    /// binding, RFC 5929), so that a stranger in the middle who does not know the admin's password is refused. The
    /// certificate must be signed with RSA or ECDSA: there is no binding to others.
    Require,
    /// No TLS. For a unix socket, or where something else protects the way: a stranger on it, and the server itself, could
    /// ask for the admin's password in clear text.
    Off,
}

/// Where minted roles live and what they may do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "PostgresConfig")]
pub(super) struct Config {
    /// The server: a host name, an address, or the directory of its unix socket, which begins with `/`.
    pub(super) host: String,
    /// Its port; for a unix socket the number in the socket's name. 5432 where it is left out.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1))]
    pub(super) port: u16,
    /// The database in which statements run and which minted roles are told to connect to.
    #[schemars(length(min = 1, max = 63))]
    pub(super) database: String,
    /// The vault's own role at the server: it may create roles (`CREATEROLE`), is a member of `pg_signal_backend`, and
    /// may grant each of `grants`. It need not be a superuser. From PostgreSQL 16 on only the maker of a role may
    /// remove it: keep this one while leases live.
    #[schemars(length(min = 1, max = 63))]
    pub(super) user: String,
    /// The name of the stored secret, of the use `backend`, that holds this role's password. Each server has a secret of
    /// its own: a new version becomes good at one server at a time.
    pub(super) password: SecretName,
    /// How the way there is protected. Left out, it is `verify-full`, and `off` for a unix socket.
    pub(super) tls: Option<Tls>,
    /// The certificates of the authorities that `verify-full` trusts, PEM. Agents are handed them with their login.
    pub(super) ca: Option<String>,
    /// Roles that each minted role becomes a member of, and whose rights it so inherits. None where it is left out.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub(super) grants: Vec<String>,
    /// How many connections a minted role may have at once. 4 where it is left out.
    #[serde(default = "default_connections")]
    #[schemars(range(min = 1, max = 10000))]
    pub(super) connections: u16,
    /// Who gets the objects that a minted role leaves behind. Left out, they are dropped with it. What an agent made runs
    /// with the rights of its owner: this is a role that may do little, that `user` is a member of, and never `user`.
    #[schemars(length(min = 1, max = 63))]
    pub(super) owner: Option<String>,
    /// Further databases of the server in which a revocation runs its statements. Those in which a minted role owns
    /// objects or holds rights of its own are found and need not be named. Where `user` cannot enter one of them, the
    /// role is not dropped; it is locked out all the same, and its revocation stays visible as stuck. None where it is
    /// left out.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub(super) databases: Vec<String>,
    /// The statements that make a role, in place of one `CREATE ROLE`. They must use `{{name}}` and `{{password}}`, and
    /// may use `{{name_literal}}`, `{{expiration}}` and `{{connections}}`. Memberships of `grants` and the mark by which
    /// the vault finds its roles are added in the same transaction.
    pub(super) creation: Option<Vec<String>>,
    /// The statements that prolong a role, in place of one `ALTER ROLE`. They must use `{{expiration}}`, and may use
    /// `{{name}}` and `{{name_literal}}`.
    pub(super) renewal: Option<Vec<String>>,
    /// The statements that clean up after a role that is locked out and has no session left, before it is dropped, in
    /// place of `REASSIGN OWNED` to `owner` and `DROP OWNED`. They run in `database`, each of `databases` and where else
    /// something of it is, and may run again. They may use `{{name}}`, `{{name_literal}}` and, where it is named,
    /// `{{owner}}`.
    pub(super) revocation: Option<Vec<String>>,
}

fn default_port() -> u16 {
    5432
}

fn default_connections() -> u16 {
    4
}

impl Config {
    /// Reads a configuration and checks all of it.
    pub(super) fn read(config: &Map<String, Value>) -> Result<Config, Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        config.check().map_err(|what| Denial::new(Reason::BadRole).detail(what))?;
        Ok(config)
    }

    /// Whether `host` is the directory of a unix socket.
    pub(super) fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// How the way is protected, after the defaults.
    pub(super) fn tls(&self) -> Tls {
        self.tls.unwrap_or(if self.is_socket() { Tls::Off } else { Tls::VerifyFull })
    }

    fn check(&self) -> Result<(), String> {
        if self.host.is_empty() || self.host.len() > 255 || self.host.chars().any(unfit_in_a_host) {
            return Err("host is a host name, an address, or a directory that begins with /".into());
        }
        if self.port == 0 {
            return Err("port is 1 to 65535".into());
        }
        if !(1..=10_000).contains(&self.connections) {
            return Err("connections is 1 to 10000".into());
        }
        self.check_names()?;
        self.check_tls()?;
        template::check_all(self)
    }

    fn check_names(&self) -> Result<(), String> {
        let lone = [("database", &self.database), ("user", &self.user)];
        let owner = self.owner.iter().map(|name| ("owner", name));
        let grants = self.grants.iter().map(|name| ("grants", name));
        let databases = self.databases.iter().map(|name| ("databases", name));
        for (member, name) in lone.into_iter().chain(owner).chain(grants).chain(databases) {
            if name.is_empty() || name.len() > NAME_MAX || name.contains('\0') {
                return Err(format!("{member}: a name has 1 to {NAME_MAX} bytes and no NUL"));
            }
        }
        if self.grants.len() > 32 || self.databases.len() > 32 {
            return Err("grants and databases name at most 32 each".into());
        }
        if self.grants.contains(&self.user) {
            return Err("grants names the vault's own role; a minted role would be as mighty as the vault".into());
        }
        if self.owner.as_ref() == Some(&self.user) {
            return Err("owner names the vault's own role; what an agent made would run with the vault's rights".into());
        }
        if self.databases.contains(&self.database) {
            return Err("databases names further databases; leave the one of database out".into());
        }
        Ok(())
    }

    fn check_tls(&self) -> Result<(), String> {
        match (self.tls(), &self.ca) {
            (Tls::VerifyFull | Tls::Require, _) if self.is_socket() => {
                Err("there is no TLS over a unix socket; leave tls out".into())
            }
            (Tls::VerifyFull, None) => {
                Err("tls verify-full needs ca: the PEM of the authority that signed the server's certificate".into())
            }
            (Tls::VerifyFull, Some(pem)) => roots(pem).map(|_| ()),
            (Tls::Require | Tls::Off, Some(_)) => {
                Err("ca is used with tls verify-full only; leave one of them out".into())
            }
            (Tls::Require | Tls::Off, None) => Ok(()),
        }
    }
}

fn unfit_in_a_host(character: char) -> bool {
    character.is_control() || character.is_whitespace() || character == ','
}

/// The authorities that a PEM text holds.
pub(super) fn roots(pem: &str) -> Result<rustls::RootCertStore, String> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|why| format!("ca is not PEM: {why}"))?;
        roots.add(certificate).map_err(|why| format!("ca holds a certificate that no authority has: {why}"))?;
    }
    if roots.is_empty() { Err("ca holds no certificate; it is PEM text".into()) } else { Ok(roots) }
}
