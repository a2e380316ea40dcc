//! Only the decision makes a permit, and no engine mints without one; a permit cannot be widened either.

use nockvault::authz::Permit;
use nockvault::time::Timestamp;

fn widen(permit: Permit) -> Permit {
    Permit { expires: Timestamp(u64::MAX), ..permit }
}

fn main() {}
