"""The protocol without a transport. Each act is a generator that yields the calls to make and is sent what came of
them, so that the sync and the async client are the same client."""

import secrets
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from . import wire
from .faults import Fault, Local, NoAnswer, Refused, Unreachable, Untrusted
from .keys import Key
from .memory import Memory
from .pins import Pins, _other_request
from .places import Card
from .sealing import SUITE, open_secret
from .statements import AGENT, REQUEST, Json, b64, jcs, plain
from .wire import Call, Envelope, Failure

T = TypeVar("T")
Steps = Generator[Call, Envelope | Failure, T]

# A difference between two clocks that is no more than the way between them, in milliseconds.
LATENCY = 1000
# The members of which a kind has one that is the secret itself.
USUAL = ("value", "token", "url", "password")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _random(_: str, length: int) -> bytes:
    return secrets.token_bytes(length)


@dataclass(frozen=True)
class Around:
    """This side's clock, in milliseconds, and randomness: what for (`challenge`, `sid`, `session_key`, `nonce`), and how
    many bytes."""

    clock: Callable[[], int] = _now
    random: Callable[[str, int], bytes] = _random


class Secret(Mapping[str, Any]):
    """A secret's members. It prints nothing of itself."""

    def __init__(self, members: Json) -> None:
        self._members = members

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"Secret({self.get('type', '?')})"

    def usual(self) -> str:
        """The member that is the secret itself, where its kind has one: value, token, url or password."""
        for name in USUAL:
            if isinstance(value := self.get(name), str):
                return value
        raise KeyError(f"a secret of type {self.get('type')!r} is of several parts: {', '.join(sorted(self))}")


@dataclass
class Credential:
    """What was issued, with the vault's receipt for it."""

    role: str
    lease: str
    # When it ends, in milliseconds; renewals move it.
    exp: int
    renewable: bool
    # How it can be made useless before its time: `none`, `listed` or `backend`.
    revocation: str
    secret: Secret
    hdr: Json = field(repr=False)
    entry: Json = field(repr=False)
    # The signed answer with the certificate of its key: kept in a file (as `jcs`), it convinces an auditor.
    receipt: Json = field(repr=False)

    def __getitem__(self, member: str) -> Any:
        return self.secret[member]

    @property
    def kind(self) -> str:
        return str(self.secret.get("type", "?"))

    @property
    def value(self) -> str:
        """The secret itself, where its kind has one text that is it."""
        return self.secret.usual()


