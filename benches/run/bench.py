#!/usr/bin/env python3
"""What an issuance costs: a real vaultd on a real disk, a load beside it, and the bound that its pieces give.

`make bench` builds and runs this. Needs Python 3.9 and nothing else; strace, where it is there, counts syncs.
"""

import sys

import report
from machine import Work, built, busy_cores, load, parser, start, stop, sync_times, syncs_during, taken
from vaultd import ROLES, Vault

PIECES = ("verify_us", "seal_us", "signatures_us", "hashes_us", "rows_us")

PROGRAMS = ("vaultd", "vaultctl", "examples/load")


def arguments(jobs="kv,jwt,ssh,x509", sessions="1,8,64,256"):
    options = parser(__doc__, PROGRAMS)
    options.add_argument("--warm-up", type=float, default=1.0)
    options.add_argument("--sessions", default=sessions)
    options.add_argument("--busy", type=int, default=64, help="the number of sessions for what is not measured at each")
    options.add_argument("--jobs", default=jobs)
    given = options.parse_args()
    if given.trial:
        given.repeats, given.seconds, given.warm_up = 1, 0.5, 0.1
    built(given, PROGRAMS)
    return given


def main():
    given = arguments()
    sessions = [int(number) for number in given.sessions.split(",")]
    jobs = given.jobs.split(",")
    work = Work(given.target, given.trial)
    syncs = sync_times(work.folder)
    machine = report.machine(work, syncs)
    print(f"{machine['cores']} cores of {machine['cpu']}, Linux {machine['kernel']}, {machine['file_system']}: one fdatasync "
          f"takes {syncs[0]:.2f} ms (p99 {syncs[1]:.2f}); others use {busy_cores():.2f} cores now")
    print("SQLite commits with synchronous=FULL; load and vault share the machine\n", flush=True)

    vault = Vault(given.programs, work.folder / "v", max(*sessions, given.busy), {name: ROLES[name] for name in jobs})
    rows, bounds = report.Rows(), []
    timed = ("--seconds", given.seconds, "--warm-up", given.warm_up)

    def one(job, door, count, *more, label=None):
        before = taken(vault.folder)
        figures = vault.load(job, door, "--sessions", count, *timed, *more)
        figures["disk_bytes"] = (taken(vault.folder) - before) / max(figures["all"], 1)
        return rows.add("vaultd", job, label or door, figures)

    vault.start(tls=False)
    vault.enrol()
    for repeat in range(given.repeats):
        print(f"repeat {repeat + 1} of {given.repeats}")
        if vault.daemon is None:
            vault.start(tls=False)
        for job in jobs[:2]:
            busy = None
            for count in sessions:
                figures = one(job, "tcp", count)
                busy = figures if count == given.busy or busy is None else busy
            one(job, "tcp", given.busy, "--rate", max(busy["rate"] / 2, 1))
            bounds.append(bound(given, vault, job, busy, machine["cores"], timed))
        for job in jobs[2:]:
            one(job, "tcp", given.busy)
        one(jobs[0], "unix", given.busy)
        vault.stop()
        vault.start(tls=True)
        for job in jobs[:2]:
            one(job, "tcp", given.busy, label="tls")
        vault.stop()

    vault.start(tls=False)
    counted = {}
    for count in (1, given.busy):
        def few(count=count):
            return vault.load(jobs[0], "tcp", "--sessions", count, "--seconds", 1, "--warm-up", 0)["done"]

        counted[str(count)] = syncs_during(vault.daemon.pid, few, work.folder / "trace")
    vault.stop()
    tell(given, machine, rows, bounds, counted)


