//! A chain as a Merkle tree: `MTH({}) = H("")`, `MTH({d}) = leaf`, `MTH(D[n]) = H(0x01 || MTH(D[0:k]) || MTH(D[k:n]))` with
//! `k` the largest power of two below `n` (RFC 6962 section 2.1, RFC 9162 section 2.1). The leaves are those of the chain,
//! `H(0x00 || line)`, so that one hash of a line serves both.
//!
//! A [`Tree`] keeps only its complete subtrees, one for each bit of its size, and so grows by a leaf in a few hashes and
//! at any length of the chain. [`inclusion`] and [`consistency`] make proofs out of complete subtrees that the caller
//! looks up; [`verify_inclusion`] and [`verify_consistency`] hold a proof against roots that somebody else signed.

use crate::crypto::hash::{Digest, node};

/// The state of a growing tree: its size and the roots of its complete subtrees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Digest>,
}

impl Tree {
    /// A tree out of what was kept of it: its complete subtrees, largest first. None where their number does not fit the
    /// size: one for each bit that is set in it; a size is below 2^63.
    #[must_use]
    pub fn of(size: u64, peaks: Vec<Digest>) -> Option<Tree> {
        let fits = size >> 63 == 0 && peaks.len() == size.count_ones() as usize;
        fits.then_some(Tree { size, peaks })
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its complete subtrees, largest first.
    #[must_use]
    pub fn peaks(&self) -> &[Digest] {
        &self.peaks
    }

    /// Its root; `H("")` where it has no leaf.
    #[must_use]
    pub fn root(&self) -> Digest {
        fold(&self.peaks)
    }

    /// Adds a leaf at its right end.
    pub fn push(&mut self, leaf: Digest) {
        self.push_with(leaf, |_, _, _| {});
    }

    /// Adds a leaf, and shows each complete subtree that the leaf completes, as level, index and root: first the leaf
    /// itself as level 0, then upward. The subtree at (level, index) stands over the leaves from index * 2^level to
    /// (index + 1) * 2^level, that one not included.
    pub fn push_with(&mut self, leaf: Digest, mut each: impl FnMut(u32, u64, &Digest)) {
        let (mut root, mut level) = (leaf, 0);
        each(level, self.size, &root);
        while self.size >> level & 1 == 1
            && let Some(left) = self.peaks.pop()
        {
            root = node(&left, &root);
            level += 1;
            each(level, self.size >> level, &root);
        }
        self.peaks.push(root);
        self.size += 1;
    }
}

/// The root over subtrees that stand side by side, largest first.
fn fold(peaks: &[Digest]) -> Digest {
    match peaks.split_last() {
        Some((last, rest)) => rest.iter().rev().fold(*last, |right, left| node(left, &right)),
        None => Digest::of(b""),
    }
}

/// A run of leaves, as the definition of the root cuts them: `count` of them from `start` on, which is a multiple of a
/// power of two that is not below `count`.
#[derive(Clone, Copy)]
struct Run {
    start: u64,
    count: u64,
}

impl Run {
    /// The two runs of a run of more than one leaf.
    fn halves(self) -> (Run, Run) {
        let left = 1 << (self.count - 1).ilog2();
        (Run { count: left, ..self }, Run { start: self.start + left, count: self.count - left })
    }

