//! `vault.toml`: the agents, roles and grants that a vault is to have. It is strict: what nobody reads is a mistake, and
//! each mistake is told with its line and column, all of them at once. Nothing secret stands in it; of a secret it says at
//! most that there must be one of that name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nockvault::client::keyfile;
use nockvault::crypto::envelope::Embedded;
use nockvault::id::{AgentName, Aud, RoleName, SecretName};
use nockvault::statement::grant::{Rate, SessionPattern, Terms};
use nockvault::statement::register::{Holder, Register};
use nockvault::time::Seconds;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::near::near;
use crate::{members, terms};

/// Where something stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    line: usize,
    column: usize,
}

/// What an agent is to be.
#[derive(Debug)]
pub(crate) struct WantedAgent {
    pub(crate) at: At,
    /// By what it is registered where it is not yet.
    pub(crate) register: Option<(Embedded, Register)>,
}

/// What a role is to be.
#[derive(Debug)]
pub(crate) struct WantedRole {
    pub(crate) at: At,
    /// The engine and its configuration; none where the role is only said to be there.
    pub(crate) made: Option<(String, Map<String, Value>)>,
}

/// What the file says.
#[derive(Debug)]
pub(crate) struct Wanted {
    shown: String,
    pub(crate) agents: BTreeMap<AgentName, WantedAgent>,
    pub(crate) roles: BTreeMap<RoleName, WantedRole>,
    pub(crate) grants: BTreeMap<(AgentName, RoleName), (At, Terms)>,
    pub(crate) secrets: BTreeMap<SecretName, At>,
}

impl Wanted {
    /// Reads a file; `-` is standard input. Files that it names lie beside it.
    pub(crate) fn read(file: &Path, aud: &Aud) -> anyhow::Result<Wanted> {
        if file == Path::new("-") {
            return parse(&std::io::read_to_string(std::io::stdin())?, "standard input", Path::new(""), aud);
        }
        let shown = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| shown.clone())?;
        parse(&text, &shown, file.parent().unwrap_or(Path::new("")), aud)
    }

    /// A mistake, with its place.
    pub(crate) fn wrong(&self, at: At, why: impl Display) -> String {
        format!("{}:{}:{}: {why}", self.shown, at.line, at.column)
    }
}

fn parse(text: &str, file: &str, folder: &Path, aud: &Aud) -> anyhow::Result<Wanted> {
    let shown = file.to_owned();
    if text.contains(crate::value::PRIVATE) {
        bail!("{file}: there is a private key in it, and this file is for many eyes. Nothing was sent");
    }
    let none = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut reader = Reader {
        text,
        begins: [0].into_iter().chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect(),
        folder: folder.to_owned(),
        aud,
        wrong: Vec::new(),
        wanted: Wanted { shown, agents: none.0, roles: none.1, grants: none.2, secrets: none.3 },
    };
    let (root, faults) = DeTable::parse_recoverable(text);
    for fault in faults {
        reader.no(fault.span().map_or(0, |span| span.start), format!("this is not TOML: {}", fault.message()));
    }
    // What did not parse would give mistakes that are none.
    if reader.wrong.is_empty() {
        reader.file(root.get_ref());
    }
    let Reader { mut wrong, wanted, .. } = reader;
    if wrong.is_empty() {
        return Ok(wanted);
    }
    wrong.sort_by_key(|(at, _)| (at.line, at.column));
    let all: Vec<String> = wrong.into_iter().map(|(at, why)| wanted.wrong(at, why)).collect();
    bail!("the file is not good, and nothing was sent\n{}", all.join("\n"))
}

struct Reader<'a> {
    text: &'a str,
    /// Where each line begins, so that the text is not read once more for each place in it.
    begins: Vec<usize>,
    folder: PathBuf,
    aud: &'a Aud,
    wrong: Vec<(At, String)>,
    wanted: Wanted,
}

type Table<'t, 'i> = Spanned<&'t DeTable<'i>>;
type Held<'t, 'i> = &'t Spanned<DeValue<'i>>;

fn member<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<Held<'t, 'i>> {
    table.iter().find(|(known, _)| known.get_ref() == name).map(|(_, value)| value)
}

