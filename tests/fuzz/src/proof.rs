//! Proofs: that an entry stands in a tree, that a tree grew out of another, and the file that carries one entry with all
//! that proves it.

use nockvault::audit::proof::{EntryProof, Pins, TlogProof, verify};
use nockvault::audit::tree::{BadProof, Tree, consistency, inclusion, verify_consistency, verify_inclusion};
use nockvault::crypto::hash::{Digest, node};

use super::world;

/// Two sizes, an index and hashes, eight and thirty-two bytes each: any proof of any tree. Beside it a tree of as many
/// leaves as the first byte says, whose every proof holds, and none with a bit of it turned.
pub(super) fn tree(data: &[u8]) -> bool {
    let Some((numbers, rest)) = data.split_first_chunk::<24>() else { return false };
    let number = |at: usize| u64::from_be_bytes(numbers[at..at + 8].try_into().expect("it has eight"));
    let (old, size, index) = (number(0), number(8), number(16));
    let (hashes, _) = rest.as_chunks::<32>();
    let path: Vec<Digest> = hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect();
    let root = path.last().copied().unwrap_or(Digest::ZERO);
    let included = verify_inclusion(&Digest::ZERO, index, size, &path, &root);
    let grown = verify_consistency(old, &Digest::ZERO, size, &root, &path);
    assert!(path.len() <= 64 || (included.is_err() && grown.is_err()), "no tree is so high");
    let _ = Tree::of(size, path.clone());
    small(u64::from(data[7]) % 40 + 1, index, rest.first().copied().unwrap_or_default());
    included.is_ok() || grown.is_ok() || matches!(grown, Err(BadProof::OldRoot | BadProof::Root))
}

fn small(size: u64, at: u64, bit: u8) {
    let leaf = |index: u64| Digest::of(&index.to_be_bytes());
    // A node out of the leaves below it.
    fn of(leaf: &dyn Fn(u64) -> Digest, level: u32, at: u64) -> Digest {
        match level {
            0 => leaf(at),
            _ => node(&of(leaf, level - 1, 2 * at), &of(leaf, level - 1, 2 * at + 1)),
        }
    }
    let node_at = |level: u32, at: u64| Ok::<_, std::convert::Infallible>(of(&leaf, level, at));
    let root = |size: u64| {
        let mut tree = Tree::default();
        (0..size).for_each(|index| tree.push(leaf(index)));
        tree.root()
    };
    let turned = |path: &[Digest]| {
        let mut path = path.to_vec();
        let which = usize::from(bit) % path.len().max(1);
        if let Some(hash) = path.get_mut(which) {
            let mut bytes = *hash.as_bytes();
            bytes[usize::from(bit) % 32] ^= 1 << (bit % 8);
            *hash = Digest::from_bytes(bytes);
        }
        path
    };
    let (index, old) = (at % size, at % size + 1);
    let Ok(path) = inclusion(index, size, node_at);
    assert_eq!(verify_inclusion(&leaf(index), index, size, &path, &root(size)), Ok(()));
    assert!(path.is_empty() || verify_inclusion(&leaf(index), index, size, &turned(&path), &root(size)).is_err());
    let Ok(path) = consistency(old, size, node_at);
    assert_eq!(verify_consistency(old, &root(old), size, &root(size), &path), Ok(()));
    assert!(path.is_empty() || verify_consistency(old, &root(old), size, &root(size), &turned(&path)).is_err());
}

/// A proof's file has one writing; and what is proved are lines that the vault wrote.
pub(super) fn proof(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let inner = inside(data);
    let text = inner.as_deref().unwrap_or(text);
    if let Ok(proof) = TlogProof::read(text) {
        assert_eq!(proof.write(), text);
    }
    if let Ok(proof) = EntryProof::read(text) {
        assert_eq!(proof.write(), text, "the proof of an entry is written otherwise");
    }
    match verify(text, &Pins::new(world::pinned().clone())) {
        Ok(proved) => {
            assert!(world::wrote(&proved.line), "a line is proved that the vault never wrote");
            true
        }
        Err(_) => false,
    }
}

/// What stands in the file in base64, brought bare: the line and its certificates, put into the file of a seed.
fn inside(data: &[u8]) -> Option<String> {
    if !data.starts_with(b"{") {
        return None;
    }
    let seed = TlogProof::read(include_str!("../seeds/proof/entry")).expect("the proof that was committed");
    Some(TlogProof { extra: Some(data.to_vec()), ..seed }.write())
}
