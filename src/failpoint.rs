//! Places at which a test stops the process. A program built for debugging that reaches the place named by
//! `NOCKVAULT_FAILPOINT` says so on standard error and waits there for ever, so that the test can kill it at exactly this
//! step; a release build has no such place.

/// Names a step.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(debug_assertions)]
        $crate::failpoint::reach($name);
    };
}
pub(crate) use failpoint;

/// The step was reached.
#[cfg(debug_assertions)]
pub(crate) fn reach(name: &str) {
    static CHOSEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("NOCKVAULT_FAILPOINT").ok());
    if CHOSEN.as_deref() == Some(name) {
        use std::io::Write as _;
        // Nobody may read it; the test that waits for it does.
        let _ = writeln!(std::io::stderr(), "failpoint {name}");
        loop {
            std::thread::park();
        }
    }
}
