//! A backup file: everything that a vault keeps, at one instant, sealed so that only the root key of that time opens it.
//!
//! ```text
//! "nockvault-backup-v2" LF
//! u32be length || header       JCS, in the clear: whose it is, which command made it, who can get at the root key, and the
//!                              keys, wrapped
//! chunk || chunk || ...        crypto::stream behind everything before them
//!
//! header   = {"aud","backup","by":{"leaf","seq"},"custodians":[{"kind","name","public","root","sealed"}],"file_key",
//!             "made","name","ring":[{"epoch","key"}],"typ":"nockvault/backup_file","v":2}
//! inside   = u32be length || manifest || the files of the manifest, one behind the other || the database
//! manifest = {"chains","database","entries","files":[{"bytes","name"}],"heads","schema","v":1}
//! ```
//!
//! Any custodian of that time comes by the root key; in a backup of the first version, which names none, it is what the
//! key file holds.
//!
//! `backup` is drawn for the backup and stands in the result of its command in `_operators`. The root key opens the ring,
//! a key of the ring the file key, and that the chunks, which are bound to all that stands before them: what opens is what
//! the vault wrote. Records inside stay sealed besides. `heads` begins with 32 zero bytes and becomes
//! `H(heads || "<chain> <size> <leaf>" LF)` with each chain in the order of names.
//!
//! Both ways it goes chunk by chunk: memory does not grow with the vault.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use super::at_rest::Ring;
use super::custody::{Custodian, RootKey};
use crate::base64url::Bytes;
use crate::crypto::aead::{DataKey, Place};
use crate::crypto::hash::Digest;
use crate::crypto::json::canonical;
use crate::crypto::stream::{CHUNK, StreamKey, TAG};
use crate::entropy::Entropy;
use crate::id::{Aud, VaultName};
use crate::secret::{Secret, SecretBytes};
use crate::statement::reply::EntryRef;
use crate::time::Timestamp;

/// What a backup file begins with.
pub const MAGIC: &[u8] = b"nockvault-backup-v2\n";

/// What one begins with that was made before there were custodians.
const BEFORE_CUSTODIANS: &[u8; MAGIC.len()] = b"nockvault-backup-v1\n";

const TYP: &str = "nockvault/backup_file";
const VERSION: u64 = 2;
/// The version of manifests.
const MANIFEST: u64 = 1;

/// The longest header and manifest: far more than any has.
const LONGEST: usize = 1 << 20;

/// A data key, wrapped by the root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wrapped {
    /// Its number.
    pub epoch: u64,
    /// The record of it.
    pub key: Bytes,
}

/// What stands in the clear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Whose it is.
    pub aud: Aud,
    /// Which backup it is: drawn for it.
    pub backup: Digest,
    /// The command that made it, in `_operators`.
    pub by: EntryRef,
    /// Who can get at the root key of that time; nobody is named in the first version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub custodians: Vec<Custodian>,
    /// The key of the chunks, sealed by the ring.
    pub file_key: Bytes,
    /// When it was made, by the vault's clock.
    pub made: Timestamp,
    /// The vault's name.
    pub name: VaultName,
    /// The ring.
    pub ring: Vec<Wrapped>,
    /// `nockvault/backup_file`.
    pub typ: String,
    /// 2, or 1 where it names no custodians.
    pub v: u64,
}

/// A file beside the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is.
    pub name: String,
}

/// What is inside, before all of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// How many chains there are.
    pub chains: u64,
    /// How many bytes the database has.
    pub database: u64,
    /// How many entries all chains have.
    pub entries: u64,
    /// What stands before the database.
    pub files: Vec<Part>,
    /// H over the chains' heads.
    pub heads: Digest,
    /// The version of the database.
    pub schema: u64,
    /// 1.
    pub v: u64,
}

/// Why a backup is not taken.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// No backup at all.
    #[error("this is no backup of a NockVault; name the file that `vaultctl backup` wrote")]
    NotOurs,
    /// Of a form that this program does not know.
    #[error("the backup is of another version of the form; use a newer vaultctl")]
    Unknown,
    /// Of another vault.
    #[error(
        "the backup is of the vault {found}, and the card is of {wanted}; name the right file, or the right card with --vault"
    )]
    OtherVault {
        /// Whose it is.
        found: Aud,
        /// Whose was asked for.
        wanted: Aud,
    },
    /// The root key does not open it.
    #[error(
        "the root key is not the one that this backup was made under, or its head was changed; open it \
         with what a custodian of the day it was made held"
    )]
    WrongRoot,
    /// The file ends too early.
    #[error("the backup breaks off, or its end was changed; fetch the file again from where it is kept")]
    Cut,
    /// It is not what the vault wrote.
    #[error("the backup was changed behind its head; fetch the file again from where it is kept")]
    Changed,
    /// The file cannot be read, or what it becomes cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

