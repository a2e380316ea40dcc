//! Who may attack, what stops them, and what does not.
//!
//! `SECURITY.md` lists the promises and the test that holds each. This page says for each adversary what he has, what
//! he wants, and where he ends.
//!
//! # Assets
//!
//! 1. Secrets: stored ones, minted ones, keys.
//! 2. The truth of a chain: that what stands there happened, and that what happened stands there.
//! 3. The bounds of a grant.
//! 4. That agents with a right to a credential get one.
//! 5. That a credential ends with its lease, wherever it lives.
//!
//! # Adversaries
//!
//! | who | has | wants | ends at |
//! |---|---|---|---|
//! | a stranger on the network | the address | names, memory, a full disk | one answer and alike time for unknown agent, unknown key and bad signature; limits before parsing; refusals counted, not chained |
//! | a reader of the wire or of a log | captured requests and replies | a secret, a second issuance | replies are sealed to a key in the session's memory; a request names its vault, its session, its nonce and its minute |
//! | a proxy that terminates TLS | requests and replies, and may change them | the same, or a wider request | nothing unsigned widens what is allowed; the signed bytes are verified as received |
//! | a compromised agent | its key and its session | more than its grants, another's leases, a quiet trail | its own live grants; leases are looked up under their owner; its requests stand in its chain with its signature |
//! | a model, or who writes into its conversation | the tools of `vault-agent mcp` | a value in the conversation, other roles | answers cannot hold a value; the roles that the server was started with. What the model may run as the same user it can also read: the proxy, or another user, ends that |
//! | another agent | its own key | to fill or confuse a neighbour's chain | only requests that the neighbour's key signed reach its chain |
//! | who can write the database | the file | a key, a grant, a revived lease | rows that decide carry a code under a key that the file does not hold, and agree with the chain |
//! | who holds a backup, and not the root key of its time | the file | secrets, names, an older vault under the same keys | it shows the vault's name, when it was made, and its length; it opens with that key alone, and what was cut or changed becomes nothing |
//! | who restores a backup, to undo what was done since | the root key, the backup, the machine | that nobody sees it | every chain says so under a new name; each agent that had seen more is told, signed, and its owner asked; heads, receipts and checkpoints of the lost time are told as such and stay what they are |
//! | who can read the database | the file, the log of writes, a backup | secrets | records are encrypted to their place; minted secrets are never stored |
//! | an operator | his own key | to invent an issuance, to hide a command | an issuance needs the agent's signature; commands stand signed in `_operators` |
//! | the vault's host, from some moment on | the running process | to rewrite the past | heads and receipts that others keep; audit keys of past epochs are erased |
//! | who takes over the running daemon by a hole in it | its memory, and so all that the vault can do until it is stopped | the rest of the machine, the root key's file, to stay after a restart | nothing can be run, no other process, file or listening port is within reach, no memory becomes code, and most of the kernel's doors are shut (`[host]`). Backends, agents and the data directory are the daemon's work and stay within reach |
//! | who reaches the operators' unix socket of a sealed vault | the socket | to open it, to have it opened with a secret of his, to keep others from it | what he gives must open a custodian's record and the ring; a wrong contribution costs a second; he learns who the custodians are and which shares were given, and can withdraw shares, which is told by `vaultctl status` |
//! | who holds what opens a custodian: a root key's file, a passphrase, enough shares | the secret, and the operators' unix socket | to command the vault, past its operators and past their rules of several persons | nothing: custody is that power, by design, and whoever has it could read the database anyway. He cannot do it unseen: the operator that he makes stands in `_operators` as made by custody, with the custodian and the shares, in every report, log and alert. Shares are what makes it several persons; a file is one person, whoever reads it |
//! | who took down what others gave to unseal | sealed bytes, the socket | to have an operator made with them | they are sealed for unsealing, and to a key of that time; what is given to recover is sealed for one statement |
//! | who takes the machine of a sealed vault | its memory and disk | keys | the daemon has seen for itself that nothing holds them any more, or has ended; what came to unseal it travelled sealed to a key of that time alone |
//! | another process of the daemon's user | that user's rights | keys out of memory, a core file, swap | tracing and core files are off, memory is locked where the machine allows it; what the user may read it may read, so the user is the daemon's alone |
//! | an agent that denies | its own key | to have asked for nothing | its signed request stands in the entry |
//! | an agent with a login at a backend | what its role may do there | to stay after its lease, or to become more there | it is locked out and its sessions are ended, whatever it holds; what it leaves behind is dropped, or has an owner that the role names |
//! | an agent that fills in `params` | free text and keys | to reach SQL, a shell, a certificate's fields, another's name | a schema that knows each member; values out of the role's lists; quoting where the engine, and not the caller, writes |
//! | a backend that is not to be trusted | what the vault sends it | the vault's password, other agents' logins | it is given verifiers and never a minted password; see below for the vault's own |
//! | a command behind the proxy | a base URL, the proxy's token, all that comes back | the secret that is put into its requests; another path, host or method with it | the secret is put in after the last thing the command can say; hosts, methods and paths are the rules', and a path of two readings is refused; answers are looked through; see below for what that is worth |
//! | another process on the launcher's machine, a page in a browser there | the proxy's port | to have the secret put into its requests | a token of 32 random bytes, in the path or as the proxy's password; base URLs under the listener's own name alone |
//! | who answers for a name | DNS | to have a request with a secret sent to a machine of his, or within the network | the host's certificate; one look-up for each connection, to the address that was looked at; no private address unasked, no link-local one and no cloud's metadata ever |
//! | a reader of a published list | the list, over HTTP | who there is, and what they hold | serial numbers and times, and no names |
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
//! - A key taken out of a running launcher signs until it is revoked.
//! - A secret of the `kv` engine was known and stays known: its end is a change at its source.
//! - An operator who registers a key of his own as "kit" is found by those who pinned kit's key outside, and by no one
//!   else.
//! - A child of the same user can read what its user can read, but for what Landlock closes to it, and can have an
//!   ssh-agent of that user sign. It can do neither as another user.
//! - An ssh-agent that the vault's certificates are served in signs logins for whatever runs as the child's user, while the
//!   launcher runs. Which hosts, and as whom, is the role's to say; a host to which it is forwarded gets nothing signed.
//! - Whatever runs as the child's user may ask a launcher's socket for the launcher's roles, or keep it busy. In tight mode
//!   it needs the token, which it can take out of a child that it may trace.
//! - A helper gives a tool the secret itself; what the tool does with it, and where it keeps it, is the tool's.
//! - A signature proves "a holder of kit's key", never "the model".
//! - A chain file alone does not show that its end was cut off. A head, a receipt or a checkpoint kept outside shows it.
//! - A place that the vault may write to can be overwritten by whoever has the vault. What counts is what the place keeps
//!   besides: versions, or a witness, who signs no second history.
//! - A vault that is stopped, or a host that is taken away, issues nothing. It takes nothing away at backends either;
//!   there only that ends which ends by its own time, as a `VALID UNTIL` keeps new logins out and ends no session.
//! - A token or a certificate is good until it expires wherever the list is not read. A list is as fresh as the last
//!   time it was fetched; a session or connection that is open stays open.
//! - What an agent did at a backend while it might stays done: rows it read, rows it wrote, and objects that
//!   it made as a group that it was a member of, or that the role's `owner` got. A function or view among these runs
//!   with that owner's rights; the vault's own role is never that owner.
//! - A minted role that owns objects in a database that the vault may not enter, or on which others built theirs, is
//!   locked out and has no session and no membership, but is not dropped until somebody removes them.
//! - Limits by address bound who has few. Somebody with thousands of addresses, or a /48 of IPv6, has a burst for each, and
//!   the places of all agents (`connections`, `concurrent_requests`) bound him and hold up others. The tables of addresses do
//!   not grow with him, and he can push nobody's account out of them to anybody's harm but his own. Operators' sockets are
//!   not reached by it.
//! - A proxy that puts many agents onto one connection makes them one peer: one that is told to wait holds up the others on
//!   that connection for as long.
//! - A login at a backend can exhaust that backend: its connections, its locks, its disk. While it does, the vault may
//!   come late to end it; the lease shows as stuck.
//! - A backend that says that a credential is gone is believed.
//! - A request that was on its way to a backend when its role's or its agent's leases were revoked may become a lease
//!   just after, and is then revoked within a second or two. An ended key and a grant taken back prevent it.
