//! Where credentials were put, and that they stay good there: each is prolonged while it is held, and its files follow.
//! What is given back goes from its files first.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::form::{Credential, Placed, Slot};
use super::text::{Text, Word};
use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::launcher::ask::Given;
use crate::launcher::delivery::{self, Deliveries, Delivery, Variable};
use crate::launcher::folder::Folder;
use crate::launcher::keep::{Kept, keep};
use crate::launcher::wallet::{Held, Wallet};
use crate::launcher::want::Want;

/// In how many places one credential may be. A model that asks in a loop is told so, before every answer is long.
const PLACES: usize = 32;

/// How a credential is to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Into files: all of it as its kind is used, or one member.
    File(Option<String>),
    /// Into a variable of commands that are run with a prefix.
    Env(Variable, Option<String>),
    /// Into requests, by the proxy that the variables in this file lead to.
    Proxy(PathBuf),
}

/// A place where it was put.
#[derive(Debug)]
struct Place {
    how: How,
    /// The files, which go when this does.
    deliveries: Option<Deliveries>,
    placed: Vec<Placed>,
}

/// A credential that is kept good.
#[derive(Debug)]
struct Keeping {
    places: Vec<Place>,
    trouble: Option<Text>,
    task: AbortHandle,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every slot of one server. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    wallet: Wallet,
    dir: Option<PathBuf>,
    kept: Arc<Mutex<BTreeMap<Want, Keeping>>>,
}

