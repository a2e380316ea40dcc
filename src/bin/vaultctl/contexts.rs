//! `vaultctl context`: several vaults on one desk. A context is a vault's card with who commands there and with which key.
//! They stand in `contexts.toml` in `~/.config/nockvault`; a card that lies there without a line in it is a context too,
//! under its file's name. What a flag or a variable says goes before what a context says, and `--context` before the
//! variables.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Subcommand;
use clap::parser::ValueSource;
use nockvault::client::fault::Fault;
use nockvault::client::{keyfile, place};
use nockvault::id::{OperatorName, VaultName};
use nockvault::statement::card::Card;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::near::near;
use crate::output::{As, Column, Output};
use crate::{Common, Shape, find};

/// The file of contexts in the folder.
const FILE: &str = "contexts.toml";
/// The ending of a card.
const CARD: &str = "card";

/// Who said it: nobody, a variable or a flag, the later before the earlier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    #[default]
    Nobody,
    Variable,
    Flag,
}

impl By {
    fn of(matches: &clap::ArgMatches, name: &str) -> By {
        match matches.value_source(name) {
            Some(ValueSource::CommandLine) => By::Flag,
            Some(ValueSource::EnvVariable) => By::Variable,
            _ => By::Nobody,
        }
    }
}

/// Who said what of where commands go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SaidBy {
    pub(crate) context: By,
    pub(crate) vault: By,
    pub(crate) operator: By,
    pub(crate) key: By,
}

impl SaidBy {
    pub(crate) fn of(matches: &clap::ArgMatches) -> SaidBy {
        let by = |name| By::of(matches, name);
        SaidBy { context: by("context"), vault: by("vault"), operator: by("operator"), key: by("key") }
    }
}

/// Where commands go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// The context, where it was one.
    pub(crate) context: Option<VaultName>,
    /// The card.
    pub(crate) card: PathBuf,
    /// Who commands, where that was said.
    pub(crate) operator: Option<String>,
    /// The key's file, where that was said.
    pub(crate) key: Option<PathBuf>,
}

/// What the file holds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<VaultName>,
    #[serde(default)]
    contexts: BTreeMap<VaultName, Known>,
}

/// One context, as the file has it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// The card; what is no absolute path is in the folder.
    card: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<OperatorName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<PathBuf>,
}

/// All contexts, those of cards alone among them.
#[derive(Clone, Debug)]
pub(crate) struct Contexts {
    dir: PathBuf,
    kept: Kept,
    /// Those that stand in the file.
    written: Vec<VaultName>,
}

impl Contexts {
    /// Reads them.
    pub(crate) fn read() -> Result<Contexts, Fault> {
        let dir = place::config_dir();
        let none = "neither HOME nor XDG_CONFIG_HOME names a folder; name the card with --vault FILE";
        Contexts::of(dir.ok_or_else(|| Fault::local(none))?)
    }

