//! What can be said of a line before what stands in front of it is known: its form, its leaf, and whether a key that may
//! well be the right one signed it.
//!
//! Nothing here is a verdict. A signature is tried under a key that was good a moment ago, and the answer is kept beside
//! that very key: whoever judges the line in its turn asks for the key that is right there, and takes the answer only
//! where it is of the same one. So lines can be worked on by many hands at once, and judged as if by one.

use crate::audit::entry::{Entry, Unreadable};
use crate::audit::line::Frame;
use crate::crypto::envelope::{Embedded, Envelope, PayloadType};
use crate::crypto::hash::{Digest, leaf};
use crate::crypto::signature::{Form, PublicKey};
use crate::id::Kid;

/// A key that may have signed the next lines, or what stands in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guess {
    pub(super) kid: Kid,
    pub(super) key: PublicKey,
    pub(super) form: Form,
}

/// Under which key and in which form a signature was tried, and whether it was good.
#[derive(Clone, Debug)]
struct Tried {
    key: PublicKey,
    form: Form,
    good: bool,
}

impl Tried {
    /// The answer, where it is of this key.
    fn of(tried: Option<&Tried>, key: &PublicKey, form: Form) -> Option<bool> {
        tried.filter(|tried| tried.key == *key && tried.form == form).map(|tried| tried.good)
    }
}

/// A request or command as its signer signed it.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) envelope: Envelope,
    /// H(PAE) of it.
    pub(super) digest: Digest,
    tried: Option<Tried>,
}

impl Opened {
    pub(super) fn of(embedded: &Embedded, t: PayloadType) -> Opened {
        let envelope = embedded.open(t);
        Opened { digest: envelope.digest(), envelope, tried: None }
    }

    fn attempt(&mut self, guess: &Guess) {
        let good = self.verify(&guess.key, guess.form);
        self.tried = Some(Tried { key: guess.key.clone(), form: guess.form, good });
    }

    fn verify(&self, key: &PublicKey, form: Form) -> bool {
        let Envelope { payload_type, payload, signature, .. } = &self.envelope;
        key.verify(form, payload_type, payload, signature).is_ok()
    }

    /// Whether this key signed it.
    pub(super) fn signed_by(&self, key: &PublicKey, form: Form) -> bool {
        Tried::of(self.tried.as_ref(), key, form).unwrap_or_else(|| self.verify(key, form))
    }
}

/// A line, worked on as far as it can be without those before it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) leaf: Digest,
    /// Whether it was once an entry, as far as its ends tell: one flipped bit cannot spoil both.
    pub(super) resembles_an_entry: bool,
    pub(super) read: Result<Read, Unreadable>,
}

/// A line that has the members of an entry.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) frame: Frame,
    pub(super) entry: Result<Entry, Unreadable>,
    /// The request or command in it.
    pub(super) opened: Option<Opened>,
    tried: Option<Tried>,
}

impl Line {
    /// Works on a line, without its LF; `guesses` are the keys that may be the right ones.
    pub(super) fn ahead(line: &[u8], guesses: &[Guess]) -> Line {
        let read = Frame::read(line).map(|frame| {
            let tried = guesses.iter().find(|guess| guess.kid == *frame.kid()).map(|guess| Tried {
                key: guess.key.clone(),
                form: Form::Pae,
                good: frame.verify(&guess.key).is_ok(),
            });
            let entry = frame.entry();
            let opened = entry.as_ref().ok().and_then(|entry| entry.body.asked()).map(|(embedded, t)| {
                let mut opened = Opened::of(embedded, t);
                let claimed = embedded.payload.get("kid").and_then(serde_json::Value::as_str);
                if let Some(guess) = guesses.iter().find(|guess| Some(guess.kid.as_str()) == claimed) {
                    opened.attempt(guess);
                }
                opened
            });
            Read { frame, entry, opened, tried }
        });
        Line { leaf: leaf(line), resembles_an_entry: resembles_an_entry(line), read }
    }
}

impl Read {
    /// Whether this audit key signed the entry.
    pub(super) fn signed_by(&self, key: &PublicKey) -> bool {
        Tried::of(self.tried.as_ref(), key, Form::Pae).unwrap_or_else(|| self.frame.verify(key).is_ok())
    }
}

fn resembles_an_entry(line: &[u8]) -> bool {
    line.starts_with(b"{\"body\":") || line.ends_with(b",\"v\":1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::{AuditKey, Head, append};
    use crate::audit::entry::Command;
    use crate::crypto::signature::SigningKey;
    use crate::entropy::SeededEntropy;
    use crate::id::{Aud, ChainName};
    use crate::time::Timestamp;

    fn key(seed: u64) -> SigningKey {
        SigningKey::generate(&SeededEntropy::new(seed))
    }

    fn guess(of: &SigningKey) -> Guess {
        Guess { kid: of.kid(), key: of.public(), form: Form::Pae }
    }

    fn signed(by: &SigningKey) -> Embedded {
        let payload = serde_json::json!({ "kid": by.kid() });
        Envelope::sign(PayloadType::Command, &payload, by, Form::Pae).embed().unwrap()
    }

    #[test]
    fn an_answer_is_taken_of_the_key_that_was_tried_and_of_no_other() {
        let (own, other) = (key(1), key(2));
        for tried in [None, Some(&own), Some(&other)] {
            let mut opened = Opened::of(&signed(&own), PayloadType::Command);
            tried.into_iter().for_each(|key| opened.attempt(&guess(key)));
            assert_eq!(opened.tried.as_ref().map(|tried| &tried.key), tried.map(SigningKey::public).as_ref());
            let answer = |key: &SigningKey, form| Tried::of(opened.tried.as_ref(), &key.public(), form);
            assert_eq!(answer(&own, Form::Pae), tried.filter(|key| key.kid() == own.kid()).map(|_| true));
            assert_eq!(answer(&other, Form::Pae), tried.filter(|key| key.kid() == other.kid()).map(|_| false));
            assert_eq!(answer(&own, Form::Sshsig), None);
            let signed_by = |key: &SigningKey, form| opened.signed_by(&key.public(), form);
            let said = [signed_by(&own, Form::Pae), signed_by(&other, Form::Pae), signed_by(&own, Form::Sshsig)];
            assert_eq!(said, [true, false, false]);
        }
    }

    #[test]
    fn the_keys_that_a_line_names_are_tried_on_it() {
        let (identity, audit, operator) = (key(3), key(4), key(5));
        let aud = Aud::of_identity(&identity.kid());
        let chain = AuditKey::certify(key(4), &identity, &aud, "n1", 1, Timestamp(0), Timestamp(100));
        let head = Head::empty(&"prod".parse().unwrap(), &ChainName::operators());
        let command = Command::carried(signed(&operator), serde_json::Map::new());
        let (line, _) = append(&head, &chain, &command.into(), Timestamp(5)).unwrap();
        let tried = |guesses: &[Guess]| {
            let read = Line::ahead(&line, guesses).read.unwrap();
            let of = |tried: Option<&Tried>| tried.map(|tried| (tried.key.kid(), tried.good));
            (of(read.tried.as_ref()), of(read.opened.unwrap().tried.as_ref()))
        };
        let all = [guess(&identity), guess(&audit), guess(&operator)];
        assert_eq!(tried(&all), (Some((audit.kid(), true)), Some((operator.kid(), true))));
        assert_eq!(tried(&all[..1]), (None, None));
        assert_eq!(tried(&all[2..]), (None, Some((operator.kid(), true))));
    }
}
