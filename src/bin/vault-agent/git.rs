//! `vault-agent git`: a credential helper of git's.

use std::process::ExitCode;

use clap::Args;
use nockvault::launcher::adapters::git::{Asked, CAPABILITIES, Form, INPUT_MAX};
use nockvault::launcher::adapters::hosts::Place;

use crate::source::{Terms, give, hosts, input, source};
use crate::who::Who;

/// Answer git as its credential helper
///
/// In ~/.gitconfig:
///
/// [credential "https://git.example.com"]
///     helper =
///     helper = !vault-agent git --host git.example.com=git-push
///
/// The empty line keeps other helpers from storing what is short-lived.
#[allow(rustdoc::bare_urls, reason = "a line to paste, shown in a terminal")]
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Git {
    /// A host and the role whose credential opens it: `[USER@]HOST[:PORT][/PATH]=ROLE`. Without one, the lines of
    /// ~/.config/nockvault/git.hosts. A path needs credential.useHttpPath in git's configuration.
    #[arg(long = "host", value_name = "HOST=ROLE")]
    hosts: Vec<Place>,
    /// The member of the secret that is the password, where it is not the usual one.
    #[arg(long, value_name = "NAME")]
    member: Option<String>,
    /// Send the secret as a bearer token, where git can do that (2.46 and newer).
    #[arg(long)]
    bearer: bool,
    #[command(flatten)]
    terms: Terms,
    /// What git asks for: get, store, erase or capability. It puts that behind the helper's own words.
    action: String,
}

impl Git {
    pub(crate) async fn run(&self, who: &Who) -> anyhow::Result<ExitCode> {
        match self.action.as_str() {
            "get" => self.get(who).await?,
            "erase" => self.erase(who).await?,
            "capability" => give(CAPABILITIES.as_bytes())?,
            // Nothing here lives long enough to be kept, and what a later git may ask is passed over, as it wants.
            _ => drop(input(INPUT_MAX)?),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn form(&self) -> Form {
        Form { member: self.member.clone(), bearer: self.bearer }
    }

    async fn get(&self, who: &Who) -> anyhow::Result<()> {
        let (asked, hosts) = (Asked::read(&input(INPUT_MAX)?)?, hosts(&self.hosts, "git.hosts")?);
        let Some(place) = asked.place(&hosts)? else { return Ok(()) };
        let want = self.terms.want(place.role().clone(), &format!("git, {place}"));
        let given = source(who)?.ask(&want).await;
        if let Err(why) = &given {
            // Git would go on and ask whoever sits there; an agent has nobody there.
            say!("no credential for {place}: {why}");
            give(b"quit=1\n")?;
            return Ok(());
        }
        Ok(give(asked.answer(&given?, place, &self.form())?.as_bytes())?)
    }

    async fn erase(&self, who: &Who) -> anyhow::Result<()> {
        let (asked, hosts) = (Asked::read(&input(INPUT_MAX)?)?, hosts(&self.hosts, "git.hosts")?);
        let Ok(Some(place)) = asked.place(&hosts) else { return Ok(()) };
        let want = self.terms.want(place.role().clone(), "");
        source(who)?.rejected(&want, |given| asked.names(given, place, &self.form())).await?;
        Ok(())
    }
}
