//! A witness, as far as c2sp.org/tlog-witness says what one does: the state of its desk, without the network.

use std::collections::BTreeMap;

use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::note::{BadNote, Note, NoteKey};
use nockvault::audit::tree::{Tree, verify_consistency};
use nockvault::audit::witness::{AddCheckpoint, WitnessKey, cosign};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;

/// A witness of this name, with the logs that it knows and the newest state of each.
pub(crate) struct Desk {
    pub(crate) name: &'static str,
    pub(crate) key: SigningKey,
    pub(crate) logs: BTreeMap<String, Known>,
    /// Seconds since the Unix epoch, one more with each cosignature.
    pub(crate) now: u64,
}

/// A log that a witness knows.
pub(crate) struct Known {
    pub(crate) key: NoteKey,
    pub(crate) size: u64,
    pub(crate) root: Digest,
}

impl Desk {
    pub(crate) fn new(name: &'static str, key: SigningKey) -> Desk {
        Desk { name, key, logs: BTreeMap::new(), now: 1_780_500_000 }
    }

    pub(crate) fn vkey(&self) -> WitnessKey {
        WitnessKey::new(self.name, self.key.public()).unwrap()
    }

    /// From now on it cosigns what this key says of this log.
    pub(crate) fn know(&mut self, key: NoteKey) {
        let known = Known { size: 0, root: Tree::default().root(), key };
        self.logs.insert(known.key.name().to_owned(), known);
    }

    /// Answers a request: status and body.
    pub(crate) fn add_checkpoint(&mut self, body: &str) -> (u16, String) {
        match self.judge(body) {
            Ok(line) => (200, line),
            Err((status, says)) => (status, format!("{says}\n")),
        }
    }

    fn judge(&mut self, body: &str) -> Result<String, (u16, String)> {
        let bad = |why: String| (400, why);
        let request = AddCheckpoint::read(body).map_err(|why| bad(why.to_string()))?;
        // A line whose base64 is not canonical is no signature here; readers of another make decode it and then find that it
        // does not verify. Either way the checkpoint is not signed.
        let note = Note::read(&request.note).map_err(|why| match why {
            BadNote::Line(_) => (403, "invalid signature".to_owned()),
            why => bad(why.to_string()),
        })?;
        let said = Checkpoint::read(&note.text).map_err(|why| bad(why.to_string()))?;
        let known = self.logs.get_mut(&said.origin).ok_or_else(|| (404, "unknown log".to_owned()))?;
        if !note.verified_by(&known.key) {
            return Err((403, "invalid signature".to_owned()));
        }
        if request.old > said.size {
            return Err(bad("the old size is larger than the checkpoint's".to_owned()));
        }
        if request.old != known.size {
            return Err((409, known.size.to_string()));
        }
        let follows = match request.old {
            0 => request.proof.is_empty(),
            old => verify_consistency(old, &known.root, said.size, &said.root, &request.proof).is_ok(),
        };
        if !follows {
            return Err((422, "bad consistency proof".to_owned()));
        }
        (known.size, known.root) = (said.size, said.root);
        self.now += 1;
        Ok(format!("{}\n", cosign(&note.text, self.name, &self.key, self.now)))
    }
}
