//! Every call that the daemon makes about its files fails once: of each kind the first ones, then some of the later ones,
//! from the start of the process through a short load. Whatever fails: a request was refused with a reason that says to
//! try again, or it is entered for good; the daemon goes on, or ends and says why; and after a kill and a new start what
//! was answered is there, no request is taken twice, every chain verifies and the mirror is whole.

#![cfg(all(feature = "daemon", feature = "client"))]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "figures of what was tried")]

mod programs;
mod support;
#[path = "syscalls/traced.rs"]
mod traced;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nockvault::client::{channel, keyfile};
use nockvault::crypto::envelope::Envelope;
use nockvault::crypto::signature::Form;
use nockvault::statement::card::Card;
use nockvault::statement::lease::Release;
use nockvault::time::{Clock as _, ManualClock, SystemClock};
use nockvault::wire::convert::RefusalDetails;
use nockvault::wire::v1::agent_service_client::AgentServiceClient;
use nockvault::wire::v1::{ReleaseLeaseRequest, RequestCredentialRequest};
use serde_json::{Value, json};
use tonic::transport::Channel;

use programs::{Vault, program, said};
use support::agent::{Agent, Rpc};
use traced::{Began, CALLS, Fault, Traced, counted, injected};

/// How long the daemon may take to serve again or to end, and the mirror to be whole.
const PATIENCE: Duration = Duration::from_secs(15);
/// After how long a daemon that cannot lock its database is given up, and how long one has to end by itself: the minute
/// that it tries, and the ten seconds that one try may take.
const LOCKED: Duration = Duration::from_secs(4);
const ENDS: Duration = Duration::from_secs(90);
/// What says: nothing was issued, try again; and: it is not known, sign a new one.
const NOTHING: &str = "audit_unavailable";
const UNKNOWN: &str = "outcome_unknown";

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
enum End {
    /// What the vault said.
    Answered(Value),
    Refused(String),
    /// The connection broke.
    Broken,
}

#[derive(Clone, Debug)]
struct Sent {
    rpc: Rpc,
    envelope: Envelope,
    end: End,
}

/// A vault that is put back to the same beginning for each fault.
struct Stage {
    vault: Vault,
    card: Card,
    kit: Agent,
    /// Its folders as they were in the beginning.
    kept: PathBuf,
    calls: PathBuf,
}

impl Stage {
    fn new() -> Stage {
        let mut vault =
            Vault::start_with(|config| config.replace("commit_deadline_ms = 5000", "commit_deadline_ms = 1000"));
        vault.with_kit("a value");
        let card = Card::read(&fs::read_to_string(vault.card()).unwrap()).unwrap();
        let key = keyfile::read_secret(&vault.path().join("kit.ed25519")).unwrap();
        let kit = Agent::new("kit", key, Form::Pae, &card.aud, &ManualClock::at(SystemClock.now()));
        vault.restart();
        vault.kill();
        let (kept, calls) = (vault.path().join("kept"), vault.path().join("calls"));
        // It is made again at each start, so that making it can fail.
        fs::remove_file(vault.path().join("vault/data/reserve")).unwrap();
        for folder in ["data", "audit"] {
            copy(&vault.path().join("vault").join(folder), &kept.join(folder));
        }
        Stage { vault, card, kit, kept, calls }
    }

    fn begin_again(&self) {
        for folder in ["data", "audit"] {
            let own = self.vault.path().join("vault").join(folder);
            fs::remove_dir_all(&own).unwrap();
            copy(&self.kept.join(folder), &own);
        }
        let _ = fs::remove_file(&self.calls);
    }

    fn start(&self, fault: Option<&Fault>) -> Began {
        traced::start(self.vault.path(), fault, &self.calls)
    }

    async fn channel(&self) -> Option<Channel> {
        channel::open(&self.card.agents, self.card.ca.as_deref()).await.ok()
    }

    fn issue(&self) -> Envelope {
        self.kit.clock.set(SystemClock.now());
        self.kit.issue("orders-read")
    }

