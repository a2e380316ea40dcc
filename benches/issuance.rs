//! What one issuance costs as a whole: a real `vaultd` in a folder of its own, real clients beside it on loopback.
//!
//! `cargo bench --bench issuance -- [--seconds 5] [--clients 1,8,32] [--engine kv|jwt] [--door tcp|unix]`
//!
//! Each row runs so many sessions in a closed loop: sign, send, wait, verify, open. `srv_us` is the daemon's CPU time,
//! user and system, for one issuance; it moves far less than the throughput when other work shares the machine. The
//! last row, `half load`, sends at half the best throughput on a clock, so that its p99 shows what a caller feels and
//! not what a queue does. The daemon stops with the run; the folder goes with it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and prints its figures")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nockvault::client::agent::{Agent, Ask, Session};
use nockvault::client::operator::Operator;
use nockvault::client::signer::Identity;
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::entropy::{Entropy, OsEntropy};
use nockvault::id::{AgentName, Nonce};
use nockvault::secret::SecretBytes;
use nockvault::server::init::{Laid, Plan, lay};
use nockvault::statement::agent::AgentRegister;
use nockvault::statement::card::Card;
use nockvault::statement::grant::{GrantCreate, Terms};
use nockvault::statement::register::{Holder, Register};
use nockvault::statement::role::RoleCreate;
use nockvault::statement::secret::SecretUse;
use nockvault::time::{Clock, Seconds, SystemClock};
use serde_json::json;

/// Agents among which the sessions are shared out, so that not all write to one chain.
const AGENTS: usize = 4;

struct Options {
    seconds: u64,
    clients: Vec<usize>,
    engine: String,
    door: String,
}

impl Options {
    fn read() -> Options {
        let given: Vec<String> = std::env::args().collect();
        let value = |name: &str, default: &str| {
            let at = given.iter().position(|argument| argument == name);
            at.and_then(|at| given.get(at + 1)).map_or_else(|| default.to_owned(), Clone::clone)
        };
        Options {
            seconds: value("--seconds", "5").parse().unwrap(),
            clients: value("--clients", "1,8,32").split(',').map(|count| count.parse().unwrap()).collect(),
            engine: value("--engine", "kv"),
            door: value("--door", "tcp"),
        }
    }
}

/// The daemon, stopped when dropped.
struct Daemon {
    child: Child,
    card: Card,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Daemon {
    fn start(laid: &Laid, door: &str) -> Daemon {
        let text = std::fs::read_to_string(&laid.config).unwrap();
        let roomy = text
            .replace("leases_per_agent = 1000", "leases_per_agent = 1000000")
            .replace("sessions_per_agent = 64", "sessions_per_agent = 100000")
            .replace("nonces_per_key = 200000", "nonces_per_key = 10000000");
        std::fs::write(&laid.config, roomy).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_vaultd"))
            .arg("--config")
            .arg(&laid.config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        let wanted = if door == "unix" { "agents=unix:" } else { "agents=http" };
        let address =
            ready.split_whitespace().find(|word| word.starts_with(wanted)).expect("the daemon said where it is");
        let card = Card { agents: address.trim_start_matches("agents=").to_owned(), ..laid.card.clone() };
        Daemon { child, card }
    }

    /// CPU time so far, user and system.
    fn cpu(&self) -> Duration {
        cpu_of(Path::new(&format!("/proc/{}/stat", self.child.id())))
    }
}

fn cpu_of(stat: &Path) -> Duration {
    let text = std::fs::read_to_string(stat).unwrap();
    // The command in parentheses may hold spaces; what follows it does not.
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn set_up(daemon: &Daemon, operator_key: SigningKey, engine: &str) -> Vec<Agent> {
    let entropy: &dyn Entropy = &OsEntropy;
    let operator =
        Operator::connect(&daemon.card, Identity::held("admin".parse().unwrap(), operator_key, 1)).await.unwrap();
    let value = SecretBytes::from(b"correct horse battery staple".to_vec());
    operator.put_secret(&"orders-db".parse().unwrap(), &value, SecretUse::Kv, None).await.unwrap();
    let config = match engine {
        "jwt" => json!({ "audience": ["orders"] }),
        _ => json!({ "secret": "orders-db" }),
    };
    let config = config.as_object().unwrap().clone();
    operator.command(RoleCreate { role: "orders".parse().unwrap(), engine: engine.to_owned(), config }).await.unwrap();
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let name: AgentName = format!("kit{number}").parse().unwrap();
        let key = SigningKey::generate(entropy);
        let register = Register {
            holder: Holder::Agent(name.clone()),
            aud: daemon.card.aud.clone(),
            form: Form::Pae,
            iat: SystemClock.now(),
            kver: 1,
            nonce: Nonce::from_bytes(&entropy.bytes()),
            pk: key.public(),
            prev: None,
        };
        operator.command(AgentRegister { register: register.sign(&key) }).await.unwrap();
        let terms = Terms {
            ttl: Seconds(900),
            max_ttl: Seconds(3600),
            max_uses: None,
            until: None,
            session: None,
            from: vec![],
            rate: None,
        };
        let grant = GrantCreate { agent: name.clone(), role: "orders".parse().unwrap(), terms };
        operator.command(grant).await.unwrap();
        agents.push(Agent::connect(&daemon.card, Identity::held(name, key, 1)).await.unwrap());
    }
    agents
}

/// The figures of one run.
struct Run {
    issued: u64,
    bad: u64,
    took: Duration,
    server: Duration,
    client: Duration,
    latencies: Vec<Duration>,
}

impl Run {
    fn throughput(&self) -> f64 {
        self.issued as f64 / self.took.as_secs_f64()
    }

    fn print(mut self, name: &str) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let last = self.latencies.len().saturating_sub(1);
            self.latencies.get((last as f64 * share) as usize).copied().unwrap_or_default().as_secs_f64() * 1e3
        };
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (self.issued.max(1)) as f64;
        println!(
            "{name:<12} issued {:>7}  {:>7.0}/s  srv_us {:>6.1}  cli_us {:>6.1}  p50 {:>7.2} ms  p99 {:>7.2} ms  refused {}",
            self.issued,
            self.throughput(),
            each(self.server),
            each(self.client),
            at(0.5),
            at(0.99),
            self.bad,
        );
    }
}

