//! A custodian that is several people: the secret is split into shares (Shamir, over GF(256), byte by byte), some of which
//! together give it again, and fewer say nothing of it.
//!
//! ```text
//! nockvault-share1-<set>-<threshold>-<index>-<32 bytes>-<check>
//! set = 8 bytes   check = the first 4 bytes of SHA-256("nockvault/share/v1" 0x00 || all before "-<check>")   bytes in hex
//! ```
//!
//! A share is a line of text that can be printed and typed. What is mistyped, of another set or there twice is told before
//! anything is put together: shares that do not belong together would give a secret all the same, and a wrong one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use blahaj::Sharks;
use zeroize::{Zeroize, Zeroizing};

use super::CustodySecret;
use crate::base64url::Bytes;
use crate::crypto::hash::Digest;
use crate::crypto::hpke::Draw;
use crate::entropy::Entropy;
use crate::secret::Secret;
use crate::statement::custody::{Kind, SET, SHARES};

const PREFIX: &str = "nockvault-share1";
const CHECK: usize = 4;

/// Why shares give no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShareFault {
    /// No share at all.
    #[error("this is no share: one begins with nockvault-share1- and is one line")]
    NotAShare,
    /// It is not as it was written.
    #[error("this share is mistyped: its last part does not fit the rest; compare it with what was handed out")]
    Mistyped,
    /// It is of another set.
    #[error(
        "share {index} is of the set {set}, and the vault asks for shares of {wanted}; it may be of another vault, or of a custodian that was replaced"
    )]
    Foreign {
        /// Which share.
        index: u8,
        /// Its set.
        set: String,
        /// The custodian's set.
        wanted: String,
    },
    /// It was there before.
    #[error("share {0} is there already; {1} different ones are needed")]
    Twice(u8, u8),
    /// There are too few.
    #[error("{have} of {need} shares are there; more are needed")]
    Few {
        /// How many there are.
        have: u8,
        /// How many are needed.
        need: u8,
    },
    /// The custodian has no shares, or the numbers make no sense.
    #[error("of shares, 2 to all are enough, and there are at most 16")]
    Numbers,
    /// What they give is not the secret of the custodian.
    #[error(
        "the shares belong together and do not give the secret of this custodian; its record was changed, or a share was made up"
    )]
    Other,
}

/// One share.
pub struct Share {
    set: [u8; SET],
    threshold: u8,
    index: u8,
    bytes: Secret<[u8; 32]>,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of {})", self.index, hex(&self.set))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn check(text: &str) -> String {
    hex(&Digest::of_parts(&[b"nockvault/share/v1\0", text.as_bytes()]).as_bytes()[..CHECK])
}

impl Share {
    /// Which of its set it is, from 1.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// How many of its set are needed.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// Its line of text, without an end.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(hex(self.bytes.expose()));
        let (set, threshold, index) = (hex(&self.set), self.threshold, self.index);
        let mut text = Zeroizing::new(String::with_capacity(128));
        for part in [PREFIX, "-", &set, "-", &threshold.to_string(), "-", &index.to_string(), "-", &bytes] {
            text.push_str(part);
        }
        let check = check(&text);
        text.push('-');
        text.push_str(&check);
        text
    }
}

impl FromStr for Share {
    type Err = ShareFault;

    fn from_str(text: &str) -> Result<Share, ShareFault> {
        // People copy shares from paper: blanks around one and capitals do not matter.
        let text = Zeroizing::new(text.trim().to_ascii_lowercase());
        let rest = text.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-')).ok_or(ShareFault::NotAShare)?;
        let (before, sum) = text.rsplit_once('-').ok_or(ShareFault::NotAShare)?;
        if check(before) != sum {
            return Err(ShareFault::Mistyped);
        }
        let parts: Vec<&str> = rest.split('-').collect();
        let [set, threshold, index, bytes, _] = parts[..] else { return Err(ShareFault::NotAShare) };
        // In the one way in which they are written: without a sign or leading zeroes.
        let number = |text: &str| (1..=SHARES).find(|number| number.to_string() == text);
        let (Some(set), Some(threshold), Some(index), Some(bytes)) =
            (unhex::<SET>(set), number(threshold), number(index), unhex::<32>(bytes))
        else {
            return Err(ShareFault::NotAShare);
        };
        let bytes = Secret::init(|out: &mut [u8; 32]| out.copy_from_slice(&*bytes));
        Ok(Share { set: *set, threshold, index, bytes })
    }
}

