//! Each promise of `SECURITY.md` names the tests that hold it, and they exist.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

/// `tests/NAME.rs` and what stands under `tests/NAME/`.
fn sources(tests: &Path, name: &str) -> String {
    let mut files: Vec<PathBuf> = vec![tests.join(format!("{name}.rs"))];
    if let Ok(folder) = fs::read_dir(tests.join(name)) {
        files.extend(
            folder.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "rs")),
        );
    }
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

fn rows(security: &str) -> Vec<Vec<&str>> {
    let table = security.lines().skip_while(|line| !line.starts_with("| # | promise")).skip(2);
    table.take_while(|line| line.starts_with('|')).map(|line| line.trim_matches('|').split(" | ").collect()).collect()
}

#[test]
fn every_promise_is_held_by_tests_that_exist() {
    let house = Path::new(env!("CARGO_MANIFEST_DIR"));
    let security = fs::read_to_string(house.join("SECURITY.md")).unwrap();
    let rows = rows(&security);
    assert_eq!(rows.len(), 10, "there are ten promises");
    for row in rows {
        let tests: Vec<&str> = row[2].split('`').filter(|part| part.contains("::")).collect();
        assert!(!tests.is_empty(), "no test holds: {}", row[1]);
        for test in tests {
            let (file, name) = test.split_once("::").unwrap();
            let text = sources(&house.join("tests"), file);
            let wanted = if name.is_empty() { "#[test]".to_owned() } else { format!("fn {name}(") };
            assert!(text.contains(&wanted), "{test} is named in SECURITY.md and does not exist");
        }
    }
}
