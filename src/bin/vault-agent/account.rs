//! The user that a child runs as, from the list of this machine's users.

use nockvault::client::fault::Fault;
use nockvault::launcher::folder::Account;

/// A user of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) home: String,
    pub(crate) account: Account,
}

/// The user of this name or number. Only root can start a child as somebody else.
pub(crate) fn find(wanted: &str) -> Result<User, Fault> {
    if !rustix::process::geteuid().is_root() {
        return Err(Fault::local(
            "only root can run a command as another user; start vault-agent as root, or leave --user out",
        ));
    }
    let users = std::fs::read_to_string("/etc/passwd").map_err(|why| Fault::Local(format!("/etc/passwd: {why}")))?;
    let found =
        users.lines().filter_map(read).find(|user| user.name == wanted || user.account.uid.to_string() == wanted);
    found.ok_or_else(|| Fault::Local(format!("no user {wanted} in /etc/passwd")))
}

/// A line: name, password, uid, gid, comment, home, shell, with `:` between them (passwd(5)).
fn read(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let account = Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
    Some(User { name: name.to_owned(), home: fields.nth(1)?.to_owned(), account })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_a_user_and_what_is_none_names_nobody() {
        let user = read("kit:x:1001:1002:Kit,,,:/home/kit:/bin/sh").unwrap();
        assert_eq!(
            (user.name.as_str(), user.home.as_str(), user.account.uid, user.account.gid),
            ("kit", "/home/kit", 1001, 1002)
        );
        for bad in ["", "kit", "kit:x:one:2::/:/", "kit:x:1"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
