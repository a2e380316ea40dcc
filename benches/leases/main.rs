//! What live leases cost, and how long it takes to undo many: a whole vault in this process, on a real store on the
//! real disk, with the loops that tend it.
//!
//! `cargo bench --bench leases -- [--leases 100000] [--revoke 10000] [--call-ms 5] [--runs 3] [--issues 2000] [--idle 5]`
//!
//! Each of these can stand in the environment too, as `NOCKVAULT_BENCH_LEASES` and so on. Without `--bench`, which cargo
//! bench adds, the numbers are small, so that a run only shows that all of it works.
//!
//! - `live`: a vault with no lease and one with so many is opened by a new process each time. What it takes to start, its
//!   memory, the CPU time of one idle second, and of one issuance of a stored value.
//! - `undo`: one command takes all leases of a role back, whose backend takes so long a call. The time from the command
//!   to the last that is recorded as undone stands beside the bound of the backend: all calls, so many at once, and
//!   nothing else. How requests for another role fare meanwhile is measured with so many of them a second.
//!
//! Figures are a median of the runs, with the least and the most. All of it stands in `target/bench/leases.json` too.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and prints its figures")]

mod backend;
mod figures;
mod house;
mod live;
mod undo;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nockvault::time::{Clock as _, SystemClock};
use serde_json::json;

use backend::Backend;
use house::{AGENTS, Agent, House, KV, Operator};

/// Opens the store of this folder, measures, and says what it found as JSON: what this program calls itself with.
const LOOK: &str = "--look";

/// How much is measured.
pub(crate) struct Options {
    pub(crate) leases: u64,
    pub(crate) revoke: u64,
    pub(crate) call: Duration,
    pub(crate) runs: u64,
    pub(crate) issues: u64,
    pub(crate) idle: Duration,
}

impl Options {
    fn read(given: &[String]) -> Options {
        let whole = given.iter().any(|argument| argument == "--bench");
        let value = |name: &str, whole_run: u64, trial: u64| {
            let argument = format!("--{name}");
            let at = given.iter().position(|argument_given| *argument_given == argument);
            let variable = format!("NOCKVAULT_BENCH_{}", name.to_uppercase().replace('-', "_"));
            let said = at.and_then(|at| given.get(at + 1).cloned()).or_else(|| std::env::var(variable).ok());
            said.map_or(if whole { whole_run } else { trial }, |text| text.parse().unwrap())
        };
        Options {
            leases: value("leases", 100_000, 200),
            revoke: value("revoke", 10_000, 150),
            call: Duration::from_millis(value("call-ms", 5, 1)),
            runs: value("runs", 3, 1).max(1),
            issues: value("issues", 2000, 50),
            idle: Duration::from_secs(value("idle", 5, 1)),
        }
    }
}

/// Where the stores of a run lie; on the disk, and gone with the run.
fn folder() -> tempfile::TempDir {
    let place = results();
    std::fs::create_dir_all(&place).unwrap();
    tempfile::tempdir_in(place).unwrap()
}

fn results() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench")
}

/// A new vault in this folder with so many live leases.
async fn found(folder: &Path, leases: u64) -> Operator {
    let operator = Operator::found(folder);
    let house = House::open(folder, Backend::default()).await;
    operator.furnish(&house).await;
    let began = Instant::now();
    house.fill(&agents(&house), KV, leases, 128).await;
    assert_eq!(house.vault.store().census().await.unwrap().leases, leases);
    if leases > 0 {
        println!("{leases} leases were issued in {:.1} s", began.elapsed().as_secs_f64());
    }
    house.shut().await;
    operator
}

/// The agents that hold the leases, in a new session.
pub(crate) fn agents(house: &House) -> Arc<Vec<Agent>> {
    let sid = format!("work-{}", SystemClock.now().0);
    Arc::new((0..AGENTS).map(|number| Agent::new(number, &sid, house.vault.aud())).collect())
}

async fn measure(options: &Options) {
    let (empty, full) = (folder(), folder());
    let (none, many) = (empty.path().join("data"), full.path().join("data"));
    found(&none, 0).await;
    let operator = found(&many, options.leases).await;
    let live = live::compare(options, &none, &many);
    let undo = undo::measure(options, &operator, &many).await;
    let all = json!({
        "leases": options.leases,
        "revoke": options.revoke,
        "call_ms": options.call.as_millis() as u64,
        "runs": options.runs,
        "live": live,
        "undo": undo,
    });
    let file = results().join("leases.json");
    std::fs::write(&file, serde_json::to_string_pretty(&all).unwrap()).unwrap();
    println!("{}", file.display());
}

fn main() {
    let given: Vec<String> = std::env::args().collect();
    let options = Options::read(&given);
    // Threads that stay are counted; see `figures::cpu`.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_keep_alive(Duration::from_secs(86_400))
        .build()
        .unwrap();
    runtime.block_on(async {
        match given.iter().position(|argument| argument == LOOK) {
            Some(at) => live::look(&options, Path::new(&given[at + 1])).await,
            None => measure(&options).await,
        }
    });
}