impl Reader<'_> {
    fn at(&self, offset: usize) -> At {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = self.begins.partition_point(|begin| *begin <= before.len());
        At { line, column: before[self.begins[line - 1]..].chars().count() + 1 }
    }

    fn no(&mut self, offset: usize, why: impl Display) {
        self.wrong.push((self.at(offset), why.to_string()));
    }

    /// Whether a table has no other members than these.
    fn known(&mut self, of: &str, table: &DeTable<'_>, known: &[&str]) {
        for (name, _) in table {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            if !known.contains(&name) {
                let meant = near(name, known.iter().copied()).map(|meant| format!("; did you mean {meant}?"));
                let meant = meant.unwrap_or_else(|| format!("; it has {}", known.join(", ")));
                self.no(at, format!("{of} has no member {name}{meant}"));
            }
        }
    }

    fn table<'t, 'i>(&mut self, what: &str, value: Held<'t, 'i>) -> Option<Table<'t, 'i>> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Spanned::new(value.span(), table)),
            other => {
                self.no(value.span().start, format!("{what} is a table, and this is {}", kind(other)));
                None
            }
        }
    }

    /// A text, read as what it is to be.
    fn text<T>(&mut self, value: Held<'_, '_>, what: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            other => {
                self.no(value.span().start, format!("{what} is a text in quotes, and this is {}", kind(other)));
                return None;
            }
        };
        match read(&text) {
            Ok(read) => Some(read),
            Err(why) => {
                self.no(value.span().start, format!("{what}: {why}"));
                None
            }
        }
    }

    /// The text of a member, where it is there.
    fn said<T>(
        &mut self,
        table: &DeTable<'_>,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        match member(table, name) {
            None => Some(None),
            Some(value) => self.text(value, name, read).map(Some),
        }
    }

    /// The text of a member that must be there.
    fn must<T>(
        &mut self,
        of: &str,
        table: &Table<'_, '_>,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let said = self.said(table.get_ref(), name, read)?;
        if said.is_none() {
            self.no(table.span().start, format!("{of} has no {name}"));
        }
        said
    }

    fn list<'t, 'i>(&mut self, what: &str, value: Held<'t, 'i>) -> &'t [Spanned<DeValue<'i>>] {
        match value.get_ref() {
            DeValue::Array(items) => items,
            other => {
                self.no(value.span().start, format!("{what} is a list, and this is {}", kind(other)));
                &[]
            }
        }
    }

    fn file(&mut self, root: &DeTable<'_>) {
        self.known("the file", root, &["agents", "roles", "grants", "secrets"]);
        for (what, each) in [("agents", Reader::agent as fn(&mut Self, _, _, _)), ("roles", Reader::role)] {
            let Some(all) = member(root, what).and_then(|value| self.table(what, value)) else { continue };
            for (name, value) in *all.get_ref() {
                if let Some(one) = self.table(&format!("{what}.{}", name.get_ref()), value) {
                    each(self, name.span().start, name.get_ref(), one);
                }
            }
        }
        if let Some(value) = member(root, "secrets") {
            for value in self.list("secrets", value) {
                if let Some(name) = self.text(value, "the name of a secret", parsed::<SecretName>) {
                    self.wanted.secrets.insert(name, self.at(value.span().start));
                }
            }
        }
        // Last, since a grant is of an agent and a role that the file names.
        if let Some(value) = member(root, "grants") {
            let named = (names(root, "agents"), names(root, "roles"));
            for value in self.list("grants", value) {
                if let Some(one) = self.table("a grant", value) {
                    self.grant(&one, &named);
                }
            }
        }
    }

    fn agent(&mut self, at: usize, name: &str, table: Table<'_, '_>) {
        self.known(&format!("the agent {name}"), table.get_ref(), &["register"]);
        let agent = match parsed::<AgentName>(name) {
            Ok(agent) => agent,
            Err(why) => return self.no(at, why),
        };
        let (folder, aud) = (self.folder.clone(), self.aud.clone());
        let read = |file: &str| registered(&agent, &folder.join(file), &aud);
        if let Some(register) = self.said(table.get_ref(), "register", read) {
            let at = self.at(at);
            self.wanted.agents.insert(agent, WantedAgent { at, register });
        }
    }

    fn role(&mut self, at: usize, name: &str, table: Table<'_, '_>) {
        let whole = table.get_ref();
        self.known(&format!("the role {name}"), whole, &["engine", "config", "set"]);
        let role = match parsed::<RoleName>(name) {
            Ok(role) => role,
            Err(why) => return self.no(at, why),
        };
        let Some(engine) = self.said(whole, "engine", |engine| Ok(engine.to_owned())) else { return };
        let configured = member(whole, "config").or_else(|| member(whole, "set"));
        let made = match (engine, configured) {
            (Some(engine), _) => match self.config(whole) {
                Some(config) => Some((engine, config)),
                None => return,
            },
            (None, None) => None,
            (None, Some(_)) => return self.no(at, format!("the role {name} is configured and has no engine")),
        };
        let at = self.at(at);
        self.wanted.roles.insert(role, WantedRole { at, made });
    }

    /// What `vaultctl role create` gathers of `--config` and `--set`.
    fn config(&mut self, role: &DeTable<'_>) -> Option<Map<String, Value>> {
        let misfit = |members::Misfit { at, path, why }| (at, format!("{path}: {why}"));
        let folder = self.folder.clone();
        let gathered = (|| {
            let mut config = match member(role, "config").map(|value| (value.span().start, value.get_ref())) {
                None => Map::new(),
                Some((_, DeValue::Table(table))) => members::table(table, "").map_err(misfit)?,
                Some((at, DeValue::String(file))) => {
                    members::read(&folder.join(file.as_ref())).map_err(|why| (at, format!("config: {why:#}")))?
                }
                Some((at, other)) => {
                    return Err((
                        at,
                        format!("config is a table, or the name of a file of it, and this is {}", kind(other)),
                    ));
                }
            };
            match member(role, "set").map(|value| (value.span().start, value.get_ref())) {
                None => Ok(config),
                Some((_, DeValue::Table(table))) => {
                    set(&mut config, &folder, "", table)?;
                    Ok(config)
                }
                Some((at, other)) => Err((at, format!("set is a table, and this is {}", kind(other)))),
            }
        })();
        gathered.map_err(|(at, why)| self.no(at, why)).ok()
    }

    fn grant(&mut self, table: &Table<'_, '_>, (agents, roles): &(BTreeSet<String>, BTreeSet<String>)) {
        const KNOWN: [&str; 9] = ["agent", "role", "ttl", "max_ttl", "max_uses", "until", "session", "from", "rate"];
        let whole = table.get_ref();
        self.known("a grant", whole, &KNOWN);
        let agent = self.must("this grant", table, "agent", |name| named("agent", name, agents));
        let role = self.must("this grant", table, "role", |name| named("role", name, roles));
        let (Some(terms), Some(agent), Some(role)) = (self.terms(table), agent, role) else { return };
        let at = self.at(table.span().start);
        if let Err(why) = terms.consistent() {
            return self.wrong.push((at, format!("these terms contradict each other: {why}")));
        }
        let twice = format!("agent {agent} is granted {role} a second time");
        match self.wanted.grants.entry((agent, role)) {
            std::collections::btree_map::Entry::Vacant(free) => drop(free.insert((at, terms))),
            std::collections::btree_map::Entry::Occupied(taken) => {
                let first = taken.get().0.line;
                self.wrong.push((at, format!("{twice}; the first time was in line {first}")));
            }
        }
    }

    fn terms(&mut self, table: &Table<'_, '_>) -> Option<Terms> {
        let whole = table.get_ref();
        let ttl = self.must("this grant", table, "ttl", str::parse::<Seconds>);
        let max_ttl = self.said(whole, "max_ttl", str::parse::<Seconds>);
        let max_uses = match member(whole, "max_uses") {
            None => Some(None),
            Some(value) => match value.get_ref().as_integer().map(|n| u64::from_str_radix(n.as_str(), n.radix())) {
                Some(Ok(number)) => Some(Some(number)),
                _ => {
                    self.no(value.span().start, "max_uses is a whole number");
                    None
                }
            },
        };
        let until = match member(whole, "until") {
            None => Some(None),
            // TOML has times of its own.
            Some(value) => match value.get_ref() {
                DeValue::Datetime(time) => {
                    terms::instant(&time.to_string()).map(Some).map_err(|why| self.no(value.span().start, why)).ok()
                }
                _ => self.text(value, "until", terms::instant).map(Some),
            },
        };
        let session = self.said(whole, "session", |text| text.parse::<SessionPattern>().map_err(|why| why.to_owned()));
        let rate = self.said(whole, "rate", str::parse::<Rate>);
        let networks = member(whole, "from").map_or(&[][..], |value| self.list("from", value));
        let from: Vec<_> = networks.iter().map(|value| self.text(value, "from", terms::network)).collect();
        let (ttl, from) = (ttl?, from.into_iter().collect::<Option<Vec<_>>>()?);
        Some(Terms {
            ttl,
            max_ttl: max_ttl?.unwrap_or(ttl),
            max_uses: max_uses?,
            until: until?,
            session: session?,
            from,
            rate: rate?,
        })
    }
}

