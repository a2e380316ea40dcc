//! Memory that is never written to swap. The kernel is asked to keep every page of the process, also those still to come,
//! each from the moment it is first touched. Under a limit (`RLIMIT_MEMLOCK`, 8 MiB by habit) the same request would make
//! a later allocation fail and end the daemon in the middle of its work, so it is made only where there is no limit.

use std::fs;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::Raised;

/// Locks the memory of this process, where that can hold.
///
/// # Errors
/// None at present; the shape is that of all walls.
pub fn lock() -> Result<Raised, String> {
    if !unlimited() {
        return Ok(Raised::Missing(format!(
            "the memory of this daemon may be written to swap{}: the system limits how much a process may lock. \
             LimitMEMLOCK=infinity in its systemd unit, `--ulimit memlock=-1` of a container, or the capability IPC_LOCK \
             allow it; or have no swap, or an encrypted one",
            if swaps() { "" } else { ", though there is none on this machine at present" }
        )));
    }
    // Without ONFAULT the stack of each thread would be taken as a whole, and each file that is mapped read in.
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => Ok(Raised::Stands("locked".to_owned())),
        Err(error) => Ok(Raised::Missing(format!("the memory of this daemon cannot be kept out of swap: {error}"))),
    }
}

/// Whether nothing bounds what may be locked.
fn unlimited() -> bool {
    let free = getrlimit(Resource::Memlock).current.is_none();
    free || (capable() && first_namespace())
}

fn capable() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// A capability that was given in a namespace of users counts for nothing here, though the process seems to have it.
fn first_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether there is swap. A machine that does not say has some.
fn swaps() -> bool {
    fs::read_to_string("/proc/swaps").map_or(true, |text| text.lines().count() > 1)
}
