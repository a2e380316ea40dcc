//! A backup on its way to an operator: the signed answer, then the file in parts as they are made, and its digest. What
//! takes them sets the pace; where it goes away, the making ends.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc::{self, Sender};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::phases::Inside;
use super::status;
use crate::crypto::hash::Running;
use crate::denial::{Denial, Reason};
use crate::failpoint::failpoint;
use crate::secret::SecretBytes;
use crate::store::{Belonging, Failure};
use crate::vault::operate::Making;
use crate::wire::v1::{MakeBackupResponse, SignedEnvelope};

/// How many parts may wait to be taken.
const AHEAD: usize = 4;
/// A part is given out when it has so many bytes.
const PART: usize = 512 << 10;

/// The answer.
pub(super) type Parts = ReceiverStream<Result<MakeBackupResponse, Status>>;

/// Files that go with a backup: the name of each there, and where it is read when one is made.
pub(super) type Belongings = Arc<Vec<(String, PathBuf)>>;

/// Begins to give out what was commanded. Whoever makes it is inside the vault until the end; where that is given up, the
/// file breaks off with `sealed`.
pub(super) fn parts(signed: SignedEnvelope, making: Option<Making>, belongings: Belongings, inside: Inside) -> Parts {
    let (sender, parts) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        let first = MakeBackupResponse { signed: Some(signed), ..MakeBackupResponse::default() };
        // Who went away already wants nothing made.
        if sender.send(Ok(first)).await.is_err() {
            return;
        }
        let last = match inside.within(carried(making, &belongings, &sender)).await {
            Some(Ok(digest)) => Ok(MakeBackupResponse { digest, ..MakeBackupResponse::default() }),
            Some(Err(denial)) => {
                tracing::error!(reason = denial.reason.code(), why = %denial.internal, "a backup was not made");
                Err(status::refusal(&denial, None))
            }
            None => Err(status::refusal(&Reason::Sealed.into(), None)),
        };
        drop(inside);
        let _ = sender.send(last).await;
    });
    ReceiverStream::new(parts)
}

/// Makes it and carries each part to whoever takes them. Where this is dropped, the thread that makes it finds nobody and
/// ends, however slowly the parts were taken.
async fn carried(making: Option<Making>, belongings: &[(String, PathBuf)], to: &Answers) -> Result<Vec<u8>, Denial> {
    let (out, mut parts) = mpsc::channel(1);
    let carry = async {
        while let Some(part) = parts.recv().await {
            if to.send(part).await.is_err() {
                // Whoever asked for it went away.
                parts.close();
            }
        }
    };
    let (made, ()) = tokio::join!(made(making, belongings, out), carry);
    made
}

/// Makes it, and gives the digest of all of it.
async fn made(making: Option<Making>, belongings: &[(String, PathBuf)], to: Answers) -> Result<Vec<u8>, Denial> {
    let making = making.ok_or(Reason::Internal)?;
    let files = read(belongings).map_err(|why| Denial::new(Reason::Internal).internal(why))?;
    let digest = Arc::new(Mutex::new(Running::default()));
    let out = Out { to, digest: Arc::clone(&digest), part: Vec::new() };
    making.write(files, Box::new(out)).await.map_err(Failure::denial)?;
    let digest = digest.lock().unwrap_or_else(PoisonError::into_inner).digest();
    Ok(digest.as_bytes().to_vec())
}

fn read(belongings: &[(String, PathBuf)]) -> Result<Vec<Belonging>, String> {
    let one = |(name, path): &(String, PathBuf)| {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Belonging { name: name.clone(), bytes: Arc::new(SecretBytes::from(bytes)) })
    };
    belongings.iter().map(one).collect()
}

type Answers = Sender<Result<MakeBackupResponse, Status>>;

/// Cuts what is written into parts, and keeps the digest of all of it. It waits for whoever takes them, on a thread of its
/// own.
struct Out {
    to: Answers,
    digest: Arc<Mutex<Running>>,
    part: Vec<u8>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.extend_from_slice(bytes);
        if self.part.len() >= PART { self.flush().map(|()| bytes.len()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.digest.lock().unwrap_or_else(PoisonError::into_inner).take(&part);
        let part = MakeBackupResponse { part, ..MakeBackupResponse::default() };
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "whoever asked for it went away");
        self.to.blocking_send(Ok(part)).map_err(gone)?;
        failpoint!("backup: a part given out");
        Ok(())
    }
}