/// Splits a secret into `count` shares, of which `threshold` give it again.
///
/// # Errors
/// [`ShareFault::Numbers`].
pub fn split(
    secret: &CustodySecret,
    (threshold, count): (u8, u8),
    entropy: &dyn Entropy,
) -> Result<(Kind, Vec<Share>), ShareFault> {
    if threshold < 2 || threshold > count || count > SHARES {
        return Err(ShareFault::Numbers);
    }
    let set = entropy.bytes::<SET>();
    let dealt = Sharks(threshold).dealer_rng(secret.expose(), &mut Draw(entropy)).take(count.into());
    let shares = dealt.map(|share| {
        let mut bytes = Vec::from(&share);
        let share = Share {
            set,
            threshold,
            index: bytes[0],
            bytes: Secret::init(|out: &mut [u8; 32]| out.copy_from_slice(&bytes[1..])),
        };
        bytes.zeroize();
        share
    });
    let shares = shares.collect();
    Ok((Kind::Shares { count, set: Bytes(set.to_vec()), threshold }, shares))
}

/// Shares of one custodian, as they come in.
#[derive(Debug)]
pub struct Gathered {
    set: Vec<u8>,
    threshold: u8,
    shares: BTreeMap<u8, Share>,
}

impl Gathered {
    /// None yet, of the custodian of this kind.
    ///
    /// # Errors
    /// [`ShareFault::Numbers`] for a custodian without shares.
    pub fn of(kind: &Kind) -> Result<Gathered, ShareFault> {
        let Kind::Shares { set, threshold, .. } = kind else { return Err(ShareFault::Numbers) };
        Ok(Gathered { set: set.0.clone(), threshold: *threshold, shares: BTreeMap::new() })
    }

    /// How many there are, and how many are needed.
    #[must_use]
    pub fn progress(&self) -> (u8, u8) {
        (u8::try_from(self.shares.len()).unwrap_or(u8::MAX), self.threshold)
    }

    /// Whether they are enough.
    #[must_use]
    pub fn is_enough(&self) -> bool {
        self.progress().0 >= self.threshold
    }

    /// Takes a share in.
    ///
    /// # Errors
    /// [`ShareFault::Foreign`], [`ShareFault::Twice`]; the others stay.
    pub fn add(&mut self, share: Share) -> Result<(), ShareFault> {
        if share.set[..] != self.set[..] || share.threshold != self.threshold {
            let (set, wanted) = (hex(&share.set), hex(&self.set));
            return Err(ShareFault::Foreign { index: share.index, set, wanted });
        }
        if self.shares.contains_key(&share.index) {
            return Err(ShareFault::Twice(share.index, self.threshold));
        }
        self.shares.insert(share.index, share);
        Ok(())
    }

