//! A vault with many live leases beside one with none, each opened by a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::figures::{Runs, cpu, memory, ms};
use crate::house::{Agent, House, KV, PROBE, released};
use crate::{LOOK, Options};

/// Requests at once while the cost of one is measured.
const AT_ONCE: usize = 8;
/// Until what a start sets off is done.
const SETTLES: Duration = Duration::from_millis(2500);

/// The figures, by their names in the JSON, and what they are called in the table.
const FIGURES: [(&str, &str); 6] = [
    ("start_ms", "start, ms"),
    ("start_rss_mib", "memory after the start, MiB"),
    ("idle_ms_per_s", "CPU of an idle second, ms"),
    ("issue_us", "CPU of a kv issuance, us"),
    ("work_rss_mib", "memory after the issuances, MiB"),
    ("peak_rss_mib", "memory at the most, MiB"),
];

/// In a process of its own: opens a vault, lets it idle, has it issue, and prints what that took.
pub(crate) async fn look(options: &Options, folder: &Path) {
    let house = House::open(folder, Backend::default()).await;
    let start_rss = memory("VmRSS");
    tokio::time::sleep(SETTLES).await;
    let before = cpu();
    tokio::time::sleep(options.idle).await;
    let idle = ms(cpu() - before) / options.idle.as_secs_f64();

    let probe = Agent::new(PROBE, &format!("probe-{}", std::process::id()), house.vault.aud());
    // One opens the session and warms what there is to warm.
    house.issue_all((0..AT_ONCE).map(|_| probe.asks(KV)).collect(), 1).await;
    let requests = (0..options.issues).map(|_| probe.asks(KV)).collect();
    let before = cpu();
    house.issue_all(requests, AT_ONCE).await;
    let issue = ms(cpu() - before) * 1e3 / options.issues as f64;
    let figures = json!({
        "start_ms": ms(house.took),
        "start_rss_mib": start_rss,
        "idle_ms_per_s": idle,
        "issue_us": issue,
        "work_rss_mib": memory("VmRSS"),
        "peak_rss_mib": memory("VmHWM"),
    });
    released(house.vault.close(probe.closes()).await);
    house.shut().await;
    println!("{figures}");
}

fn spawn(options: &Options, folder: &Path) -> Value {
    let out = Command::new(std::env::current_exe().unwrap())
        .arg(LOOK)
        .arg(folder)
        .args(["--issues", &options.issues.to_string(), "--idle", &options.idle.as_secs().to_string()])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(out.status.success(), "the process that looked at {} failed", folder.display());
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Measures both in turn, prints the table, and gives the figures.
pub(crate) fn compare(options: &Options, none: &Path, many: &Path) -> Value {
    let mut runs: [[Runs; FIGURES.len()]; 2] = Default::default();
    for _ in 0..options.runs {
        for (runs, folder) in runs.iter_mut().zip([none, many]) {
            let found = spawn(options, folder);
            for (runs, (name, _)) in runs.iter_mut().zip(FIGURES) {
                runs.add(found[name].as_f64().unwrap());
            }
        }
    }
    println!("{:<34} {:>26} {:>26} {:>7}", "", "no lease", format!("{} live", options.leases), "ratio");
    let mut all = serde_json::Map::new();
    for (index, (name, text)) in FIGURES.iter().enumerate() {
        let (without, with) = (&runs[0][index], &runs[1][index]);
        let ratio = with.median() / without.median();
        println!("{text:<34} {:>26} {:>26} {ratio:>7.2}", without.text(), with.text());
        all.insert((*name).to_owned(), json!({ "none": without.json(), "live": with.json(), "ratio": ratio }));
    }
    all.into()
}
