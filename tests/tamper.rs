//! Promise: an auditor verifies everything offline, and a chain that was changed anywhere is refused at that place.
//!
//! Chains are made in memory with the vault's own functions, then changed: bit by bit, line by line, and by whoever holds
//! the vault's audit key.

#![allow(clippy::unwrap_used, reason = "what makes the chains panics where it cannot")]

#[path = "tamper/approvals.rs"]
mod approvals;
#[path = "tamper/backends.rs"]
mod backends;
#[path = "tamper/cases.rs"]
mod cases;
#[path = "tamper/chain.rs"]
mod chain;
#[path = "tamper/checkpoints.rs"]
mod checkpoints;
#[path = "tamper/claims.rs"]
mod claims;
#[path = "tamper/cli.rs"]
mod cli;
#[path = "support/committed.rs"]
mod committed;
#[path = "tamper/custody.rs"]
mod custody;
#[path = "tamper/daemons.rs"]
mod daemons;
#[path = "tamper/files.rs"]
mod files;
#[path = "tamper/freezes.rs"]
mod freezes;
#[path = "tamper/given.rs"]
mod given;
#[path = "tamper/operators.rs"]
mod operators;
#[path = "tamper/parts.rs"]
mod parts;
#[path = "tamper/proof.rs"]
mod proof;
#[path = "tamper/reports.rs"]
mod reports;
#[path = "tamper/requests.rs"]
mod requests;
#[path = "tamper/restores.rs"]
mod restores;
#[path = "tamper/seeds.rs"]
mod seeds;
#[path = "tamper/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;

use approvals::APPROVALS;
use backends::BACKENDS;
use cases::{Bad, Case, receipt, sealed};
use chain::CHAIN;
use checkpoints::CHECKPOINTS;
use custody::CUSTODY;
use daemons::{DAEMONS, Told};
use freezes::FREEZES;
use given::GIVEN;
use nockvault::audit::chain::append;
use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::entry;
use nockvault::audit::verify::report::{Fault, Report, Verdict};
use nockvault::audit::verify::{Kept, Means, Pins, verify, verify_operators, verify_operators_with, verify_with};
use nockvault::crypto::json::Admission;
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::request::Seen;
use nockvault::time::Seconds;
use operators::OPERATORS;
use parts::PARTS;
use requests::REQUESTS;
use restores::RESTORES;
use world::{Chain, START, World, file, signed};

fn report(bytes: &[u8], pins: &Pins) -> Report {
    verify(bytes, pins).expect("memory can be read")
}

/// Little memory, so that what is past is in files after a few entries, and several threads.
const ELSEWHERE: [Means; 3] = [
    Means { threads: 1, batch: 64, held: 1 },
    Means { threads: 3, batch: 1, held: 3 },
    Means { threads: 2, batch: 5, held: 16_384 },
];

/// The number of the first entry of a file.
fn first(lines: &[Vec<u8>]) -> u64 {
    entry::Entry::read(&lines[0]).map_or(0, |entry| entry.seq)
}

/// Where the file was tampered with, and how; or what else was thought of it.
fn tampered(bytes: &[u8], pins: &Pins) -> Result<(u64, Fault), Verdict> {
    tampered_in(&report(bytes, pins))
}

fn tampered_in(found: &Report) -> Result<(u64, Fault), Verdict> {
    match &found.verdict {
        Verdict::Tampered { entry, line, fault, how } => {
            assert_eq!(*line, entry - found.first + 1);
            assert!(!how.is_empty() && !how.contains('\n'), "not a sentence: {how}");
            Ok((*entry, *fault))
        }
        other => Err(other.clone()),
    }
}

