
/// Whether the mutant of this number is the one that is switched on. The tool of `tests/mutants` adds this to the copy
/// of the library that it builds. `NOCKVAULT_MUTANT` names the mutant; where `NOCKVAULT_MUTANTS_REACHED` names a file
/// instead, each number that is asked for is written there once, and none is on.
#[doc(hidden)]
pub fn mutated(number: u32) -> bool {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static ON: LazyLock<u32> = LazyLock::new(|| {
        let said = std::env::var("NOCKVAULT_MUTANT").ok();
        said.map_or(u32::MAX, |said| said.parse().expect("NOCKVAULT_MUTANT is a number"))
    });
    static REACHED: LazyLock<Option<std::ffi::OsString>> =
        LazyLock::new(|| std::env::var_os("NOCKVAULT_MUTANTS_REACHED"));
    static NOTED: [AtomicBool; MUTANTS] = [const { AtomicBool::new(false) }; MUTANTS];

    if let Some(file) = &*REACHED
        && !NOTED[number as usize].swap(true, Ordering::Relaxed)
    {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
        // A daemon behind its own walls cannot write; what it reaches is then not known.
        let _ = file.and_then(|mut file| file.write_all(format!("{number}\n").as_bytes()));
    }
    *ON == number
}
