//! A connection together with what is believed on it: the pins, the vault's time, and the two judgements that agents
//! and operators share. An answer counts where a certified response key signed it. A refusal counts where the vault
//! signed it for exactly this request; from nothing unsigned is the clock corrected or anything decided.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::transport::Channel;

use super::channel;
use super::fault::{Fault, Refusal, Untrusted};
use super::pins::Pins;
use super::seen::Memory;
use crate::audit::directory::BadDirectory;
use crate::crypto::envelope::Envelope;
use crate::denial::Reason;
use crate::entropy::{Entropy, OsEntropy};
use crate::id::Nonce;
use crate::statement::card::Card;
use crate::statement::directory::Directory;
use crate::statement::reply::{Denied, Reply};
use crate::time::{Clock, SystemClock, Timestamp};
use crate::wire::convert::{self, RETRY_AFTER_MS, RefusalDetails};
use crate::wire::v1::agent_service_client::AgentServiceClient;
use crate::wire::v1::{DescribeVaultRequest, SignedEnvelope};

/// A difference between two clocks that is no more than the way between them, in milliseconds.
const LATENCY: u64 = 1000;

/// For how long, in all, one call waits for a vault that says when to come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest such wait; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);

/// How one call bears with a vault that says it asks too often. It waits for as long as it is told and each time longer,
/// and a little more by chance, so that many who were told the same do not come at once.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
    least: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { left: PATIENCE, least: FIRST_WAIT }
    }
}

impl Patience {
    /// Waits where that is all it takes and there is patience left. Whether to ask anew.
    pub(super) async fn waited(&mut self, fault: &Fault, entropy: &dyn Entropy) -> bool {
        let Some(wait) = self.wait(fault, || entropy.bytes::<1>()[0]) else { return false };
        tokio::time::sleep(wait).await;
        true
    }

    fn wait(&mut self, fault: &Fault, chance: impl FnOnce() -> u8) -> Option<Duration> {
        let told = fault.refusal().filter(|_| fault.reason() == Some(Reason::RateLimited))?.retry_after_ms?;
        let wait = Duration::from_millis(told).max(self.least);
        let wait = wait.checked_add(wait / 2 * u32::from(chance()) / 256)?;
        self.left = self.left.checked_sub(wait)?;
        self.least *= 2;
        Some(wait)
    }
}

/// Clock, randomness and memory of a client.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// This side's clock.
    pub clock: Arc<dyn Clock>,
    /// Where nonces and session keys come from.
    pub entropy: Arc<dyn Entropy>,
    /// What is remembered between requests.
    pub memory: Arc<Memory>,
    /// The key directory that the vault's response keys must stand in, beside being certified. Once it is no
    /// longer good no vault is believed until there is a newer one: [`super::place::directory`] reads it from a file.
    pub directory: Option<Arc<Directory>>,
}

impl Default for Surroundings {
    /// The machine's clock and randomness, and a memory that ends with the process.
    fn default() -> Surroundings {
        Surroundings {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            memory: Arc::new(Memory::fleeting()),
            directory: None,
        }
    }
}

#[derive(Debug)]
struct State {
    pins: Arc<Pins>,
    /// How far the vault's clock is ahead of this side's, in milliseconds.
    ahead: i128,
}

/// A connection to the vault of a card.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) card: Card,
    address: String,
    pub(super) channel: Channel,
    pub(super) around: Surroundings,
    state: Mutex<State>,
}

