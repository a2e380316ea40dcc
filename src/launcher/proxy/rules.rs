//! The rules file: which requests get which credential. TOML, strict: what is not known is a fault, all faults of meaning
//! are found in one go, and each names its line, its key, what is wrong and what to write.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use http::header::{self, HeaderName};
use http::{HeaderValue, Method};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use toml::Spanned;

use super::path::{Pattern, Plain};
use super::put::{Put, Template};
use super::reach::Reach;
use crate::client::fault::Fault;
use crate::id::RoleName;
use crate::launcher::want::Want;
use crate::statement::issue::Purpose;
use crate::time::Seconds;

/// What a rules file says.
#[derive(Debug)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    /// Where a tunnel goes untouched.
    pub(super) passthrough: Vec<Reach>,
}

/// One rule, checked.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) want: Want,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) methods: Vec<Method>,
    pub(super) paths: Vec<Pattern>,
    pub(super) header: HeaderName,
    pub(super) put: Put,
    /// The variable that is given the base URL.
    pub(super) variable: Option<String>,
    /// What the base URL ends in.
    pub(super) base: String,
    pub(super) placeholders: Vec<String>,
    pub(super) connect: bool,
    pub(super) websocket: bool,
    pub(super) cookies: bool,
    pub(super) allow_private: bool,
    /// Who signs the host's certificate, where it is not the system's authorities.
    pub(super) roots: Option<RootCertStore>,
}

impl Rule {
    /// The host as requests name it.
    pub(super) fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    pub(super) fn allows(&self, method: &Method, path: &Plain) -> bool {
        self.methods.contains(method) && self.paths.iter().any(|pattern| pattern.allows(path))
    }
}

/// `host:port`, with the brackets that an IPv6 address takes, and without the port of https.
pub(super) fn authority(host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == 443 { host } else { format!("{host}:{port}") }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    passthrough: Vec<Spanned<String>>,
    /// The same, where the name may lead to a private network.
    #[serde(default)]
    passthrough_private: Vec<Spanned<String>>,
    #[serde(default)]
    rule: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    role: Spanned<String>,
    #[serde(default)]
    params: Map<String, Value>,
    ttl: Option<Spanned<String>>,
    host: Spanned<String>,
    port: Option<Spanned<u16>>,
    methods: Spanned<Vec<Spanned<String>>>,
    paths: Spanned<Vec<Spanned<String>>>,
    header: Option<Spanned<String>>,
    value: Option<Spanned<String>>,
    basic: Option<Spanned<Basic>>,
    variable: Option<Spanned<String>>,
    base: Option<Spanned<String>>,
    #[serde(default)]
    placeholders: Vec<Spanned<String>>,
    #[serde(default)]
    connect: bool,
    #[serde(default)]
    websocket: bool,
    #[serde(default)]
    cookies: bool,
    #[serde(default)]
    allow_private: bool,
    ca: Option<Spanned<PathBuf>>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Basic {
    username: String,
    password: String,
}

/// Headers that are no place for a secret: they say how a message is carried, or where.
static CARRYING: [HeaderName; 12] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::RANGE,
];

/// A file under reading.
struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    faults: Vec<(usize, String)>,
    /// Names and variables that are given already.
    names: BTreeSet<String>,
    variables: BTreeSet<String>,
}

impl Rules {
    /// Reads a rules file.
    ///
    /// # Errors
    /// [`Fault::Local`] with a line for each thing that is wrong.
    pub fn read(path: &Path) -> Result<Rules, Fault> {
        let text = std::fs::read_to_string(path).map_err(|why| {
            Fault::Local(format!("{}: {why}; the manual's page on tools shows a rules file", path.display()))
        })?;
        Rules::of(path, &text)
    }

    /// Reads the text of a rules file that lies at `path`.
    fn of(path: &Path, text: &str) -> Result<Rules, Fault> {
        let (names, variables) = Default::default();
        let mut reader = Reader { path, text, faults: Vec::new(), names, variables };
        let file: File = toml::from_str(text).map_err(|error| {
            reader.wrong(error.span().map_or(0, |span| span.start), error.message());
            reader.fault()
        })?;
        let rules: Vec<_> = file.rule.into_iter().filter_map(|raw| reader.rule(raw)).collect();
        let lists = [(&file.passthrough, false), (&file.passthrough_private, true)];
        let entries = lists.iter().flat_map(|(list, private)| list.iter().map(move |entry| (entry, *private)));
        let mut passthrough = Vec::new();
        for (entry, private) in entries {
            let Some(to) = reader.passthrough(entry, private) else { continue };
            if rules.iter().any(|rule| rule.host == to.host && rule.port == to.port && rule.connect) {
                let what = "is named by a rule with connect = true, which ends its TLS; leave one out";
                reader.wrong(entry.span().start, format!("passthrough: {:?} {what}", entry.get_ref()));
            }
            passthrough.push(to);
        }
        if rules.is_empty() && reader.faults.is_empty() {
            reader.wrong(0, "there is no rule; write [[rule]]");
        }
        if reader.faults.is_empty() { Ok(Rules { rules, passthrough }) } else { Err(reader.fault()) }
    }

