//! A policy says whose word makes a checkpoint good (C2SP's tlog-policy): which logs, which witnesses, and how many of
//! them.
//!
//! ```text
//! # a comment
//! log <vkey> [<url>]                  the key's name is the chain's origin; with none, every chain of the vault
//! witness <name> <vkey> [<url>]       the url is where checkpoints are sent to
//! group <name> all|any|<k> <name>...  witnesses and groups of lines above, each in one group at most
//! quorum <name>|none                  exactly one: what must have cosigned
//! ```

use super::note::{BadVkey, Note, NoteKey};
use super::shown::printable;
use super::witness::{BadCosignature, WitnessKey};

/// How long a policy may be, in bytes.
pub const MAX_BYTES: usize = 1 << 20;

/// Whose word makes a checkpoint good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    /// In the order of their lines, so that each stands on earlier ones alone.
    rules: Vec<(String, Rule)>,
    /// The rule that must be met.
    quorum: Option<usize>,
}

/// A log whose checkpoints count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its key; the name is the origin.
    pub key: NoteKey,
    /// What the policy says of where it is.
    pub url: Option<String>,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// What it is called in the policy, and nowhere else.
    pub name: String,
    /// Its key.
    pub key: WitnessKey,
    /// Where checkpoints are sent to: the prefix of `/add-checkpoint`.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// The witness at this place.
    Witness(usize),
    /// So many of these earlier rules.
    Group(usize, Vec<usize>),
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// Too long to be one.
    #[error("a policy has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// One of its lines.
    #[error("line {line} of the policy: {fault}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Nothing says what must have cosigned.
    #[error("the policy has no quorum line; `quorum none` asks for no witness")]
    NoQuorum,
}

/// What is wrong with a line of a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not UTF-8, or with a control character.
    #[error(
        "it has a character that does not belong into a policy; tabs and line feeds are the only control characters"
    )]
    Character,
    /// Not a line of a policy.
    #[error(
        "it is none of: log <vkey> [<url>]; witness <name> <vkey> [<url>]; group <name> all|any|<k> <name>...; quorum <name>|none"
    )]
    Form,
    /// A key that cannot be used.
    #[error("{0}")]
    Key(#[from] BadVkey),
    /// A key that stands on an earlier line.
    #[error("the key stands on an earlier line already")]
    SameKey,
    /// A name that stands on an earlier line, or the word `none`.
    #[error("the name {0} is taken")]
    Taken(String),
    /// A name that no earlier line gives.
    #[error("no line above gives the name {0}")]
    Unknown(String),
    /// A name that is in a group already.
    #[error("{0} is a member of a group already; each counts once")]
    Twice(String),
    /// A threshold that cannot be met, or is met by nobody.
    #[error("the threshold must be all, any, or a number from 1 to the {0} members named")]
    Threshold(usize),
    /// A second quorum.
    #[error("there is a quorum line already")]
    SecondQuorum,
}

/// What a policy says of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Each witness by its name in the policy, in its order: when it saw the checkpoint, in seconds since the Unix epoch;
    /// none where it has not cosigned.
    pub witnesses: Vec<(String, Result<Option<u64>, BadCosignature>)>,
    /// Whether the quorum is met.
    pub met: bool,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// [`BadPolicy`], which names the first line that is wrong.
    pub fn read(text: &[u8]) -> Result<Policy, BadPolicy> {
        if text.len() > MAX_BYTES {
            return Err(BadPolicy::TooLarge);
        }
        let mut draft = Draft::default();
        for (nth, line) in text.split(|byte| *byte == b'\n').enumerate() {
            draft.line(line).map_err(|fault| BadPolicy::Line { line: nth + 1, fault })?;
        }
        let Draft { logs, witnesses, rules, quorum, .. } = draft;
        Ok(Policy { logs, witnesses, rules, quorum: quorum.ok_or(BadPolicy::NoQuorum)? })
    }

    /// The logs, in the order of their lines.
    #[must_use]
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, in the order of their lines.
    #[must_use]
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether the policy has no word against the log: one of its logs signed the note under the origin that the note
    /// begins with, or it names no logs at all.
    #[must_use]
    pub fn admits(&self, note: &Note) -> bool {
        let origin = note.text.split('\n').next();
        let signed = |log: &Log| Some(log.key.name()) == origin && note.verified_by(&log.key);
        self.logs.is_empty() || self.logs.iter().any(signed)
    }

    /// Which witnesses cosigned the checkpoint, and whether they are enough.
    #[must_use]
    pub fn judge(&self, note: &Note) -> Judgement {
        let seen: Vec<_> = self.witnesses.iter().map(|witness| witness.key.cosigned(note)).collect();
        let mut met: Vec<bool> = Vec::with_capacity(self.rules.len());
        for (_, rule) in &self.rules {
            let holds = match rule {
                Rule::Witness(at) => matches!(seen[*at], Ok(Some(_))),
                Rule::Group(threshold, members) => members.iter().filter(|at| met[**at]).count() >= *threshold,
            };
            met.push(holds);
        }
        let names = self.witnesses.iter().map(|witness| witness.name.clone());
        Judgement { met: self.quorum.is_none_or(|at| met[at]), witnesses: names.zip(seen).collect() }
    }
}

