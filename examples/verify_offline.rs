//! An auditor verifies a chain: a file, the vault card, and nothing else. No vault is asked and no secret is needed.
//!
//! ```text
//! cargo run --example verify_offline -- prod.card kit.audit.jsonl [RECEIPT ..]
//! ```
//!
//! Receipts are answers that the agent kept; each closes the history before it. `vault-verify` is this with more ways to
//! say what is known. It ends with 0 for intact, 2 for tampered, 1 where it cannot be told.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::fs::{File, read_to_string};
use std::io::BufReader;
use std::process::ExitCode;

use anyhow::Context as _;
use nockvault::audit::receipt::Receipt;
use nockvault::audit::verify::{Pins, verify};
use nockvault::statement::card::Card;

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (card, chain) = (arguments.next(), arguments.next());
    let (card, chain) = card.zip(chain).context("usage: verify_offline CARD CHAIN [RECEIPT ..]")?;

    // What is known from elsewhere: whose chain it must be, and states that it once had.
    let mut pins = Pins::of_card(&Card::read(&read_to_string(&card)?)?);
    for receipt in arguments {
        pins.receipts.push(Receipt::read(&read_to_string(&receipt)?)?);
    }

    let report = verify(BufReader::new(File::open(&chain)?), &pins)?;
    print!("{report}");
    Ok(ExitCode::from(report.verdict.exit_code()))
}
