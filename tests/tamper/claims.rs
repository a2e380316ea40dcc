//! What a report claims, where the file gives out before the claim is true: whatever stands under "proved" holds also in a
//! file that is torn, not understood or tampered with, and in front of a terminal.

use std::sync::Arc;

use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::directory::open_at_any_time;
use nockvault::audit::entry::Entry;
use nockvault::audit::proof::{self, Asked, NotProved};
use nockvault::audit::verify::operators::Commands;
use nockvault::audit::verify::report::{Fault, Report, Verdict};
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::crypto::hash::leaf;
use nockvault::crypto::signature::SigningKey;
use nockvault::entropy::{Entropy, SeededEntropy};
use nockvault::statement::directory::{Directory, ListedKey};
use nockvault::statement::request::Seen;
use nockvault::time::Timestamp;

use crate::checkpoints::{kept, key, pinned};
use crate::cli::Desk;
use crate::files::{begins, listed, note, proof};
use crate::world::{World, file};

fn report(bytes: &[u8], pins: &Pins) -> Report {
    verify(bytes, pins).unwrap()
}

fn proves(found: &Report, said: &str) -> bool {
    found.proved.iter().any(|sentence| sentence.contains(said))
}

/// The vault's key directory as an auditor has it.
fn directory(world: &World, change: impl FnOnce(&mut Vec<ListedKey>)) -> Directory {
    open_at_any_time(&listed(world, change), &world.identity.public()).unwrap()
}

#[test]
fn what_was_kept_elsewhere_is_claimed_only_where_it_was_compared() {
    let world = World::whole(60);
    let whole = world.kit.file();
    let held = |size: usize| Pins { heads: vec![world.kit.head.seen()], ..pinned(&world, kept(&world, size, None)) };
    assert!(proves(&report(&whole, &held(20)), "kept elsewhere"));
    // Torn before that entry, and changed before it.
    let torn = report(&whole[..file(&world.kit.lines[..9]).len() + 40], &held(20));
    assert!(matches!(torn.verdict, Verdict::Torn { entry: 9, .. }), "{torn}");
    let mut lines = world.kit.lines.clone();
    lines.remove(5);
    let cut = report(&file(&lines), &held(20));
    assert!(matches!(cut.verdict, Verdict::Tampered { entry: 5, .. }), "{cut}");
    for found in [torn, cut] {
        assert!(!proves(&found, "kept elsewhere"), "{found}");
        assert!(!found.to_string().contains("nothing that was kept reaches further"), "{found}");
    }
}

#[test]
fn a_line_that_anybody_may_have_put_behind_the_end_is_none_of_the_vaults_entries() {
    let world = World::at_work(61);
    let mut bytes = world.kit.file();
    bytes.extend_from_slice(b"{\"v\":2}\n{\"v\":3}\n");
    let found = report(&bytes, &world.pins());
    assert!(matches!(found.verdict, Verdict::NotUnderstood { entry: 4, line: 5, .. }), "{found}");
    assert_eq!((found.size, found.head), (4, world.kit.head.leaf));
    assert!(proves(&found, "wrote 4 entries"), "{found}");
    // In the place of one that is held elsewhere it is an entry that was changed.
    let mut longer = World::at_work(61);
    longer.obtain();
    let seen = Seen { head: longer.kit.head.leaf, size: 5 };
    let by_head = report(&bytes, &Pins { heads: vec![seen], ..world.pins() });
    assert!(matches!(by_head.verdict, Verdict::Tampered { entry: 4, fault: Fault::Head, .. }), "{by_head}");
    let by_checkpoint = report(&bytes, &pinned(&longer, kept(&longer, 5, None)));
    let fault = Fault::KeptCheckpoint;
    assert!(
        matches!(by_checkpoint.verdict, Verdict::Tampered { entry: 4, fault: f, .. } if f == fault),
        "{by_checkpoint}"
    );
}

#[test]
fn a_key_that_the_directory_lists_for_another_is_none_of_the_agents() {
    let world = World::whole(62);
    let of_mira = |keys: &mut Vec<ListedKey>| keys[1].agent = Some("mira".parse().unwrap());
    let found = |directory: Directory| {
        report(&world.kit.file(), &Pins { directory: Some(Arc::new(directory)), ..world.pins() })
    };
    let other = found(directory(&world, of_mira));
    assert!(matches!(other.verdict, Verdict::Tampered { fault: Fault::KeyPin, .. }), "{other}");
    let good = found(directory(&world, |_| {}));
    assert!(good.verdict == Verdict::Intact && proves(&good, "are those that the vault showed"), "{good}");
    let nameless = found(directory(&world, of_mira).nameless());
    assert!(nameless.verdict == Verdict::Intact && proves(&nameless, "are among those that"), "{nameless}");
    // Made before the later keys were registered, it says nothing of them.
    let mut early = directory(&world, |keys| keys.truncate(1));
    early.iat = Timestamp(crate::world::START.0 + 3000);
    let early = found(early);
    assert!(early.verdict == Verdict::Intact && early.to_string().contains("showed anybody 2 keys"), "{early}");
}