def bound(given, vault, job, busy, cores, timed):
    """The pieces of an issuance, measured right after it, and how the whole stands to their sum."""
    server = start([given.programs / "examples/load", "echo-server", "--reply-bytes", busy["reply_bytes"]],
                   stdin=-1, stdout=-1, text=True)
    address = server.stdout.readline().split()[1]
    echo = load(given.programs, "echo", "--address", address, "--request-bytes", busy["request_bytes"],
                "--sessions", busy["sessions"], "--pid", server.pid, *timed)
    server.stdin.close()
    stop(server)
    store = next((vault.folder / "vault/data").glob("*.db"))
    pieces = load(given.programs, "pieces", "--store", store, "--folder", vault.folder, "--group", 1 / max(busy["commits"], 1e-3),
                  "--request-bytes", busy["request_bytes"], "--reply-bytes", busy["reply_bytes"],
                  "--seconds", min(1.0, given.seconds))
    # A token is one signature more.
    more = pieces["signatures_us"] / 2 if job == "jwt" else 0.0
    pieces["signatures_us"] += more
    parts = {name: pieces[name] for name in PIECES} | {"echo_us": echo["server_us"]}
    whole = sum(parts.values())
    # The caller's side of the same: its half of the echo, a signature, a verification.
    caller = echo["client_us"] + pieces["signatures_us"] / (3 if job == "jwt" else 2) + pieces["verify_us"]
    free = max(cores - max(busy["other_cores"], 0.0), 0.1)
    most = min(free * 1e6 / (whole + caller), 1e6 / caller)
    told = {"job": job, "parts_us": parts, "sum_us": whole, "caller_us": caller, "free_cores": free, "bound_rate": most,
            "server_us": busy["server_us"], "rate": busy["rate"], "cpu_over_primitives": busy["server_us"] / whole,
            "rate_over_bound": busy["rate"] / most, "group": pieces["group"]}
    print(f"  {job}: pieces {whole:.0f} us ({', '.join(f'{name[:-3]} {value:.0f}' for name, value in parts.items())}; "
          f"{pieces['group']} a commit), whole {busy['server_us']:.0f} us: x {told['cpu_over_primitives']:.2f}; "
          f"{told['rate_over_bound'] * 100:.0f} % of the bound of {most:.0f}/s", flush=True)
    return told


def tell(given, machine, rows, bounds, counted):
    """The table, the ratios, and the files."""
    told = {"machine": machine, "settings": {"repeats": given.repeats, "seconds": given.seconds}, "rows": rows.json(),
            "bounds": bounds, "syncs_per_issuance": counted}
    for name in ("cpu_over_primitives", "rate_over_bound"):
        told[name] = {job: report.spread([one[name] for one in bounds if one["job"] == job])
                      for job in {one["job"]: None for one in bounds}}
        told[f"{name}_median"] = max(one["median"] for one in told[name].values())
    told["rate_over_bound_median"] = min(one["median"] for one in told["rate_over_bound"].values())
    print("\n" + report.table(told["rows"]))
    print("\nmin/median/max where three figures stand, medians elsewhere. CPU: user and system time of the daemon alone, for one.")
    print("commits: durable transactions for one; disk: growth of the vault's folder, the audit files included.")
    for job, one in told["cpu_over_primitives"].items():
        print(f"{job}: CPU over the sum of its pieces {report.shown(one, 2)}; "
              f"rate over the bound {report.shown(told['rate_over_bound'][job], 2)}")
    for count, calls in counted.items():
        if calls is not None:
            print(f"fsync and fdatasync calls for one, counted by strace at {count} at once: {calls:.2f}")
    stacks = []
    for job in told["cpu_over_primitives"]:
        own = [one for one in bounds if one["job"] == job]
        middle = sorted(own, key=lambda one: one["cpu_over_primitives"])[len(own) // 2]
        stacks.append((f"{job}: pieces", [(name[:-3], value) for name, value in middle["parts_us"].items()]))
        stacks.append((f"{job}: whole", [("vaultd", middle["server_us"])]))
    report.write(given.target / "bench", "bench", told, report.plot("NockVault: what an issuance costs", told["rows"], stacks))
    if sum(row["bad"] for row in told["rows"]):
        sys.exit("bench: some requests failed")


if __name__ == "__main__":
    main()
