//! One run of a child from its first credential to the end of its session. What it was given is kept alive while it runs;
//! when it ends, by itself or because the launcher was told to, every lease ends with it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::child::{Program, came_from_terminal, pass, signals};
use super::delivery::{Deliveries, Placed};
use super::keep::{Kept, Pause, keep, passes};
use super::mask::Mask;
use super::wallet::{Held, Wallet};
use super::want::Want;
use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::time::Timestamp;

/// What is done for a child when another credential took the place of one that it was given in a variable, or when it
/// has to be told that files changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReplace {
    /// Nothing: it finds the next one in its files, or asks.
    Nothing,
    /// It gets this signal.
    Signal(Signal),
    /// It is ended and started again.
    Restart,
}

/// Words for whoever runs the launcher.
pub trait Words: fmt::Debug {
    /// Says it.
    fn say(&self, words: &dyn fmt::Display);
}

/// A run that is about to begin.
#[derive(Debug)]
pub struct Run<'a> {
    /// The agent's credentials.
    pub wallet: Wallet,
    /// What is asked for each role that is delivered.
    pub wants: BTreeMap<RoleName, Want>,
    /// How they reach the child.
    pub deliveries: Deliveries,
    /// The child.
    pub program: Program,
    /// Its variables, but for what is delivered.
    pub environment: BTreeMap<OsString, OsString>,
    /// Open files that it inherits besides.
    pub inherited: &'a [OwnedFd],
    /// What is covered in its output, where that passes through here.
    pub mask: Option<Mask>,
    /// What is done when a credential was replaced.
    pub on_replace: OnReplace,
    /// How long the first credentials are waited for.
    pub patience: Duration,
    /// How long a child may take to end after it was told to.
    pub grace: Duration,
    /// Who hears of it.
    pub words: &'a dyn Words,
}

/// Why there was no child.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// No credential.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The program could not be started.
    #[error("{program}: {why}")]
    NotStarted {
        /// What was to be run.
        program: String,
        /// The system's word.
        why: io::Error,
    },
    /// A signal came before there was a child.
    #[error("ended by a signal before the child was started")]
    Signalled(Signal),
}

impl Run<'_> {
    /// Gets the credentials, runs the child, and gives how it ended.
    ///
    /// # Errors
    /// [`Stopped`] where there was no child. The session is the caller's to close in either case.
    pub async fn run(&mut self) -> Result<ExitStatus, Stopped> {
        let mut signals = signals().map_err(|why| self.not_started(why))?;
        let held = tokio::select! {
            held = self.first() => held?,
            signal = deadly(&mut signals) => return Err(Stopped::Signalled(signal)),
        };
        let placed = self.deliveries.place(&held)?;
        if let Some(mask) = &self.mask {
            held.values().for_each(|held| mask.learn(held));
        }
        let (child, output) = self.start(&placed)?;
        let (listener, news) = mpsc::channel(16);
        for (role, held) in &held {
            let want = self.wants[role].clone();
            tokio::spawn(keep(self.wallet.clone(), want, held.clone(), listener.clone()));
        }
        let watch = Watch { run: self, placed, child, output, held, ending: None, again: false, last: false };
        watch.until_it_ends(signals, news).await
    }

    /// The first credentials, waited for as long as patience lasts.
    async fn first(&self) -> Result<BTreeMap<RoleName, Arc<Held>>, Fault> {
        let entropy = self.wallet.owner().around.entropy.clone();
        let until = Instant::now() + self.patience;
        let mut held = BTreeMap::new();
        for (role, want) in &self.wants {
            let (mut pause, mut said) = (Pause::default(), false);
            let one = loop {
                let left = until.saturating_duration_since(Instant::now());
                let asked = match timeout(left.max(Duration::from_secs(1)), self.wallet.hold(want)).await {
                    Ok(asked) => asked,
                    Err(_) => Err(Fault::Local(format!("no answer for {role} within {} s", self.patience.as_secs()))),
                };
                match asked {
                    Ok(one) => break one,
                    Err(fault) if passes(&fault) && Instant::now() < until => {
                        if !said {
                            self.words.say(&format_args!("{role}: {fault}; trying for {} s", self.patience.as_secs()));
                        }
                        said = true;
                        let next = Instant::now() + pause.next(&*entropy);
                        sleep_until(next.min(until)).await;
                    }
                    Err(fault) => return Err(fault),
                }
            };
            held.insert(role.clone(), one);
        }
        Ok(held)
    }

    /// Starts the child, and what carries its output where that is masked.
    fn start(&self, placed: &Placed) -> Result<(Child, Output), Stopped> {
        let started = self.program.start(&self.environment, placed, self.inherited, self.mask.is_some());
        let mut child = started.map_err(|why| self.not_started(why))?;
        let mut output = Output { carried: JoinSet::new(), ended: watch::Sender::new(false) };
        if let Some(mask) = &self.mask {
            let Output { carried, ended } = &mut output;
            let out = child.stdout.take().map(|out| mask.clone().carry(out, tokio::io::stdout(), ended.subscribe()));
            let err = child.stderr.take().map(|err| mask.clone().carry(err, tokio::io::stderr(), ended.subscribe()));
            out.map(|out| carried.spawn(out));
            err.map(|err| carried.spawn(err));
        }
        Ok((child, output))
    }

    fn not_started(&self, why: io::Error) -> Stopped {
        Stopped::NotStarted { program: self.program.name.to_string_lossy().into_owned(), why }
    }
}