impl Slots {
    /// None yet. Files are put below `dir`, or where the system keeps files in memory.
    pub(super) fn new(wallet: Wallet, dir: Option<PathBuf>) -> Slots {
        Slots { wallet, dir, kept: Arc::default() }
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<Want, Keeping>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a held credential there, and keeps it good. What is there already is left as it is.
    ///
    /// # Errors
    /// [`Fault::Local`] where it does not fit there.
    pub(super) fn put(&self, want: &Want, held: &Arc<Held>, how: How) -> Result<Vec<Placed>, Fault> {
        let mut kept = self.kept();
        if let Some(place) = kept.get(want).and_then(|keeping| keeping.places.iter().find(|place| place.how == how)) {
            return Ok(place.placed.clone());
        }
        if kept.get(want).is_some_and(|keeping| keeping.places.len() >= PLACES) {
            return Err(Fault::Local(format!("{} is in {PLACES} places already; use one, or release it", want.role)));
        }
        let place = self.place(held, how)?;
        let placed = place.placed.clone();
        let keeping = kept.entry(want.clone()).or_insert_with(|| {
            let task = tokio::spawn(self.clone().watch(want.clone(), held.clone())).abort_handle();
            Keeping { places: Vec::new(), trouble: None, task }
        });
        keeping.places.push(place);
        Ok(placed)
    }

    fn place(&self, held: &Arc<Held>, how: How) -> Result<Place, Fault> {
        let role = &held.hdr.role;
        match &how {
            How::Env(variable, member) => {
                // Whether it has this member is better said now than when the command is run.
                let value = Given::of(held)?.bytes(member.as_deref())?;
                if value.contains(&0) {
                    return Err(Fault::Local(format!("{role} has a NUL byte, which no variable can; ask for a file")));
                }
                let placed = Placed { deliver: Slot::Env, name: Text::of(&[variable]), path: None };
                Ok(Place { how, deliveries: None, placed: vec![placed] })
            }
            How::Proxy(file) => {
                let (name, path) = (Text::of(&[&"proxy"]), Some(Text::of(&[file])));
                let placed = vec![Placed { deliver: Slot::Proxy, name, path }];
                Ok(Place { how, deliveries: None, placed })
            }
            How::File(member) => {
                let entropy = self.wallet.owner().around.entropy.clone();
                let folder = || Folder::make(self.dir.as_deref(), None, &*entropy);
                let delivery = usual_files(role, held.secret.kind(), member.as_deref())?;
                let deliveries = Deliveries::new(vec![delivery], None, folder)?;
                let placed = write(&deliveries, held)?;
                Ok(Place { how, deliveries: Some(deliveries), placed })
            }
        }
    }

    /// Prolongs the lease, and writes the files anew when another took its place. Ends when nothing is kept for it.
    async fn watch(self, want: Want, held: Arc<Held>) {
        let (listener, mut news) = mpsc::channel(4);
        let keeper = tokio::spawn(keep(self.wallet.clone(), want.clone(), held, listener));
        // The keeper ends when nobody listens; this, when it is aborted.
        while let Some(kept) = news.recv().await {
            let trouble = match kept {
                Kept::Replaced(want) => self.replaced(&want).err(),
                Kept::Failing(_, fault, _) => {
                    Some(Text::of(&[&"it cannot be prolonged, and is tried again: ", &fault]))
                }
                Kept::Ended(_) => Some(Text::of(&[&"it has ended, and there is no other yet"])),
                Kept::Well(_) => None,
            };
            if let Some(keeping) = self.kept().get_mut(&want) {
                keeping.trouble = trouble;
            }
        }
        keeper.abort();
    }

    fn replaced(&self, want: &Want) -> Result<(), Text> {
        let held = self.wallet.held().into_iter().find(|(other, _)| other == want).map(|(_, held)| held);
        let (Some(held), kept) = (held, self.kept()) else { return Ok(()) };
        let places = kept.get(want).map(|keeping| keeping.places.as_slice()).unwrap_or_default();
        for deliveries in places.iter().filter_map(|place| place.deliveries.as_ref()) {
            write(deliveries, &held).map_err(|fault| Text::of(&[&"the next one cannot be put there: ", &fault]))?;
        }
        Ok(())
    }

    /// Everything that is held, and where it was put.
    pub(super) async fn list(&self) -> Vec<Credential> {
        let now = self.wallet.now().await;
        let kept = self.kept();
        let credential = |(want, held): (Want, Arc<Held>)| {
            let keeping = kept.get(&want);
            let (left, _) = held.left(now);
            Credential {
                role: want.role.clone(),
                params: (!want.params.is_empty()).then(|| Text::of(&[&want.params])),
                lease: held.lease().clone(),
                expires: Text::of(&[&held.exp()]),
                seconds_left: left / 1000,
                placed: keeping
                    .map(|keeping| keeping.places.iter().flat_map(|place| place.placed.clone()).collect())
                    .unwrap_or_default(),
                trouble: keeping.and_then(|keeping| keeping.trouble.clone()),
            }
        };
        self.wallet.held().into_iter().map(credential).collect()
    }

    /// Takes a role's credentials away from wherever they were put, and gives them back.
    ///
    /// # Errors
    /// Any [`Fault`]; the files are gone in either case.
    pub(super) async fn release(&self, role: &RoleName) -> Result<usize, Fault> {
        self.kept().retain(|want, _| want.role != *role);
        self.wallet.release(role).await
    }

    /// Takes everything away. The caller closes the wallet.
    pub(super) fn clear(&self) {
        self.kept().clear();
    }
}

/// The files in which programs look for a secret of this kind.
fn usual_files(role: &RoleName, kind: Option<&str>, member: Option<&str>) -> Result<Delivery, Fault> {
    let variable = Variable::of(role);
    let variable = match member {
        Some(member) => variable.and(&member.to_ascii_uppercase()).as_str().parse().map_err(Fault::Local)?,
        None => variable,
    };
    let file = delivery::Slot { variable, role: role.clone(), member: member.map(str::to_owned) };
    Ok(match (member, kind) {
        (None, Some("postgres")) => Delivery::Pgservice(role.clone()),
        (None, Some("ssh" | "x509")) => Delivery::Usual(role.clone()),
        _ => Delivery::File(file),
    })
}

/// Writes the files, and says where they are. Only what is a file in a folder of ours is said.
fn write(deliveries: &Deliveries, held: &Arc<Held>) -> Result<Vec<Placed>, Fault> {
    let placed = deliveries.place(&BTreeMap::from([(held.hdr.role.clone(), held.clone())]))?;
    let place = |(name, value): (&str, std::ffi::OsString)| {
        let path = PathBuf::from(value);
        let ours = path.is_absolute() && path.parent().is_some_and(Folder::is_one) && path.is_file();
        let name = Text::of(&[&Word::of_caller(name)]);
        ours.then(|| Placed { deliver: Slot::File, name, path: Some(Text::of(&[&path])) })
    };
    Ok(placed.variables().filter_map(place).collect())
}