/// A policy, so far as it was read.
#[derive(Default)]
struct Draft {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    rules: Vec<(String, Rule)>,
    grouped: Vec<usize>,
    quorum: Option<Option<usize>>,
}

impl Draft {
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let line = line.trim_ascii_start();
        if line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
            return Err(Fault::Character);
        }
        // What a comment says is its own affair, even in another encoding.
        if line.starts_with(b"#") {
            return Ok(());
        }
        let line = std::str::from_utf8(line).map_err(|_| Fault::Character)?;
        let words: Vec<_> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words[..] {
            [] => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, threshold, ref members @ ..] if !members.is_empty() => self.group(name, threshold, members),
            ["quorum", name] => self.quorum(name),
            _ => Err(Fault::Form),
        }
    }

    fn log(&mut self, key: &str, url: Option<&str>) -> Result<(), Fault> {
        let key: NoteKey = key.parse()?;
        // C2SP lets a key stand on one log line alone. Here one checkpoint key signs for all chains of a vault, each under
        // its own origin, so the same key may come again under another name.
        if self.logs.iter().any(|log| log.key.key() == key.key() && log.key.name() == key.name()) {
            return Err(Fault::SameKey);
        }
        self.logs.push(Log { key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&str>) -> Result<(), Fault> {
        let key: WitnessKey = key.parse()?;
        if self.witnesses.iter().any(|witness| witness.key.key() == key.key()) {
            return Err(Fault::SameKey);
        }
        self.define(name, Rule::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.to_owned(), key, url: url.map(str::to_owned) });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), Fault> {
        let count = members.len();
        let threshold = match threshold {
            "any" => Some(1),
            "all" => Some(count),
            digits => {
                digits.parse().ok().filter(|k| (1..=count).contains(k) && digits.bytes().all(|c| c.is_ascii_digit()))
            }
        };
        let threshold = threshold.ok_or(Fault::Threshold(count))?;
        let mut rules = Vec::with_capacity(count);
        for member in members {
            let at = self.find(member)?;
            if self.grouped.contains(&at) {
                return Err(Fault::Twice(printable(member)));
            }
            self.grouped.push(at);
            rules.push(at);
        }
        self.define(name, Rule::Group(threshold, rules))
    }

    fn quorum(&mut self, name: &str) -> Result<(), Fault> {
        let quorum = if name == "none" { None } else { Some(self.find(name)?) };
        match self.quorum.replace(quorum) {
            Some(_) => Err(Fault::SecondQuorum),
            None => Ok(()),
        }
    }

    fn define(&mut self, name: &str, rule: Rule) -> Result<(), Fault> {
        if name == "none" || self.find(name).is_ok() {
            return Err(Fault::Taken(printable(name)));
        }
        self.rules.push((name.to_owned(), rule));
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        self.rules.iter().position(|(known, _)| known == name).ok_or_else(|| Fault::Unknown(printable(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::witness::cosign;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;

    const TEXT: &str = "prod/kit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    fn vkey(nth: u64) -> WitnessKey {
        WitnessKey::new(&format!("w{nth}.example"), key(nth).public()).unwrap()
    }

    fn six(end: &str) -> String {
        let witness = |nth| format!("witness W{nth} {} https://w{nth}.example/\n", vkey(nth));
        (1..=6).map(witness).collect::<String>() + end
    }

    fn noted(by: &[u64]) -> Note {
        let mut note = Note::signed(TEXT, "prod/kit", &key(90));
        note.signatures.extend(by.iter().map(|nth| cosign(TEXT, &format!("w{nth}.example"), &key(*nth), 7)));
        note
    }

    #[test]
    fn groups_in_groups_count_as_the_lines_say() {
        let policy = Policy::read(
            six("group X 2 W1 W2 W3\n\n  # two of these, and one of those\n\tgroup Y any W4 W5 W6\ngroup XY all X Y\nquorum XY\n")
                .as_bytes(),
        )
        .unwrap();
        for (by, met) in [
            (&[][..], false),
            (&[1, 2], false),
            (&[1, 2, 3], false),
            (&[1, 2, 4], true),
            (&[2, 3, 6], true),
            (&[1, 4, 5, 6], false),
            (&[1, 2, 3, 4, 5, 6], true),
        ] {
            let judgement = policy.judge(&noted(by));
            assert_eq!(judgement.met, met, "{by:?}");
            let seen = |(name, seen): &(String, Result<Option<u64>, _>)| {
                assert_eq!(*seen, Ok(by.contains(&name[1..].parse().unwrap()).then_some(7)), "{name}");
            };
            judgement.witnesses.iter().for_each(seen);
        }
        let mut note = noted(&[1, 2, 4]);
        note.signatures[1].signature[40] ^= 1;
        let judgement = policy.judge(&note);
        assert_eq!((judgement.met, &judgement.witnesses[0].1), (false, &Err(BadCosignature)));
        assert_eq!(policy.witnesses()[0].url.as_deref(), Some("https://w1.example/"));
    }

    #[test]
    fn one_witness_or_none_may_be_enough() {
        let one = Policy::read(six("quorum W2").as_bytes()).unwrap();
        assert!(one.judge(&noted(&[2])).met && !one.judge(&noted(&[1, 3])).met);
        let none = Policy::read(b"quorum none\n").unwrap();
        assert!(none.judge(&noted(&[])).met && none.admits(&noted(&[])));
    }

    #[test]
    fn where_logs_are_named_no_other_counts() {
        let log = |name: &str, seed| {
            let key = NoteKey::new(name, key(seed).public()).unwrap();
            Policy::read(format!("log {key} https://log.example\nquorum none\n").as_bytes()).unwrap()
        };
        assert!(log("prod/kit", 90).admits(&noted(&[])));
        assert!(!log("prod/kit", 91).admits(&noted(&[])));
        assert!(!log("prod/ada", 90).admits(&noted(&[])));
        let posing = Note::signed(TEXT, "prod/ada", &key(90));
        assert!(!log("prod/ada", 90).admits(&posing));
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let (one, known) = (vkey(9), vkey(1));
        let name = |name: &str| name.to_owned();
        for (end, fault) in [
            ("quorum", Fault::Form),
            ("quorums W1", Fault::Form),
            ("group X all", Fault::Form),
            ("group X 0 W1", Fault::Threshold(1)),
            ("group X 3 W1 W2", Fault::Threshold(2)),
            ("group X +1 W1 W2", Fault::Threshold(2)),
            ("group X any W1 W1", Fault::Twice(name("W1"))),
            ("group X any W1 W7", Fault::Unknown(name("W7"))),
            ("group W1 any W2", Fault::Taken(name("W1"))),
            ("group none any W2", Fault::Taken(name("none"))),
            ("group X any none", Fault::Unknown(name("none"))),
            ("quorum X", Fault::Unknown(name("X"))),
            ("quorum w1", Fault::Unknown(name("w1"))),
            (&format!("witness W1 {one}"), Fault::Taken(name("W1"))),
            (&format!("witness W7 {known}"), Fault::SameKey),
            ("witness W7 w7+00000000", Fault::Key(BadVkey::Form)),
            ("quorum W1\r", Fault::Character),
        ] {
            let policy = Policy::read(six(&format!("{end}\nquorum none\n")).as_bytes());
            assert_eq!(policy, Err(BadPolicy::Line { line: 7, fault }), "{end}");
        }
        let again = six("group X any W1\ngroup Y any W1\nquorum X");
        let twice = BadPolicy::Line { line: 8, fault: Fault::Twice(name("W1")) };
        assert_eq!(Policy::read(again.as_bytes()), Err(twice));
        let second = BadPolicy::Line { line: 8, fault: Fault::SecondQuorum };
        assert_eq!(Policy::read(six("quorum W1\nquorum W2").as_bytes()), Err(second));
        assert_eq!(Policy::read(six("").as_bytes()), Err(BadPolicy::NoQuorum));
        assert_eq!(Policy::read(b"quorum none\n# caf\xe9\n").map(|policy| policy.logs.len()), Ok(0));
        assert!(Policy::read(b"quorum none\nquorum caf\xe9\n").is_err());
    }

    #[test]
    fn a_log_has_each_of_its_keys_once() {
        let log =
            |name: &str, seed| format!("log {} https://log.example\n", NoteKey::new(name, key(seed).public()).unwrap());
        let read = |lines: &[String]| Policy::read((lines.concat() + "quorum none\n").as_bytes());
        let several = [log("prod/kit", 90), log("prod/ada", 90), log("prod/kit", 91)];
        let names = read(&several).unwrap().logs().iter().map(|log| log.key.name().to_owned()).collect::<Vec<_>>();
        assert_eq!(names, ["prod/kit", "prod/ada", "prod/kit"]);
        let twice = read(&[log("prod/kit", 90), log("prod/kit", 90)]);
        assert_eq!(twice, Err(BadPolicy::Line { line: 2, fault: Fault::SameKey }));
    }

    #[test]
    fn a_policy_is_read_up_to_its_limit() {
        let text = |bytes: usize| format!("quorum none\n#{}", "x".repeat(bytes - 13));
        assert!(Policy::read(text(MAX_BYTES).as_bytes()).is_ok());
        for bytes in [MAX_BYTES + 1, MAX_BYTES + 2] {
            assert_eq!(Policy::read(text(bytes).as_bytes()), Err(BadPolicy::TooLarge));
        }
    }
}
