//! The trail as auditors are handed it: lines, whole chains, receipts, directories, and NockGuard's trails.

use std::sync::{Arc, OnceLock};

use nockvault::audit::directory::{open_at_any_time, write};
use nockvault::audit::entry::{Entry, Origin};
use nockvault::audit::nockguard;
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Commands, Means, Pins, verify_operators_with, verify_with};
use nockvault::crypto::envelope::Embedded;
use nockvault::crypto::json::canonical;
use serde_json::{Value, json};

use super::world;

/// A line that reads is the one writing of what was read.
pub(super) fn entry(data: &[u8]) -> bool {
    let entry = match Entry::read(data) {
        Ok(entry) => entry,
        Err(_) => return false,
    };
    let mut members = json!({
        "body": entry.body, "kid": entry.kid, "kind": entry.body.kind(), "origin": entry.origin, "prev": entry.prev,
        "seq": entry.seq, "sig": entry.sig, "ts": entry.ts, "v": entry.v,
    });
    if let Some(cert) = &entry.cert {
        members["cert"] = json!(cert);
    }
    assert_eq!(canonical(&members), data, "the entry is written otherwise than it was read");
    let origin = Origin::parse(&entry.origin).expect("an entry has an origin");
    assert!(entry.body.belongs_in(&origin.chain), "its kind has no place in its chain");
    true
}

fn pins() -> &'static Pins {
    static PINS: OnceLock<Pins> = OnceLock::new();
    PINS.get_or_init(|| {
        let mut pins = Pins::of_card(world::card());
        let operators: (_, Option<Commands>) =
            verify_operators_with(world::CHAINS[1], &pins, Means::default()).expect("it lies in memory");
        assert_eq!(operators.0.verdict, Verdict::Intact, "{}", operators.0);
        pins.operators = operators.1.map(Arc::new);
        pins
    })
}

/// A whole chain. The verdict does not hang on the means; and what is found intact is nothing but lines that the vault
/// wrote, since its keys are out of reach here.
pub(super) fn chain(data: &[u8]) -> bool {
    let judge = |pins: &Pins, means| verify_with(data, pins, means).expect("it lies in memory");
    let report = judge(pins(), Means::default());
    super::told(&report);
    let otherwise = judge(pins(), Means { threads: 2, batch: 2, held: 4 });
    assert_eq!(report.verdict, otherwise.verdict, "other means give another verdict");
    let bare = Pins { identity: pins().identity.clone(), since_checkpoint: true, ..Pins::default() };
    let part = judge(&bare, Means::default());
    super::told(&part);
    if let Ok((report, _)) = verify_operators_with(data, pins(), Means::default()) {
        super::told(report);
    }
    for report in [&report, &part] {
        if report.verdict == Verdict::Intact {
            let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
            assert!(lines.iter().all(|line| world::wrote(line)), "a line that the vault never wrote is found intact");
            assert!(!lines.is_empty(), "nothing is found intact");
        }
    }
    report.verdict == Verdict::Intact || part.verdict == Verdict::Intact
}

const RECEIPT: &str = include_str!("../seeds/receipt/issued");

/// A receipt that proves something is one that the vault signed.
pub(super) fn receipt(data: &[u8]) -> bool {
    let Some(Ok(receipt)) = super::text(data).map(Receipt::read) else { return false };
    let written = receipt.write();
    let again = Receipt::read(&written).map(|again| again.write());
    assert_eq!(again.as_ref(), Ok(&written), "it is written as another");
    match receipt.open(world::pinned()) {
        Ok(named) if named.signed => {
            let known = Receipt::read(RECEIPT).expect("the receipt that was committed");
            assert_eq!(known.payload, receipt.payload, "nobody signed this receipt");
            true
        }
        Ok(_) => {
            let pins = Pins { receipts: vec![receipt], ..pins().clone() };
            super::told(verify_with(world::CHAINS[0], &pins, Means::default()).expect("it lies in memory"));
            false
        }
        Err(_) => false,
    }
}

const DIRECTORY: &str = include_str!("../seeds/directory/keys");

/// A directory that opens is the one that the vault signed.
pub(super) fn directory(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    match open_at_any_time(text, world::pinned()) {
        Ok(_) => {
            let read = |text: &str| serde_json::from_str::<Embedded>(text).expect("it was opened");
            assert_eq!(read(text).payload, read(DIRECTORY).payload, "nobody signed this directory");
            assert_eq!(write(&read(text)).trim_end(), text.trim_end_matches('\n'), "it is written otherwise");
            true
        }
        Err(_) => false,
    }
}

/// NockGuard's trail, its checkpoint in the first line. What is found intact are rows that were written for the seeds.
pub(super) fn nockguard(data: &[u8]) -> bool {
    let cut = data.iter().position(|byte| *byte == b'\n').map_or(data.len(), |end| end + 1);
    let (mark, rows) = data.split_at(cut);
    let keys = [nockguard::Key::Agent(world::kit().public())];
    let report = nockguard::verify(rows, Some(mark), &keys, None).expect("it lies in memory");
    super::told(&report);
    let last = rows.strip_suffix(b"\n").unwrap_or(rows).rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let _ = nockguard::written::Head::at(mark, last, &world::kit().public());
    if report.verdict != Verdict::Intact {
        return false;
    }
    let known = include_str!("../seeds/nockguard/trail");
    let row = |line: &[u8]| line.is_empty() || known.lines().any(|row| row.as_bytes() == line);
    assert!(rows.split(|byte| *byte == b'\n').all(|line| row(line.trim_ascii())), "nobody wrote this row");
    let _: Value = serde_json::to_value(&report).expect("a report is JSON");
    true
}
