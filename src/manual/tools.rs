//! Credentials for tools that have never heard of NockVault. Each asks in a way of its own, and `vault-agent` answers in
//! that way. What stands here is what to write into whose configuration.
//!
//! # Where the answer comes from
//!
//! Below a launcher (`vault-agent exec --ask git-push --ask model-key -- CMD`), `NOCKVAULT_AGENT_SOCKET` names its socket,
//! and every command on this page asks there: it needs neither card nor key, one lease serves all who ask, the launcher
//! renews it, and gives it back at its end. That is the way for agents.
//!
//! Elsewhere the same commands ask the vault with the agent's own key, as `--vault`, `--agent` and `--key` say, or
//! `NOCKVAULT_CARD`, `NOCKVAULT_AGENT` and `NOCKVAULT_AGENT_KEY`. Each call then makes a lease of its own, which nobody
//! gives back: it lives until its end and counts against `leases_per_agent`. So keep its life short (`--ttl 15m`). Nothing
//! is kept on the disk.
//!
//! Exit codes: 0, 1 for something on this side, 2 for a refusal of the vault's. Nothing secret goes to standard error.
//!
//! ```text
//! vault-agent get orders-read                          # the value, and a line break; what is no text comes as it is
//! vault-agent get orders-login --member username
//! vault-agent get orders-login -o json                 # all members, with the lease and its end
//! vault-agent get orders-read --fresh                  # a new one, whatever the launcher holds
//! vault-agent list                                     # what the launcher holds: no secrets
//! vault-agent release orders-read                      # the next to ask gets another
//! ```
//!
//! A stored value that is a JSON object is taken apart where a tool needs more than one text: a user name with a password,
//! the parts of a key of AWS.
//!
//! # git
//!
//! ```text
//! [credential "https://git.example.com"]
//!     helper =
//!     helper = !vault-agent git --host git.example.com=git-push
//! ```
//!
//! The empty line drops helpers of before, which would store what is soon worth nothing. `--host` may be given often, as
//! `[USER@]HOST[:PORT][/PATH]=ROLE`; the longest path that fits wins, and paths need `useHttpPath = true`. Without any, the
//! lines of `~/.config/nockvault/git.hosts` count. A host is compared whole. Without a user name in the secret, before the
//! host or in the URL, it is `x-access-token`. `--bearer` sends the secret as a bearer token where git can (2.46).
//!
//! A credential goes to https alone, and to http on this machine. What a server refuses is given back to the launcher, if it
//! is what the launcher holds. Where the vault refuses, git is told to stop and asks nobody.
//!
//! # docker
//!
//! Docker looks for a program by its name, and gives it no arguments:
//!
//! ```text
//! ln -s "$(command -v vault-agent)" /usr/local/bin/docker-credential-nockvault
//! ~/.docker/config.json                    {"credHelpers": {"registry.example.com": "nockvault"}}
//! ~/.config/nockvault/docker.hosts         bot@registry.example.com=registry-pull
//! ```
//!
//! `NOCKVAULT_DOCKER_HOSTS` takes the same lines with commas between. Docker Hub is `index.docker.io`. The user name is the
//! secret's, or the one before the host, or `nockvault`; `<token>` makes the secret an identity token. A registry for
//! which nothing is written down is met as nobody. So is one whose credential the vault refuses: `docker pull` passes over
//! what a helper says, and `docker-credential-nockvault get` shows it. `docker login` stores nothing here, and says so.
//!
//! # AWS
//!
//! ```text
//! ~/.aws/config
//! [profile agent]
//! credential_process = /usr/local/bin/vault-agent aws aws-deploy
//! ```
//!
//! The program's path has to be whole. The secret has `access_key_id` and `secret_access_key`, and by choice
//! `session_token` and `expiration` (RFC 3339), as its members or in a stored JSON object; AWS's own spellings are read too.
//! SDKs ask anew in the last quarter of an hour of a credential's life: give it half an hour or more (`--ttl 1h`).
//!
//! # Kubernetes
//!
//! ```text
//! users:
//! - name: kit
//!   user:
//!     exec:
//!       apiVersion: client.authentication.k8s.io/v1
//!       command: vault-agent
//!       args: [kube, k8s-deploy, --server, "https://k8s.example.com:6443"]
//!       provideClusterInfo: true
//!       interactiveMode: Never
//! ```
//!
//! `v1beta1` is spoken too, for kubectl before 1.22. A secret of the engine `x509` is given as client certificate with its
//! chain and key, any other as token. With `--server` nothing is given to who is about to call another server.
//!
//! # PostgreSQL
//!
//! `vault-agent exec --pgpass orders-login -- psql` does all of it. By hand:
//!
//! ```text
//! vault-agent pgpass orders-login --file pass          # mode 0600; without --file, to standard output
//! PGPASSFILE=pass psql "host=db.example.com dbname=orders user=$(vault-agent get orders-login --member username)"
//! ```
//!
//! Below a launcher both are one login. With the agent's own key they would be two, and not fit together.
//!
//! # ssh
//!
//! ```text
//! vault-agent exec --agent kit --ssh deploy-login -- ssh deploy@web.example.com uptime
//! ```
//!
//! `exec` serves an ssh-agent of its own in `SSH_AUTH_SOCK`, with a certificate of each role named by `--ssh`. So `ssh`,
//! `scp`, `rsync` and `git` over SSH log in as the role allows, for as long as the command runs: the certificate is asked
//! for when the first of them looks for keys, and another when a third of its life is left. Hosts need what
//! [`crate::engine::ssh`] says. A key never leaves the launcher, also where the role wants one brought.
//!
//! What it signs are logins by these certificates. Anything else (`ssh-keygen -Y sign`, commits, a login by another key) it
//! refuses, as it refuses to take keys in, to give them up or to be locked. A host to which it is forwarded (`ssh -A`) sees
//! the certificates and can use none; go through a host with `ssh -J`. `ssh-add -l` shows what there is, and fails where no
//! role gives a certificate; the launcher says why on standard error. With keys of your own besides, many servers stop
//! after six tries: `-o IdentityFile=none` or `IdentitiesOnly` with the certificate's file keep those out.
//!
//! # Keys for models
//!
//! Claude Code, in `settings.json`: `{"apiKeyHelper": "vault-agent api-key model-key"}`. It runs at the start, and then as
//! often as `CLAUDE_CODE_API_KEY_HELPER_TTL_MS` says. The value comes alone; one with a line break in it is not given,
//! since it becomes a header.
//!
//! OpenClaw and others that ask by JSON, in `openclaw.json`:
//!
//! ```text
//! "secrets": {"providers": {"nockvault": {
//!   "source": "exec", "command": "/usr/local/bin/vault-agent", "args": ["provide", "--id", "OPENAI_API_KEY=model-key"],
//!   "passEnv": ["HOME", "NOCKVAULT_AGENT_SOCKET", "NOCKVAULT_CARD", "NOCKVAULT_AGENT"]}}}
//! ```
//!
//! An id is a name that `--id` gives to `ROLE` or `ROLE:MEMBER`; where none is given, `ROLE` or `ROLE:MEMBER` itself, of
//! those that `--role` names, or of all. One id that cannot be had has an error of its own.
//!
//! # MCP: a model that asks for itself
//!
//! `vault-agent mcp` is a server of the Model Context Protocol on standard input and output. It holds the agent's key and
//! one session, and it offers three tools: `list_credentials`, `request_credential`, `release_credential`.
//!
//! ```text
//! claude mcp add nockvault -- vault-agent mcp --agent kit --role orders-read       # Claude Code
//!
//! [mcp_servers.nockvault]                                                          # Codex, ~/.codex/config.toml
//! command = "vault-agent"
//! args = ["mcp", "--agent", "kit", "--role", "orders-read"]
//!
//! {"mcpServers": {"nockvault": {                                                   # others: .mcp.json and the like
//!   "command": "vault-agent", "args": ["mcp", "--agent", "kit", "--role", "orders-read"]}}}
//! ```
//!
//! A client that hands on only some of its environment leaves `HOME` out at times; name `--vault` and `--key` then. Do
//! not put the key itself into the client's configuration.
//!
//! The model names a role and a purpose, which stands in the trail, and where the credential is to be put:
//!
//! | `deliver` | where it is | what the model is told |
//! |---|---|---|
//! | `file` | files of mode 0600 in a private folder in memory: the value; for PostgreSQL a service file; for SSH and TLS key and certificate | their paths, and the command line that uses them |
//! | `env` | a variable of one command at a time | a prefix, `vault-agent run --socket PATH --env NAME=ROLE -- COMMAND` |
//! | `proxy` | in requests alone, by the rules of `--proxy FILE` | a file of variables that lead to the proxy |
//!
//! What is held is prolonged, and its files follow. It goes with `release_credential`, when the client closes the pipe,
//! and on SIGTERM and SIGINT; a server that was killed leaves its session to the next start of the same agent.
//!
//! No answer holds a value: answers are put together from names, times, paths and refusals by a type that takes nothing
//! else, and a test has every kind of credential delivered in every way and looks for it, in eight writings, in each byte
//! that went to the client. A conversation is kept, sent to others and read by whoever tunes on it; what never was in it
//! need not be taken out. But files and variables are in reach of whatever the model may run as the same user: a command
//! that prints a file brings it into the conversation after all. What must not come there is for the proxy: a role that
//! the rules of `--proxy` name and `--role` does not is had in requests alone, neither by a tool nor from the socket. Or
//! let the client run commands as another user.
//!
//! What goes wrong is an answer that the model reads (`isError`), not an error of the protocol. Where a grant is missing
//! it says who can give it, with the command: `vaultctl grant kit orders-read --ttl 15m`.
//!
//! # HTTP with a secret that the command never has
//!
//! `vault-agent exec --proxy rules.toml -- COMMAND` puts secrets into requests on their way; `vault-agent proxy --rules
//! rules.toml` does it for programs that no launcher runs, and prints the variables that they need. `deploy/proxy.toml` is a
//! rules file to begin with. A role that only rules name is given to the command in no other way, also not by the socket.
//!
//! | in a `[[rule]]` | |
//! |---|---|
//! | `name` | a-z, 0-9 and `-`; part of the base URL, and of what refusals say |
//! | `role`, `params`, `ttl` | what is asked of the vault |
//! | `host`, `port` | one host, exactly; 443 where no port is given. It is spoken to by HTTP/1.1 over TLS, and by nothing else |
//! | `methods`, `paths` | what is allowed there: `"/v1/models"` is this path alone, `"/v1/files/*"` all below it |
//! | `header`, `value` | where the secret goes, `authorization` where it is left out, and as what: `"Bearer {}"`, where `{}` is the usual member of the secret (value, token, url or password) and `{name}` the one of that name |
//! | `basic` | in place of `value`: `{ username = "x-access-token", password = "{}" }`, as RFC 7617 has it |
//! | `variable`, `base` | the variable that gets the base URL, and the path that it ends in |
//! | `placeholders` | variables that get the word `held-by-vault-agent`, for clients that do not start without a key |
//! | `connect` | true: the host is reached through `HTTPS_PROXY` too |
//! | `websocket` | true: a change of protocol to WebSocket is allowed, without its extensions |
//! | `cookies` | true: `Set-Cookie` comes back. Left out, it does not: a cookie may be as good as the secret |
//! | `allow_private` | true: the name may lead to this machine or a private network |
//! | `ca` | PEM of the authority that signs the host's certificate, in place of the system's; beside the rules file |
//!
//! Beside the rules: `passthrough = ["host", "host:port"]`, tunnels that go on untouched, as TLS to that very name and to
//! public addresses; `passthrough_private`, the same where the name may lead to a private network.
//!
//! **A base URL** is `http://127.0.0.1:PORT/TOKEN/RULE` with what `base` says. It needs nothing of the client but that
//! variable, and no TLS is ended. A redirect within the host comes back as one within the base URL. **Through
//! `HTTPS_PROXY`** the TLS of the hosts of rules with `connect = true` is ended in the launcher, under an authority that it
//! makes at each start. Its key is gone before the first request, and its certificate speaks for those hosts alone. Clients
//! find it in `SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` and `GIT_SSL_CAINFO`, together with the system's or
//! with what these held before, and in `NODE_EXTRA_CA_CERTS` and `DENO_CERT`. Where no rule says `connect = true` there is
//! no authority. Java, Go on macOS and whoever pins certificates need a base URL. Node follows `HTTPS_PROXY` from 22.21 and
//! 24 on; `NODE_USE_ENV_PROXY` is set for it.
//!
//! Of several rules that allow a request the one of the base URL is used, else the first. What none allows is answered with
//! 403, says which rule was missing, and stands on the launcher's standard error. Paths that two servers could read in two
//! ways (`..`, `//`, `%2F`, `%5C`, `%25`, `%00`, bytes that are no UTF-8) are refused whatever the rules say. Answers of the
//! proxy's own carry `Proxy-Status: vault-agent; error=..` (RFC 9209); 503 says that the vault did not answer, 502 that the
//! host did not or that the secret does not fit.
//!
//! What the child sent in the secret's header is replaced. `Range`, `Accept-Encoding`, `Referer`, `X-HTTP-Method-Override`
//! and its kin, `X-Original-URL` and `X-Rewrite-URL` are not sent on: the host is asked for whole and plain answers, and one
//! that is compressed all the same is not passed on. In answers the secret is covered with `[redacted]` and stars, as long as
//! it was, as itself and as JSON, a URL, HTML, hex or base64 writes it; the last 32 secrets that were put in are. Trailers
//! and the text behind the status are dropped. A secret shorter than 8 bytes is not put in.
//!
//! A 401 of the host makes the next request ask the vault for another credential, at most once a minute; no request is sent
//! twice. Bounds: 256 connections, heads of 128 KiB and 128 headers, 75 s for a head, 30 s for a credential, 10 s for a
//! connection, 30 minutes until an answer begins, 10 minutes of silence within one. Bodies have no bound and are not kept.
//!
//! # NockGuard's `nockcc:` references
//!
//! `vault-agent exec --nockcc GITHUB_TOKEN=git-push -- nockguard ..` serves the address that they call, on a free port of
//! 127.0.0.1, and hands it to its child in `NOCKCC_BASE_URL` and `NOCKGUARD_VAULT_AGENT_TOKEN`. `nockcc:GITHUB_TOKEN` is then
//! the value of that role; a role that the launcher asks for goes by its own name too. The token is a bearer token, the only one in this house, since NockGuard has no other
//! way; it lives as long as the child, and whoever can read the child's environment can use it so long. A `Host` that is
//! not this machine's own name with this port, a body, another method, or a missing token is answered with 403.
//!
//! # The socket
//!
//! It lies in a folder of mode 0700 and has mode 0600. The kernel says which user is at the other end; another than the
//! launcher's and the child's gets nothing. That keeps other users out, and nobody of the same user: whatever runs as that
//! user and finds the path may ask for the roles that the launcher was started with.
//!
//! In tight mode (`--tight`) whoever asks shows a token of 32 random bytes too. The child inherits it in an open memory file, whose
//! number is in `NOCKVAULT_AGENT_TOKEN_FD`, and so does what the child starts, unless it closes files: Python's
//! `subprocess` does (`pass_fds` hands them on). The file can be read any number of times, by `/proc/self/fd/N`. A process
//! of the same user that may trace the child can take the token out of it; another user for the child (`--user`), or the
//! kernel's `ptrace_scope`, keeps it from that.
//!
//! A program may ask without vault-agent between. It connects, sends one line, reads one line:
//!
//! ```text
//! {"v":1,"do":"get","role":"orders-read","token":".."}
//! {"ok":{"exp":1780000000000,"kind":"kv","lease":"..","renewable":true,"role":"orders-read","secret":{"value":"..",..}}}
//! {"error":{"code":"no_grant","message":"..","limit":..,"now":..,"proven":true}}
//! ```
//!
//! | member | |
//! |---|---|
//! | `v` | 1 |
//! | `do` | `get`, `release` (gives `{"released":N}`), `list` (gives `{"leases":[..],"roles":[..]}`, without secrets; `roles` is null where any may be asked for) |
//! | `role`, `params`, `ttl`, `purpose` | as in a request to the vault; all but `role` may be left out |
//! | `fresh` | true for a new credential, whatever is held |
//! | `token` | in tight mode: what the inherited file holds, 43 characters |
//!
//! Times are milliseconds since the epoch, `ttl` is in seconds. A question has at most 64 KiB and 5 s to come; 64 are
//! answered at once, and others wait. Codes of an error are the vault's reasons, with `proven`, or one of `no_token`,
//! `other_user`, `bad_request`, `too_large`, `too_slow`, `unreachable`, `no_answer`, `untrusted`, `launcher`.
