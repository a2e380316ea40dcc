//! Whether two sorts of work can be told apart by how long they take. As in dudect (Reparaz, Balasch and Verbauwhede, "Dude,
//! is my code constant time?", 2017) the sorts are measured in turns of random order, slow samples are cut off at several
//! percentiles of both sorts together, and Welch's t is taken of what is left. Besides it has to be a difference that
//! somebody could use: a part of the median, and more than a clock at the other end of a wire resolves.
//!
//! A busy machine makes differences that come and go. What a program does by itself is there each time, in the same
//! direction; so a difference counts where no round is without it.

use std::time::Instant;

/// From here on a t is taken for a difference.
const APART: f64 = 10.0;
/// Up to which percentile of both sorts together samples are kept.
const KEPT: [f64; 4] = [0.5, 0.7, 0.9, 0.97];
/// The least difference of the medians that counts, as a part of the median.
const PART: f64 = 0.06;
/// And in nanoseconds.
const LEAST: f64 = 1_000.0;
/// How many rounds have to agree.
const ROUNDS: usize = 6;

/// What one comparison showed. Positive where the first sort is the slower one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Welch's t, of the percentile at which it is furthest from zero.
    pub(crate) t: f64,
    /// By how many nanoseconds the medians differ.
    pub(crate) by: f64,
    /// The median of both together.
    pub(crate) median: f64,
}

impl Shown {
    /// -1, 0 or 1: whether and in which direction the sorts are apart.
    fn direction(self) -> i8 {
        let apart = self.t.abs() > APART && self.by.abs() > (PART * self.median).max(LEAST);
        match (apart && self.t.signum() == self.by.signum(), self.by > 0.0) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => -1,
        }
    }
}

/// The median of sorted samples.
fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

fn sorted(samples: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    samples
}

fn mean_and_spread(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let squares = samples.iter().map(|one| (one - mean).powi(2)).sum::<f64>();
    (mean, squares / (count - 1.0) / count)
}

/// Welch's t of two sorts; none where too few are left to say anything.
fn welch(a: &[f64], b: &[f64]) -> f64 {
    if a.len() < 20 || b.len() < 20 {
        // One sort lies wholly beyond where the other one is cut off: nothing is further apart.
        return if a.len() < b.len() { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    let ((mean_a, spread_a), (mean_b, spread_b)) = (mean_and_spread(a), mean_and_spread(b));
    (mean_a - mean_b) / (spread_a + spread_b).sqrt().max(f64::MIN_POSITIVE)
}

/// Compares two sorts of samples, as many of each.
pub(crate) fn compare(a: &[f64], b: &[f64]) -> Shown {
    let both = sorted(a.iter().chain(b).copied());
    let at = |part: f64| both[((both.len() - 1) as f64 * part) as usize];
    let cut = |samples: &[f64], limit: f64| samples.iter().copied().filter(|one| *one <= limit).collect::<Vec<_>>();
    let t = KEPT
        .map(|part| welch(&cut(a, at(part)), &cut(b, at(part))))
        .into_iter()
        .max_by(|one, other| one.abs().total_cmp(&other.abs()))
        .expect("there are percentiles");
    let by = median(&sorted(a.iter().copied())) - median(&sorted(b.iter().copied()));
    Shown { t, by, median: median(&both) }
}

/// Samples of so many sorts: in each turn every sort once, in an order that nothing else follows.
pub(crate) async fn sample(sorts: usize, turns: usize, once: &mut impl AsyncFnMut(usize, usize)) -> Vec<Vec<f64>> {
    let mut samples = vec![Vec::with_capacity(turns); sorts];
    let mut order: Vec<usize> = (0..sorts).collect();
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64 ^ turns as u64;
    for turn in 0..turns {
        for last in (1..sorts).rev() {
            // xorshift64: the order has to be a mixed one and nothing more.
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            order.swap(last, (dice % (last as u64 + 1)) as usize);
        }
        for &sort in &order {
            let begin = Instant::now();
            once(sort, turn).await;
            samples[sort].push(begin.elapsed().as_nanos() as f64);
        }
    }
    samples
}

/// Which two sorts are apart in each of several rounds, in the same direction. With the first round in which none of those
/// that were left is apart, nothing is.
pub(crate) async fn apart(
    name: &str,
    sorts: &[&str],
    turns: usize,
    mut once: impl AsyncFnMut(usize, usize),
) -> Option<String> {
    // What is only made or read once is not what is compared.
    sample(sorts.len(), turns / 10 + 10, &mut once).await;
    let mut left: Vec<(usize, usize, i8)> = Vec::new();
    for round in 0..ROUNDS {
        let samples = sample(sorts.len(), turns, &mut once).await;
        let mut found = Vec::new();
        for a in 0..sorts.len() {
            for b in a + 1..sorts.len() {
                let shown = compare(&samples[a], &samples[b]);
                let Shown { t, by, median } = shown;
                eprintln!("{name}, round {round}: {} - {}: {by:.0} of {median:.0} ns, t {t:.1}", sorts[a], sorts[b]);
                let direction = shown.direction();
                if direction != 0 && (round == 0 || left.contains(&(a, b, direction))) {
                    found.push((a, b, direction));
                }
            }
        }
        left = found;
        if left.is_empty() {
            return None;
        }
    }
    left.first().map(|(a, b, _)| format!("{name}: {} is told from {} by the clock", sorts[*a], sorts[*b]))
}
