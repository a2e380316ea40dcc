//! Witnesses of the policy: each is shown the newest checkpoint of each chain with the proof that it follows on the newest
//! that this witness has, and its cosignature is kept with the checkpoint once it holds under the witness's key.
//!
//! What a witness has is asked of the witness: the first request of a chain in this process says `old 0`, and the answer
//! 409 tells. A witness that has more entries than the vault, or that finds the proof wrong, has seen another history: that
//! is told loudly, and nothing of the vault can make it unsaid.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use http::Method;

use super::http::{Http, Target};
use super::places::{Kept, name, unread};
use super::{Sink, Step, Trouble};
use crate::audit::checkpoint::Checkpoint;
use crate::audit::note::{Note, NoteKey};
use crate::audit::policy;
use crate::audit::witness::{AddCheckpoint, Answer, WitnessKey, accept};
use crate::base64url;
use crate::crypto::hash::Digest;
use crate::crypto::signature::PublicKey;
use crate::id::ChainName;
use crate::store::{Noted, Store};
use crate::telemetry::Telemetry;

/// How often one checkpoint is sent in one step: once to hear what the witness has, once with the proof, and once more
/// where another sent it something meanwhile.
const TRIES: usize = 3;

/// What shows checkpoints to the witness of a policy; none where the policy does not say where it is.
///
/// # Errors
/// Its address is none, or TLS has no certificates of the system to check it against.
pub fn sink(
    witness: &policy::Witness,
    store: &Arc<dyn Store>,
    telemetry: &Telemetry,
) -> Result<Option<Box<dyn Sink>>, String> {
    let Some(url) = &witness.url else { return Ok(None) };
    let named = |why: String| format!("the witness {} at {url}: {why}", witness.name);
    let target = url.parse::<Target>().and_then(|prefix| prefix.below("add-checkpoint")).map_err(named)?;
    let place = Kept::new(name(format_args!("witness:{}", witness.name)), store, telemetry);
    let http = Http::for_target(&target).map_err(named)?;
    let (has, strange) = (BTreeMap::new(), BTreeSet::new());
    Ok(Some(Box::new(Witness { place, key: witness.key.clone(), http, target, has, strange })))
}

/// One witness.
struct Witness {
    place: Kept,
    key: WitnessKey,
    http: Http,
    target: Target,
    /// The size that it has of each chain, as far as this process knows.
    has: BTreeMap<ChainName, u64>,
    /// Chains that it does not know.
    strange: BTreeSet<ChainName>,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Witness({})", self.place.name)
    }
}

/// A checkpoint on its way to a witness.
struct Shown {
    noted: Noted,
    note: Note,
    said: Checkpoint,
}

impl Shown {
    fn of(noted: Noted) -> Option<Shown> {
        let note = Note::read(&noted.note).ok()?;
        let said = Checkpoint::read(&note.text).ok()?;
        Some(Shown { noted, note, said })
    }

    /// Whether the witness's own cosignature stands with it already.
    fn is_cosigned_by(&self, key: &WitnessKey) -> bool {
        let mut note = self.note.clone();
        note.signatures.extend(self.noted.cosigned.iter().filter_map(|line| crate::audit::note::Line::read(line)));
        matches!(key.cosigned(&note), Ok(Some(_)))
    }

    /// What a witness is to be told so that it knows the log: its verifier key.
    fn vkey(&self) -> String {
        let pk = self.noted.cert.payload.get("pk").and_then(serde_json::Value::as_str);
        let pk = pk.and_then(base64url::decode_array).and_then(|pk| PublicKey::from_bytes(&pk).ok());
        pk.and_then(|pk| NoteKey::new(&self.said.origin, pk)).map(|key| key.to_string()).unwrap_or_default()
    }
}

