//! Gives a child its credentials where it looks for them: in variables, in files that live in memory, in a memory of
//! their own that only who inherits it can open, and as libpq, ssh and TLS clients expect them. What is placed once can be
//! placed again when a credential was replaced: files change under the child, whole and at once; variables are for its
//! next start.

mod libpq;
mod slot;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags, fchown, fcntl_add_seals, memfd_create};
use zeroize::Zeroizing;

pub use libpq::Login;
pub use slot::{Slot, Variable};

use super::folder::{Account, Folder};
use super::wallet::Held;
use crate::base64url;
use crate::client::fault::Fault;
use crate::id::RoleName;

/// One way in which a credential reaches the child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As its kind is used by habit.
    Usual(RoleName),
    /// In a variable.
    Env(Slot),
    /// In a file; the variable has its path.
    File(Slot),
    /// In a memory file without a name; the variable has the path under which who inherits it can open it.
    Memfd(Slot),
    /// As libpq's password file, with the variables that lead to it.
    Pgpass(RoleName),
    /// As a section of libpq's service file, named as the role, with the variables that lead to it.
    Pgservice(RoleName),
}

impl Delivery {
    /// Whose credential.
    #[must_use]
    pub fn role(&self) -> &RoleName {
        match self {
            Delivery::Usual(role) | Delivery::Pgpass(role) | Delivery::Pgservice(role) => role,
            Delivery::Env(slot) | Delivery::File(slot) | Delivery::Memfd(slot) => &slot.role,
        }
    }

    /// Whether a child that runs sees the next credential, since it is in a file.
    #[must_use]
    pub fn follows(&self, held: &Held) -> bool {
        match self {
            Delivery::File(_) | Delivery::Pgservice(_) => true,
            Delivery::Usual(_) => matches!(held.secret.kind(), Some("ssh" | "x509")),
            // The login's name is in a variable.
            Delivery::Pgpass(_) | Delivery::Env(_) | Delivery::Memfd(_) => false,
        }
    }

    /// Whether it writes files.
    fn needs_folder(&self) -> bool {
        !matches!(self, Delivery::Env(_) | Delivery::Memfd(_))
    }
}

/// What a child is started with. The memory files live as long as this does.
#[derive(Debug, Default)]
pub struct Placed {
    variables: BTreeMap<String, Zeroizing<Vec<u8>>>,
    open: Vec<OwnedFd>,
}

impl Placed {
    /// The variables, for the child alone.
    pub fn variables(&self) -> impl Iterator<Item = (&str, OsString)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), OsString::from_vec(value.to_vec())))
    }

    /// The files that the child inherits.
    #[must_use]
    pub fn inherited(&self) -> &[OwnedFd] {
        &self.open
    }

    fn set(&mut self, variable: &Variable, value: &[u8]) -> Result<(), Fault> {
        if value.contains(&0) {
            return Err(Fault::Local(format!(
                "the value for {variable} has a NUL byte, which no variable can; use --file"
            )));
        }
        let before = self.variables.insert(variable.as_str().to_owned(), Zeroizing::new(value.to_vec()));
        match before.is_some_and(|before| *before != value) {
            true => Err(Fault::Local(format!(
                "{variable} would be given twice; name one of the roles with --env or --file"
            ))),
            false => Ok(()),
        }
    }

    fn lead(&mut self, variable: &Variable, path: &std::path::Path) -> Result<(), Fault> {
        self.set(variable, path.as_os_str().as_encoded_bytes())
    }
}

/// Everything that one child is to have.
#[derive(Debug)]
pub struct Deliveries {
    list: Vec<Delivery>,
    folder: Option<Folder>,
    account: Option<Account>,
}

impl Deliveries {
    /// These deliveries; `folder` is called where one of them writes files.
    ///
    /// # Errors
    /// [`Fault::Local`] where two have one variable, or no folder can be made.
    pub fn new(
        list: Vec<Delivery>,
        account: Option<Account>,
        folder: impl FnOnce() -> Result<Folder, Fault>,
    ) -> Result<Deliveries, Fault> {
        let mut taken = BTreeSet::new();
        for delivery in &list {
            if let Delivery::Env(slot) | Delivery::File(slot) | Delivery::Memfd(slot) = delivery
                && !taken.insert(slot.variable.clone())
            {
                return Err(Fault::Local(format!("{} is given twice", slot.variable)));
            }
        }
        let folder = list.iter().any(Delivery::needs_folder).then(folder).transpose()?;
        Ok(Deliveries { list, folder, account })
    }

