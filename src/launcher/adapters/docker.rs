//! Docker's credential helper, as `docker-credential-helpers` defines it: the action is the argument, a registry's
//! address comes in, JSON goes out, and so do the words of a refusal, since docker reads them there. Docker gives a helper
//! no arguments of the user's, so that registries are written down in `docker.hosts` or `NOCKVAULT_DOCKER_HOSTS`.

use std::collections::BTreeMap;

use serde::Serialize;
use zeroize::Zeroizing;

use super::git::login;
use super::hosts::{Hosts, Place, is_loopback};
use super::json;
use crate::client::fault::Fault;
use crate::launcher::ask::Given;

/// What docker takes for "log in as nobody".
pub const NOT_FOUND: &str = "credentials not found in native keychain";
/// What docker takes for an empty question.
pub const NO_SERVER: &str = "no credentials server URL";

/// The user name with a token where none is written down.
const USER: &str = "nockvault";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer<'a> {
    #[serde(rename = "ServerURL")]
    server_url: &'a str,
    username: &'a str,
    secret: &'a str,
}

/// The place that a registry's address names, where it is written down: `registry.example`, `registry.example:5000`, or
/// `https://index.docker.io/v1/`.
#[must_use]
pub fn place<'a>(server: &str, hosts: &'a Hosts) -> Option<&'a Place> {
    let (clear, address) = match server.split_once("://") {
        Some(("https", address)) => (false, address),
        Some(("http", address)) => (true, address),
        Some(_) => return None,
        None => (false, server),
    };
    let (host, path) = address.split_once('/').unwrap_or((address, ""));
    if clear && !is_loopback(host) {
        return None;
    }
    hosts.find(host, path)
}

/// What docker is told.
///
/// # Errors
/// [`Fault::Local`] where the secret has nothing that can be a password.
pub fn answer(server: &str, given: &Given, place: &Place) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let (user, secret) = login(given, place, None, USER)?;
    Ok(json(&Answer { server_url: server, username: &user.text, secret: &secret }))
}

/// The registries that are written down, with the user names that are.
#[must_use]
pub fn list(hosts: &Hosts) -> String {
    let known: BTreeMap<String, &str> =
        hosts.iter().map(|place| (format!("https://{place}"), place.user().unwrap_or(USER))).collect();
    serde_json::to_string(&known).expect("its members are texts")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::launcher::ask::tests::given;

    #[test]
    fn registries_are_found_by_the_addresses_that_docker_uses() {
        let hosts = Hosts::read("index.docker.io=hub\nbot@registry.example:5000=ours\n127.0.0.1:5001=local").unwrap();
        let role = |server: &str| place(server, &hosts).map(|place| place.role().to_string());
        assert_eq!(role("https://index.docker.io/v1/").as_deref(), Some("hub"));
        assert_eq!(role("registry.example:5000").as_deref(), Some("ours"));
        assert_eq!(role("http://127.0.0.1:5001").as_deref(), Some("local"));
        for server in ["http://registry.example:5000", "ftp://registry.example:5000", "registry.example", ""] {
            assert_eq!(role(server), None, "{server}");
        }
        assert_eq!(
            list(&hosts),
            r#"{"https://127.0.0.1:5001":"nockvault","https://index.docker.io":"nockvault","https://registry.example:5000":"bot"}"#
        );
    }

    #[test]
    fn an_answer_is_what_docker_reads() {
        let hosts = Hosts::read("r.example=a").unwrap();
        let place = place("r.example", &hosts).unwrap();
        let told = |secret: &Value| -> Value {
            serde_json::from_slice(&answer("r.example", &given(secret), place).unwrap()).unwrap()
        };
        let token = told(&json!({"type": "kv", "encoding": "utf8", "value": "hunter\"2"}));
        assert_eq!(token, json!({"ServerURL": "r.example", "Username": "nockvault", "Secret": "hunter\"2"}));
        let login =
            told(&json!({"type": "kv", "encoding": "utf8", "value": "{\"username\":\"<token>\",\"token\":\"t\"}"}));
        assert_eq!(login, json!({"ServerURL": "r.example", "Username": "<token>", "Secret": "t"}));
    }
}
