//! What became of the mutants: a line for each room, the names of those that nobody missed, and a file for each outcome
//! under `target/mutants/ROOM`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::list::Mutant;

/// The outcomes, in the order of the line. The first two are what is wanted.
pub const OUTCOMES: &[&str] = &["caught", "timeout", "missed", "unreached", "unviable", "unswitchable", "excluded"];

/// By room and outcome, mutants and what there is to say of each.
#[derive(Default)]
pub struct Report<'a> {
    found: BTreeMap<(&'a str, &'static str), Vec<(&'a Mutant, String)>>,
}

impl<'a> Report<'a> {
    pub fn add(&mut self, mutant: &'a Mutant, outcome: &'static str, by: String) {
        self.found.entry((mutant.room(), outcome)).or_default().push((mutant, by));
    }

    /// Writes the files of these rooms and gives what is to be printed, and how many mutants live.
    pub fn write(&self, home: &Path, rooms: &[&str]) -> Result<(String, usize)> {
        let (mut text, mut living) = (String::new(), 0);
        for room in rooms {
            fs::create_dir_all(home.join(room))?;
            let mut counts = Vec::new();
            for outcome in OUTCOMES {
                let found = self.found.get(&(*room, *outcome)).map_or(&[][..], Vec::as_slice);
                let lines: String = found
                    .iter()
                    .map(|(mutant, by)| format!("{}\t{by}", mutant.name).trim_end().to_owned() + "\n")
                    .collect();
                fs::write(home.join(room).join(format!("{outcome}.txt")), &lines)?;
                counts.push(format!("{outcome} {}", found.len()));
            }
            writeln!(text, "{room:<10} {}", counts.join(", "))?;
        }
        for room in rooms {
            for outcome in ["missed", "unreached"] {
                for (mutant, _) in self.found.get(&(*room, outcome)).into_iter().flatten() {
                    writeln!(text, "{outcome:<9} {}", mutant.name)?;
                    living += 1;
                }
            }
        }
        Ok((text, living))
    }
}

/// A name without its line and column, which move.
pub fn bare(name: &str) -> String {
    let mut parts = name.splitn(4, ':');
    let file = parts.next().unwrap_or_default();
    format!("{file}:{}", parts.nth(2).unwrap_or_default())
}

/// The mutants, by bare name, that were caught last time and that no namesake survived.
pub fn caught_before(home: &Path, room: &str) -> BTreeMap<String, String> {
    let lines = |outcome: &str| fs::read_to_string(home.join(room).join(format!("{outcome}.txt"))).unwrap_or_default();
    let mut caught = BTreeMap::new();
    for line in lines("caught").lines().chain(lines("timeout").lines()) {
        let (name, by) = line.split_once('\t').unwrap_or((line, ""));
        caught.insert(bare(name), by.to_owned());
    }
    for line in lines("missed").lines().chain(lines("unreached").lines()) {
        caught.remove(&bare(line));
    }
    caught
}
