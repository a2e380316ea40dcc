//! `[audit]`: what is carried outside, and where to.

use std::path::{Path, PathBuf};

use super::reader::{Found, Section};

/// The mode of the mirror's files where none is said.
pub(super) const MODE: &str = "0640";
/// Others than the daemon read these files or do not, and nobody else writes them.
const MODES: [(&str, u32); 3] = [("0600", 0o600), ("0640", 0o640), ("0644", 0o644)];

/// `[audit]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// The mirror.
    pub mirror: Option<Mirror>,
}

/// Each chain as a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// In which folder.
    pub dir: PathBuf,
    /// The mode of the files.
    pub mode: u32,
}

/// Reads the section. `data` is the data directory, where it is known.
pub(super) fn read(mut section: Section<'_, '_>, base: &Path, data: Option<&Path>) -> Audit {
    let dir = section.path("dir", "audit", base);
    if let (Some(Found { value, line }), Some(data)) = (&dir, data)
        && value.starts_with(data)
    {
        let wrong = "the mirror would lie inside the data directory, which is closed to those who are to read it";
        section.wrong(*line, "dir", wrong, "name a folder elsewhere");
    }
    let mode = section.parsed("mode", MODE, mode);
    let mode = mode.map_or(0o640, |found| found.value);
    let mirror = dir.map(|dir| Mirror { dir: dir.value, mode });
    section.finish();
    Audit { mirror }
}

fn mode(text: &str) -> Result<u32, String> {
    let known = MODES.iter().find(|(name, _)| *name == text);
    known.map(|(_, mode)| *mode).ok_or_else(|| format!("{text:?} is none of 0600, 0640 and 0644"))
}
