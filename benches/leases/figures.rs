//! What is measured of this process, and how several runs are summed up.

use std::time::Duration;

use serde_json::{Value, json};

/// CPU time of all threads of this process so far. Threads that ended are not in it; the runtime keeps its own alive.
pub(crate) fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let spent = tasks.filter_map(|task| {
        // A thread may end between the listing and the look.
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// One line of `/proc/self/status`, in MiB.
pub(crate) fn memory(line: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':')).unwrap();
    let kib: f64 = value.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}

/// Milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which this share of them lies.
pub(crate) fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// One figure of several runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Runs(Vec<f64>);

impl Runs {
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_unstable_by(f64::total_cmp);
    }

    pub(crate) fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The median, and the least and the most beside it.
    pub(crate) fn text(&self) -> String {
        let (Some(least), Some(most)) = (self.0.first(), self.0.last()) else { return "-".to_owned() };
        format!("{:.2} ({least:.2} - {most:.2})", self.median())
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "min": self.0.first(), "median": self.median(), "max": self.0.last() })
    }
}
