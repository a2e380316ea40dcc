//! Where credentials live and how a vault works there: PostgreSQL, SSH, TLS peers, certificate authorities, tokens, and the
//! leases that must end at all of them.
//!
//! # Roles and the backends behind them
//!
//! `vaultctl role create ROLE --engine postgres --config role.toml --check` lets the vault look at the backend, shows
//! what it found and creates nothing; it ends with 1 and the backend's own words where the role would not work. Without
//! `--check` the role is made. `vaultctl role check ROLE` looks again later. A role's file is TOML or JSON, with whole
//! numbers, texts, lists and tables. Each call to a backend ends after `engine_deadline_ms`.
//!
//! What the vault needs to be let in at a backend is stored by `vaultctl secret put NAME --use backend`; no engine
//! hands it out. `vaultctl role rotate ROLE` exchanges it for one that the vault draws and nobody else knows. It may be
//! broken off at any point:
//!
//! | broken off | stored | at the backend | what follows |
//! |---|---|---|---|
//! | while the newest version is tried | as before | as before, or an earlier rotation complete | command again |
//! | before the next version is stored | as before | the newest | command again |
//! | after it is stored: the answer says `rotated: false` | one version more | the one before, or the newest | the vault is let in by whichever is good; command again, which completes it |
//!
//! A further version is stored only after the backend has taken the newest, so that one of the two newest always opens
//! it. Put no version by hand while a rotation is incomplete. Until a rotation is complete the password before it is
//! good, with whoever knows it.
//!
//! Engines in short:
//!
//! | engine | what the backend needs | ends before its time by |
//! |---|---|---|
//! | `kv` | nothing; `vaultctl secret put` | nothing: change the value at its source |
//! | `jwt` | verifiers that fetch the key set | a list of revoked tokens, for verifiers that fetch it |
//! | `ssh` | hosts that trust the authority | a KRL, for hosts that fetch it |
//! | `x509` | peers that trust the authority | a CRL, for peers that look at it |
//! | `postgres` | a role for the vault that may create roles | the role is dropped and its sessions are ended |
//!
//! Where the end before its time is a list, the life of a lease is what really ends a credential: keep the grants of
//! such roles minutes long.
//!
//! # PostgreSQL
//!
//! Version 12 or newer, at its primary, reached directly: a pooler that shares connections between transactions loses
//! the locks that the engine holds. The vault's own role needs to be no superuser:
//!
//! ```sql
//! CREATE ROLE vault_admin LOGIN CREATEROLE PASSWORD '...';
//! GRANT pg_signal_backend TO vault_admin;                  -- to end sessions
//! GRANT orders_read TO vault_admin WITH ADMIN OPTION;      -- each of `grants`
//! ```
//!
//! From version 16 on only the maker of a role may remove it: keep this one while leases live. Each server has a stored
//! secret of its own, since a rotation changes one server's password. `vaultctl role create --check` says which of this
//! is missing, as the statement that mends it. `deploy/roles/postgres-readonly.toml` is a role to
//! begin with.
//!
//! | member | left out | what it is |
//! |---|---|---|
//! | `port` | 5432 | of the server, or of the socket's name |
//! | `tls` | `verify-full`; `off` for a unix socket | `verify-full` checks the certificate under `ca` and for `host`; `require` takes any certificate; `off`. With TLS the login is SCRAM bound to the certificate, and a server, or a pooler before it, that asks for the password itself is refused |
//! | `ca` | | PEM of the authorities; needed by `verify-full`, and handed to agents |
//! | `grants` | none | roles that a minted role becomes a member of |
//! | `connections` | 4 | how many a minted role may have at once |
//! | `owner` | none | who gets what a minted role leaves behind; without one it is dropped |
//! | `databases` | none | further databases to clean up in at a revocation, besides those where something is found |
//! | `creation`, `renewal`, `revocation` | one `CREATE ROLE`; one `ALTER ROLE`; `DROP OWNED`, after `REASSIGN OWNED` where there is an `owner` | statements of your own, with `{{name}}` and the like, which come quoted |
//!
//! A minted role is named by its handle, so that the server's log names agent and lease; a comment on it names the
//! vault. It logs in by SCRAM with a password that the server never sees, until it expires. At the end the vault takes
//! its right to log in, ends its sessions in every database, drops what it owns or gives it to `owner`, and drops it. A
//! renewal moves `VALID UNTIL`, which alone ends no session.
//!
//! **Who may create things.** A function or a view runs, in part, with the rights of its owner, and `owner` is its
//! owner afterwards: name a role that may do nothing else and that nobody logs in as. The vault's own role is refused.
//! A member of a group may also act as the group: what an agent makes as a group in `grants` is the group's, and stays
//! after every lease. Let no group in `grants` create anything that others run (before version 15 also: `REVOKE CREATE
//! ON SCHEMA public FROM PUBLIC`).
//!
//! What a minted role owns in a database that the vault may not enter, or that others have built upon, keeps it from
//! being dropped. It is locked out, its sessions are ended and its memberships taken all the same; the lease shows as
//! stuck, with the server's words.
//!
//! **Connections.** Minted roles can take up all connections of the server, and the vault then comes late to end them.
//! From version 16 on, set `reserved_connections` and `GRANT pg_use_reserved_connections TO vault_admin`; before, keep
//! `max_connections` above what `connections` and the leases of an agent come to.
//!
//! # SSH
//!
//! `vaultctl ca create NAME --engine ssh`, then a role like
//! `deploy/roles/ssh-deploy.toml`. Without `extensions` a command can be run, and nothing else.
//!
//! A host needs three files in `sshd_config`: `TrustedUserCAKeys` with the authority's line, `RevokedKeys` with the
//! published list, and `AuthorizedPrincipalsFile` where principals are not names of accounts. [`crate::engine::ssh`]
//! has them in full; `deploy/` has a timer that fetches the list each minute. The list must be there before
//! `RevokedKeys` names it: where `sshd` cannot read it, it refuses every key. A revocation reaches a host when that
//! host fetches the list, and ends no session that is open.
//!
//! # TLS peers
//!
//! `vaultctl ca create NAME --engine x509 --set subject.common_name=mesh`, then a role like
//! `deploy/roles/x509-client.toml`.
//!
//! A peer trusts the root, the last certificate of `/x509/ca/NAME`, knows its caller by the URI `spiffe://<trust
//! domain>/agent/<agent>/session/<sid>`, and looks at the list only where it is told to. The list is DER; for those
//! that want PEM: `openssl crl -inform DER -in mesh.crl -out mesh.pem`. A connection that is open stays open. A
//! certificate never outlives its authority: where a lease would, it is cut, or refused with `secret_expired` where the
//! agent asked for a life of its own. `vaultctl role check ROLE` says when the authority ends.
//!
//! # Certificate authorities
//!
//! `vaultctl ca create NAME --engine ssh` has the vault make one; `vaultctl ca import NAME --engine ssh --file KEY`
//! brings one, and what is left of its key elsewhere signs as well as the vault does. `vaultctl ca certify NAME
//! --engine x509 --chain FILE` gives it the chain that a higher one signed for its request (`vaultctl ca show NAME
//! --engine x509 --field request`). A name is never used again. No command shows a private key; `vaultctl ca show NAME
//! --engine ssh --field public_key` writes what hosts are to trust.
//!
//! What relying parties need is fetched over HTTP, by anyone, for each authority that some role signs with:
//!
//! | path | what |
//! |---|---|
//! | `/ssh/ca/NAME` | the public key's line, for `TrustedUserCAKeys` |
//! | `/ssh/krl/NAME` | the key revocation list, for `RevokedKeys` |
//! | `/x509/ca/NAME` | the certificate chain, PEM |
//! | `/x509/crl/NAME` | the certificate revocation list, DER |
//!
//! Each is made at most once in five seconds, however many ask, so that what was revoked in the last seconds may be
//! missing. A list holds the leases that ended before their credential expires: released, revoked, never delivered, or
//! over with their session; and for ten minutes after that, for those whose clocks are behind or who give some leeway.
//! Fetch it in short intervals, and keep the old one when the vault does not answer.
//!
//! # Turning the key for tokens
//!
//! `vaultctl key rotate jwt` makes a new key. It stands in `/.well-known/jwks.json` at once and signs ten minutes
//! later, when verifiers that keep the set for the five minutes that it says have fetched it. The key before it stays
//! there until the last token that it signed has expired; nothing else is to be done, and nothing is refused meanwhile.
//! A verifier that checks offline fetches both the keys and `/jwt/revoked`, which is good for five minutes.
//!
//! # Leases that do not end
//!
//! A lease is over for its agent at once, whatever its backend does. What its backend still holds is tried without end:
//! a backend that cannot be reached, after `backend_retry_s` at the latest (half a minute), by one lease at a time; a
//! lease that the backend refuses to end, every five minutes at the latest. Nothing is dropped.
//!
//! - `vaultctl lease list --stuck` lists what waits: lease, role, handle, how often it was tried, when it is tried
//!   next, and the backend's own words. `vaultctl lease show LEASE` shows one.
//! - `nockvault_leases_stuck` counts them. Leases on their ordinary way to their end are among them for a moment.
//! - `deploy/alerts.yml` has rules for Prometheus, each with what to do.
//! - `vaultctl lease revoke LEASE --force` gives one up, where its backend is gone for good. It is a signed command,
//!   and stands in the agent's chain as `forget`. Where the backend comes back, the sweep still finds the credential.
//!
//! The sweep runs at the start and then every hour. It lists what this vault ever made at the backend of each role,
//! takes away what no lease answers for (after a restore, or an older database that was put back, after `--force`, after a row was
//! deleted, of a chain that is set aside), and writes `swept` into `_vault` for each. It touches nothing that does not
//! carry this vault's mark.
//!
//! # Taking leases back
//!
//! `vaultctl lease revoke` takes one lease, or `--agent NAME`, `--agent NAME --session SID`, `--role ROLE`, `--all`. It
//! answers when the command is durable, ends what is many in parts, shows how much is left, and waits for the backends
//! unless `--no-wait` is said. What it means is what was asked for before it, a request included that was on its way to
//! a backend. An agent whose key and grant live gets new leases at once: for an agent in wrong hands, `vaultctl agent
//! end-key NAME` ends every key and every lease; for a role, `vaultctl revoke AGENT ROLE` takes a grant back, and its
//! leases along.
