//! The trail and who reads it: chains and their checkpoints, what an auditor does, and what of it stands outside the vault.
//!
//! # Checkpoints
//!
//! `[checkpoints]` says when the vault signs what a chain is: after `every_entries`, or `every_s` after the first entry
//! behind the newest checkpoint, and when the daemon stops. A checkpoint is an entry too. It costs one signature more and
//! delays no request; it is worth something once it lies where the vault cannot reach it.
//!
//! # Reading the trail
//!
//! | command | what it gives |
//! |---|---|
//! | `vaultctl audit show kit --since 2h --kind deny` | entries, of several chains by time; by `--agent`, `--session`, `--role`, `--lease`, `--kind`, `--since`, `--until` |
//! | `vaultctl audit tail --all --follow` | what comes, across restarts of the daemon; one question a second. A chain that does not go on from what was shown ends it with an error |
//! | `vaultctl audit export --all --dir DIR` | every chain as a file, `_operators` last; `-o jsonl` and files are the lines byte for byte |
//! | `vaultctl audit verify kit` | the verdict on a chain, read from the vault and judged here; 0 intact, 2 tampered with, 1 it cannot be told; `--all` on every chain |
//! | `vaultctl audit list` | each chain's head: kept outside, it shows later that nothing was cut off |
//! | `vaultctl audit checkpoint kit` | the newest checkpoint, with what witnesses added |
//! | `vaultctl audit prove kit 17 --file kit-17.proof` | one entry for a stranger who is to see no other |
//!
//! Each reads in pages and holds none of a chain that is past. `--since` and `--until` are found by bisection; where a
//! clock was put back, entries of before it may be left out: name them by `--from`. `vaultctl audit verify` does not
//! believe the vault, but it asks the vault: an auditor exports, and verifies elsewhere with `vault-verify`.
//!
//! # What an auditor does
//!
//! `vault-verify --vault prod.card --checkpoint keep/ mirror/` verifies every chain in a folder on all cores, holds each
//! against the checkpoint that was kept of it, and looks up in `_operators` what operators are said to have done. It needs
//! no vault and no network; what is past goes to unnamed files in `TMPDIR`, some 110 bytes an entry, so that memory stays
//! at a few MiB whatever the length of the chain. What makes it worth more:
//!
//! | option | what it closes |
//! |---|---|
//! | `--vault CARD` or `--identity KEY` | that the whole file is somebody else's invention |
//! | `--checkpoint`, `--receipt`, `--head` | that the history was changed, or its end cut off, after somebody kept these |
//! | `--witness-policy` | that the vault shows two auditors two histories: independent witnesses saw this one |
//! | `--agent-key KID`, `--directory FILE` | that an operator registered a key of his own as the agent's |
//! | `--max-age 1h` | that an old copy is passed off as the newest |
//! | `--since-checkpoint` | the time for a long chain: from a checkpoint on, with what that leaves open said in the report |
//! | `--proof FILE` | the need for the chain: one entry, under a checkpoint |
//!
//! The report says what is proved, by whose key and from when to when, and what is not. Exit codes: 0 intact, 2 tampered
//! with, at which entry and how, 1 it cannot be told; of several files the worst. `--output json` gives one object a file.
//!
//! # The trail outside
//!
//! What is committed is carried outside behind it, by `[audit]`:
//!
//! | key | what it does | what is promised |
//! |---|---|---|
//! | `dir` | the mirror: a file `<agent>.audit.jsonl` for each chain, and `_operators`, `_vault` | byte by byte what the store has, without gap or repeat, across crashes and rotations |
//! | `syslog` | RFC 5424 over a unix datagram socket, UDP or TCP: the line as the message, `chain`, `seq`, `kind` and `leaf` as structured data | at least once while the receiver's machine lives; datagrams can be lost |
//! | `otlp` | a log record for each line, over gRPC, with or without TLS | at least once, acknowledged |
//!
//! Each runs by itself. One that hangs or is dead delays neither issuing nor another: its entries wait in the store, and
//! it fetches them when it is well again. The log says when one begins to fail, why, and when it is well again;
//! `nockvault_sink_well`, `nockvault_sink_lag_entries` (counted every 15 seconds), `nockvault_sink_failures_total` and
//! `nockvault_sink_last_success_timestamp_seconds` say it for each. A repeat carries the same `seq` and the same leaf. No
//! line holds a secret of an agent; it does hold names, roles and times, so that a syslog over UDP or TCP, which is not
//! encrypted, belongs on a network of your own. A new target of `syslog` or `otlp` gets everything from the first entry
//! on. When the daemon stops, what is left is carried for at most five seconds, by sinks that are well.
//!
//! **The mirror.** The store is the truth: nothing reads the mirror back, and deleting it loses nothing (`vaultctl audit
//! export`). It is not synced; after a power cut it is completed from the store. Its cursors lie in `.state` beside the
//! files: without them the files themselves say where they end. A file that holds anything else than the store does is
//! left as it is, `nockvault_sink_set_aside_total` counts it, and the chain is written to `<agent>.audit.aside-1.jsonl`
//! from its first entry on. What was written before is read again only where it is gone on from: whether a file was
//! changed in its middle is for `vault-verify`.
//!
//! `deploy/logrotate` turns the files. The daemon needs no signal. Let `delaycompress` stay where there is `compress`.
//! With `copytruncate` the copy must lie in the same folder: the daemon reads where it ends, and writes again what came
//! between copying and emptying. Where it finds no copy it says that a few entries may be missing there.
//!
//! # Checkpoints outside
//!
//! Whoever keeps a checkpoint outside of the vault holds the vault to all that stood before it. `[checkpoints]` says who:
//!
//! | `places` | what is there | what it is good for |
//! |---|---|---|
//! | `"dir:/mnt/keep"` | `<chain>.checkpoint`, the newest, replaced as a whole | another machine's disk, or one that keeps versions; the folder is not made where it is not mounted |
//! | `"https://keep.example/notes/"` | `PUT` of `<chain>.checkpoint` below it | a store with versions that cannot be deleted |
//! | `"https://keep.example/add"` | `POST` of each note | a program of yours; it answers 2xx, or 409 where it has another history |
//!
//! `policy = "witnesses.policy"` names witnesses (c2sp.org/tlog-policy): lines `witness NAME VKEY https://host/prefix`, and a
//! `quorum`. Each is asked to cosign the newest checkpoint of each chain; tell it the logs by `vaultctl keys export
//! --witness`. A chain that a witness does not know is no failure; the log says so once. The cosignature stands with the
//! checkpoint from then on, also in the places, in `vaultctl audit checkpoint` and in proofs.
//!
//! Each place is served by itself, tried again without end at most half a minute apart, and gets the newest checkpoint
//! when it is back. `nockvault_sink_well{sink="dir:/mnt/keep"}` and `{sink="witness:NAME"}` say whether it is well,
//! `nockvault_sink_failures_total` how often it was not. TLS is checked against the system's authorities, or those of
//! `SSL_CERT_FILE`.
//!
//! Where a place holds a checkpoint on which the vault's chain does not follow, nothing is overwritten, the log says so as
//! an error, and `nockvault_sink_set_aside_total` counts it. The vault's database was put back, or somebody else has
//! its keys, or the place was changed: copy the file and the data directory, then find out. Issuing goes on; a place
//! cannot stop a vault. Take the file out of the folder once it is settled.
//!
//! # Public keys for others
//!
//! `vaultctl keys export --file prod.keys` writes the key directory: the vault's own keys, those of agents and of
//! operators, with names and with the time in which each is good, signed by the vault. Whoever has it checks offline.
//! It is good for an hour; a key that was ended since is shown as good until then, so fetch it often. Anybody gets it
//! without names from `/.well-known/nockvault/keys`, at most a minute old; `names = true` under `[http]` gives names
//! too.
//!
//! `vaultctl keys export --witness` writes the key of checkpoints under the name of each chain, as a witness is told of
//! the logs it may cosign.
//!
//! A client that is given a directory (`Surroundings::directory`) believes no response key that does not stand in it:
//! then a stolen identity key alone makes nobody believe a false vault, as long as the directory came another way.
