//! NockGuard's own trails: those that its keys signed verify, and nothing that was done to them goes by.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/committed.rs"]
mod committed;

use std::path::Path;
use std::process::Command;

use nockvault::audit::nockguard::{Key, Report, Signer, verify};
use nockvault::audit::verify::report::{Fault, Verdict};
use nockvault::crypto::mac::MacKey;
use nockvault::crypto::signature::SigningKey;
use nockvault::secret::Secret;
use nockvault::time::{Seconds, Timestamp};

const PUBLIC: &str = "2152f8d19b791d24453242e15f2eab6cb7cffa7b6a5ed30097960e069881db12";
const KEY_ID: &str = "3097e2dee2cb4a34b53840cdb705aed71067c36f68db0e0f559c3f3fa043315f";
const SHARED: &[u8] = b"a key that all of them share";
const TRAILS: [&str; 4] = ["golden", "go", "hmac", "mended"];

fn read(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("tests/nockguard").join(name)).unwrap()
}

/// A trail and its checkpoint.
fn trail(name: &str) -> (Vec<u8>, Vec<u8>) {
    (read(&format!("{name}.audit.jsonl")), read(&format!("{name}.audit.jsonl.hwm")))
}

fn kit() -> SigningKey {
    SigningKey::from_seed(&Secret::new([0x42; 32]))
}

fn own() -> Key {
    Key::Agent(kit().public())
}

fn shared() -> Key {
    Key::Hmac(MacKey::new(SHARED.to_vec().into()).unwrap())
}

fn key(name: &str) -> Key {
    if name == "hmac" { shared() } else { own() }
}

fn judged(rows: &[u8], mark: Option<&[u8]>, keys: &[Key]) -> Report {
    verify(rows, mark, keys, None).unwrap()
}

fn fault(report: &Report) -> (u64, Fault) {
    match &report.verdict {
        Verdict::Tampered { entry, fault, .. } => (*entry, *fault),
        other => panic!("not tampered: {other}"),
    }
}

