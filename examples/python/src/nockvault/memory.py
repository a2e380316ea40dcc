"""What an agent remembers of its own chain: the newest state it was shown, which it countersigns with its next request,
and the birth of the newest response certificate. Both only grow, until the agent's owner accepts that the vault was restored
from a backup. The file is the one that every client of this agent
keeps, and its lock is the one that they take."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from .faults import Local, Refused, Untrusted
from .statements import AGENT, Json, admit, b64, jcs, unb64

NOTHING = b64(bytes(32))


@dataclass(frozen=True)
class State:
    """What is remembered."""

    cert_nbf: int = 0
    head: str = NOTHING
    size: int = 0
    # How many restores of the vault were accepted: what was seen before one counts no more, however long it was.
    restores: int = 0

    def seen(self) -> Json:
        return {"head": self.head, "size": self.size}

    def joined(self, other: "State") -> "State":
        newest = other if (other.restores, other.size) > (self.restores, self.size) else self
        return replace(newest, cert_nbf=max(self.cert_nbf, other.cert_nbf))

    def older(self, seq: int) -> Untrusted:
        return Untrusted(
            "older_history",
            f"the answer's entry {seq} stands before the {self.size} entries that were already seen: the vault's history "
            f"was rolled back or forked; keep {self.head} as evidence and tell the auditor",
        )

    def must_not_part_from(self, news: "State") -> None:
        if news.size > 0 and (news.restores, news.size) == (self.restores, self.size) and news.head != self.head:
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
        self._keep(State(0, entry["leaf"], entry["seq"] + 1, self.state.restores))

    def certified(self, nbf: int) -> None:
        """Takes in when a response certificate was born."""
        if nbf > self.state.cert_nbf:
            self._keep(State(cert_nbf=nbf))

    def accept_restore(self, refused: Refused) -> State:
        """Accepts that the vault was restored from a backup that is older than what was seen: on its signed `restored`,
        and no other word. What was seen is put aside as evidence, in `<agent>.seen.lost-<size>`, and given back."""
        if not refused.proven or refused.reason != "restored":
            raise Local("the vault has not said, signed, that it was restored; nothing is accepted")
        with self._lock:
            if self._file is None:
                lost, self.state = self.state, _accepted(self.state)
                return lost
            try:
                with self._locked(self._file):
                    lost = self.state.joined(_read(self._file))
                    accepted = _accepted(lost)
                    _write(self._file.with_name(f"{self._file.name}.lost-{lost.size}"), lost)
                    _write(self._file, accepted)
                    self.state = accepted
                    return lost
            except OSError as why:
                raise Local(f"{self._file}: {why.strerror}") from None

    @contextmanager
    def _locked(self, file: Path) -> Iterator[None]:
        """Holds the lock that other processes respect."""
        lock = os.open(file.with_name(file.name + ".lock"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(lock, "w") as guard:
            fcntl.flock(guard, fcntl.LOCK_EX)
            yield

    def _keep(self, news: State) -> None:
        # Compared under the locks, so that of two answers at once, or to two processes, the second is held against the
        # first.
        with self._lock:
            self.state.must_not_part_from(news)
            joined = self.state.joined(news)
            if self._file is None:
                self.state = joined
                return
            try:
                with self._locked(self._file):
                    kept = _read(self._file)
                    kept.must_not_part_from(news)
                    self.state = joined.joined(kept)
                    _write(self._file, self.state)
            except OSError as why:
                raise Local(f"{self._file}: {why.strerror}") from None


def _accepted(lost: State) -> State:
    if lost.size == 0:
        raise Local("nothing was seen of this agent's chain; there is nothing to accept")
    return State(cert_nbf=lost.cert_nbf, restores=lost.restores + 1)


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
        numbers = (state.cert_nbf, state.restores, state.size)
        if any(type(number) is not int or number < 0 for number in numbers):
            raise ValueError("a number is none")
    except (ValueError, TypeError, AttributeError) as why:
        raise Local(f"{file}: {why}; move it away to begin anew, and keep it as evidence") from None
    return state


def _write(file: Path, state: State) -> None:
    """A crash before the rename leaves the old file and a stray one beside it; a crash after it leaves the new file."""
    new = file.with_name(file.name + ".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as out:
        restores = {"restores": state.restores} if state.restores else {}
        out.write(jcs({"cert_nbf": state.cert_nbf, "head": state.head, "size": state.size, **restores}) + b"\n")
        out.flush()
        os.fsync(out.fileno())
    os.replace(new, file)
