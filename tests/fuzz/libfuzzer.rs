//! One reader under libFuzzer, guided by coverage: `make fuzz TARGET=entry SECONDS=3600`. Which one, the variable
//! `NOCKVAULT_FUZZ` says.

#![no_main]

#[path = "../../src/bin/vaultctl/members.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod members;
#[path = "../../src/bin/vaultctl/near.rs"]
mod near;
#[path = "src/lib.rs"]
#[allow(dead_code, reason = "a part is for the tests of the main package")]
mod targets;
#[path = "../../src/bin/vaultctl/terms.rs"]
mod terms;
#[path = "../../src/bin/shared/value.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod value;

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use nockvault::secret;
use targets::mutate::{Dice, mutated};
use targets::{Target, find};

fn chosen() -> &'static Target {
    static CHOSEN: OnceLock<&'static Target> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        let name = std::env::var("NOCKVAULT_FUZZ").expect("NOCKVAULT_FUZZ names what is fed");
        find(&name).unwrap_or_else(|| panic!("there is no {name}"))
    })
}

fuzz_target!(|data: &[u8]| {
    (chosen().run)(data);
});

// Half of the changes are libFuzzer's own, which knows what the program compared; half keep the form of the input.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut dice = Dice::new(seed.into());
    if dice.below(2) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let out = mutated(&data[..size], &data[..size], max_size, &mut dice);
    data[..out.len()].copy_from_slice(&out);
    out.len()
});