impl Link {
    /// Connects to `address` and challenges who answers there to be the vault of `card`.
    pub(super) async fn open(card: &Card, address: &str, around: Surroundings) -> Result<Link, Fault> {
        let channel = channel::open(address, card.ca.as_deref()).await?;
        let (pins, at) = describe(&channel, card, address, &around).await?;
        let now = pins.described().now;
        let state = Mutex::new(State { pins: Arc::new(pins), ahead: 0 });
        let link = Link { card: card.clone(), address: address.to_owned(), channel, around, state };
        if now.0.abs_diff(at.0) > LATENCY {
            link.set_clock(now, at);
        }
        Ok(link)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn pins(&self) -> Arc<Pins> {
        self.state().pins.clone()
    }

    /// The vault's time, as far as it is known here.
    pub(super) fn now(&self) -> Timestamp {
        let now = i128::from(self.around.clock.now().0) + self.state().ahead;
        Timestamp(u64::try_from(now.max(0)).unwrap_or(u64::MAX))
    }

    fn set_clock(&self, vault: Timestamp, here: Timestamp) {
        self.state().ahead = i128::from(vault.0) - i128::from(here.0);
    }

    pub(super) fn nonce(&self) -> Nonce {
        Nonce::from_bytes(&self.around.entropy.bytes())
    }

    /// Challenges the vault again and takes its keys anew.
    async fn renew_pins(&self) -> Result<(Arc<Pins>, Timestamp), Fault> {
        let (pins, at) = describe(&self.channel, &self.card, &self.address, &self.around).await?;
        let pins = Arc::new(pins);
        self.state().pins = pins.clone();
        Ok((pins, at))
    }

    /// Reads an answer. One that no known key signed may be signed by a newer key, so the vault is asked once for its
    /// keys; nothing is sent again.
    pub(super) async fn read<R: Reply>(&self, reply: &Envelope) -> Result<R, Fault> {
        match self.pins().read(reply, self.now()) {
            Err(Untrusted::Signature) => Ok(self.renew_pins().await?.0.read(reply, self.now())?),
            read => Ok(read?),
        }
    }

    /// What a call's end without an answer means.
    pub(super) async fn refusal(&self, status: &tonic::Status, sent: &Envelope) -> Fault {
        let req = sent.digest();
        let Some(details) = RefusalDetails::from_status(status) else {
            return Fault::NoAnswer { req, why: said(status) };
        };
        let number = |name: &str| details.metadata.get(name).and_then(|text| text.parse::<u64>().ok());
        let shown = Refusal {
            code: details.reason,
            limit: number("limit"),
            retry_after_ms: number(RETRY_AFTER_MS),
            now: number("now").map(Timestamp),
            message: printable(status.message()),
            proven: false,
        };
        let Some(signed) = details.signed else { return Fault::Refused(Box::new(shown)) };
        let refusal = match self.read::<Denied>(&signed).await {
            Ok(denied) if denied.req == req => Refusal {
                // The words for people are not signed; they are shown where they go with the signed reason.
                message: if shown.code == denied.reason { shown.message } else { advice(&denied.reason) },
                code: denied.reason,
                limit: denied.limit,
                // It is not signed, and no more than a reason to be slow.
                retry_after_ms: shown.retry_after_ms,
                now: Some(denied.now),
                proven: true,
            },
            _ => shown,
        };
        Fault::Refused(Box::new(refusal))
    }

    /// Whether `fault` said that the clock is wrong and it has now been set by the vault's signed word, so that a new
    /// statement may fare better.
    pub(super) async fn clock_mended(&self, fault: &Fault) -> bool {
        let Some(refusal) = fault.refusal().filter(|_| fault.reason() == Some(Reason::ClockSkew)) else { return false };
        let here = self.around.clock.now();
        match refusal.now {
            Some(now) if refusal.proven => {
                self.set_clock(now, here);
                true
            }
            // Unsigned: anyone may have said it. The vault itself is asked, with a challenge.
            _ => match self.renew_pins().await {
                Ok((pins, at)) => {
                    let (before, now) = (self.now(), pins.described().now);
                    self.set_clock(now, at);
                    before.0.abs_diff(now.0) > LATENCY
                }
                Err(_) => false,
            },
        }
    }
}

/// Asks with a fresh challenge who answers, and gives the pins with this side's time of the answer.
async fn describe(
    channel: &Channel,
    card: &Card,
    address: &str,
    around: &Surroundings,
) -> Result<(Pins, Timestamp), Fault> {
    let challenge: [u8; 32] = around.entropy.bytes();
    let mut client = AgentServiceClient::new(channel.clone()).max_decoding_message_size(channel::MAX_MESSAGE);
    let mut patience = Patience::default();
    let reply = loop {
        let request = DescribeVaultRequest { challenge: challenge.to_vec() };
        match client.describe_vault(request).await.map_err(|status| unasked(address, &status)) {
            Ok(reply) => break reply.into_inner(),
            Err(fault) if patience.waited(&fault, &*around.entropy).await => {}
            Err(fault) => return Err(fault),
        }
    };
    let at = around.clock.now();
    let listed = around.directory.as_deref();
    if let Some(directory) = listed.filter(|directory| directory.exp <= at) {
        return Err(Fault::local(BadDirectory::Expired { exp: directory.exp, now: at }));
    }
    let memory = &around.memory;
    let pins =
        Pins::check(card, &challenge, &answer(reply.signed)?, memory.cert_nbf(), listed).map_err(
            |fault| match fault {
                Fault::Untrusted(Untrusted::OlderKey { kid, .. }) => {
                    Untrusted::OlderKey { kid, kept: memory.file().map(Path::to_owned) }.into()
                }
                fault => fault,
            },
        )?;
    memory.certified(pins.nbf())?;
    Ok((pins, at))
}

/// A refusal of a call that is not signed on this side, so that no refusal of it can be either.
fn unasked(address: &str, status: &tonic::Status) -> Fault {
    match RefusalDetails::from_status(status) {
        Some(details) => {
            let retry_after_ms = details.metadata.get(RETRY_AFTER_MS).and_then(|text| text.parse().ok());
            let (code, message) = (details.reason, printable(status.message()));
            Fault::Refused(Box::new(Refusal { code, limit: None, retry_after_ms, now: None, message, proven: false }))
        }
        None => Fault::Unreachable { address: address.to_owned(), why: said(status) },
    }
}

pub(super) fn answer(signed: Option<SignedEnvelope>) -> Result<Envelope, Untrusted> {
    convert::envelope(signed).map_err(|why| Untrusted::Form { typ: "answer", why: why.to_string() })
}

fn advice(code: &str) -> String {
    Reason::from_code(code).map_or_else(String::new, |reason| reason.advice().to_owned())
}

/// What a status that is no refusal of the vault's says.
pub(super) fn said(status: &tonic::Status) -> String {
    printable(&format!("{:?}: {}", status.code(), channel::causes(status)))
}

/// A peer's text on its way to a terminal: no control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_told_to_wait_waits_as_long_and_each_time_longer_and_not_for_ever() {
        let told = |code: Reason, retry_after_ms| {
            let (code, message) = (code.code().to_owned(), String::new());
            Fault::Refused(Box::new(Refusal { code, limit: None, retry_after_ms, now: None, message, proven: false }))
        };
        let mut patience = Patience::default();
        let waits: Vec<_> = std::iter::from_fn(|| patience.wait(&told(Reason::RateLimited, Some(3)), || 0)).collect();
        assert_eq!(waits[..3], [50, 100, 200].map(Duration::from_millis));
        assert!(waits.len() < 12 && waits.iter().sum::<Duration>() <= PATIENCE, "{waits:?}");
        let long = Patience::default().wait(&told(Reason::RateLimited, Some(2000)), || 255);
        assert!(long.is_some_and(|long| long > Duration::from_secs(2) && long < Duration::from_secs(3)), "{long:?}");
        for other in [
            told(Reason::RateLimited, None),
            told(Reason::RateLimited, Some(u64::MAX)),
            told(Reason::Busy, Some(3)),
            Fault::local("a file"),
        ] {
            assert_eq!(Patience::default().wait(&other, || 0), None, "{other}");
        }
    }
}