    fn of(dir: PathBuf) -> Result<Contexts, Fault> {
        let file = dir.join(FILE);
        let at = |why: String| Fault::Local(format!("{}: {why}", file.display()));
        let mut kept: Kept = match fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|why| at(why.message().to_owned()))?,
            Err(why) if why.kind() == ErrorKind::NotFound => Kept::default(),
            Err(why) => return Err(at(why.to_string())),
        };
        let written: Vec<VaultName> = kept.contexts.keys().cloned().collect();
        let known: Vec<PathBuf> = kept.contexts.values().map(|known| dir.join(&known.card)).collect();
        for entry in fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(name) = name.filter(|_| path.extension().is_some_and(|end| end == CARD)) else { continue };
            if !known.contains(&path) {
                let card = PathBuf::from(entry.file_name());
                kept.contexts.entry(name).or_insert(Known { card, ..Known::default() });
            }
        }
        Ok(Contexts { dir, kept, written })
    }

    fn names(&self) -> Vec<&str> {
        self.kept.contexts.keys().map(VaultName::as_str).collect()
    }

    fn named(&self, name: &str) -> Result<(&VaultName, &Known), Fault> {
        let found = self.kept.contexts.iter().find(|(known, _)| known.as_str() == name);
        found.ok_or_else(|| {
            let (names, file) = (self.names(), self.dir.display());
            let more = match (near(name, names.iter().copied()), names.as_slice()) {
                (Some(meant), _) => format!("did you mean {meant}?"),
                (None, []) => "there is none yet: vaultctl context add CARD makes one".to_owned(),
                (None, names) => format!("there are {}", names.join(", ")),
            };
            Fault::Local(format!("no context {name} in {file}; {more}"))
        })
    }

    /// The one that commands go to where nothing is said.
    fn current(&self) -> Result<(&VaultName, &Known), Fault> {
        if let Some(current) = &self.kept.current {
            return self.named(current.as_str());
        }
        let dir = self.dir.display();
        match self.kept.contexts.iter().collect::<Vec<_>>().as_slice() {
            [one] => Ok(*one),
            [] => Err(Fault::Local(format!(
                "there is no vault card in {dir}. Take the card of the vault: vaultctl context add FILE, or --vault FILE for \
                 this one command. Or make a vault: vaultctl init --name NAME"
            ))),
            _ => Err(Fault::Local(format!(
                "there is more than one vault in {dir} ({}), and none of them is the current one: vaultctl context use NAME, \
                 or --context NAME or --vault FILE for this one command",
                self.names().join(", ")
            ))),
        }
    }

    fn write(&mut self) -> Result<(), Fault> {
        let contexts = self.kept.contexts.iter().filter(|(name, _)| self.written.contains(name));
        let contexts = contexts.map(|(name, known)| (name.clone(), known.clone())).collect();
        let kept = Kept { current: self.kept.current.clone(), contexts };
        let text = toml::to_string(&kept).map_err(|why| Fault::Local(format!("{FILE}: {why}")))?;
        let text = format!("# The vaults that vaultctl knows. vaultctl context writes this file.\n{text}");
        keyfile::write(&self.dir.join(FILE), text.as_bytes(), 0o644, true)
    }

    fn keep(&mut self, name: VaultName, known: Known) {
        if !self.written.contains(&name) {
            self.written.push(name.clone());
        }
        self.kept.contexts.insert(name, known);
    }

    /// Whether a context of this name stands in the file.
    pub(crate) fn has(&self, name: &VaultName) -> bool {
        self.kept.contexts.contains_key(name)
    }

    /// Adds the context of a vault that was just made, with its card in the folder. The first that there is becomes the
    /// current one; says whether it is.
    pub(crate) fn made(
        &mut self,
        name: &VaultName,
        operator: OperatorName,
        key: Option<PathBuf>,
    ) -> Result<bool, Fault> {
        let others = self.kept.contexts.keys().any(|other| other != name);
        let card = PathBuf::from(format!("{name}.{CARD}"));
        self.keep(name.clone(), Known { card, operator: Some(operator), key });
        if !others {
            self.kept.current = Some(name.clone());
        }
        self.write()?;
        Ok(self.kept.current.as_ref() == Some(name))
    }
}

/// Where commands go, by flags, variables and contexts.
pub(crate) fn chosen(common: &Common) -> Result<Chosen, Fault> {
    let SaidBy { context, vault, operator, key } = common.said_by;
    if vault != By::Nobody && vault == context {
        let both = if vault == By::Flag { "--vault and --context" } else { "NOCKVAULT_CARD and NOCKVAULT_CONTEXT" };
        return Err(Fault::Local(format!("{both} both say which vault; give one of them")));
    }
    if let Some(card) = common.vault.as_ref().filter(|_| vault > context) {
        let card = place::card_path(Some(card))?;
        return Ok(Chosen { context: None, card, operator: common.operator.clone(), key: common.key.clone() });
    }
    let contexts = Contexts::read()?;
    let (name, known) = match &common.context {
        Some(name) => contexts.named(name)?,
        None => contexts.current()?,
    };
    // Named by a flag, a context is not mixed with variables, which may be of another vault.
    let says = |by: By| by != By::Nobody && by >= context;
    let mut chosen = Chosen {
        context: Some(name.clone()),
        card: contexts.dir.join(&known.card),
        operator: known.operator.as_ref().map(|name| name.as_str().to_owned()),
        key: known.key.as_ref().map(|key| contexts.dir.join(key)),
    };
    if says(key) {
        (chosen.key, chosen.operator) = (common.key.clone(), None);
    }
    if says(operator) {
        if !says(key) && chosen.operator != common.operator {
            chosen.key = None;
        }
        chosen.operator.clone_from(&common.operator);
    }
    Ok(chosen)
}

