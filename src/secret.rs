//! What must not be seen. A [`Secret`] is born in its box, so that no move leaves a copy on the stack behind; it is
//! zeroized when dropped; its `Debug` says nothing, and it has neither `Display` nor `Serialize` nor `Clone`. Reading
//! it takes the word [`Secret::expose`], which a reviewer can search for.

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

/// A value that is erased from memory when dropped and never printed.
pub struct Secret<T: Zeroize>(Box<Zeroizing<T>>);

/// Secret bytes of any length.
pub type SecretBytes = Secret<Vec<u8>>;

impl<T: Zeroize> Secret<T> {
    /// Takes `value` into its box. Prefer [`Secret::init`] for arrays, which leaves no copy on the stack.
    pub fn new(value: T) -> Secret<T> {
        Secret(Box::new(Zeroizing::new(value)))
    }

    /// Lets the holder read the value.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Default> Secret<T> {
    /// Makes the value inside its box.
    pub fn init(fill: impl FnOnce(&mut T)) -> Secret<T> {
        let mut value = Box::new(Zeroizing::new(T::default()));
        fill(&mut value);
        Secret(value)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<const N: usize> Secret<[u8; N]>
where
    [u8; N]: Default,
{
    /// A secret array out of a slice of exactly its length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Secret<[u8; N]>> {
        (bytes.len() == N).then(|| Secret::init(|value: &mut [u8; N]| value.copy_from_slice(bytes)))
    }
}

impl From<Vec<u8>> for SecretBytes {
    fn from(bytes: Vec<u8>) -> SecretBytes {
        Secret::new(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_nothing_of_itself() {
        let secret = Secret::from(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?} {secret:#?}"), "Secret(..) Secret(..)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
