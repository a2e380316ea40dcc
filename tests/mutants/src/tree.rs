//! The copy of the sources under `target/mutants/tree`, in which every mutant that compiles has its switch. Only what
//! differs is written, so that a second run compiles little.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::list::Mutant;
use crate::switch::{changed, switch};

/// What is added to the library: the function that the switches ask.
const MUTATED: &str = include_str!("mutated.rs");

/// The copy.
pub struct Tree<'a> {
    root: &'a Path,
    /// Where it stands.
    pub place: PathBuf,
    build: PathBuf,
    known: PathBuf,
    mutants: &'a [Mutant],
    features: &'a [String],
}

/// Numbers of mutants by what became of them.
pub struct Switches {
    /// They can be switched on.
    pub on: BTreeSet<usize>,
    /// They do not compile.
    pub unviable: BTreeSet<usize>,
}

impl<'a> Tree<'a> {
    /// The copy for these mutants; `features` are the words for cargo that choose them.
    pub fn new(root: &'a Path, home: &Path, mutants: &'a [Mutant], features: &'a [String]) -> Tree<'a> {
        let [place, build, known] = ["tree", "build", "unviable.txt"].map(|name| home.join(name));
        Tree { root, place, build, known, mutants, features }
    }

    /// Writes the copy, asks the compiler, and takes out what does not compile, until all of it does. What did not compile
    /// last time, at the same place, is not tried again.
    pub fn grow(&self) -> Result<Switches> {
        let before = fs::read_to_string(&self.known).unwrap_or_default();
        let before: BTreeSet<&str> = before.lines().collect();
        let numbers = 0..self.mutants.len();
        let mut unviable: BTreeSet<usize> =
            numbers.filter(|number| before.contains(self.mutants[*number].name.as_str())).collect();
        self.copy()?;
        loop {
            let on = self.put(&unviable)?;
            let refused = self.check()?;
            if refused.is_empty() {
                let names: Vec<&str> = unviable.iter().map(|number| self.mutants[*number].name.as_str()).collect();
                fs::write(&self.known, names.join("\n"))?;
                return Ok(Switches { on, unviable });
            }
            eprintln!("mutants: {} do not compile", refused.len());
            unviable.extend(refused);
        }
    }

    /// Everything that git knows or would take, but for what [`Tree::put`] writes.
    fn copy(&self) -> Result<()> {
        let listed = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(self.root)
            .output()?;
        ensure!(listed.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listed.stderr));
        let switched: BTreeSet<&str> = self.mutants.iter().map(|mutant| mutant.file.as_str()).collect();
        for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            if switched.contains(file) || file == "src/lib.rs" {
                continue;
            }
            let (from, to) = (self.root.join(file), self.place.join(file));
            let there = match fs::read(&from) {
                Err(why) if why.kind() == ErrorKind::NotFound => continue,
                read => read.with_context(|| file.to_owned())?,
            };
            if fs::read(&to).ok().as_ref() != Some(&there) {
                fs::create_dir_all(to.parent().unwrap_or(&self.place))?;
                fs::copy(&from, &to).with_context(|| file.to_owned())?;
            }
        }
        Ok(())
    }

    /// The files of the rooms with their switches, but for those of `without`.
    fn put(&self, without: &BTreeSet<usize>) -> Result<BTreeSet<usize>> {
        let mut files: BTreeMap<&str, BTreeMap<usize, &Mutant>> = BTreeMap::new();
        for (number, mutant) in self.mutants.iter().enumerate() {
            let file = files.entry(&mutant.file).or_default();
            if !without.contains(&number) {
                file.insert(number, mutant);
            }
        }
        let mut on = BTreeSet::new();
        for (file, mutants) in files {
            let text = fs::read_to_string(self.root.join(file))?;
            let switched = switch(&text, &mutants).with_context(|| file.to_owned())?;
            on.extend(switched.numbers);
            self.write(file, &switched.text)?;
        }
        let lib = fs::read_to_string(self.root.join("src/lib.rs"))?;
        let mutants = format!("const MUTANTS: usize = {};\n", self.mutants.len());
        self.write("src/lib.rs", &(lib + MUTATED + &mutants))?;
        Ok(on)
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let to = self.place.join(file);
        if fs::read(&to).ok().as_deref() != Some(text.as_bytes()) {
            fs::create_dir_all(to.parent().unwrap_or(&self.place))?;
            fs::write(&to, text)?;
        }
        Ok(())
    }

    /// The mutants that the compiler refuses.
    fn check(&self) -> Result<BTreeSet<usize>> {
        let (good, said) = self.cargo(&["check", "--lib"])?;
        if good {
            return Ok(BTreeSet::new());
        }
        let mut refused = BTreeSet::new();
        let mut parts = BTreeMap::new();
        let mut unexplained = String::new();
        for message in said.iter().map(|line| &line["message"]).filter(|message| message["level"] == "error") {
            let mut spans = Vec::new();
            message["spans"].as_array().into_iter().flatten().for_each(|span| places(span, &mut spans));
            spans.sort_by_key(|span| span["is_primary"] != true);
            let found = spans.iter().find_map(|span| {
                let file = span["file_name"].as_str()?;
                let at = usize::try_from(span["byte_start"].as_u64()?).ok()?;
                let parts = parts.entry(file.to_owned()).or_insert_with(|| {
                    fs::read_to_string(self.place.join(file)).map_or_else(|_| Vec::new(), |text| changed(&text))
                });
                parts.iter().find(|(part, _)| part.contains(&at)).map(|(_, number)| *number)
            });
            match found {
                Some(number) => _ = refused.insert(number),
                None => unexplained += message["rendered"].as_str().unwrap_or_default(),
            }
        }
        if refused.is_empty() {
            bail!("the copy does not compile, and no mutant is to blame:\n{unexplained}");
        }
        Ok(refused)
    }

    /// The programs of these tests, by name and path.
    pub fn tests(&self, targets: &[String]) -> Result<Vec<(String, PathBuf)>> {
        let mut words = vec!["test", "--no-run"];
        words.extend(targets.iter().map(String::as_str));
        let (good, said) = self.cargo(&words)?;
        ensure!(good, "the tests do not compile; see above");
        let programs = said.iter().filter(|line| line["profile"]["test"] == true).filter_map(|line| {
            Some((line["target"]["name"].as_str()?.to_owned(), line["executable"].as_str()?.into()))
        });
        Ok(programs.collect())
    }

    /// Calls cargo in the copy. A little optimisation pays, since there is one build and there are many runs.
    fn cargo(&self, words: &[&str]) -> Result<(bool, Vec<Value>)> {
        let said = Command::new("cargo")
            .args(words)
            .args(self.features)
            .args(["--message-format", if words[0] == "check" { "json" } else { "json-render-diagnostics" }])
            .current_dir(&self.place)
            .env("CARGO_TARGET_DIR", &self.build)
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("RUSTFLAGS", "--cap-lints=allow")
            .stderr(std::process::Stdio::inherit())
            .output()?;
        let lines = said.stdout.split(|byte| *byte == b'\n');
        Ok((said.status.success(), lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()))
    }
}

/// A span, and where the macro was called that it stands in.
fn places<'v>(span: &'v Value, out: &mut Vec<&'v Value>) {
    out.push(span);
    if span["expansion"].is_object() {
        places(&span["expansion"]["span"], out);
    }
}