#[derive(Debug, Subcommand)]
pub(crate) enum Context {
    /// List the vaults that are known here. The one that commands go to has a star.
    List,
    /// Let commands go to this vault from now on. With --operator or --key, also say who commands there.
    Use {
        /// The context.
        name: VaultName,
    },
    /// Show where commands go: which vault, in whose name, with which key.
    Show {
        /// The context; without it, what flags, variables and the current context make together.
        name: Option<VaultName>,
    },
    /// Know another vault by its card, which is copied. With --operator or --key, also say who commands there.
    Add {
        /// The card, as the vault's operator hands it out.
        card: PathBuf,
        /// What to call it here; without it, the vault's name.
        #[arg(long, value_name = "NAME")]
        name: Option<VaultName>,
        /// Let commands go there from now on.
        #[arg(long = "use")]
        used: bool,
    },
    /// Call a context otherwise. Its card and its keys stay where they are.
    Rename {
        /// The context.
        from: VaultName,
        /// Its new name.
        to: VaultName,
    },
    /// Know a vault no more. Its card goes; keys stay.
    Remove {
        /// The context.
        name: VaultName,
    },
}

const COLUMNS: &[Column] = &[
    ("", "mark", As::Plain),
    ("NAME", "name", As::Plain),
    ("VAULT", "vault", As::Plain),
    ("OPERATOR", "operator", As::Plain),
    ("ADDRESS", "operators", As::Plain),
    ("FAULT", "fault", As::Plain),
];

impl Context {
    pub(crate) fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        match self {
            Context::List => list(output),
            Context::Use { name } => choose(&name, common),
            Context::Show { name: None } => output.one(&shown(&chosen(common)?)),
            Context::Show { name: Some(name) } => {
                let named = Some(name.as_str().to_owned());
                let said_by = SaidBy { context: By::Flag, ..SaidBy::default() };
                let (vault, operator, key) = (None, None, None);
                output.one(&shown(&chosen(&Common {
                    context: named,
                    said_by,
                    vault,
                    operator,
                    key,
                    ..common.clone()
                })?))
            }
            Context::Add { card, name, used } => add(&card, name, used, common),
            Context::Rename { from, to } => rename(&from, &to),
            Context::Remove { name } => remove(&name),
        }
    }
}

/// What there is to say of it, or what keeps it from being used.
fn shown(chosen: &Chosen) -> Map<String, Value> {
    let mut told = json!({ "name": chosen.context, "card": chosen.card });
    let Some(members) = told.as_object_mut() else { return Map::new() };
    let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
    match place::card(Some(&chosen.card)) {
        Ok(card) => {
            let (operator, key) = match find::key_place(chosen, &card) {
                Ok(found) => (json!(found.operator), json!(found.to_string())),
                Err(_) => (json!(chosen.operator), json!(chosen.key)),
            };
            for (name, value) in [
                ("agents", json!(card.agents)),
                ("aud", json!(card.aud)),
                ("key", key),
                ("operator", operator),
                ("operators", json!(card.operators)),
                ("vault", json!(card.name)),
            ] {
                put(name, value);
            }
        }
        Err(why) => {
            put("fault", json!(why.to_string()));
        }
    }
    told.as_object().cloned().unwrap_or_default()
}

fn list(output: &Output) -> anyhow::Result<()> {
    let contexts = Contexts::read()?;
    let current = contexts.current().ok().map(|(name, _)| name);
    let mut items = Vec::new();
    for (name, known) in &contexts.kept.contexts {
        let mut item = shown(&Chosen {
            context: Some(name.clone()),
            card: contexts.dir.join(&known.card),
            operator: known.operator.as_ref().map(|name| name.as_str().to_owned()),
            key: known.key.as_ref().map(|key| contexts.dir.join(key)),
        });
        let is_current = current == Some(name);
        if output.shape == Shape::Table && output.field.is_none() {
            item.insert("mark".into(), json!(if is_current { "*" } else { "" }));
        } else {
            item.insert("current".into(), json!(is_current));
        }
        items.push(item);
    }
    if items.is_empty() {
        say!("no vault is known here yet: vaultctl context add CARD, or vaultctl init --name NAME");
    }
    warn_of_variables();
    let plain = &COLUMNS[..COLUMNS.len() - 1];
    output.list(&items, if items.iter().any(|item| item.contains_key("fault")) { COLUMNS } else { plain })
}

