//! The launcher, `vault-agent exec`: it holds an agent's key, gets credentials in the agent's name, runs a program with
//! them, and ends them with it. The program, and the model that drives it, hold no key. Where a secret need not be in the
//! program's hands either, it is not: the proxy puts it into requests on their way, an ssh-agent signs with it, a login
//! lies in a file that libpq reads.
//!
//! ```text
//! vault-agent exec --agent kit --role orders-read -- ./report        # ORDERS_READ=...
//! vault-agent exec --agent kit --pgpass orders-login -- psql -c 'TABLE item'
//! vault-agent exec --agent kit --ssh deploy-login -- ssh deploy@web.example.com uptime
//! vault-agent exec --agent kit --proxy rules.toml -- claude          # the model's tools call APIs, and see no key
//! vault-agent exec --agent kit --ask orders-read -- make nightly     # its tools ask: vault-agent get orders-read
//! ```
//!
//! # Where a secret goes
//!
//! | option | the child finds | a replacement reaches a child that runs |
//! |---|---|---|
//! | `--role ROLE` | what its kind is used by: a stored value or a token in `ORDERS_READ`, a PostgreSQL login in libpq's variables and password file, an SSH key and its certificate in files that `ORDERS_READ` names, TLS files in `.._CERT`, `.._KEY`, `.._CA` | as the rows below |
//! | `--env NAME=ROLE[:MEMBER]` | the text in a variable | no |
//! | `--file NAME=ROLE[:MEMBER]` | a file of mode 0600 on tmpfs, its path in the variable | yes, whole and at once |
//! | `--memfd NAME=ROLE[:MEMBER]` | a sealed memory file without a name, which only its heirs can open | no |
//! | `--pgpass ROLE`, `--pgservice ROLE` | libpq's files: [`super::tools`] | the service file, yes; the password file has another user name then |
//! | `--ssh ROLE` | an ssh-agent of this run | yes |
//! | `--proxy RULES` | base URLs or `HTTPS_PROXY`: [`super::tools`] | yes |
//! | `--ask ROLE`, and each role above | the launcher's socket: `vault-agent get`, git, docker, AWS, Kubernetes | yes |
//! | `--nockcc NAME=ROLE` | the HTTP that NockGuard's references call | yes |
//!
//! A variable can be read by whoever may read `/proc/<child>/environ`: the same user. A file on tmpfs can be swapped out.
//! Prefer what leaves the secret out of the child: `--proxy`, `--ssh`, then `--memfd`, then files, then variables.
//!
//! # The key
//!
//! It is taken from standard input (`--key -`), from `NOCKVAULT_AGENT_<NAME>_ED25519_KEY` or NockGuard's variable, from a
//! file of mode 0600, or stays in an ssh-agent. Before it is read, the launcher closes itself: no core dump, no debugger of
//! the same user, nothing to read in `/proc/<launcher>/environ` or `mem`. The child's environment is made without any
//! variable that holds an agent's key, by its name or by its value. Where standard input brought the key, the child's
//! is empty. How near the child comes to a key file, what the
//! launcher says of it, and what can be done: [`super::operations`], "Keeping a command from the key".
//!
//! # A credential's life
//!
//! The launcher has one session, and in it one lease for each role and parameters. At 60 to 67 hundredths of a life it asks
//! for more: a renewal, where the grant still has room, else another credential. `--on-replace` says what a child is done
//! that cannot see it: `nothing` (the launcher says so), `signal:HUP`, or `restart`. A credential that nobody was given but
//! that was asked for over the socket is replaced when it is asked for again with less than a third of its life left.
//!
//! # What happens when
//!
//! | when | the launcher |
//! |---|---|
//! | the child ends | ends the session, and every lease with it; exits with the child's code, or 128 and the number of the signal that ended it |
//! | SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH | passes it on; what a terminal sends to both already is not sent twice. After SIGTERM the child has `--grace` (10 s), then it is killed |
//! | the launcher is killed (SIGKILL) | can do nothing. The leases die with their time; the session was noted in `~/.local/state/nockvault` before it was begun, and the next launcher of this agent ends it first. The child runs on |
//! | the vault is away at the start | tries for `--wait` (30 s), says so once, then exits with 125 |
//! | the vault is away later | goes on trying, after half a second at first, then ever more slowly, up to a minute; says so once, says when the credential has ended, and when all is well again. The child runs on |
//! | the vault is sealed, busy, cannot write its trail; a backend is away | the same |
//! | the vault refuses (no grant, frozen, a longer life than granted) | at the start exits with 125 and the reason; later says it and goes on trying, for an operator may thaw |
//! | the agent's clock is wrong | sets itself by the vault's signed time. Nothing unsigned moves it |
//! | another vault answers, or one whose history was rolled back | believes nothing, sends nothing more, says both thumbprints |
//! | the vault is away at the end | waits 5 s, says that the session could not be ended, and leaves its note for the next start |
//! | the agent is frozen at the end | says that its leases were taken back by that; the next start after a thaw ends the session |
//! | an answer was lost | gives the lease back by the hash of its request before it asks again |
//! | what was seen of the trail cannot be kept (a full disk) | the same: what cannot be remembered is not used |
//! | NockGuard's trail cannot be written (`--nockguard-trail`) | gives the credential back and does not use it |
//!
//! Exit codes of its own are 125 (it failed itself), 126 (the command cannot be run) and 127 (there is none).
//!
//! # NockGuard's trail
//!
//! With `--nockguard-trail` each request is a row of the agent's own NockGuard trail too, signed by the agent's key, so that
//! `nockguard verify --agent kit` covers credentials. `NOCKLOCK_SESSION_ID` is the row's session, and what the vault's
//! session is called. A key in an ssh-agent cannot sign such rows.