    /// Three requests one after the other, three at once, and a lease given back.
    async fn load(&self) -> Vec<Sent> {
        let Some(channel) = self.channel().await else { return Vec::new() };
        let mut all = Vec::new();
        for _ in 0..3 {
            all.push(send(channel.clone(), Rpc::RequestCredential, self.issue()).await);
        }
        let at_once = [(); 3].map(|()| send(channel.clone(), Rpc::RequestCredential, self.issue()));
        let [one, two, three] = at_once;
        let (one, two, three) = tokio::join!(one, two, three);
        all.extend([one, two, three]);
        let lease = all.iter().find_map(|sent| match &sent.end {
            End::Answered(said) => said["hdr"]["lease"].as_str().map(|lease| lease.parse().unwrap()),
            _ => None,
        });
        if let Some(lease) = lease {
            self.kit.clock.set(SystemClock.now());
            all.push(send(channel.clone(), Rpc::ReleaseLease, self.kit.signed(Release::Lease(lease))).await);
        }
        all.push(send(channel, Rpc::RequestCredential, self.issue()).await);
        all
    }

    fn export(&self, chain: &str) -> String {
        self.vault.vaultctl(&["audit", "export", chain]).ok()
    }

    /// Every chain verifies, by the program that an auditor has. Gives the entries of kit's.
    fn verified(&self) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut verify = program(env!("CARGO_BIN_EXE_vault-verify"), self.vault.path());
        verify.arg("--vault").arg(self.vault.card());
        for chain in ["_vault", "_operators", "kit"] {
            let (file, text) = (self.vault.path().join(format!("{chain}.jsonl")), self.export(chain));
            fs::write(&file, &text).unwrap();
            verify.arg(file);
            entries = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        said(&mut verify).ok();
        entries
    }

