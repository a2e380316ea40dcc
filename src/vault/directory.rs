//! The key directory: with names for operators who ask, without them, or with them where the configuration says so, for
//! anybody over HTTP. What anybody may have is made at most once in [`KEPT_FOR`], however many ask for it.

use std::sync::Arc;

use super::Vault;
use super::answer::Outcome;
use super::publish::Kept;
use crate::audit::directory::write;
use crate::crypto::envelope::Envelope;
use crate::denial::{Denial, Reason};
use crate::registry::HeldKey;
use crate::statement::command::Page;
use crate::statement::directory::{Directory, DirectoryRead, ListedKey, MAX_BYTES, Of};
use crate::statement::register::Holder;
use crate::store::Failure;
use crate::time::{Seconds, Timestamp};

/// For how long a directory that was made is given to strangers: a key that came or went since is not in it yet.
pub const KEPT_FOR: Seconds = Seconds(60);

/// What was made last, with names and without.
#[derive(Debug, Default)]
pub(super) struct Directories {
    named: Kept<String>,
    nameless: Kept<String>,
}

impl Vault {
    /// `ReadDirectory`: the text of the directory beside the signed answer, whose result holds its digest.
    pub async fn read_directory(self: &Arc<Vault>, envelope: Envelope) -> (Outcome, Vec<u8>) {
        let admitted = match self.command::<DirectoryRead>(envelope).await {
            Ok(admitted) => admitted,
            Err(refused) => return (refused, Vec::new()),
        };
        match self.make_directory(true, self.clock.now()).await {
            Ok(text) => {
                let told = super::listing::text(&text);
                let outcome = self.tell(&admitted.authenticated, Ok(told)).await;
                let text = if matches!(outcome, Outcome::Released(_)) { text.into_bytes() } else { Vec::new() };
                (outcome, text)
            }
            Err(denial) => (self.tell(&admitted.authenticated, Err(denial)).await, Vec::new()),
        }
    }

    /// The directory for anybody.
    ///
    /// # Errors
    /// Where the store cannot be read now, or there are more keys than a directory holds.
    pub async fn public_directory(self: &Arc<Vault>, names: bool) -> Result<Arc<String>, Denial> {
        let kept = if names { &self.directories.named } else { &self.directories.nameless };
        let make = move |vault: Arc<Vault>, now| async move { vault.make_directory(names, now).await };
        kept.fresh(self, KEPT_FOR, make).await
    }

    async fn make_directory(self: &Arc<Vault>, names: bool, now: Timestamp) -> Result<String, Denial> {
        let (mut agents, mut page) = (Vec::new(), Page::first());
        loop {
            let listed = self.store.agents(&page).await.map_err(Failure::denial)?;
            agents.extend(listed.items.iter().flat_map(|agent| agent.keys.iter().map(listed_key)));
            let Some(next) = listed.next else { break };
            page.after = next;
        }
        let operators = self.store.operators().await.map_err(Failure::denial)?;
        let operators = operators.iter().flat_map(|operator| operator.keys.iter().map(listed_key)).collect();
        let vault = Arc::clone(self);
        // A long directory takes its time to be written and signed, and holds up nobody.
        let signed = tokio::task::spawn_blocking(move || {
            let of = Of {
                aud: vault.aud.clone(),
                certs: [vault.certs.clone(), vault.tokens.certs()].concat(),
                identity: vault.identity.public(),
                name: vault.name.clone(),
            };
            let whole = Directory::new(of, agents, operators, now);
            let envelope = vault.pen.list(&if names { whole } else { whole.nameless() });
            envelope.embed().map(|signed| write(&signed))
        });
        let text = signed.await.ok().flatten().ok_or(Reason::Internal)?;
        if text.len() <= MAX_BYTES {
            return Ok(text);
        }
        let why = format!("a directory of {} bytes is larger than the {MAX_BYTES} that readers take", text.len());
        Err(Denial::new(Reason::Internal).internal(why))
    }
}

/// A key as it is listed, with its holder's name.
fn listed_key(key: &HeldKey) -> ListedKey {
    let (agent, operator) = match &key.holder {
        Holder::Agent(name) => (Some(name.clone()), None),
        Holder::Operator(name) => (None, Some(name.clone())),
    };
    ListedKey {
        agent,
        ended: key.ended,
        form: key.form,
        grace: key.grace,
        kid: key.kid.clone(),
        kver: Some(key.kver),
        operator,
        pk: key.public.clone(),
        since: key.since,
    }
}
