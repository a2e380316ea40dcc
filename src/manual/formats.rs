//! The formats, version 1: the bytes that must not drift. What is signed, sealed, chained and stored is said here, and
//! every language that speaks to a vault follows this page.
//!
//! # Notation
//!
//! - Binary values in JSON are base64url without padding, and canonical: decode, encode again, compare.
//! - Times are integers, milliseconds since the Unix epoch. Durations are integers, seconds. Every integer is below
//!   2^53.
//! - `H` is SHA-256. `||` joins bytes. `JCS` is RFC 8785. `0x00` in a formula is one byte.
//!
//! A client in a new language is right when it runs `tests/vectors/requests/`: every statement of agents as the bytes that
//! are signed, and conversations with what must come of each answer.
//!
//! # 1. The signed envelope
//!
//! ```text
//! PAE(T,P)  = "DSSEv1" SP dec(len T) SP T SP dec(len P) SP P       (DSSE 1.0.2; lengths in bytes, in decimal)
//! signature = Ed25519 (pure, RFC 8032) over PAE(T,P)
//! ```
//!
//! `T` is the payload type and `P` the payload. On the wire:
//!
//! ```text
//! SignedEnvelope { string payload_type = 1; bytes payload = 2; bytes signature = 3; string kid = 4; }
//! ```
//!
//! The payload is JCS JSON, at most 8 KiB from an agent and 64 KiB from an operator. It travels as opaque bytes and is
//! verified exactly as received. Protobuf has no canonical form, so none is ever signed. The `kid` beside the payload
//! is a hint for the look-up and nothing more. No unsigned field, header or metadata may widen what is allowed; a
//! peer's address may only narrow it.
//!
//! | payload type | signer |
//! |---|---|
//! | `application/vnd.nockvault.request.v1+json` | an agent, to the vault |
//! | `application/vnd.nockvault.command.v1+json` | an operator, to the vault |
//! | `application/vnd.nockvault.response.v1+json` | the vault, to either |
//! | `application/vnd.nockvault.register.v1+json` | the holder of a key, as proof that he holds it |
//! | `application/vnd.nockvault.cert.v1+json` | the vault's identity key, over the vault's other keys |
//! | `application/vnd.nockvault.audit.v1+json` | the vault, an audit entry |
//!
//! Inside another object an envelope is `{"payload":{...},"sig"}`. The payload stands there as the JSON object itself;
//! its JCS gives back the signed bytes, and `T` follows from its `typ`.
//!
//! ## One key, one role
//!
//! Identity, response, audit, checkpoint, intake, JWT and CA keys all differ. Each but the identity key carries a
//! certificate that the identity key signs:
//!
//! ```text
//! {"aud","epoch","exp","kid","nbf","node","pk","role","typ":"nockvault/cert","v":1}
//! ```
//!
//! A stolen identity key is caught only by `seen`, by receipts and by checkpoints. To change it means a new vault.
//!
//! ## Admission of a payload
//!
//! Before any member is believed, a payload is:
//!
//! 1. valid UTF-8;
//! 2. without a duplicate member at any depth;
//! 3. without a float, and without an integer at or above 2^53;
//! 4. at most 8 deep (a line of an audit chain: 16);
//! 5. of member names in `[a-z][a-z0-9_]*` everywhere, in `params` too, so that JCS is the sorted compact JSON of any
//!    standard library;
//! 6. equal, byte for byte, to JCS of what it parses to;
//! 7. of exactly the members of its schema.
//!
//! The schemas are made from the Rust types and published under `proto/schema/`.
//!
//! ## Evolution
//!
//! The vault is strict for each (`typ`, `v`) that it knows. A new member means `v` + 1, and `DescribeVault` lists what
//! is accepted. A client ignores members of the vault's statements that it does not know, unless `crit` names them. A
//! verifier that meets an unknown kind or `v` goes on checking the chain, reports "not understood" and exits with 1.
//!
//! ## Keys
//!
//! - A key is registered only if it is canonical, not weak and free of torsion: `p.compress() == bytes && !vk.is_weak()
//!   && p.is_torsion_free()`.
//! - Signatures are checked with `verify_strict`, one by one. The batch API answers otherwise on edge cases and is
//!   never used.
//! - `kid` is the RFC 7638 thumbprint. `kver` counts a holder's keys from 1. A `kid` is unique in a vault for ever,
//!   across agents and operators, and names are never used again.
//! - `form` is fixed at registration and never read from an envelope. `pae` is as above. `sshsig` is SSHSIG with the
//!   namespace `T`, the message `PAE(T,P)` and the hash sha512: the envelope's `signature` is the raw 64 bytes and the
//!   preamble is built anew by the verifier. It is what an ssh-agent signs when it is asked (SIGN_REQUEST, flags 0) for a
//!   signature over that preamble. Keys of hardware tokens (`sk-`) are refused: they sign other bytes.
//!
//! The payload of a registration, signed by the very key that it brings (no key enters without one):
//!
//! ```text
//! {"agent"|"operator","aud","form","iat","kid","kver","nonce","pk","prev","typ":"nockvault/register","v":1}
//! ```
//!
//! `prev` is the `kid` that it follows, or `""`. The window and the nonce (steps 7 and 8 of the order of checks) do not
//! apply to it: its `iat` is at most 30 days old, and a known `kid` is refused.
//!
//! ## Names
//!
//! | name | grammar |
//! |---|---|
//! | agent, operator, vault | `[a-z0-9][a-z0-9.-]{0,62}` |
//! | role | segments `[a-z0-9][a-z0-9._-]*` joined by single `/`, at most 128 bytes |
//! | `sid` | `[A-Za-z0-9][A-Za-z0-9._-]{0,127}` |
//! | lease | a UUIDv7 |
//! | `aud`, the vault's id | `"nv1:"` and the thumbprint of its identity key |
//! | secret, and so authority | segments `[a-z0-9][a-z0-9._-]*` joined by single `/`, at most 128 bytes |
//! | handle, at the far side | `nv_<agent, cut>_<lease>`, at most 63 bytes |
//!
//! A handle is the public name of a credential: a role in PostgreSQL, the key id of an SSH certificate, the common name
//! of an X.509 one. The agent's name is cut at 33 bytes. The lease is its 128 bits as 26 digits of Crockford's base 32
//! in lower case (`0123456789abcdefghjkmnpqrstvwxyz`), the highest first, so that handles of an agent sort by time.
//!
//! Names are compared as bytes and nothing is normalised. Two agents may not share the name that remains when `.` and
//! `-` become `_`. A `sid` belongs to its agent: sessions are keyed by (agent, `sid`), and clients add a random suffix.
//!
//! # 2. Requests and commands
//!
//! Members that every request of an agent has: `v`, `typ`, `aud`, `agent`, `kid`, `kver`, `sid`, `nonce` (16 to 32
//! random bytes), `iat`, `seen`.
//!
//! | `typ` | further members | call |
//! |---|---|---|
//! | `nockvault/hello` | `seal` | `OpenSession`: optional; learn head, limits and time before the first need |
//! | `nockvault/issue` | `role`; `ttl`, where 0 is the grant's default; `params`, an object; `purpose`, text of at most 256 bytes; `seal` | `RequestCredential` |
//! | `nockvault/renew` | `lease`, `ttl` | `RenewLease` |
//! | `nockvault/release` | `lease`, or `req` when the reply was lost | `ReleaseLease` |
//! | `nockvault/close` | none | `CloseSession`: releases all that the session holds |
//! | `nockvault/rotate_key` | `new`, a register envelope | `RotateKey`: only by the newest `kver`, to exactly `kver` + 1, compare and set |
//!
//! ## `seal`
//!
//! ```text
//! {"pk":<32 bytes X25519>,"suite":"X25519-HKDF-SHA256-CHACHA20POLY1305"}
//! ```
//!
//! and `"sig_pk"` (Ed25519) besides when the session has a signing key of its own. One fresh key a session, in memory
//! only. The first accepted `hello` or `issue` of (agent, `sid`) opens the session and pins its `seal`; another key
//! under the same session is refused. A session ends when it is idle too long, at its absolute limit, by `close`, or
//! revoked.
//!
//! ## `seen`
//!
//! `{"head":<leaf hash>,"size":N}` is the newest state of its own chain that this agent holds; clients keep it by
//! (`aud`, agent). Size 0 with 32 zero bytes says that it holds none. The vault refuses a `seen` that is not a prefix
//! of the chain: `history_mismatch`, an alarm. So each request countersigns the history before it.
//!
//! ## Commands
//!
//! Members of an operator's command: `v`, `typ`, `aud`, `operator`, `kid`, `kver`, `nonce`, `iat`, `body`, with one
//! schema for each `typ`. Commands that change something are chained; questions are signed too, but not chained.
//! Commands that were signed for one purpose, as `vaultctl apply` does it, have one member more, left out elsewhere:
//! `set`, `{"id","of","part"}`, where `id` is 16 random bytes drawn for the set, `of` says how many commands it has, 1 to
//! 1,000,000, and `part` which of them this is, from 1. It changes nothing of what the command does, nor
//! of the wish that others approve. A set of which not all parts stand in `_operators`, or not all as carried out, was broken
//! off.
//!
//! | `typ` | body | chained |
//! |---|---|---|
//! | `nockvault/agent_register` | `register`, a register envelope | yes |
//! | `nockvault/agent_key_end` | `agent`; `kid`, or null for every key, and then every lease is revoked too; `suspect_from` or null | yes |
//! | `nockvault/agent_freeze` | `agent`, and `reason` where one is said: none of its requests is carried out, and every lease is revoked | yes |
//! | `nockvault/agent_thaw` | `agent` | yes |
//! | `nockvault/vault_freeze` | `reason`, a text: no request of any agent is carried out, and every lease is revoked | yes |
//! | `nockvault/vault_thaw` | none | yes |
//! | `nockvault/vault_seal` | `reason`, a text: the daemon holds no key from here on and answers `sealed`, until somebody unseals | yes |
//! | `nockvault/role_freeze` | `reason`, `role`: nothing of it is issued or prolonged, and every lease of it is revoked | yes |
//! | `nockvault/role_thaw` | `role` | yes |
//! | `nockvault/custody_add` | `name`, `kind`, `public`: a new root key is sealed to every custodian, this one too | yes |
//! | `nockvault/custody_remove` | `name`: a new root key is sealed to the others | yes |
//! | `nockvault/custody_rotate` | none: a new root key is sealed to every custodian | yes |
//! | `nockvault/role_create` | `role`, `engine`, `config` | yes |
//! | `nockvault/role_rotate` | `role` | yes |
//! | `nockvault/secret_put` | `name`, `sealed`, `use` (`kv`, `backend`), `expires` or null; only a `kv` value expires | yes |
//! | `nockvault/secret_rollback` | `name`, `version`: its value becomes a new version, with its end where it has one | yes |
//! | `nockvault/ca_create` | `name`, `engine`, `wish`: what the engine takes | yes |
//! | `nockvault/ca_import` | `name`, `engine`, `sealed` | yes |
//! | `nockvault/ca_certify` | `name`, `engine`, `chain`: PEM, the authority's own certificate first | yes |
//! | `nockvault/grant_create` | `agent`, `role`, `terms` | yes |
//! | `nockvault/grant_revoke` | `agent`, `role` | yes |
//! | `nockvault/lease_revoke` | `scope`, and `reason` where one is said | yes |
//! | `nockvault/lease_forget` | `lease` | yes |
//! | `nockvault/key_rotate` | `role` (`jwt`), `ahead` in seconds, `withdraw` | yes |
//! | `nockvault/ring_rotate` | none; the result has the `epoch` of the new data key and the number of the new `root` key | yes |
//! | `nockvault/clock_reset` | none | yes |
//! | `nockvault/backup` | none; the result has `backup`, 32 bytes drawn for it. The file comes behind the answer | yes |
//! | `nockvault/role_check` | `engine`, `config` | no |
//! | `nockvault/lease_list` | `agent` or null, `which` (`all`, `live`, `stuck`), `page` | no |
//! | `nockvault/lease_show` | `lease` | no |
//! | `nockvault/ca_show` | `name`, `engine` | no |
//! | `nockvault/agent_list`, `role_list`, `secret_list`, `grant_list` | `page`; the last also `agent` or null | no |
//! | `nockvault/agent_show`, `role_show`, `secret_versions` | `agent`, `role`, `name` | no |
//! | `nockvault/audit_list` | `page` | no |
//! | `nockvault/audit_checkpoint` | `chain` | no |
//! | `nockvault/audit_prove` | `chain`, `seq` | no |
//! | `nockvault/audit_read` | `chain`, `from`, `limit` | no |
//! | `nockvault/directory_read` | none; the directory comes beside the answer | no |
//! | `nockvault/status_read` | none | no |
//! | `nockvault/operator_register` | `duty` or null, `register` | yes |
//! | `nockvault/operator_duty` | `duty`, `operator` | yes |
//! | `nockvault/operator_key_end` | `kid` or null, `operator`, `suspect_from` or null | yes |
//! | `nockvault/operator_rotate` | `register` | yes |
//! | `nockvault/operator_list` | none | no |
//! | `nockvault/operator_show` | `operator` | no |
//! | `nockvault/policy_set` | `rules`: persons by command word, `wait` | yes |
//! | `nockvault/policy_show` | none | no |
//! | `nockvault/approve` | `command`: H(PAE) of what waits | yes |
//! | `nockvault/withdraw` | `command`: the same | yes |
//! | `nockvault/approval_list` | `page` | no |
//! | `nockvault/explain` | exactly one of `request`, `grant`, `revoke` | no |
//! | `nockvault/doctor_read` | `probe`: whether backends are asked too | no |
//!
//! `scope` names exactly one of: `{"lease"}`; `{"agent"}`; `{"agent","sid"}`, which ends the session too; `{"role"}`;
//! `{"all":true}`. It means the leases that were issued before the command was carried out, and what becomes of intents
//! that were there. The result's `leases` is how many live; what is many is ended in parts after the answer.
//! **Duties.** A duty is `{"name":"admin"}`, `{"name":"auditor"}`, `{"name":"responder"}` or
//! `{"name":"grantor","roles":[..]}` with 1 to 200 roles. Which commands each allows is one table, in
//! [`crate::authz::operator::TABLE`]; what it does not allow is refused with `not_permitted` and is chained, a question too.
//! `operator_register` brings a first key with a duty, or a further key (of a lost one) without; its result is `kid`, `kver`,
//! `operator`, and `duty` or `grace`, until when the key before is accepted. `operator_rotate` is signed by the operator's
//! newest key and answers alike. The result of `operator_key_end` lists the `kids` that it ended and says whether the
//! operator is `out`; that of `operator_duty` has the duty `before`. The last admin with a key is neither ended nor demoted
//! (`last_admin`). None of these has an entry beside the command's own: a verifier follows them in `_operators`, and holds
//! every command that was carried out against the duty and the keys that its operator had.
//!
//! **Custody makes an operator** where no admin has a key. That is no command, since no operator signs it: `Recover` of
//! `CustodyService`, on operators' unix sockets, brings a register statement of `kver` 1, of a name and a key that the vault never
//! knew, and what a custodian holds. A contribution to it is sealed with the `info`
//! `"nockvault-custody-v1" 0x00 || "recover" || 0x00 || custodian || 0x00 || H(PAE of the statement)`, and one that unseals with
//! `"nockvault-custody-v1" 0x00 || "unseal" || 0x00 || custodian`. It stands in `_operators` as `custody_operator`. No rule of
//! several persons holds for it.
//!
//! `lease_forget` is for a lease that ended and that waits for its backend, and for no other (`nothing_to_undo`).
//! `page` is `{"after","limit"}`: `after` is the `next` of the page before, or `""`.
//!
//! **What would be.** `explain` does nothing of what it asks for. `request` is `agent`, `role`, `ttl`, `params`, `from` (an
//! address), `at`, `sid`, each null where the question leaves it open, and `probe`; the result has `verdict` (`issued`,
//! `denied`), `reason`, `limit`, `why`, `do`, `expires`, and `checks` in the order in which they are made, each with `check`,
//! `found`, `limit`, `outcome` (`ok`, `no`, `open` where it was not asked) and `reason`. `grant` is `grant` (the body of a
//! `grant_create`) and `probe`; the result has `verdict` (`done`, `waits` for others, `refused`), `present` (the terms of a grant that is there
//! already) and `request`, what a request under it would get. `revoke` is the body of a `grant_revoke`; the result has
//! `leases`, how many would end, and `ends`, the first hundred of them.
//!
//! The result of `doctor_read` has `checks`, each with `check`, `state` (`ok`, `warn`, `bad`), `found` and `do`.
//!
//! **Several persons.** A rule says how many operators must want a command of a kind, 2 to 9, its giver among them. Whoever
//! gives a command carries it out. It is done inside its transaction as far as it goes, and where others are missing it is
//! undone again: so what would be refused anyway is refused for that. It is chained as refused, with the result
//! `{"denied":"needs_approval","waits":{"command":H(PAE of it),"expires","persons"}}`, its nonce is spent, and it begins to
//! wait, `wait` long; a hundred wait at most, fifty of one giver (`busy`). Others approve it by that digest (`approve`), each once, whose duty
//! allows them the same command. Then its giver gives it again: with a new nonce and the same wish, which is
//! `H(JCS({"body","typ"}))`. If enough approvals stand, of operators who are in force, by keys that were not ended and with
//! duties that allow it then, it is carried out, and `approvals` of its entry names them: `{"entry":{"leaf","seq"},
//! "operator"}` of each `approve`. It waits no longer then, and its approvals are spent. Given again too early, it is chained
//! as refused and names what waits already. What waited too long, or whose
//! giver is out (the newest key is ended), has no entry: it is forgotten with the next `approve`, `withdraw`, `policy_set` or
//! beginning of a wait, and no reset of the clock brings it back. `withdraw` has an entry.
//!
//! As soon as there is any rule, `policy_set`, `operator_register`, `operator_duty`, `custody_add` and `custody_remove` take as
//! many as the strictest; a further key of an agent (`agent_register`) takes as many as a `grant_create`. Which kinds can have
//! no rule, and why, stands in [`crate::authz::policy`]. Rules for more than there are admins in force, and for kinds that can
//! have none, are refused (`bad_policy`). The result of `policy_show` has `rules`, `wait`, `strictest`, `guarded` (the kinds
//! that take as many as that), `admins` (how many are in force) and `enough`; an item of `approval_list` has `command`,
//! `envelope`, `operator`, `entry`, `since`, `expires`, `persons`, `approvals` (the names that count now) and `missing`.
//!
//! **Secret input**, such as a `kv` value, a database password or a CA key, never stands in a signed payload, because
//! payloads are chained. It is HPKE-sealed to the certified intake key and travels beside the envelope, whose `body`
//! carries `"sealed":H(enc || ct)`. It is at most 1 MiB. Custody shares and passphrases enter over the unix socket
//! only.
//!
//! # 3. The order of checks
//!
//! | step | what is checked or done |
//! |---|---|
//! | 0 | the vault is unsealed; a sealed one answers `sealed`, unsigned, and only status and unseal work, over the unix socket; the next `start` entry records who contributed |
//! | 1 | size, and the envelope's shape |
//! | 2 | the payload type belongs to the call |
//! | 3 | a candidate key, by `kid` |
//! | 4 | `verify_strict` |
//! | 5 | admission, schema |
//! | 6 | `aud`, `agent`, `kid`, `kver` equal the registry row whose key verified; `typ` is the call's; a retired or revoked key is refused here |
//! | 7 | `now - skew <= iat <= now + skew`, and `iat > iat_floor` |
//! | 8 | (`kid`, `nonce`) is reserved, in memory at once, so that copies in flight fall here |
//! | 9 | agent and session are alive |
//! | 10 | the seal's suite and key (low order is refused), and the session's pin |
//! | 11 | `seen` |
//! | 12 | grant, limits, `params` |
//! | 13 | intent, for an engine with an outside effect: nonce, use count, quota and intent become durable |
//! | 14 | mint |
//! | 15 | seal |
//! | 16 | commit: nonce, session, lease, use count and entry in one durable transaction; steps 7, 9, 10 (the pin) and 12 are evaluated again inside it, leaving out what step 13 reserved for this very request |
//! | 17 | answer |
//!
//! The intent of step 13 keeps the request and spends its nonce; it opens no session and appends no entry. Where it
//! comes to nothing it ends as `deny` with its lease and handle, for the reason that broke it off, or `interrupted`
//! where a crash did; an `undone` follows. Its use is given back, the pace of its grant is not. Which engines have an
//! outside effect says `hdr.revocation`: those of `backend`.
//!
//! ## Refusals
//!
//! - Steps 3 and 4 share one outward error and take alike time: a stranger learns no names. Every other refusal has its
//!   own code; the closed list is [`crate::denial`].
//! - What is refused before step 8 (strangers, replays, skew, the wrong vault) is counted by reason and minute in
//!   `_vault`. So an agent's chain cannot be filled with copies of its published requests.
//! - What is refused after step 8 is a `deny` entry and the nonce in one transaction, so that a denied request does not
//!   come alive under a later grant. Above a set number a minute, one `deny_summary` stands for many.
//! - One exception: an agent that asks more often or has more in hand than it may gets `rate_limited` without an entry, and
//!   the nonce is not kept, so that who asks too often fills nothing. The same bytes would be taken later within their window.
//!   What comes of them then is entered, and sealed to the session that signed them.
//! - A refusal after a valid signature comes with a signed
//!   `{"limit","now","reason","req","typ":"nockvault/denied","v":1}` in the status details, beside
//!   `google.rpc.ErrorInfo`. A client corrects its clock from that, or from a `DescribeVault` that it challenged, and
//!   from nothing unsigned. For this alone, certificates are judged at the statement's own `now`, and their `nbf` is
//!   not below the newest that the client holds.
//! - What engines add: `engine_unavailable`, the backend could not be reached or did not answer in time, and a later
//!   try may help; `engine_refused`, it answered and said no, and an operator must look at the role; `interrupted`, the
//!   vault stopped while it served this request, and what it may have made is undone; `secret_expired`, the value or
//!   the authority behind the role ends before the life asked for, with the seconds that are left as `limit`;
//!   `nothing_to_undo`, the lease does not wait for a backend; `clock_good`, the clock is not behind the history, and
//!   there is nothing to reset; `last_custodian`, nobody could open the vault without it.
//! - At its deadline a queued commit is withdrawn. One that may still land is answered `outcome_unknown`, and if it
//!   lands it is revoked as `undelivered`. Where the disk failed while it committed, what landed lives until it expires or
//!   is released by `req`; its secret never left.
//!
//! ## Nonces and time
//!
//! - A nonce is kept until `iat + skew` and never dropped earlier. The limit counts by `kid`; full means refused.
//! - A purge raises `iat_floor`, durable and monotone, to the highest `iat` that it purged, in the same transaction. No
//!   change of skew, clock or node revives a request.
//! - An entry's `ts` is max(now, the `ts` before it, `nbf` of the audit key), and the writer sets it. The audit key
//!   changes before `ts` reaches its `exp`.
//! - Sessions and leases are over by the clock. Where a chain is ahead of it, a `release` may so have a `ts` behind the end
//!   of its lease. A `renew` may not; the vault refuses it with `lease_ended`.
//! - A clock that stands further behind the newest entry than the skew stops issuing: `clock_behind`. After an
//!   operator's `clock_reset` the next entry of each chain is `clock_reset` with `by`, and only there may `ts` fall and
//!   `iat_floor` be set anew, to now + skew. The command itself stands under the old time. The floor does not hold for
//!   it, but its `iat` lies above that of every reset before it. With it a new audit key signs; sessions that were opened
//!   and leases that were issued later than the new now are ended (`session_end`, `revoke`, with `by`), and intents are
//!   broken off. Nonces that were purged before it come back out of the chains: what stands in one is a `replay` also when
//!   its `iat` is reached a second time, and `stale` for as long as the chain was not read. A key whose successor came later
//!   than the new now is accepted until `ts` + overlap, and no longer than it was: `ts` is that of its chain's `clock_reset`,
//!   which stands there at once, and the overlap is from the successor's entry to the `grace` in it. A key for tokens that
//!   was to sign later signs; those before it are published no more where it withdrew them, and else for the longest life
//!   of a session at the most. These times of keys for tokens are in no entry.
//! - The first start after a restore sets `iat_floor` to now + skew; sessions and leases of the backup are ended
//!   (`session_end`, `revoke`, with `by` naming the `nockvault/backup`), and all kept keys are certified anew. Each chain's
//!   next entry is `restore`, and the origin becomes `<vault>/<chain>~<n>` with it, also of chains that begin later. A
//!   `seen` that is no prefix and reaches behind what the chain had in the first backup it was restored from is answered
//!   `restored`, signed; the client keeps its old head as evidence and goes on, with nothing seen, when its owner accepts. A
//!   client refuses an `entry.seq` below its own `seen.size`.
//!
//! # 4. Responses
//!
//! Every response is signed by the response key. Each carries `req` = H(PAE of the request): `issued` inside its `hdr`,
//! while `described` has the caller's `challenge` in its place. Each carries `entry` = `{"leaf","seq"}` where an entry
//! was written. The answer to `issue`:
//!
//! ```text
//! {"ct","enc","entry","hdr","typ":"nockvault/issued","v":1}
//! hdr = {"agent","exp","iat","kid","lease","renewable","req","revocation","role","sid","vault"}
//!
//! HPKE (RFC 9180) base mode, DHKEM(X25519,HKDF-SHA256) 0x0020, HKDF-SHA256 0x0001, ChaCha20Poly1305 0x0003
//! info      = "nockvault-seal-v1" 0x00 || H(PAE of the request) || H(JCS(hdr))            aad = empty
//! plaintext = u32be length || secret || zeros, up to a multiple of 64 bytes
//!
//! intake: info = "nockvault-intake-v1" 0x00 || aud || 0x00 || nonce of the command (as text)
//! ```
//!
//! `secret` is a JSON object that its engine shapes (`{"type":"postgres","username","password","host",...}`). The
//! schemas of what each engine takes and gives stand under `proto/schema/engine/`. Only the session's key opens it. The
//! signed response is the agent's receipt.
//!
//! `hdr.revocation` says how the credential can be made useless before its time:
//!
//! | `revocation` | means | engines |
//! |---|---|---|
//! | `none` | in no way: the end of the lease bounds for how long it may be kept and used, and no more | `kv` |
//! | `listed` | it stands in a list that the vault publishes and that verifiers fetch | `jwt`, `ssh`, `x509` |
//! | `backend` | it is taken away where it lives | `postgres` |
//!
//! ## The key directory
//!
//! A statement that answers no request: `nockvault/directory`, payload type of a response, signed by the response key
//! and made to be kept. On paper it is the embedded envelope `{"payload":{...},"sig"}` in canonical form and a line
//! feed, at most 64 MiB.
//!
//! | member | what |
//! |---|---|
//! | `aud`, `name`, `identity` | the vault, its name, its identity key |
//! | `certs` | the certificates of its own keys; that of the response key which signed it is among them, and good at `iat` |
//! | `agents` | keys of agents, also those that ended: `kid`, `pk`, `form`, `since`, `grace` or null, `ended` or null; where there are names also `agent` and `kver` |
//! | `operators` | keys of operators: the same, with `operator` for `agent`; empty where there are no names |
//! | `names` | whether it says whose the keys are |
//! | `iat`, `exp` | made at, and good before: an hour later |
//!
//! A key is accepted from `since` on and before the earlier of `grace` and `ended`. Anybody gets the directory from
//! `/.well-known/nockvault/keys`, without names and in the order of `kid` unless the configuration says `names = true`;
//! operators get it with names (`nockvault/directory_read`).
//!
//! # 5. Audit entries
//!
//! One JCS object and LF a line, at most 32 KiB (in `_operators` 128 KiB). There is one chain an agent, and besides
//! them `_vault` and `_operators`. `origin` is `<vault name>/<chain>`.
//!
//! ```text
//! {"body":{...},"kid":<audit key>,"kind":"issue","origin":"prod/kit","prev":<32>,"seq":1,"sig":<64>,"ts":...,"v":1}
//! sig  = Ed25519 over PAE(audit type, JCS(entry without sig)), by the audit key of the epoch
//! leaf = H(0x00 || line without LF)      prev = leaf of the line before; the first has 32 zero bytes
//! node = H(0x01 || left || right)        (RFC 6962: the same leaf serves chain and tree)
//! ```
//!
//! `seq` counts from 0 without gaps. Audit keys live in memory only, one a daemon and epoch (a day, or a restart), and
//! are erased at its end: a thief forges from now on, not backwards. A chain's first entry under a `kid` carries that
//! key's certificate in the optional member `cert`.
//!
//! ## Kinds
//!
//! The members of each body are given with its type in [`crate::audit::entry`].
//!
//! | chain | kind | body |
//! |---|---|---|
//! | agent | `genesis` | agent, register envelope, identity key, 16 random bytes, `by` |
//! | agent | `session` | request (a `hello`) |
//! | agent | `issue` | request, `hdr`, `handle`, `grant` (the `seq` of its entry), `sealed` = H(enc, ct) |
//! | agent | `deny` | request, reason; `lease` and `handle` where something may have been made for it at a backend |
//! | agent | `deny_summary` | counts by reason, from when to when |
//! | agent | `renew` | request, lease, and `exp`, for a request may ask for the grant's default |
//! | agent | `release` | request, and the lease, for a request may name it by `req` |
//! | agent | `close` | request; it ends the session and every lease of it |
//! | agent | `revoke`, `expire`, `undelivered` | lease, outcome; `revoke` also `by` |
//! | agent | `undone` | lease, outcome (`revoked`, or `absent` where nothing was there), `tries`: how often in vain before |
//! | agent | `forget` | lease, `by`: an operator gave up on its backend |
//! | agent | `agent_key` | register envelope; the old key's request, or `by`; the end of the grace |
//! | agent | `agent_key_end` | `kid`, `by`, `suspect_from` (information; the end is `ts`) |
//! | agent | `session_end` | `sid`, reason (`idle`, `max`, `revoked`); `by` where it is `revoked`, and only there |
//! | agent | `grant` | role, terms, `by` |
//! | agent | `ungrant` | role, the `seq` of the grant's entry, `by` |
//! | agent | `freeze`, `thaw` | `by`: between the two, no request is obeyed |
//! | every | `checkpoint` | note, its `cert`, and `tree`: the roots of the complete subtrees at that size, largest first; its line always carries the audit key's `cert` |
//! | every | `clock_reset` | `by`: the clock had been ahead |
//! | every | `restore` | `by`: the `nockvault/backup`; `number`: what the origin ends with from here on; `salt`: 16 random bytes, the same in all chains |
//! | `_operators` | `genesis` | the first operator's register envelope |
//! | `_operators` | `command` | the operator's envelope; `approvals`, each with `entry` and `operator`; result; `{"denied": code}` for one that was refused, with `waits` where it waits for others |
//! | `_operators` | `custody_operator` | `register`, the envelope of a new operator's first key; `duty`, always that of an admin; `custodian` with its `kind`, and `shares`, the indexes that were given: who opened it. Not `recover`, which in `_vault` is about a daemon that was broken off |
//! | `_vault` | `genesis` | the vault's name, id and identity key, 16 random bytes |
//! | `_vault` | `start`, `stop`, `epoch` | `start` with the daemon's name and version, and in `opened` how it came to the root key: the `custodian` that somebody unsealed with and the indexes of the `shares`, or `null` and none where its configuration gave it; older daemons do not say |
//! | `_vault` | `swept` | handle, role, outcome: a credential that no lease answers for was found and taken away |
//! | `_vault` | `refused` | counts by reason, the minute |
//! | `_vault` | `config` | `limits` by name, as `[limits]` and `[checkpoints]` have them; at a start where they differ from those that stood last |
//! | `_vault` | `recover` | after the `start` that follows a daemon without `stop`: `interrupted` (how many intents), `quarantined` (chains), `since` (the newest `ts` there was) |
//! | `_vault` | `freeze`, `thaw` | of everything, with `by`: between the two, no request of any agent is obeyed |
//!
//! What a verifier judges by an entry's `ts` (whether a key is alive, a session open, a lease over) the vault decided
//! at that same instant. The `ts` of an `issue` is not below its `hdr.iat`.
//!
//! The outcome of `revoke`, `expire` and `undelivered` follows from `hdr.revocation`: `none`, `listed`, or `pending`
//! for `backend`. What is `pending` ends with one `undone` or one `forget`, and so does what a `release`, a `close` or
//! a `deny` with a lease leaves at a backend. A chain that ends before that is intact; the verifier counts what is
//! still open.
//!
//! A freeze of everything stands in `_vault`, because it is about no agent alone; that of a role is its command in
//! `_operators`, where the role was made. A session is not frozen but ended (`lease_revoke` of its scope, `session_end`): it
//! belongs to one process, whose seal is in that process's memory alone, and its name is never used again, so that there is
//! nothing to thaw. Its agent opens another, unless it is frozen itself.
//!
//! A request stands in exactly one entry. What else it causes, and what an operator's command does in an agent's chain,
//! carries `by` = `{"chain","leaf","seq"}` of the entry that holds it, and not a copy.
//!
//! ## What a verifier checks
//!
//! Beyond signatures, hashes and order:
//!
//! - agent, `kid`, role and `sid` of `hdr` equal the request's; `hdr.vault` is its `aud`; `hdr.req` is H(PAE) of it;
//! - the life is no longer than `ttl`, where that is not 0;
//! - the agent's key was alive at `ts`; in a `deny` with a lease, which ends an intent that is older, it was not over an
//!   hour, the longest skew, before the request's `iat`, unless the clock was reset meanwhile;
//! - each H(PAE of a request) stands there once;
//! - `seen`: size <= `seq`, and leaf\[size-1\] is the head;
//! - a lease lives in a legal order, and its identifier is never used again, that of a denied intent included;
//! - a `handle` is the one that follows from this agent and the lease; a `deny` has both `lease` and `handle`, or
//!   neither;
//! - the outcome of an end is the one that the lease's `hdr.revocation` leaves;
//! - `undone` and `forget` stand for a lease that has something left at a backend, once; the outcome of `undone` is one
//!   of its two words;
//! - with `_operators`, `hdr.revocation` is what the engine of the role leaves, as far as the verifier knows that
//!   engine;
//! - a `session_end` has `by` if and only if its reason is `revoked`;
//! - `nbf <= ts < exp` of the certificate;
//! - `by` is found in `_operators`, when that chain is given, and names a command that was carried out and means this
//!   agent and this effect: of a `revoke`, a `lease_revoke` whose scope covers the lease, a `grant_revoke` of its role,
//!   an `agent_key_end` or an `agent_freeze` of this agent, a `role_freeze` of its role, a `vault_freeze`;
//! - with `_operators`, the command of a `revoke` is not older than the lease: its entry, which stands under a `ts` not below
//!   that of the newest entry of any chain, is not earlier than `hdr.iat` by more than an hour, the longest skew. Where the
//!   clock was reset between the two this is not judged, nor where a `clock_reset` or a `backup` is what takes back.
//!
//! - a `checkpoint` is not behind another, its line carries the audit key's `cert`, its note is signed by a key that the
//!   identity certified as `checkpoint` and that is good at `ts`, and origin, size (= `seq`), root and `tree` are those of
//!   the entries before it;
//! - a `clock_reset` rests on a `nockvault/clock_reset` of an operator, a later one than the reset before it; nowhere else
//!   does `ts` fall, and a key that was ended stays ended; from there on, one that had a successor is accepted for no longer
//!   than its overlap, from the successor's entry to the `grace` in it;
//! - an audit key from which another had taken over in this chain when the clock was put back signs nothing after that;
//! - the origin changes with a `restore` alone, to its `number`, which is higher than that before it; an audit key signs it
//!   that signed nothing in this chain, and none that did signs after it; it rests on a `nockvault/backup`. `ts` may fall
//!   there where a `clock_reset` follows at once. In `_vault` a `start` under the same key follows it. A `revoke` or a
//!   `session_end` rests on a `nockvault/backup` behind the `restore` from that one alone;
//! - a state, receipt or checkpoint from elsewhere that the chain does not hold is of before a `restore` (verdict `lost`,
//!   exit 1) where its entry is not below the first `restore`, and, of a checkpoint, its origin is of an earlier number, of
//!   a receipt, what was issued is not of after the newest `restore`. Elsewhere it is tampering. A `restore` proves that
//!   the vault itself says so and when; not that anything had been lost, nor what;
//! - with `_operators`, nothing is issued or prolonged, and no session opened, while everything or that role was frozen.
//!   Positions in two chains do not compare, so times are: the command of a freeze stands under a `ts` not below that of
//!   the newest entry of any chain, and an issuance stands at most the skew behind it. What is later than the freeze, and
//!   earlier than the thaw by more than an hour, the longest skew that can be set, came between. What is nearer to the
//!   thaw is not judged, nor what comes after the last command that the file has, nor, where the clock was reset, a part
//!   of a chain of which it is not known in which time it begins;
//! - a `custody_operator` brings a first key, which proves itself, of a name and a key that no operator had, and the duty of an
//!   admin; the custodian was not taken out by a command before, and is of the kind that a command appointed it with, where one
//!   did; of shares there are as many as its kind says are enough, each once, in order. The report names each: that the
//!   custodian was opened is the vault's word, since custodians sign nothing;
//! - in `_vault`, `freeze` and `thaw` rest on commands that say so, each later than the one before; nothing is thawed that
//!   is not frozen;
//! - in `_vault`: `start` and `epoch` come under another audit key than the entry before; `stop`, `epoch`, `config` and
//!   `recover` stand where a daemon runs; `recover` stands between a `start` without a `stop` before it and the next entry
//!   that is no `config`, its `since` not before the newest entry then, and it must stand there once a `config` stood
//!   anywhere before that `start` (a daemon that writes no `config` writes no `recover`).
//!
//! A part of a chain may be verified alone: a file that begins with a `checkpoint`. Its `tree`, held by its note, stands for
//! all entries before it, and its line certifies the audit key. Grants, sessions and leases of before, and keys that the
//! reader does not bring along, are then unknown: what rests on them is not judged, and the report says so. That nothing
//! which may stand once stands twice is judged within the part.
//!
//! What a verifier does not check: of `_vault` it checks nothing of what a `swept` or a `refused` says. That a backend did what an `undone` claims, no chain can prove.
//!
//! A false `seen` inside a `deny` is reported as claimed by the agent, not as tampering. An `issue` proves two things
//! apart: the agent asked, and the vault gave. Neither can be made by the other.
//!
//! ## Checkpoints and proofs
//!
//! The leaves of a chain are also those of a Merkle tree (RFC 6962, RFC 9162 section 2.1). A checkpoint says what its root
//! is at one size: a C2SP signed note (signed-note and tlog-checkpoint, v1.0.0) of three lines, made only after an entry
//! that is not itself a `checkpoint`, signed with Ed25519 of type 0x01 by a key with the role `checkpoint`. The origin is
//! also the key's name:
//!
//! ```text
//! prod/kit LF 1742 LF base64(root) LF          LF          "— prod/kit " base64(key id || signature) LF
//! key id = SHA-256(name || LF || 0x01 || public key)[0..4]         verifier key = name + hex(key id) + base64(0x01 || public key)
//! ```
//!
//! Witnesses add lines of their own to the note, cosignatures of type 0x04 (tlog-cosignature): `u64be(seconds) ||
//! Ed25519("cosignature/v1" LF "time " seconds LF || the three lines)`. They are asked by `POST
//! <prefix>/add-checkpoint` (tlog-witness). A policy (tlog-policy: lines `log`, `witness`, `group`, `quorum`) says which of
//! them it takes. One thing is wider than there: one key may stand on several `log` lines, since one checkpoint key signs
//! for all chains of a vault.
//!
//! The proof of one entry is a file of the form `c2sp.org/tlog-proof@v1`: `extra` = JCS of `{"certs":[certificate of the
//! audit key, certificate of the checkpoint key],"line":{...}}`, `index` = the line's `seq`, the path of RFC 6962 section
//! 2.1.1, and the checkpoint's note with the cosignatures. It proves that the vault said this line and said it in that
//! history, and with the holder's public key, that the holder asked for it; of the entries around it, nothing.
//!
//! A receipt file carries the response key's certificate. To check one takes the line or file, the identity key and the
//! agent's public key; no network and no vault. A bare file cannot show that its end was cut off: `verify` says so, and
//! takes `--checkpoint`, `--receipt` and `--max-age` to close that.
//!
//! # 6. At rest
//!
//! Each custodian (a file, a passphrase, shares, a credential of the unit, a program, a token) yields 32 secret bytes, from
//! which an X25519 key is derived; the root key is sealed to its public half, as [`crate::seal::custody`] says. The root
//! key wraps the keyring, which holds the data keys by epoch. A data key protects records:
//!
//! ```text
//! (ek || cm) = HKDF-SHA256(ikm = data key, salt = n, info = "nockvault/aead/v1" 0x00 || H(AAD), 64 bytes)
//! record     = {v, alg "XC20P-HC", epoch, n: 24 random bytes, cm: 32, ct = XChaCha20-Poly1305(ek, n, plaintext, AAD)}
//! AAD        = JCS({"column","epoch","row","table","use","v","ver"})
//! ```
//!
//! `cm` commits to the key and is compared in constant time before anything is opened. The place is in the AAD, so that
//! a record moved elsewhere does not open.
//!
//! Rows that decide (agents, operators, keys, roles, grants, keys for tokens, which version of a secret is the
//! newest, freezes, custodians, `iat_floor`) carry a MAC under a key of the same
//! ring, bound to their place. One such row a chain holds the digest of its deciding rows and the `seq` of the last
//! deciding entry, and is compared with the chain at start and on load. Who can write the database but lacks the root
//! key can add no key and no grant, and revive none. Minted secrets are never stored.
//!
//! A rotation makes the data key of the next epoch; a new root key wraps the ring, sealed to each custodian. Rows of older
//! epochs are opened or verified under the key they name, and sealed or covered under the newest with the same content. The
//! vault's own row names the epochs that the ring has (`[2,3]`; none of before any rotation means `[1]`) and is always
//! covered under the newest of them: a wrapped key that it does not name is not used.
//!
//! A lease's row, an intent included, carries a MAC over all of it, bound to its place; so does what a command has left
//! to take back. These rows stand in no digest: none can be changed or invented, but one can be deleted, or put back as
//! it was at an earlier time. [`super::threats`] says what comes of that.
//!
//! A stored secret is sealed for its use: the AAD's `use` is `kv`, `backend` or `ca`, and `kv@<milliseconds>` for a
//! value that expires. What was stored for one use does not open for another, and its end cannot be moved.
//!
//! ## A backup
//!
//! ```text
//! "nockvault-backup-v1" LF || u32be length || header || chunk_0 || chunk_1 || ...
//! header   = JCS {"aud","backup","by":{"leaf","seq"},"file_key","made","name","ring":[{"epoch","key"}],
//!                 "typ":"nockvault/backup_file","v":1}
//! file key = 32 random bytes; "file_key" is its record under the ring, AAD table "backup", column "key", row = "backup",
//!            use "file_key", ver 1
//! ck       = HKDF-SHA256(ikm = file key, salt = "", info = "nockvault/stream/v1" 0x00 || H(all before chunk_0), 32 bytes)
//! chunk_i  = XChaCha20-Poly1305(ck, nonce = 15 zero bytes || last || u64be(i), no AAD)   of 262,144 bytes; the last, for
//!            which `last` is 1, of fewer or as many
//! inside   = u32be length || manifest || files || database
//! manifest = JCS {"chains","database","entries","files":[{"bytes","name"}],"heads","schema","v":1}
//! heads    = 32 zero bytes at first, then H(heads || "<chain> <size> <leaf>" LF) with each chain by name
//! ```
//!
//! `ring` is the ring as it is kept, wrapped by the root key; `by` is the command in `_operators`, whose result names
//! `backup`. Header and chunks are bound to each other: what opens is what the vault wrote, and whole. The files are the
//! certificate and its key, `tls/server.pem` and `tls/server.key`; the database is SQLite's. What is sealed in it stays so.
//!
//! # 7. The offline token (engine `jwt`)
//!
//! The header is `{"alg":"EdDSA","kid","typ":"nv+jwt"}`, with `"Ed25519"` (RFC 9864) for `alg` where the role says so.
//!
//! | claim | value |
//! |---|---|
//! | `iss` | the https issuer, or the vault's id |
//! | `sub` | `nv:<agent>` |
//! | `aud` | one string, out of the role's allow-list |
//! | `iat`, `nbf`, `exp` | whole seconds, as RFC 7519 has them; `exp` is rounded down |
//! | `jti` | the lease |
//! | `sid`, `scope`, `req` | the session; what the token may; the request it answers |
//! | `cnf.jkt` | when the session brought `sig_pk` |
//! | others | what the role adds; `{{agent}}`, `{{session}}`, `{{role}}`, `{{lease}}` in its texts are replaced |
//!
//! Published are, without TLS of the vault's own and below the issuer where there is one:
//!
//! - `/.well-known/jwks.json`, the key set: the key that signs, the next one before its turn, and those before it until
//!   the last token that they signed has expired. It may be kept for 300 s. The keys have no `alg`, since one key signs
//!   under both names; a verifier states which of them it takes.
//! - `/.well-known/openid-configuration`, where there is an https issuer.
//! - `/jwt/revoked`, for verifiers that stay offline: a JWS, header `{"alg":"EdDSA","kid","typ":"nv-revoked+jwt"}`,
//!   claims `{"exp","iat","iss","revoked":[jti, ..]}`, of the tokens whose lease ended before they expire; `exp` is
//!   300 s after `iat`.
//!
//! `nockvault/key_rotate` puts a new key in the set at once and lets it sign after `ahead` seconds (at most 30 days).
//! Those before it stay in the set until the last token that they may have signed has expired; with `withdraw`, until
//! the new one signs. No token outlives the time for which its key is published.
//!
//! # 8. Certificates (engines `ssh`, `x509`)
//!
//! | | `ssh` | `x509` |
//! |---|---|---|
//! | names its lease by | key id = handle | common name = handle |
//! | serial number | the last 62 bits of the lease, and 1 in place of 0 | the 16 bytes of the lease |
//! | names its session by | its principals, out of the role's | `spiffe://<trust domain>/agent/<agent>/session/<sid>` where the role has a trust domain, and DNS names that the role allows |
//! | begins | 60 s before it was signed | the same, within the authority's life |
//! | ends | with the lease, rounded down to a second | the same: `notAfter` is the last whole second |
//! | list of the revoked | KRL (OpenSSH `PROTOCOL.krl`), serial numbers alone, not signed | CRL version 2 (RFC 5280), signed, DER; the next within a day |
//!
//! A list holds the serial numbers of leases that ended before their certificate expires: released, revoked,
//! undelivered, or over with their session. They stay in it until ten minutes after that, for clocks that are behind;
//! so they do in the list of tokens. It names no agent. The paths under which lists and authorities are published stand
//! in [`super::backends`].
//!
//! # 9. NockGuard's trails
//!
//! Another program's format, which `vault-verify --format nockguard` reads, and `vault-agent --nockguard-trail` writes
//! into the trail of its own agent. A row is what Go's
//! `encoding/json` makes of a struct: compact, the members `ts`, `agent`, `tool`, `decision`, `reason`, `nock_id`, `pr`,
//! `review_id`, `parent_audit_seq`, `session_id`, `key_id`, `sig` in this order, all but the first four left out where
//! empty or 0, and `<`, `>`, `&`, U+2028 and U+2029 as escapes.
//! ```text
//! sig         = hex of Ed25519(key, row without sig || LF || sig of the row before as text)   the first has no text there
//! <trail>.hwm = {"count":N,"last_sig":<hex>,"sig":<hex>} LF
//! its sig     = hex of Ed25519(key, "nockguard-hwm-v1" LF N LF last_sig LF)
//! key_id      = hex of SHA-256(the 32 bytes of the public key)
//! ```
//! The older key of an installation puts HMAC-SHA256 in the place of Ed25519. The bytes of the file are what is checked:
//! a member more, one twice, one in another spelling or place, a blank or another escape is tampering, and so is a row
//! without a signature, a `key_id` of another key, a trail without its checkpoint or with fewer rows than it counts. More
//! rows than it counts are reported as unanchored. Bytes that are no UTF-8, which Go writes as `\ufffd`, are accepted as
//! they were signed; NockGuard's own verifier writes such a row anew and does not recognise it.
//!
//! The launcher's rows, signed with the agent's key, `ts` in UTC, `session_id` from `NOCKLOCK_SESSION_ID`:
//!
//! | `tool` | `decision` | `reason` |
//! |---|---|---|
//! | `nockvault:issue:ROLE`, `nockvault:renew:ROLE`, `nockvault:release:ROLE` | `allow` | `lease ID`, as in the vault's chain |
//! | `nockvault:request:ROLE` | `deny` | the code of the refusal |
//! | `nockvault:trail` | `state-write` | `cut N bytes of a row that broke off` |
