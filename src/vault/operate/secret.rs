//! Commands about stored secrets. A value comes sealed beside its command and is shown by none.

use super::super::Vault;
use super::super::answer::Outcome;
use super::super::listing;
use crate::authn::Authenticated;
use crate::crypto::envelope::Envelope;
use crate::crypto::hash::Digest;
use crate::crypto::hpke::{self, Sealed};
use crate::denial::{Denial, Reason};
use crate::secret::SecretBytes;
use crate::statement::Body;
use crate::statement::command::Command;
use crate::statement::secret::{SEALED_INPUT_MAX, SecretList, SecretPut, SecretVersions, intake_info};
use crate::store::{Failure, Order};

impl Vault {
    pub(super) async fn secret_put(&self, envelope: Envelope, sealed: Option<Sealed>) -> Result<Outcome, Outcome> {
        let admitted = self.command::<SecretPut>(envelope).await?;
        let value = self.open_input(&admitted.authenticated, |body| &body.sealed, sealed);
        let order = value.as_ref().map(|value| Order::PutSecret(&admitted.authenticated, value)).map_err(Clone::clone);
        Ok(self.carry(&admitted.authenticated, order).await)
    }

    /// Opens what travelled beside the envelope, if it is what the envelope names.
    pub(super) fn open_input<B: Body>(
        &self,
        command: &Authenticated<Command<B>>,
        named: fn(&B) -> &Digest,
        sealed: Option<Sealed>,
    ) -> Result<SecretBytes, Denial> {
        let refused = |why: &str| Denial::new(Reason::BadSealedInput).detail(why);
        let sealed = sealed.ok_or_else(|| refused("the command came without its sealed input"))?;
        if sealed.ct.len() > SEALED_INPUT_MAX {
            return Err(Denial::new(Reason::Oversize).limit(SEALED_INPUT_MAX as u64));
        }
        if !sealed.digest().same(named(&command.statement().body)) {
            return Err(refused("its digest is not the one in the command"));
        }
        let info = intake_info(&self.aud, &command.statement().nonce);
        hpke::open(&self.intake, &sealed, &info, &[])
            .map_err(|_| refused("it does not open with the vault's intake key"))
    }

    pub(super) async fn secret_list(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<SecretList>(envelope).await?;
        let listed = self.store.secrets(&admitted.authenticated.statement().body.page).await;
        let told = listed.map(|secrets| listing::page(secrets, listing::secret)).map_err(Failure::denial);
        Ok(self.tell(&admitted.authenticated, told).await)
    }

    pub(super) async fn secret_versions(&self, envelope: Envelope) -> Result<Outcome, Outcome> {
        let admitted = self.command::<SecretVersions>(envelope).await?;
        let versions = self.store.secret_versions(&admitted.authenticated.statement().body.name).await;
        let told = match versions {
            Ok(versions) if versions.is_empty() => Err(Reason::NotFound.into()),
            Ok(versions) => Ok(listing::whole(versions.iter().map(listing::secret))),
            Err(failure) => Err(failure.denial()),
        };
        Ok(self.tell(&admitted.authenticated, told).await)
    }
}
