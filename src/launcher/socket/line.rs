//! Reading one line off a socket, within a bound, into a buffer that leaves nothing behind when it grows.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

/// What most lines fit into.
const USUAL: usize = 4 * 1024;

/// What came.
pub(super) enum Came {
    /// A line, without its end.
    Line(Zeroizing<Vec<u8>>),
    /// More than the bound, and no end yet.
    TooMuch,
    /// The other side ended before its line did; whether it said anything.
    Broken(bool),
}

/// Reads until a line feed, or until there are more than `most` bytes.
pub(super) async fn line(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Came> {
    let mut line = Zeroizing::new(Vec::with_capacity(USUAL));
    loop {
        if line.len() == line.capacity() {
            // Not left to the vector, which would free its old place as it is.
            let mut larger = Zeroizing::new(Vec::with_capacity((line.capacity() * 4).min(most + 1)));
            larger.extend_from_slice(&line);
            line = larger;
        }
        let before = line.len();
        let read = stream.read_buf(&mut *line).await?;
        if let Some(end) = line[before..].iter().position(|byte| *byte == b'\n') {
            line.truncate(before + end);
            return Ok(Came::Line(line));
        }
        if line.len() > most {
            return Ok(Came::TooMuch);
        }
        if read == 0 {
            return Ok(Came::Broken(!line.is_empty()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], most: usize) -> Came {
        line(&mut &*bytes, most).await.unwrap()
    }

    #[tokio::test]
    async fn a_line_comes_whole_or_not_at_all() {
        for length in [0, 1, USUAL - 1, USUAL, USUAL + 1, 4 * USUAL, 40_000] {
            let mut bytes = vec![b'x'; length];
            bytes.extend_from_slice(b"\nmore");
            assert!(matches!(read(&bytes, 64 * 1024).await, Came::Line(line) if *line == bytes[..length]), "{length}");
        }
        assert!(matches!(read(&[b'x'; 10_000], 9_999).await, Came::TooMuch));
        assert!(matches!(read(&[b'x'; 10_000], 10_000).await, Came::Broken(true)));
        assert!(matches!(read(b"", 9).await, Came::Broken(false)));
    }
}