/// A child's output on its way, where that is masked.
struct Output {
    carried: JoinSet<()>,
    ended: watch::Sender<bool>,
}

/// A child that runs.
struct Watch<'r, 'a> {
    run: &'r mut Run<'a>,
    placed: Placed,
    child: Child,
    output: Output,
    held: BTreeMap<RoleName, Arc<Held>>,
    /// When a child that was told to end is killed.
    ending: Option<Instant>,
    /// Whether it is started again once it has ended.
    again: bool,
    /// Whether it was told from outside to end, and so is not started again whatever comes.
    last: bool,
}

impl Watch<'_, '_> {
    async fn until_it_ends(
        mut self,
        mut signals: mpsc::Receiver<Signal>,
        mut news: mpsc::Receiver<Kept>,
    ) -> Result<ExitStatus, Stopped> {
        loop {
            let deadline = self.ending;
            tokio::select! {
                ended = self.child.wait() => {
                    let status = ended.map_err(|why| self.run.not_started(why))?;
                    self.drain(&mut signals).await;
                    if !self.again {
                        return Ok(status);
                    }
                    (self.again, self.ending) = (false, None);
                    (self.child, self.output) = self.run.start(&self.placed)?;
                }
                Some(signal) = signals.recv() => self.signalled(signal),
                Some(kept) = news.recv() => self.heard(kept),
                () = until(deadline) => {
                    self.run.words.say(&"the child did not end in time and is killed");
                    self.ending = None;
                    pass(&self.child, Signal::KILL);
                }
            }
        }
    }

    /// What the child has printed last, for as long as somebody takes it, or until a signal says that it is enough.
    async fn drain(&mut self, signals: &mut mpsc::Receiver<Signal>) {
        self.output.ended.send_replace(true);
        let carried = &mut self.output.carried;
        let all = async { while carried.join_next().await.is_some() {} };
        tokio::select! {
            () = all => {}
            signal = deadly(signals) => self.again &= !is_last(signal),
        }
    }

    fn signalled(&mut self, signal: Signal) {
        if is_last(signal) {
            // What was to be started again ends for good.
            self.again = false;
        }
        if !came_from_terminal(signal) {
            pass(&self.child, signal);
        }
        if signal == Signal::TERM {
            self.last = true;
            self.ending.get_or_insert(Instant::now() + self.run.grace);
        }
    }

    fn heard(&mut self, kept: Kept) {
        let words = self.run.words;
        match kept {
            Kept::Replaced(want) => self.replaced(&want),
            Kept::Failing(want, fault, exp) => {
                words.say(&format_args!(
                    "{want} cannot be prolonged: {fault}; it lives until {exp}, and I go on trying"
                ));
            }
            Kept::Ended(want) => {
                words.say(&format_args!("{want} has ended, and there is no other yet; I go on trying"))
            }
            Kept::Well(want) => words.say(&format_args!("{want} is well again")),
        }
    }

    fn replaced(&mut self, want: &Want) {
        let now = self.run.wallet.held().into_iter().find(|(held, _)| held == want).map(|(_, held)| held);
        let Some(held) = now else { return };
        let before = self.held.insert(want.role.clone(), held.clone());
        if let Some(mask) = &self.run.mask {
            // All of them: the mask forgets what it has not been told of for long.
            self.held.values().for_each(|held| mask.learn(held));
        }
        match self.run.deliveries.place(&self.held) {
            Ok(placed) => self.placed = placed,
            Err(fault) => return self.run.words.say(&format_args!("the next {want} cannot be delivered: {fault}")),
        }
        match self.run.on_replace {
            OnReplace::Signal(signal) => pass(&self.child, signal),
            OnReplace::Restart if self.last => {}
            OnReplace::Restart => {
                self.again = true;
                self.ending.get_or_insert(Instant::now() + self.run.grace);
                pass(&self.child, Signal::TERM);
            }
            OnReplace::Nothing if !self.run.deliveries.follows(&want.role, &held) => {
                let exp = before.map_or(Timestamp::ZERO, |before| before.exp());
                self.run.words.say(&format_args!(
                    "{want} was replaced, and the child still has the one before, which ends at {exp}; with --on-replace \
                     restart or signal it would hear of it"
                ));
            }
            OnReplace::Nothing => {}
        }
    }
}

/// Whether a signal says that the child is to end.
fn is_last(signal: Signal) -> bool {
    matches!(signal, Signal::TERM | Signal::INT | Signal::QUIT)
}

/// The next signal that ends a program which does nothing about it.
async fn deadly(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    loop {
        match signals.recv().await {
            Some(Signal::WINCH) => {}
            Some(signal) => return signal,
            None => std::future::pending().await,
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