fn lines(rows: &[u8]) -> Vec<&[u8]> {
    rows.split_inclusive(|byte| *byte == b'\n').collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A trail that `sign` signs row by row, whatever the rows hold, and its checkpoint.
fn signed(rows: &[&str], sign: impl Fn(&str) -> String) -> (String, String) {
    let (mut text, mut prev) = (String::new(), String::new());
    for row in rows {
        let sig = sign(&format!("{row}\n{prev}"));
        text += &format!("{},\"sig\":\"{sig}\"}}\n", row.strip_suffix('}').unwrap());
        prev = sig;
    }
    let count = rows.len();
    let sig = sign(&format!("nockguard-hwm-v1\n{count}\n{prev}\n"));
    (text, format!("{{\"count\":{count},\"last_sig\":\"{prev}\",\"sig\":\"{sig}\"}}\n"))
}

fn by_kit(rows: &[&str]) -> (String, String) {
    signed(rows, |message| hex(kit().sign_raw(message.as_bytes()).as_bytes()))
}

#[test]
fn what_nockguard_signed_verifies_and_the_report_says_by_whose_key() {
    for name in TRAILS {
        let (rows, mark) = trail(name);
        let report = judged(&rows, Some(&mark), &[key(name)]);
        assert_eq!(report.verdict, Verdict::Intact, "{name}: {report}");
        assert_eq!((report.size, report.anchored), (lines(&rows).len() as u64, report.size), "{name}");
        assert_eq!(report.agents.keys().collect::<Vec<_>>(), ["kit"], "{name}");
    }
    let (rows, mark) = trail("golden");
    let report = judged(&rows, Some(&mark), &[own()]);
    assert_eq!(report.signer, Some(Signer::Agent { public: PUBLIC.into(), key_id: KEY_ID.into() }));
    assert_eq!(report.from.map(|from| from.to_string()).as_deref(), Some("2026-06-03T18:30:00.000Z"));
    assert_eq!(report.head.as_deref().map(|head| &head[..8]), Some("299b20fe"));
    assert!(!report.to_string().contains("UNANCHORED"), "{report}");
}

#[test]
fn every_single_bit_of_rows_and_checkpoint_counts() {
    for name in TRAILS {
        let (rows, mark) = trail(name);
        let keys = [key(name)];
        for bit in 0..rows.len() * 8 {
            let mut bad = rows.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let report = judged(&bad, Some(&mark), &keys);
            assert_eq!(report.verdict.exit_code(), 2, "{name}: bit {} of byte {}: {report}", bit % 8, bit / 8);
        }
        for bit in 0..mark.len() * 8 {
            let mut bad = mark.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let report = judged(&rows, Some(&bad), &keys);
            assert_eq!(report.verdict.exit_code(), 2, "{name}: bit {} of byte {}: {report}", bit % 8, bit / 8);
        }
    }
}

#[test]
fn rows_taken_away_put_in_or_moved_are_found_where_they_are() {
    for name in ["go", "hmac"] {
        let (rows, mark) = trail(name);
        let keys = [key(name)];
        let row = lines(&rows);
        let other = lines(&rows).into_iter().map(|line| String::from_utf8_lossy(line).replace("deny", "allow"));
        let other: Vec<String> = other.collect();
        let (r0, r1, r2, r3) = (row[0], row[1], row[2], row[3]);
        let cases: [(&str, Vec<&[u8]>, u64, Fault); 9] = [
            ("an edit", vec![r0, other[1].as_bytes(), r2, r3], 1, Fault::Signature),
            ("the first taken away", vec![r1, r2, r3], 0, Fault::Signature),
            ("one taken away", vec![r0, r2, r3], 1, Fault::Signature),
            ("two changed about", vec![r0, r2, r1, r3], 1, Fault::Signature),
            ("one twice", vec![r0, r1, r1, r2, r3], 2, Fault::Signature),
            ("the last taken away", vec![r0, r1, r2], 3, Fault::Head),
            ("all taken away", vec![], 0, Fault::Head),
            ("only empty lines left", vec![b"\n", b" \n"], 0, Fault::Head),
            ("one more at the end", vec![r0, r1, r2, r3, r0], 4, Fault::Signature),
        ];
        for (what, bad, entry, wanted) in cases {
            let report = judged(&bad.concat(), Some(&mark), &keys);
            assert_eq!(fault(&report), (entry, wanted), "{name}: {what}: {report}");
        }
        // A line without anything in it is no row, as NockGuard reads it.
        let report = judged(&[r0, b"\n", r1, r2, b"  \n", r3].concat(), Some(&mark), &keys);
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
    }
}

#[test]
fn the_checkpoint_has_to_be_there_and_rows_beyond_it_are_reported() {
    let (rows, mark) = trail("go");
    let report = judged(&rows, None, &[own()]);
    assert_eq!(fault(&report), (4, Fault::Head), "{report}");
    let plain = [r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"t","decision":"allow"}"#; 5];
    let (longer, all) = by_kit(&plain);
    let (_, early) = by_kit(&plain[..3]);
    let report = judged(longer.as_bytes(), Some(early.as_bytes()), &[own()]);
    assert_eq!((&report.verdict, report.anchored), (&Verdict::Intact, 3), "{report}");
    assert!(report.to_string().contains("the last 2 rows are UNANCHORED"), "{report}");
    // A checkpoint of another trail, of another key, and one that was replaced by a row's signature.
    let (_, elsewhere) = by_kit(&[r#"{"ts":"2026-06-03T18:30:00Z","agent":"ada","tool":"t","decision":"allow"}"#]);
    let stranger = SigningKey::from_seed(&Secret::new([7; 32]));
    let (_, strange) = signed(&plain, |message| hex(stranger.sign_raw(message.as_bytes()).as_bytes()));
    let lower = all.replacen("\"count\":5", "\"count\":4", 1);
    for bad in [elsewhere, strange, lower, String::from_utf8(mark).unwrap(), String::new(), "{}".into()] {
        assert_eq!(fault(&judged(longer.as_bytes(), Some(bad.as_bytes()), &[own()])), (5, Fault::Head), "{bad}");
    }
}

const GOOD: &str = r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"t","decision":"allow"}"#;

/// Rows that NockGuard would not write.
fn not_gos() -> Vec<String> {
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    vec![
        with("{\"ts\"", "{\"decision\":\"deny\",\"ts\""),
        with("\"decision\":\"allow\"", "\"decision\":\"allow\",\"decision\":\"deny\""),
        with("\"decision\":\"allow\"", "\"decision\":\"allow\",\"note\":\"x\""),
        with("\"agent\"", "\"Agent\""),
        with(",\"agent\"", ", \"agent\""),
        with("\"agent\":\"kit\",\"tool\":\"t\"", "\"tool\":\"t\",\"agent\":\"kit\""),
        with("\"tool\":\"t\",", ""),
        with("\"allow\"", "\"allow\",\"reason\":\"\""),
        with("\"allow\"", "\"allow\",\"nock_id\":0"),
        with("\"allow\"", "\"allow\",\"nock_id\":07"),
        with("\"allow\"", "\"allow\",\"nock_id\":1e3"),
        with("\"allow\"", "\"allow\",\"nock_id\":9223372036854775808"),
        with("\"allow\"", "null"),
        with("\"t\"", "\"<\""),
        with("\"t\"", "\"\\u003C\""),
        with("\"t\"", "\"\\/\""),
        with("\"t\"", "\"\\u000a\""),
        with("\"t\"", "\"\\u0041\""),
        with("\"t\"", "\"\\ud83d\\udd11\""),
        with("\"t\"", "\"\u{2028}\""),
        with("\"t\"", "\"\t\""),
    ]
}

/// Rows that the agent's own key signed, in a form that NockGuard's writer does not have. Its verifier reads some of
/// them as if they said something else.
#[test]
fn a_row_that_go_would_not_write_is_tampered_though_its_key_signed_it() {
    let with = |from: &str, to: &str| GOOD.replacen(from, to, 1);
    for row in not_gos() {
        let (rows, mark) = by_kit(&[GOOD, &row]);
        let report = judged(rows.as_bytes(), Some(mark.as_bytes()), &[own()]);
        assert_eq!(fault(&report), (1, Fault::Malformed), "{row}: {report}");
    }
    let raw = [GOOD.as_bytes(), b"\n"].concat();
    assert!(judged(&raw, None, &[own()]).to_string().contains("not signed"));
    let upper = by_kit(&[GOOD]).0.to_uppercase();
    assert_eq!(judged(upper.as_bytes(), None, &[own()]).verdict.exit_code(), 1);
    // Newer versions of Go write backspace and form feed with a letter.
    let (rows, mark) = by_kit(&[&with("\"t\"", r#""\b\f\u0008\u000c""#)]);
    assert_eq!(judged(rows.as_bytes(), Some(mark.as_bytes()), &[own()]).verdict, Verdict::Intact);
}

#[test]
fn a_row_names_no_other_key_than_the_one_that_signed_it() {
    let row = |id: &str| {
        format!(r#"{{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"t","decision":"allow","key_id":"{id}"}}"#)
    };
    let (rows, mark) = by_kit(&[&row(KEY_ID), &row(&KEY_ID.replace('3', "4"))]);
    assert_eq!(fault(&judged(rows.as_bytes(), Some(mark.as_bytes()), &[own()])), (1, Fault::KeyPin));
    // An HMAC names nobody: a key_id beside it would lend it an agent's name.
    let tag = |message: &str| {
        let key = MacKey::new(SHARED.to_vec().into()).unwrap();
        hex(key.tag(&[message.as_bytes()]).as_bytes())
    };
    let (rows, mark) = signed(&[&row(KEY_ID)], tag);
    assert_eq!(fault(&judged(rows.as_bytes(), Some(mark.as_bytes()), &[shared(), own()])), (0, Fault::KeyPin));
}

#[test]
fn one_key_signs_a_trail_and_no_other_key_will_do() {
    let stranger = SigningKey::from_seed(&Secret::new([7; 32]));
    let (rows, mark) = trail("go");
    let several = [Key::Agent(stranger.public()), shared(), own()];
    let report = judged(&rows, Some(&mark), &several);
    assert_eq!(report.verdict, Verdict::Intact, "{report}");
    assert!(matches!(report.signer, Some(Signer::Agent { public, .. }) if public == PUBLIC));
    let wrong = judged(&rows, Some(&mark), &several[..2]);
    assert_eq!(fault(&wrong), (0, Fault::Signature), "{wrong}");
    // The second row is another's, though that key too was given.
    let row = r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"t","decision":"allow"}"#;
    let count = std::cell::Cell::new(0);
    let (rows, mark) = signed(&[row, row], |message| {
        count.set(count.get() + 1);
        let key = if count.get() == 2 { &stranger } else { &kit() };
        hex(key.sign_raw(message.as_bytes()).as_bytes())
    });
    assert_eq!(fault(&judged(rows.as_bytes(), Some(mark.as_bytes()), &several)), (1, Fault::Signature));
}

#[test]
fn the_report_says_what_each_sort_of_key_does_not_show() {
    let (rows, mark) = trail("hmac");
    let report = judged(&rows, Some(&mark), &[shared()]).to_string();
    assert!(report.contains("NOT ATTRIBUTABLE") && report.contains("tamper-evident and not attributable"), "{report}");
    assert!(!report.contains("signed by the holder"), "{report}");
    let (rows, mark) = trail("go");
    let report = judged(&rows, Some(&mark), &[Key::Global(kit().public())]).to_string();
    assert!(report.contains("global key") && report.contains("WHICH AGENT ACTED"), "{report}");
    let (rows, mark) = trail("mended");
    let report = judged(&rows, Some(&mark), &[own()]).to_string();
    assert!(report.contains("\\ufffd"), "{report}");
}

#[test]
fn time_is_reported_and_may_be_asked_for() {
    let rows = [
        r#"{"ts":"2026-06-03T20:30:00+02:00","agent":"kit","tool":"t","decision":"allow"}"#,
        r#"{"ts":"2026-06-03T18:29:59Z","agent":"kit","tool":"t","decision":"allow"}"#,
        r#"{"ts":"noon","agent":"ada","tool":"t","decision":"deny"}"#,
    ];
    let (text, mark) = by_kit(&rows);
    let at =
        |ms: u64| verify(text.as_bytes(), Some(mark.as_bytes()), &[own()], Some((Timestamp(ms), Seconds(60)))).unwrap();
    let last = Timestamp::from_rfc3339("2026-06-03T18:29:59Z").unwrap().0;
    assert_eq!(at(last + 60_000).verdict, Verdict::Intact);
    assert!(matches!(at(last + 60_001).verdict, Verdict::Stale { .. }));
    let said = at(last).to_string();
    for part in ["when 1 row happened: their time is before", "cannot be read", "several agents", "1 ada, 2 kit"] {
        assert!(said.contains(part), "{part:?} is missing in {said}");
    }
}

#[test]
fn a_row_that_breaks_off_is_torn_where_the_checkpoint_does_not_count_it() {
    let row = r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"t","decision":"allow"}"#;
    let (text, whole) = by_kit(&[row; 3]);
    let (_, early) = by_kit(&[row; 2]);
    let cut = &text.as_bytes()[..text.len() - 20];
    assert!(matches!(judged(cut, Some(early.as_bytes()), &[own()]).verdict, Verdict::Torn { entry: 2, line: 3, .. }));
    assert_eq!(fault(&judged(cut, Some(whole.as_bytes()), &[own()])), (2, Fault::Head));
    // Only the LF is missing.
    let report = judged(text.trim_end().as_bytes(), Some(whole.as_bytes()), &[own()]);
    assert_eq!(report.verdict, Verdict::Intact);
    assert!(report.to_string().contains("LF is missing"));
}

#[test]
fn what_is_no_trail_and_what_is_too_long_cannot_be_told() {
    for bad in [&b""[..], b"\n\n", b"hello\n", b"{\"body\":{},\"v\":1}\n", &[0xff; 100]] {
        let report = judged(bad, None, &[own()]);
        assert_eq!(report.verdict.exit_code(), 1, "{report}");
    }
    let (rows, mark) = trail("go");
    for (length, read) in [(8 << 20, true), ((8 << 20) + 1, false)] {
        let long = [&rows[..], &vec![b'x'; length], b"\n"].concat();
        let report = judged(&long, Some(&mark), &[own()]);
        let unread = matches!(&report.verdict, Verdict::Unusable { how } if how.contains("not read"));
        assert_eq!(unread, !read, "{report}");
    }
}

/// Names are the trail's own words: there may be as many as it has rows.
#[test]
fn a_trail_of_many_names_fills_no_memory() {
    let rows: Vec<String> = (0..200)
        .map(|n| format!(r#"{{"ts":"2026-06-03T18:30:00Z","agent":"a{n}","tool":"t","decision":"d{n}"}}"#))
        .collect();
    let (text, mark) = by_kit(&rows.iter().map(String::as_str).collect::<Vec<_>>());
    let report = judged(text.as_bytes(), Some(mark.as_bytes()), &[own()]);
    assert_eq!((report.agents.len(), report.agents["(others)"], report.kinds.len()), (65, 136, 65));
}

fn run(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vault-verify"));
    let output = command.env_remove("NOCKVAULT_CARD").args(["--format", "nockguard"]).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn an_auditor_runs_it_with_hex_or_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("kit.pub"), PUBLIC).unwrap();
    std::fs::write(path("shared"), [SHARED, b"\n"].concat()).unwrap();
    let [golden, go, hmac] = ["golden", "go", "hmac"].map(|name| format!("tests/nockguard/{name}.audit.jsonl"));
    let (code, text) = run(&["--agent-key", PUBLIC, &golden]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(": nockguard: intact") && text.contains(PUBLIC) && text.contains("not proved:"), "{text}");
    let both = ["--agent-key", &path("kit.pub"), "--nockguard-key", &path("shared"), "--output", "json", &go, &hmac];
    let (code, text) = run(&both);
    assert_eq!(code, 0, "{text}");
    let reports: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (reports[0]["signer"]["is"].as_str(), reports[1]["signer"]["is"].as_str()),
        (Some("agent"), Some("hmac"))
    );
    assert_eq!(reports[1]["verdict"]["is"], "intact");
    assert!(!text.contains("share"), "the key is in {text}");
    let (code, text) = run(&["--nockguard-pub", PUBLIC, &go]);
    assert!(code == 0 && text.contains("global key"), "{text}");
    let (code, text) = run(&["--agent-key", PUBLIC, &hmac]);
    assert!(code == 2 && text.contains("TAMPERED at entry 0 (line 1)"), "{text}");
    let (code, text) = run(&["--agent-key", PUBLIC, "--max-age", "1s", &go]);
    assert!(code == 1 && text.contains("too old"), "{text}");
    for (wrong, said) in [
        (vec![go.as_str()], "nothing to verify with"),
        (vec!["--agent-key", "nowhere", go.as_str()], "neither 64 digits"),
        (vec!["--agent-key", PUBLIC, "--chain", "kit", go.as_str()], "--chain is of NockVault's"),
        (vec!["--agent-key", PUBLIC, "--checkpoint", "kept", go.as_str()], "--checkpoint is of NockVault's"),
        (vec!["--agent-key", PUBLIC, "--witness-policy", "p", go.as_str()], "--witness-policy is of NockVault's"),
        (vec!["--agent-key", PUBLIC, "--since-checkpoint", go.as_str()], "--since-checkpoint is of NockVault's"),
        (vec!["--agent-key", PUBLIC, "--directory", "d", go.as_str()], "--directory is of NockVault's"),
        // Nothing to verify is not intact.
        (vec!["--agent-key", PUBLIC, "--proof", "p"], "--proof is of NockVault's"),
        (vec!["--agent-key", PUBLIC, "-"], "give the file"),
        (vec!["--agent-key", PUBLIC, "nowhere"], "cannot read nowhere"),
        (vec!["--nockguard-key", "/dev/null", go.as_str()], "holds no key"),
    ] {
        let (code, text) = run(&wrong);
        assert!(code == 1 && text.contains(said), "{wrong:?}: {code} {text}");
    }
}

#[test]
fn a_checkpoint_that_is_not_signed_covers_nothing_and_empty_lines_are_told() {
    let rows = [r#"{"ts":"2026-06-03T18:30:00Z","agent":"kit","tool":"a","decision":"allow"}"#; 3];
    let (text, mark) = by_kit(&rows);
    let cut = &lines(text.as_bytes())[..2].concat();
    let sig = text.lines().nth(1).unwrap().rsplit('"').nth(1).unwrap();
    let forged = format!("{{\"count\":2,\"last_sig\":\"{sig}\",\"sig\":\"{}\"}}\n", "00".repeat(64));
    let report = judged(cut, Some(forged.as_bytes()), &[own()]);
    assert_eq!((fault(&report), report.anchored), ((2, Fault::Head), 0));
    assert!(!report.proved.concat().contains("not cut off"), "{report}");
    let blank = text.replacen('\n', "\n \t\n\n", 1);
    let report = judged(blank.as_bytes(), Some(mark.as_bytes()), &[own()]);
    assert_eq!(report.verdict, Verdict::Intact, "{report}");
    assert!(report.to_string().contains("where 2 empty lines between the rows came from"), "{report}");
}

/// Trails as they can be, and what is said of each, word for word: `tests/nockguard/reports.txt`, for people to review.
#[test]
fn what_is_said_of_a_trail_stands_here() {
    let mut text = String::new();
    let mut told = |name: &str, rows: &[u8], mark: Option<&[u8]>, key: Key| {
        text += &format!("== {name}\n{}\n", judged(rows, mark, &[key]));
    };
    for name in TRAILS {
        let (rows, mark) = trail(name);
        told(name, &rows, Some(&mark), key(name));
    }
    let (rows, mark) = trail("go");
    told("go, by the installation's key", &rows, Some(&mark), Key::Global(kit().public()));
    told("go, without its checkpoint", &rows, None, own());
    told("go, with another's checkpoint", &rows, Some(&trail("golden").1), own());
    told("go, with a checkpoint that is none", &rows, Some(b"{}"), own());
    told("go, by a key that is not its own", &rows, Some(&mark), shared());
    let (one, of_one) = by_kit(&[GOOD]);
    told("one row", one.as_bytes(), Some(of_one.as_bytes()), own());
    told("one row, with an empty line", format!("\n{one}").as_bytes(), Some(of_one.as_bytes()), own());
    told("one row, without its LF", one.trim_end().as_bytes(), Some(of_one.as_bytes()), own());
    told("a row without its end", &one.as_bytes()[..40], None, own());
    let (many, of_many) = by_kit(&[GOOD; 5]);
    told("torn", &many.as_bytes()[..many.len() - 20], Some(by_kit(&[GOOD; 4]).1.as_bytes()), own());
    told("torn and cut off", &many.as_bytes()[..many.len() - 20], Some(of_many.as_bytes()), own());
    told("torn, without its checkpoint", &many.as_bytes()[..many.len() - 20], None, own());
    told("cut off", lines(many.as_bytes())[..3].concat().as_slice(), Some(of_many.as_bytes()), own());
    told("longer than its checkpoint", many.as_bytes(), Some(by_kit(&[GOOD; 3]).1.as_bytes()), own());
    told("empty lines between", many.replacen('\n', "\n\n \n", 1).as_bytes(), Some(of_many.as_bytes()), own());
    let at = |ts: &str, agent: &str| GOOD.replace("2026-06-03T18:30:00Z", ts).replace("kit", agent);
    let [early, ada, noon, night] =
        [("2026-06-03T18:29:59Z", "kit"), ("2026-06-03T18:29:59Z", "ada"), ("noon", "kit"), ("night", "kit")]
            .map(|(ts, agent)| at(ts, agent));
    for (name, rows) in [
        ("time falls, and several agents", vec![GOOD, &early, &ada]),
        ("time falls twice", vec![GOOD, &early, GOOD, &early]),
        ("a time that is none", vec![GOOD, &noon]),
        ("no time at all", vec![&noon, &night]),
    ] {
        let (rows, mark) = by_kit(&rows);
        told(name, rows.as_bytes(), Some(mark.as_bytes()), own());
    }
    for row in not_gos() {
        let (rows, mark) = by_kit(&[GOOD, &row]);
        text += &format!("{row}\n  {}\n", judged(rows.as_bytes(), Some(mark.as_bytes()), &[own()]).verdict);
    }
    committed::stands("tests/nockguard/reports.txt", text);
}

#[test]
fn what_cannot_be_old_enough_is_stale_and_what_is_just_short_enough_is_read() {
    let (rows, mark) = by_kit(&[&GOOD.replace("2026-06-03T18:30:00Z", "noon")]);
    let age = Some((Timestamp(0), Seconds(60)));
    let timeless = verify(rows.as_bytes(), Some(mark.as_bytes()), &[own()], age).unwrap();
    assert!(matches!(&timeless.verdict, Verdict::Stale { how } if how.contains("no row has a time")), "{timeless}");
    // A line without an end: read up to the limit, and given up beyond it.
    for (bytes, read) in [(8 << 20, true), ((8 << 20) + 1, false)] {
        let report = judged(&vec![b'x'; bytes], None, &[own()]);
        assert_eq!(report.to_string().contains("is not read"), !read, "{bytes}");
    }
}
