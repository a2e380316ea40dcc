#!/usr/bin/env python3
"""What an issuance, a start and the memory cost as a vault grows: filled by requests like any others, looked at on the way.

`make bench-scale` builds and runs this; with a million entries it takes some twenty minutes and six gigabytes of disk.
Needs Python 3.9 and nothing else.
"""

import json
import os
import time

import report
from machine import Work, built, busy_cores, fail, parser, resident, run, sync_times, taken
from vaultd import ROLES, Vault

# A fill goes by slices, none longer than this and the first a short one, so that its end is not far beyond what was asked.
SLICE_S = 20.0
FIRST_S = 1.0

PROGRAMS = ("vaultd", "vaultctl", "vault-verify", "examples/load")


def arguments():
    options = parser(__doc__, PROGRAMS)
    options.add_argument("--steps", default="1000,100000,1000000", help="at how many entries it is looked at")
    options.add_argument("--agents", type=int, default=10_000)
    options.add_argument("--revoke", type=int, default=10_000, help="how many self-contained leases one command takes back")
    options.add_argument("--sessions", type=int, default=64)
    given = options.parse_args()
    if given.trial:
        given.steps, given.agents, given.revoke, given.sessions, given.seconds, given.repeats = "20,60", 6, 20, 4, 0.3, 1
    built(given, PROGRAMS)
    return given


class Growth:
    """A vault that is filled, with what was found on the way."""

    def __init__(self, given, work):
        self.given, self.rows, self.steps = given, report.Rows(), []
        self.vault = Vault(given.programs, work.folder / "v", given.agents, {name: ROLES[name] for name in ("kv", "jwt")})
        self.vault.start(tls=False)
        began = time.monotonic()
        self.vault.enrol()
        took = time.monotonic() - began
        print(f"{given.agents} agents registered and granted two roles each: {took:.1f} s, {3 * given.agents / took:.0f} commands a second", flush=True)
        self.issued, self.rate = 0, None

    def ask(self, role, *more, seconds=None, warm_up=0.0):
        figures = self.vault.load(role, "tcp", "--sessions", self.given.sessions, "--seconds", seconds or self.given.seconds,
                                  "--warm-up", warm_up, *more)
        self.issued += figures["all"]
        if figures["bad"]:
            fail(f"{figures['bad']} requests failed: {figures['fault']}")
        return figures

    def fill(self, role, wanted):
        """Issues until there are so many, to all agents by turns."""
        goal = self.issued + wanted
        while self.issued < goal:
            seconds = min(max((goal - self.issued) / self.rate, 0.3), SLICE_S) if self.rate else FIRST_S
            figures = self.ask(role, "--agents", self.given.agents, seconds=seconds)
            self.rate = max(figures["rate"], 50.0)

    def start_again(self):
        """Stops and starts the daemon. Gives the seconds until it was ready, and its memory then."""
        self.vault.stop()
        began = time.monotonic()
        self.vault.start(tls=False)
        took = time.monotonic() - began
        return took, resident(self.vault.daemon.pid)

    def step(self, entries):
        self.fill("kv", entries - self.issued)
        starts, looks, alone = [], [], []
        for _ in range(self.given.repeats):
            starts.append(self.start_again())
            looks.append(self.ask("kv", "--agents", self.given.agents, warm_up=0.5))
            alone.append(self.ask("kv", "--agents", 1, warm_up=0.5))
        told = {
            "entries": self.issued,
            "live": self.live(),
            "start_s": report.spread([one[0] for one in starts]),
            "start_rss_bytes": report.spread([one[1] for one in starts]),
            "rss_bytes": report.spread([one["rss_bytes"] for one in alone]),
            "server_us": report.spread([one["server_us"] for one in looks]),
            "rate": report.spread([one["rate"] for one in looks]),
            "p99_ms": report.spread([one["p99_ms"] for one in looks]),
            "alone_us": report.spread([one["server_us"] for one in alone]),
            "disk_bytes": taken(self.vault.folder),
            "other_cores": report.spread([one["other_cores"] for one in looks]),
        }
        self.steps.append(told)
        self.say(told)

    def say(self, told):
        middle = {name: value["median"] for name, value in told.items() if isinstance(value, dict)}
        print(f"  {told['entries']:>8} entries, {told['live']:>8} live: start {middle['start_s']:.2f} s in "
              f"{middle['start_rss_bytes'] / 1e6:.0f} MB; {middle['server_us']:.0f} us CPU, {middle['rate']:.0f}/s, p99 "
              f"{middle['p99_ms']:.0f} ms; one agent alone {middle['alone_us']:.0f} us; {middle['rss_bytes'] / 1e6:.0f} MB after; "
              f"{told['disk_bytes'] / 1e6:.0f} MB on disk; others {middle['other_cores']:.2f} cores", flush=True)

    def revoke(self):
        """One command takes back self-contained leases; until the last of them is over."""
        before = self.live()
        self.fill("jwt", self.given.revoke)
        count = self.live() - before
        began = time.monotonic()
        self.vault.ctl("lease", "revoke", "--role", "jwt")
        while self.live() > before:
            time.sleep(0.05)
        took = time.monotonic() - began
        print(f"  {count} leases of {before + count} revoked by one command: {took:.2f} s", flush=True)
        return {"revoked": count, "live": before + count, "seconds": took}

    def live(self):
        """Live leases as they are now: the metric is set now and then."""
        return json.loads(self.vault.ctl("status", "--output", "json"))["leases"]

    def verify(self):
        """The whole trail by the offline verifier, on one core."""
        self.vault.ctl("audit", "export", "--all", "--dir", "trail")
        folder = self.vault.folder / "trail"
        files = sorted(folder.glob("*.audit.jsonl"))
        size = sum(file.stat().st_size for file in files)
        lines = sum(sum(1 for _ in file.open("rb")) for file in files)
        before = os.times()
        run([self.given.programs / "vault-verify", "--vault", self.vault.card, folder], cwd=self.vault.folder, env=self.vault.around)
        after = os.times()
        cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
        print(f"  vault-verify: {lines} entries, {size / 1e9:.2f} GB: {cpu:.1f} s CPU, {lines / cpu:.0f} entries a second and core", flush=True)
        return {"entries": lines, "bytes": size, "cpu_s": cpu, "entries_per_cpu_s": lines / cpu}


def main():
    given = arguments()
    work = Work(given.target, given.trial)
    syncs = sync_times(work.folder)
    machine = report.machine(work, syncs)
    print(f"{machine['cores']} cores of {machine['cpu']}; one fdatasync takes {syncs[0]:.2f} ms; others use {busy_cores():.2f} cores now", flush=True)
    growth = Growth(given, work)
    revoked = [growth.revoke()]
    for entries in (int(step) for step in given.steps.split(",")):
        growth.step(entries)
    revoked.append(growth.revoke())
    told = {"machine": machine, "agents": given.agents, "sessions": given.sessions, "steps": growth.steps, "revoked": revoked,
            "verified": growth.verify()}
    growth.vault.stop()
    first, last = growth.steps[0], growth.steps[-1]
    told["cpu_last_over_first"] = last["server_us"]["median"] / first["server_us"]["median"]
    print(f"CPU of an issuance at {last['entries']} entries over that at {first['entries']}: {told['cpu_last_over_first']:.2f}")
    report.write(given.target / "bench", "scale", told)


if __name__ == "__main__":
    main()