    /// What the rules ask for.
    pub fn wants(&self) -> impl Iterator<Item = &Want> {
        self.rules.iter().map(|rule| &rule.want)
    }

    /// The roles that the rules ask for.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<RoleName> {
        self.rules.iter().map(|rule| rule.want.role.clone()).collect()
    }

    /// Whether anything is reached through `HTTPS_PROXY`.
    pub(super) fn tunnels(&self) -> bool {
        !self.passthrough.is_empty() || self.ended().next().is_some()
    }

    /// The hosts whose TLS is ended here.
    pub(super) fn ended(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter(|rule| rule.connect).map(|rule| rule.host.as_str())
    }
}

impl Reader<'_> {
    fn wrong(&mut self, offset: usize, what: impl Display) {
        let line = self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
        self.faults.push((line, what.to_string()));
    }

    fn fault(&mut self) -> Fault {
        self.faults.sort();
        let path = self.path.display();
        let lines: Vec<_> = self.faults.iter().map(|(line, what)| format!("{path}:{line}: {what}")).collect();
        Fault::Local(lines.join("\n"))
    }

    /// A value out of its text, or a fault.
    fn read<T, E: Display>(
        &mut self,
        key: &str,
        found: &Spanned<String>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        read(found.get_ref()).map_err(|why| self.wrong(found.span().start, format!("{key}: {why}"))).ok()
    }

    fn each<T>(
        &mut self,
        key: &str,
        list: &Spanned<Vec<Spanned<String>>>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        if list.get_ref().is_empty() {
            self.wrong(list.span().start, format!("{key}: the list is empty, so that nothing is allowed; name some"));
        }
        list.get_ref().iter().filter_map(|item| self.read(key, item, &read)).collect()
    }

    /// All of a rule is read before anything of it is given up, so that each fault is told.
    fn rule(&mut self, raw: Raw) -> Option<Rule> {
        let at = raw.name.span().start;
        let name = self.read("name", &raw.name, name);
        if !self.names.insert(raw.name.get_ref().clone()) {
            self.wrong(at, format!("name: {:?} is another rule's name already", raw.name.get_ref()));
        }
        let want = self.want(&raw);
        let host = self.read("host", &raw.host, host);
        let port = raw.port.as_ref().map_or(443, |port| *port.get_ref());
        if port == 0 {
            self.wrong(raw.port.as_ref().map_or(at, |port| port.span().start), "port: it is 1 to 65535");
        }
        let methods = self.each("methods", &raw.methods, method);
        let paths = self.each("paths", &raw.paths, Pattern::read);
        let header = raw.header.as_ref().map_or(Some(header::AUTHORIZATION), |found| self.read("header", found, place));
        let put = self.put(at, &raw);
        if raw.variable.is_none() && !raw.connect {
            self.wrong(at, "the child would not find it; write variable = \"SOME_BASE_URL\", connect = true, or both");
        }
        let base = raw.base.as_ref().map_or(Some(String::new()), |found| self.read("base", found, base));
        let variable = raw.variable.as_ref().and_then(|found| self.variable("variable", found));
        let placeholders = raw.placeholders.iter().filter_map(|found| self.variable("placeholders", found)).collect();
        let folder = self.path.parent().unwrap_or(Path::new("")).to_owned();
        let roots = raw.ca.as_ref().map(|ca| {
            roots(&folder.join(ca.get_ref())).map_err(|why| self.wrong(ca.span().start, format!("ca: {why}"))).ok()
        });
        Some(Rule {
            name: name?,
            want: want?,
            host: host?,
            port,
            methods,
            paths,
            header: header?,
            put: put?,
            variable,
            base: base?,
            placeholders,
            connect: raw.connect,
            websocket: raw.websocket,
            cookies: raw.cookies,
            allow_private: raw.allow_private,
            roots: roots.flatten(),
        })
    }

    fn want(&mut self, raw: &Raw) -> Option<Want> {
        let role = self.read("role", &raw.role, |text| text.parse::<RoleName>());
        let ttl = raw.ttl.as_ref().map_or(Some(Seconds(0)), |found| self.read("ttl", found, str::parse::<Seconds>));
        let purpose = Purpose::try_from(format!("vault-agent proxy: {}", raw.name.get_ref())).unwrap_or_default();
        Some(Want { params: raw.params.clone(), ttl: ttl?, purpose, ..Want::role(role?) })
    }

    fn put(&mut self, at: usize, raw: &Raw) -> Option<Put> {
        match (&raw.value, &raw.basic) {
            (Some(value), None) => self.read("value", value, |text| Template::secret(text).map(Put::Value)),
            (None, Some(basic)) => {
                let Basic { username, password } = basic.get_ref();
                let both = Template::read(username).and_then(|username| {
                    if username.holds_colon() {
                        return Err("a username holds no colon".to_owned());
                    }
                    Ok(Put::Basic { username, password: Template::secret(password)? })
                });
                both.map_err(|why| self.wrong(basic.span().start, format!("basic: {why}"))).ok()
            }
            _ => {
                self.wrong(
                    at,
                    "what is put into the header? Write value = \"Bearer {}\", where {} stands for the secret and \
                     {name} for its member of that name, or basic = { username = \"{username}\", password = \
                     \"{password}\" }, and not both",
                );
                None
            }
        }
    }

    fn variable(&mut self, key: &str, found: &Spanned<String>) -> Option<String> {
        let name = self.read(key, found, variable)?;
        if self.variables.insert(name.clone()) {
            return Some(name);
        }
        self.wrong(found.span().start, format!("{key}: {name} is given already"));
        None
    }

    fn passthrough(&mut self, entry: &Spanned<String>, allow_private: bool) -> Option<Reach> {
        self.read("passthrough", entry, |text| {
            let (name, port) = match text.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
                    (name, port.parse().map_err(|_| format!("{port:?} is no port; write \"host\" or \"host:port\""))?)
                }
                _ => (text, 443),
            };
            let host = host(name.trim_start_matches('[').trim_end_matches(']'))?;
            Ok::<_, String>(Reach { host, port, allow_private })
        })
    }
}