class Core:
    """One agent's side of a connection to one vault: what it believes, and what time it is there."""

    def __init__(self, card: Card, agent: str, key: Key, state: str | Path | None, around: Around) -> None:
        self.card, self.agent, self.key, self.around = card, agent, key, around
        self.memory = Memory(state, card.aud, agent)
        self._pins: Pins | None = None
        self._ahead = 0

    @property
    def pins(self) -> Pins:
        if self._pins is None:
            raise Local("the vault was not asked for its keys yet: connect first")
        return self._pins

    def now(self) -> int:
        """The vault's time, as far as it is known here."""
        return self.around.clock() + self._ahead

    @property
    def skew(self) -> int:
        return int(self.pins.described["limits"]["skew"]) * 1000

    def connect(self) -> Steps[None]:
        """Challenges who answers to be the vault of the card."""
        pins, at = yield from self._describe()
        if abs(pins.described["now"] - at) > LATENCY:
            self._ahead = pins.described["now"] - at

    def _describe(self) -> Steps[tuple[Pins, int]]:
        challenge = self.around.random("challenge", 32)
        reply = yield Call("DescribeVault", wire.challenge(challenge))
        at = self.around.clock()
        if isinstance(reply, Failure):
            refusal = wire.refusal(reply.details)
            if refusal is None:
                raise Unreachable(self.card.agents, f"{reply.code}: {reply.message}")
            raise Refused(refusal.reason, reply.message, None, None, False)
        pins = Pins.check(self.card, challenge, reply, self.memory.state.cert_nbf)
        self.memory.certified(pins.nbf)
        self._pins = pins
        return pins, at

    def _read(self, reply: Envelope, kind: str) -> Steps[Json]:
        """Reads an answer. One that no known key signed may be signed by a newer key, so the vault is asked once for
        its keys; nothing is sent again."""
        try:
            return self.pins.read(reply, kind, self.now())
        except Untrusted as untrusted:
            if untrusted.why != "signature":
                raise
        pins, _ = yield from self._describe()
        return pins.read(reply, kind, self.now())

    def sign(self, typ: str, body: Json, sid: str, seen: Json) -> Envelope:
        """A request, signed. Raises `Local` for what the vault could not admit."""
        key = self.key
        statement = {
            "v": 1,
            "typ": f"nockvault/{typ}",
            "aud": self.card.aud,
            "agent": self.agent,
            "kid": key.kid,
            "kver": key.kver,
            "sid": sid,
            "nonce": b64(self.around.random("nonce", 24)),
            "iat": self.now(),
            "seen": seen,
            **body,
        }
        try:
            plain(statement, AGENT[1])
            payload = jcs(statement)
            if len(payload) > AGENT[0]:
                raise ValueError(f"{len(payload)} bytes, over the limit of {AGENT[0]}")
        except ValueError as why:
            raise Local(f"this cannot be asked for: {why}") from None
        return Envelope(REQUEST, payload, key.sign(REQUEST, payload), key.kid)

    def exchange(self, call: str, typ: str, kind: str, body: Json, sid: str) -> Steps[tuple[Json, Envelope, Envelope]]:
        """Signs and sends, and once more with a new statement where the vault proves that the clock was wrong. Gives
        what it said, as it was signed, and the request that it answers."""
        mended = False
        while True:
            seen = self.memory.state.seen()
            sent = self.sign(typ, body, sid, seen)
            reply = yield Call(call, wire.request(sent))
            if isinstance(reply, Failure):
                fault = yield from self._refusal(reply, sent)
                if mended or not (yield from self._clock_mended(fault)):
                    raise fault
                mended = True
                continue
            said = yield from self._read(reply, kind)
            if (said["hdr"] if kind == "issued" else said)["req"] != b64(sent.digest()):
                raise _other_request()
            try:
                self.memory.learn(seen, said["entry"])
            except Local as why:
                # What cannot be remembered is not used, as on a full disk. It happened all the same, and can be given back.
                raise NoAnswer(b64(sent.digest()), str(why)) from None
            return said, reply, sent

    def _refusal(self, failure: Failure, sent: Envelope) -> Steps[Fault]:
        """What a call's end without an answer means."""
        req, refusal = b64(sent.digest()), wire.refusal(failure.details)
        if refusal is None:
            return NoAnswer(req, f"{failure.code}: {failure.message}")
        message = failure.message
        if refusal.reason == "unauthenticated":
            # The vault says nothing to a stranger but that it knows no such key. What a stranger can do, this side knows.
            message += (
                f"; if agent {self.agent} was never enrolled with this key ({self.key.kid}): vaultctl keygen --agent "
                f"{self.agent} makes one, and an operator registers it: vaultctl agent register {self.agent}.register"
            )
        if refusal.reason == "restored":
            message += f" (vault-agent accept-restore --agent {self.agent}, or Vault.accept_restore)"
        number = {name: int(text) for name, text in refusal.metadata.items() if text.isascii() and text.isdigit()}
        shown = Refused(refusal.reason, message, number.get("limit"), number.get("now"), False)
        if refusal.signed is None:
            return shown
        try:
            denied = yield from self._read(refusal.signed, "denied")
        except Fault:
            return shown
        if denied["req"] != req:
            return shown
        # The words for people are not signed; they are shown where they go with the signed reason.
        words = message if denied["reason"] == refusal.reason else denied["reason"]
        return Refused(denied["reason"], words, denied["limit"], denied["now"], True)

    def _clock_mended(self, fault: Fault) -> Steps[bool]:
        """Whether the fault said that the clock is wrong and it has now been set by the vault's signed word."""
        if not isinstance(fault, Refused) or fault.reason != "clock_skew":
            return False
        if fault.proven and fault.now is not None:
            self._ahead = fault.now - self.around.clock()
            return True
        # Unsigned: anyone may have said it. The vault itself is asked, with a challenge.
        try:
            pins, at = yield from self._describe()
        except Fault:
            return False
        before = self.now()
        self._ahead = pins.described["now"] - at
        return abs(before - int(pins.described["now"])) > LATENCY


