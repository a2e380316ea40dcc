//! Randomness. [`Entropy`] is the only door to the operating system's generator; keys, nonces and identifiers are
//! drawn through it, so that a simulation can replace it with [`SeededEntropy`] and repeat a run to the byte.

use std::fmt;
use std::sync::Mutex;

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + fmt::Debug {
    /// Fills the whole of `out`.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Entropy + '_ {
    /// `N` fresh bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0u8; N];
        self.fill(&mut out);
        out
    }
}

/// The operating system's generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    /// Without randomness no key and no nonce is safe, so a system that cannot give any stops the process.
    #[allow(clippy::disallowed_methods, reason = "the one place where the system's generator is read")]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the operating system gives random bytes");
    }
}

/// A repeatable stream for tests and simulations (SplitMix64). Never for keys that protect anything.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The stream that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> SeededEntropy {
        SeededEntropy(Mutex::new(seed))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in out.chunks_mut(8) {
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = *state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_two_seeds_differ() {
        let draw = |seed| (&SeededEntropy::new(seed) as &dyn Entropy).bytes::<20>();
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn the_system_gives_different_bytes_each_time() {
        let system: &dyn Entropy = &OsEntropy;
        assert_ne!(system.bytes::<32>(), system.bytes::<32>());
    }
}
