//! Files that are committed and that a test makes anew: what stands there is what is made, byte for byte.
//! `NOCKVAULT_REGENERATE=1` writes it instead, for people to review.

use std::fs;
use std::path::Path;

/// Holds the file of this path below the project's folder against what was made.
#[track_caller]
pub(crate) fn stands(path: impl AsRef<Path>, made: impl AsRef<[u8]>) {
    let (path, made) = (Path::new(env!("CARGO_MANIFEST_DIR")).join(path), made.as_ref());
    if std::env::var_os("NOCKVAULT_REGENERATE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let there = fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let (is, was) = (String::from_utf8_lossy(made), String::from_utf8_lossy(&there));
    let differs = is.lines().zip(was.lines()).find(|(is, was)| is != was);
    assert!(
        there == made,
        "{} is not what is made here; first: {differs:?}; review it and run with NOCKVAULT_REGENERATE=1",
        path.display()
    );
}