    /// The mirror of kit's chain is what the store has.
    fn mirrored(&self, fault: &Fault) {
        let audit = self.vault.path().join("vault/audit");
        let begin = Instant::now();
        loop {
            let stored = self.export("kit");
            let files = ["kit.audit.jsonl", "kit.audit.aside-1.jsonl"].map(|name| fs::read_to_string(audit.join(name)));
            if files.iter().flatten().any(|mirrored| *mirrored == stored) {
                assert!(files[1].is_err(), "{fault:?}: the mirror was begun anew");
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{fault:?}: the mirror is not whole: {files:?}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to)
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

async fn send(channel: Channel, rpc: Rpc, envelope: Envelope) -> Sent {
    let (mut service, signed) = (AgentServiceClient::new(channel), Some(envelope.clone().into()));
    let answer = match rpc {
        Rpc::ReleaseLease => {
            let answer = service.release_lease(ReleaseLeaseRequest { signed }).await;
            answer.map(|answer| answer.into_inner().signed)
        }
        _ => {
            let answer = service.request_credential(RequestCredentialRequest { signed }).await;
            answer.map(|answer| answer.into_inner().signed)
        }
    };
    let end = match answer {
        Ok(signed) => End::Answered(serde_json::from_slice(&signed.unwrap().payload).unwrap()),
        Err(status) => RefusalDetails::from_status(&status).map_or(End::Broken, |refusal| End::Refused(refusal.reason)),
    };
    Sent { rpc, envelope, end }
}

/// The last that it said is a sentence about what went wrong.
fn why(words: &str) {
    let last = words.lines().last().unwrap_or_default();
    let said = last.strip_prefix("vaultd: ").unwrap_or_else(|| panic!("it ended, and said {words:?}"));
    let known = ["the store failed", "mend", "restore it", "error ", "the database failed", "the vault cannot begin"];
    assert!(known.iter().any(|known| said.contains(known)), "it said {said:?}");
    println!("    {said}");
}

/// The daemon serves once more, or has ended and said why. Gives how.
async fn recovers_or_stops(stage: &Stage, daemon: &mut Traced, fault: &Fault, sent: &mut Vec<Sent>) -> &'static str {
    let begin = Instant::now();
    loop {
        if let Some(code) = daemon.over() {
            let words = daemon.words();
            assert_eq!(code, 2, "{fault:?}: {words}");
            why(&words);
            return "ended and said why";
        }
        if let Some(channel) = stage.channel().await {
            let one = send(channel, Rpc::RequestCredential, stage.issue()).await;
            let served = matches!(one.end, End::Answered(_));
            sent.push(one);
            if served {
                return "went on";
            }
        }
        // Where a lock cannot be given back, the database stays locked for as long as the process lives: a minute, as
        // the last test here shows.
        if fault.call == "fcntl" && begin.elapsed() > LOCKED {
            return "refused everything until it was started anew";
        }
        assert!(begin.elapsed() < PATIENCE, "{fault:?}: it neither serves nor ends: {}", daemon.words());
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// One fault from the start of the daemon to what the next one finds. Gives what became of it.
async fn tried(stage: &mut Stage, fault: &Fault) -> &'static str {
    stage.begin_again();
    let (mut sent, became, words) = match stage.start(Some(fault)) {
        Began::Ended(code, words) => {
            assert!(code == 1 || code == 2, "{fault:?}: {code}: {words}");
            why(&words);
            (Vec::new(), "did not begin and said why", words)
        }
        Began::Serves(mut daemon) => {
            let mut sent = stage.load().await;
            let became = recovers_or_stops(stage, &mut daemon, fault, &mut sent).await;
            (sent, became, daemon.kill())
        }
    };
    assert!(!words.contains("panicked"), "{fault:?}: {words}");
    for one in &sent {
        if let End::Refused(reason) = &one.end {
            assert!([NOTHING, UNKNOWN].contains(&reason.as_str()), "{fault:?}: refused as {reason}: {words}");
        }
    }
    stage.vault.go_on();
    let chain = stage.verified();
    holds(fault, &sent, &chain);
    let channel = stage.channel().await.unwrap();
    for one in &mut sent {
        let again = send(channel.clone(), one.rpc, one.envelope.clone()).await.end;
        let entered = entries(&chain, &one.envelope).next().is_some();
        match (entered, &again) {
            (true, End::Refused(reason)) if reason == "replay" => {}
            (false, End::Answered(_)) => {}
            // What it was to give back was never issued.
            (false, End::Refused(reason)) if one.rpc == Rpc::ReleaseLease && reason != "replay" => {}
            _ => panic!("{fault:?}: entered: {entered}, and sent again: {again:?}"),
        }
    }
    let chain = stage.verified();
    for one in &sent {
        assert_eq!(entries(&chain, &one.envelope).count(), 1, "{fault:?}: a request is entered once");
    }
    stage.mirrored(fault);
    stage.vault.kill();
    became
}

/// The entries of this request.
fn entries<'a>(chain: &'a [Value], envelope: &Envelope) -> impl Iterator<Item = &'a Value> {
    let embedded = json!(envelope.embed().unwrap());
    chain.iter().filter(move |entry| entry["body"]["request"] == embedded)
}

/// What was answered stands where it was said to; what was refused for good stands nowhere.
fn holds(fault: &Fault, sent: &[Sent], chain: &[Value]) {
    for one in sent {
        let found: Vec<&Value> = entries(chain, &one.envelope).collect();
        match &one.end {
            End::Answered(said) => {
                let kind = if one.rpc == Rpc::ReleaseLease { "release" } else { "issue" };
                assert_eq!(found.len(), 1, "{fault:?}: what was answered is not there");
                assert_eq!((&found[0]["kind"], &found[0]["seq"]), (&json!(kind), &said["entry"]["seq"]), "{fault:?}");
            }
            End::Refused(reason) if reason == NOTHING => assert!(found.is_empty(), "{fault:?}: refused, and entered"),
            End::Refused(_) | End::Broken => assert!(found.len() <= 1, "{fault:?}"),
        }
    }
}

/// How often each call is made without any fault.
async fn count(stage: &mut Stage) -> BTreeMap<String, usize> {
    stage.begin_again();
    let Began::Serves(daemon) = stage.start(None) else { panic!("it does not begin under strace") };
    let sent = stage.load().await;
    assert_eq!(sent.len(), 8);
    assert!(sent.iter().all(|one| matches!(one.end, End::Answered(_))), "{sent:?}");
    // The mirror writes down where it is once a second.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    daemon.kill();
    counted(&stage.calls)
}

/// Of each kind the first calls, and of the others as many as there is room for, spread over all; every second of them.
fn faults(counts: &BTreeMap<String, usize>, half: usize) -> Vec<Fault> {
    let mut all = Vec::new();
    for (call, room, errors) in CALLS {
        let count = counts.get(*call).copied().unwrap_or(0);
        let mut chosen: Vec<usize> = (1..=count.min(room / 2)).collect();
        let (first, more) = (chosen.len(), (room - chosen.len()).min(count - chosen.len()));
        chosen.extend((1..=more).map(|part| first + (count - first) * part / more));
        for (turn, at) in chosen.into_iter().enumerate().skip(half).step_by(2) {
            all.push(Fault { call, error: errors[turn / 2 % errors.len()], when: at.to_string() });
        }
    }
    // No room or a broken disk for a while; and a disk that can only be read from some moment on.
    let lasting = [
        ("pwrite64", "ENOSPC", "60..64"),
        ("pwrite64", "ENOSPC", "90..100"),
        ("pwrite64", "EDQUOT", "70..90"),
        ("fsync", "ENOSPC", "4..6"),
        ("fsync", "EIO", "5+"),
        ("pwrite64", "EROFS", "1+"),
        ("pwrite64", "EROFS", "50+"),
        ("pwrite64", "EROFS", "100+"),
        ("openat", "EMFILE", "6+"),
        ("write", "ENOSPC", "1+"),
        ("write", "EROFS", "3+"),
        ("statx", "EIO", "1+"),
        ("fstat", "EIO", "1+"),
        ("pread64", "EIO", "200+"),
        ("pread64", "EIO", "20+"),
    ];
    for (call, error, when) in lasting.into_iter().skip(half).step_by(2) {
        all.push(Fault { call, error, when: when.to_owned() });
    }
    all
}

/// Every second fault.
async fn each(half: usize) {
    let begin = Instant::now();
    let mut stage = Stage::new();
    let counts = count(&mut stage).await;
    let (mut became, mut calls, mut missed) = (BTreeMap::<&str, usize>::new(), BTreeMap::<&str, usize>::new(), 0);
    for fault in faults(&counts, half) {
        let end = tried(&mut stage, &fault).await;
        let failed = injected(&stage.calls);
        println!("{} {} at {}: {end}; {failed} failed", fault.call, fault.error, fault.when);
        missed += usize::from(failed == 0);
        *became.entry(end).or_default() += 1;
        *calls.entry(fault.call).or_default() += failed;
    }
    let (tried, failed) = (became.values().sum::<usize>(), calls.values().sum::<usize>());
    println!(
        "system calls: {tried} faults, {failed} calls failed, {missed} faults met none; {became:?}; {calls:?}; made: \
         {counts:?}; {:?}",
        begin.elapsed()
    );
    assert!(tried >= 40 && missed * 4 <= tried, "{missed} of {tried} faults met no call");
    for end in ["went on", "ended and said why", "did not begin and said why"] {
        assert!(became.contains_key(end), "none {end}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_call_fails_a_request_is_entered_for_good_or_refused() {
    each(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_other_call_fails_a_request_is_entered_for_good_or_refused() {
    each(1).await;
}

/// Locks that can neither be had nor given back from some moment on, as on a network's file system whose lock service is
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_cannot_lock_its_database_any_more_ends_and_says_what_to_do() {
    let mut stage = Stage::new();
    // It has begun and served by then.
    let from = count(&mut stage).await["fcntl"] + 20;
    stage.begin_again();
    let fault = Fault { call: "fcntl", error: "ENOLCK", when: format!("{from}+") };
    let Began::Serves(mut daemon) = stage.start(Some(&fault)) else { panic!("it does not begin") };
    let (mut sent, begin) = (Vec::new(), Instant::now());
    let code = loop {
        if let Some(code) = daemon.over() {
            break code;
        }
        assert!(begin.elapsed() < ENDS, "it neither serves nor ends: {}", daemon.words());
        if let Some(channel) = stage.channel().await {
            sent.push(send(channel, Rpc::RequestCredential, stage.issue()).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let words = daemon.words();
    println!("it ended after {:?} and {} requests", begin.elapsed(), sent.len());
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("could not be locked for a minute"), "{words}");
    why(&words);
    assert!(injected(&stage.calls) > 0);
    assert!(sent.iter().any(|one| matches!(one.end, End::Answered(_))), "it never served");
    stage.vault.go_on();
    holds(&fault, &sent, &stage.verified());
    stage.vault.kill();
}
