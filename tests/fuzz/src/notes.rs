//! Signed notes and what C2SP makes of them: checkpoints, verifier keys, witnesses, policies.

use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::note::{Line, Note, NoteKey};
use nockvault::audit::policy::Policy;
use nockvault::audit::verify::Kept;
use nockvault::audit::witness::{AddCheckpoint, Answer, WitnessKey, accept};

use super::world;

/// A note has one writing, and so has each of its lines and the checkpoint in it.
pub(super) fn note(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    for line in text.lines() {
        if let Some(read) = Line::read(line) {
            assert_eq!(read.to_string(), line);
        }
    }
    if let Ok(checkpoint) = Checkpoint::read(text) {
        assert_eq!(checkpoint.text(), text);
    }
    let note = match Note::read(text) {
        Ok(note) => note,
        Err(why) => {
            super::told(why);
            return false;
        }
    };
    assert_eq!(note.write(), text);
    let key = NoteKey::new("example.com/a", world::key(1).public()).expect("it is a name");
    if note.verified_by(&key) {
        assert!(include_str!("../seeds/note/signed").starts_with(&note.text), "nobody signed this note");
    }
    if let Ok(kept) = Kept::read(text) {
        assert_eq!(kept.checkpoint().text(), note.text);
    }
    true
}

/// A verifier key has one writing, and is of one kind.
pub(super) fn vkey(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let (note, witness) = (text.parse::<NoteKey>(), text.parse::<WitnessKey>());
    assert!(note.is_err() || witness.is_err(), "it is a key of two kinds");
    for written in [note.as_ref().map(ToString::to_string), witness.as_ref().map(ToString::to_string)] {
        match written {
            Ok(written) => assert_eq!(written, text),
            Err(why) => super::told(why),
        }
    }
    note.is_ok() || witness.is_ok()
}

/// A policy, and its word on a note.
pub(super) fn policy(data: &[u8]) -> bool {
    let policy = match Policy::read(data) {
        Ok(policy) => policy,
        Err(why) => {
            super::told(why);
            return false;
        }
    };
    let note = Note::read(include_str!("../seeds/note/signed")).expect("the note that was committed");
    let judgement = policy.judge(&note);
    assert_eq!(judgement.witnesses.len(), policy.witnesses().len());
    let _ = policy.admits(&note);
    true
}

/// What is sent to a witness, and what one may answer. The first byte is its status.
pub(super) fn witness(data: &[u8]) -> bool {
    let asked = super::text(data).and_then(|body| Some((body, AddCheckpoint::read(body).ok()?)));
    if let Some((body, request)) = &asked {
        assert_eq!(request.write(), *body);
    }
    let Some((status, body)) = data.split_first() else { return false };
    let status = [200, 409, 403, 0][usize::from(*status) % 4];
    let Some(answer) = super::text(body).and_then(|body| Answer::read(status, body).ok()) else {
        return asked.is_some();
    };
    let text = "prod/kit\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n";
    let by = WitnessKey::new("example.com/w", world::key(2).public()).expect("it is a name");
    match answer {
        Answer::Lines(lines) => match accept(text, lines, &by) {
            Ok((lines, time)) => assert!(lines.iter().all(|line| line.name == "example.com/w") && time == 7),
            Err(why) => super::told(why),
        },
        Answer::Has(size) => assert_eq!(format!("{size}\n").as_bytes(), body),
        Answer::Refused { says, .. } => super::told(says),
    }
    true
}
