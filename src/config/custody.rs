//! `[vault] custody`: where the daemon comes by a custodian's secret when it starts, or that nobody gives it one and it
//! starts sealed.

use std::path::{Path, PathBuf};

use super::reader::Section;

/// What a custody looks like.
const EXAMPLE: &str = "{ file = \"root.key\" }";

/// Who opens the vault at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Custody {
    /// A file of mode 0600 outside the data directory.
    File(PathBuf),
    /// A credential of the daemon's unit, by its name.
    Credential(String),
    /// What a program prints, with its arguments.
    Command(Vec<String>),
    /// A token.
    Pkcs11(Token),
    /// Nobody: it starts sealed, and operators unseal it.
    Unseal,
}

/// A token by PKCS #11.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The library of its maker.
    pub module: PathBuf,
    /// The token's label.
    pub token: String,
    /// The key's label.
    pub key: String,
    /// The file with its PIN, of mode 0600.
    pub pin_file: Option<PathBuf>,
    /// Or the program that prints it, with its arguments.
    pub pin_command: Vec<String>,
}

impl Custody {
    /// As it stands in a configuration.
    #[must_use]
    pub fn written(&self) -> String {
        let path = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let text = |text: &str| toml::Value::from(text).to_string();
        let words = |words: &[String]| toml::Value::from(words.to_vec()).to_string();
        match self {
            Custody::File(file) => format!("{{ file = {} }}", path(file)),
            Custody::Credential(name) => format!("{{ credential = {} }}", text(name)),
            Custody::Command(command) => format!("{{ command = {} }}", words(command)),
            Custody::Unseal => "{ unseal = true }".to_owned(),
            Custody::Pkcs11(Token { module, token, key, pin_file, pin_command }) => {
                let pin = match pin_file {
                    Some(file) => format!("pin_file = {}", path(file)),
                    None => format!("pin_command = {}", words(pin_command)),
                };
                let (module, token, key) = (path(module), text(token), text(key));
                format!("{{ pkcs11 = {{ module = {module}, token = {token}, key = {key}, {pin} }} }}")
            }
        }
    }
}

const WAYS: [&str; 5] = ["file", "credential", "command", "pkcs11", "unseal"];

pub(super) fn read(section: &mut Section<'_, '_>, base: &Path, data: Option<&Path>) -> Option<Custody> {
    let mut inner = section.section("custody", EXAMPLE);
    let named: Vec<&str> = WAYS.into_iter().filter(|way| inner.has(way)).collect();
    if let [first, second, ..] = named[..] {
        let line = inner.line_of(second).unwrap_or_else(|| inner.line());
        inner.wrong(
            line,
            second,
            format!("there is {first} beside it"),
            "name one: the others are for vaultctl unseal",
        );
    }
    let file = inner.path("file", "root.key", base);
    let credential = inner.text("credential", "nockvault-root");
    let has_command = inner.has("command");
    let command = inner.list("command", "/usr/local/bin/root-key", |text| Ok(text.to_owned()));
    if has_command && command.is_empty() {
        let line = inner.line_of("command").unwrap_or_else(|| inner.line());
        inner.wrong(line, "command", "no program", "write for example command = [\"/usr/local/bin/root-key\"]");
    }
    let pkcs11 = inner.has("pkcs11").then(|| token(inner.section("pkcs11", "{ module = \"...\", .. }"), base));
    let unseal = inner.flag("unseal");
    if named.is_empty() {
        inner.need(&file, "file", "root.key");
    }
    inner.finish();
    if let (Some(data), Some(key)) = (data, &file)
        && key.value.starts_with(data)
    {
        let wrong = "the root key would lie inside the data directory that it protects";
        section.wrong(key.line, "custody.file", wrong, "name a file elsewhere");
    }
    match named[..] {
        ["credential"] => credential.map(|found| Custody::Credential(found.value)),
        ["command"] => Some(Custody::Command(command)),
        ["pkcs11"] => pkcs11.flatten().map(Custody::Pkcs11),
        ["unseal"] if unseal => Some(Custody::Unseal),
        ["unseal"] => {
            section.wrong(section.line(), "custody.unseal", "nobody opens the vault then", "write unseal = true");
            None
        }
        _ => file.map(|file| Custody::File(file.value)),
    }
}

fn token(mut section: Section<'_, '_>, base: &Path) -> Option<Token> {
    let module = section.path("module", "/usr/lib/softhsm/libsofthsm2.so", base);
    section.need(&module, "module", "/usr/lib/softhsm/libsofthsm2.so");
    let token = section.text("token", "nockvault");
    section.need(&token, "token", "nockvault");
    let key = section.text("key", "nockvault-root");
    section.need(&key, "key", "nockvault-root");
    let pin_file = section.path("pin_file", "hsm.pin", base);
    let pin_command = section.list("pin_command", "/usr/local/bin/pin", |text| Ok(text.to_owned()));
    if pin_command.is_empty() {
        section.need(&pin_file, "pin_file", "hsm.pin");
    }
    section.finish();
    if pin_file.is_none() && pin_command.is_empty() {
        return None;
    }
    let pin_file = pin_file.map(|found| found.value);
    Some(Token { module: module?.value, token: token?.value, key: key?.value, pin_file, pin_command })
}