fn name(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name; write 1 to 64 of a-z, 0-9 and -, for it stands in the base URL"))
}

fn host(text: &str) -> Result<String, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() <= 253 && text.split('.').all(label) && !numeric {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is no host; write one name in small letters, as \"api.example.com\", without scheme, port or star"
    ))
}

fn method(text: &str) -> Result<Method, String> {
    let known = text.bytes().all(|byte| byte.is_ascii_uppercase()) && !matches!(text, "CONNECT" | "TRACE");
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if known => Ok(method),
        _ => Err(format!("{text:?} is not allowed; write methods in capitals, as \"GET\"; CONNECT and TRACE are none")),
    }
}

fn place(text: &str) -> Result<HeaderName, String> {
    match HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) if !CARRYING.contains(&name) => Ok(name),
        Ok(name) => Err(format!("{name} says how a message is carried; a secret goes into another header")),
        Err(_) => Err(format!("{text:?} is no name of a header")),
    }
}

fn base(text: &str) -> Result<String, String> {
    match Plain::read(text) {
        Ok(_) if !text.ends_with('/') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no path; write base = \"/v1\", without a slash at its end")),
    }
}

fn variable(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !text.is_empty() && text.bytes().all(plain) && !text.starts_with(|first: char| first.is_ascii_digit()) {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} is no name of a variable; write for example \"OPENAI_BASE_URL\""))
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let all = CertificateDer::pem_file_iter(path).map_err(|why| format!("{}: {why}", path.display()))?;
    for certificate in all {
        let certificate = certificate.map_err(|why| format!("{} is not PEM: {why}", path.display()))?;
        roots.add(certificate).map_err(|why| format!("{} holds what no authority has: {why}", path.display()))?;
    }
    if roots.is_empty() { Err(format!("{} holds no certificate; it is PEM text", path.display())) } else { Ok(roots) }
}

/// The value of a header that says who asked, where the text can stand in one.
pub(super) fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
passthrough = ["pypi.org", "files.example:8443", "[2001:db8::1]:443"]
passthrough_private = ["git.corp.example"]

[[rule]]
name = "openai"
role = "openai-key"
host = "api.openai.com"
methods = ["GET", "POST"]
paths = ["/v1/models", "/v1/chat/*"]
value = "Bearer {}"
variable = "OPENAI_BASE_URL"
base = "/v1"
placeholders = ["OPENAI_API_KEY"]

