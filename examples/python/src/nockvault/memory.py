"""What an agent remembers of its own chain: the newest state it was shown, which it countersigns with its next request,
and the birth of the newest response certificate. Both only grow. The file is the one that every client of this agent
keeps, and its lock is the one that they take."""

import fcntl
import os
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from .faults import Local, Untrusted
from .statements import AGENT, Json, admit, b64, jcs, unb64

NOTHING = b64(bytes(32))


@dataclass(frozen=True)
class State:
    """What is remembered."""

    cert_nbf: int = 0
    head: str = NOTHING
    size: int = 0

    def seen(self) -> Json:
        return {"head": self.head, "size": self.size}

    def joined(self, other: "State") -> "State":
        newest = other if other.size > self.size else self
        return replace(newest, cert_nbf=max(self.cert_nbf, other.cert_nbf))

    def older(self, seq: int) -> Untrusted:
        return Untrusted(
            "older_history",
            f"the answer's entry {seq} stands before the {self.size} entries that were already seen: the vault's history "
            f"was rolled back or forked; keep {self.head} as evidence and tell the auditor",
        )

    def must_not_part_from(self, news: "State") -> None:
        if news.size > 0 and news.size == self.size and news.head != self.head:
            raise self.older(news.size - 1)


class Memory:
    """One agent's memory of one vault, in `<folder>/<aud>/<agent>.seen`; without a folder it ends with the process."""

    def __init__(self, folder: str | Path | None, aud: str, agent: str) -> None:
        self._lock = threading.Lock()
        self._file = None if folder is None else Path(folder) / aud / f"{agent}.seen"
        self.state = State()
        if self._file is not None:
            try:
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as why:
                raise Local(f"{self._file.parent}: {why.strerror}") from None
            self.state = _read(self._file)

    def learn(self, sent: Json, entry: Json) -> None:
        """Takes in the entry that answers a request which countersigned `sent`."""
        if entry["seq"] < sent["size"]:
            raise self.state.older(entry["seq"])
        self._keep(State(0, entry["leaf"], entry["seq"] + 1))

    def certified(self, nbf: int) -> None:
        """Takes in when a response certificate was born."""
        if nbf > self.state.cert_nbf:
            self._keep(State(cert_nbf=nbf))

    def _keep(self, news: State) -> None:
        # Compared under the locks, so that of two answers at once, or to two processes, the second is held against the
        # first.
        with self._lock:
            self.state.must_not_part_from(news)
            joined = self.state.joined(news)
            if self._file is None:
                self.state = joined
                return
            lock = self._file.with_name(self._file.name + ".lock")
            try:
                with os.fdopen(os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w") as guard:
                    fcntl.flock(guard, fcntl.LOCK_EX)
                    kept = _read(self._file)
                    kept.must_not_part_from(news)
                    self.state = joined.joined(kept)
                    _write(self._file, self.state)
            except OSError as why:
                raise Local(f"{self._file}: {why.strerror}") from None


def _read(file: Path) -> State:
    try:
        text = file.read_bytes().removesuffix(b"\n")
    except FileNotFoundError:
        return State()
    except OSError as why:
        raise Local(f"{file}: {why.strerror}") from None
    try:
        said = admit(text, AGENT)
        state = State(**said)
        unb64(state.head, 32)
        if type(state.cert_nbf) is not int or type(state.size) is not int or min(state.cert_nbf, state.size) < 0:
            raise ValueError("a number is none")
    except (ValueError, TypeError, AttributeError) as why:
        raise Local(f"{file}: {why}; move it away to begin anew, and keep it as evidence") from None
    return state


def _write(file: Path, state: State) -> None:
    """A crash before the rename leaves the old file and a stray one beside it; a crash after it leaves the new file."""
    new = file.with_name(file.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        out.write(jcs({"cert_nbf": state.cert_nbf, "head": state.head, "size": state.size}) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, file)
