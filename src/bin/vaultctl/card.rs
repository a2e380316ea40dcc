//! `vaultctl card`: shows the vault card, so that it can be handed on or looked into.

use serde_json::{Map, json};

use crate::output::{Output, Shape, print};
use crate::{Common, find};

pub(crate) fn run(common: &Common, output: &Output) -> anyhow::Result<()> {
    let card = find::card(common)?;
    if output.shape == Shape::Table && output.field.is_none() {
        return print(&card.write());
    }
    let value = json!(card);
    output.one(value.as_object().unwrap_or(&Map::new()))
}
