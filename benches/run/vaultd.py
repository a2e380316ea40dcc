"""A vault of its own for a bench: made by `vaultctl init`, with no limit that the load could meet."""

import os
import re
import subprocess
import urllib.request
from pathlib import Path

from machine import fail, free_port, load, run, start, stop

ROOMY = {
    "leases_per_agent": 1_000_000, "sessions_per_agent": 100_000, "nonces_per_key": 10_000_000,
    "concurrent_requests": 4096, "concurrent_requests_per_peer": 4096, "agent_requests_per_s": 1_000_000,
    "agent_request_burst": 10_000_000, "peer_requests_per_s": 1_000_000, "peer_request_burst": 10_000_000,
    "peer_connections_per_s": 100_000, "peer_connection_burst": 1_000_000, "connections": 8192,
    "connections_per_peer": 8192,
}


class Vault:
    """A vault and its daemon."""

    def __init__(self, programs, folder, agents, roles):
        self.programs, self.folder, self.daemon = programs, Path(folder), None
        self.folder.mkdir(parents=True, exist_ok=True)
        self.around = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "USER": "ada"}
        self.ctl("init", "--name", "bench", "--dir", "vault", "--operator", "ada",
                 "--listen", f"127.0.0.1:{free_port()}", "--http", "127.0.0.1:0")
        self.config = self.folder / "vault/vaultd.toml"
        text = self.config.read_text()
        for name, value in ROOMY.items():
            text, found = re.subn(rf"^{name} = \d+$", f"{name} = {value}", text, flags=re.M)
            if found != 1:
                fail(f"the limit {name} does not stand in the configuration")
        self.config.write_text(text)
        self.card = next((self.folder / "vault").glob("*.card"))
        self.agents, self.roles = agents, roles

    def ctl(self, *arguments, given=None):
        return run([self.programs / "vaultctl", *arguments], cwd=self.folder, env=self.around, input=given)

    def start(self, tls):
        """Starts the daemon with TLS or without. Gives how to reach it: by `tcp` and by `unix`."""
        text = self.config.read_text()
        text = re.sub(r"^#?(cert|key) = ", "\\1 = " if tls else "#\\1 = ", text, flags=re.M)
        text = re.sub(r"^#?\[tls\]", "[tls]" if tls else "#[tls]", text, flags=re.M)
        self.config.write_text(text)
        log = (self.folder / "vaultd.log").open("ab")
        self.daemon = start([self.programs / "vaultd", "--config", self.config], cwd=self.folder, env=self.around,
                            stdout=subprocess.PIPE, stderr=log, text=True)
        ready = self.daemon.stdout.readline()
        if not ready.startswith("ready"):
            fail(f"vaultd did not start: {(self.folder / 'vaultd.log').read_text()[-1500:]}")
        at = [word.split("=", 1) for word in ready.split() if "=" in word]
        agents = [value for name, value in at if name == "agents"]
        self.doors = {"tcp": next(value for value in agents if value.startswith("http")),
                      "unix": next(value for value in agents if value.startswith("unix:"))}
        self.http = next(value for name, value in at if name == "http")
        return self.doors

    def stop(self):
        stop(self.daemon)
        self.daemon = None

    def enrol(self):
        """Makes the roles, registers the agents and grants them all of it."""
        for make in self.roles.values():
            make(self)
        key = self.folder / ".config/nockvault/bench/ada.ed25519"
        load(self.programs, "prepare", "--vault", self.card, "--seed", self.folder / "load.seed", "--operator", "ada",
             "--operator-key", key, "--agents", self.agents, "--roles", ",".join(self.roles))

    def metrics(self):
        """The daemon's own figures, sums over labels."""
        url = self.http if self.http.startswith("http") else f"http://{self.http}"
        with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        sums = {}
        for line in lines:
            if not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                name = name.split("{")[0]
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def load(self, role, door, *more):
        """A load on one role by one door, with what the daemon counted meanwhile."""
        before = self.metrics()
        figures = load(self.programs, "vault", "--vault", self.card, "--seed", self.folder / "load.seed",
                       "--address", self.doors[door], "--role", role, "--pid", self.daemon.pid, *more)
        after = self.metrics()
        grew = {name: after.get(name, 0) - before.get(name, 0)
                for name in ("nockvault_writer_commit_seconds_count", "nockvault_writer_commit_seconds_sum",
                             "nockvault_chain_entries", "nockvault_issuances_total")}
        issued = max(grew["nockvault_issuances_total"], 1)
        figures["commits"] = grew["nockvault_writer_commit_seconds_count"] / issued
        commits = max(grew["nockvault_writer_commit_seconds_count"], 1)
        figures["commit_ms"] = grew["nockvault_writer_commit_seconds_sum"] * 1e3 / commits
        return figures


def kv(vault):
    vault.ctl("secret", "put", "app", "-", given="correct horse battery staple 0001")
    vault.ctl("role", "create", "kv", "--engine", "kv", "--set", "secret=app")


def jwt(vault):
    vault.ctl("role", "create", "jwt", "--engine", "jwt", "--set", 'audience=["https://api.example.com"]')


def ssh(vault):
    vault.ctl("ca", "create", "users", "--engine", "ssh")
    vault.ctl("role", "create", "ssh", "--engine", "ssh", "--set", "ca=users", "--set", 'principals=["agent"]',
              "--set", "key=either")


def x509(vault):
    vault.ctl("ca", "create", "agents", "--engine", "x509", "--set", "subject.common_name=bench")
    vault.ctl("role", "create", "x509", "--engine", "x509", "--set", "ca=agents", "--set", "trust_domain=bench.example",
              "--set", 'usage=["client"]', "--set", "algorithm=ed25519")


ROLES = {"kv": kv, "jwt": jwt, "ssh": ssh, "x509": x509}
