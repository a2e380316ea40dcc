//! Who opens a vault, and who commands it: sealing, custody of the root key, operators and their duties, and what to do
//! when a key is lost or taken.
//!
//! # Sealing
//!
//! `vaultctl seal` takes every key out of the daemon's memory: for the time in which a machine is moved, a host is searched,
//! or nobody is sure any more. The command is signed and stands in `_operators`. Requests in hand get `drain_s`; then no key is
//! left, which the daemon sees for itself: where something still held one, it says so and ends, so that whatever supervises
//! it starts it anew, sealed. The answer comes when that is done, within `drain_s` and some seconds; keep `drain_s` below
//! `request_timeout_s`, or the command may end without an answer, and be carried out.
//!
//! While it is sealed, every request is answered `sealed`, unsigned, since there is no key to sign with; launchers and
//! clients wait and ask again. `/healthz` says `sealed` with 200, `/readyz` 503, `nockvault_sealed` is 1, gRPC health is
//! `NOT_SERVING`, and `vaultctl status` ends with 2. Listeners and connections stay. Nothing is revoked: what lives at a
//! backend lives on, until it expires there or the vault is unsealed and takes it back.
//!
//! `vaultctl unseal`, on the vault's machine and over the operators' unix socket alone, opens it again with what a custodian
//! holds: `--root-key FILE`, `--custody-command PROGRAM`, a passphrase or shares that it asks for at the terminal. Several people
//! give one share each, from terminals of their own; `vaultctl status` says which are there. They wait 15 minutes for the
//! next, `--reset` withdraws them, and a share that is mistyped, of another set or there twice is refused and loses nothing.
//! A wrong secret costs a second and nothing else. A vault that was sealed by command starts sealed after a restart
//! too, also where its custody would open by itself: a file `sealed` in the data directory says so. Whoever may write there
//! can remove it; it binds supervisors and mistakes, not one who holds the directory and the root key.
//!
//! `--passphrase-file`, `--share-file` and `--pkcs11-module` give the same without a terminal; what systemd decrypts is given by
//! `--custody-command systemd-creds decrypt FILE -`.
//!
//! # Custody of the root key
//!
//! `vaultctl init --custody KIND`, or the options of one kind alone, say who can get at the root key, and `vaultctl custody add`, `remove` and `list` change and
//! show it while the vault serves: a `file`, a `passphrase`, `shares` (`--shares N --threshold K`), a systemd `credential`, a
//! `command` that prints 32 bytes, a `pkcs11` token. Have two, whose secrets lie apart: losing one is then not the end. A new
//! custodian's secret is drawn or typed where the command is typed, and only its public key is sent.
//!
//! To migrate, add the new one, put the line that is printed then into `[vault] custody`, restart, and remove the old one; or
//! leave the restart for later, since a daemon that serves needs none of them. The configuration names the one by which the
//! daemon opens by itself, `{ unseal = true }` for none.
//!
//! Whoever leaves with a secret is put out by `custody remove`, or by `remove` and `add` of the same kind: each draws a new
//! root key. `custody rotate` draws one without changing anybody. A copy of the database of before still opens with a secret
//! of before; `vaultctl key rotate data` sees that what is stored from then on does not.
//!
//! # Several operators
//!
//! The first operator is an admin. `vaultctl keygen --operator mara`, where mara sits, makes a key and says where its register
//! statement is; an admin types `vaultctl operator add mara.register --duty DUTY`:
//!
//! | duty | may |
//! |---|---|
//! | `admin` | everything |
//! | `grantor --role R ..` | give and take back grants of these roles, register new agents |
//! | `auditor` | read |
//! | `responder` | freeze, revoke, end agents' keys, seal; nothing that gives back, so no `thaw` |
//!
//! All read, and each puts its own next key in place (`operator rotate`). `operator duty` and `operator end` count with the next
//! command. The last admin cannot be ended or demoted: keep two admins, whose keys lie apart. Where no admin has a key any
//! more, custody makes one ("When no admin is left").
//! `tests/authorization/table.txt` is the whole table, every call by every duty.
//!
//! # Rules of several persons
//!
//! `vaultctl policy set grant_create=2` says that a grant takes two operators: the one who gives the command, and another who
//! wants it too, whose duty allows it. Rules are by kind of command, 2 to 9; `policy show` has them, `policy set --none` lifts
//! them, and each set replaces the one before. A good beginning is `grant_create=2 role_create=2`, with three admins.
//!
//! | who | types | and then |
//! |---|---|---|
//! | ada | `vaultctl grant kit orders-read --ttl 15m` | it ends with 3: it waits, by a name that is the digest of what she signed |
//! | mara | `vaultctl approvals list`, `approvals show ID` | what waits, read out of the signed bytes themselves |
//! | mara | `vaultctl approve ID` | her approval stands in `_operators` |
//! | ada | the same command again | it is carried out, and its entry names mara |
//!
//! With `--wait-approval` ada's command waits and goes on by itself; Ctrl-C stops that, and leaves what waits at the vault.
//! `custody add` needs it, since it draws another secret each time, and so do times like `--suspect-from 6h`. `vaultctl withdraw
//! ID` takes back what waits: one's own, or as an admin anybody's. It waits a day, or as `--wait` says. An approval counts once,
//! for this giver and this very wish, as long as whoever gave it is in force, by a key that was not ended. One operator has fifty
//! waiting at most, and none once he is out.
//!
//! Whoever could lift a rule alone would be bound by none. So while there is any, the rules, operators (`operator add`, `duty`) and
//! custodians (`custody add`, `remove`) take as many as the strictest rule, and a further key of an agent as many as a grant. What
//! is for emergencies takes one: freezing, revoking, sealing, ending keys; unless it is ruled itself. Some kinds cannot be ruled,
//! and the refusal says why: of a stored value the other could not read what he approves.
//!
//! Keep one admin more than the strictest rule asks for. Ending keys is never held up by a rule of another kind, so there can be
//! fewer admins than it takes to change anything of this; `vaultctl doctor` and `policy show` say so, and custody of the root key
//! is the way out. Whoever has the root key and the database is bound by no rule.
//!
//! # When a key is lost or taken
//!
//! | key | what a thief can do | what to do |
//! |---|---|---|
//! | an agent's | sign as that agent, within its live grants | `vaultctl agent end-key NAME`, which ends every key and every lease of it, then a successor: `vaultctl keygen --agent NAME --follows KID/KVER --dir next` where it runs, and `vaultctl agent rotate NAME next/NAME.register` (`vaultctl agent rotate NAME` fills in KID and KVER) |
//! | an operator's | command, visibly: each command stands in `_operators` under that key | `vaultctl operator end NAME`, by another admin, and go through its commands there |
//! | every admin's, lost | nothing | "When no admin is left" |
//! | audit key of an epoch | forge entries from now until the epoch's end, not backwards | restart: a new epoch has a new key |
//! | identity key | certify keys of his own | a new vault, and new cards |
//! | the key for tokens | sign tokens, until verifiers have its withdrawal | `vaultctl key rotate jwt --now --withdraw`; the tokens it signed are refused then, and new ones are asked for |
//! | a data key | open what it seals in the database, and cover rows that he writes there | `vaultctl key rotate data`, and every stored secret changed at its source |
//! | root key | open the database, if he has it too | a new root key, and every stored secret changed at its source |
//!
//! # When no admin is left
//!
//! Whoever can open the vault can have an admin made in it, and nobody else can. On the vault's machine, with the vault
//! unsealed:
//!
//! ```text
//! vaultctl keygen --operator mara-2                  where mara sits; a name that no operator had
//! vaultctl recover mara-2.register                   asks for the passphrase or the shares, as vaultctl unseal does
//! vaultctl operator end mara                         as mara-2: the lost keys
//! ```
//!
//! `recover` takes what `unseal` takes: `--root-key`, `--custody-command`, `--passphrase-file`, `--share-file`, a token, or
//! prompts. Several people give one share each from terminals of their own, every one with the same statement; each sees the
//! key id that he gives it for, and should have heard it from whoever made the key. Shares wait 15 minutes and go together for
//! that statement alone; `--reset` withdraws them, and so does sealing. What somebody gave to unseal, or for another
//! statement, is worth nothing here.
//!
//! It is an operator with a new name and the duty `admin`; nothing of the others changes, and the lost keys are in force until
//! they are ended. No rule of several persons holds for it: the custodians are those persons. Where rules ask for two admins,
//! have two made.
//!
//! It is loud. `_operators` says `custody_operator`, with the custodian and the indexes of the shares, and every verifier
//! repeats it; the log warns; `vaultctl doctor` names it for 30 days (`by_custody`); `NockVaultMadeByCustody` fires. So an admin
//! who is there, and did not know of it, learns of it, and a custodian who misused what he holds is named by what he gave.
//!
//! # Data keys
//!
//! `vaultctl key rotate data` makes the next data key; nothing stands still. Everything new is sealed under it, and what the
//! older keys seal or cover is verified and sealed anew in the background, some hundred rows at a time, with pauses for
//! requests in between. `vaultctl key rotation` (`--wait`), `vaultctl status`, `nockvault_data_keys` and
//! `nockvault_data_key_rows_left` show how far it is. Then the old key is deleted: a database that was stolen before, and a
//! root key stolen after, open nothing that was written since. A daemon that is stopped in the middle goes on at its next
//! start.
//!
//! Rows of a chain that is set aside, and rows that do not verify, are left as they are, and keep their data key: the log
//! says how many, and `vaultctl status` which chains. Old backups keep the keys of their time.
//!
//! # An agent's next key
//!
//! Keys of agents have numbers, and each follows the one before. For an overlap (`key_overlap_s`, 7 days) the old key is
//! accepted beside the new one, so that a fleet can change over. While the clock is behind the history, no agent brings a
//! next key itself (`clock_behind`).
//!
//! | where | what |
//! |---|---|
//! | where the agent's key is | `vaultctl agent rotate kit --agent-key kit.ed25519`: the old and the new key sign, no operator is needed. The new key takes the old one's name, the old one stays as `kit.1.ed25519` until the overlap is over. Broken off at any step, the same command goes on with the same key |
//! | in the agent's own program | `Session::rotate_key` of the client |
//! | where the old key is lost, or a human decides | `vaultctl agent rotate kit` says what to type: `vaultctl keygen --agent kit --follows KID/KVER --dir next` where the agent runs, and `vaultctl agent rotate kit next/kit.register` |
//! | to retire or revoke one | `vaultctl agent end-key kit --kid KID`: from now on it is refused, overlap or not |
//! | to end a compromise | `vaultctl agent end-key kit --suspect-from 6h`: every key and every lease |
//!
//! What a key signed while it was good verifies for ever with that key: the chain carries the history, and `vault-verify
//! --agent-key` holds it against keys that are known from elsewhere. The end of a key is when it was said, and never
//! earlier. `--suspect-from` changes nothing that happened; reports name the key and the stretch of time to doubt.
//!
//! An agent whose key nobody registered gets one answer from the vault, `unauthenticated`, as does anybody else; the
//! client adds how to enrol.