#[test]
fn a_directory_without_names_tells_nobody_who_asked() {
    let world = World::whole(63);
    let begin = begins(&world);
    let part = |directory: Directory| {
        let pins = Pins { since_checkpoint: true, directory: Some(Arc::new(directory)), ..world.pins() };
        report(&file(&world.kit.lines[begin..]), &pins)
    };
    let named = part(directory(&world, |_| {}));
    assert!(named.verdict == Verdict::Intact && !named.to_string().contains("WHO SIGNED"), "{named}");
    let nameless = part(directory(&world, |_| {}).nameless());
    assert!(nameless.verdict == Verdict::Intact && nameless.to_string().contains("WHO SIGNED"), "{nameless}");
    assert!(nameless.to_string().contains("it has no names"), "{nameless}");
    let text = proof(&world, 3, 9, &note(&world, 9));
    let asked = |directory: Directory| {
        let pins = proof::Pins { directory: Some(Arc::new(directory)), ..proof::Pins::new(world.identity.public()) };
        proof::verify(&text, &pins).map(|proved| proved.asked)
    };
    let first = crate::parts::keys(&world.kit.lines)[0].kid();
    assert_eq!(asked(directory(&world, |_| {})), Ok(Asked::Signed(first.clone())));
    assert_eq!(asked(directory(&world, |_| {}).nameless()), Ok(Asked::Claimed(first.to_string())));
    // Another's key, and one that was over or not there yet, is none of the holder's at that time.
    let changes: [fn(&mut ListedKey); 3] = [
        |key| key.agent = Some("mira".parse().unwrap()),
        |key| key.ended = Some(crate::world::START),
        |key| key.since = Timestamp(crate::world::START.0 + 60_000),
    ];
    for change in changes {
        let why = asked(directory(&world, |keys| change(&mut keys[0]))).unwrap_err();
        assert_eq!(why, NotProved::Holder(first.to_string()));
    }
}

/// In a part of a chain a key is told by the directory, also from when on it was the agent's.
#[test]
fn a_request_of_before_its_key_was_listed_is_nobodys_in_a_part() {
    let world = World::whole(65);
    let begin = begins(&world);
    let (_, commands) = verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap();
    let known = commands.map(Arc::new);
    let part = |operators: Option<Arc<Commands>>, late: bool| {
        let change = |keys: &mut Vec<ListedKey>| {
            for key in keys.iter_mut().filter(|_| late) {
                key.since = Timestamp(crate::world::START.0 + 3_600_000);
            }
        };
        let directory = Some(Arc::new(directory(&world, change)));
        report(&file(&world.kit.lines[begin..]), &Pins { since_checkpoint: true, directory, operators, ..world.pins() })
    };
    for operators in [None, known.clone()] {
        let good = part(operators, false);
        assert!(good.verdict == Verdict::Intact && !good.to_string().contains("WHO SIGNED"), "{good}");
    }
    // Registered in the instant of its first request, it is in time.
    let first = Entry::read(&world.kit.lines[begin + 1]).unwrap().ts;
    for (since, in_time) in [(first, true), (Timestamp(first.0 + 1), false)] {
        let directory = Some(Arc::new(directory(&world, |keys| keys[1].since = since)));
        let pins = Pins { since_checkpoint: true, directory, ..world.pins() };
        let found = report(&file(&world.kit.lines[begin..]), &pins);
        assert_eq!(!found.to_string().contains("WHO SIGNED"), in_time, "{found}");
    }
    // Where the clock may have been reset it is left open; where it never was, it cannot be.
    let open = part(None, true);
    assert!(open.verdict == Verdict::Intact && open.to_string().contains("WHO SIGNED"), "{open}");
    let late = part(known, true);
    assert!(matches!(late.verdict, Verdict::Tampered { fault: Fault::RequestKey, .. }), "{late}");
}

#[test]
fn names_of_files_do_not_steer_a_terminal_and_files_without_end_are_not_read_to_it() {
    let desk = Desk::new();
    let name = "a\u{1b}[2Kb\u{202e}.audit.jsonl";
    desk.write(name, &desk.world.kit.file());
    for name in [name, "gone\u{1b}[2K"] {
        let (_, text) = desk.run(&[name]);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    }
    for option in ["--proof", "--checkpoint", "--receipt", "--directory", "--witness-policy"] {
        let (code, text) =
            desk.run(&["--vault", "prod.card", "--proof", "/dev/null", option, "/dev/zero", "kit.audit.jsonl"]);
        assert!(code == 1 && text.contains("more than any such file"), "{option}: {text}");
    }
}