#[test]
fn a_chain_as_the_vault_writes_it_is_intact() {
    let world = World::whole(1);
    let (operators, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    assert_eq!(operators.verdict, Verdict::Intact, "{operators}");
    let pins = Pins { operators: commands.map(Arc::new), heads: vec![world.kit.head.seen()], ..world.pins() };
    let found = report(&world.kit.file(), &pins);
    assert_eq!(found.verdict, Verdict::Intact, "{found}");
    assert_eq!((found.size, found.head), (world.kit.head.size, world.kit.head.leaf));
    assert_eq!((found.keys.len(), found.audit_keys.len()), (3, 2));
    assert_eq!(found.kinds.len(), 19, "{:?}", found.kinds);
    assert_eq!(found.aud.as_ref(), Some(&world.aud));
    for means in ELSEWHERE {
        assert_eq!(verify_with(world.kit.file().as_slice(), &pins, means).unwrap(), found);
        let (report, commands) =
            verify_operators_with(world.operators.file().as_slice(), &world.pins(), means).unwrap();
        assert_eq!((report, commands.is_some()), (operators.clone(), true));
    }
}

#[test]
fn the_earliest_fault_counts_though_only_the_end_shows_it() {
    let mut world = World::at_work(15);
    let again = world.last_issue().request;
    for _ in 0..20 {
        world.obtain();
    }
    world.vouch();
    let repeated = world.kit.lines.len() as u64;
    let mut issue = world.issue(again.clone());
    issue.hdr.lease = world.lease();
    world.put(issue);
    for _ in 0..20 {
        world.obtain();
    }
    world.vouch();
    let alone = report(&world.kit.file(), &world.pins());
    assert!(matches!(alone.verdict, Verdict::Tampered { entry, fault: Fault::RequestTwice, .. } if entry == repeated));
    // A later fault does not hide it, and neither does a line that nobody understands.
    let mut later = world.kit.lines.clone();
    later.push(b"nonsense".to_vec());
    let mut puzzled = world.kit.lines.clone();
    puzzled.push(br#"{"v":2}"#.to_vec());
    for lines in [&world.kit.lines, &later, &puzzled] {
        for means in ELSEWHERE {
            let found = verify_with(file(lines).as_slice(), &world.pins(), means).unwrap();
            assert_eq!((&found.verdict, found.size, found.to), (&alone.verdict, alone.size, alone.to), "{found}");
            let sizes: Vec<_> = found.checkpoints.iter().map(|seen| seen.size).collect();
            assert_eq!((found.checkpoint_count, sizes), (1, vec![repeated - 1]), "{found}");
        }
    }
}

#[test]
fn an_operator_whom_custody_made_is_named_and_commands() {
    let mut world = World::at_work(1);
    let key = nockvault::crypto::signature::SigningKey::generate(&world.entropy);
    let made = custody::zoe(&world, &key);
    let at = world.operators.put(&world.audit, &made.into(), world.now);
    let list = nockvault::statement::operator::OperatorList {};
    let signed = operators::signed_by(&world, "zoe", &key, &list);
    world.order(entry::Command::carried(signed, serde_json::Map::new()));
    let (found, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    assert_eq!((&found.verdict, commands.is_some()), (&Verdict::Intact, true), "{found}");
    let [zoe] = &found.made_by_custody[..] else { panic!("{found}") };
    assert_eq!((zoe.entry, zoe.operator.as_str(), &zoe.kid), (at.seq, "zoe", &key.kid()));
    assert_eq!((zoe.custodian.as_str(), zoe.kind, &zoe.shares[..], zoe.of), ("ops", "shares", &[1, 3][..], Some(3)));
    let text = found.to_string();
    for said in ["zoe was made admin by custody (shares ops, 2 of 3: 1, 3) at ", "WHO MADE zoe AN OPERATOR in entry "] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
}

#[test]
fn a_command_that_the_vault_passed_over_is_named() {
    let mut world = World::at_work(1);
    let by = world.command(GrantRevoke { agent: "kit".parse().unwrap(), role: "orders-read".parse().unwrap() });
    world.obtain();
    let (_, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    let pins = Pins { operators: commands.map(Arc::new), ..world.pins() };
    let told = |world: &World| report(&world.kit.file(), &pins).to_string();
    let said = format!("THAT THE VAULT OBEYED the commands in the entries [{}] of _operators", by.seq);
    assert!(told(&world).contains(&said), "{}", told(&world));
    world.put(entry::Ungrant { by, grant: world.grant, role: "orders-read".parse().unwrap() });
    assert!(told(&world).contains(": intact\n") && !told(&world).contains("OBEYED"), "{}", told(&world));
}

#[test]
fn a_report_says_loudly_what_it_does_not_prove() {
    let world = World::whole(1);
    let bare = report(&world.kit.file(), &Pins::default());
    assert_eq!((bare.verdict.clone(), bare.pinned), (Verdict::Intact, false));
    let text = bare.to_string();
    for said in ["NOT PINNED", "WHOSE VAULT THIS IS", "its end was cut off", "--operators", "--agent-key"] {
        assert!(text.contains(said), "{said:?} is missing in:\n{text}");
    }
    let pinned = report(&world.kit.file(), &Pins { heads: vec![world.kit.head.seen()], ..world.pins() }).to_string();
    assert!(!pinned.contains("NOT PINNED") && !pinned.contains("its end was cut off"), "{pinned}");
}

fn bad_files() -> impl Iterator<Item = Case> {
    let all = [
        CHAIN,
        REQUESTS,
        GIVEN,
        BACKENDS,
        OPERATORS,
        APPROVALS,
        CUSTODY,
        CHECKPOINTS,
        DAEMONS,
        FREEZES,
        RESTORES,
        PARTS,
    ];
    all.into_iter().flatten().copied()
}

#[test]
fn every_bad_file_is_refused_at_its_entry_and_for_its_fault() {
    let (mut covered, mut verdicts) = (BTreeSet::new(), String::new());
    for (name, fault, make) in bad_files() {
        let Bad { lines, pins, entry, operators } = make();
        assert_eq!(operators.is_some(), pins.operators.is_some(), "{name}");
        let alone = report(&file(&lines), &pins);
        let found = tampered_in(&alone);
        assert_eq!(found, Ok((first(&lines) + entry as u64, fault)), "{name}: {alone}");
        if String::from_utf8_lossy(&lines[0]).contains("\"origin\":\"prod/_operators\"") {
            assert!(verify_operators(file(&lines).as_slice(), &pins).unwrap().1.is_none(), "{name}: commands");
        }
        verdicts += &format!("{name}\n  {}\n", alone.verdict);
        for means in ELSEWHERE {
            let found = verify_with(file(&lines).as_slice(), &pins, means).unwrap();
            assert_eq!(found.verdict, alone.verdict, "{name}: {found}");
            let good = |report: &Report| (report.first, report.size, report.head, report.from, report.to);
            assert_eq!(good(&found), good(&alone), "{name}: {found}");
        }
        if entry > 0 {
            // It is the last entry that is wrong, and nothing before it.
            let before =
                report(&file(&lines[..entry]), &Pins { heads: vec![], receipts: vec![], checkpoints: vec![], ..pins });
            assert_eq!(before.verdict, Verdict::Intact, "{name}: {before}");
        }
        covered.insert(fault);
    }
    let missing: Vec<_> = Fault::ALL.iter().filter(|fault| !covered.contains(fault)).collect();
    assert!(missing.is_empty(), "no bad file for {missing:?}");
    committed::stands("tests/tamper/verdicts.txt", verdicts);
}

/// `_vault` with three entries: small enough to flip every bit of it.
fn small() -> (Chain, Pins) {
    let (chain, world) = daemons::vault(&[Told::Start, Told::Stop]);
    let pins = world.pins();
    (chain, pins)
}

#[test]
fn daemons_begin_and_end_as_they_can() {
    use Told::{Config, Epoch, Recover, Refused, Restore, Start, StartWithout, Stop};
    for told in [
        [Start, Config, Refused, Epoch, Stop].as_slice(),
        &[Start, Config, Stop, Start, Stop],
        // Broken off twice, the second time before it was said; and by one that did not say such things.
        &[Start, Config, Start, Start, Recover(3), Epoch, Stop],
        &[Start, Config, Start, Config, Recover(3), Refused],
        &[Start, Start, Refused, Stop],
        &[Start, Start],
        // The daemon under which a backup was made is broken off as far as the restored vault knows, or it had ended.
        &[Start, Config, Restore(1), StartWithout, Recover(3), Config, Stop, Restore(4), StartWithout, Refused],
    ] {
        let (chain, world) = daemons::vault(told);
        let found = report(&chain.file(), &world.pins());
        assert_eq!(found.verdict, Verdict::Intact, "{found}");
    }
}

#[test]
fn the_clock_falls_where_an_operator_said_so_and_checkpoints_go_on() {
    let mut world = World::at_work(16);
    world.vouch();
    world.obtain();
    let by = daemons::said(&mut world);
    let (size, ahead) = (world.kit.head.size, world.now);
    world.now = nockvault::time::Timestamp(START.0 + 500);
    world.put(entry::ClockReset { by: by.clone() });
    world.obtain();
    world.vouch();
    world.now = START;
    world.operators.put(&world.audit, &entry::ClockReset { by }.into(), world.now);
    let (operators, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    assert_eq!(operators.verdict, Verdict::Intact, "{operators}");
    let kept = vec![checkpoints::kept(&world, 3, None), checkpoints::kept(&world, world.kit.lines.len(), None)];
    let pins = Pins { operators: commands.map(Arc::new), checkpoints: kept, ..world.pins() };
    let found = report(&world.kit.file(), &pins);
    assert_eq!(found.verdict, Verdict::Intact, "{found}");
    assert!(found.to.unwrap() < ahead);
    let sizes: Vec<_> = found.checkpoints.iter().map(|seen| seen.size).collect();
    assert_eq!((found.checkpoint_count, sizes), (2, vec![4, size + 2]));
}

#[test]
fn a_checkpoint_that_nobody_vouches_for_decides_nothing() {
    let mut world = World::at_work(17);
    let other = World::at_work(18);
    let told = |world: &World, kept: Kept| {
        let pins = Pins { checkpoints: vec![kept], ..world.pins() };
        match report(&world.kit.file(), &pins).verdict {
            Verdict::Unusable { how } => how,
            verdict => panic!("{verdict}"),
        }
    };
    let mine = checkpoints::kept(&world, 3, None);
    assert!(told(&world, mine.clone()).contains("holds no checkpoint with the certificate"));
    world.vouch();
    assert_eq!(report(&world.kit.file(), &Pins { checkpoints: vec![mine], ..world.pins() }).verdict, Verdict::Intact);
    // Neither one that somebody made up, with whatever root, nor one of another chain is held against this one.
    let wish = Checkpoint::of("prod/kit", &other.kit.head.tree);
    let made_up = Kept::read(&wish.sign(&other.identity)).unwrap();
    assert!(told(&world, made_up).contains("is not the vault's"));
    let elsewhere = Kept::read(&Checkpoint { origin: "prod/mira".into(), ..wish }.sign(&checkpoints::key())).unwrap();
    assert!(told(&world, elsewhere).contains("the checkpoint is of the chain \"prod/mira\""));
    assert!(Kept::read("prod/kit\n4\n").is_err());
}

/// Flips the bits of a file that `which` chooses, and sees that each is found at the entry in which it lies.
fn flip(lines: &[Vec<u8>], pins: &Pins, which: impl Fn(usize) -> bool) {
    let bytes = file(lines);
    assert_eq!(report(&bytes, pins).verdict, Verdict::Intact);
    let (mut entry, mut flipped) = (0, 0);
    for at in 0..bytes.len() {
        for bit in (0..8).filter(|bit| which(at * 8 + bit)) {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            let found = tampered(&changed, pins).unwrap_or_else(|other| panic!("byte {at}, bit {bit}: {other:?}"));
            assert_eq!(found.0, entry, "byte {at}, bit {bit} was found as {:?}", found.1);
            flipped += 1;
        }
        entry += u64::from(bytes[at] == b'\n');
    }
    assert!(flipped > 1000, "only {flipped} bits were flipped");
}

#[test]
fn any_flipped_bit_of_a_small_chain_is_found_at_its_entry() {
    let (chain, pins) = small();
    flip(&chain.lines, &pins, |_| true);
}

#[test]
fn flipped_bits_of_an_agents_chain_are_found_at_their_entries() {
    let world = World::at_work(4);
    // A prime step, so that in the end every bit position of a byte has its turn.
    flip(&world.kit.lines, &world.pins(), |bit| bit % 23 == 0);
}

#[test]
fn a_removed_line_is_found_where_it_was() {
    let world = World::whole(5);
    for gone in 0..world.kit.lines.len() - 1 {
        let mut lines = world.kit.lines.clone();
        lines.remove(gone);
        assert_eq!(tampered(&file(&lines), &world.pins()), Ok((gone as u64, Fault::Seq)), "without {gone}");
    }
}

#[test]
fn a_cut_off_end_shows_only_against_what_others_hold() {
    let world = World::whole(5);
    let lines = &world.kit.lines[..world.kit.lines.len() - 1];
    assert_eq!(report(&file(lines), &world.pins()).verdict, Verdict::Intact);
    let pins = Pins { heads: vec![world.kit.head.seen()], ..world.pins() };
    assert_eq!(tampered(&file(lines), &pins), Ok((lines.len() as u64, Fault::Head)));
}

#[test]
fn a_line_that_stands_twice_or_elsewhere_is_found() {
    let world = World::whole(6);
    let count = world.kit.lines.len();
    for one in 0..count {
        let mut twice = world.kit.lines.clone();
        twice.insert(one, twice[one].clone());
        assert_eq!(tampered(&file(&twice), &world.pins()), Ok((one as u64 + 1, Fault::Seq)), "{one} twice");
        for other in one + 1..count {
            let mut swapped = world.kit.lines.clone();
            swapped.swap(one, other);
            assert_eq!(tampered(&file(&swapped), &world.pins()), Ok((one as u64, Fault::Seq)), "{one} and {other}");
        }
    }
}

#[test]
fn a_line_of_another_chain_of_the_same_vault_does_not_fit() {
    let world = World::whole(8);
    for (at, line) in world.operators.lines.iter().enumerate() {
        let mut lines = world.kit.lines.clone();
        lines[at] = line.clone();
        let found = tampered(&file(&lines), &world.pins());
        // The two genesis entries are both the first of their chains, so the next line shows that they are not of one.
        let place = at.max(1) as u64;
        assert!(matches!(found, Ok((entry, Fault::Prev | Fault::Origin)) if entry == place), "{at}: {found:?}");
    }
}

#[test]
fn a_false_history_in_a_refused_request_is_the_agents_claim() {
    let mut world = World::at_work(9);
    let fork = Seen { head: nockvault::crypto::hash::Digest::of(b"fork"), size: 2 };
    let request = world.ask_as(world.wish(), |common| common.seen = fork);
    world.put(entry::Deny { handle: None, lease: None, reason: "history_mismatch".into(), request });
    let found = report(&world.kit.file(), &world.pins());
    assert_eq!(found.verdict, Verdict::Intact);
    assert!(found.to_string().contains("claims in the refused requests of the entries [4]"), "{found}");
}

#[test]
fn a_torn_line_is_told_from_a_changed_one() {
    let world = World::at_work(10);
    let bytes = world.kit.file();
    let last = world.kit.lines.len() as u64 - 1;
    let half = bytes.len() - world.kit.lines.last().unwrap().len() / 2;
    for cut in [half, bytes.len() - 2] {
        match report(&bytes[..cut], &world.pins()).verdict {
            Verdict::Torn { entry, .. } => assert_eq!(entry, last),
            other => panic!("cut at {cut}: {other}"),
        }
    }
    let whole = report(&bytes[..bytes.len() - 1], &world.pins());
    assert_eq!(whole.verdict, Verdict::Intact);
    assert!(whole.to_string().contains("its LF is missing"), "{whole}");
    let mut broken = bytes[..half].to_vec();
    broken.push(b'\n');
    assert_eq!(tampered(&broken, &world.pins()), Ok((last, Fault::Malformed)));
}

#[test]
fn what_is_no_chain_is_not_called_tampered() {
    for bytes in [b"".as_slice(), b"\n", b"hello\nworld\n", b"{}\n", b"\xff\xd8\xff\xe0", &[b'x'; 300_000]] {
        let verdict = report(bytes, &Pins::default()).verdict;
        assert!(matches!(verdict, Verdict::Unusable { .. }), "{verdict}");
    }
}

#[test]
fn an_unknown_kind_or_version_is_checked_as_far_as_it_is_known() {
    for change in [
        |entry: &mut serde_json::Value| entry["kind"] = "rebuild".into(),
        |entry: &mut serde_json::Value| entry["v"] = 2.into(),
    ] {
        let mut world = World::at_work(11);
        let key = world::copy(&world.stolen);
        world.rewrite(&key, change);
        let after = entry::SessionEnd { by: None, reason: "idle".into(), sid: world.sid.parse().unwrap() };
        world.put(after);
        match report(&world.kit.file(), &world.pins()).verdict {
            Verdict::NotUnderstood { entry, .. } => assert_eq!(entry, 3),
            other => panic!("{other}"),
        }
        // The chain around it is still checked.
        let mut forged = world.kit.lines.clone();
        let other = nockvault::crypto::signature::SigningKey::generate(&world.entropy);
        forged[3] = signed(serde_json::from_slice(&forged[3]).unwrap(), &other);
        assert_eq!(tampered(&file(&forged), &world.pins()), Ok((3, Fault::Signature)));
    }
}

#[test]
fn receipts_and_ages_are_held_against_the_chain() {
    let mut world = World::at_work(12);
    let mut issue = world.next_issue();
    issue.sealed = sealed().2;
    world.put(issue);
    let kept = receipt(&world, |_| {});
    let pins = Pins { receipts: vec![kept.clone()], ..world.pins() };
    let found = report(&world.kit.file(), &pins);
    assert_eq!(found.verdict, Verdict::Intact, "{found}");
    assert!(found.to_string().contains("1 signed receipt "), "{found}");
    let mut false_receipt = kept;
    false_receipt.payload["entry"]["seq"] = 3.into();
    let pins = Pins { receipts: vec![false_receipt], ..world.pins() };
    assert!(matches!(report(&world.kit.file(), &pins).verdict, Verdict::Unusable { .. }));

    let age = |seconds| Pins { max_age: Some((world.now.plus(Seconds(61)), Seconds(seconds))), ..world.pins() };
    assert_eq!(report(&world.kit.file(), &age(61)).verdict, Verdict::Intact);
    assert!(matches!(report(&world.kit.file(), &age(60)).verdict, Verdict::Stale { .. }));
}

#[test]
fn an_operators_file_that_is_older_or_elsewhere_decides_nothing() {
    let world = World::at_work(13);
    let older = file(&world.operators.lines[..2]);
    let elsewhere = World::at_work(14);
    for (bytes, pins) in [(older, world.pins()), (elsewhere.operators.file(), elsewhere.pins())] {
        let commands = verify_operators(bytes.as_slice(), &pins).unwrap().1;
        let pins = Pins { operators: commands.map(Arc::new), ..world.pins() };
        assert!(pins.operators.is_some());
        let verdict = report(&world.kit.file(), &pins).verdict;
        assert!(matches!(verdict, Verdict::Unusable { .. }), "{verdict}");
    }
}

/// The `deny` that an intent ends with rests on a key that is over; that is how an honest vault writes it.
#[test]
fn an_intent_may_outlive_its_key() {
    let mut world = World::at_work(13);
    world.outlived();
    let found = report(&world.kit.file(), &world.pins());
    assert_eq!(found.verdict, Verdict::Intact, "{found}");
}

#[test]
fn an_issuance_is_not_recorded_before_its_own_time() {
    let mut world = World::at_work(19);
    let mut issue = world.next_issue();
    (issue.hdr.iat, issue.hdr.exp) = (issue.hdr.iat.plus(Seconds(9)), issue.hdr.exp.plus(Seconds(9)));
    let iat = issue.hdr.iat;
    world.put(issue);
    assert_eq!((world.kit.head.ts, report(&world.kit.file(), &world.pins()).verdict), (iat, Verdict::Intact));
}

/// A line may have so many bytes, with its LF or at the end without one; what is longer is cut there and is no entry.
#[test]
fn a_line_is_read_up_to_its_limit() {
    let limit = Admission::OPERATORS_LINE.max_bytes;
    let mut world = World::at_work(23);
    let padded = |world: &World, bytes: usize| {
        let list = world.signed_command(&nockvault::statement::operator::OperatorList {});
        let result = serde_json::json!({ "operators": "x".repeat(bytes) });
        entry::Command::carried(list, result.as_object().cloned().unwrap())
    };
    let bare = padded(&world, 0);
    let bare = append(&world.operators.head, &world.audit, &bare.into(), world.now).unwrap().0.len();
    let longest = padded(&world, limit - bare);
    world.order(longest);
    assert_eq!(world.operators.lines.last().map(Vec::len), Some(limit));
    let whole = world.operators.file();
    for bytes in [&whole[..], &whole[..whole.len() - 1]] {
        let found = report(bytes, &world.pins());
        assert_eq!(found.verdict, Verdict::Intact, "{found}");
    }
    // A text that does not end, without LF: torn where it may be a line, and none where it is too long for one.
    for (more, torn) in [(0, true), (1, true), (2, false), (3, false)] {
        let bytes = [whole.clone(), b"{\"a\":\"".to_vec(), vec![b'x'; limit + more - 6]].concat();
        let verdict = report(&bytes, &world.pins()).verdict;
        assert_eq!(matches!(verdict, Verdict::Torn { .. }), torn, "{more}: {verdict}");
    }
}
