//! How files rot: what a bad cable, a bad sector, a bad copy or a bad hand leaves of one.

use crate::dice::Dice;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// One kind of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// One bit is the other one.
    Bit,
    /// Some bytes in a row are others.
    Bytes,
    /// Bits in many places.
    Rain,
    /// A sector reads as zeros.
    ZeroSector,
    /// A page reads as zeros.
    ZeroPage,
    /// A page holds noise.
    Noise,
    /// The file ends early, anywhere.
    Short,
    /// The file ends early, at the end of a page.
    ShortByPages,
    /// Two pages changed places.
    Swapped,
    /// A page stands where another was.
    Doubled,
    /// The file goes on with noise.
    Longer,
}

impl Damage {
    pub(crate) const ALL: [Damage; 11] = [
        Damage::Bit,
        Damage::Bytes,
        Damage::Rain,
        Damage::ZeroSector,
        Damage::ZeroPage,
        Damage::Noise,
        Damage::Short,
        Damage::ShortByPages,
        Damage::Swapped,
        Damage::Doubled,
        Damage::Longer,
    ];

    /// Does it to a file that holds anything. What it did, for whoever looks into a case.
    pub(crate) fn done_to(self, file: &mut Vec<u8>, dice: &mut Dice) -> String {
        let at = dice.below(file.len());
        let pages = file.len().div_ceil(PAGE);
        let (one, other) = (dice.below(pages), dice.below(pages));
        let page = |page: usize, length: usize| page * PAGE..((page + 1) * PAGE).min(length);
        match self {
            Damage::Bit => file[at] ^= 1 << dice.below(8),
            Damage::Bytes => {
                let end = (at + 1 + dice.below(16)).min(file.len());
                let noise = dice.bytes(end - at);
                file[at..end].copy_from_slice(&noise);
            }
            Damage::Rain => {
                for _ in 0..8 + dice.below(56) {
                    let at = dice.below(file.len());
                    file[at] ^= 1 << dice.below(8);
                }
            }
            Damage::ZeroSector => {
                let (from, end) = (at / SECTOR * SECTOR, file.len());
                file[from..(from + SECTOR).min(end)].fill(0);
            }
            Damage::ZeroPage => {
                let range = page(one, file.len());
                file[range].fill(0);
            }
            Damage::Noise => {
                let range = page(one, file.len());
                let noise = dice.bytes(range.len());
                file[range].copy_from_slice(&noise);
            }
            Damage::Short => file.truncate(at),
            Damage::ShortByPages => file.truncate(one * PAGE),
            Damage::Swapped | Damage::Doubled => {
                let (first, second) = (page(one, file.len()), page(other, file.len()));
                let length = first.len().min(second.len());
                let kept = file[first.start..first.start + length].to_vec();
                file.copy_within(second.start..second.start + length, first.start);
                if self == Damage::Swapped {
                    file[second.start..second.start + length].copy_from_slice(&kept);
                }
            }
            Damage::Longer => {
                let more = 1 + dice.below(2 * PAGE);
                file.extend(dice.bytes(more));
            }
        }
        format!("{self:?} at {at}, pages {one} and {other} of {pages}")
    }
}
