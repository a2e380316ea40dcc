//! What a role of the `ssh` engine allows, and what a session may ask of it. A [`Config`] that was read is one that may
//! be minted from: in particular it names at least one principal, and so does all that is [`Wanted`] of it.

use std::collections::BTreeSet;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use ssh_key::public::Ed25519PublicKey;

use super::super::members;
use super::key::presented;
use crate::denial::{Denial, Reason};
use crate::id::SecretName;

/// The most principals of a role.
const PRINCIPALS_MAX: usize = 32;
/// The longest principal, in bytes.
const PRINCIPAL_MAX: usize = 128;
/// The longest forced command, in bytes.
const COMMAND_MAX: usize = 1024;
/// The most networks of a role.
const NETWORKS_MAX: usize = 64;

/// A role's configuration.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// The authority that signs: the name of a stored secret of the use `ca`.
    pub(super) ca: SecretName,
    /// Whom a certificate may let its holder log in as: accounts, or the names that the hosts' `AuthorizedPrincipalsFile`
    /// lists. At least one, each once. A name has 1 to 128 characters of A-Z a-z 0-9 . _ @ + : / - and begins with a
    /// letter, a digit or _.
    #[schemars(length(min = 1, max = 32), inner(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._@+:/-]{0,127}$")))]
    pub(super) principals: Vec<String>,
    /// What a certificate allows besides running a command. None where left out.
    #[serde(default)]
    pub(super) extensions: Vec<Extension>,
    /// What narrows a certificate. A host that does not know one of them refuses the certificate.
    #[serde(default)]
    pub(super) critical_options: CriticalOptions,
    /// Whose key a certificate is over. `either` where left out.
    #[serde(default)]
    key: Origin,
}

/// An extension that OpenSSH knows for user certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub(super) enum Extension {
    /// Graphical programs may be shown at the client's side.
    #[serde(rename = "permit-X11-forwarding")]
    X11Forwarding,
    /// The client's agent, with all its keys, may be used from the host.
    #[serde(rename = "permit-agent-forwarding")]
    AgentForwarding,
    /// Ports and sockets may be forwarded, so that the host becomes a way into its network.
    #[serde(rename = "permit-port-forwarding")]
    PortForwarding,
    /// A terminal is given.
    #[serde(rename = "permit-pty")]
    Pty,
    /// `~/.ssh/rc` is run.
    #[serde(rename = "permit-user-rc")]
    UserRc,
}

impl Extension {
    /// Its name in certificates.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Extension::X11Forwarding => "permit-X11-forwarding",
            Extension::AgentForwarding => "permit-agent-forwarding",
            Extension::PortForwarding => "permit-port-forwarding",
            Extension::Pty => "permit-pty",
            Extension::UserRc => "permit-user-rc",
        }
    }
}

/// The critical options of a role.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CriticalOptions {
    /// The command that is run in place of whatever the client asks for (`force-command`). It has 1 to 1024 bytes and no
    /// control characters. The host hands it to the account's shell; what the client asked for stands in
    /// `SSH_ORIGINAL_COMMAND`.
    #[schemars(length(min = 1, max = 1024))]
    force_command: Option<String>,
    /// The networks from which the certificate is taken, in CIDR form (`source-address`). At least one, where it is given.
    #[schemars(with = "Option<Vec<String>>", length(min = 1, max = 64))]
    source_address: Option<Vec<IpNet>>,
}

/// Whose key a certificate is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Origin {
    /// The session brings the public key, and the private one never leaves it.
    Brought,
    /// The key is made here and sealed to the session.
    Made,
    /// The session brings one or has one made.
    #[default]
    Either,
}

/// A request's parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Params {
    /// Some of the role's principals, each once; all of them where left out.
    #[schemars(length(min = 1, max = 32))]
    principals: Option<Vec<String>>,
    /// The key that the certificate is to be over: one line of an OpenSSH public key file, `ssh-ed25519` only. A comment
    /// is taken and dropped.
    #[schemars(length(max = 512), regex(pattern = r"^ssh-ed25519 [A-Za-z0-9+/]{68}( [ -~]*)?$"))]
    public_key: Option<String>,
}

/// What a request asks for, found to be allowed.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// The key that was brought; none asks for one to be made.
    pub(super) key: Option<Ed25519PublicKey>,
    /// Whom the certificate is for, in the role's order; never empty.
    pub(super) principals: Vec<&'a str>,
}

