//! The tools' side of the socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::form::{Answer, Credential, Holdings, Listed, Question, Released, Shown, What};
use super::line::{Came, line};
use super::{ANSWER_MAX, SOCKET};
use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::launcher::ask::Given;
use crate::launcher::token::Token;
use crate::launcher::want::Want;

/// How long an answer may take: a little longer than the launcher takes to give up.
const WAIT: Duration = Duration::from_secs(100);

/// Who asks a launcher.
#[derive(Clone, Debug)]
pub struct Client {
    path: PathBuf,
    token: Option<Arc<Token>>,
}

impl Client {
    /// Asks the launcher at this path.
    #[must_use]
    pub fn new(path: PathBuf, token: Option<Arc<Token>>) -> Client {
        Client { path, token }
    }

    /// Asks the launcher that this program runs under, where it runs under one that has a socket.
    ///
    /// # Errors
    /// As [`Token::inherited`].
    pub fn inherited(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Client>, Fault> {
        let Some(path) = variable(SOCKET).filter(|path| !path.is_empty()) else { return Ok(None) };
        let token = Token::inherited(variable)?.map(Arc::new);
        Ok(Some(Client::new(path.into(), token)))
    }

    /// Asks for a credential; for a new one where `fresh`.
    ///
    /// # Errors
    /// [`Fault::Refused`] as the vault said it, else [`Fault::Local`].
    pub async fn get(&self, want: &Want, fresh: bool) -> Result<Given, Fault> {
        let line = self.ask(What::Get, Some(want), fresh).await?;
        read::<Credential<'_>>(&line)?.given().ok_or_else(unreadable)
    }

    /// Gives back what the launcher holds of this role, and says how many leases that were.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn release(&self, role: &RoleName) -> Result<usize, Fault> {
        let line = self.ask(What::Release, Some(&Want::role(role.clone())), false).await?;
        Ok(read::<Released>(&line)?.released)
    }

    /// What the launcher holds, and the roles that it asks for, where it was started for some only.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn list(&self) -> Result<Vec<Listed>, Fault> {
        Ok(self.held().await?.0)
    }

    /// The same, with the roles that it asks for: `None` where those are all that were granted.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub async fn held(&self) -> Result<(Vec<Listed>, Option<Vec<RoleName>>), Fault> {
        let line = self.ask(What::List, None, false).await?;
        let Holdings { leases, roles } = read(&line)?;
        Ok((leases, roles))
    }

    async fn ask(&self, what: What, want: Option<&Want>, fresh: bool) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let token = self.token.as_ref().map(|token| Shown((*token.text()).clone()));
        let question = Question::new(what, want, fresh, token).line();
        let answer = timeout(WAIT, self.exchange(&question)).await;
        answer.unwrap_or_else(|_| Err(Fault::local("the launcher did not answer in time")))
    }

    async fn exchange(&self, question: &[u8]) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let at = |why: std::io::Error| {
            Fault::Local(format!("the launcher's socket {} does not answer: {why}; has it ended?", self.path.display()))
        };
        let mut stream = UnixStream::connect(&self.path).await.map_err(at)?;
        // A launcher that has refused already does not read on; its words are what counts.
        let sent = stream.write_all(question).await;
        match (line(&mut stream, ANSWER_MAX).await, sent) {
            (Ok(Came::Line(line)), _) => Ok(line),
            (Ok(Came::Broken(false)) | Err(_), Err(why)) | (Err(why), Ok(())) => Err(at(why)),
            _ => Err(unreadable()),
        }
    }
}

fn unreadable() -> Fault {
    Fault::local("the launcher's answer cannot be read; is it of another version?")
}

fn read<'a, T: Deserialize<'a>>(line: &'a [u8]) -> Result<T, Fault> {
    // The parser's words are not handed on: they may quote what it read.
    let answer: Answer<T> = serde_json::from_slice(line).map_err(|_| unreadable())?;
    match answer {
        Answer { ok: Some(ok), .. } => Ok(ok),
        Answer { error: Some(error), .. } => Err(error.fault()),
        Answer { .. } => Err(unreadable()),
    }
}
