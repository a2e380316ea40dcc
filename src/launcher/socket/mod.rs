//! The launcher's own socket, from which the child's tools ask for what the launcher holds. It lies in a folder that
//! only the child's user may enter, the kernel says who is at the other end (`SO_PEERCRED`), and in tight mode whoever
//! asks shows the token of this run as well ([`super::token`]).
//!
//! A connection carries one question and one answer, each a JSON object and a line feed:
//!
//! ```text
//! {"v":1,"do":"get","role":"orders-read"}
//! {"ok":{"exp":1780000000000,"kind":"kv","lease":"..","renewable":true,"role":"orders-read","secret":{..}}}
//! ```
//!
//! `do` is `get` (with `role`, and by choice `params`, `ttl` in seconds, `purpose`, `fresh`), `release` (with `role`) or
//! `list`; each may carry `token`. A refusal is `{"error":{"code","message"}}`, with `limit`, `now` and `proven` where the
//! vault refused. Questions have at most 64 KiB, connections and waits are bounded.
//!
//! - `form`, `line`: the messages, and reading one
//! - `server`: the launcher's side
//! - `client`: the tools' side

mod client;
mod form;
mod line;
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use client::Client;
pub use form::Listed;
pub use server::{Serving, serve};

use super::token::Token;

/// The variable with the socket's path.
pub const SOCKET: &str = "NOCKVAULT_AGENT_SOCKET";

/// The most bytes of a question.
pub const QUESTION_MAX: usize = 64 * 1024;

/// The most bytes of an answer: more than any secret has.
const ANSWER_MAX: usize = 1024 * 1024;

/// Who may ask, and where.
#[derive(Debug, Default)]
pub struct Options {
    /// The folder in which a private one is made; the user's runtime folder or the temporary one where it is left out.
    pub dir: Option<PathBuf>,
    /// The user that the child runs as, where it is another than the launcher's: the socket is given to it. Taking it
    /// needs the right to give files away.
    pub uid: Option<u32>,
    /// What has to be shown; without one, the user is enough.
    pub token: Option<std::sync::Arc<Token>>,
}
