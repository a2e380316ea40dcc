//! Commands about certificate authorities. Each is a stored secret of the use `ca`; its private key is drawn here or
//! comes sealed, and no command shows it.

use super::super::Vault;
use super::super::answer::Outcome;
use crate::authn::{Authenticated, Signed};
use crate::crypto::envelope::Envelope;
use crate::crypto::hpke::Sealed;
use crate::denial::{Denial, Reason};
use crate::engine::Stored;
use crate::engine::ca::CertificateAuthority;
use crate::id::SecretName;
use crate::secret::SecretBytes;
use crate::statement::Body;
use crate::statement::ca::{CaCertify, CaCreate, CaImport, CaShow};
use crate::statement::command::Command;
use crate::statement::secret::SecretUse;
use crate::store::{Failure, Order, Successor};

use super::Told;

impl Vault {
    pub(super) async fn ca_create(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CaCreate>(envelope).await?;
        let command = &admitted.authenticated;
        let CaCreate { name, engine, wish } = &command.statement().body;
        let made = self.authorities(engine).and_then(|of| of.make(wish, command.at(), &*self.entropy));
        let order = made.as_ref().map_err(Clone::clone);
        let order = order.map(|value| Order::CreateCa(command, Successor { name, after: 0, value }));
        self.kept(command, order, engine, &made).await
    }

    pub(super) async fn ca_import(&self, envelope: Envelope, sealed: Option<Sealed>) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CaImport>(envelope).await?;
        let command = &admitted.authenticated;
        let CaImport { name, engine, .. } = &command.statement().body;
        let taken = self.authorities(engine).and_then(|of| {
            let brought = self.open_input(command, |body| &body.sealed, sealed)?;
            of.import(&brought, command.at())
        });
        let order = taken.as_ref().map_err(Clone::clone);
        let order = order.map(|value| Order::ImportCa(command, Successor { name, after: 0, value }));
        self.kept(command, order, engine, &taken).await
    }

    pub(super) async fn ca_certify(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CaCertify>(envelope).await?;
        let command = &admitted.authenticated;
        let CaCertify { name, engine, chain } = &command.statement().body;
        let stored = self.authority(engine, name).await;
        let certified = stored.and_then(|(of, stored)| {
            let value = of.certify(&stored.value, chain, command.at()).map_err(|denial| another(denial, engine, name));
            Ok((stored.version, value?))
        });
        let order = certified.as_ref().map_err(Clone::clone);
        let order = order.map(|(after, value)| Order::CertifyCa(command, Successor { name, after: *after, value }));
        let value = certified.as_ref().map(|(_, value)| value);
        self.kept(command, order, engine, &value).await
    }

    pub(super) async fn ca_show(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<CaShow>(envelope).await?;
        let CaShow { name, engine } = &admitted.authenticated.statement().body;
        let told = self.public_of(engine, name).await;
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    async fn public_of(&self, engine: &str, name: &SecretName) -> Told {
        let (of, stored) = self.authority(engine, name).await?;
        let mut shown = of.public(&stored.value).map_err(|denial| another(denial, engine, name))?;
        shown.insert("engine".to_owned(), engine.into());
        shown.insert("name".to_owned(), name.as_str().into());
        shown.insert("version".to_owned(), stored.version.into());
        Ok(shown)
    }

    /// Stores an authority with its command's entry, and answers with what is public of it besides. The entry names the
    /// version; a chain of certificates may be larger than an entry can be.
    async fn kept<B: Body, V: std::borrow::Borrow<SecretBytes>>(
        &self,
        command: &Authenticated<Command<B>>,
        order: Result<Order<'_>, Denial>,
        engine: &str,
        value: &Result<V, impl Sized>,
    ) -> Result<Outcome, Outcome>
    where
        Command<B>: Signed,
    {
        let carried = self.carried(command, order).await?;
        let mut result = carried.result;
        let public = value.as_ref().ok().and_then(|value| self.authorities(engine).ok()?.public(value.borrow()).ok());
        for (member, shown) in public.into_iter().flatten() {
            result.entry(member).or_insert(shown);
        }
        Ok(self.executed(command, carried.entry, result))
    }

    /// The authorities of an engine that has such.
    fn authorities(&self, kind: &str) -> Result<&dyn CertificateAuthority, Denial> {
        let none = || {
            let kinds: Vec<_> =
                self.engines.iter().filter(|one| one.authority().is_some()).map(|one| one.kind()).collect();
            let detail = match kinds.as_slice() {
                [] => format!("engine {kind} signs with no authority, and no other of this vault does"),
                kinds => format!("engine {kind} signs with no authority; these do: {}", kinds.join(", ")),
            };
            Denial::new(Reason::BadRole).detail(detail)
        };
        self.engines.of_kind(kind)?.authority().ok_or_else(none)
    }

    async fn authority(&self, kind: &str, name: &SecretName) -> Result<(&dyn CertificateAuthority, Stored), Denial> {
        let of = self.authorities(kind)?;
        let stored = self.store.secret_value(SecretUse::Ca, name, None).await.map_err(Failure::denial)?;
        let missing = || {
            Denial::new(Reason::NotFound)
                .detail("no such authority; `vaultctl secret list` shows those there are, of use ca")
        };
        Ok((of, stored.ok_or_else(missing)?))
    }
}

/// A value that is none of this engine's belongs to another's authority.
fn another(denial: Denial, engine: &str, name: &SecretName) -> Denial {
    match denial.reason {
        Reason::Internal => Denial::new(Reason::NotFound)
            .detail(format!("{name} is an authority, but not one of engine {engine}"))
            .internal(denial.internal),
        _ => denial,
    }
}