/// What is set takes the place of what the configuration has; a text that begins with `@` is that of a file.
fn set(
    config: &mut Map<String, Value>,
    folder: &Path,
    before: &str,
    table: &DeTable<'_>,
) -> Result<(), (usize, String)> {
    for (name, value) in table {
        let (at, path) = (name.span().start, format!("{before}{}", name.get_ref()));
        let value = match value.get_ref() {
            DeValue::Table(inner) => {
                set(config, folder, &format!("{path}."), inner)?;
                continue;
            }
            DeValue::String(text) if text.starts_with('@') => {
                members::of_file(&path, &folder.join(&text[1..])).map_err(|why| (at, format!("{why:#}")))?
            }
            _ => members::of_toml(value, &path).map_err(|misfit| (misfit.at, format!("{path}: {}", misfit.why)))?,
        };
        members::put(config, &path, value).map_err(|why| (at, why.to_string()))?;
    }
    Ok(())
}

/// The statement in a file, if it is of this agent for this vault.
fn registered(agent: &AgentName, file: &Path, aud: &Aud) -> Result<(Embedded, Register), String> {
    let shown = file.display();
    let (statement, read) = keyfile::read_register(file).map_err(|why| why.to_string())?;
    if read.holder != Holder::Agent(agent.clone()) {
        return Err(format!("{shown} is of {}, not of agent {agent}", read.holder));
    }
    if read.aud != *aud {
        return Err(format!("{shown} is for the vault {}, the card is of {aud}", read.aud));
    }
    Ok((statement, read))
}

