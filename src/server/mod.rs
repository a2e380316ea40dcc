//! Everything around the vault that speaks to a network.

pub mod admission;
pub mod listen;
pub mod methods;
pub mod status;
pub mod tls;

/// An error with what caused it, for a log.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