#[test]
fn no_option_that_was_given_is_passed_over() {
    let desk = Desk::new();
    desk.write("entry.proof", proof(&desk.world, 3, 9, &note(&desk.world, 9)).as_bytes());
    let hex = "00".repeat(32);
    for option in ["--proof", "--checkpoint", "--directory", "--witness-policy"] {
        let (code, text) =
            desk.run(&["--format", "nockguard", "--agent-key", &hex, option, "entry.proof", "kit.audit.jsonl"]);
        assert!(code == 1 && text.contains(option), "{option}: {text}");
    }
    for (option, value) in [("--checkpoint", "kept"), ("--receipt", "kept.receipt"), ("--max-age", "1h")] {
        let (code, text) = desk.run(&["--vault", "prod.card", "--proof", "entry.proof", option, value]);
        assert!(code == 1 && text.contains("give the chain's file"), "{option}: {text}");
    }
}

#[test]
fn a_folder_of_checkpoints_holds_operators_too_and_every_file_of_a_chain() {
    let desk = Desk::new();
    let world = &desk.world;
    for folder in ["mirror", "safe"] {
        std::fs::create_dir_all(desk.path(folder)).unwrap();
    }
    desk.write("mirror/kit.audit.jsonl", &world.kit.file());
    desk.write("mirror/_operators.audit.jsonl", &world.operators.file());
    desk.write("all.keys", listed(world, |_| {}).as_bytes());
    desk.write("safe/kit.checkpoint", note(world, 9).as_bytes());
    let (origin, tree) = (&world.operators.head.origin, &world.operators.head.tree);
    desk.write("safe/_operators.checkpoint", Checkpoint::of(origin, tree).sign(&key()).as_bytes());
    let all = ["--vault", "prod.card", "--directory", "all.keys", "--checkpoint", "safe", "mirror"];
    let (code, text) = desk.run(&all);
    assert_eq!((code, text.matches("1 signed checkpoint").count()), (0, 2), "{text}");
    // A second file of the chain is held to it as well.
    desk.write("mirror/kit2.audit.jsonl", &file(&world.kit.lines[..5]));
    let (code, text) = desk.run(&all);
    assert!(code == 2 && text.contains("kit2.audit.jsonl: prod/kit: TAMPERED at entry 5"), "{text}");
    desk.write("mirror/_operators.audit.jsonl", &file(&world.operators.lines[..world.operators.lines.len() - 1]));
    let (code, text) = desk.run(&all);
    assert!(code == 2 && text.contains("prod/_operators: TAMPERED") && text.contains("cut off"), "{text}");
}

/// Random bits, bytes and lines, in a whole chain and in a part of one.
#[test]
fn no_change_of_a_file_goes_by() {
    const ROUNDS: u32 = 30;
    let world = World::whole(64);
    let begin = begins(&world);
    let dice = SeededEntropy::new(65);
    let roll = |below: usize| {
        let bytes: [u8; 8] = (&dice as &dyn Entropy).bytes();
        (u64::from_be_bytes(bytes) % below as u64) as usize
    };
    let pins = crate::parts::pins(&world);
    for lines in [&world.kit.lines[..], &world.kit.lines[begin..]] {
        let good = file(lines);
        assert_eq!(report(&good, &pins).verdict, Verdict::Intact);
        for _ in 0..ROUNDS {
            let mut bytes = good.clone();
            let (at, other) = (roll(bytes.len()), roll(bytes.len()));
            match roll(6) {
                0 => bytes[at] ^= 1 << roll(8),
                1 => bytes[at] = roll(256) as u8,
                2 => drop(bytes.remove(at)),
                3 => bytes.insert(at, roll(256) as u8),
                4 => bytes.swap(at, other),
                _ => {
                    let mut lines = lines.to_vec();
                    let (at, other) = (roll(lines.len()), roll(lines.len()));
                    match roll(3) {
                        0 => lines.swap(at, other),
                        1 => lines.insert(at, lines[other].clone()),
                        _ => drop(lines.remove(at)),
                    }
                    bytes = file(&lines);
                }
            }
            if good.starts_with(&bytes) {
                continue;
            }
            let found = report(&bytes, &pins);
            assert_ne!(found.verdict.exit_code(), 0, "{found}\n{}", String::from_utf8_lossy(&bytes));
        }
    }
    // What an audit key signs that no cert of this vault names is nobody's.
    let stranger = SigningKey::generate(&SeededEntropy::new(66));
    let mut lines = world.kit.lines.clone();
    let last = lines.len() - 1;
    lines[last] = crate::world::signed(serde_json::from_slice(&lines[last]).unwrap(), &stranger);
    assert_ne!(leaf(&lines[last]), world.kit.head.leaf);
    assert!(matches!(report(&file(&lines), &pins).verdict, Verdict::Tampered { fault: Fault::Signature, .. }));
}
