//! The rows of one examination.

use serde_json::{Value, json};

/// How one thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Ok,
    Warn,
    Bad,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warn => "warn",
            State::Bad => "bad",
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows(Vec<Value>);

impl Rows {
    /// A thing, how it is, and what is to be done where it is not well.
    pub(super) fn add(&mut self, check: &'static str, state: State, found: impl Into<String>, what: &str) {
        let advice = (state != State::Ok).then_some(what);
        let found: String = found.into().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        self.0.push(json!({ "check": check, "state": state.as_str(), "found": found, "do": advice }));
    }

    pub(super) fn told(self) -> Vec<Value> {
        self.0
    }
}