    /// The roles whose credentials are delivered.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<RoleName> {
        self.list.iter().map(|delivery| delivery.role().clone()).collect()
    }

    /// Whether a child that runs sees this role's next credential everywhere it was given the one before.
    #[must_use]
    pub fn follows(&self, role: &RoleName, held: &Held) -> bool {
        self.list.iter().filter(|delivery| delivery.role() == role).all(|delivery| delivery.follows(held))
    }

    /// Writes the files and makes the variables from what is held.
    ///
    /// # Errors
    /// [`Fault::Local`] where a secret has no such member, or does not fit, or a file cannot be written.
    pub fn place(&self, held: &BTreeMap<RoleName, Arc<Held>>) -> Result<Placed, Fault> {
        let mut placed = Placed::default();
        let mut services = Zeroizing::new(String::new());
        for delivery in &self.list {
            let role = delivery.role();
            let held = held.get(role).ok_or_else(|| Fault::Local(format!("nothing is held of {role}")))?;
            match delivery {
                Delivery::Usual(_) => self.usual(role, held, &mut placed)?,
                Delivery::Env(slot) => placed.set(&slot.variable, &bytes(held, slot.member.as_deref())?)?,
                Delivery::File(slot) => {
                    let path = self.write(slot.variable.as_str(), &bytes(held, slot.member.as_deref())?)?;
                    placed.lead(&slot.variable, &path)?;
                }
                Delivery::Memfd(slot) => {
                    let file = self.memory(slot, &bytes(held, slot.member.as_deref())?)?;
                    placed.set(&slot.variable, format!("/proc/self/fd/{}", file.as_raw_fd()).as_bytes())?;
                    placed.open.push(file);
                }
                Delivery::Pgpass(_) => self.pgpass(role, held, &mut placed)?,
                Delivery::Pgservice(_) => self.pgservice(role, held, &mut services, &mut placed)?,
            }
        }
        Ok(placed)
    }

    fn write(&self, name: &str, contents: &[u8]) -> Result<std::path::PathBuf, Fault> {
        let folder = self.folder.as_ref().ok_or_else(|| Fault::local("there is no folder for files"))?;
        folder.write(name, contents)
    }

    fn memory(&self, slot: &Slot, contents: &[u8]) -> Result<OwnedFd, Fault> {
        let at = |why: std::io::Error| Fault::Local(format!("a memory file for {}: {why}", slot.variable));
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = memfd_create(slot.variable.as_str(), flags).map_err(|why| at(why.into()))?;
        let mut file = std::fs::File::from(file);
        file.write_all(contents).map_err(at)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
        fcntl_add_seals(&file, seals).map_err(|why| at(why.into()))?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::RUSR).map_err(|why| at(why.into()))?;
        if let Some(Account { uid, gid }) = self.account {
            let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
            fchown(&file, Some(uid), Some(gid)).map_err(|why| at(why.into()))?;
        }
        Ok(file.into())
    }

    /// As this kind of credential is used by habit.
    fn usual(&self, role: &RoleName, held: &Held, placed: &mut Placed) -> Result<(), Fault> {
        let variable = Variable::of(role);
        match held.secret.kind() {
            Some("postgres") => self.pgpass(role, held, placed),
            Some("ssh") => {
                // ssh looks for a key's certificate beside it, under this very name.
                let key = self.write(variable.as_str(), &bytes(held, Some("private_key"))?)?;
                self.write(&format!("{variable}-cert.pub"), &bytes(held, Some("certificate"))?)?;
                placed.lead(&variable, &key)
            }
            Some("x509") => {
                let mut certificates = bytes(held, Some("certificate"))?;
                certificates.extend_from_slice(held.secret.expose("chain").unwrap_or_default().as_bytes());
                let files = [
                    ("CERT", certificates),
                    ("KEY", bytes(held, Some("private_key"))?),
                    ("CA", bytes(held, Some("ca"))?),
                ];
                files.iter().try_for_each(|(ending, contents)| {
                    let named = variable.and(ending);
                    let path = self.write(named.as_str(), contents)?;
                    placed.lead(&named, &path)
                })
            }
            _ => placed.set(&variable, &bytes(held, None)?),
        }
    }

    fn pgpass(&self, role: &RoleName, held: &Held, placed: &mut Placed) -> Result<(), Fault> {
        let login = Login::of(held)?;
        let variable = Variable::of(role);
        let passwords = self.write(&format!("{variable}.pgpass"), login.pgpass()?.as_bytes())?;
        placed.lead(&"PGPASSFILE".into(), &passwords)?;
        for (name, value) in login.variables() {
            placed.set(&name.into(), value.as_bytes())?;
        }
        if let Some(ca) = login.ca() {
            let path = self.write(&format!("{variable}.ca"), ca.as_bytes())?;
            placed.lead(&"PGSSLROOTCERT".into(), &path)?;
        }
        Ok(())
    }

    fn pgservice(&self, role: &RoleName, held: &Held, services: &mut String, placed: &mut Placed) -> Result<(), Fault> {
        let login = Login::of(held)?;
        let ca = login.ca().map(|ca| self.write(&format!("{}.ca", Variable::of(role)), ca.as_bytes())).transpose()?;
        let first = services.is_empty();
        services.push_str(&login.service(role, ca.as_deref())?);
        let path = self.write("pg_service.conf", services.as_bytes())?;
        placed.lead(&"PGSERVICEFILE".into(), &path)?;
        if first { placed.set(&"PGSERVICE".into(), role.as_str().as_bytes()) } else { Ok(()) }
    }
}

/// A member of a secret, as bytes: a `kv` value that is no text is carried in base64url.
fn bytes(held: &Held, member: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let role = &held.hdr.role;
    let text = held.member(member).ok_or_else(|| {
        let members: Vec<_> = held.secret.members().collect();
        let which = member.map_or_else(|| "no value of its own".to_owned(), |member| format!("no text {member:?}"));
        Fault::Local(format!("the secret of {role} has {which}; it has: {}", members.join(", ")))
    })?;
    let is_value = member.is_none_or(|member| member == "value");
    if is_value && held.secret.expose("encoding") == Some("base64url") {
        let decoded = base64url::decode(text).map(Zeroizing::new);
        return decoded.ok_or_else(|| Fault::Local(format!("the value of {role} is not the base64url it says")));
    }
    Ok(Zeroizing::new(text.as_bytes().to_vec()))
}
