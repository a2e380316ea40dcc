//! What somebody does who copied a request off the network: sends the very same bytes again. The vault must refuse.
//!
//! The client of this library never sends the same bytes twice, so this example builds its request by hand, which shows
//! what one is made of: a statement in canonical JSON, an Ed25519 signature, and nothing else.
//!
//! ```text
//! cargo run --example replay -- --agent kit --role orders-read
//! ```
//!
//! It ends with 0 where the first was taken and the copy refused.

#![allow(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

use std::path::{Path, PathBuf};

use clap::Parser;
use nockvault::client::keyfile::{Places, find_agent};
use nockvault::client::signer;
use nockvault::client::{channel, place};
use nockvault::crypto::envelope::PayloadType;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Nonce, RoleName};
use nockvault::statement::issue::{Issue, Purpose};
use nockvault::statement::request::{Common, Request, Seen};
use nockvault::statement::session::Seal;
use nockvault::statement::{Body as _, VERSION};
use nockvault::time::{Clock as _, Seconds, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::RequestCredentialRequest;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;

/// Send one request twice, byte for byte.
#[derive(Parser)]
struct Arguments {
    /// The vault card.
    #[arg(long, env = "NOCKVAULT_CARD")]
    vault: Option<PathBuf>,
    /// Who asks.
    #[arg(long, default_value = "kit")]
    agent: AgentName,
    /// The file with the agent's key.
    #[arg(long)]
    key: Option<PathBuf>,
    /// What is asked for.
    #[arg(long, default_value = "orders-read")]
    role: RoleName,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let card = place::card(arguments.vault.as_deref())?;
    let mut places = Places::usual();
    places.file = arguments.key;
    places.dirs.insert(0, Path::new(".").to_owned());
    let identity = find_agent(&arguments.agent, &places, &|name| std::env::var(name).ok())?;

    let entropy: &dyn Entropy = &OsEntropy;
    let seal = SealSecretKey::generate(entropy);
    let nonce = Nonce::from_bytes(&entropy.bytes());
    let common = Common {
        v: VERSION,
        typ: Issue::TYP.to_owned(),
        aud: card.aud.clone(),
        agent: identity.name.clone(),
        kid: identity.kid(),
        kver: identity.kver,
        sid: format!("replay-{}", &nonce.as_str()[..8].replace(['-', '_'], "0")).parse()?,
        nonce,
        iat: SystemClock.now(),
        seen: Seen::NONE,
    };
    let body = Issue {
        role: arguments.role,
        ttl: Seconds(0),
        params: serde_json::Map::new(),
        purpose: Purpose::default(),
        seal: Seal { pk: seal.public().into(), suite: SUITE.to_owned(), sig_pk: None },
    };
    let request = Request { common, body };
    let signed = signer::envelope(PayloadType::Request, &request, &*identity.signer).await?;
    let copied = RequestCredentialRequest { signed: Some(signed.into()) };

    let mut client = AgentServiceClient::new(channel::open(&card.agents, card.ca.as_deref()).await?);
    client.request_credential(copied.clone()).await?;
    println!("first    taken: a credential was issued, sealed to the session's key");
    match client.request_credential(copied).await {
        Ok(_) => anyhow::bail!("the copy was taken too"),
        Err(status) => {
            let reason = RefusalDetails::from_status(&status).map(|details| details.reason);
            println!("copy     refused: {}", status.message());
            anyhow::ensure!(reason.as_deref() == Some("replay"), "it was refused for another reason: {status}");
        }
    }
    Ok(())
}
