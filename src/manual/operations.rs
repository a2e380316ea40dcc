//! Running a vault: what to keep, what to watch, what to do when something is lost.
//!
//! # What exists, and where it belongs
//!
//! | thing | secret? | keep it |
//! |---|---|---|
//! | what a custodian holds: a key file, a passphrase, shares, a token | yes | apart from the data directory, and apart from each other; a file of mode 0600 with a copy elsewhere. Without any of them the data cannot be opened |
//! | data directory | sealed, but private | on a local disk that honours sync; mode 0700 |
//! | operator key | yes | with its operator; one key a person |
//! | vault card | no | hand it to every agent, operator and auditor: it pins the vault |
//! | a chain's newest head, a receipt, a checkpoint | no | outside the vault's reach; each closes the history before it |
//!
//! # Starting
//!
//! `vaultd` refuses a configuration with an unknown member, a custody file that others can read, and a schema it does
//! not know. `vaultd check-config` says so without starting. At start the newest line of each chain is held against its
//! row; then, and once a day, all lines of all chains are inspected in the background, with a quarter of one core: each
//! against the leaf beside it, the line before it and the audit key. A chain that does not hold is quarantined, which the
//! log, `nockvault_chains_quarantined` and `vaultctl status` say; the others serve. What the entries mean is for an auditor:
//! export a chain and run `vault-verify`.
//!
//! # The daemon's own walls
//!
//! Before its first request `vaultd` takes from itself what it does not need of its machine; the log says at the start which
//! walls stand (`memory=locked files=enforced calls=68 refused`). Each comes off by a setting of `[host]`; with `"on"` the
//! daemon does not start without it.
//!
//! | wall | what it is | where it is missing |
//! |---|---|---|
//! | modes | files of the vault that others could read or write are refused, at the start and by `vaultd check-config`, each with the command that mends it; what a group may write is spoken of | |
//! | memory | no core file; no other process of the same user reads its memory | |
//! | `mlock` | memory is never written to swap | `LimitMEMLOCK=infinity` in the unit (it is in `deploy/`), `--ulimit memlock=-1` of a container, or the capability `IPC_LOCK`. Under a limit nothing is locked, since a later allocation would fail. Without it: no swap, or an encrypted one |
//! | `landlock` | what `vaultd.toml` names can be written; the root key's file can no longer be read; nothing can be run; no other TCP port can be listened on | Linux 5.13 with `landlock` among `lsm=`; a container's own seccomp profile must let its three calls through |
//! | `seccomp` | some 70 calls of the system fail, such as `ptrace`, `mount`, `execve`, `unshare`; `seccomp_kills = true` ends the daemon instead. The table is in `server::walls::calls` | x86-64 and ARM64 have filters here |
//!
//! What Landlock asks for: a folder of `[checkpoints] places` or `[audit] dir` that is a disk of its own is mounted before the
//! daemon starts (`RequiresMountsFor=`), and after it was mounted anew the daemon is started anew. Where `vaultd` runs as
//! root, or its root key lies under `/etc`, a `/etc/resolv.conf` that was replaced is read again only after a restart. A
//! certificate is found after its renewal when its folder does not hold the root key too. Custody that runs a program or
//! loads a library does so before the walls are raised, with all that the daemon's user may do.
//!
//! Under systemd the daemon says when it is ready, where it can be reached and when it stops, and that it lives
//! (`WatchdogSec=`). A sealed vault is ready in this sense: it waits for its operators.
//!
//! # The clock
//!
//! Requests are accepted within the skew, five minutes unless set otherwise. When the clock stands further than that
//! behind the newest entry, issuing stops with `clock_behind`. Mend the clock. Where entries lie in a false future:
//!
//! 1. set the machine's clock right, and see that it stays so;
//! 2. start `vaultd` anew: what it remembers of the false time goes with the process;
//! 3. `vaultctl clock reset`. It is signed like every command, and refused with `clock_good` where nothing lies ahead.
//!
//! Sessions that were opened and leases that were issued in the false future are taken back by it. Requests are good
//! again when the skew has passed once, as the command says. Each chain's next entry is `clock_reset`, and time falls there
//! and nowhere else. What was signed in the false future is a replay when that time truly comes: the vault reads its chains
//! for it in the background. An agent whose chain was not read yet is refused as `stale`, which takes no longer than the
//! skew unless it has millions of entries of that time.
//!
//! Keys that were replaced in the false future, of agents and of operators, are accepted for their overlap once more, from
//! the reset on; end one that must not be (`vaultctl agent end-key`, `vaultctl operator end`). Keys for tokens that were to
//! sign later sign at once. What was withdrawn stays withdrawn, before the reset too; a withdrawal that was to come, comes.
//!
//! A daemon that starts when half a year has passed since its keys were certified, by whatever clock, certifies them anew.
//! Where that was in the false future, clients that connected meanwhile refuse the vault after the cure: it shows a key "that
//! is older than one this agent has seen". Their message names the file to put aside, the agent's `.seen`. With it goes what
//! the agent has seen of its chain, so do it where the clock was the reason, and nowhere else.
//!
//! # The desk of an operator
//!
//! Several vaults are contexts, in `~/.config/nockvault/contexts.toml`: each a card, who commands there, and with which key.
//! `vaultctl init` makes one, `vaultctl context add CARD` another; `context use NAME` says which one commands go to, and
//! `context list`, `show`, `rename` and `remove` do what they say. A card that lies in the folder is a context too. What is
//! said for one command goes before that:
//!
//! | said | goes before |
//! |---|---|
//! | `--vault FILE`, `--operator NAME`, `--key FILE` | everything |
//! | `--context NAME` | the variables, all of them, and the current context |
//! | `NOCKVAULT_CARD` or `NOCKVAULT_CONTEXT`, `NOCKVAULT_OPERATOR`, `NOCKVAULT_OPERATOR_KEY` | the current context |
//! | `context use` | the only one that there is |
//!
//! vault-agent knows no contexts: it has a card and flags of its own.
//!
//! An operator's key is in `~/.config/nockvault/VAULT/OPERATOR.ed25519`, mode 0600, in one of three ways:
//!
//! - as it is, 64 digits of hex;
//! - behind a passphrase: `init --passphrase`, `keygen --operator NAME --passphrase`, or later `vaultctl key-passphrase`,
//!   which changes and removes it too. The file is then an `EncryptedPrivateKeyInfo` of PKCS #8 in PEM (PBES2: scrypt with
//!   N = 2^14, r = 8, p = 5, and AES-256-CBC), which openssl reads; one that openssl made with PBES2 is read, where a try
//!   takes at most 256 MiB. The passphrase is asked for on the terminal, or read from the file of mode 0600 that
//!   `NOCKVAULT_KEY_PASSPHRASE_FILE` names; it is never on a command line;
//! - in an ssh-agent, and in no file of ours: `init --operator-key-from-ssh-agent [KEY]`, or `keygen --operator NAME
//!   --from-ssh-agent [KEY]`. `OPERATOR.register` stands alone in the folder and says which key it is; each command is
//!   signed there, in the form `sshsig`, and with `ssh-add -c` a person says yes to each.
//!
//! `vaultctl completions bash|zsh|fish` and `vaultctl man --dir DIR` give shells and `man` what they need; vault-agent and
//! vaultd have the same two. Colors and progress are for terminals alone; `NO_COLOR`, `--color never` and `--quiet` turn
//! them off. Wherever a value is taken, `@FILE` is what is in a file and `-` (for `--set` and `--param`, `@-`) standard input.
//!
//! # A vault in git
//!
//! `vaultctl apply -f vault.toml` makes agents, roles and grants what a file says; what is so already is left alone. A vault
//! that was set up by hand moves into git with `vaultctl export > vault.toml`. `deploy/vault.toml` is an example with each
//! member explained; the tests apply it.
//!
//! ```toml
//! secrets = ["orders-db"]             # must be stored; values are never in the file
//! [agents.kit]
//! register = "kit.register"           # beside the file, of vaultctl keygen; left out where kit is registered
//! [roles.orders-read]
//! engine = "kv"
//! config = { secret = "orders-db" }   # or the name of a file; set.ca = "@ca.pem" puts the text of one in its place
//! [[grants]]
//! agent = "kit"
//! role = "orders-read"
//! ttl = "15m"                         # max_ttl, max_uses, until, session, from, rate: as vaultctl grant has them
//! ```
//!
//! The difference is printed before it is made: `+` made, `~` on other terms, `-` revoked, `?` there and not in the file.
//! `--dry-run` stops there. A mistake of the file is told with line and column, all of them at once, and whatever the vault
//! would refuse is found before anything is sent: a role that would work otherwise than the one there is, an agent under
//! another key, a secret that is missing, what the operator's duty does not allow; new roles are tried at their backends
//! (`--no-check` leaves that out).
//!
//! | ends with | means |
//! |---|---|
//! | 0 | the vault is as the file says |
//! | 1 | something on this side, a mistake in the file among it; nothing was sent. Or the connection broke off |
//! | 2 | the vault refused a command; what came before it stays |
//! | 3 | the vault is not as the file says: something differs (`--dry-run`), or waits for other operators |
//!
//! **What it does not do.** It never takes away by itself: `--prune` revokes grants that the file does not name, between agents
//! and roles that it does name, so that several files can share a vault; `--prune=all` revokes every other. More than ten at
//! once, or all by a file that names no grant, take `--yes`. It gives no agent another key, changes and deletes no role, and
//! thaws nothing: what was stopped in an emergency is let go by somebody who looked. Operators, their rules and custody have
//! no place in the file, since whoever may change a file that a pipeline applies would be an operator by that. A pipeline's
//! own operator is best a grantor of the roles in its file, and an auditor's key is enough for `--dry-run`.
//!
//! **Order.** Grants that go, go first: a run that is broken off has taken away too much rather than too little. Then agents,
//! roles, and grants. Other terms are a new grant: the old one is revoked with its leases, and the uses begin anew. Who wants
//! no gap where an agent moves from one role to another applies the new grant first, and takes the old one out later.
//!
//! **Broken off.** Every command is signed for itself, and names its set and which part of how many it is: `vaultctl audit
//! show _operators` says `part 3 of 5 of set ..`. Nothing is rolled back. Where a command is refused the run stops and says
//! what was done; the same command again finds what is left, and is a set of its own. Where a rule asks for several operators,
//! what waits and what needs it is left, and the rest goes on; approved, the same command again carries it out. Where new
//! terms would wait, so that the agent had no grant until then, nothing is sent without `--yes`.
//!
//! # Emergencies
//!
//! One command stops what must stop; it is durable and revokes what lives, the first part at once, the rest within seconds:
//!
//! | what | command | back again |
//! |---|---|---|
//! | an agent | `vaultctl freeze kit` | `vaultctl thaw kit` |
//! | a session of it | `vaultctl freeze --session kit/SID` | never: the agent opens another |
//! | a role, for everybody | `vaultctl freeze --role ROLE --reason "..."` | `vaultctl thaw --role ROLE` |
//! | everything | `vaultctl freeze --everything --reason "..."` | `vaultctl thaw --everything` |
//! | the vault itself | `vaultctl seal --reason "..."` | `vaultctl unseal` |
//! | everything, then the vault | `vaultctl lock-down --reason "..."`, which waits up to `--within` for the backends and says what was left | `vaultctl unseal`, then `vaultctl thaw --everything` |
//!
//! While everything is frozen, agents get `vault_frozen` for whatever they ask, and each such request is entered as refused;
//! operators go on, and backends are tried until they have taken every credential away. `vaultctl status` says whether
//! everything is frozen, `vaultctl role show` whether a role is. What was revoked stays so after a thaw.
//!
//! # Why, and will it last
//!
//! `vaultctl explain kit orders-read` says what would become of such a request now: each check by name, what was found
//! beside what it is held against, and for the first that says no the command that mends it. `--ttl`, `--param`, `--from`,
//! `--at`, `--session` say more of the request; `--probe` asks the backend too. `vaultctl grant ... --dry-run` says what a
//! grant would allow and what a request under it would get, `vaultctl revoke ... --dry-run` which leases would end. Nothing
//! of it is done: the transaction that would do it is carried through and undone. The checks are `registered`, `chain` (only
//! where it is set aside), `key`, `window`, `vault_thawed`, `agent_thawed`, `session`, `grant`, `role_thawed`, `grant_until`,
//! `session_name`, `address`, `ttl`, `session_time`, `uses`, `rate`, `engine`, `params`; then `backend_places` and `probe` for
//! a role of a backend, or `probe` and `secret_life` for one without; and `nonces`, `clock`, `sessions`, `leases`, `commit`.
//!
//! `vaultctl doctor` looks at all that decides whether the vault will be well tomorrow, and says what to do. It ends with 0
//! where all is ok or a warning, 1 where the vault could not be asked, 2 where something is bad; with `--strict` also for
//! warnings. Run it each day by a timer.
//!
//! | check | not well where |
//! |---|---|
//! | `card`, `operator_key`, `connection`, `clocks`, `versions` | the operator's side: no card, a key that others can read, no answer, clocks 30 s apart, two versions |
//! | `clock` | it is behind the newest entry by more than the skew |
//! | `disk`, `reserve`, `database` | less than 1 GiB free, or the disk was found full; no reserve; a log beyond 256 MiB |
//! | `files` | a file of the store is open to others |
//! | `custody`, `unsealed`, `by_custody` | there is only one way to the root key; custodians opened it by hand; custody made an operator |
//! | `backup` | none within seven days, as far as the newest 4096 commands tell |
//! | `quarantined`, `frozen`, `roles_frozen`, `restored` | a chain is set aside; something is frozen; this is a rehearsal |
//! | `stuck_leases` | a backend does not take a credential away |
//! | `checkpoints` | chains wait for twice as long as they should |
//! | `vault_certificates`, `tls`, `authorities` | one ends within 30 days, a stored value behind a role too; bad within one |
//! | `sinks`, `walls` | what carries the trail outside is behind; a wall of the daemon does not stand |
//! | `backends`, `roles_without_tls` | a role could not be served; a server is reached over a network without TLS |
//! | `operators`, `rules` | only one admin can act; a rule of several persons asks for more than there are |
//! | `operator_keys`, `agent_keys` | a key is older than a year |
//! | `agents_without_grants`, `grants_unused`, `grants_over` | nothing happened for 30 days; `until` has passed |
//! | `grants_endless` | never: how many have no `until` |
//! | `limits` | an agent has four fifths of the leases or sessions that it may have |
//!
//! # Backup and restore
//!
//! `vaultctl backup --file FILE` writes all that the vault keeps, at one instant, while it serves: its keys, chains,
//! agents, roles, grants and secrets, the certificate that agents know and its key. It is an operator's command and stands
//! in `_operators`. The file opens with what a custodian of that day holds, and with nothing else: `custody rotate` changes
//! no file that was made before it, and `custody add` and `remove` say only who opens later ones. So keep what one of them
//! holds for as long as the file, and not beside it; `vaultd.toml` is not in it and holds no secret. The daemon copies its database first, in one read that
//! holds up no writer, and needs as much room again in the data directory for that long; then it encrypts the copy on its
//! way out, at the pace of whoever takes it. What breaks off leaves no file of that name.
//!
//! A plan: one each day and after each large change, under a key of an operator that does nothing else (`deploy/` has a
//! timer), the file moved to another place, two weeks of them kept, and one restored as a rehearsal each quarter. What
//! lies between the newest backup and the loss is lost; `[audit] dir` and the other sinks carry the trail outside at once,
//! and so tell what it was.
//!
//! `vaultctl restore --file FILE --dir DIR --root-key KEY` makes a vault of it, offline, in a folder that is not there yet.
//! It verifies the whole file before it writes anything: that it is of the vault of the card, that the key opens it, that
//! every chain in it holds. Then:
//!
//! 1. Stop the vault that it replaces, for good. Two daemons out of one store sign under the same keys, and at their
//!    backends each takes away what the other has given.
//! 2. Put your settings into the new `vaultd.toml`, hand out the new card where addresses differ, start `vaultd`.
//! 3. Nothing is taken that was signed earlier than the start and the skew (`skew_s`) later, from agents and operators
//!    alike. Requests of before the backup, of the time that was lost and of the lost vault are refused as `stale` for ever.
//!    This rests on the clock: a machine whose clock is behind the lost vault's takes what that one took.
//! 4. Sessions and leases that the backup calls live are taken back, at their backends or by the published lists. What was
//!    given after the backup is found at backends that can list it, by the sweep, and taken away (`swept`). Certificates
//!    and tokens of that time stand in no list and live until they expire; the trail outside tells their handles.
//! 5. Do again what was done since, revocations first: a grant, a key or an agent that was taken away after the backup is
//!    back. The lost chain of `_operators`, as it was carried outside, names each such command. Agents can be kept out
//!    meanwhile by `vaultctl freeze --everything` as the first command.
//! 6. Each agent that had seen more than the backup holds is answered `restored`, signed. Its client stops there. Once its
//!    owner knows why, he accepts it (`Agent::accept_restore`): the old head is kept beside as `<agent>.seen.lost-<size>`.
//! 7. Begin an empty `[audit] dir`, and an empty folder in `[checkpoints] places`: files of the lost chains are evidence,
//!    and nothing is written over them. Tell witnesses the new names (`vaultctl keys export --witness`).
//!
//! Each chain says it itself: the next entry is `restore`, and its name ends with `~1` from there on, `~2` after the next
//! restore. Whoever restores one backup twice gives the second a higher `--number`; with the same number the two differ in
//! the salt of that entry, and a witness that has seen the one cosigns nothing of the other.
//!
//! To try a backup, `--rehearsal`: that vault serves, asks for nothing at any backend, and is none that could be kept. A
//! copy that was made in another way and is started beside production sweeps production's credentials away. Without
//! `--listen` and `--http` it takes free ports, and its card leads to them. No agent's own account talks to a rehearsal: its
//! client would remember the rehearsal's newer keys, and call the real vault's older from then on. Use another `HOME`, with
//! a copy of the agent's key; where it has happened, the client names the `.seen` file to put aside.
//!
//! A data directory that was copied while the daemon was stopped is no backup of this kind: started again it goes on as if
//! nothing had been lost, and refuses agents that have seen more as `history_mismatch`.
//!
//! # Limits
//!
//! Every limit of the configuration stands in it with its unit, its default and its range. Others are fixed:
//!
//! | what | how much |
//! |---|---|
//! | requests with one role's backend at once; waiting for that; the next is refused with `engine_unavailable` | 16; 48 |
//! | revocations at one role's backend at once | 8 |
//! | leases ended in one transaction by time; by a command | 200; 100 at once, then 200 |
//! | connections of the vault to one PostgreSQL database, as one role | 8 |
//! | a stored value; a stored secret's versions | 1 MiB less 48 bytes; kept for ever |
//! | rows of leases | kept for ever |
//! | a published list is made at most once in; the public key directory | 5 s; 60 s |
//! | a key directory | good for an hour; 64 MiB, some 200,000 keys |
//! | streams of health (`Watch`) and reflection, at agents' listeners together and at each of operators; of one address | 64; 8 |
//! | such a stream; reflection | 5 minutes, then `UNAVAILABLE`, and a client asks anew; `request_timeout_s` |
//! | requests for health in hand on one connection | 16 |
//! | what was answered to health, reflection or `DescribeVault` and is not taken | its connection is closed 5 s after its time |
//!
//! **So that nobody starves another.** Who is over one of these is told when to come again (`rate_limited`, `retry_after_ms`),
//! and served after it: limits delay and lock nobody out, the longest wait is five seconds. Clients wait by themselves, up to
//! ten seconds.
//!
//! | what | for whom | when it is counted |
//! |---|---|---|
//! | `peer_connections_per_s`, `connections_per_peer` | an address (IPv6: a /64; a unix socket: a uid) | before a handshake; one more is closed |
//! | `peer_requests_per_s`, `concurrent_requests_per_peer` | the same; a bad signature costs as much as ten requests | before a message is read |
//! | `agent_requests_per_s`, `concurrent_requests_per_agent` | an agent, all its sessions together | after its signature |
//! | half of a role's places | an agent, at one role's backend | before the backend is asked |
//! | `sessions_per_agent`, `leases_per_agent` | an agent | in the transaction |
//!
//! A fleet behind one NAT is one address. The defaults are made for two thousand agents behind it that start at once, and
//! one request a second of each afterwards; for more, raise `peer_*`. Of one address, connections on which a signature was
//! verified are counted apart from the others, so that a stranger beside a fleet holds up only who comes anew. Many programs
//! under one agent's key share its limits: give each its own agent.
//!
//! What anyone may ask without a signature is bounded apart, so that a stranger who asks and reads nothing holds little: see the
//! table of what is fixed. One stream more is refused with `busy` or `rate_limited`. `Check` of health, which load balancers and
//! `grpc_health_probe` use, takes none of these places and is always answered; a fleet behind one address checks, and does
//! not watch.
//!
//! Operators have listeners with places of their own, the port and the socket each. On the same machine no rate is counted for
//! them, and on the unix socket nothing is: freezing from there works while everything else is flooded.
//!
//! What was refused unread leaves no entry in an agent's chain; it is counted in `_vault` (`refused`) and in
//! `nockvault_refusals_total`.
//!
//! # Health
//!
//! | | 200 | 503 |
//! |---|---|---|
//! | `/healthz` | the process lives: `serving`, `stopping`, `sealed` | `failed` |
//! | `/readyz` | requests of agents are served | `sealed`, `stopping`, `failed`, `clock_behind`, `disk_full`, `quarantined`, `stale` |
//!
//! gRPC's health says the same as `/readyz` to agents. To operators it says NOT_SERVING only while the vault is sealed, stops
//! or has failed, since a clock and a disk are theirs to mend.
//!
//! # Alerts
//!
//! `deploy/alerts.yml` has the rules, `deploy/grafana/nockvault.json` a dashboard. Prometheus scrapes `/metrics` under the job
//! `nockvault`. No agent's name and no address stands there.
//!
//! | alert | what it means | what to do |
//! |---|---|---|
//! | `NockVaultDown` | it is stopped, cannot be reached, or ended by itself since its disk failed or its database stayed locked for a minute | the log; mend what it names; start it |
//! | `NockVaultNotReady` | `/readyz` says `stopping`, `failed`, `clock_behind`, `disk_full`, `quarantined`: `_vault` or `_operators` does not verify; `stale`: the window after a restore or a reset of the clock | what the word says; `quarantined`: "What to watch" |
//! | `NockVaultSealed` | the vault holds no key | `vaultctl unseal`, once it is known who sealed it and why |
//! | `NockVaultMadeByCustody` | custody made an operator, and no operator did | ask the custodians; where they know nothing of it, `vaultctl operator end NAME` and change custody |
//! | `NockVaultLeasesStuck` | ended leases wait for a backend | "Leases that do not end" |
//! | `NockVaultLeasesStuckGrowing` | ever more of them | mend the backend, or take its grants back |
//! | `NockVaultRevocationOverdue` | one of them is over for a quarter of an hour | its handle is its name at the backend: end it there by hand |
//! | `NockVaultChainQuarantined` | a chain does not verify | copy the data directory; then compare with what is kept outside |
//! | `NockVaultHistoryMismatch` | an agent has seen what the vault does not have | keep its head as evidence |
//! | `NockVaultHistoryContradicted` | a place outside has another history | copy both |
//! | `NockVaultCheckpointsStale` | a chain has gone without its checkpoint | the log: disk or clock |
//! | `NockVaultSinkFailing` | a sink fails | the log names the reason; nothing is lost |
//! | `NockVaultSinkLags` | a sink is slower than the vault | the receiver |
//! | `NockVaultAuditUnavailable` | nothing can be entered, so nothing is issued | the disk |
//! | `NockVaultClockBehind` | the clock is behind the history | "The clock" |
//! | `NockVaultClockSkew` | clocks of agents differ from the vault's | the one that is wrong: all agents differ, or one |
//! | `NockVaultDiskLow` | less than 1 GB is free | make room |
//! | `NockVaultDiskFull` | nothing is issued | make room; it goes on by itself |
//! | `NockVaultCertificateEnds` | a certificate ends within three weeks | `of` says which: `tls`, `tls_ca`: replace the files and start again; `x509_ca`: a new authority; the others: start again |
//! | `NockVaultAuditKeyEnds` | the daily key was not replaced | disk and clock; after it nothing is issued |
//! | `NockVaultEngineUnavailable` | a backend cannot be reached | `vaultctl role check ROLE` |
//! | `NockVaultEngineRefused` | a backend says no | `vaultctl role check ROLE` |
//! | `NockVaultSignatureFailures` | requests that no registered key signed | an agent whose key was ended, or somebody tries: `[log] level = "info,nockvault=debug"` names addresses |
//! | `NockVaultRateLimited` | requests are told to wait, for minutes | find the program that hammers, or raise the limit |
//! | `NockVaultConnectionsTurnedAway` | connections are closed at once | `why`: `full`, `share`, `rate`; raise the limit, or keep the address out |
//!
//! # What to watch
//!
//! - `history_mismatch`: an agent holds a history that is not the vault's. An alarm, never routine.
//! - A quarantined chain. Its agent gets nothing, and what it holds at backends is left to the sweep. Where it is `_vault` or
//!   `_operators`, nobody gets anything. With `_vault` set aside what was given still expires, and operators still freeze,
//!   revoke, take back grants, end keys and read; with `_operators`, no command is carried out. Restore a backup.
//! - A mirror that is written aside (`nockvault_sink_set_aside_total`), or several agents with `history_mismatch` at once: the store may be that of an
//!   earlier moment. A database that is damaged is noticed by itself; where its log (`vault.db-wal`) is, SQLite reads it up to
//!   the damage, and all that came later is gone, whole: what was issued, and what was taken back. Treat it as a restore.
//! - Leases that are stuck, and more of them.
//! - `engine_unavailable` and `engine_refused`: agents go without what a backend should give.
//! - Refusals by reason in `_vault`: a rise of `unauthenticated` is somebody trying.
//! - `swept` in `_vault`: a credential was found that no lease answered for. After a restore or a `--force` it is
//!   expected, and otherwise not.
//!
//! Rules for all of these but the last two stand in `deploy/alerts.yml`.
//!
//! # An agent's key in an ssh-agent
//!
//! The key need lie in no file that the agent's program could read. Where an ssh-agent has it:
//!
//! ```text
//! ssh-keygen -q -t ed25519 -N '' -C kit -f kit && ssh-add kit && rm kit
//! vaultctl keygen --agent kit --from-ssh-agent kit        # writes kit.register alone, signed by the ssh-agent
//! vaultctl agent register kit.register
//! ```
//!
//! From then on whatever looks for kit's key and finds `kit.register` without a `kit.ed25519` asks the ssh-agent that
//! `SSH_AUTH_SOCK` names for each signature. The key signs in the form `sshsig`, for ever: one that was registered from a
//! file cannot be moved into an ssh-agent, but the agent's next key can be one there (`--follows kit.register
//! --from-ssh-agent`, then `vaultctl agent rotate`). Each signature is held against the key before it is used.
//!
//! | at the ssh-agent | what follows |
//! |---|---|
//! | `ssh-add -c` | somebody says yes to each request of the agent's; a request waits for it for 60 s. For people at a desk, not for fleets |
//! | `ssh-add -t 8h` | after that time requests fail, and say that the key is gone |
//! | `ssh-add -x` | the same, until `ssh-add -X` |
//! | `ssh-add -h` | refused: a key constrained to hosts signs logins there and nothing else |
//! | a key on a security key (`sk-`), an RSA or ECDSA key, a certificate | refused at enrolment |
//!
//! An ssh-agent asks nobody who is calling but for its user id. A program of the same user that finds the socket can have
//! the key sign too, while the ssh-agent runs, though it cannot take the key away. So the agent's program should run as
//! another user, or the ssh-agent ask first.
//!
//! # Keeping a command from the key that it is given credentials with
//!
//! A command that `vault-agent exec` runs as its own user can read what that user can read: a key file too. The launcher
//! says so when it starts, and what to do:
//!
//! | way | what it does | what is left |
//! |---|---|---|
//! | `--user NAME` | the command is another user, and can neither read the file nor reach the launcher | needs a launcher that may change users |
//! | a key in an ssh-agent | the key is in no file; `SSH_AUTH_SOCK` is taken from the command | the same user can look for the socket and have it sign, unless it asks first |
//! | `--landlock` | the kernel refuses to read files with keys, to the command and all that it starts | below |
//!
//! Landlock (Linux 5.13) needs no privilege. Closed are the folders of agents' keys, ours and NockGuard's, the folders of
//! operators' keys in `~/.config/nockvault`, the key file that is used, and each `*.ed25519` beside it and in the folder
//! where the launcher was started. What is given up besides, since the kernel can only be told what is allowed:
//!
//! - What the command makes right in a folder on the way to one that is closed (`/`, `/home`, `~`, `~/.config`, or the
//!   folder of the key file) it cannot read again. In every folder beside the way it can: work in a project's folder.
//! - `sudo` and `su` gain nothing, nothing can be mounted, and no process outside can be debugged.
//! - Programs that read files for others without asking who wants to know (`systemd-run --user`, `at`, a container daemon)
//!   are not held. Nor is root, who can read the disk.
//!
//! Where the kernel has no Landlock, the launcher says so and runs the command all the same.
//!
//! # Beside NockGuard
//!
//! One auditor's tool reads both: `vault-verify --format nockguard --agent-key kit.pub kit.audit.jsonl` verifies a trail
//! of NockGuard's with the checkpoint that stands beside it, `.hwm`. `--nockguard-pub` is for the Ed25519 key of a whole
//! installation, under which the agents' names are its holder's word, and `--nockguard-key` for the older HMAC key: with
//! that a trail is tamper-evident and attributable to nobody, since who checks it can write it. Several keys and many
//! files may be given; one key has to have signed the whole of a trail.
//!
//! An agent that has a key of its own with NockGuard can keep it: `vaultctl keygen --from-nockguard kit` makes a register
//! statement with the key in `NOCKGUARD_AGENT_KIT_ED25519_KEY` or, where that is not set, in
//! `~/.nockguard/keys/kit.ed25519`. The key is not copied; clients look in the same two places after their own. A file or
//! folder that NockGuard would not trust (a link, another's, open to others) is refused, and nothing else is taken in its
//! place. An agent that signs with the installation's key has none of its own and gets no secret:
//! `nockguard keygen --agent NAME` or `vaultctl keygen --agent NAME` makes one, then `vaultctl agent register`.
//!
//! One key may do both, since no message is a message of both. The vault's begin with `DSSEv1 ` (or `SSHSIG`), which no
//! JSON does; NockGuard's begin with `{`, `nockguard-hwm-v1` or `nockguard-export-v1`. So a row shown to the vault is no
//! request, and a request in a trail is no row. What one key for both costs: it is in two programs' hands, and whoever
//! takes it signs as both; NockGuard has no rotation, so after `vaultctl agent end-key` the trail needs a new key too.
//!
//! `vault-agent exec --nockguard-trail` (and `mcp`) appends a row for each request to the agent's own trail,
//! `~/.nockguard/logs/AGENT.audit.jsonl` or the file that is named, as NockGuard's proxy does for tool calls; so
//! `nockguard verify --agent kit` covers credentials too. Both may write at once: each holds the file's lock while it does.
//! It is all or nothing: a credential whose row cannot be written is given back and not used. Rows are signed with the
//! key itself, so a key in an ssh-agent cannot write them, and that is said at the start.
//!
//! | the trail | what the launcher does |
//! |---|---|
//! | does not verify under the agent's key: edited, cut, without its `.hwm`, another key's | does not start; while it runs, issues nothing more |
//! | ends in a row that broke off, lacks a last LF, has rows beyond `.hwm` (a crash) | mends it; a row says how much was cut |
//! | was moved aside with its `.hwm` | begins a new one |
//! | was moved aside without its `.hwm`, or the agent's key was replaced | refuses: move both aside |
//! | is a link, another user's, or can be written by others | refuses |
//! | is locked by another for more than 5 s | refuses that request |
//!
//! # Other stacks
//!
//! Over a unix socket some gRPC stacks send the socket's path as the name of the host, which HTTP/2 does not take; set
//! the channel's authority to `localhost` (in Python: `grpc.default_authority`).
