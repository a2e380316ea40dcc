//! Git's credential helper, as `gitcredentials(7)` and `git-credential(1)` define it: lines `name=value` come in, and what
//! is known goes out the same way. `get` answers for hosts that were written down; `store` keeps nothing, since nothing
//! here lives long enough to be kept; `erase` has the launcher give back what a server refused.
//!
//! A credential goes to https alone, and to http on this machine. Git cuts what it reads into lines, and so no secret
//! with a control character in it is handed on.

use zeroize::Zeroizing;

use super::hosts::{Hosts, Place, is_loopback};
use crate::client::fault::Fault;
use crate::launcher::ask::Given;

/// The most bytes that git may ask in.
pub const INPUT_MAX: usize = 64 * 1024;

/// The user name with a token where none is written down: what servers that look at the token alone are used to.
const USER: &str = "x-access-token";

/// What git asks.
#[derive(Debug, Default)]
pub struct Asked {
    protocol: String,
    host: String,
    path: String,
    username: Option<String>,
    password: Option<Zeroizing<String>>,
    takes_authtype: bool,
}

/// How a secret becomes an answer.
#[derive(Clone, Debug, Default)]
pub struct Form {
    /// The member that is the password, where it is not the usual one.
    pub member: Option<String>,
    /// Sends the secret as a bearer token, where git can do that.
    pub bearer: bool,
}

impl Asked {
    /// Reads what git says.
    ///
    /// # Errors
    /// [`Fault::Local`] where it is not in git's form.
    pub fn read(input: &[u8]) -> Result<Asked, Fault> {
        let bad = || Fault::local("git's question is not in the form of gitcredentials(7)");
        if input.len() > INPUT_MAX || input.contains(&0) {
            return Err(bad());
        }
        let mut asked = Asked::default();
        for line in std::str::from_utf8(input).map_err(|_| bad())?.lines().take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=').ok_or_else(bad)?;
            if value.contains('\r') {
                return Err(bad());
            }
            match name {
                "protocol" => asked.protocol = value.to_owned(),
                "host" => asked.host = value.to_owned(),
                "path" => asked.path = value.to_owned(),
                "username" => asked.username = Some(value.to_owned()),
                "password" | "credential" => asked.password = Some(Zeroizing::new(value.to_owned())),
                "capability[]" => asked.takes_authtype |= value == "authtype",
                // Git says that what is not known is passed over.
                _ => {}
            }
        }
        Ok(asked)
    }

    /// The place that was asked for, where it is written down.
    ///
    /// # Errors
    /// [`Fault::Local`] where it is, but its secret would go over the network in the clear.
    pub fn place<'a>(&self, hosts: &'a Hosts) -> Result<Option<&'a Place>, Fault> {
        let Some(place) = hosts.find(&self.host, &self.path) else { return Ok(None) };
        match self.protocol.as_str() {
            "https" => Ok(Some(place)),
            "http" if is_loopback(&self.host) => Ok(Some(place)),
            other => Err(Fault::Local(format!(
                "git asks for {place} over {other:?}: a credential is given for https alone, and for http on this machine"
            ))),
        }
    }

    /// What git is told. Empty where somebody else than the credential's user is to log in.
    ///
    /// # Errors
    /// [`Fault::Local`] where the secret has nothing that can be a password.
    pub fn answer(&self, given: &Given, place: &Place, form: &Form) -> Result<Zeroizing<String>, Fault> {
        let expiry = given.exp.whole_seconds();
        let mut out = Zeroizing::new(String::with_capacity(16 * 1024));
        let mut say = |name: &str, value: &str| {
            for part in [name, "=", value, "\n"] {
                out.push_str(part);
            }
        };
        let (user, password) = login(given, place, form.member.as_deref(), USER)?;
        if form.bearer && self.takes_authtype {
            say("capability[]", "authtype");
            say("authtype", "Bearer");
            say("credential", &password);
            // Nobody else is to keep it.
            say("ephemeral", "1");
        } else {
            let named = user.named || place.user().is_some();
            match &self.username {
                // A token goes with any name, a login with its own alone.
                Some(asked) if named && *asked != *user.text => return Ok(Zeroizing::default()),
                Some(asked) => say("username", asked),
                None => say("username", &user.text),
            }
            say("password", &password);
        }
        say("password_expiry_utc", &expiry.to_string());
        Ok(out)
    }

    /// Whether what git calls wrong is this credential.
    #[must_use]
    pub fn names(&self, given: &Given, place: &Place, form: &Form) -> bool {
        use subtle::ConstantTimeEq as _;
        let held = login(given, place, form.member.as_deref(), USER);
        match (&self.password, held) {
            (Some(wrong), Ok((_, held))) => wrong.as_bytes().ct_eq(held.as_bytes()).into(),
            _ => false,
        }
    }
}

/// What a password is called in a secret of several members.
const PASSWORDS: &[&str] = &["password", "token", "secret"];

/// A user name, and whether the secret itself names it.
pub(super) struct User {
    pub(super) text: Zeroizing<String>,
    pub(super) named: bool,
}

/// The user name and password that a secret stands for.
pub(super) fn login(
    given: &Given,
    place: &Place,
    member: Option<&str>,
    usual: &str,
) -> Result<(User, Zeroizing<String>), Fault> {
    let own = given.field(&["username", "user"])?;
    let named = own.is_some();
    let password = match member {
        Some(member) => given.line(Some(member))?,
        None => match given.field(PASSWORDS)? {
            Some(password) => password,
            // A name without a password is no login.
            None if named => given.needed(PASSWORDS)?,
            None => given.line(None)?,
        },
    };
    let text = match (own, place.user()) {
        (Some(own), None) => own,
        (_, Some(user)) => Zeroizing::new(user.to_owned()),
        (None, None) => Zeroizing::new(usual.to_owned()),
    };
    Ok((User { text, named }, password))
}

