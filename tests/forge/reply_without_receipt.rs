//! What is released is made from a receipt, and a receipt only from what the store gave back after the commit.

use nockvault::crypto::envelope::Envelope;
use nockvault::statement::reply::EntryRef;
use nockvault::vault::answer::{Outcome, Receipt, Released};

fn release(envelope: Envelope) -> Outcome {
    Outcome::Released(Released(envelope))
}

fn receipt(entry: EntryRef) -> Receipt {
    Receipt::of(entry)
}

fn main() {}