/// Says what goes before the current context.
fn warn_of_variables() {
    for name in ["NOCKVAULT_CARD", "NOCKVAULT_CONTEXT"] {
        if let Some(value) = std::env::var_os(name) {
            say!("{name} is set to {} and goes before the current context", value.display());
        }
    }
}

/// Who commands in a context, where that is said on the command line; variables are of the moment and not kept.
fn who(common: &Common, known: &mut Known) -> anyhow::Result<()> {
    if let Some(operator) = common.operator.as_ref().filter(|_| common.said_by.operator == By::Flag) {
        let operator: OperatorName = operator.parse()?;
        if known.operator.as_ref() != Some(&operator) {
            (known.operator, known.key) = (Some(operator), None);
        }
    }
    if let Some(key) = common.key.as_ref().filter(|_| common.said_by.key == By::Flag) {
        if !key.exists() {
            bail!("{}: no such file", key.display());
        }
        known.key = Some(std::path::absolute(key)?);
    }
    Ok(())
}

fn choose(name: &VaultName, common: &Common) -> anyhow::Result<()> {
    let mut contexts = Contexts::read()?;
    let mut known = contexts.named(name.as_str())?.1.clone();
    let card = place::card(Some(&contexts.dir.join(&known.card)))?;
    who(common, &mut known)?;
    let whose = known.operator.as_ref().map(|operator| format!(", in the name of {operator}")).unwrap_or_default();
    contexts.keep(name.clone(), known);
    contexts.kept.current = Some(name.clone());
    contexts.write()?;
    say!("commands go to the vault {} at {} from now on{whose}", card.name, card.operators);
    warn_of_variables();
    Ok(())
}

fn add(file: &Path, name: Option<VaultName>, used: bool, common: &Common) -> anyhow::Result<()> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let card = Card::read(&text).with_context(|| file.display().to_string())?;
    let mut contexts = Contexts::read()?;
    let name = name.unwrap_or_else(|| card.name.clone());
    if contexts.has(&name) {
        bail!("there is a context {name} already; give this one another name with --name, or remove that one first");
    }
    let mut known = Known { card: PathBuf::from(format!("{name}.{CARD}")), ..Known::default() };
    who(common, &mut known)?;
    find::make_config_dir(&contexts.dir)?;
    keyfile::write(&contexts.dir.join(&known.card), text.as_bytes(), 0o644, false)?;
    contexts.keep(name.clone(), known);
    if used || contexts.kept.contexts.len() == 1 {
        contexts.kept.current = Some(name.clone());
    }
    contexts.write()?;
    say!("the vault {} is known here as {name}; its identity is {}", card.name, card.identity.kid());
    if contexts.kept.current.as_ref() != Some(&name) {
        say!("vaultctl context use {name} lets commands go there");
    }
    Ok(())
}

fn rename(from: &VaultName, to: &VaultName) -> anyhow::Result<()> {
    let mut contexts = Contexts::read()?;
    let known = contexts.named(from.as_str())?.1.clone();
    if contexts.has(to) {
        bail!("there is a context {to} already");
    }
    contexts.kept.contexts.remove(from);
    contexts.written.retain(|name| name != from);
    contexts.keep(to.clone(), known);
    if contexts.kept.current.as_ref() == Some(from) {
        contexts.kept.current = Some(to.clone());
    }
    contexts.write()?;
    say!("{from} is called {to} here");
    Ok(())
}

fn remove(name: &VaultName) -> anyhow::Result<()> {
    let mut contexts = Contexts::read()?;
    let known = contexts.named(name.as_str())?.1.clone();
    contexts.kept.contexts.remove(name);
    contexts.written.retain(|written| written != name);
    if contexts.kept.current.as_ref() == Some(name) {
        contexts.kept.current = None;
    }
    contexts.write()?;
    // A card that stayed in the folder would be a context again.
    let card = contexts.dir.join(&known.card);
    let in_folder = card.parent() == Some(contexts.dir.as_path());
    let shared = contexts.kept.contexts.values().any(|other| contexts.dir.join(&other.card) == card);
    if in_folder && !shared {
        match fs::remove_file(&card) {
            Err(why) if why.kind() != ErrorKind::NotFound => bail!("{}: {why}", card.display()),
            _ => {}
        }
    }
    say!("{name} is known here no more; keys stay where they are");
    Ok(())
}