fn file_key_place(backup: &str) -> Place<'_> {
    Place { table: "backup", column: "key", row: backup, purpose: "file_key", ver: 1 }
}

/// Writes a backup.
pub struct Sealing<W> {
    out: W,
    key: StreamKey,
    chunk: zeroize::Zeroizing<Vec<u8>>,
}

impl<W> std::fmt::Debug for Sealing<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealing(..)")
    }
}

/// What a header is made of.
#[derive(Clone, Debug)]
pub struct About {
    /// Whose it is.
    pub aud: Aud,
    /// Which backup it is.
    pub backup: Digest,
    /// The command that made it.
    pub by: EntryRef,
    /// The present.
    pub made: Timestamp,
    /// The vault's name.
    pub name: VaultName,
}

impl<W: Write> Sealing<W> {
    /// Writes the head, with a key that is drawn for this backup, and the manifest. Custodians and the wrapped ring are as
    /// they are kept.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn begin(
        mut out: W,
        about: About,
        ring: &Ring,
        (custodians, wrapped): (Vec<Custodian>, Vec<(u64, Vec<u8>)>),
        manifest: &Manifest,
        entropy: &dyn Entropy,
    ) -> io::Result<Sealing<W>> {
        let About { aud, backup, by, made, name } = about;
        let file_key = DataKey::generate(entropy);
        let sealed = ring.seal(&file_key_place(&backup.to_string()), file_key.expose(), entropy);
        let ring = wrapped.into_iter().map(|(epoch, key)| Wrapped { epoch, key: Bytes(key) }).collect();
        let (sealed, typ) = (Bytes(sealed), TYP.to_owned());
        let header = Header { aud, backup, by, custodians, file_key: sealed, made, name, ring, typ, v: VERSION };
        let head = [MAGIC, &framed(&canonical(&header))].concat();
        out.write_all(&head)?;
        let mut sealing =
            Sealing { out, key: StreamKey::derive(&file_key, &head), chunk: zeroize::Zeroizing::new(Vec::new()) };
        sealing.write_all(&framed(&canonical(manifest)))?;
        Ok(sealing)
    }

    /// Writes the last chunk, and gives back what was written to.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn finish(mut self) -> io::Result<W> {
        let last = self.key.seal(&self.chunk, true);
        self.out.write_all(&last)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One that is full is sealed when more comes: only then it is not the last.
        if self.chunk.len() == CHUNK {
            let sealed = self.key.seal(&self.chunk, false);
            self.out.write_all(&sealed)?;
            self.chunk.clear();
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a header or manifest is far below 4 GiB");
    [&length.to_be_bytes(), bytes].concat()
}

/// Reads a backup.
pub struct Opening<R> {
    from: R,
    key: StreamKey,
    /// What is read and not opened yet: at most a sealed chunk and one byte of the next.
    ahead: Vec<u8>,
    chunk: SecretBytes,
    at: usize,
    last: bool,
}

impl<R> std::fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opening(..)")
    }
}

/// A backup that opened, as far as its manifest.
#[derive(Debug)]
pub struct Opened<R> {
    /// What stands in the clear.
    pub header: Header,
    /// The ring of the vault.
    pub ring: Ring,
    /// What is inside.
    pub manifest: Manifest,
    /// The rest.
    pub rest: Opening<R>,
}

/// What a backup says in the clear, unverified, and its bytes with all before them.
fn head(from: &mut impl Read) -> Result<(Header, Vec<u8>), BackupFault> {
    let mut magic = [0; MAGIC.len()];
    exact(from, &mut magic)?;
    let version = match magic {
        magic if magic == *MAGIC => VERSION,
        magic if magic == *BEFORE_CUSTODIANS => 1,
        magic if magic.starts_with(b"nockvault-backup-") => return Err(BackupFault::Unknown),
        _ => return Err(BackupFault::NotOurs),
    };
    let mut length = [0; 4];
    exact(from, &mut length)?;
    let mut text = vec![0; length_of(length).ok_or(BackupFault::NotOurs)?];
    exact(from, &mut text)?;
    let header: Header = serde_json::from_slice(&text).map_err(|_| BackupFault::NotOurs)?;
    let named = header.custodians.is_empty() == (version == 1);
    if header.typ != TYP || header.v != version || !named || canonical(&header) != text {
        return Err(BackupFault::Unknown);
    }
    Ok((header, [&magic[..], &length, &text].concat()))
}

