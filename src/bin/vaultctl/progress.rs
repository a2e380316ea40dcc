//! How far long work is, for a person at a terminal who waits. It goes to standard error and is gone when the work is
//! done; where nobody looks, or `--quiet` says so, there is none.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Below so many entries nobody waits.
const WORTH_IT: u64 = 2_000;
/// How often it is drawn, in a second.
const OFTEN: u8 = 8;

/// A bar, or nothing.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Whether somebody sees it: results that go to the same terminal would be drawn over.
fn seen(results_too: bool) -> bool {
    !crate::output::is_quiet() && io::stderr().is_terminal() && !(results_too && io::stdout().is_terminal())
}

impl Progress {
    fn drawn(total: Option<u64>, look: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(OFTEN));
        let style = ProgressStyle::with_template(look);
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    /// Of so many entries. `results` says that they are printed meanwhile.
    pub(crate) fn entries(of: &str, total: u64, results: bool) -> Progress {
        if total < WORTH_IT || !seen(results) {
            return Progress(ProgressBar::hidden());
        }
        let bar = Progress::drawn(Some(total), "{msg} {bar:40} {human_pos} of {human_len} entries, {eta} left");
        Progress(bar.with_message(of.to_owned()))
    }

    /// Of so many bytes.
    pub(crate) fn bytes(of: &str, total: u64) -> Progress {
        if !seen(false) {
            return Progress(ProgressBar::hidden());
        }
        let bar = Progress::drawn(Some(total), "{msg} {bar:40} {bytes} of {total_bytes}, {eta} left");
        Progress(bar.with_message(of.to_owned()))
    }

    /// Of bytes whose number nobody knows yet.
    pub(crate) fn open(of: &str) -> Progress {
        if !seen(false) {
            return Progress(ProgressBar::hidden());
        }
        Progress(Progress::drawn(None, "{spinner} {msg} {bytes}, {bytes_per_sec}").with_message(of.to_owned()))
    }

    /// Of items of a list whose length nobody knows yet.
    pub(crate) fn items() -> Progress {
        if !seen(false) {
            return Progress(ProgressBar::hidden());
        }
        Progress(Progress::drawn(None, "{spinner} {human_pos} so far"))
    }

    /// Of work that says nothing on its way.
    pub(crate) fn working(at: &str) -> Progress {
        if !seen(false) {
            return Progress(ProgressBar::hidden());
        }
        let bar = Progress::drawn(None, "{spinner} {msg}, {elapsed}").with_message(at.to_owned());
        bar.enable_steady_tick(Duration::from_millis(1000 / u64::from(OFTEN)));
        Progress(bar)
    }

    /// So much is done.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// So much more is done.
    pub(crate) fn more(&self, by: u64) {
        self.0.inc(by);
    }

    /// What is written goes on to `to`, and counts.
    pub(crate) fn counting<W: Write>(&self, to: W) -> Counting<'_, W> {
        Counting { to, progress: self }
    }

    /// What is read counts.
    pub(crate) fn reading<R: io::Read>(&self, from: R) -> impl io::Read + use<R> {
        self.0.wrap_read(from)
    }
}

/// Counts what is written.
#[derive(Debug)]
pub(crate) struct Counting<'a, W> {
    to: W,
    progress: &'a Progress,
}

impl<W: Write> Write for Counting<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.progress.more(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
