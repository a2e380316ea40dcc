//! The file layer against a store in memory: crashes at every byte, rotations in every order, and files that somebody
//! else has written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::crypto::hash::{Digest, leaf};
use crate::follow::facts::Facts;
use crate::statement::request::Seen;

/// A store with one chain, `kit`.
#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

impl Kept {
    fn grow(&self, count: usize, salt: &str) {
        let mut lines = self.0.lock().unwrap();
        for _ in 0..count {
            let (prev, seq) = (lines.last().map_or(Digest::ZERO, |line| leaf(line)), lines.len());
            let pad = salt.repeat(1 + seq % 7);
            lines.push(format!(r#"{{"kind":"issue","pad":"{pad}","prev":"{prev}","seq":{seq},"ts":1}}"#).into_bytes());
        }
    }

    fn text(&self) -> String {
        text_of(&self.0.lock().unwrap())
    }
}

fn text_of(lines: &[Vec<u8>]) -> String {
    lines.iter().map(|line| format!("{}\n", String::from_utf8_lossy(line))).collect()
}

impl Source for Kept {
    fn lines(&self, chain: &ChainName, from: u64, limit: u64, _: usize) -> Result<Option<Lines>, Failure> {
        if *chain != kit() {
            return Ok(None);
        }
        let lines = self.0.lock().unwrap();
        let head = Seen { head: lines.last().map_or(Digest::ZERO, |line| leaf(line)), size: lines.len() as u64 };
        let part = lines.iter().skip(from as usize).take(limit.min(8) as usize).cloned().collect();
        Ok(Some(Lines { lines: part, head }))
    }

    fn lines_of(&self, chains: Vec<(ChainName, u64)>, limit: u64, bytes: usize) -> Result<Vec<Option<Lines>>, Failure> {
        chains.iter().map(|(chain, from)| self.lines(chain, *from, limit, bytes)).collect()
    }
}

/// A store that cannot be read ahead, and that something happens before, once, while it is asked.
struct Slow(Kept, Mutex<Option<Box<dyn FnOnce() + Send>>>);

impl Source for Slow {
    fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure> {
        if let Some(meanwhile) = self.1.lock().unwrap().take() {
            meanwhile();
        }
        self.0.lines(chain, from, limit, bytes)
    }

    fn lines_of(&self, _: Vec<(ChainName, u64)>, _: u64, _: usize) -> Result<Vec<Option<Lines>>, Failure> {
        Err(Failure::Unavailable("not now".to_owned()))
    }
}

/// A store that notes how many bytes of each chain were asked of it at once.
struct Noting(Kept, Arc<Mutex<Vec<usize>>>);

impl Source for Noting {
    fn lines(&self, chain: &ChainName, from: u64, limit: u64, bytes: usize) -> Result<Option<Lines>, Failure> {
        self.0.lines(chain, from, limit, bytes)
    }

    fn lines_of(&self, chains: Vec<(ChainName, u64)>, limit: u64, bytes: usize) -> Result<Vec<Option<Lines>>, Failure> {
        self.1.lock().unwrap().push(bytes);
        self.0.lines_of(chains, limit, bytes)
    }
}

fn kit() -> ChainName {
    "kit".parse().unwrap()
}

/// A mirror in a folder, whose process can come to an end.
struct Stage {
    folder: TempDir,
    kept: Kept,
    book: Book,
}

impl Stage {
    fn new() -> Stage {
        let (folder, kept) = (tempfile::tempdir().unwrap(), Kept::default());
        let book = Book::new(folder.path().join("audit"), 0o640, Box::new(kept.clone()));
        Stage { folder, kept, book }
    }

    /// A mirror of a chain with so many entries, all written and saved.
    fn with(count: usize) -> Stage {
        let mut stage = Stage::new();
        stage.kept.grow(count, "x");
        stage.follow();
        stage.book.cursors.save().unwrap();
        stage
    }

    fn follow(&mut self) {
        while self.book.steps(&[kit()]).pop().unwrap().unwrap().more {}
    }

    /// The process ends here, and another one begins, in this run of the machine or another one.
    fn crash(&mut self, boot: Option<&str>) {
        self.book = Book::new(self.folder.path().join("audit"), 0o640, Box::new(self.kept.clone()));
        if let Some(boot) = boot {
            boot.clone_into(&mut self.book.boot);
        }
        self.book.cursors.count(&[kit()].into());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join("audit").join(name)
    }

    fn live(&self) -> PathBuf {
        self.at("kit.audit.jsonl")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap()
    }

    /// All files of the chain, the oldest first.
    fn all(&self) -> String {
        let numbers =
            (1..).map(|number| self.at(&format!("kit.audit.jsonl.{number}"))).take_while(|path| path.exists());
        let mut paths: Vec<_> = numbers.collect();
        paths.reverse();
        paths.push(self.live());
        paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[track_caller]
    fn assert_whole(&mut self, told: impl std::fmt::Debug) {
        self.follow();
        assert_eq!(self.all(), self.kept.text(), "{told:?}");
        self.kept.grow(3, "later");
        self.follow();
        assert_eq!(self.all(), self.kept.text(), "{told:?}, later");
    }

    /// Makes room for the next rotated file, which gets number 1.
    fn shift(&self) {
        let numbers = (1..).take_while(|number| self.at(&format!("kit.audit.jsonl.{number}")).exists());
        for number in numbers.collect::<Vec<_>>().into_iter().rev() {
            let to = self.at(&format!("kit.audit.jsonl.{}", number + 1));
            fs::rename(self.at(&format!("kit.audit.jsonl.{number}")), to).unwrap();
        }
    }

    fn rename(&self) {
        self.shift();
        fs::rename(self.live(), self.at("kit.audit.jsonl.1")).unwrap();
    }

    fn copy(&self) {
        self.shift();
        fs::copy(self.live(), self.at("kit.audit.jsonl.1")).unwrap();
    }

    fn empty(&self) {
        cut(&self.live(), 0);
    }
}

fn cut(path: &Path, length: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn append(path: &Path, bytes: &[u8]) {
    fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn a_mirror_is_what_the_store_has() {
    let mut stage = Stage::with(40);
    assert_eq!(stage.read("kit.audit.jsonl"), stage.kept.text());
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(stage.live()), mode(stage.at(""))), (0o640, 0o750));
    assert_eq!(stage.book.cursors.carried().total(), 40);
    assert_eq!(stage.book.step(&kit()), Ok(Step::default()), "nothing is left");
    assert!(stage.book.step(&"lea".parse().unwrap()).is_err(), "there is no such chain");
    assert!(!stage.at("lea.audit.aside-1.jsonl").exists());
    stage.assert_whole("as it is");
}

#[test]
fn a_crash_at_any_byte_leaves_neither_gap_nor_repeat() {
    // With a cursor from the beginning, from the middle, from the end; with none.
    for saved in [Some(0), Some(9), Some(20), None] {
        let mut stage = Stage::with(saved.unwrap_or(0));
        if saved.is_none() {
            fs::remove_dir_all(stage.at(STATE)).unwrap_or_default();
        }
        let from = fs::metadata(stage.live()).map_or(0, |meta| meta.len());
        stage.kept.grow(20 - saved.unwrap_or(0), "y");
        stage.follow();
        let end = stage.kept.text();
        for length in from..=end.len() as u64 {
            stage.crash(None);
            cut(&stage.live(), 0);
            append(&stage.live(), &end.as_bytes()[..length as usize]);
            let inode = fs::metadata(stage.live()).unwrap().ino();
            stage.follow();
            assert_eq!(stage.read("kit.audit.jsonl"), end, "{saved:?} {length}");
            assert_eq!(fs::metadata(stage.live()).unwrap().ino(), inode, "it is the same file");
            assert!(!stage.at("kit.audit.aside-1.jsonl").exists(), "{saved:?} {length}");
        }
    }
}

#[test]
fn a_file_that_was_renamed_is_gone_on_from() {
    for (crash, saved, made) in [(false, true, true), (false, false, false), (true, true, false), (true, false, true)] {
        let mut stage = Stage::with(5);
        stage.kept.grow(6, "y");
        stage.follow();
        if saved {
            stage.book.cursors.save().unwrap();
        }
        stage.rename();
        if made {
            fs::write(stage.live(), "").unwrap();
        }
        if crash {
            stage.crash(None);
        }
        stage.kept.grow(4, "z");
        stage.assert_whole((crash, saved, made));
        assert_eq!(fs::read_to_string(stage.at("kit.audit.jsonl.1")).unwrap().lines().count(), 11);
    }
}

#[test]
fn a_line_that_a_crash_cut_in_a_renamed_file_is_completed_there() {
    let mut stage = Stage::with(5);
    stage.kept.grow(6, "y");
    stage.follow();
    let end = fs::metadata(stage.live()).unwrap().len();
    for cut_off in [1, 2, 30] {
        let mut stage = Stage::with(5);
        stage.kept.grow(6, "y");
        stage.follow();
        cut(&stage.live(), end - cut_off);
        stage.rename();
        stage.crash(None);
        stage.assert_whole(cut_off);
    }
}

#[test]
fn a_file_that_was_copied_and_emptied_is_gone_on_from() {
    // Copied at `copied`, after which more was written that the copy lacks.
    for copied in 5..=12 {
        for (crash, saved) in [(false, false), (true, false), (true, true)] {
            for raced in 0..3 {
                let mut stage = Stage::with(5);
                stage.kept.grow(copied - 5, "y");
                stage.follow();
                stage.copy();
                stage.kept.grow(12 - copied, "y");
                stage.follow();
                if saved {
                    stage.book.cursors.save().unwrap();
                }
                stage.empty();
                stage.kept.grow(raced, "r");
                if raced > 0 {
                    // Written by the process that did not see it emptied, and then ended.
                    append(&stage.live(), text_of(&stage.kept.0.lock().unwrap()[12..]).as_bytes());
                    stage.crash(None);
                } else if crash {
                    stage.crash(None);
                }
                stage.assert_whole((copied, crash, saved, raced));
            }
        }
    }
}

#[test]
fn a_copy_that_ends_within_a_line_is_completed() {
    for cut_off in [1, 7, 40] {
        let mut stage = Stage::with(9);
        stage.copy();
        let length = fs::metadata(stage.live()).unwrap().len();
        cut(&stage.at("kit.audit.jsonl.1"), length - cut_off);
        stage.empty();
        assert_eq!(stage.book.look(), [kit()].into(), "it is seen without a new entry");
        stage.follow();
        assert_eq!(stage.all(), stage.kept.text());
        stage.assert_whole(cut_off);
    }
}

#[test]
fn what_a_power_cut_took_is_written_again() {
    let (whole, from) = {
        let stage = Stage::with(9);
        (fs::metadata(stage.live()).unwrap().len(), 300)
    };
    for length in (0..whole).step_by(37) {
        let mut stage = Stage::with(9);
        cut(&stage.live(), length);
        if length > from {
            // What was to be written and was not.
            append(&stage.live(), &[0; 90]);
        }
        stage.crash(Some("another run"));
        stage.follow();
        assert_eq!(stage.all(), stage.kept.text(), "{length}");
        assert!(!stage.at("kit.audit.aside-1.jsonl").exists(), "{length}");
    }
}

#[test]
fn what_the_store_does_not_have_is_never_overwritten() {
    type Change = fn(&Stage);
    let changes: [(&str, Change); 6] = [
        ("another line", |stage| append(&stage.live(), b"{\"seq\":9}\n")),
        ("half of another line", |stage| append(&stage.live(), b"hello")),
        ("a changed line", |stage| fs::write(stage.live(), stage.kept.text().replace("\"ts\":1", "\"ts\":2")).unwrap()),
        ("something else", |stage| fs::write(stage.live(), "a\nb\n").unwrap()),
        ("a longer history", |stage| {
            stage.kept.grow(2, "y");
            append(&stage.live(), text_of(&stage.kept.0.lock().unwrap()[9..]).as_bytes());
            stage.kept.0.lock().unwrap().truncate(8);
        }),
        ("another history", |stage| {
            stage.kept.0.lock().unwrap().truncate(4);
            stage.kept.grow(9, "other");
        }),
    ];
    for crash in [false, true] {
        for (name, change) in &changes {
            if *name == "a changed line" && !crash {
                // What was written before is not read again while nothing points to it; that is for a verifier.
                continue;
            }
            let mut stage = Stage::with(9);
            change(&stage);
            let before = fs::read(stage.live()).unwrap();
            if crash {
                stage.crash(None);
            }
            let step = stage.book.step(&kit()).unwrap();
            assert!(step.set_aside, "{name}");
            for _ in 0..2 {
                stage.follow();
                stage.kept.grow(5, "z");
                stage.follow();
                assert_eq!(fs::read(stage.live()).unwrap(), before, "{name}");
                assert_eq!(stage.read("kit.audit.aside-1.jsonl"), stage.kept.text(), "{name}");
                stage.book.cursors.save().unwrap();
                stage.crash(None);
            }
            // Without a cursor it is found where it was.
            fs::remove_dir_all(stage.at(STATE)).unwrap();
            stage.crash(None);
            stage.follow();
            assert_eq!(stage.read("kit.audit.aside-1.jsonl"), stage.kept.text(), "{name}");
            assert!(!stage.at("kit.audit.aside-2.jsonl").exists(), "{name}");
        }
    }
}

#[test]
fn a_chain_that_does_not_hang_together_in_the_store_is_told_of_and_not_written_aside() {
    let mut stage = Stage::with(9);
    stage.kept.0.lock().unwrap().push(format!(r#"{{"kind":"a","prev":"{}","seq":9,"ts":1}}"#, Digest::ZERO).into());
    let told = stage.book.step(&kit()).unwrap_err();
    assert!(told.why.contains("broken at its entry 9") && !told.all, "{told:?}");
    assert!(!stage.at("kit.audit.aside-1.jsonl").exists());
}

/// Says in which order the entries stand, where it is another than the store's.
#[track_caller]
fn assert_whole(stage: &Stage, told: &str) {
    let (all, kept) = (stage.all(), stage.kept.text());
    let order: Vec<_> = all.lines().map(|line| Facts::of(line.as_bytes()).map(|facts| facts.seq)).collect();
    assert!(all == kept, "{told}: {order:?}");
}

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn whatever_happens_in_whatever_order_there_is_neither_gap_nor_repeat() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut stage = Stage::new();
        stage.kept.grow(1, "x");
        stage.follow();
        let mut told = Vec::new();
        for _ in 0..30 {
            let chosen = dice.below(7);
            told.push(chosen);
            match chosen {
                0 | 1 => {
                    stage.kept.grow(dice.below(20) as usize, "x");
                    stage.book.step(&kit()).unwrap();
                }
                2 => stage.book.cursors.save().unwrap(),
                3 => {
                    // Killed in the middle of a write.
                    let (before, text) = (stage.all().len(), stage.kept.text());
                    let torn = dice.below((text.len() - before) as u64 + 1) as usize;
                    append(&stage.live(), &text.as_bytes()[before..before + torn]);
                    stage.crash(None);
                    stage.book.step(&kit()).unwrap();
                }
                4 if fs::metadata(stage.live()).unwrap().len() > 0 => {
                    stage.rename();
                    fs::write(stage.live(), "").unwrap();
                }
                5 if fs::metadata(stage.live()).unwrap().len() > 0 => {
                    stage.copy();
                    stage.kept.grow(dice.below(4) as usize, "x");
                    stage.book.step(&kit()).unwrap();
                    stage.empty();
                    stage.follow();
                }
                _ => stage.crash(None),
            }
        }
        stage.follow();
        assert_whole(&stage, &format!("seed {seed}: {told:?}"));
        assert_eq!(stage.book.cursors.carried().total() as usize, stage.kept.0.lock().unwrap().len(), "seed {seed}");
    }
}

#[test]
fn what_is_rotated_and_compressed_while_the_store_is_slow_gets_nothing_more() {
    let mut stage = Stage::with(3);
    stage.kept.grow(2, "y");
    let (live, rotated) = (stage.live(), stage.at("kit.audit.jsonl.1"));
    let (packed, before) = (Arc::new(Mutex::new(String::new())), stage.kept.clone());
    let into = Arc::clone(&packed);
    let rotate = move || {
        fs::rename(&live, &rotated).unwrap();
        *into.lock().unwrap() = fs::read_to_string(&rotated).unwrap();
        fs::remove_file(&rotated).unwrap();
    };
    stage.book.source = Box::new(Slow(before, Mutex::new(Some(Box::new(rotate)))));
    stage.follow();
    assert_eq!(packed.lock().unwrap().lines().count(), 3);
    assert_eq!(packed.lock().unwrap().clone() + &stage.read("kit.audit.jsonl"), stage.kept.text());
}

#[test]
fn many_chains_are_carried_together_until_none_fares_better() {
    let mut stage = Stage::with(3);
    stage.kept.grow(2, "y");
    let chains = [kit(), "lea".parse().unwrap()];
    let steps = stage.book.steps(&chains);
    assert_eq!(steps[0], Ok(Step { more: false, carried: true, set_aside: false }));
    assert!(steps[1].as_ref().is_err_and(|trouble| !trouble.all && trouble.why.contains("lea")), "{steps:?}");
    assert_eq!(stage.read("kit.audit.jsonl"), stage.kept.text());

    // Without a folder no chain fares better than the first.
    stage.kept.grow(1, "z");
    let (audit, away) = (stage.folder.path().join("audit"), stage.folder.path().join("away"));
    fs::rename(&audit, &away).unwrap();
    fs::write(&audit, "no folder").unwrap();
    let steps = stage.book.steps(&chains);
    assert!(matches!(steps.as_slice(), [Err(trouble)] if trouble.all), "{steps:?}");
    fs::remove_file(&audit).unwrap();
    fs::rename(&away, &audit).unwrap();
    stage.kept.grow(1, "z");
    stage.assert_whole("a folder that was gone for a while");
}

#[test]
fn chains_that_are_read_together_share_the_bytes_and_one_alone_is_read_as_fast_as_ever() {
    let mut stage = Stage::with(3);
    let asked = Arc::new(Mutex::new(Vec::new()));
    stage.book.source = Box::new(Noting(stage.kept.clone(), Arc::clone(&asked)));
    stage.kept.grow(1, "y");
    stage.follow();
    let mark = stage.book.cursors.known(&kit()).unwrap().clone();
    let mut chains = vec![kit()];
    for number in 1..TOGETHER {
        let chain: ChainName = format!("kit-{number}").parse().unwrap();
        stage.book.cursors.put(&chain, mark.clone());
        chains.push(chain);
    }
    stage.book.steps(&chains);
    assert_eq!(*asked.lock().unwrap(), [PART.1, AHEAD / TOGETHER]);
}
