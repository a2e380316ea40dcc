//! Who may attack, what stops them, and what does not.
//!
//! `SECURITY.md` goes through it boundary by boundary: who may be hostile there, what is promised against him, by what, and
//! which test shows it, and what is not promised. This page has what stands behind that: what is to be protected, what is
//! believed at each boundary and what is not, and what engines, operators, the proxy and the trail add, at length.
//!
//! # Assets
//!
//! 1. Secrets: stored ones, minted ones, keys.
//! 2. The truth of a chain: that what stands there happened, and that what happened stands there.
//! 3. The bounds of a grant.
//! 4. That agents with a right to a credential get one.
//! 5. That a credential ends with its lease, wherever it lives.
//!
//! # What is believed at each boundary
//!
//! | boundary | crosses it | believed | not believed |
//! |---|---|---|---|
//! | network -> `vaultd` | a signed envelope | nothing, until `verify_strict` over the bytes as received and a registered key | headers, metadata, the `kid` beside the payload, the peer's address (it may only narrow) |
//! | agent -> another agent's things | a request that names a lease, a session, a role | the signature's holder is the owner; each look-up is keyed by it | any identifier alone |
//! | agent's launcher -> agent | secrets, opened | the launcher, and every process of the same user | other users |
//! | operator -> `vaultd` | a signed command; secret input sealed beside it | the operator's key, for what it may command | the host it was typed on, beyond that key |
//! | `vaultd` -> database file | rows, sealed records | what carries a code under a key of the ring, in its place, and agrees with the chain | a row because it is there |
//! | `vaultd` -> disk | commits | a commit after its sync | a commit before it; anything after a failed sync |
//! | `vaultd` -> backend of an engine | a mint, a revocation; the vault's own password, as a proof or a login | its answer, as to that backend | silence: the lease stays and is retried; an error, as the end of a lease |
//! | agent -> backend, through `params` | keys, names, a choice among the role's | what a schema knows and the role's lists hold | free text in SQL, in a command, in a certificate |
//! | `vaultd` -> who relies on an authority | certificates, tokens, published lists | | that the list is fetched, and in time |
//! | `vaultd` -> clock | now | within the skew, and never behind the newest entry, unless an operator resets it by a signed command | a clock that runs back |
//! | `vaultd` -> logs and metrics | events | | as a place for secrets; agents' names stand in metrics only when asked for |
//! | vault -> auditor | a chain file, a card | the identity key that the card pins, and what was kept outside | the operator, the vault, the file's end |
//! | custody -> `vaultd` | a custodian's secret: a file, a passphrase stretched at the operator's side, shares, what a program or a token gives | the ring, where the root key that the secret leads to opens it | a custodian's record, before the ring is open; a file that others can read; a contribution that did not come over the unix socket |
//! | operator -> another operator's part | a signed command | the duty in that operator's row, at the door and again in the transaction | the name alone |
//! | whoever knows the operators' unix socket of a sealed vault -> `vaultd` | contributions to unsealing, sealed to a key of that start | what opens a custodian's record and then the ring; what was given for one purpose serves for no other | that somebody gave it: custodians sign nothing; a wrong one costs a second, and shares can be withdrawn, which `vaultctl status` tells |
//! | a command -> the launcher's proxy | a base URL, the proxy's token, requests | the token; a path, host and method that the rules have, in one reading | the command's word on where the secret goes; DNS, beyond the address that was looked at; answers, which are looked through |
//! | a model -> `vault-agent mcp` | names of roles and parameters | the roles that the server was started with | that what it may run as the same user keeps away from the launcher: the proxy, or another user, does that |
//! | a backup -> a restored vault | records, chains, the vault's name and the time, in clear | what opens whole with the key of its time, once; a second piece or another vault becomes nothing | that nothing happened since: every chain says under a new name that it was restored |
//!
//! A statement is believed in the order of the protocol: size, signature over the bytes as received, form, vault, holder and
//! key, time, nonce; and the store asks again, inside the transaction that decides, whatever may have changed meanwhile.
//!
//! **Strangers and clocks.** For a key that nobody has, a decoy is verified with the stranger's own signature, and the
//! store reads as much as for one that somebody has; what is said is one sentence. `tests/timing.rs` compares the time of
//! the three at the door and of the check alone, in turns of random order, by Welch's t over cropped samples and the
//! distance of the medians, and finds an early return and a sixth more work that are put in for it. The first request
//! after a start that names a key has the rows of its holder read, once; that shows to somebody who knows the key.
//!
//! # What an engine adds
//!
//! **The vault's own password at a backend** is a stored secret: sealed at rest for the use `backend`, handed to no
//! agent and shown by no command. It is in the memory of `vaultd` while connections are pooled, also in buffers of
//! libraries that wipe nothing; the process forbids core dumps and tracing by others. Whoever has it may do at the
//! backend what the vault may: make roles with the rights in `grants`, and end sessions. `vaultctl role rotate`
//! exchanges it for one that no person knows.
//!
//! **The key of an authority** is a stored secret of the use `ca`. It leaves the vault in no way, and is opened for
//! each certificate and each signed list; the library that signs X.509 does not wipe its copy. A thief of it makes
//! certificates for anybody until those who trust the authority stop, and stands in no trail. An authority that was
//! imported is as safe as the place where its key was made. An X.509 authority made here may sign leaves and no other
//! authority.
//!
//! **A stolen database file or backup** shows names: of agents, operators, roles, hosts, databases and accounts at
//! backends; the configuration of roles, with an operator's own SQL; handles, serial numbers and times of all leases;
//! how many bytes a stored secret has. The trail shows each request whole: `params` and `purpose` are no place for a
//! secret. It shows no stored secret, no password of the vault's own, no authority's key, and nothing of what was ever
//! minted.
//!
//! **Who had a data key** of before the last rotation, and writes the database, puts nothing back: the vault's own row names
//! the data keys that there are, under the newest of them. A wrapped key beside those is not used, and what it covers does
//! not verify. While rows are covered anew, what does not verify under the key it names is not covered.
//!
//! **Who writes the database** without the root key can change no lease and invent none: the agent's chain is set
//! aside, the agent gets nothing more, and what it holds at backends is left to the sweep. What he can do is take a row
//! away, or put one back as it was (`SECURITY.md` has what was there before rows were covered):
//!
//! | he | and then |
//! |---|---|
//! | deletes a lease at a backend | its agent can neither renew nor release it; the sweep takes the credential away within the hour |
//! | deletes an ended lease from a list | the certificate or token is taken again, until it expires |
//! | deletes what a command has left to take back | the leases it had not yet reached live until they expire; `lease list` shows them |
//! | puts back a lease as it was when it lived | it looks live, and leaves its list, until it expires again; a second end of one lease stands in the chain then, and a verifier finds it |
//! | puts back a lease as it was when it waited | it is undone once more, which finds nothing |
//! | puts back or changes a session | one that ended is taken for open, or one lasts longer, by its own agent alone; a verifier finds the first |
//!
//! **Published lists** name serial numbers. Of SSH certificates these are random. Those of tokens and of X.509
//! certificates are the lease, whose first half is the millisecond in which it was issued; a CRL also says when it was
//! revoked. Who watches the lists learns how much is issued and revoked early, and of nobody by whom. Anyone who can
//! reach the HTTP listener may fetch them. The KRL is not signed; CRL and the list of tokens are.
//!
//! **An operator gone bad reaches what his duty reaches.** An auditor reads all that is shown, which is never a secret, and
//! changes nothing. A responder stops agents, takes back what they have, may seal the vault, and starts nothing again. A grantor gives any
//! agent the roles named to him, and registers new agents, whose names are then taken; he brings no further key of an agent
//! that is there, which would bring all that it was granted. An admin reaches everything, the other operators among it. What
//! each did stands signed in `_operators`, and `vaultctl operator end` puts him out with one command of another admin.
//!
//! **A rule of several persons binds an admin too.** With `grant_create=2` one admin alone has no grant created, lifts no rule,
//! brings no second operator, promotes none, adds no custodian, and registers no further key of an agent. He still writes stored
//! values and roles, unless they are ruled, freezes and seals, and ends the keys of the others, after which nothing under a rule
//! can be done. Two who work together are two. Who holds the root key and the database file is bound by no rule.
//!
//! **What an operator's role says is believed.** He names the host that the vault connects to, and the stored secret
//! that it shows there. A server of his own choice that asks for the password in clear text gets it, over `off` and
//! over a `verify-full` whose authority he brought, and `role check` leaves no entry. Operators can so take any secret
//! of the use `backend`, one by one, to where it can be read; none of the use `kv` or `ca`.
//!
//! # What the proxy keeps from a command, and what not
//!
//! The secret is in the launcher's memory and in the request to the host; the launcher's process is closed to others of its
//! user. The command has neither, whatever it does with the proxy, as long as the host keeps the secret to itself.
//!
//! - Looking through answers is a net under hosts that echo what they were sent, in errors, logs and debugging pages. It is
//!   no wall against a host that helps the command: one that sends the secret reversed, in pieces over several answers, in
//!   letters of another alphabet, or encrypted, has handed it over. Rules name hosts that are trusted with the secret.
//! - A path below which a host repeats what was stored there, in parts that the command chooses (pages of some bytes each),
//!   gives it away in parts. `Range` is not sent on; a host's own parameters are. Allow no such path.
//! - What the host gives for the secret (a session, a token of its own, a signed link) is the command's when it comes in a
//!   body. Cookies are held back unless the rule lets them through.
//! - The command can do with the secret what the rules allow. Queries and bodies are not compared with anything; some
//!   servers take another method or path out of them. Give the role the least right that does.
//! - A covered secret shows its length.
//! - Buffers of the HTTP and TLS libraries are not wiped after use; the launcher leaves no core dump.
//! - The authority is trusted by the command alone, for the rules' hosts alone, and its key is gone when it starts. Whoever
//!   can trace the launcher can read what goes through it. Users who want no TLS ended leave `connect` out.
//! - The proxy is not a fence: what does not ask it, goes past it, without a secret.
//! - Two lengths, or one that is no number, are refused with 400. `Content-Length` beside `Transfer-Encoding` is read by the
//!   latter, as RFC 9112 has it, and each request that goes out is written anew: one came in, and one goes out.
//!
//! # What a forger of the trail meets
//!
//! He wants the chain to say something else than what happened. He has the database and no key; or the audit key of the
//! day, with which a file to show is as good as the database; or every key of the vault, the root key too. No key of an
//! agent or an operator, and nothing that others keep: a head is what an agent has seen, a receipt is an answer that it
//! kept, a checkpoint is one kept outside. "Cut off" means that he drops what follows, so that what catches a cut-off end
//! is what catches him.
//!
//! | he | with the database alone | with the audit key of the day, or all keys | test |
//! |---|---|---|---|
//! | edits an entry | the chain: its signature | `seen` of the next request that was obeyed; of the newest entry a bare file shows nothing: its receipt, a head, a checkpoint | `forger::an_edit` |
//! | edits an entry of an earlier day | the chain | with the key of the day: the life of the key in its certificate; with all keys: `seen` | `forger::an_edit_of_the_day_before` |
//! | puts an entry in | the chain: its number | `seen`. At the end, an entry that needs no signature of an agent contradicts nothing that is kept, until the vault writes on: the next receipt | `forger::an_insertion` |
//! | takes an entry out | the chain: its number | `seen` | `forger::a_deletion` |
//! | changes the order | the chain: its number | `seen` | `forger::a_change_of_order` |
//! | cuts the end off | a bare file shows nothing: a receipt, a head, a checkpoint, `--max-age` | the same | `forger::an_end_cut_off` |
//! | rolls database and mirror back together | the vault cannot know, and a bare file shows nothing: the agent's next request is refused with `history_mismatch` and stands in the chain; a head. An agent that remembers nothing notices nothing | the same | `forger::database_and_mirror_rolled_back_together` |
//! | hides a denial | the chain: its number; at the end as cut off | `seen`; at the end as cut off, and no receipt names a denial: a checkpoint | `forger::a_denial_hidden` |
//! | replaces an issuance | the chain: its signature | what was not asked for: the agent's request; another ciphertext for the same request: its receipt, a checkpoint | `forger::an_issuance_replaced` |
//! | invents an issuance | the chain: its signature | the agent's signature; a request of before stands twice | `forger::an_issuance_invented` |
//! | invents a key, and an issuance with it | the chain: its signature | a bare file shows nothing: `--agent-key`, or `--operators`, where no operator signed it | `forger::an_issuance_invented_under_an_invented_key` |
//! | signs the tail anew | the chain: its signature | a bare file shows nothing: a receipt, a head or a checkpoint of what was there | `forger::a_tail_signed_anew` |
//! | shows two auditors two histories | by cutting off | each file alone is intact: either's checkpoint against the other's file; a witness, who cosigns no history that does not follow, under `--witness-policy` | `forger::two_histories_for_two_auditors` |
//!
//! So a bare file proves that whoever wrote it had the vault's keys, and that each request in it was the agent's, made in
//! view of what stands before. It does not prove that nothing followed the newest request. What does that has to be kept
//! where he cannot reach it.
//!
//! # Assumptions
//!
//! - Ed25519, X25519, SHA-256, HKDF and (X)ChaCha20-Poly1305 hold.
//! - The system's random generator gives random bytes.
//! - A synced write is durable.
//! - Whoever owns the vault's process while it runs owns what it can open from then on.
//! - At least one head or receipt of a chain is kept where the attacker cannot change it.
//!
//! # Not stopped
//!
//! What is not promised stands in `SECURITY.md`, behind each boundary.
