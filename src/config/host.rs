//! `[host]`: what the daemon takes away from itself on the machine it runs on, before the first request.

use super::reader::Section;

/// The section as a file with every key has it.
pub(super) const EXAMPLE: &str = r#"
[host]
# Walls that the daemon puts around itself before its first request. auto: where this machine lets it, and the log says
# where it does not. on: it does not start without. off: not at all.
# Memory that is never written to swap. It needs LimitMEMLOCK=infinity, or the capability IPC_LOCK.
mlock = "auto"
# Landlock: only the folders named in this file can be written, and little beside them can be read (Linux 5.13).
landlock = "auto"
# seccomp: calls of the system that a daemon like this never makes, such as ptrace, mount and execve, are refused.
seccomp = "auto"
# Whether such a call ends the daemon instead of failing.
seccomp_kills = false
"#;

/// Whether a wall is put up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wall {
    /// Where the machine lets it.
    #[default]
    Auto,
    /// Always: where the machine does not let it, the daemon does not start.
    On,
    /// Not at all.
    Off,
}

/// `[host]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether memory is kept out of swap.
    pub mlock: Wall,
    /// Whether the files that can be reached are cut down.
    pub landlock: Wall,
    /// Whether the calls of the system are cut down.
    pub seccomp: Wall,
    /// Whether a refused call ends the process.
    pub seccomp_kills: bool,
}

pub(super) fn read(mut section: Section<'_, '_>) -> Host {
    let [mlock, landlock, seccomp] = ["mlock", "landlock", "seccomp"]
        .map(|key| section.parsed(key, "auto", wall).map_or(Wall::Auto, |found| found.value));
    let seccomp_kills = section.flag("seccomp_kills");
    if let (Wall::Off, true, Some(line)) = (seccomp, seccomp_kills, section.line_of("seccomp_kills")) {
        section.wrong(line, "seccomp_kills", "no call is refused while seccomp = \"off\"", "leave out one of the two");
    }
    section.finish();
    Host { mlock, landlock, seccomp, seccomp_kills }
}

fn wall(text: &str) -> Result<Wall, String> {
    match text {
        "auto" => Ok(Wall::Auto),
        "on" => Ok(Wall::On),
        "off" => Ok(Wall::Off),
        other => Err(format!("{other:?} is none of auto, on and off")),
    }
}