fn parsed<T: std::str::FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|why: T::Err| why.to_string())
}

/// The names in a table of the file, good ones and others.
fn names(root: &DeTable<'_>, what: &str) -> BTreeSet<String> {
    let table = member(root, what).and_then(|value| value.get_ref().as_table());
    table.into_iter().flatten().map(|(name, _)| name.get_ref().to_string()).collect()
}

/// A name that the file has a table for.
fn named<T: std::str::FromStr<Err: Display>>(what: &str, name: &str, known: &BTreeSet<String>) -> Result<T, String> {
    let read = parsed(name)?;
    if known.contains(name) {
        return Ok(read);
    }
    let quoted = if name.contains(['.', '/']) { format!("\"{name}\"") } else { name.to_owned() };
    Err(match near(name, known.iter().map(String::as_str)) {
        Some(meant) => format!("the file names no {what} {name}; did you mean {meant}?"),
        None => {
            format!("the file names no {what} {name}; a line [{what}s.{quoted}] does, also where it is there already")
        }
    })
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aud() -> Aud {
        format!("nv1:{}", "A".repeat(43)).parse().unwrap()
    }

    fn read(text: &str) -> anyhow::Result<Wanted> {
        parse(text, "v", Path::new("/nowhere"), &aud())
    }

    const NAMED: &str = "[agents.kit]\n[roles.orders]\n";

    #[test]
    fn terms_are_those_of_the_command_line() {
        let text = format!(
            "{NAMED}[[grants]]\nagent = \"kit\"\nrole = \"orders\"\nttl = \"15m\"\nmax_ttl = \"1h\"\nmax_uses = 100\n\
             until = 2026-12-31\nsession = \"nightly-*\"\nfrom = [\"10.0.0.0/8\", \"::1\"]\nrate = \"10/m\"\n"
        );
        let wanted = read(&text).unwrap();
        let (at, terms) = wanted.grants.values().next().unwrap();
        assert_eq!((at.line, at.column), (3, 1));
        assert_eq!((terms.ttl, terms.max_ttl, terms.max_uses), (Seconds(900), Seconds(3600), Some(100)));
        assert_eq!(terms.until.unwrap().to_string(), "2027-01-01T00:00:00.000Z");
        assert_eq!(terms.from.len(), 2);
        let short = "secrets = [\"orders-db\"]\n[agents.\"a.b\"]\n[roles.\"x/y\"]\nengine = \"jwt\"\nconfig = { audience = [\"api\"] }\n\
                     set = { claims = { team = \"a\" }, scope = \"r\" }\n[[grants]]\nagent = \"a.b\"\nrole = \"x/y\"\nttl = \"90\"\n";
        let wanted = read(short).unwrap();
        let (engine, config) = wanted.roles.values().next().unwrap().made.as_ref().unwrap();
        let set = serde_json::json!({"audience": ["api"], "claims": {"team": "a"}, "scope": "r"});
        assert_eq!((engine.as_str(), Value::Object(config.clone())), ("jwt", set));
        assert_eq!(wanted.grants.values().next().unwrap().1.max_ttl, Seconds(90));
        assert!(read("").unwrap().agents.is_empty());
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let grant = |more: &str| format!("{NAMED}[[grants]]\nagent = \"kit\"\nrole = \"orders\"\n{more}");
        for (text, wanted) in [
            ("x".into(), "v:1:"),
            ("[agents.kit]\n[agents.kit]\n".into(), "v:2:"),
            ("agent = 1\n".into(), "v:1:1: the file has no member agent; did you mean agents?"),
            ("agents = 1\n".into(), "v:1:10: agents is a table, and this is a number"),
            ("[agents]\nkit = \"x\"\n".into(), "v:2:7: agents.kit is a table, and this is a text"),
            ("[agents.Kit]\n".into(), "v:1:9: "),
            (
                "[agents.kit]\nregistr = \"x\"\n".into(),
                "v:2:1: the agent kit has no member registr; did you mean register?",
            ),
            ("[agents.kit]\nfrozen = false\n".into(), "v:2:1: the agent kit has no member frozen; it has register"),
            ("[agents.kit]\nregister = 3\n".into(), "v:2:12: register is a text in quotes, and this is a number"),
            ("[agents.kit]\nregister = \"kit.register\"\n".into(), "v:2:12: register: /nowhere/kit.register"),
            ("[roles.x]\nengin = \"kv\"\n".into(), "v:2:1: the role x has no member engin; did you mean engine?"),
            ("[roles.x]\nengine = 1\n".into(), "v:2:10: engine is a text in quotes"),
            ("[roles.x]\nconfig = {}\n".into(), "v:1:8: the role x is configured and has no engine"),
            ("[roles.x]\nengine = \"kv\"\nconfig = { a = 1.5 }\n".into(), "v:3:16: a: a number with a fraction"),
            ("[roles.x]\nengine = \"kv\"\nconfig = 7\n".into(), "v:3:10: config is a table, or the name of a file"),
            ("[roles.x]\nengine = \"kv\"\nconfig = \"kv.toml\"\n".into(), "v:3:10: config: /nowhere/kv.toml"),
            ("[roles.x]\nengine = \"kv\"\nset.ca = \"@ca.pem\"\n".into(), "v:3:5: --set ca: /nowhere/ca.pem"),
            ("[roles.x]\nengine = \"kv\"\nset = [1]\n".into(), "v:3:7: set is a table"),
            ("secrets = \"x\"\n".into(), "v:1:11: secrets is a list, and this is a text"),
            ("secrets = [\"x\", \"Y\"]\n".into(), "v:1:17: the name of a secret: "),
            ("secrets = { x = \"hunter2\" }\n".into(), "v:1:11: secrets is a list, and this is a table"),
            ("[[agents]]\n".into(), "v:1:"),
            ("[grants]\n".into(), "v:1:"),
            (grant(""), "v:3:1: this grant has no ttl"),
            (grant("ttl = 15\n"), "v:6:7: ttl is a text in quotes, and this is a number"),
            (grant("ttl = \"15 minutes\"\n"), "v:6:7: ttl: \"15 minutes\" is not a duration"),
            (grant("ttl = \"1h\"\nmax_ttl = \"1m\"\n"), "v:3:1: these terms contradict each other"),
            (grant("ttl = \"1h\"\nmax_uses = \"3\"\n"), "v:7:12: max_uses is a whole number"),
            (grant("ttl = \"1h\"\nmax_uses = -3\n"), "v:7:12: max_uses is a whole number"),
            (grant("ttl = \"1h\"\nmax_uses = 0\n"), "v:3:1: these terms contradict each other"),
            (grant("ttl = \"1h\"\nuntil = \"soon\"\n"), "v:7:9: until: \"soon\" is not a time"),
            (grant("ttl = \"1h\"\nuntil = 2026-12-31T18:00:00\n"), "v:7:9: \"2026-12-31T18:00:00\" is not a time"),
            (grant("ttl = \"1h\"\nsession = \"a b\"\n"), "v:7:11: session: a session pattern"),
            (grant("ttl = \"1h\"\nfrom = [\"10.1.0.0/8\"]\n"), "v:7:9: from: \"10.1.0.0/8\" has bits"),
            (grant("ttl = \"1h\"\nrate = \"10\"\n"), "v:7:8: rate: \"10\" is not a rate"),
            (grant("ttl = \"1h\"\nterms = {}\n"), "v:7:1: a grant has no member terms"),
            (
                format!("{NAMED}[[grants]]\nagent = \"kti\"\nrole = \"orders\"\nttl = \"1h\"\n"),
                "v:4:9: agent: the file names no agent kti; did you mean kit?",
            ),
            (
                format!("{NAMED}[[grants]]\nagent = \"kit\"\nrole = \"billing/x\"\nttl = \"1h\"\n"),
                "v:5:8: role: the file names no role billing/x; a line [roles.\"billing/x\"]",
            ),
            (
                grant("ttl = \"1h\"\n[[grants]]\nagent = \"kit\"\nrole = \"orders\"\nttl = \"2h\"\n"),
                "v:7:1: agent kit is granted orders a second time; the first time was in line 3",
            ),
            (grant("ttl = \"1h\"\n# -----BEGIN PRIVATE KEY-----\n"), "v: there is a private key in it"),
        ] {
            let told = read(&text).unwrap_err().to_string();
            assert!(told.contains(wanted), "{text:?}: {told}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let told = read("x = 1\n[agents.kit]\ny = 2\n[[grants]]\nagent = \"kit\"\n").unwrap_err().to_string();
        let places: Vec<&str> = told.lines().skip(1).map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["v:1:1", "v:3:1", "v:4:1", "v:4:1"], "{told}");
    }

    #[test]
    fn columns_are_characters() {
        let told = read("[agents.kit]\nsecrets = 1\n\n[roles]\n\"é\" = 1\n").unwrap_err().to_string();
        let places: Vec<&str> = told.lines().skip(1).map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(places, ["v:2:1", "v:5:7"], "{told}");
    }

    /// Each of many places is found without reading the text once more, which took two minutes.
    #[test]
    fn a_long_file_is_read_in_no_time() {
        let many = 60_000;
        let text: String = (0..many).map(|number| format!("[agents.a{number}]\n")).collect();
        let begun = std::time::Instant::now();
        assert!(DeTable::parse(&text).is_ok());
        let parsed = begun.elapsed();
        let wanted = read(&text).unwrap();
        let took = begun.elapsed() - parsed;
        assert_eq!(wanted.agents.len(), many);
        assert!(wanted.agents.values().any(|agent| agent.at == At { line: many, column: 9 }));
        assert!(took < 2 * parsed + std::time::Duration::from_secs(5), "{took:?}, and {parsed:?} to parse it");
    }
}
