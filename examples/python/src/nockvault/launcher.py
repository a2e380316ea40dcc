"""Asks the launcher that this program runs under, `vault-agent exec`. No key is here: the launcher signs, caches within
the lease and renews. Its socket is named by `NOCKVAULT_AGENT_SOCKET`; in tight mode the token of this run lies in the
open file that `NOCKVAULT_AGENT_TOKEN_FD` numbers."""

import asyncio
import json
import os
import socket
from dataclasses import dataclass
from typing import Any

from .core import Secret
from .faults import Local, Refused

SOCKET, TOKEN_FD = "NOCKVAULT_AGENT_SOCKET", "NOCKVAULT_AGENT_TOKEN_FD"
# A little longer than the launcher takes to give up.
WAIT = 100
ANSWER_MAX = 1 << 20


@dataclass(frozen=True)
class Given:
    """A credential that the launcher holds."""

    role: str
    kind: str
    lease: str
    # When it ends, in milliseconds.
    exp: int
    renewable: bool
    secret: Secret

    def __getitem__(self, member: str) -> Any:
        return self.secret[member]

    @property
    def value(self) -> str:
        """The secret itself, where its kind has one text that is it."""
        return self.secret.usual()


def from_agent(
    role: str, params: dict[str, Any] | None = None, *, ttl: int = 0, purpose: str = "", fresh: bool = False
) -> Given:
    """A credential of this role, out of the launcher's hands: one that it holds, or a new one where `fresh`."""
    path = os.environ.get(SOCKET)
    if not path:
        raise Local(f"{SOCKET} is not set: this program does not run under vault-agent exec")
    question: dict[str, Any] = {"v": 1, "do": "get", "role": role}
    more = {"params": params or {}, "ttl": ttl, "purpose": purpose, "fresh": fresh, "token": _token()}
    question |= {name: value for name, value in more.items() if value}
    try:
        with socket.socket(socket.AF_UNIX) as launcher:
            launcher.settimeout(WAIT)
            launcher.connect(path)
            launcher.sendall(json.dumps(question).encode() + b"\n")
            line = b""
            while not line.endswith(b"\n") and len(line) <= ANSWER_MAX and (more_of_it := launcher.recv(1 << 16)):
                line += more_of_it
    except OSError as why:
        raise Local(f"the launcher's socket {path} does not answer: {why}; has it ended?") from None
    return _read(line)


async def from_agent_async(
    role: str, params: dict[str, Any] | None = None, *, ttl: int = 0, purpose: str = "", fresh: bool = False
) -> Given:
    """As `from_agent`, awaited."""
    return await asyncio.to_thread(from_agent, role, params, ttl=ttl, purpose=purpose, fresh=fresh)


def _token() -> str:
    number = os.environ.get(TOKEN_FD)
    if not number:
        return ""
    try:
        # Opened anew, so that reading it takes nothing from the next.
        with open(f"/proc/self/fd/{int(number)}", encoding="ascii") as file:
            return file.read(64)
    except (OSError, ValueError):
        raise Local(
            f"{TOKEN_FD} names the open file {number}, which cannot be read; whoever started this program has to hand it "
            f"on (in Python: subprocess.run(.., pass_fds=({number},)))"
        ) from None


def _read(line: bytes) -> Given:
    try:
        said = json.loads(line)
        if ok := said.get("ok"):
            secret = Secret(dict(ok["secret"]))
            return Given(ok["role"], ok["kind"], ok["lease"], ok["exp"], ok["renewable"], secret)
        error = said["error"]
        code, message = str(error["code"]), str(error["message"])
    except (ValueError, TypeError, KeyError, AttributeError):
        # Without the cause, which may quote the secret.
        raise Local("the launcher's answer cannot be read; is it of another version?") from None
    if "proven" in error:
        raise Refused(code, message, error.get("limit"), error.get("now"), bool(error["proven"]))
    raise Local(f"the launcher says: {message}")
