//! Credentials in the form in which tools ask for them. Each page is one convention, as the tool that has it defines it:
//! what comes in, what goes out, and what is refused. They do no asking of their own: what they turn into an answer was
//! given to them.
//!
//! - [`git`], [`docker`]: credential helpers, for hosts that were written down ([`hosts`])
//! - [`aws`], [`kube`]: programs that an SDK runs for its keys
//! - [`pgpass`]: libpq's password file
//! - [`provide`]: JSON on standard input and output
//! - [`nockcc`]: the loopback HTTP that NockGuard's `nockcc:` references call

pub mod aws;
pub mod docker;
pub mod git;
pub mod hosts;
pub mod kube;
pub mod nockcc;
pub mod pgpass;
pub mod provide;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::time::Timestamp;

/// An answer with a secret in it, and its end of line. It is of its full size from the start: a buffer that grows leaves
/// copies behind.
fn json<T: Serialize>(answer: &T) -> Zeroizing<Vec<u8>> {
    struct Count(usize);

    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let mut count = Count(1);
    serde_json::to_writer(&mut count, answer).expect("its members are texts and numbers");
    let mut line = Zeroizing::new(Vec::with_capacity(count.0));
    serde_json::to_writer(&mut *line, answer).expect("its members are texts and numbers");
    line.push(b'\n');
    line
}

/// An instant as these tools write it: RFC 3339 in UTC, whole seconds, rounded down.
fn instant(at: Timestamp) -> String {
    let text = Timestamp(at.whole_seconds() * 1000).to_string();
    text.replace(".000Z", "Z")
}