/// So many sessions for so long; with `each`, one request of a session in that time, else as fast as answers come.
async fn run(daemon: &Daemon, agents: &[Agent], clients: usize, seconds: u64, each: Option<Duration>) -> Run {
    let ask = Ask::role("orders".parse().unwrap());
    let (issued, bad) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let own = Path::new("/proc/self/stat");
    let (server, client, begin) = (daemon.cpu(), cpu_of(own), Instant::now());
    let end = begin + Duration::from_secs(seconds);
    let tasks: Vec<_> = (0..clients)
        .map(|number| {
            let session: Session = agents[number % agents.len()].session("load").unwrap();
            let (ask, issued, bad) = (ask.clone(), issued.clone(), bad.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut due = begin;
                if let Some(each) = each {
                    due += each.mul_f64(number as f64 / clients as f64);
                }
                while Instant::now() < end {
                    if let Some(each) = each {
                        tokio::time::sleep_until(due.into()).await;
                        due += each;
                    } else {
                        due = Instant::now();
                    }
                    // Against a clock, what a request waits for its turn counts as its own time.
                    let since = if let Some(each) = each { due - each } else { due };
                    match session.request(&ask).await {
                        Ok(_) => issued.fetch_add(1, Ordering::Relaxed),
                        Err(_) => bad.fetch_add(1, Ordering::Relaxed),
                    };
                    latencies.push(since.elapsed());
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    Run {
        issued: issued.load(Ordering::Relaxed),
        bad: bad.load(Ordering::Relaxed),
        took: begin.elapsed(),
        server: daemon.cpu() - server,
        client: cpu_of(own) - client,
        latencies,
    }
}

#[tokio::main]
async fn main() {
    let options = Options::read();
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan {
        folder: folder.path().join("vault"),
        name: "bench".parse().unwrap(),
        operator: "admin".parse().unwrap(),
        hosts: vec![],
        agents: ([127, 0, 0, 1], 0).into(),
        operators: None,
        http: ([127, 0, 0, 1], 0).into(),
        custody: nockvault::server::init::Keeper::File(None),
    };
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let laid = lay(&plan, SystemClock.now(), &entropy).unwrap();
    let daemon = Daemon::start(&laid, &options.door);
    let agents = set_up(&daemon, laid.operator_key.expect("it was made here"), &options.engine).await;
    println!("engine {}, door {}, {} agents, {} s a row", options.engine, options.door, AGENTS, options.seconds);
    run(&daemon, &agents, 4, 1, None).await.print("warm-up");
    let mut best: f64 = 0.0;
    for clients in options.clients {
        let run = run(&daemon, &agents, clients, options.seconds, None).await;
        best = best.max(run.throughput());
        run.print(&format!("{clients} at once"));
    }
    let clients: u32 = 16;
    let each = Duration::from_secs_f64(f64::from(clients) / (best / 2.0));
    run(&daemon, &agents, clients as usize, options.seconds, Some(each)).await.print("half load");
}
