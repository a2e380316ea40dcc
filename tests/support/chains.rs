//! What stands in a vault's chains, and the offline verifier's word on all of them.

use std::sync::Arc;

use nockvault::audit::verify::report::Verdict;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::id::{AgentName, ChainName};
use nockvault::statement::command::Page;
use serde_json::Value;

use super::Harness;

impl Harness {
    /// All lines of a chain, without LF.
    pub async fn lines(&self, chain: &ChainName) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        loop {
            let part = self.vault().store().lines(chain, lines.len() as u64, 1000, 3 << 20).await.unwrap().unwrap();
            if part.lines.is_empty() {
                return lines;
            }
            lines.extend(part.lines);
        }
    }

    /// All entries of a chain, as JSON.
    pub async fn entries(&self, chain: &ChainName) -> Vec<Value> {
        self.lines(chain).await.iter().map(|line| serde_json::from_slice(line).unwrap()).collect()
    }

    /// The entries of an agent's chain.
    pub async fn chain_of(&self, agent: &AgentName) -> Vec<Value> {
        self.entries(&ChainName::from(agent)).await
    }

    /// A chain as a file: its lines, each with its LF.
    pub async fn file(&self, chain: &ChainName) -> Vec<u8> {
        self.lines(chain).await.iter().flat_map(|line| [line.as_slice(), b"\n"].concat()).collect()
    }

    /// The offline verifier finds every chain of the vault intact, each held against `_operators`.
    pub async fn verify_all(&self) {
        let mut pins = Pins { identity: Some(self.identity.clone()), aud: Some(self.aud.clone()), ..Pins::default() };
        let operators = self.file(&ChainName::operators()).await;
        let (report, commands) = verify_operators(operators.as_slice(), &pins).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "{report}");
        pins.operators = commands.map(Arc::new);
        let agents = self.vault().store().agents(&Page::first()).await.unwrap();
        let chains = agents.items.iter().map(|agent| ChainName::from(&agent.name));
        for chain in chains.chain([ChainName::vault()]) {
            let report = verify(self.file(&chain).await.as_slice(), &pins).unwrap();
            assert_eq!(report.verdict, Verdict::Intact, "{report}");
        }
    }
}