/// Who can get at the root key of a backup, and whose it says it is: nothing of it is verified before it opens.
///
/// # Errors
/// [`BackupFault`].
pub fn custodians(mut from: impl Read) -> Result<(Vec<Custodian>, Aud, VaultName), BackupFault> {
    let (header, _) = head(&mut from)?;
    let custodians = match header.custodians.is_empty() {
        true => vec![Custodian::before_custodians()],
        false => header.custodians,
    };
    Ok((custodians, header.aud, header.name))
}

/// Opens a backup of the vault `aud` with its root key.
///
/// # Errors
/// [`BackupFault`].
pub fn open<R: Read>(mut from: R, aud: &Aud, root: &RootKey) -> Result<Opened<R>, BackupFault> {
    let (header, head) = head(&mut from)?;
    if header.aud != *aud {
        return Err(BackupFault::OtherVault { found: header.aud, wanted: aud.clone() });
    }
    let wrapped: Vec<(u64, Vec<u8>)> = header.ring.iter().map(|key| (key.epoch, key.key.0.clone())).collect();
    let ring = Ring::unwrap(root, &wrapped).map_err(|_| BackupFault::WrongRoot)?;
    let opened = ring.open(&file_key_place(&header.backup.to_string()), &header.file_key.0);
    let file_key = opened.ok().and_then(|key| Secret::from_slice(key.expose())).ok_or(BackupFault::WrongRoot)?;
    let key = StreamKey::derive(&DataKey::from_bytes(file_key), &head);
    let chunk = SecretBytes::from(Vec::new());
    let mut rest = Opening { from, key, ahead: Vec::new(), chunk, at: 0, last: false };
    let length = rest.take(4)?;
    let length = length.expose().as_slice().try_into().ok().and_then(length_of).ok_or(BackupFault::Changed)?;
    let manifest: Manifest = serde_json::from_slice(rest.take(length)?.expose()).map_err(|_| BackupFault::Changed)?;
    if manifest.v != MANIFEST {
        return Err(BackupFault::Unknown);
    }
    Ok(Opened { header, ring, manifest, rest })
}

fn length_of(bytes: [u8; 4]) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(bytes)).ok().filter(|length| *length <= LONGEST)
}

fn exact(from: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupFault> {
    from.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupFault::Cut,
        _ => BackupFault::Io(error),
    })
}

impl<R: Read> Opening<R> {
    /// The next chunk takes the place of the one that was read.
    fn next(&mut self) -> Result<(), BackupFault> {
        if self.last {
            return Err(BackupFault::Changed);
        }
        let wanted = CHUNK + TAG + 1;
        let missing = wanted - self.ahead.len();
        self.from.by_ref().take(missing as u64).read_to_end(&mut self.ahead)?;
        // One byte more than a chunk says that another follows.
        self.last = self.ahead.len() < wanted;
        let behind = if self.last { Vec::new() } else { self.ahead.split_off(CHUNK + TAG) };
        let sealed = std::mem::replace(&mut self.ahead, behind);
        // What breaks off is a chunk that is not the last, read as the last: it is told from a changed one by trying.
        let (last, at) = (self.last, sealed.len());
        self.chunk = self.key.open(&sealed, last).map_err(|_| match last && at < CHUNK + TAG {
            true => BackupFault::Cut,
            false => BackupFault::Changed,
        })?;
        self.at = 0;
        Ok(())
    }

    /// The next bytes, as many.
    ///
    /// # Errors
    /// [`BackupFault`].
    pub fn take(&mut self, bytes: usize) -> Result<SecretBytes, BackupFault> {
        let mut taken = Vec::new();
        self.copy(bytes as u64, &mut taken)?;
        Ok(SecretBytes::from(taken))
    }

