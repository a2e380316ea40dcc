//! One connection to the agent, from its first message to its end.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::certified::Certificates;
use super::login::{Bound, Login};
use crate::client::sshagent::wire::{self, Message, Reader, Received, kind};

/// The longest message that is taken.
const MAX: usize = 64 * 1024;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(600);
/// How long a message may take from its first byte to its last, in either direction.
const WHOLE: Duration = Duration::from_secs(10);

/// Answers until the other side ends, falls silent, or sends what is no message.
pub(super) async fn talk(mut stream: UnixStream, certificates: &Certificates) {
    let mut bound = Bound::default();
    loop {
        if !matches!(timeout(IDLE, stream.readable()).await, Ok(Ok(()))) {
            return;
        }
        let Ok(Ok(Received::Message(kind, contents))) = timeout(WHOLE, wire::read(&mut stream, MAX)).await else {
            return;
        };
        let answer = answer(kind, &contents, &mut bound, certificates).await;
        let answer = answer.unwrap_or_else(|| Message::of(kind::FAILURE));
        if !matches!(timeout(WHOLE, stream.write_all(answer.bytes())).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// The answer to a message; none is a no.
async fn answer(kind: u8, contents: &[u8], bound: &mut Bound, certificates: &Certificates) -> Option<Message> {
    match kind {
        kind::REQUEST_IDENTITIES if contents.is_empty() => {
            let list = certificates.list().await?;
            let start = Message::of(kind::IDENTITIES).u32(u32::try_from(list.len()).ok()?);
            Some(list.iter().fold(start, |message, one| message.string(&one.blob).string(one.comment.as_bytes())))
        }
        kind::SIGN_REQUEST => {
            let mut reader = Reader::over(contents);
            let (blob, data) = (reader.string()?, reader.string()?);
            let flags = reader.u32()?;
            reader.end(())?;
            let login = Login::read(data).filter(|login| login.key == blob && bound.allows(login))?;
            let certified = certificates.find(login.key).await?;
            // The flags choose among the hashes of RSA.
            (flags == 0).then(|| Message::of(kind::SIGN_RESPONSE).string(&certified.sign(data)))
        }
        kind::EXTENSION => bound.bind(contents).then(|| Message::of(kind::SUCCESS)),
        _ => None,
    }
}
