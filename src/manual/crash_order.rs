//! What a crash leaves, step by step, and what recovery does with it.
//!
//! A process may end between any two instructions, and a disk may lose what was not synced. So each write of more than
//! one step has an order in which every prefix is safe, and recovery runs the same code as the ordinary path. Beside
//! each step in the source stands a comment that says what a crash at that place leaves; this page gathers them.
//! `tests/powercut.rs` makes every kind of disk that a power cut can leave, from a record of what is written and synced, and
//! begins on it. `tests/syscalls.rs` has each call about files fail in a real daemon; after an error that leaves open what is
//! durable (anything but a full disk), the store refuses everything and the daemon ends, so that the next start reads what
//! there is.
//!
//! `tests/killed.rs` stops a real daemon at named steps (`src/failpoint.rs`), kills it there, with the backend up and
//! with it down, and looks at what is left after the next start.
//!
//! # The life of a lease
//!
//! ```text
//!               commit            the agent gives it back, or closes its session
//!  intended --------------> live ------------------------------------------------> released
//!      |                     |
//!      | broken off          |---- an operator takes it back -------------------> revoked
//!      v                     |---- its time or its session runs out ------------> expired
//!  abandoned                 '---- the answer never left -----------------------> undelivered
//! ```
//!
//! [`crate::lease::State::leads_to`] is this picture; no other step is taken. Only a credential that lives at a backend
//! begins as an intent. The others begin live, and for them an end is the end. What lives at a backend then waits:
//!
//! ```text
//!  released, revoked, expired, undelivered, abandoned
//!      |
//!      v          its backend has taken it away, or has nothing of that name
//!    waits -----------------------------------------------------------------------> undone
//!    |   ^
//!    |   | in vain: tried again later, without end
//!    |   '-------
//!    | an operator gives up (`lease revoke --force`)
//!    '----------------------------------------------------------------------------> forgotten
//! ```
//!
//! # Issue, an engine without outside effect (`kv`, `jwt`, `ssh`, `x509`)
//!
//! | step | durable afterwards | a crash here leaves | recovery |
//! |---|---|---|---|
//! | 1. checks | nothing | nothing; the nonce was reserved in memory only | none: the same bytes may come once more |
//! | 2. mint and seal | nothing | a sealed secret in memory that is gone with the process | none |
//! | 3. commit: nonce, session, lease, use count, entry | all of it, or nothing | before the commit is durable: as step 2 | the writer reads heads from the store; memory moves only after the commit |
//! | 4. answer | | a lease whose secret nobody received | the agent releases it by `req`, or it expires; what expires is ended at the start too |
//!
//! # Issue, an engine with an effect outside (`postgres`)
//!
//! | step | durable afterwards | a crash here leaves | what undoes it |
//! |---|---|---|---|
//! | 1. checks | nothing | nothing | none: the same bytes may come once more |
//! | 2. intent: nonce, use count, lease (`intended`, with its request) | all of it, or nothing | an intent, and nothing at the backend | before the next start serves anyone, the intent ends as `deny` (`interrupted`) and the lease as `abandoned`; then it waits for its backend like any other |
//! | 3. mint | the credential, at the backend | the intent, and a credential that nobody was given | the same |
//! | 4. seal | | the same | the same |
//! | 5. commit: session, lease `live`, entry; all that decides is decided again | all of it, or nothing | before the commit is durable: as step 3 | the same |
//! | 6. answer | | a live lease whose secret nobody received | the agent releases it by `req`, or it expires |
//!
//! Where the backend refuses or does not answer in time, where the commit finds that a grant or a key is gone
//! meanwhile, the same `deny` is written at once. What came to nothing may still be under way to the backend: until a
//! call can no longer land there (`Engine::lingers`), that nothing is found proves nothing, and the lease goes on
//! waiting.
//!
//! A daemon that lives, but whose request was dropped in the middle, leaves an intent too. It is taken to be broken off
//! after twice the time that its steps may take, and ends the same way.
//!
//! # The deadline
//!
//! A queued commit is withdrawn when its caller's deadline passes. One that may still land is answered
//! `outcome_unknown`; if it lands, the lease is revoked with an `undelivered` entry. The caller signs a new request and
//! never sends the same bytes again.
//!
//! A disk that fails while it commits is answered `outcome_unknown` too, and ends the daemon. What of that commit is on
//! the disk all the same the next start finds live, as after a crash before the answer: its secret never left, and it
//! expires, or its agent releases it by `req`.
//!
//! The caller may also be gone, its connection closed, when the commit lands. The writer sees that nobody took the
//! answer and ends the lease in its next commit. A crash between the two leaves a live lease that nobody received: it
//! expires, or its agent releases it by `req`.
//!
//! # Renewal
//!
//! | step | a crash here leaves | what undoes it |
//! |---|---|---|
//! | 1. the backend bears the credential for longer | a credential that its backend would bear longer than its lease | the lease's end, at its old time |
//! | 2. commit: the lease's new end, entry `renew` | a lease that lives on, and an agent that may not know | it asks again, or the lease expires |
//!
//! A renewal that is refused in the second step leaves what a crash after the first does. A lease never outlives what
//! its backend bears.
//!
//! # The end of a lease
//!
//! Release, close, revocation, expiry and `undelivered` are one transaction each: the lease's row, and its entry. A
//! crash before the commit leaves the lease as it was: what is over by its time is ended at the next start, what
//! somebody asked for is asked for again. What the transaction leaves waiting, an index finds by when it is due; no
//! list in memory is needed, and none is lost.
//!
//! # Undoing at a backend
//!
//! | step | a crash here leaves | what goes on |
//! |---|---|---|
//! | 1. the lease is over | a lease that waits | the loop finds it, now or after the next start |
//! | 2. the backend has taken the credential away | the same | the next try finds nothing there, and says `absent` |
//! | 3. commit: it waits no more, entry `undone` | nothing to do | |
//!
//! A try in vain commits when the next one is due, and what the backend said. How long a backend is left alone after it
//! could not be reached is kept in memory alone: a new start tries at once.
//!
//! Inside `postgres`, a role goes in steps that may each be the last, and each begins where the one before has ended:
//!
//! | step | a crash here leaves | called again |
//! |---|---|---|
//! | 0. the vault's role is made a member of it | the role as it was | it locks it out |
//! | 1. locked out (`NOLOGIN`), committed | a role that cannot log in, perhaps with sessions | it ends them |
//! | 2. its sessions are ended | a role without sessions, perhaps with memberships, prepared transactions and objects | it takes them away |
//! | 3. what it owned is dropped or reassigned, its rights are dropped, in each database where there is something | a role with nothing | it drops it |
//! | 4. dropped | no role | `absent` |
//!
//! Minting and removing exclude each other by a lock at the server, under the role's name: a creation that is still on
//! its way when its caller has given up either is there when the removal looks, or never comes. Whoever may log in may
//! also take that lock: it is needed to say that a role is not there, and never to take one away.
//!
//! # Revocation of many
//!
//! | step | durable afterwards | a crash here leaves |
//! |---|---|---|
//! | 1. commit: the command, its first 100 leases, and a row that says what is left, intents of the scope among it | all of it, or nothing | before: nothing, and the command may be given again |
//! | 2. the rest in parts of 200, each a commit | a part | the row, from which the next start goes on |
//! | 3. the last part; the row goes with it | nothing is left | |
//!
//! What was asked for after the command is not meant by it, however long the rest takes; an intent that was there is
//! taken back as soon as it is a lease, also where the clock was put back since and dates it later than the command.
//! Each lease then waits for its backend on its own. `agent end-key` ends all keys in the first commit, and the
//! leases the same way.
//!
//! # Sweep
//!
//! | step | a crash here leaves |
//! |---|---|
//! | 1. the backend lists what this vault made there | nothing |
//! | 2. what no lease answers for is taken away | an orphan that is gone, and no entry: the log alone had it |
//! | 3. entry `swept` in `_vault` | nothing to do |
//!
//! The list is older than the look at the leases, and a credential is younger than its intent: nothing that is being
//! issued is taken for an orphan.
//!
//! # The vault's own password at a backend (`role rotate`)
//!
//! | step | stored | at the backend | a crash here leaves |
//! |---|---|---|---|
//! | 1. the backend takes the newest version that is stored | n | n | what was; or an earlier rotation, now complete |
//! | 2. commit: version n + 1 and the command, if n is still the newest | n + 1 | n | two versions, the older of which is good |
//! | 3. the backend takes it, and a login proves it | n + 1 | n + 1 | two versions, one of which is good |
//!
//! Each connection tries the newest version, and where the backend refuses it, the one before. A further version is
//! stored only after the backend has taken the newest, so that the good one is always among these two.
//!
//! # Authorities and stored secrets
//!
//! An authority is made in memory and committed together with its command. A crash before leaves nothing: the name is
//! free, and nobody has seen the key. To import or to certify one is the same; a new version is stored only behind the
//! version that it was made from. So it is with `secret put` and `secret rollback`.
//!
//! Published lists are made from the leases' rows whenever somebody asks. A crash loses none.
//!
//! # The turn of an audit epoch
//!
//! The new key's first entry, `start` or `epoch` in `_vault`, is committed together with the count of epochs. A crash
//! before leaves the old count; the key is gone with the process, and the next start makes another. A key that signed
//! nothing leaves no trace.
//!
//! # A checkpoint
//!
//! | step | durable afterwards | a crash here leaves |
//! |---|---|---|
//! | 1. the note is signed, over the tree that the chain's row holds | nothing | nothing; the chain stays due |
//! | 2. commit: the entry with the note, and in the chain's row the new tree, which checkpoint is the newest, and that none is due | all of it, or nothing | before the commit is durable: as step 1; the next round signs anew, perhaps of a larger size |
//! | 3. it is carried to others | | the newest checkpoint in the store, from which whoever carries it goes on |
//!
//! Two notes of one chain and different sizes never contradict each other: both are of the same tree. A note that was
//! signed and not committed leaves the process with nobody. At the stop as many chains as can be reached in five seconds
//! get one; the others stay due.
//!
//! # A start after a daemon that was broken off
//!
//! | step | a crash here leaves |
//! |---|---|
//! | 1. commit: `start` | a start that says nothing more; the next one finds no `stop` before it either |
//! | 2. intents end, in parts | a part; the next start ends the rest, and counts only that |
//! | 3. commit: `recover` | all of it |
//! | 4. commit: `config`, where the limits are others | the limits as they stood; the next start compares again |
//!
//! # The mirror and the other sinks
//!
//! Each step is behind the commit, so that a crash loses nothing of the trail; it is carried at the next start.
//!
//! | step of the mirror | a crash here leaves |
//! |---|---|
//! | 1. lines are appended to the file, in one write | all of them, some, or a part of a line: the next start finds by the files where they end, and completes the line |
//! | 2. the cursor moves, in memory | lines beyond the cursor on disk, at most of a second; they are found in the file |
//! | 3. the cursor is written whole, then renamed | the old cursor or the new one |
//!
//! The same search runs when a file is found renamed or emptied, so that a crash in the middle of a rotation is no case of
//! its own: the file with the cursor's inode is looked for beside the live one, and after it the newest line in the
//! files beside it. A power cut may take the end of a file that was not synced: a cursor of another run of the machine
//! is not believed where the file is shorter. A syslog or a collector gets again what was sent after its cursor was
//! written last.
//!
//! # A reset of the clock
//!
//! The command, the new floor, that there is one more reset, the first entry of `_vault` under the new audit key, until when
//! keys are accepted or published that were replaced in the false future, with the `clock_reset` of their chains, and the
//! first part of what is taken back are one transaction. A crash before it leaves a vault that gives nothing; the command
//! may be given again. After it, each other chain writes its `clock_reset` together with its next entry: the chain's row says
//! how many it has, the vault's row how many there were, so that no crash and no restart leaves one out or writes one
//! twice. The rest of what is taken back is a row, as with a revocation of many. How far the chains were read for what was
//! signed in the false future stands in the vault's row, and moves together with the nonces that were found.
//!
//! # A backup
//!
//! | step | a crash here leaves |
//! |---|---|
//! | 1. the command, in `_operators` | a command of which no backup came |
//! | 2. the copy of the database | a file `backup.copy`, removed by the next start or backup |
//! | 3. the copy loses its name, and goes out encrypted | nothing; at the other end a `.part` that is no backup |
//! | 4. `vaultctl` syncs its file and gives it its name | a whole backup |
//!
//! # A restore
//!
//! | step | a crash here leaves |
//! |---|---|
//! | 1. the whole backup is read and verified | nothing |
//! | 2. `vault.db.part` is written, verified chain by chain, and marked as restored | a folder that holds no vault; remove it |
//! | 3. it becomes `vault.db` | the same: there is no configuration yet |
//! | 4. certificate, card, at last `vaultd.toml` | a vault, on which no daemon has begun |
//! | 5. the first start: new certificates, then `restore` and `start` in `_vault`, the new floor and what is to be taken back, in one transaction | before it, a vault on which no daemon has begun; after it, one that says so |
//! | 6. each other chain writes its `restore` with its next entry | nothing that is missing: the chain's row says how many it has heard of |
//!
//! # The turn of the key for tokens
//!
//! The key, when it signs, until when those before it are published, and the command are one transaction. A crash
//! before it leaves all as it was. A crash after it, or a caller that never heard of it, leaves a key that this process
//! does not know yet: the next start reads it, or the daemon itself within a minute, long before it signs unless it was
//! told to sign at once.
//!
//! # Custody: a custodian added or removed, the root key rotated
//!
//! | a crash after | leaves |
//! |---|---|
//! | 1. the command, in `_operators` | the old root key, sealed to the old custodians |
//! | 2. the new root key, sealed to each custodian that is to have it | the same: nothing is committed |
//! | 3. the ring, wrapped by it | the same |
//! | 4. the commit of all of it | the new root key, sealed to the new custodians; whoever commanded may not have heard |
//!
//! # Founding
//!
//! The rows and the first entries of a vault are one transaction. A crash before it leaves a database that holds no
//! vault, which is refused and must be removed; the configuration is written last, so that a folder without one holds
//! no vault.
//!
//! # A new version of the tables
//!
//! Each migration is one transaction with the number of its version. A crash between two leaves the version of the
//! first, and the next start goes on from there. The one that builds trees reads every leaf once; a chain whose row or
//! lines do not fit is left as it is, and is set aside like any other that does not verify.
//!
//! # Rotation of the data keys
//!
//! The command, the new data key, the new root key sealed to the custodians, the ring wrapped by it and the vault's own row
//! are one transaction. A crash before it leaves the old ring under the old root key; after it the new one under the new.
//!
//! | a crash after | leaves |
//! |---|---|
//! | the command | two data keys; what older rows hold opens under the old one |
//! | any part of the rows | the same with fewer rows of the old key: the next start goes through all rows once more |
//! | the last part | the same without such rows: the next start finds that and deletes the old key |
//! | the deletion | the new key alone |
//!
//! A backup of any of these moments holds the keys that its rows name, and the store that is made of it goes on likewise.
//!
//! # What a failed write means
//!
//! - A request that fails alone rolls back to its savepoint; the others of its group commit.
//! - A full disk refuses what issues, and a reserve of disk keeps revoke, release, close and expire working.
//! - A failed sync is the end of the process: what the kernel holds can no longer be trusted. It stops, restarts and
//!   recovers.
//! - A chain whose row or newest line does not fit at start, or whose deciding rows or leases do not fit when they are
//!   read, or of which any line does not hold when all are inspected in the background, is set aside, loudly. The others go on. Nothing of such a chain can be ended or recorded any more; what its
//!   agent holds at backends is left to the sweep, once it would have ended.
