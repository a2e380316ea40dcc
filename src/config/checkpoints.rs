//! `[checkpoints]`: when chains get one, and who keeps it outside of the vault.

use std::path::{Path, PathBuf};

use super::limits::CHECKPOINTS;
use super::reader::Section;
use crate::follow::places::Place;
use crate::store::Pace;
use crate::time::Seconds;

/// The rest of the section as a file with every key has it.
pub(super) const EXAMPLE: &str = r#"# Who keeps the newest of each chain, where the vault cannot take it back. "dir:/path" is a folder that is there;
# "https://host/path/" gets a PUT of <chain>.checkpoint below it, and without the slash at the end a POST of each.
# places = ["dir:/mnt/keep/checkpoints", "https://keep.example.org/checkpoints/"]
# Witnesses: a policy (c2sp.org/tlog-policy). Each of its witnesses with a URL is asked to cosign.
# policy = "witnesses.policy"
"#;

/// `[checkpoints]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoints {
    /// When a chain gets one.
    pub pace: Pace,
    /// Who keeps them.
    pub places: Vec<Place>,
    /// The policy that names witnesses.
    pub policy: Option<PathBuf>,
}

pub(super) fn read(mut section: Section<'_, '_>, base: &Path) -> Checkpoints {
    let [entries, after] = CHECKPOINTS.each_ref().map(|limit| section.limit(limit));
    let places: Vec<Place> = section.list("places", "dir:/mnt/keep/checkpoints", str::parse);
    if let Some((nth, twice)) = places.iter().enumerate().find(|(nth, place)| places[..*nth].contains(place)) {
        let line = section.line_of("places").unwrap_or(section.line());
        let wrong = format!("{twice} stands there twice, the second time as number {}", nth + 1);
        section.wrong(line, "places", wrong, "name each place once");
    }
    let policy = section.path("policy", "witnesses.policy", base).map(|found| found.value);
    section.finish();
    Checkpoints { pace: Pace { entries, after: Seconds(after) }, places, policy }
}