    /// Writes the next bytes, as many, to `to`.
    ///
    /// # Errors
    /// [`BackupFault`].
    pub fn copy(&mut self, bytes: u64, to: &mut impl Write) -> Result<(), BackupFault> {
        let mut left = bytes;
        while left > 0 {
            if self.at == self.chunk.expose().len() {
                self.next()?;
            }
            let there = &self.chunk.expose()[self.at..];
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(there.len());
            to.write_all(&there[..part])?;
            self.at += part;
            left -= part as u64;
        }
        Ok(())
    }

    /// Sees that nothing follows, and that the last chunk was the last.
    ///
    /// # Errors
    /// [`BackupFault`].
    pub fn end(self) -> Result<(), BackupFault> {
        if self.last && self.at == self.chunk.expose().len() { Ok(()) } else { Err(BackupFault::Changed) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::custody::{self, Appointed, CustodySecret};
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::Kid;

    fn aud(seed: u8) -> Aud {
        Aud::of_identity(&Kid::from_thumbprint(&[seed; 32]))
    }

    fn manifest(database: u64) -> Manifest {
        let files = vec![Part { bytes: 3, name: "tls/server.key".to_owned() }];
        Manifest { chains: 1, database, entries: 2, files, heads: Digest::ZERO, schema: 5, v: 1 }
    }

    fn written(size: usize) -> (RootKey, Vec<u8>, Vec<u8>) {
        let entropy = SeededEntropy::new(1);
        let (root, ring) = (RootKey::generate(&entropy), Ring::generate(&entropy));
        let database: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let about = About {
            aud: aud(1),
            backup: Digest::of(b"drawn"),
            by: EntryRef { leaf: Digest::ZERO, seq: 7 },
            made: Timestamp(1),
            name: "prod".parse().unwrap(),
        };
        let wrapped = ring.wrap(&root, &entropy);
        let custodians = vec![Appointed::first(&root).appoint(&root, &aud(1), &entropy)];
        let kept = (custodians, wrapped);
        let mut sealing = Sealing::begin(Vec::new(), about, &ring, kept, &manifest(size as u64), &entropy).unwrap();
        sealing.write_all(b"key").unwrap();
        sealing.write_all(&database).unwrap();
        (root, sealing.finish().unwrap(), database)
    }

    fn read(file: &[u8], root: &RootKey) -> Result<Vec<u8>, BackupFault> {
        let Opened { manifest, mut rest, .. } = open(file, &aud(1), root)?;
        assert_eq!(rest.take(3)?.expose(), b"key");
        let mut database = Vec::new();
        rest.copy(manifest.database, &mut database)?;
        rest.end()?;
        Ok(database)
    }

    #[test]
    fn what_was_written_is_read_at_any_size() {
        for size in [0, 1, CHUNK - 400, CHUNK, 2 * CHUNK - 300, 3 * CHUNK + 17] {
            let (root, file, database) = written(size);
            assert_eq!(read(&file, &root).unwrap(), database, "{size}");
        }
        // A chunk that is exactly full is the last one all the same.
        let inside = 4 + canonical(&manifest((CHUNK - 1) as u64)).len() + 3;
        let (root, file, database) = written(CHUNK - inside);
        assert_eq!(read(&file, &root).unwrap(), database);
    }

    #[test]
    fn every_cut_and_every_changed_part_is_refused() {
        let (root, file, _) = written(CHUNK + 1000);
        let full = file.len() - (CHUNK + TAG);
        for cut in [0, 5, 30, full - 2000, full, file.len() - 2000, file.len() - 17, file.len() - 1] {
            assert!(matches!(read(&file[..cut], &root), Err(BackupFault::Cut)), "cut at {cut}");
        }
        // A last chunk that does not open was cut off, as far as can be told, unless it is a full one.
        let inside = 4 + canonical(&manifest((CHUNK - 1) as u64)).len() + 3;
        for (size, full) in [(CHUNK - inside, true), (CHUNK - inside - 1, false), (CHUNK - inside - TAG - 1, false)] {
            let (root, mut file, _) = written(size);
            *file.last_mut().unwrap() ^= 1;
            let found = read(&file, &root).unwrap_err();
            assert!(
                if full { matches!(found, BackupFault::Changed) } else { matches!(found, BackupFault::Cut) },
                "{found}"
            );
        }
        let mut changed = file.clone();
        changed[full] ^= 1;
        assert!(matches!(read(&changed, &root), Err(BackupFault::Changed)), "in a chunk that others follow");
        for at in (0..file.len()).step_by(509) {
            let mut changed = file.clone();
            changed[at] ^= 1;
            assert!(read(&changed, &root).is_err(), "changed at {at}");
        }
        let mut longer = file.clone();
        longer.push(0);
        assert!(read(&longer, &root).is_err(), "a byte more");
        assert!(matches!(read(b"SQLite format 3\0 and so on and on", &root), Err(BackupFault::NotOurs)));
        assert!(matches!(read(b"nockvault-backup-v3\n and so on", &root), Err(BackupFault::Unknown)));
    }

    #[test]
    fn a_custodian_of_its_time_opens_it() {
        let (root, file, _) = written(10);
        let (custodians, whose, name) = super::custodians(&file[..]).unwrap();
        assert_eq!((whose, name.as_str()), (aud(1), "prod"));
        let secret = CustodySecret::new(Secret::new(*root.key().expose()));
        let (_, opened) = custody::open_any(&custodians, &aud(1), &secret).unwrap();
        read(&file, &opened).unwrap();
    }

    #[test]
    fn one_of_before_there_were_custodians_is_read() {
        let (root, file, database) = written(10);
        let Opened { header, ring, manifest, .. } = open(&file[..], &aud(1), &root).unwrap();
        // What a program of then wrote: a head without custodians, and the chunks behind it.
        let header = Header { custodians: Vec::new(), v: 1, ..header };
        let head = [&BEFORE_CUSTODIANS[..], &framed(&canonical(&header))].concat();
        let file_key = ring.open(&file_key_place(&header.backup.to_string()), &header.file_key.0).unwrap();
        let file_key = DataKey::from_bytes(Secret::from_slice(file_key.expose()).unwrap());
        let inside = [&framed(&canonical(&manifest))[..], b"key", &database].concat();
        let sealed = StreamKey::derive(&file_key, &head).seal(&inside, true);
        let old = [head, sealed].concat();
        let secret = CustodySecret::new(Secret::new(*root.key().expose()));
        let (_, opened) = custody::open_any(&super::custodians(&old[..]).unwrap().0, &aud(1), &secret).unwrap();
        assert_eq!(read(&old, &opened).unwrap(), database);
        let text = String::from_utf8_lossy(&old).replace("\"v\":1", "\"v\":2");
        assert!(matches!(super::custodians(text.as_bytes()), Err(BackupFault::Unknown)));
    }

    #[test]
    fn another_key_and_another_vault_are_named() {
        let (root, file, _) = written(10);
        let other = RootKey::generate(&SeededEntropy::new(9));
        assert!(matches!(open(&file[..], &aud(1), &other), Err(BackupFault::WrongRoot)));
        assert!(matches!(open(&file[..], &aud(2), &root), Err(BackupFault::OtherVault { .. })));
    }

    #[test]
    fn a_head_is_taken_only_as_it_is_written() {
        let (root, file, _) = written(10);
        let header = open(&file[..], &aud(1), &root).unwrap().header;
        let headed = |text: &[u8]| [MAGIC, &framed(text)].concat();
        let said = |text: &[u8]| super::custodians(&headed(text)[..]).map(drop);
        assert!(said(&canonical(&header)).is_ok());
        let nobody = Header { custodians: Vec::new(), ..header.clone() };
        let other = Header { typ: "nockvault/backup".to_owned(), ..header.clone() };
        let newer = Header { v: 3, ..header.clone() };
        let spaced = [&b" "[..], &canonical(&header)].concat();
        for text in [canonical(&nobody), canonical(&other), canonical(&newer), spaced] {
            assert!(matches!(said(&text), Err(BackupFault::Unknown)), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn what_is_left_unread_is_no_end() {
        let (root, file, database) = written(10);
        let Opened { mut rest, .. } = open(&file[..], &aud(1), &root).unwrap();
        rest.take(3 + database.len() - 1).unwrap();
        assert!(matches!(rest.end(), Err(BackupFault::Changed)), "a byte of it was not read");
        // Neither is the end of a chunk behind which others follow.
        let (root, file, _) = written(2 * CHUNK);
        let Opened { mut rest, manifest, .. } = open(&file[..], &aud(1), &root).unwrap();
        rest.take(CHUNK - 4 - canonical(&manifest).len()).unwrap();
        assert!(matches!(rest.end(), Err(BackupFault::Changed)), "a chunk of it was not read");
    }
}
