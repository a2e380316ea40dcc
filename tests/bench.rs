//! The bench still works: its driver, the load tool and the table run once, for a moment, against a real daemon. What is
//! asserted is shape and that nothing failed. Figures of a trial mean nothing.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test stops where what it stands on is not there")]

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

mod programs;

use programs::{example, program, said};

fn number(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} is no number"))
}

/// A short run of a driver. Gives its folder, what it printed, and its results.
fn trial(driver: &str, more: &[&str]) -> (TempDir, String, Value) {
    // Paths of sockets are short; where the temporary folder is no disk, a trial does not mind.
    let folder = tempfile::Builder::new().prefix("nv").tempdir().unwrap();
    let load = example("load");
    let programs = load.ancestors().nth(2).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/run").join(driver).with_extension("py");
    let mut command = program("python3", folder.path());
    command.arg("-B").arg(script).arg("--trial").args(more);
    command.arg("--programs").arg(programs).arg("--target").arg(folder.path());
    let shown = said(&mut command).ok();
    let results = std::fs::read_to_string(folder.path().join("bench").join(driver).with_extension("json")).unwrap();
    (folder, shown, serde_json::from_str(&results).unwrap())
}

#[test]
fn a_trial_of_the_bench_says_all_that_it_should_and_nothing_fails() {
    let (folder, shown, told) = trial("bench", &["--sessions", "1,4", "--busy", "4", "--jobs", "kv,jwt,ssh"]);
    let results = folder.path().join("bench");
    assert!(shown.contains("| vaultd | kv | tcp | 4 |"), "{shown}");
    let rows = told["rows"].as_array().unwrap();
    for (job, door, mode) in [
        ("kv", "tcp", "closed"),
        ("kv", "tcp", "open"),
        ("jwt", "tls", "closed"),
        ("kv", "unix", "closed"),
        ("ssh", "tcp", "closed"),
    ] {
        let fits = |row: &&Value| row["scenario"] == job && row["door"] == door && row["mode"] == mode;
        let row = rows.iter().find(fits).unwrap_or_else(|| panic!("no row of {job} by {door}, {mode}"));
        assert_eq!(row["bad"], 0, "{row}");
        for member in ["rate", "p50_ms", "p99_ms", "p999_ms", "server_us", "rss_bytes", "commits", "disk_bytes"] {
            for at in ["min", "median", "max"] {
                assert!(number(row, &format!("/{member}/{at}")) >= 0.0, "{member} of {row}");
            }
        }
        assert!(number(row, "/done") > 0.0, "{row}");
    }
    let bound = &told["bounds"][0];
    for part in ["verify_us", "seal_us", "signatures_us", "hashes_us", "rows_us", "echo_us"] {
        assert!(number(bound, &format!("/parts_us/{part}")) >= 0.0, "{part}");
    }
    assert!(number(&told, "/cpu_over_primitives_median") >= 0.0 && number(&told, "/rate_over_bound_median") > 0.0);
    assert!(number(&told, "/machine/sync_ms/median") >= 0.0);
    assert!(std::fs::read_to_string(results.join("bench.svg")).unwrap().ends_with("</svg>\n"));
    let left: Vec<_> = std::fs::read_dir(&results).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "the run leaves its results and nothing else: {left:?}");
}

#[test]
fn a_trial_of_a_long_chain_verifies_and_its_agent_is_served() {
    let (_folder, shown, told) = trial("long", &[]);
    for (row, least) in told["sizes"].as_array().unwrap().iter().zip([20.0, 60.0]) {
        assert!(number(row, "/entries") >= least, "{shown}");
        for who in ["own", "one", "all"] {
            assert!(number(row, &format!("/{who}/rate/min")) > 0.0, "{who}: {shown}");
        }
    }
    assert!(number(&told, "/cpu_last_over_first") > 0.0, "{shown}");
}
