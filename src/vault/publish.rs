//! What those fetch who rely on a certificate authority: what is public of it, and the list of what it signed and was
//! revoked since. Anyone may ask, as often as he likes, so that asking costs little: a document is made at most once in
//! [`FRESH`], by one task, and given out from memory meanwhile; a failure to make it is kept as long. Of which
//! authorities there are documents, the roles say; another name opens nothing and is not remembered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex as Lock, PoisonError};

use tokio::sync::Mutex;

use super::Vault;
use crate::denial::{Denial, Reason};
use crate::engine::ca::{Document, LINGERS, Published};
use crate::id::{RoleName, SecretName};
use crate::statement::command::Page;
use crate::statement::secret::SecretUse;
use crate::store::Failure;
use crate::time::{Seconds, Timestamp};

/// For how long what was made is given out again. What was revoked in the last seconds may be missing from a list, and
/// what a new role refers to may not be found yet.
pub const FRESH: Seconds = Seconds(5);

/// An authority: the kind of its engine, and its name.
type Authority = (&'static str, SecretName);
/// The authorities that roles sign with, each with those roles.
#[derive(Debug, Default)]
struct Directory {
    known: BTreeMap<Authority, Vec<RoleName>>,
    /// The kinds of engines of which a role cannot be read: which authority it signed with is not known, so that every
    /// list of that kind could lack what it ought to say.
    blind: BTreeSet<&'static str>,
}

/// What was made last.
#[derive(Debug, Default)]
pub(super) struct Publications {
    directory: Kept<Directory>,
    documents: Lock<HashMap<(Authority, Document), Kept<Published>>>,
}

/// What is made anew when it is no longer fresh, by one task at a time. Clones share it.
#[derive(Debug)]
pub(super) struct Kept<T>(Arc<Mutex<Option<Made<T>>>>);

#[derive(Debug)]
struct Made<T> {
    at: Timestamp,
    what: Result<Arc<T>, Denial>,
}

impl<T> Default for Kept<T> {
    fn default() -> Kept<T> {
        Kept(Arc::default())
    }
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Kept<T> {
        Kept(Arc::clone(&self.0))
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// What is there and was made in the last `good_for`, or what `make` gives. It runs in a task of its own: whoever asks and goes away again does not
    /// break it off, so that the next one need not begin anew.
    pub(super) async fn fresh<F, M>(&self, vault: &Arc<Vault>, good_for: Seconds, make: F) -> Result<Arc<T>, Denial>
    where
        F: FnOnce(Arc<Vault>, Timestamp) -> M + Send + 'static,
        M: Future<Output = Result<T, Denial>> + Send,
    {
        let (kept, vault) = (Arc::clone(&self.0), Arc::clone(vault));
        let task = tokio::spawn(async move {
            let mut kept = kept.lock().await;
            let now = vault.clock.now();
            if let Some(made) = kept.as_ref().filter(|made| made.at <= now && now < made.at.plus(good_for)) {
                return made.what.clone();
            }
            let what = make(Arc::clone(&vault), now).await.map(Arc::new);
            if let Err(denial) = &what {
                tracing::warn!(reason = denial.reason.code(), why = %denial.internal, "a document cannot be published");
            }
            // One that took longer to make than it is fresh would be made anew for each who waited.
            *kept = Some(Made { at: vault.clock.now(), what: what.clone() });
            what
        });
        task.await.unwrap_or_else(|_| Err(Denial::new(Reason::Internal).internal("a task that makes a document died")))
    }

    /// Has it made anew for the next who asks.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

impl Vault {
    /// A document of an authority of the engine of this kind; none for an authority that no role signs with.
    ///
    /// # Errors
    /// Where the document cannot be made now.
    pub async fn published(
        self: &Arc<Vault>,
        kind: &str,
        name: &SecretName,
        document: Document,
    ) -> Result<Option<Arc<Published>>, Denial> {
        let directory =
            self.publications.directory.fresh(self, FRESH, |vault, _| async move { vault.directory().await });
        let directory = directory.await?;
        if document == Document::Revoked && directory.blind.contains(kind) {
            return Err(
                Denial::new(Reason::Internal).internal("a role cannot be read, and a list might lack what it gave")
            );
        }
        let listed = directory.known.iter().find(|((of, known), _)| *of == kind && known == name);
        let Some((authority, roles)) = listed else { return Ok(None) };
        let kept = {
            let mut documents = self.publications.documents.lock().unwrap_or_else(PoisonError::into_inner);
            documents.entry((authority.clone(), document)).or_default().clone()
        };
        let (authority, roles) = (authority.clone(), roles.clone());
        let make = move |vault: Arc<Vault>, now| async move { vault.made(authority, roles, document, now).await };
        match kept.fresh(self, FRESH, make).await {
            Ok(published) => Ok(Some(published)),
            // A role may come before its authority.
            Err(denial) if denial.reason == Reason::SecretMissing => Ok(None),
            Err(denial) => Err(denial),
        }
    }

    /// The authorities of this kind that roles sign with.
    ///
    /// # Errors
    /// Where they cannot be listed now.
    pub async fn signing(self: &Arc<Vault>, kind: &str) -> Result<Vec<SecretName>, Denial> {
        let directory =
            self.publications.directory.fresh(self, FRESH, |vault, _| async move { vault.directory().await });
        let directory = directory.await?;
        Ok(directory.known.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.clone()).collect())
    }

    /// Has the authorities that roles sign with looked up anew for the next who asks.
    pub(super) async fn forget_authorities(&self) {
        self.publications.directory.forget().await;
    }

    async fn directory(&self) -> Result<Directory, Denial> {
        let (mut found, mut page) = (Directory::default(), Page::first());
        loop {
            let listed = self.store.roles(&page).await.map_err(Failure::denial)?;
            for role in &listed.items {
                // A role of an engine that this program no longer has signs with nothing.
                let Ok(engine) = self.engines.of_kind(&role.engine) else { continue };
                match engine.authority().map(|of| of.of_role(&role.config)) {
                    Some(Ok(name)) => {
                        found.known.entry((engine.kind(), name)).or_default().push(role.name.clone());
                    }
                    Some(Err(why)) => {
                        let (role, why) = (&role.name, &why.internal);
                        tracing::error!(%role, why, "its configuration cannot be read, and no list of its engine is given out");
                        found.blind.insert(engine.kind());
                    }
                    None => {}
                }
            }
            let Some(next) = listed.next else { return Ok(found) };
            page.after = next;
        }
    }

    async fn made(
        self: Arc<Vault>,
        (kind, name): Authority,
        roles: Vec<RoleName>,
        document: Document,
        now: Timestamp,
    ) -> Result<Published, Denial> {
        let stored = self.store.secret_value(SecretUse::Ca, &name, None).await.map_err(Failure::denial)?;
        let missing = || Denial::new(Reason::SecretMissing).internal(format!("no authority {name}"));
        let stored = stored.ok_or_else(missing)?;
        let ended = match document {
            Document::Authority => Vec::new(),
            Document::Revoked => self.store.listed(&roles, now.minus(LINGERS)).await.map_err(Failure::denial)?,
        };
        // A long list takes its time to be signed, and holds up nobody.
        let signed = tokio::task::spawn_blocking(move || {
            let of = self.engines.of_kind(kind)?.authority().ok_or(Reason::Internal)?;
            of.publish(&stored.value, document, &ended, now)
        });
        signed.await.unwrap_or_else(|_| Err(Reason::Internal.into()))
    }
}