/// What is said to `capability`: the form of the answer, and what this helper does beyond passwords.
pub const CAPABILITIES: &str = "version 0\ncapability authtype\n";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::launcher::ask::tests::given;

    fn hosts() -> Hosts {
        Hosts::read("git.example=orders\nbot@named.example=orders\n127.0.0.1:8080=orders").unwrap()
    }

    fn answer(input: &str, secret: &serde_json::Value, form: &Form) -> String {
        let (asked, hosts) = (Asked::read(input.as_bytes()).unwrap(), hosts());
        let place = asked.place(&hosts).unwrap().expect("it is written down");
        asked.answer(&given(secret), place, form).unwrap().to_string()
    }

    #[test]
    fn a_token_is_a_password_with_an_end() {
        let token = json!({"type": "kv", "encoding": "utf8", "value": "hunter2"});
        let plain =
            answer("protocol=https\nhost=git.example\npath=a/b.git\nwwwauth[]=Basic\n\n", &token, &Form::default());
        assert_eq!(plain, "username=x-access-token\npassword=hunter2\npassword_expiry_utc=1780000000\n");
        let asked = answer("protocol=https\nhost=git.example\nusername=ada\n", &token, &Form::default());
        assert!(asked.starts_with("username=ada\n"));
        let named = answer("protocol=https\nhost=named.example\n", &token, &Form::default());
        assert!(named.starts_with("username=bot\n"));
        assert_eq!(answer("protocol=https\nhost=named.example\nusername=ada\n", &token, &Form::default()), "");
        let local = answer("protocol=http\nhost=127.0.0.1:8080\n", &token, &Form::default());
        assert!(local.contains("password=hunter2"));
    }

    #[test]
    fn a_login_goes_with_its_own_name_alone() {
        let stored =
            json!({"type": "kv", "encoding": "utf8", "value": r#"{"username":"kit","password":"pw","other":"o"}"#});
        let own = answer("protocol=https\nhost=git.example\nusername=kit\n", &stored, &Form::default());
        assert!(own.starts_with("username=kit\npassword=pw\n"));
        assert_eq!(answer("protocol=https\nhost=git.example\nusername=ada\n", &stored, &Form::default()), "");
        let nameless = json!({"type": "kv", "encoding": "utf8", "value": r#"{"token":"t"}"#});
        let told = answer("protocol=https\nhost=git.example\n", &nameless, &Form::default());
        assert!(told.starts_with("username=x-access-token\npassword=t\n"), "{told}");
        let other = Form { member: Some("other".into()), bearer: false };
        assert!(answer("protocol=https\nhost=git.example\n", &stored, &other).contains("password=o\n"));
    }

    #[test]
    fn a_bearer_token_is_sent_where_git_can_and_kept_by_nobody() {
        let token = json!({"type": "jwt", "token": "a.b.c"});
        let form = Form { member: None, bearer: true };
        let new =
            answer("capability[]=authtype\ncapability[]=state\nprotocol=https\nhost=git.example\n", &token, &form);
        let wanted =
            "capability[]=authtype\nauthtype=Bearer\ncredential=a.b.c\nephemeral=1\npassword_expiry_utc=1780000000\n";
        assert_eq!(new, wanted);
        assert!(answer("protocol=https\nhost=git.example\n", &token, &form).contains("password=a.b.c\n"));
    }

    #[test]
    fn what_is_not_written_down_or_would_go_in_the_clear_gets_nothing() {
        let place = |input: &str| Asked::read(input.as_bytes()).unwrap().place(&hosts()).map(|found| found.is_some());
        assert!(!place("protocol=https\nhost=other.example\n").unwrap());
        for protocol in ["http", "ftp", "", "HTTPS", "cert"] {
            let clear = place(&format!("protocol={protocol}\nhost=git.example\n")).unwrap_err().to_string();
            assert!(clear.contains("https alone"), "{clear}");
        }
        for input in ["host\n", "host=a\0b\n", "host=git.example\r\n x=\r\n", "\u{7f}"] {
            assert!(Asked::read(input.as_bytes()).is_err() || !place(input).unwrap_or(false), "{input:?}");
        }
        assert!(Asked::read(&vec![b'a'; INPUT_MAX + 1]).is_err());
    }

    #[test]
    fn a_secret_that_would_add_a_line_is_not_handed_on() {
        for value in ["a\nhost=evil.example", "a\rb", "a\0b"] {
            let secret = json!({"type": "kv", "encoding": "utf8", "value": value});
            let (asked, hosts) = (Asked::read(b"protocol=https\nhost=git.example\n").unwrap(), hosts());
            let place = asked.place(&hosts).unwrap().unwrap();
            assert!(asked.answer(&given(&secret), place, &Form::default()).is_err());
        }
    }

    #[test]
    fn only_the_credential_that_was_refused_is_given_back() {
        let secret = json!({"type": "kv", "encoding": "utf8", "value": "hunter2"});
        let hosts = hosts();
        let names = |password: &str| {
            let input = format!("protocol=https\nhost=git.example\nusername=x\n{password}");
            let asked = Asked::read(input.as_bytes()).unwrap();
            asked.names(&given(&secret), asked.place(&hosts).unwrap().unwrap(), &Form::default())
        };
        assert!(names("password=hunter2\n") && !names("password=other\n") && !names(""));
    }
}
