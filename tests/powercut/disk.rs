//! A disk that has a cache: what was written and not synced is there in any part when the power comes back, sector by
//! sector.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::record::Step;

/// What a disk writes whole.
const SECTOR: usize = 512;

/// The files of a folder, by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What lasts, and what was asked for since.
pub(crate) struct Disk {
    lasting: Files,
    waiting: Vec<Step>,
}

/// In which way the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cut {
    /// Nothing came through that was not synced.
    Nothing,
    /// All of it came through.
    All,
    /// It came through in order, up to the middle of one write.
    Torn,
    /// Some writes came through, whole, and others not.
    Some,
    /// Of each write, some sectors.
    Sectors,
    /// The newest alone.
    Newest,
}

impl Cut {
    pub(crate) const ALL: [Cut; 6] = [Cut::Nothing, Cut::All, Cut::Torn, Cut::Some, Cut::Sectors, Cut::Newest];
}

impl Disk {
    pub(crate) fn new(lasting: Files) -> Disk {
        Disk { lasting, waiting: Vec::new() }
    }

    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Mark(_) => {}
            Step::Sync { file } => {
                let of_file = |step: &Step| name(step) == Some(file);
                for step in self.waiting.iter().filter(|step| of_file(step)) {
                    apply(&mut self.lasting, step);
                }
                self.waiting.retain(|step| !of_file(step));
            }
            other => self.waiting.push(other.clone()),
        }
    }

    /// How much was asked for and not synced.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What is there when the power comes back.
    pub(crate) fn after(&self, cut: Cut, dice: &mut Dice) -> Files {
        let mut files = self.lasting.clone();
        let torn = dice.below(self.waiting.len() + 1);
        for (index, step) in self.waiting.iter().enumerate() {
            let (mut sectors, mut kept) = ((0, 1), true);
            match cut {
                Cut::Nothing => kept = false,
                Cut::All => {}
                Cut::Torn if index == torn => sectors = (1, 2),
                Cut::Torn => kept = index < torn,
                Cut::Some => kept = dice.yes(),
                Cut::Sectors => sectors = (1, 2),
                Cut::Newest => kept = index + 1 == self.waiting.len(),
            }
            if !kept {
                continue;
            }
            match step {
                Step::Write { file, at, bytes } if sectors == (1, 2) => {
                    let in_order = cut == Cut::Torn;
                    tear(file, *at, bytes, in_order, dice).iter().for_each(|part| apply(&mut files, part));
                }
                whole => apply(&mut files, whole),
            }
        }
        files
    }
}

fn name(step: &Step) -> Option<&String> {
    match step {
        Step::Write { file, .. } | Step::Length { file, .. } | Step::Sync { file } | Step::Gone { file } => Some(file),
        Step::Mark(_) => None,
    }
}

/// The sectors of one write that came through: the first ones, or any.
fn tear(file: &str, at: usize, bytes: &[u8], in_order: bool, dice: &mut Dice) -> Vec<Step> {
    let sectors = (at + bytes.len()).div_ceil(SECTOR) - at / SECTOR;
    let end = dice.below(sectors + 1);
    let (mut parts, mut from) = (Vec::new(), at);
    for sector in 0..sectors {
        let to = ((from / SECTOR + 1) * SECTOR).min(at + bytes.len());
        if if in_order { sector < end } else { dice.yes() } {
            parts.push(Step::Write { file: file.to_owned(), at: from, bytes: bytes[from - at..to - at].to_vec() });
        }
        from = to;
    }
    parts
}

fn apply(files: &mut Files, step: &Step) {
    match step {
        Step::Write { file, at, bytes } => {
            let content = files.entry(file.clone()).or_default();
            if content.len() < at + bytes.len() {
                content.resize(at + bytes.len(), 0);
            }
            content[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        Step::Length { file, length } => files.entry(file.clone()).or_default().resize(*length, 0),
        Step::Gone { file } => {
            files.remove(file);
        }
        Step::Sync { .. } | Step::Mark(_) => {}
    }
}

#[test]
fn what_was_synced_lasts_and_the_rest_is_there_in_any_part() {
    let write = |at: usize, byte: u8, count: usize| Step::Write { file: "a".into(), at, bytes: vec![byte; count] };
    let mut disk = Disk::new(Files::from([("a".to_owned(), vec![0; 100])]));
    for step in
        [write(0, 1, 1024), Step::Sync { file: "b".into() }, Step::Sync { file: "a".into() }, write(512, 2, 1536)]
    {
        disk.take(&step);
    }
    assert_eq!(disk.waiting(), 1);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut dice = Dice(seed);
        assert_eq!(disk.after(Cut::Nothing, &mut dice)["a"], [1; 1024]);
        assert_eq!(disk.after(Cut::All, &mut dice)["a"][512..], [2; 1536]);
        let torn = disk.after(Cut::Sectors, &mut dice).remove("a").unwrap();
        assert_eq!(torn[..512], [1; 512], "what nobody wrote to is as it was");
        assert!(
            torn[512..].chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])),
            "sectors are whole"
        );
        seen.insert(torn[512..].chunks(512).map(|sector| sector[0]).collect::<Vec<_>>());
    }
    assert!(seen.len() >= 8, "any part of three sectors: {seen:?}");
}
