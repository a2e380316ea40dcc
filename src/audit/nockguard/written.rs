//! Rows that are added to a trail of NockGuard's, byte for byte as its own writer makes them.
//!
//! ```text
//! canonical = the row without sig, as Go's encoding/json writes its struct
//! sig       = hex(Ed25519(key, canonical || LF || sig of the row before, in hex))
//! ```
//!
//! What is signed here is a [`Message`], which nothing outside can make: it begins with `{` or with `nockguard-hwm-v1`,
//! and a statement of ours, as it is signed, with `DSSEv1 ` (or, in an SSH agent, with `SSHSIG`). So the key that signs
//! both never signs one as the other.

use std::fmt::Write as _;

use super::report::Report;
use super::row::{Mark, Row};
use super::{Key, hex, key_id};
use crate::crypto::signature::{PublicKey, Signature};
use crate::id::AgentName;
use crate::time::Timestamp;

/// The longest text of a row, in bytes. NockGuard has no such limit; a row should fit into a line that people read.
pub const TEXT_BYTES: usize = 512;

/// What a row says was decided: NockGuard's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was done.
    Allow,
    /// It was refused.
    Deny,
    /// The trail's writer did something to the trail itself.
    StateWrite,
}

impl Decision {
    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Decision::Allow => "allow",
            Decision::Deny => "deny",
            Decision::StateWrite => "state-write",
        }
    }
}

/// A row that is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct NewRow<'a> {
    /// When; a row holds whole seconds.
    pub ts: Timestamp,
    /// Who.
    pub agent: &'a AgentName,
    /// What was called.
    pub tool: &'a str,
    /// What became of it.
    pub decision: Decision,
    /// Why, where there is something to say.
    pub reason: &'a str,
    /// NockLock's session, where there is one.
    pub session_id: &'a str,
}

impl NewRow<'_> {
    /// The row without its signature, and without its closing brace.
    fn open(&self, key: &PublicKey) -> String {
        let mut row = String::with_capacity(384);
        let ts = seconds(self.ts);
        let key_id = key_id(key);
        let members = [
            ("ts", ts.as_str(), true),
            ("agent", self.agent.as_str(), true),
            ("tool", self.tool, true),
            ("decision", self.decision.as_str(), true),
            ("reason", self.reason, false),
            ("session_id", self.session_id, false),
            ("key_id", &key_id, false),
        ];
        for (name, text, always) in members {
            if always || !text.is_empty() {
                row.push(if row.is_empty() { '{' } else { ',' });
                let _ = write!(row, "\"{name}\":");
                quote(&mut row, text);
            }
        }
        row
    }
}

/// RFC 3339 in UTC and whole seconds, as Go's `time.RFC3339` has it.
fn seconds(ts: Timestamp) -> String {
    let text = Timestamp(ts.whole_seconds() * 1000).to_string();
    text.replace(".000Z", "Z")
}

/// A text as Go's encoding/json writes it; what is longer than [`TEXT_BYTES`] is cut at a character's end. Control
/// characters become blanks: versions of Go write two of them differently, and a row has to verify under each.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    let end = text.floor_char_boundary(TEXT_BYTES);
    for c in text[..end].chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            '\0'..='\u{1f}' => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The bytes that a row's or a checkpoint's signature is made over.
#[derive(Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Where a trail ends: how many rows it has, and the signature of the last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    count: u64,
    sig: String,
}

impl Head {
    /// The end of a trail that was verified.
    #[must_use]
    pub fn of(report: &Report) -> Head {
        Head { count: report.size, sig: report.head.clone().unwrap_or_default() }
    }

    /// The end of a trail as its checkpoint has it, where `key` signed that and it counts the row `last` as the newest:
    /// then nothing else of the trail need be read. Nothing where the checkpoint is behind, or either is not good.
    #[must_use]
    pub fn at(mark: &[u8], last: &[u8], key: &PublicKey) -> Option<Head> {
        let (mark, row) = (Mark::read(mark).ok()?, Row::read(last).ok()?);
        let good = mark.last_sig == row.sig && Key::Agent(key.clone()).signed(&[&mark.message()], &mark.sig);
        good.then_some(Head { count: mark.count, sig: mark.last_sig })
    }

    /// How many rows there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The row that comes next, ready to be signed.
    #[must_use]
    pub fn next(&self, row: &NewRow<'_>, key: &PublicKey) -> Pending {
        let open = row.open(key);
        let message = Message([open.as_bytes(), b"}\n", self.sig.as_bytes()].concat());
        Pending { open, message, count: self.count + 1 }
    }

    /// What the checkpoint's signature is made over.
    #[must_use]
    pub fn message(&self) -> Message {
        Message(Mark { count: self.count, last_sig: self.sig.clone(), sig: String::new() }.message())
    }

    /// The checkpoint's file.
    #[must_use]
    pub fn marked(&self, sig: &Signature) -> String {
        let Head { count, sig: last } = self;
        format!("{{\"count\":{count},\"last_sig\":\"{last}\",\"sig\":\"{}\"}}\n", hex(sig.as_bytes()))
    }
}

/// A row that waits for its signature.
#[derive(Debug)]
pub struct Pending {
    open: String,
    message: Message,
    count: u64,
}

