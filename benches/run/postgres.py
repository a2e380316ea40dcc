"""A PostgreSQL for a bench: on the same disk, durable as it is by default, on a unix socket and a free port."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from machine import fail, file_system, free_port, run, start, stop

PASSWORD = "bench-only"


def tool(name):
    """A program of PostgreSQL's: on the path, or where Debian puts it."""
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True), Path("/usr/bin"), Path("/usr/local/bin")]
    return next((str(place / name) for place in places if os.access(place / name, os.X_OK)), shutil.which(name))


class Postgres:
    """The server, with a database `orders`, what agents may do (`orders_read`), and a role for each vault."""

    def __init__(self, folder):
        # It refuses to run as root, and whom it runs as must reach its folder.
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        self.folder = Path(tempfile.mkdtemp(prefix="nvpg")) if self.as_user else Path(folder) / "pg"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kind = file_system(self.folder)
        if self.kind in ("tmpfs", "ramfs"):
            fail(f"PostgreSQL would lie on {self.kind}; set TMPDIR to a folder on a disk")
        if self.as_user:
            shutil.chown(self.folder, "postgres")
        self.port, self.child = free_port(), None

    def start(self):
        data = self.folder / "data"
        run([*self.as_user, tool("initdb"), "-D", data, "-U", "furnisher", "-A", "trust", "--locale=C"], cwd="/")
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder,
                    "max_connections": 200, "shared_buffers": "256MB", "fsync": "on", "synchronous_commit": "on",
                    "max_wal_size": "4GB"}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        self.child = start([*self.as_user, tool("postgres"), "-D", data, *options], stdout=log, stderr=log, cwd="/")
        for _ in range(200):
            ready = subprocess.run([tool("psql"), "-h", str(self.folder), "-p", str(self.port), "-U", "furnisher", "-c", "",
                                    "postgres"], capture_output=True, check=False)
            if ready.returncode == 0:
                break
            if self.child.poll() is not None:
                fail("PostgreSQL did not start")
            subprocess.run(["sleep", "0.1"], check=True)
        self.sql("postgres", "CREATE DATABASE orders")
        # Neither is a superuser, and both may do the same.
        for vault in ("nockvault", "openbao"):
            self.sql("orders", f"CREATE ROLE {vault} LOGIN CREATEROLE PASSWORD '{PASSWORD}';"
                               f"GRANT pg_signal_backend TO {vault};")
        self.sql("orders", "CREATE ROLE orders_read; CREATE TABLE item AS SELECT 'lamp' AS name;"
                           "GRANT SELECT ON item TO orders_read;"
                           "GRANT orders_read TO nockvault WITH ADMIN OPTION;"
                           "GRANT orders_read TO openbao WITH ADMIN OPTION;")
        return self

    @property
    def pid(self):
        """The first of the server's processes, whoever started it."""
        return int((self.folder / "data/postmaster.pid").read_text().split()[0])

    def sql(self, database, text):
        return run([tool("psql"), "-h", self.folder, "-p", self.port, "-U", "furnisher", "-d", database, "-v", "ON_ERROR_STOP=1",
                    "-Atqc", text]).strip()

    def stop(self):
        if self.child is not None:
            subprocess.run([*self.as_user, tool("pg_ctl"), "-D", str(self.folder / "data"), "-m", "fast", "-w", "stop"],
                           capture_output=True, check=False, cwd="/")
            stop(self.child)
            self.child = None
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder.parent / f"{self.folder.name}.log").unlink(missing_ok=True)
