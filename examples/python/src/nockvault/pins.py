"""Which answers are the vault's: the identity key that the card pins, the certificates that it signed over the vault's
other keys, and a signature by one of those. No name and no TLS certificate makes an answer believed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .faults import Untrusted
from .places import Card
from .statements import AGENT, ANSWER, CERT, RESPONSE, Json, admit, jcs, plain, thumbprint, unb64, verifies
from .wire import Envelope

Shape = Callable[[Any], object]


def _fail(why: str) -> Any:
    raise ValueError(why)


def _number(value: Any) -> object:
    return type(value) is int and value >= 0 or _fail("not a number")


def _flag(value: Any) -> object:
    return type(value) is bool or _fail("neither true nor false")


def _list(value: Any) -> object:
    return type(value) is list or _fail("not a list")


def _text(value: Any) -> object:
    return type(value) is str or _fail("not a text")


def _bytes(length: int | None = None) -> Shape:
    return lambda value: (_text(value), unb64(value, length))


def _like(pattern: str) -> Shape:
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: (_text(value), compiled.fullmatch(value) or _fail("not of its form"))


def _object(**members: Shape) -> Shape:
    def check(value: Any) -> None:
        if type(value) is not dict:
            raise ValueError("not an object")
        for name, shape in members.items():
            if name not in value:
                raise ValueError(f"no {name}")
            shape(value[name])

    return check


_HASH, _AUD, _KID = _bytes(32), _like(r"nv1:[A-Za-z0-9_-]{43}"), _bytes(32)
_NAME, _SID = _like(r"[a-z0-9][a-z0-9.-]{0,62}"), _like(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LEASE = _like(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_ENTRY = _object(leaf=_HASH, seq=_number)
_HDR = _object(
    agent=_NAME,
    exp=_number,
    iat=_number,
    kid=_KID,
    lease=_LEASE,
    renewable=_flag,
    req=_HASH,
    revocation=_like("none|listed|backend"),
    role=_text,
    sid=_SID,
    vault=_AUD,
)
_EMBEDDED = _object(payload=_object(), sig=_bytes(64))
_LIMITS = _object(skew=_number)


def _certs(value: Any) -> None:
    _list(value)
    for embedded in value:
        _EMBEDDED(embedded)


# What each answer must hold. More members are ignored, unless `crit` names them.
ANSWERS: dict[str, dict[str, Shape]] = {
    "issued": {"ct": _bytes(), "enc": _bytes(), "entry": _ENTRY, "hdr": _HDR},
    "opened": {"entry": _ENTRY, "ends": _number, "idle": _number, "now": _number, "req": _HASH},
    "renewed": {"entry": _ENTRY, "exp": _number, "lease": _LEASE, "req": _HASH},
    "released": {"entry": _ENTRY, "lease": _LEASE, "req": _HASH},
    "closed": {"entry": _ENTRY, "leases": _number, "req": _HASH, "sid": _SID},
    "rotated": {"entry": _ENTRY, "grace": _number, "kid": _KID, "kver": _number, "req": _HASH},
    "denied": {
        "limit": lambda value: value is None or _number(value),
        "now": _number,
        "reason": _text,
        "req": _HASH,
    },
    "described": {
        "accepts": _list,
        "aud": _AUD,
        "certs": _certs,
        "identity": _bytes(32),
        "limits": _LIMITS,
        "name": _NAME,
        "now": _number,
        "req": _bytes(),
        "suites": _list,
    },
}

_CERT = {
    "aud": _AUD,
    "epoch": _number,
    "exp": _number,
    "kid": _KID,
    "nbf": _number,
    "node": _text,
    "pk": _bytes(32),
    "role": _like("response|audit|checkpoint|intake|jwt"),
    "typ": _text,
    "v": _number,
}


def parse(reply: Envelope, kind: str) -> Json:
    """A statement of the vault: its `typ`, its version, its members."""
    shapes = ANSWERS[kind]
    try:
        said = admit(reply.payload, ANSWER)
        if said.get("typ") != f"nockvault/{kind}":
            raise ValueError("its typ is another")
        if type(said.get("v")) is not int or said["v"] != 1:
            raise ValueError("its version is not known here; a newer client may read it")
        _object(**shapes)(said)
        crit = said.get("crit", [])
        if type(crit) is not list or any(name not in (*shapes, "typ", "v") for name in crit):
            raise ValueError("crit names a member that is not understood here; a newer client may read it")
    except ValueError as why:
        raise Untrusted("form", f"the answer is not a well formed nockvault/{kind}: {why}") from None
    return said


@dataclass(frozen=True)
class _Response:
    public: bytes
    embedded: Json


@dataclass(frozen=True)
class Pins:
    """The vault's certified response keys, and what it said of itself."""

    responses: tuple[_Response, ...]
    described: Json
    nbf: int

    @classmethod
    def check(cls, card: Card, challenge: bytes, reply: Envelope, newest: int) -> "Pins":
        """Believes a description that answers this challenge and leads to the identity that the card pins. Its
        certificates are judged at its own time, since the clock on this side may be what is wrong; a response key born
        before the newest that was ever accepted is an old one brought back."""
        # Parsed before it is verified, since the certificates to verify it by stand inside; believed only after.
        said = parse(reply, "described")
        shown = unb64(said["identity"])
        if shown != card.identity or said["aud"] != card.aud:
            named = thumbprint(shown) if shown != card.identity else said["aud"].removeprefix("nv1:")
            raise Untrusted(
                "other_vault",
                f"another vault answers: the card pins {thumbprint(card.identity)}, this one shows {named}; either the "
                "card is old, or the address leads elsewhere, or somebody stands between. Nothing was sent to it.",
            )
        if unb64(said["req"]) != challenge:
            raise _other_request()
        certs = [(embedded, _open_cert(embedded, card)) for embedded in said["certs"]]
        responses = tuple(
            _Response(unb64(cert["pk"]), embedded)
            for embedded, cert in certs
            if cert["role"] == "response" and cert["nbf"] <= said["now"] < cert["exp"]
        )
        pins = cls(responses, said, 0)
        signer = pins._signer(reply)
        if signer is None:
            raise _not_signed()
        cert = signer.embedded["payload"]
        if cert["nbf"] < newest:
            raise _bad_cert(f"{cert['kid']} is an older response key than the last one seen")
        return cls(responses, said, cert["nbf"])

    def _signer(self, reply: Envelope) -> _Response | None:
        if reply.payload_type != RESPONSE:
            return None
        fits = (r for r in self.responses if verifies(r.public, reply.signature, "pae", RESPONSE, reply.payload))
        return next(fits, None)

    def signed(self, reply: Envelope, now: int) -> bool:
        """Whether a response key that is good now signed it."""
        signer = self._signer(reply)
        return signer is not None and now < signer.embedded["payload"]["exp"]

    def cert_of(self, reply: Envelope) -> Json | None:
        """The certificate of the key that signed it: who keeps an answer keeps it with this."""
        signer = self._signer(reply)
        return signer.embedded if signer else None

    def read(self, reply: Envelope, kind: str, now: int) -> Json:
        """A signed answer: its signature first, then what it says."""
        if not self.signed(reply, now):
            raise _not_signed()
        return parse(reply, kind)


def _not_signed() -> Untrusted:
    return Untrusted("signature", "no certified response key of the vault signed this answer")


def _other_request() -> Untrusted:
    return Untrusted("other_request", "the answer is to another request")


def _bad_cert(why: str) -> Untrusted:
    return Untrusted("certificate", f"a certificate of the vault's keys is not good: {why}")


def _open_cert(embedded: Json, card: Card) -> Json:
    cert: Json = embedded["payload"]
    payload = jcs(cert)
    if not verifies(card.identity, unb64(embedded["sig"]), "pae", CERT, payload):
        raise _bad_cert("the identity key did not sign it")
    try:
        plain(cert, AGENT[1])
        _object(**_CERT)(cert)
        if set(cert) != set(_CERT) or cert["typ"] != "nockvault/cert" or cert["v"] != 1:
            raise ValueError("it is not a nockvault/cert of version 1")
        if cert["aud"] != card.aud:
            raise ValueError("it is of another vault")
        if thumbprint(unb64(cert["pk"]), "X25519" if cert["role"] == "intake" else "Ed25519") != cert["kid"]:
            raise ValueError("its key is not the one that its kid names")
    except ValueError as why:
        raise _bad_cert(str(why)) from None
    return cert