impl Pending {
    /// What the row's signature is made over.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// The line, with its LF, and where the trail then ends.
    #[must_use]
    pub fn signed(self, sig: &Signature) -> (String, Head) {
        let sig = hex(sig.as_bytes());
        let line = format!("{},\"sig\":\"{sig}\"}}\n", self.open);
        (line, Head { count: self.count, sig })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::nockguard::verify;
    use crate::audit::verify::report::Verdict;
    use crate::crypto::signature::SigningKey;
    use crate::secret::Secret;

    fn kit() -> SigningKey {
        SigningKey::from_seed(&Secret::new([0x42; 32]))
    }

    fn made(rows: &[NewRow<'_>]) -> (String, String, Head) {
        let (mut text, mut head) = (String::new(), Head::default());
        for row in rows {
            let pending = head.next(row, &kit().public());
            let sig = kit().sign_raw(pending.message().as_bytes());
            let (line, next) = pending.signed(&sig);
            text += &line;
            head = next;
        }
        let mark = head.marked(&kit().sign_raw(&head.message().0));
        (text, mark, head)
    }

    /// What Go wrote of the same rows stands in `tests/nockguard/go.audit.jsonl`, lines 1 and 2, but for their zone.
    #[test]
    fn the_bytes_are_those_that_go_writes() {
        let agent = "kit".parse().unwrap();
        let ts = Timestamp::from_rfc3339("2026-06-03T18:30:01.999Z").unwrap();
        let reason = "<b>\"no\" & \\ 'never'</b>";
        let row = NewRow { ts, agent: &agent, tool: "Bash", decision: Decision::Deny, reason, session_id: "" };
        let golden = include_str!("../../../tests/nockguard/go.audit.jsonl").lines().nth(1).unwrap();
        let golden = golden.replace("20:30:01+02:00", "18:30:01Z");
        let (unsigned, _) = golden.split_once(",\"sig\"").unwrap();
        assert_eq!(row.open(&kit().public()), unsigned);
        let row = NewRow {
            tool: "a\tb\u{8}",
            reason: "\u{2028} \u{e9} \u{1f511} \u{fffd} \u{7f}",
            session_id: "kit-7f",
            ..row
        };
        let open = row.open(&kit().public());
        assert!(open.contains(r#""tool":"a b ","decision":"deny","reason":"\u2028 é 🔑 � "#), "{open}");
        assert!(open.contains(r#","session_id":"kit-7f","key_id":"3097"#), "{open}");
        let long = "é".repeat(TEXT_BYTES);
        let open = NewRow { reason: &long, ..row }.open(&kit().public());
        assert_eq!(open.matches('é').count(), TEXT_BYTES / 2);
    }

    /// Ed25519 is deterministic, so this is NockGuard's own golden trail, but for the key's name in each row.
    #[test]
    fn what_was_written_verifies_and_its_end_is_found_again() {
        let agent = "kit".parse().unwrap();
        let ts = Timestamp::from_rfc3339("2026-06-03T18:30:00Z").unwrap();
        let row = NewRow { ts, agent: &agent, tool: "t", decision: Decision::Allow, reason: "", session_id: "" };
        let (text, mark, head) = made(&[row, row, NewRow { decision: Decision::StateWrite, ..row }]);
        let report = verify(text.as_bytes(), Some(mark.as_bytes()), &[Key::Agent(kit().public())], None).unwrap();
        assert_eq!((&report.verdict, report.anchored), (&Verdict::Intact, 3), "{report}");
        assert_eq!((Head::of(&report), head.count()), (head.clone(), 3));
        let last = text.lines().last().unwrap();
        assert_eq!(Head::at(mark.as_bytes(), last.as_bytes(), &kit().public()), Some(head));
        let first = text.lines().next().unwrap();
        assert_eq!(Head::at(mark.as_bytes(), first.as_bytes(), &kit().public()), None);
        let other = SigningKey::from_seed(&Secret::new([7; 32]));
        assert_eq!(Head::at(mark.as_bytes(), last.as_bytes(), &other.public()), None);
        let lower = mark.replace("\"count\":3", "\"count\":2");
        assert_eq!(Head::at(lower.as_bytes(), last.as_bytes(), &kit().public()), None);
        // Signed by the right key, over the newest row, and of no row at all: it is not read.
        let none = Head { count: 0, sig: Row::read(last.as_bytes()).unwrap().sig.to_owned() };
        let none = none.marked(&kit().sign_raw(&none.message().0));
        assert_eq!(Head::at(none.as_bytes(), last.as_bytes(), &kit().public()), None);
    }

    #[test]
    fn no_message_is_a_statement_of_ours() {
        let agent = "kit".parse().unwrap();
        let ts = Timestamp::ZERO;
        for tool in ["DSSEv1 ", "SSHSIG", "", "{"] {
            let row = NewRow { ts, agent: &agent, tool, decision: Decision::Allow, reason: tool, session_id: tool };
            assert!(Head::default().next(&row, &kit().public()).message().as_bytes().starts_with(b"{\"ts\":"));
        }
        assert!(Head::default().message().as_bytes().starts_with(b"nockguard-hwm-v1\n"));
        let statement = crate::crypto::envelope::pae("application/vnd.nockvault.request.v1+json", b"{}");
        assert!(statement.starts_with(b"DSSEv1 "));
    }
}
