//! Where the card and the operator's key are: what a flag or a variable names, and otherwise what `vaultctl init` put
//! into `~/.config/nockvault`: `<vault>.card`, and `<vault>/<operator>.ed25519` beside it.

use std::path::PathBuf;

use anyhow::Context as _;
use nockvault::client::fault::Fault;
use nockvault::client::keyfile::{self, REGISTER, SECRET};
use nockvault::client::operator::Operator;
use nockvault::client::place;
use nockvault::client::signer::Identity;
use nockvault::id::OperatorName;
use nockvault::statement::card::Card;

use crate::Common;

/// Where cards and operators' keys are kept.
pub(crate) fn config_dir() -> anyhow::Result<PathBuf> {
    place::config_dir().context("neither HOME nor XDG_CONFIG_HOME names a folder; name the card with --vault FILE")
}

/// The card that was named, or the only one there is.
pub(crate) fn card(common: &Common) -> Result<Card, Fault> {
    place::card(common.vault.as_deref())
}

/// The operator and the key that commands.
pub(crate) fn operator(common: &Common, card: &Card) -> anyhow::Result<Identity<OperatorName>> {
    let file = match (&common.key, &common.operator) {
        (Some(file), _) => file.clone(),
        (None, Some(name)) => config_dir()?.join(card.name.as_str()).join(format!("{name}.{SECRET}")),
        (None, None) => {
            let dir = config_dir()?.join(card.name.as_str());
            place::only(&dir, SECRET, "operator key", "--key FILE, --operator NAME or NOCKVAULT_OPERATOR_KEY")?
        }
    };
    let name = match &common.operator {
        Some(name) => name.clone(),
        None => file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let name: OperatorName =
        name.parse().context("an operator is named by --operator, or by the name of the key file")?;
    let key = keyfile::read_secret(&file)?;
    let beside = file.with_extension(REGISTER);
    let register = if beside.exists() { Some(keyfile::read_register(&beside)?.1) } else { None };
    let kver = register.filter(|register| register.pk == key.public()).map_or(1, |register| register.kver);
    Ok(Identity::held(name, key, kver))
}

/// A connection in the operator's name.
pub(crate) async fn connect(common: &Common) -> anyhow::Result<Operator> {
    let card = card(common)?;
    let identity = operator(common, &card)?;
    Ok(Operator::connect(&card, identity).await?)
}