impl Config {
    /// Reads a role's configuration.
    ///
    /// # Errors
    /// [`Reason::BadRole`] with what does not fit.
    pub(super) fn read(config: &Map<String, Value>) -> Result<Config, Denial> {
        let config: Config = members(config, Reason::BadRole)?;
        match config.fits().and_then(|()| config.critical_options.fits()) {
            Ok(()) => Ok(config),
            Err(what) => Err(Denial::new(Reason::BadRole).detail(what)),
        }
    }

    fn fits(&self) -> Result<(), String> {
        if self.principals.is_empty() || self.principals.len() > PRINCIPALS_MAX {
            return Err(format!(
                "principals names 1 to {PRINCIPALS_MAX}; a certificate without any would let its holder in as anybody"
            ));
        }
        if let Some(name) = self.principals.iter().find(|name| !is_principal(name)) {
            return Err(format!(
                "{:?} is not a principal: 1 to {PRINCIPAL_MAX} of A-Z a-z 0-9 . _ @ + : / - beginning with a letter, a \
                 digit or _",
                name.chars().take(80).collect::<String>()
            ));
        }
        if !each_once(&self.principals) || !each_once(&self.extensions) {
            return Err("principals and extensions name each thing once".into());
        }
        Ok(())
    }

    /// What these parameters ask for.
    ///
    /// # Errors
    /// [`Reason::ParamsRefused`] where the role does not allow it.
    pub(super) fn wanted(&self, params: &Params) -> Result<Wanted<'_>, Denial> {
        let refused = |what: &str| Err(Denial::new(Reason::ParamsRefused).detail(what));
        let key = match (&params.public_key, self.key) {
            (Some(_), Origin::Made) => return refused("the role makes the key; leave public_key out"),
            (None, Origin::Brought) => return refused("the role wants the session's own key as public_key"),
            (line, _) => line.as_deref().map(presented).transpose()?,
        };
        let principals: Vec<&str> = match &params.principals {
            None => self.principals.iter().map(String::as_str).collect(),
            Some(asked) if asked.is_empty() => {
                return refused("principals is empty; name some of the role's, or leave it out for all of them");
            }
            Some(asked) if !each_once(asked) => return refused("principals names each once"),
            Some(asked) if !asked.iter().all(|name| self.principals.contains(name)) => {
                return refused(
                    "the role does not allow one of these principals; leave principals out for all it allows",
                );
            }
            Some(asked) => self.principals.iter().filter(|name| asked.contains(name)).map(String::as_str).collect(),
        };
        Ok(Wanted { key, principals })
    }
}

impl CriticalOptions {
    fn fits(&self) -> Result<(), String> {
        if self.force_command.as_deref().is_some_and(|command| !is_command(command)) {
            return Err(format!(
                "force_command has 1 to {COMMAND_MAX} bytes, is not blank and has no control characters"
            ));
        }
        let Some(networks) = &self.source_address else { return Ok(()) };
        if networks.is_empty() || networks.len() > NETWORKS_MAX {
            return Err(format!("source_address has 1 to {NETWORKS_MAX} networks; leave it out for any"));
        }
        // sshd takes such a network for an error, and then refuses the certificate.
        match networks.iter().find(|network| network.trunc() != **network) {
            Some(network) => {
                Err(format!("source_address: {network} has bits beyond its mask; write {}", network.trunc()))
            }
            None => Ok(()),
        }
    }

    /// Names and values, as certificates have them.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let command = self.force_command.clone().map(|command| ("force-command", command));
        let networks = self.source_address.as_ref().map(|networks| {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            ("source-address", networks.join(","))
        });
        command.into_iter().chain(networks).collect()
    }
}

impl Params {
    /// Reads a request's parameters.
    ///
    /// # Errors
    /// [`Reason::ParamsRefused`] with what does not fit.
    pub(super) fn read(params: &Map<String, Value>) -> Result<Params, Denial> {
        members(params, Reason::ParamsRefused)
    }
}

/// Leaves out what lists of principals give a meaning to: blanks, commas, quotes, `#`.
fn is_principal(name: &str) -> bool {
    let begins = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    name.len() <= PRINCIPAL_MAX
        && name.as_bytes().first().is_some_and(begins)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._@+:/-".contains(&byte))
}

fn is_command(command: &str) -> bool {
    command.len() <= COMMAND_MAX && !command.trim().is_empty() && !command.chars().any(char::is_control)
}

fn each_once<T: Ord>(list: &[T]) -> bool {
    list.iter().collect::<BTreeSet<_>>().len() == list.len()
}
