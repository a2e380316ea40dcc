//! What is served beside a child: the launcher's socket for its tools; NockGuard's
//! address, the proxy and an ssh-agent where they were asked for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use nockvault::client::fault::Fault;
use nockvault::entropy::OsEntropy;
use nockvault::id::RoleName;
use nockvault::launcher::adapters::nockcc;
use nockvault::launcher::folder::{Account, Folder};
use nockvault::launcher::proxy::{self, Rules};
use nockvault::launcher::socket::{self, Options};
use nockvault::launcher::sshagent;
use nockvault::launcher::token::{TOKEN_FD, Token};
use nockvault::launcher::wallet::Wallet;
use nockvault::launcher::want::Want;

use super::Exec;

/// Everything that is served. It ends when this is dropped.
pub(super) struct Beside {
    socket: socket::Serving,
    token: Option<OwnedFd>,
    nockcc: Option<nockcc::Serving>,
    proxy: Option<proxy::Serving>,
    ssh: Option<(sshagent::Serving, Folder)>,
}

impl Beside {
    /// `environment` is what the child would have without it.
    pub(super) async fn start(
        exec: &Exec,
        wallet: &Wallet,
        account: Option<Account>,
        wants: &BTreeMap<RoleName, Want>,
        rules: Option<Rules>,
        environment: &BTreeMap<OsString, OsString>,
    ) -> Result<Beside, Fault> {
        let token = exec.tight.then(|| Arc::new(Token::new(&OsEntropy)));
        let options = Options { dir: None, uid: account.map(|account| account.uid), token: token.clone() };
        // What the proxy alone puts into requests, and what only the ssh-agent signs with, the child's tools are not given
        // when they ask.
        let asked = wallet.only(exec.asked());
        let socket = socket::serve(asked.clone(), options)?;
        let token = token.map(|token| token.file()).transpose();
        let token = token.map_err(|why| Fault::Local(format!("no memory file for the token of this run: {why}")))?;
        let names: BTreeMap<_, _> = exec.nockcc.iter().cloned().collect();
        let nockcc = match names.is_empty() {
            true => None,
            false => Some(nockcc::serve(asked, names, &OsEntropy).await?),
        };
        let proxy = match rules {
            Some(rules) => {
                let had = |name: &str| environment.get(OsStr::new(name)).cloned();
                Some(proxy::serve(wallet.clone(), rules, 0, &had, words()).await?)
            }
            None => None,
        };
        let ssh = match exec.ssh.is_empty() {
            true => None,
            false => {
                let folder = Folder::make(exec.file_dir.as_deref(), account, &OsEntropy)?;
                let wants = exec.ssh.iter().filter_map(|role| wants.get(role).cloned()).collect();
                let uid = account.map(|account| account.uid);
                Some((sshagent::serve(wallet.clone(), wants, folder.path(), uid, words())?, folder))
            }
        };
        Ok(Beside { socket, token, nockcc, proxy, ssh })
    }

    /// What leads the child to it.
    pub(super) fn variables(&self) -> BTreeMap<OsString, OsString> {
        let (name, path) = self.socket.variable();
        let mut variables: BTreeMap<OsString, OsString> = [(name.into(), path.into())].into();
        if let Some(token) = &self.token {
            variables.insert(TOKEN_FD.into(), token.as_raw_fd().to_string().into());
        }
        for (name, value) in self.nockcc.iter().flat_map(nockcc::Serving::environment) {
            variables.insert(name.into(), value.as_str().into());
        }
        for (name, value) in self.proxy.iter().flat_map(proxy::Serving::variables) {
            variables.insert(name.into(), value.clone());
        }
        if let Some((ssh, _)) = &self.ssh {
            variables.insert("SSH_AUTH_SOCK".into(), ssh.path().into());
        }
        variables
    }

    /// What the child inherits for it.
    pub(super) fn inherited(&self) -> &[OwnedFd] {
        self.token.as_slice()
    }
}

fn words() -> Arc<dyn Fn(&str) + Send + Sync> {
    Arc::new(|words: &str| say!("{}", crate::calm(words)))
}