    /// The secret. Whose it is, its public key says.
    ///
    /// # Errors
    /// [`ShareFault::Few`].
    pub fn secret(&self) -> Result<CustodySecret, ShareFault> {
        let (have, need) = self.progress();
        let few = || ShareFault::Few { have, need };
        if !self.is_enough() {
            return Err(few());
        }
        let shares = self.shares.values().map(|share| {
            let mut bytes = Zeroizing::new([0; 33]);
            bytes[0] = share.index;
            bytes[1..].copy_from_slice(share.bytes.expose());
            blahaj::Share::try_from(&bytes[..]).map_err(|_| ShareFault::NotAShare)
        });
        let shares = shares.collect::<Result<Vec<_>, _>>()?;
        let joined = Zeroizing::new(Sharks(need).recover(&shares).map_err(|_| few())?);
        Ok(CustodySecret::new(Secret::from_slice(&joined).ok_or(ShareFault::Other)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn made() -> (CustodySecret, Kind, Vec<Share>) {
        let entropy = SeededEntropy::new(5);
        let secret = CustodySecret::generate(&entropy);
        let (kind, shares) = split(&secret, (3, 5), &entropy).unwrap();
        (secret, kind, shares)
    }

    fn again(share: &Share) -> Share {
        share.text().parse().unwrap()
    }

    #[test]
    fn any_three_of_five_give_the_secret_and_two_do_not() {
        let (secret, kind, shares) = made();
        assert_eq!(shares.iter().map(Share::index).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        for three in [[0, 1, 2], [4, 2, 0], [1, 3, 4]] {
            let mut gathered = Gathered::of(&kind).unwrap();
            for (have, at) in three.into_iter().enumerate() {
                assert!(!gathered.is_enough());
                assert_eq!(gathered.secret().unwrap_err(), ShareFault::Few { have: have as u8, need: 3 });
                gathered.add(again(&shares[at])).unwrap();
            }
            assert!(gathered.is_enough());
            assert_eq!(gathered.secret().unwrap().public(), secret.public());
        }
        let mut all = Gathered::of(&kind).unwrap();
        shares.iter().for_each(|share| all.add(again(share)).unwrap());
        assert_eq!(all.secret().unwrap().public(), secret.public());
        let entropy = SeededEntropy::new(1);
        for numbers in [(1, 3), (4, 3), (2, 17), (0, 0)] {
            assert_eq!(split(&secret, numbers, &entropy).unwrap_err(), ShareFault::Numbers);
        }
        for (threshold, count) in [(2, 2), (2, SHARES), (SHARES, SHARES)] {
            let (_, shares) = split(&secret, (threshold, count), &entropy).unwrap();
            assert_eq!(shares.len(), usize::from(count));
            assert!(shares.iter().all(|share| again(share).threshold() == threshold));
        }
    }

    #[test]
    fn a_mistyped_a_foreign_and_a_second_share_are_told_apart() {
        let (_, kind, shares) = made();
        let text = shares[0].text();
        assert!(Share::from_str(&format!("  {}\n", text.to_uppercase())).is_ok());
        for at in PREFIX.len() + 1..text.len() {
            let mut typed = text.as_bytes().to_vec();
            typed[at] = if typed[at] == b'7' { b'3' } else { b'7' };
            let typed = String::from_utf8(typed).unwrap();
            assert_eq!(typed.parse::<Share>().unwrap_err(), ShareFault::Mistyped, "{at}");
        }
        assert_eq!(text[..text.len() - 1].parse::<Share>().unwrap_err(), ShareFault::Mistyped);
        assert_eq!("hunter2".parse::<Share>().unwrap_err(), ShareFault::NotAShare);
        let (_, other) =
            split(&CustodySecret::generate(&SeededEntropy::new(8)), (3, 5), &SeededEntropy::new(9)).unwrap();
        let mut gathered = Gathered::of(&kind).unwrap();
        gathered.add(again(&shares[1])).unwrap();
        assert!(matches!(gathered.add(again(&other[0])), Err(ShareFault::Foreign { index: 1, .. })));
        assert_eq!(gathered.add(again(&shares[1])), Err(ShareFault::Twice(2, 3)));
        assert_eq!(gathered.progress(), (1, 3));
        assert!(!format!("{:?}", shares[0]).contains(&hex(shares[0].bytes.expose())));
    }

    #[test]
    fn a_share_is_written_in_one_way() {
        let share = made().2.swap_remove(0);
        let text = share.text().to_string();
        let parts: Vec<&str> = text.split('-').collect();
        let signed = format!("+{}", &parts[5][1..]);
        let others =
            [(3, format!("+{}", parts[3])), (3, format!("0{}", parts[3])), (4, format!("+{}", parts[4])), (5, signed)];
        for (at, other) in others {
            let mut parts = parts.clone();
            parts[at] = &other;
            let before = parts[..parts.len() - 1].join("-");
            let read = format!("{before}-{}", check(&before)).parse::<Share>();
            assert_eq!(read.unwrap_err(), ShareFault::NotAShare, "{before}");
        }
    }
}
