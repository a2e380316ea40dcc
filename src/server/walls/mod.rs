//! The walls that the daemon puts around itself, so that whoever takes it over from inside has little of the machine. They
//! are raised once, in the thread that all others come from, after what only a start needs and before the first request:
//!
//! 1. [`close_up`]: no core file is written, no other process of the same user reads its memory, files that it makes are
//!    its own.
//! 2. [`modes`]: files and folders that are open to others are refused, or spoken of.
//! 3. [`memory`]: memory that is never written to swap.
//! 4. [`files`]: Landlock. What the configuration names can be written, little beside it can be read.
//! 5. [`calls`]: seccomp. Calls of the system that a daemon like this never makes are refused.
//!
//! The last three come off by `[host]`, and where the machine does not let one be raised, the log says so once and says
//! how to allow it, unless `"on"` says that the daemon is not to start without.

pub mod calls;
pub mod files;
pub mod memory;
pub mod modes;

use std::fmt;
use std::path::Path;

use crate::config::{Config, Wall};
use crate::telemetry::Telemetry;

/// Why the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum WallFault {
    /// Files or folders that others could use.
    #[error("{0}")]
    Open(String),
    /// A wall that was asked for and cannot be raised.
    #[error("[host] {key} = \"on\": {why}")]
    Missing {
        /// Its key in the configuration.
        key: &'static str,
        /// Why not, and what to do.
        why: String,
    },
    /// The system did not take or keep the rules of a wall.
    #[error("{key}: {error}; if that cannot be mended, [host] {key} = \"off\" starts without it")]
    Broken {
        /// Its key in the configuration.
        key: &'static str,
        /// What the system said.
        error: String,
    },
}

/// What became of a wall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Raised {
    /// It stands; how far.
    Stands(String),
    /// The machine does not let it; why, and what to do.
    Missing(String),
    /// It was not asked for.
    Off,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Stands(how) => f.write_str(how),
            Raised::Missing(_) => f.write_str("missing"),
            Raised::Off => f.write_str("off"),
        }
    }
}

/// Files that the process makes are its own, its memory is written into no core file, and none but root reads it.
pub fn close_up() {
    rustix::process::umask(rustix::fs::Mode::from_bits_truncate(0o077));
    keep_memory();
}

/// The memory of the process is written into no core file, and none but root reads it: for every program that holds keys.
pub fn keep_memory() {
    // Both can only fail where the system knows no such thing; then there is nothing to close.
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// The first of them, before any key is in memory: what is too open is refused, and memory is kept out of swap. `file` is
/// the configuration's.
///
/// # Errors
/// [`WallFault`]: the daemon is not to serve.
pub fn lock(config: &Config, file: &Path, telemetry: &Telemetry) -> Result<(), WallFault> {
    let findings = modes::look(config, file);
    modes::refuse(&findings)?;
    for finding in findings {
        tracing::warn!("{finding}");
    }
    let memory = raised("mlock", config.host.mlock, telemetry, memory::lock)?;
    tracing::info!(%memory, "walls");
    Ok(())
}

/// The others, around the calling thread and those that it starts from here on, once the root key is there. The folders
/// `also` can be written besides those of the configuration.
///
/// # Errors
/// [`WallFault`]: the daemon is not to serve.
pub fn raise(config: &Config, also: &[&Path], telemetry: &Telemetry) -> Result<(), WallFault> {
    let host = config.host;
    let files = raised("landlock", host.landlock, telemetry, || files::close(&files::plan(config, also)))?;
    let calls = raised("seccomp", host.seccomp, telemetry, || calls::refuse(host.seccomp_kills))?;
    tracing::info!(%files, %calls, "walls");
    Ok(())
}

fn raised(
    key: &'static str,
    wanted: Wall,
    telemetry: &Telemetry,
    raise: impl FnOnce() -> Result<Raised, String>,
) -> Result<Raised, WallFault> {
    if wanted == Wall::Off {
        return Ok(Raised::Off);
    }
    let raised = raise().map_err(|error| WallFault::Broken { key, error })?;
    telemetry.wall(key, matches!(raised, Raised::Stands(_)));
    match (raised, wanted) {
        (Raised::Missing(why), Wall::On) => Err(WallFault::Missing { key, why }),
        (Raised::Missing(why), _) => {
            tracing::warn!(wall = key, "{why}");
            Ok(Raised::Missing(why))
        }
        (raised, _) => Ok(raised),
    }
}