[[rule]]
name = "git"
role = "git"
params = { scope = "read" }
ttl = "10m"
host = "git.example"
port = 8443
methods = ["GET"]
paths = ["/*"]
basic = { username = "{username}", password = "{password}" }
connect = true
"#;

    fn read(text: &str) -> Result<Rules, String> {
        Rules::of(Path::new("folder/rules.toml"), text).map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_file_is_read() {
        let rules = read(GOOD).unwrap();
        let names: Vec<_> = rules.rules.iter().map(|rule| (rule.name.as_str(), rule.authority())).collect();
        assert_eq!(names, [("openai", "api.openai.com".to_owned()), ("git", "git.example:8443".to_owned())]);
        assert_eq!(rules.roles().len(), 2);
        assert!(rules.tunnels() && rules.ended().eq(["git.example"]));
        let passed: Vec<_> = rules.passthrough.iter().map(|to| (to.host.as_str(), to.port, to.allow_private)).collect();
        assert_eq!(passed[..2], [("pypi.org", 443, false), ("files.example", 8443, false)]);
        assert_eq!(passed[2..], [("2001:db8::1", 443, false), ("git.corp.example", 443, true)]);
        let git = &rules.rules[1];
        assert_eq!((git.want.ttl, git.want.params["scope"].as_str()), (Seconds(600), Some("read")));
        assert_eq!(git.header, header::AUTHORIZATION);
        let path = |text| Plain::read(text).unwrap();
        assert!(git.allows(&Method::GET, &path("/a")) && !git.allows(&Method::POST, &path("/a")));
    }

    #[test]
    fn each_fault_says_where_it_is_and_what_to_write() {
        for (from, to, says) in [
            ("name = \"openai\"", "name = \"Open AI\"", "6: name: \"Open AI\" is no name; write 1 to 64 of a-z"),
            ("name = \"git\"", "name = \"openai\"", "17: name: \"openai\" is another rule's name already"),
            ("role = \"git\"", "role = \"a b\"", "18: role: "),
            ("host = \"git.example\"", "host = \"*.example\"", "21: host: \"*.example\" is no host"),
            ("host = \"git.example\"", "host = \"https://git.example\"", "21: host: "),
            ("host = \"git.example\"", "host = \"1.2.3.4.5\"", "21: host: "),
            ("port = 8443", "port = 0", "22: port: it is 1 to 65535"),
            ("port = 8443", "port = 70000", "22: "),
            (
                "methods = [\"GET\"]",
                "methods = [\"get\"]",
                "23: methods: \"get\" is not allowed; write methods in capitals",
            ),
            ("methods = [\"GET\"]", "methods = [\"CONNECT\"]", "23: methods: "),
            ("methods = [\"GET\"]", "methods = []", "23: methods: the list is empty"),
            ("paths = [\"/*\"]", "paths = [\"/a/../*\"]", "24: paths: "),
            ("paths = [\"/*\"]", "paths = [\"/*/a\"]", "24: paths: a star stands at the end alone"),
            ("password = \"{password}\"", "password = \"open\"", "25: basic: \"open\" holds no place for the secret"),
            ("value = \"Bearer {}\"", "value = \"Bearer {\"", "11: value: a { without its }"),
            ("value = \"Bearer {}\"\n", "", "6: what is put into the header?"),
            ("value = \"Bearer {}\"", "header = \"host\"\nvalue = \"{}\"", "11: header: host says how a message"),
            ("connect = true", "", "17: the child would not find it"),
            ("connect = true", "conect = true", "26: unknown field `conect`"),
            ("base = \"/v1\"", "base = \"/v1/\"", "13: base: "),
            ("variable = \"OPENAI_BASE_URL\"", "variable = \"OPENAI-URL\"", "12: variable: "),
            (
                "placeholders = [\"OPENAI_API_KEY\"]",
                "placeholders = [\"OPENAI_BASE_URL\"]",
                "14: placeholders: OPENAI_BASE_URL is given",
            ),
            ("ttl = \"10m\"", "ttl = \"soon\"", "20: ttl: "),
            ("ttl = \"10m\"", "ca = \"none.pem\"", "20: ca: folder/none.pem"),
            ("\"pypi.org\"", "\"git.example:8443\"", "2: passthrough: \"git.example:8443\" is named by a rule"),
            ("\"pypi.org\"", "\"pypi.org:x\"", "2: passthrough: \"x\" is no port"),
            ("role = \"git\"", "role = 7", "18: invalid type"),
            ("role = \"git\"\n", "", "16: missing field `role`"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let fault = read(&GOOD.replacen(from, to, 1)).unwrap_err();
            assert!(fault.contains(&format!("folder/rules.toml:{says}")), "{to}: {fault}");
        }
        assert!(read("").unwrap_err().contains("there is no rule; write [[rule]]"));
        let both = read(&GOOD.replace("port = 8443", "port = 0").replace("base = \"/v1\"", "base = \"\"")).unwrap_err();
        assert_eq!(both.lines().count(), 2, "{both}");
    }

    #[test]
    fn the_example_reads() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/proxy.toml");
        let rules = Rules::read(&path).unwrap();
        assert_eq!((rules.rules.len(), rules.ended().count(), rules.passthrough.len()), (4, 1, 2));
    }
}