impl Witness {
    async fn show(&mut self, chain: &ChainName, shown: &Shown) -> Result<Step, Trouble> {
        let mut old = self.has.get(chain).copied().unwrap_or_default();
        for _ in 0..TRIES {
            let proof = self.proof(chain, old, shown.said.size).await?;
            let request = AddCheckpoint { old, proof, note: shown.noted.note.clone() };
            let (status, body) =
                self.http.send(Method::POST, &self.target, request.write()).await.map_err(Trouble::all)?;
            let answer = Answer::read(status.as_u16(), &body);
            match answer.map_err(|why| Trouble::all(format!("{}: {why}", self.target)))? {
                Answer::Lines(lines) => {
                    let (lines, _) = accept(&shown.note.text, lines, &self.key)
                        .map_err(|why| Trouble::all(format!("{}: {why}", self.target)))?;
                    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
                    self.place.store.cosign(chain, shown.said.size, &lines).await.map_err(unread)?;
                    self.has.insert(chain.clone(), shown.said.size);
                    self.strange.remove(chain);
                    return Ok(self.place.delivered(chain));
                }
                Answer::Has(size) if size > shown.said.size => return self.ahead(chain, size, shown).await,
                Answer::Has(size) => {
                    self.has.insert(chain.clone(), size);
                    old = size;
                }
                Answer::Refused { status, says } => return self.refused(chain, shown, status, &says),
            }
        }
        Err(Trouble::of(format!("{} changes its mind on what it has of {chain}", self.target)))
    }

    async fn proof(&self, chain: &ChainName, old: u64, size: u64) -> Result<Vec<Digest>, Trouble> {
        if old == 0 {
            return Ok(Vec::new());
        }
        let proof = self.place.store.consistency(chain, old, size).await.map_err(unread)?;
        proof.ok_or_else(|| Trouble::of(format!("the store has no proof from {old} to {size} entries of {chain}")))
    }

    /// The witness has more than was shown to it.
    async fn ahead(&mut self, chain: &ChainName, size: u64, shown: &Shown) -> Result<Step, Trouble> {
        let newest = self.place.newest(chain).await?;
        if newest.is_some_and(|noted| noted.seq > shown.said.size) {
            // Another showed it a checkpoint that was made meanwhile.
            return Ok(Step { more: true, ..Step::default() });
        }
        let why = format!(
            "{} has {size} entries of {chain}, but the newest checkpoint of the vault {}: the vault's database is an older \
             one, or another holds its keys",
            self.target, shown.said.size
        );
        Err(self.place.forked(chain, why))
    }

    fn refused(&mut self, chain: &ChainName, shown: &Shown, status: u16, says: &str) -> Result<Step, Trouble> {
        let why = format!("{} answered {status} to the checkpoint of {chain}: {says}", self.target);
        match status {
            // It stays so until its operator acts; the next checkpoint asks again.
            404 => {
                if self.strange.insert(chain.clone()) {
                    let (witness, vkey) = (self.place.name, shown.vkey());
                    tracing::warn!(witness, %chain, vkey, "the witness does not know this log; tell it the verifier key, as `vaultctl keys export --witness` gives it");
                }
                Ok(Step::default())
            }
            422 => Err(self.place.forked(chain, why)),
            400 | 403 => Err(Trouble::of(why)),
            _ => Err(Trouble::all(why)),
        }
    }

    /// Shows the newest checkpoint of a chain, unless the witness has signed it.
    async fn carry(&mut self, chain: &ChainName) -> Result<Step, Trouble> {
        let Some(noted) = self.place.newest(chain).await? else { return Ok(Step::default()) };
        let shown = Shown::of(noted)
            .ok_or_else(|| Trouble::of(format!("the newest checkpoint of {chain} in the store cannot be read")))?;
        if shown.is_cosigned_by(&self.key) {
            return Ok(Step::default());
        }
        self.show(chain, &shown).await
    }
}

#[async_trait]
impl Sink for Witness {
    fn name(&self) -> &'static str {
        self.place.name
    }

    async fn step(&mut self, chains: &[ChainName]) -> Vec<Result<Step, Trouble>> {
        vec![self.carry(&chains[0]).await]
    }
}