class SessionCore:
    """A session: a key of its own, in memory only, to which credentials are sealed."""

    def __init__(self, core: Core, label: str) -> None:
        self.core = core
        self.sid = f"{label}-{core.around.random('sid', 8).hex()}"
        self._key = X25519PrivateKey.from_private_bytes(core.around.random("session_key", 32))
        self.used = False

    def _exchange(self, call: str, typ: str, kind: str, body: Json) -> Steps[tuple[Json, Envelope, Envelope]]:
        self.used = True
        return (yield from self.core.exchange(call, typ, kind, body, self.sid))

    def _seal(self) -> Json:
        return {"pk": b64(self._key.public_key().public_bytes_raw()), "suite": SUITE}

    def hello(self) -> Steps[Json]:
        said, _, _ = yield from self._exchange("OpenSession", "hello", "opened", {"seal": self._seal()})
        return said

    def request(self, role: str, ttl: int, params: Json, purpose: str) -> Steps[Credential]:
        # Signed as it is now, and not as the caller may change it while the answer is under way.
        body = {"role": role, "ttl": ttl, "params": dict(params), "purpose": purpose, "seal": self._seal()}
        said, reply, sent = yield from self._exchange("RequestCredential", "issue", "issued", body)
        hdr = said["hdr"]
        self._check(hdr, role, ttl, sent.kid)
        secret = Secret(open_secret(self._key, hdr, said["enc"], said["ct"]))
        receipt = {"cert": self.core.pins.cert_of(reply), "payload": said, "sig": b64(reply.signature)}
        return Credential(
            role, hdr["lease"], hdr["exp"], hdr["renewable"], hdr["revocation"], secret, hdr, said["entry"], receipt
        )

    def _check(self, hdr: Json, role: str, ttl: int, kid: str) -> None:
        """Whether this is what was asked for: the key is the one that signed it, also where another took over since."""
        now, life = self.core.now(), -(-max(hdr["exp"] - hdr["iat"], 0) // 1000)
        # A life that begins elsewhere than now could end at any time and still be no longer than was asked for.
        checks = {
            "vault": hdr["vault"] == self.core.card.aud,
            "agent": hdr["agent"] == self.core.agent,
            "kid": hdr["kid"] == kid,
            "role": hdr["role"] == role,
            "sid": hdr["sid"] == self.sid,
            "iat": abs(hdr["iat"] - now) <= self.core.skew,
            "exp": hdr["exp"] > now and (ttl == 0 or life <= ttl),
        }
        for member, fits in checks.items():
            _must(fits, member)

    def renew(self, lease: str, ttl: int) -> Steps[int]:
        said, _, _ = yield from self._exchange("RenewLease", "renew", "renewed", {"lease": lease, "ttl": ttl})
        now = self.core.now()
        _must(said["lease"] == lease, "lease")
        _must(said["exp"] > now and (ttl == 0 or said["exp"] <= now + ttl * 1000 + self.core.skew), "exp")
        return int(said["exp"])

    def release(self, lease: str) -> Steps[None]:
        said, _, _ = yield from self._exchange("ReleaseLease", "release", "released", {"lease": lease})
        _must(said["lease"] == lease, "lease")

    def release_unanswered(self, req: str) -> Steps[str]:
        said, _, _ = yield from self._exchange("ReleaseLease", "release", "released", {"req": req})
        return str(said["lease"])

    def close(self) -> Steps[int]:
        said, _, _ = yield from self._exchange("CloseSession", "close", "closed", {})
        _must(said["sid"] == self.sid, "sid")
        self.used = False
        return int(said["leases"])

    def rotate_key(self, key: Key) -> Steps[int]:
        core, old = self.core, self.core.key
        key.kver = old.kver + 1
        nonce = b64(core.around.random("nonce", 24))
        new = key.register(core.agent, core.card.aud, nonce, core.now(), old.kid)
        said, _, _ = yield from self._exchange("RotateKey", "rotate_key", "rotated", {"new": new})
        _must((said["kver"], said["kid"]) == (key.kver, key.kid), "kid")
        core.key = key
        return int(said["grace"])

    def ended(self, fault: Fault) -> bool:
        """Whether a close failed because there is nothing left to close."""
        return isinstance(fault, Refused) and fault.reason in ("session_ended", "session_unknown")


def _must(fits: bool, member: str) -> None:
    if not fits:
        raise Untrusted("other_terms", f"the answer's {member} is not what was asked for", member)


def lease_of(lease: str | Credential) -> str:
    return lease.lease if isinstance(lease, Credential) else lease
