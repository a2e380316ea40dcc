//! `vault-agent docker`: a credential helper of docker's.

use std::process::ExitCode;

use clap::Args;
use nockvault::client::fault::Fault;
use nockvault::launcher::adapters::docker::{NO_SERVER, NOT_FOUND, answer, list, place};
use nockvault::launcher::adapters::hosts::Place;

use crate::source::{Terms, give, hosts, input, source};
use crate::who::Who;

/// The most bytes that docker may ask in.
const INPUT_MAX: usize = 64 * 1024;

/// Answer docker as its credential helper
///
/// Docker runs `docker-credential-nockvault`: make that a link to vault-agent on the PATH. In ~/.docker/config.json:
///
/// {"credHelpers": {"registry.example.com": "nockvault"}}
///
/// and in ~/.config/nockvault/docker.hosts: registry.example.com=registry-pull
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Docker {
    /// A registry and the role whose credential opens it: `[USER@]HOST[:PORT]=ROLE`. Without one, the lines of
    /// ~/.config/nockvault/docker.hosts.
    #[arg(
        long = "host",
        value_name = "HOST=ROLE",
        env = "NOCKVAULT_DOCKER_HOSTS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    hosts: Vec<Place>,
    #[command(flatten)]
    terms: Terms,
    /// What docker asks for: get, store, erase, list or version.
    action: String,
}

impl Docker {
    /// Docker reads why there is nothing on standard output, and so do these words go there.
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        if let Err(why) = self.act(who).await {
            give(format!("{why}\n").as_bytes())?;
            return Ok(ExitCode::from(1));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn act(&self, who: &Who) -> Result<(), Fault> {
        let hosts = hosts(&self.hosts, "docker.hosts")?;
        match self.action.as_str() {
            "get" => {
                let server = server()?;
                let place = place(&server, &hosts).ok_or_else(|| Fault::local(NOT_FOUND))?;
                let want = self.terms.want(place.role().clone(), &format!("docker, {place}"));
                give(&answer(&server, &source(who)?.ask(&want).await?, place)?)
            }
            "erase" => {
                let server = server()?;
                let Some(place) = place(&server, &hosts) else { return Ok(()) };
                source(who)?.rejected(&self.terms.want(place.role().clone(), ""), |_| true).await
            }
            "store" => {
                drop(input(INPUT_MAX)?);
                Err(Fault::local(
                    "nothing is stored: this helper gives what an operator granted, and docker needs no login",
                ))
            }
            "list" => give(format!("{}\n", list(&hosts)).as_bytes()),
            "version" => give(concat!("docker-credential-nockvault ", env!("CARGO_PKG_VERSION"), "\n").as_bytes()),
            other => Err(Fault::Local(format!("{other:?} is none of get, store, erase, list, version"))),
        }
    }
}

/// The address on standard input.
fn server() -> Result<String, Fault> {
    let input = input(INPUT_MAX)?;
    let server = std::str::from_utf8(&input).map_err(|_| Fault::local("the registry's address is no text"))?.trim();
    if server.is_empty() {
        return Err(Fault::local(NO_SERVER));
    }
    if server.chars().any(char::is_control) {
        return Err(Fault::local("the registry's address has a control character in it"));
    }
    Ok(server.to_owned())
}
