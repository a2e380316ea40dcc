//! What the fuzzer feeds: every reader of bytes that somebody else wrote, one function each, and the properties that hold
//! whatever comes. Nothing panics; what is taken is written back as the same bytes, where its form has one writing; and
//! what a signature covers is taken in the writing that was signed and in no other.
//!
//! The functions are plain, so that one list serves two: `tests/fuzz.rs` runs them all for a short while with every test
//! run, over the seeds beside this folder and over what [`mutate`] makes of them; `libfuzzer.rs` runs one of them for as
//! long as it is let, guided by coverage. `make fuzz` starts that.

pub mod mutate;

mod agents;
pub mod certificates;
mod chain;
pub mod client;
mod config;
mod custody;
mod engines;
mod envelope;
mod grammar;
mod json;
mod notes;
mod operators;
mod proof;
mod scopes;
mod served;
pub mod statement;
pub mod wire;
pub mod world;

// Readers that are private to their room, compiled here once more from the same files: what leads to them asks for a vault,
// a child and a host.
#[path = "../../../src/launcher/proxy/path.rs"]
mod path;
#[path = "../../../src/launcher/redact.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod redact;
#[path = "../../../src/bin/vaultctl/apply/file.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod vault_toml;

/// One reader.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name; its seeds stand in the folder of that name.
    pub name: &'static str,
    /// The most bytes that are worth feeding it: a little over what its own limits let in.
    pub cap: usize,
    /// Feeds it. Says whether the input was taken for what it claims to be.
    pub run: fn(&[u8]) -> bool,
}

const fn target(name: &'static str, cap: usize, run: fn(&[u8]) -> bool) -> Target {
    Target { name, cap, run }
}

const KIB: usize = 1 << 10;

/// Every reader there is.
pub const TARGETS: &[Target] = &[
    // what agents, operators and the network send
    target("json", 33 * KIB, json::json),
    target("envelope", 9 * KIB, envelope::envelope),
    target("statement", 9 * KIB, statement::statement),
    target("grpc", 9 * KIB, wire::grpc),
    target("status", 9 * KIB, wire::status),
    target("csr", 9 * KIB, certificates::csr),
    target("authority", 16 * KIB, certificates::authority),
    target("sshkey", KIB, certificates::sshkey),
    target("engine", 8 * KIB, engines::engine),
    // what auditors are handed
    target("entry", 33 * KIB, chain::entry),
    target("chain", 64 * KIB, chain::chain),
    target("receipt", 8 * KIB, chain::receipt),
    target("directory", 16 * KIB, chain::directory),
    target("note", 8 * KIB, notes::note),
    target("vkey", KIB, notes::vkey),
    target("policy", 4 * KIB, notes::policy),
    target("witness", 8 * KIB, notes::witness),
    target("tree", 4 * KIB, proof::tree),
    target("proof", 24 * KIB, proof::proof),
    target("nockguard", 16 * KIB, chain::nockguard),
    // what operators write and keep
    target("config", 12 * KIB, config::config),
    target("apply", 8 * KIB, operators::apply),
    target("card", 4 * KIB, operators::card),
    target("keyfile", 4 * KIB, custody::keyfile),
    target("custody", 4 * KIB, custody::custody),
    target("backup", 16 * KIB, custody::backup),
    target("record", 4 * KIB, custody::record),
    // words and numbers of all of them
    target("ids", KIB, grammar::ids),
    target("times", 256, grammar::times),
    target("scope", KIB, scopes::scope),
    target("path", 4 * KIB, scopes::path),
    // what stands at the agent's side
    target("answer", 16 * KIB, client::answer),
    target("seen", KIB, client::seen),
    target("adapters", 8 * KIB, agents::adapters),
    target("rules", 8 * KIB, agents::rules),
    target("redact", 4 * KIB, agents::redact),
    target("sshagent", 4 * KIB, served::sshagent),
    target("question", 16 * KIB, served::question),
    target("proxy", 8 * KIB, served::proxy),
];

/// The reader of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Ends what this thread serves. A test does so; a fuzzer ends itself.
#[allow(dead_code, reason = "a fuzzer ends itself")]
pub fn end() {
    served::end();
}

/// An input as text; most formats are.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

/// What is told to a person: it moves no cursor and clears no terminal. Errors of the trail's readers may; the programs that
/// show those pass them through [`nockvault::audit::shown::printable`].
#[track_caller]
fn told(words: impl std::fmt::Display) {
    let words = words.to_string();
    assert!(!words.contains(|c: char| c.is_control() && c != '\n'), "a control character is told on: {words:?}");
}
