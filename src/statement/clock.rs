//! The vault's clock in commands: `nockvault/clock_reset`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Body;

/// Says that the vault's clock had been ahead and is right now. From here on time counts anew: each chain says so once,
/// what was given out under the wrong clock is taken back, and requests are good again when the window of accepted clocks
/// has passed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClockReset {}

impl Body for ClockReset {
    const TYP: &'static str = "nockvault/clock_reset";
}
