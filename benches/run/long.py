#!/usr/bin/env python3
"""What an issuance costs at the end of a chain of any length, to its own agent and to others, and what a start costs then.

`make bench-long` builds and runs this. The entries are made by the vault's own store without the daemon (`load fill`);
ten million take half an hour or more and eleven gigabytes of disk. There is no mirror, which would write them once more.
Needs Python 3.9 and nothing else.
"""

import re
import time

import report
from machine import Work, built, busy_cores, fail, load, parser, resident, run, sync_times, taken
from vaultd import ROLES, Vault

PROGRAMS = ("vaultd", "vaultctl", "vault-verify", "examples/load")


def arguments():
    options = parser(__doc__, PROGRAMS)
    options.add_argument("--sizes", default="1000,100000,1000000,10000000", help="how long the chain is when it is looked at")
    options.add_argument("--sessions", type=int, default=64)
    given = options.parse_args()
    if given.trial:
        given.sizes, given.sessions, given.seconds, given.repeats = "20,60", 4, 0.3, 1
    built(given, PROGRAMS)
    return given


class Chain:
    """A vault of which one agent has a long chain, and the others have short ones."""

    def __init__(self, given, work):
        self.given = given
        self.vault = Vault(given.programs, work.folder / "v", given.sessions, {"kv": ROLES["kv"]})
        text, found = re.subn(r"^dir = ", "# dir = ", self.vault.config.read_text(), flags=re.M)
        if found != 1:
            fail("the mirror's folder does not stand in the configuration")
        self.vault.config.write_text(text)
        self.vault.start(tls=False)
        self.vault.enrol()
        self.vault.stop()

    def fill(self, entries):
        began = time.monotonic()
        told = load(self.given.programs, "fill", "--vault", self.vault.card, "--seed", self.vault.folder / "load.seed",
                    "--config", self.vault.config, "--entries", entries)
        return told["entries"], time.monotonic() - began

    def ask(self, *more):
        figures = self.vault.load("kv", "tcp", "--seconds", self.given.seconds, "--warm-up", min(self.given.seconds, 1.0), *more)
        if figures["bad"]:
            fail(f"{figures['bad']} requests failed: {figures['fault']}")
        return figures

    def look(self, size):
        """One row: it starts, and is asked by the owner of the long chain, by one session of it, and by all."""
        entries, took = self.fill(size)
        starts, rows = [], {"own": [], "one": [], "all": []}
        for _ in range(self.given.repeats):
            began = time.monotonic()
            self.vault.start(tls=False)
            starts.append((time.monotonic() - began, resident(self.vault.daemon.pid)))
            rows["own"].append(self.ask("--sessions", self.given.sessions, "--agents", 1))
            rows["one"].append(self.ask("--sessions", 1))
            rows["all"].append(self.ask("--sessions", self.given.sessions))
            self.vault.stop()
        told = {"entries": entries, "fill_s": took, "disk_bytes": taken(self.vault.folder),
                "start_s": report.spread([one[0] for one in starts]), "start_rss_bytes": report.spread([one[1] for one in starts])}
        for name, runs in rows.items():
            told[name] = {member: report.spread([run[member] for run in runs])
                          for member in ("server_us", "rate", "p50_ms", "p99_ms", "rss_bytes", "other_cores")}
        self.say(told)
        return told

    def verify(self):
        """What was entered without the daemon stands before the offline verifier as anything else does."""
        self.vault.start(tls=False)
        self.vault.ctl("audit", "export", "--all", "--dir", "trail")
        self.vault.stop()
        verifier = self.given.programs / "vault-verify"
        run([verifier, "--vault", self.vault.card, self.vault.folder / "trail"], cwd=self.vault.folder, env=self.vault.around)

    def say(self, told):
        row = f"  {told['entries']:>8} entries ({told['fill_s']:.0f} s to fill): start {report.shown(told['start_s'], 2)} s"
        for name, who in (("own", "its agent"), ("one", "one session of it"), ("all", "all agents")):
            here = told[name]
            row += f"; {who} {report.shown(here['server_us'])} us CPU, {here['rate']['median']:.0f}/s"
        print(f"{row}; {told['all']['rss_bytes']['median'] / 1e6:.0f} MB; {told['disk_bytes'] / 1e9:.2f} GB on disk", flush=True)


def main():
    given = arguments()
    work = Work(given.target, given.trial)
    syncs = sync_times(work.folder)
    machine = report.machine(work, syncs)
    print(f"{machine['cores']} cores of {machine['cpu']}; one fdatasync takes {syncs[0]:.2f} ms; others use {busy_cores():.2f} "
          f"cores now; {given.repeats} runs of {given.seconds:.0f} s each, minimum/median/maximum", flush=True)
    chain = Chain(given, work)
    wanted = [int(size) for size in given.sizes.split(",")]
    chain.fill(wanted[0])
    chain.verify()
    sizes = [chain.look(size) for size in wanted]
    told = {"machine": machine, "sessions": given.sessions, "sizes": sizes}
    told["cpu_last_over_first"] = sizes[-1]["own"]["server_us"]["median"] / sizes[0]["own"]["server_us"]["median"]
    print(f"CPU of an issuance at {sizes[-1]['entries']} entries over that at {sizes[0]['entries']}: {told['cpu_last_over_first']:.2f}")
    report.write(given.target / "bench", "long", told)


if __name__ == "__main__":
    main()