    fn root<E>(self, node: &mut impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Digest, E> {
        let (mut start, mut peaks) = (self.start, Vec::new());
        for level in (0..u64::BITS).rev().filter(|level| self.count >> level & 1 == 1) {
            peaks.push(node(level, start >> level)?);
            start += 1 << level;
        }
        Ok(fold(&peaks))
    }
}

fn roots<E>(runs: &[Run], mut node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Vec<Digest>, E> {
    runs.iter().rev().map(|run| run.root(&mut node)).collect()
}

/// The proof that the leaf `index` stands in the tree of `size` leaves: RFC 9162 section 2.1.3.1. `node(level, index)`
/// gives the root of the complete subtree over the leaves from `index * 2^level` to `(index + 1) * 2^level`; only such
/// are asked for as lie in the tree, and no more than 63 * 64 of them.
///
/// # Errors
/// What `node` fails with.
///
/// # Panics
/// Where `index` is not below `size`: there is no such proof.
pub fn inclusion<E>(index: u64, size: u64, node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Vec<Digest>, E> {
    assert!(index < size, "leaf {index} is not in a tree of {size}");
    let (mut run, mut beside) = (Run { start: 0, count: size }, Vec::new());
    while run.count > 1 {
        let (left, right) = run.halves();
        let (with, without) = if index < right.start { (left, right) } else { (right, left) };
        beside.push(without);
        run = with;
    }
    roots(&beside, node)
}

/// The proof that the first `old` leaves of the tree of `size` leaves are the tree of `old` leaves: RFC 9162 section
/// 2.1.4.1. It is empty where `old` is `size`, and where `old` is 0: what follows on nothing needs no proof. `node` as in
/// [`inclusion`].
///
/// # Errors
/// What `node` fails with.
///
/// # Panics
/// Where `old` is above `size`: there is no such proof.
pub fn consistency<E>(old: u64, size: u64, node: impl FnMut(u32, u64) -> Result<Digest, E>) -> Result<Vec<Digest>, E> {
    assert!(old <= size, "a tree of {size} does not follow on one of {old}");
    if old == 0 {
        return Ok(Vec::new());
    }
    let (mut run, mut beside) = (Run { start: 0, count: size }, Vec::new());
    while old != run.start + run.count {
        let (left, right) = run.halves();
        let (with, without) = if old <= right.start { (left, right) } else { (right, left) };
        beside.push(without);
        run = with;
    }
    // The old tree's own root is known to whoever asks.
    if run.start != 0 {
        beside.push(run);
    }
    roots(&beside, node)
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadProof {
    /// The leaf lies outside of the tree.
    #[error("entry {index} is not in a tree of {size} entries")]
    Outside {
        /// Which leaf is claimed.
        index: u64,
        /// How many there are.
        size: u64,
    },
    /// The tree became smaller.
    #[error("a tree of {size} entries cannot follow on one of {old}")]
    Shrunk {
        /// How many leaves there were.
        old: u64,
        /// How many there are.
        size: u64,
    },
    /// Everything follows on the empty tree: there is nothing to prove, and so no proof.
    #[error("the older tree is empty: a proof from there says nothing")]
    FromNothing,
    /// It holds more or fewer hashes than these sizes call for.
    #[error("the proof does not have as many hashes as the sizes call for")]
    Length,
    /// It leads to another root than the one given.
    #[error("the proof leads to another root")]
    Root,
    /// It leads to another older root than the one given.
    #[error("the proof leads to another root of the older tree")]
    OldRoot,
}

/// Where a walk up the tree stands: the place of the node on its level, and of that level's last node.
struct Climb {
    at: u64,
    last: u64,
}

impl Climb {
    /// Goes up over the levels on which the node has nothing beside it, and then one more. Says whether the next hash
    /// stands to the left.
    ///
    /// The loops of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
    fn step(&mut self) -> Result<bool, BadProof> {
        if self.last == 0 {
            return Err(BadProof::Length);
        }
        let left = self.at & 1 == 1 || self.at == self.last;
        if left {
            while self.at & 1 == 0 && self.at != 0 {
                self.up();
            }
        }
        self.up();
        Ok(left)
    }

    fn up(&mut self) {
        self.at >>= 1;
        self.last >>= 1;
    }

    fn at_top(&self) -> Result<(), BadProof> {
        if self.last == 0 { Ok(()) } else { Err(BadProof::Length) }
    }
}

/// Holds the proof `path` that `leaf` stands at `index` in the tree of `size` leaves with the root `root`: RFC 9162
/// section 2.1.3.2.
///
/// # Errors
/// [`BadProof`].
pub fn verify_inclusion(leaf: &Digest, index: u64, size: u64, path: &[Digest], root: &Digest) -> Result<(), BadProof> {
    if index >= size {
        return Err(BadProof::Outside { index, size });
    }
    let (mut climb, mut found) = (Climb { at: index, last: size - 1 }, *leaf);
    for beside in path {
        found = if climb.step()? { node(beside, &found) } else { node(&found, beside) };
    }
    climb.at_top()?;
    if found == *root { Ok(()) } else { Err(BadProof::Root) }
}

/// Holds the proof `path` that the tree of `size` leaves with `root` follows on the one of `old_size` leaves with
/// `old_root`: RFC 9162 section 2.1.4.2. Between equal sizes the roots are equal and the proof is empty.
///
/// # Errors
/// [`BadProof`]; an older tree without leaves is [`BadProof::FromNothing`], and for the caller to decide.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    size: u64,
    root: &Digest,
    path: &[Digest],
) -> Result<(), BadProof> {
    if old_size == 0 {
        return Err(BadProof::FromNothing);
    }
    if old_size >= size {
        return match (old_size == size, path.is_empty(), old_root == root) {
            (false, ..) => Err(BadProof::Shrunk { old: old_size, size }),
            (_, false, _) => Err(BadProof::Length),
            (.., false) => Err(BadProof::Root),
            _ => Ok(()),
        };
    }
    let mut climb = Climb { at: old_size - 1, last: size - 1 };
    while climb.at & 1 == 1 {
        climb.up();
    }
    // Where the old tree is one complete subtree, the walk begins at its root, which the proof leaves out.
    let (first, rest) = match path.split_first() {
        _ if old_size.is_power_of_two() => (old_root, path),
        Some((first, rest)) => (first, rest),
        None => return Err(BadProof::Length),
    };
    let (mut before, mut found) = (*first, *first);
    for beside in rest {
        if climb.step()? {
            (before, found) = (node(beside, &before), node(beside, &found));
        } else {
            found = node(&found, beside);
        }
    }
    climb.at_top()?;
    match (before == *old_root, found == *root) {
        (false, _) => Err(BadProof::OldRoot),
        (_, false) => Err(BadProof::Root),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::crypto::hash::leaf;

    const SIZES: u64 = 70;

    fn leaves() -> Vec<Digest> {
        (0..SIZES).map(|seq| leaf(seq.to_string().as_bytes())).collect()
    }

    /// RFC 6962 section 2.1, word for word.
    fn mth(leaves: &[Digest]) -> Digest {
        match leaves {
            [] => Digest::of(b""),
            [one] => *one,
            many => {
                let k = many.len().next_power_of_two() / 2;
                node(&mth(&many[..k]), &mth(&many[k..]))
            }
        }
    }

    fn at(leaves: &[Digest]) -> impl FnMut(u32, u64) -> Result<Digest, Infallible> {
        |level, index| {
            let (from, count) = ((index << level) as usize, 1 << level);
            Ok(mth(&leaves[from..from + count]))
        }
    }

    #[test]
    fn a_tree_grows_leaf_by_leaf_into_the_root_of_the_definition() {
        let leaves = leaves();
        let mut tree = Tree::default();
        for (count, leaf) in leaves.iter().enumerate() {
            assert_eq!((tree.size(), tree.root()), (count as u64, mth(&leaves[..count])));
            let kept = Tree::of(tree.size(), tree.peaks().to_vec());
            assert_eq!(kept.as_ref(), Some(&tree));
            let mut shown = Vec::new();
            tree.push_with(*leaf, |level, index, root| shown.push((level, index, *root)));
            assert_eq!(shown.len() as u32, (count as u64 + 1).trailing_zeros() + 1);
            for (nth, (level, index, root)) in shown.into_iter().enumerate() {
                assert_eq!((level, at(&leaves)(level, index)), (nth as u32, Ok(root)));
            }
        }
    }

    #[test]
    fn peaks_that_do_not_fit_the_size_are_no_tree() {
        assert_eq!(Tree::of(0, vec![]), Some(Tree::default()));
        assert_eq!(Tree::of(5, vec![Digest::ZERO]), None);
        assert_eq!(Tree::of(4, vec![Digest::ZERO; 2]), None);
        assert_eq!(Tree::of(1 << 63, vec![Digest::ZERO]), None);
    }

    #[test]
    fn each_leaf_proves_its_place_and_no_other() {
        let leaves = leaves();
        for size in 1..=SIZES {
            let root = mth(&leaves[..size as usize]);
            for index in 0..size {
                let path = inclusion(index, size, at(&leaves)).unwrap();
                let leaf = &leaves[index as usize];
                assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()), "{index} of {size}");
                let longer = [path.as_slice(), &[Digest::ZERO]].concat();
                assert!(verify_inclusion(leaf, index, size, &longer, &root).is_err(), "{index} of {size}");
                if let Some((_, shorter)) = path.split_last() {
                    assert!(verify_inclusion(leaf, index, size, shorter, &root).is_err(), "{index} of {size}");
                }
                assert!(verify_inclusion(leaf, index ^ 1, size, &path, &root).is_err(), "{index} of {size}");
                assert_eq!(verify_inclusion(&Digest::ZERO, index, size, &path, &root), Err(BadProof::Root));
            }
            let outside = verify_inclusion(&leaves[0], size, size, &[], &root);
            assert_eq!(outside, Err(BadProof::Outside { index: size, size }));
        }
    }

    #[test]
    fn each_tree_follows_on_all_before_it() {
        let leaves = leaves();
        let other = Digest::of(b"other");
        for size in 1..=SIZES {
            let root = mth(&leaves[..size as usize]);
            for old in 1..=size {
                let (path, was) = (consistency(old, size, at(&leaves)).unwrap(), mth(&leaves[..old as usize]));
                assert_eq!(verify_consistency(old, &was, size, &root, &path), Ok(()), "{old} to {size}");
                assert!(verify_consistency(old, &other, size, &root, &path).is_err(), "{old} to {size}");
                assert!(verify_consistency(old, &was, size, &other, &path).is_err(), "{old} to {size}");
                let longer = [path.as_slice(), &[other]].concat();
                assert_eq!(verify_consistency(old, &was, size, &root, &longer), Err(BadProof::Length));
                for nth in 0..path.len() {
                    let mut changed = path.clone();
                    changed[nth] = other;
                    assert!(verify_consistency(old, &was, size, &root, &changed).is_err(), "{old} to {size}");
                }
            }
            assert_eq!(consistency(0, size, at(&leaves)).unwrap(), []);
            assert_eq!(verify_consistency(0, &mth(&[]), size, &root, &[]), Err(BadProof::FromNothing));
            let shrunk = verify_consistency(size + 1, &root, size, &root, &[]);
            assert_eq!(shrunk, Err(BadProof::Shrunk { old: size + 1, size }));
        }
    }

    #[test]
    fn a_node_that_cannot_be_read_is_the_callers_error() {
        assert_eq!(inclusion(3, 7, |_, _| Err("gone")), Err("gone"));
        assert_eq!(consistency(3, 7, |_, _| Err("gone")), Err("gone"));
    }
}
