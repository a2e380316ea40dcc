//! The exchange with witnesses, held against the published sequence of one of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "witness/desk.rs"]
mod desk;

use std::fs;
use std::path::Path;

use desk::Desk;
use nockvault::audit::note::{Note, NoteKey};
use nockvault::audit::witness::{AddCheckpoint, Answer, accept};
use nockvault::crypto::signature::{PublicKey, SigningKey};
use nockvault::entropy::SeededEntropy;
use serde_json::Value;

fn sequence() -> Value {
    let file = "tests/vectors/c2sp-tlog/litewitness_add_checkpoint_sequence.json";
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn hex(text: &str) -> [u8; 32] {
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

/// What the vector says of an answer: `body contains "..."` or `body == "..."`.
fn fits(assert: &str, body: &str) -> bool {
    let quoted: String = serde_json::from_str(&assert[assert.find('"').unwrap()..]).unwrap();
    if assert.starts_with("body ==") { body == quoted } else { body.contains(&quoted) }
}

/// Our reading of requests, our proofs and our answers agree with litewitness, step by step. An unknown log is 404 in the
/// protocol as it is now; the version that made the vector said 403.
#[test]
fn the_sequence_of_litewitness() {
    let sequence = sequence();
    let origin = sequence["origin"].as_str().unwrap();
    let log = PublicKey::from_bytes(&hex(sequence["log_public_key_hex"].as_str().unwrap())).unwrap();
    let mut desk = Desk::new("example.com/witness", SigningKey::generate(&SeededEntropy::new(1)));
    desk.know(NoteKey::new(origin, log).unwrap());
    let requests = sequence["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 9);
    for (nth, step) in requests.iter().enumerate() {
        let body = step["request_body"].as_str().unwrap();
        let request = AddCheckpoint::read(body).unwrap();
        assert_eq!(request.write(), body);
        let (status, answer) = desk.add_checkpoint(body);
        let assert = step["assert"].as_str().unwrap();
        assert!(fits(assert, &answer), "request {nth}: {assert}, not {answer}");
        let unknown = assert.contains("unknown log");
        assert_eq!(u64::from(status), if unknown { 404 } else { step["status"].as_u64().unwrap() }, "request {nth}");
        match Answer::read(status, &answer).unwrap() {
            Answer::Lines(lines) => {
                let text = Note::read(&request.note).unwrap().text;
                assert_eq!(accept(&text, lines, &desk.vkey()).unwrap().1, desk.now);
            }
            Answer::Has(size) => assert_eq!(format!("{size}\n"), answer),
            Answer::Refused { status: said, says } => assert_eq!((said, format!("{says}\n")), (status, answer)),
        }
    }
}
