//! Words for a model. A [`Text`] is put together from an [`Open`] part after the other, and what is open is a closed
//! list: words that stand in this program, names, times, paths, refusals. A secret's text is a `&str` that was exposed,
//! and no part: a result that held one would not compile.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::client::fault::Fault;
use crate::id::{AgentName, LeaseId, RoleName, VaultName};
use crate::launcher::delivery::Variable;
use crate::time::{Seconds, Timestamp};

/// What may be said in a conversation.
pub(super) trait Open {
    fn say(&self, out: &mut String);
}

/// Lines stay lines; other control characters go.
fn calm(out: &mut String, words: impl fmt::Display) {
    out.extend(words.to_string().chars().filter(|c| *c == '\n' || !c.is_control()));
}

macro_rules! open {
    ($($part:ty),*) => {$(
        impl Open for $part {
            fn say(&self, out: &mut String) {
                calm(out, self);
            }
        }
    )*};
}

open!(AgentName, RoleName, VaultName, LeaseId, Timestamp, Seconds, Variable, Fault, usize, &'static str, Text);

/// The parameters of a request: the model's own words.
impl Open for Map<String, Value> {
    fn say(&self, out: &mut String) {
        for (i, (name, value)) in self.iter().enumerate() {
            let _ = fmt::Write::write_fmt(out, format_args!("{}{name}={value}", if i > 0 { " " } else { "" }));
        }
    }
}

/// A path, as a shell takes it.
impl Open for PathBuf {
    fn say(&self, out: &mut String) {
        Word(&self.to_string_lossy()).say(out);
    }
}

/// One word of a command line, in quotes where a shell would make more of it: a path, or what the model itself said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word<'a>(&'a str);

impl<'a> Word<'a> {
    /// What stood in the arguments of a tool's call.
    pub(super) fn of_caller(word: &'a str) -> Word<'a> {
        Word(word)
    }
}

impl Open for Word<'_> {
    fn say(&self, out: &mut String) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
        if !self.0.is_empty() && self.0.chars().all(plain) {
            out.push_str(self.0);
        } else {
            calm(out, format_args!("'{}'", self.0.replace('\'', r"'\''")));
        }
    }
}

/// Words that may stand in a result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text(String);

impl Text {
    pub(super) fn of(parts: &[&dyn Open]) -> Text {
        let mut text = Text::default();
        text.add(parts);
        text
    }

    /// The same, with more after it.
    pub(super) fn add(&mut self, parts: &[&dyn Open]) {
        parts.iter().for_each(|part| part.say(&mut self.0));
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_stay_words() {
        let said = |word: &str| Text::of(&[&Word::of_caller(word)]).to_string();
        assert_eq!(said("/run/user/1000/agent.sock"), "/run/user/1000/agent.sock");
        assert_eq!(said("a b"), "'a b'");
        assert_eq!(said("$(x) 'y'"), r"'$(x) '\''y'\'''");
        assert_eq!(said(""), "''");
        assert_eq!(said("a\u{1b}[2Jb"), "'a[2Jb'");
    }

    #[test]
    fn parts_are_said_one_after_the_other() {
        let role: RoleName = "orders-read".parse().unwrap();
        let params = serde_json::json!({"database": "x"}).as_object().cloned().unwrap();
        let text = Text::of(&[&"role ", &role, &" (", &params, &") until ", &Timestamp(0)]);
        assert_eq!(text.as_str(), r#"role orders-read (database="x") until 1970-01-01T00:00:00.000Z"#);
    }
}
