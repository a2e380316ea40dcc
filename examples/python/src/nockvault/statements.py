"""Statements as bytes: canonical JSON, its admission, what is signed, and names of keys."""

import base64
import binascii
import hashlib
import json
import re
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Json = dict[str, Any]

REQUEST = "application/vnd.nockvault.request.v1+json"
RESPONSE = "application/vnd.nockvault.response.v1+json"
REGISTER = "application/vnd.nockvault.register.v1+json"
CERT = "application/vnd.nockvault.cert.v1+json"

# The most bytes, and the deepest nesting of objects and arrays.
AGENT = (8 << 10, 8)
ANSWER = (4 << 20, 12)

_MEMBER = re.compile(r"[a-z][a-z0-9_]*\Z", re.ASCII)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, length: int | None = None) -> bytes:
    """The bytes of canonical base64url. Raises `ValueError`."""
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as why:
        raise ValueError("not base64url") from why
    if b64(data) != text or (length is not None and len(data) != length):
        raise ValueError("not canonical base64url of that length")
    return data


def plain(value: object, depth: int) -> None:
    """Holds JSON to the rules under which sorted compact JSON is RFC 8785. Raises `ValueError`."""
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        value.encode()  # a lone surrogate is no text
    elif isinstance(value, int):
        if abs(value) >= 1 << 53:
            raise ValueError("a number is at or beyond 2^53")
    elif isinstance(value, (list, tuple, dict)):
        if depth == 0:
            raise ValueError("nested too deep")
        if isinstance(value, dict):
            for name in value:
                if not isinstance(name, str) or not _MEMBER.match(name):
                    raise ValueError(f"the member name {name!r} is not of the form [a-z][a-z0-9_]*")
        for inner in value.values() if isinstance(value, dict) else value:
            plain(inner, depth - 1)
    else:
        raise ValueError(f"{type(value).__name__} is not a plain integer, text, list or object")


def jcs(value: object) -> bytes:
    """RFC 8785, of what `plain` lets pass."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def admit(payload: bytes, rules: tuple[int, int]) -> Json:
    """The object that these bytes are the one canonical form of. Raises `ValueError`."""
    size, depth = rules
    if len(payload) > size:
        raise ValueError(f"{len(payload)} bytes, over the limit of {size}")
    try:
        value = json.loads(payload.decode())
    except RecursionError as why:
        raise ValueError("nested too deep") from why
    if not isinstance(value, dict):
        raise ValueError("the top is not an object")
    plain(value, depth)
    # A member that stands twice, a float that is whole, an escape or a space: none of them is written so again.
    if jcs(value) != payload:
        raise ValueError("not in canonical form (RFC 8785)")
    return value


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding."""
    t = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(t), t, len(payload), payload)


def message(form: str, payload_type: str, payload: bytes) -> bytes:
    """What a key of this form signs: the encoding itself, or the SSHSIG blob over it (OpenSSH PROTOCOL.sshsig)."""
    encoded = pae(payload_type, payload)
    if form == "pae":
        return encoded
    if form != "sshsig":
        raise ValueError(f"{form!r} is neither pae nor sshsig")
    parts = (payload_type.encode(), b"", b"sha512", hashlib.sha512(encoded).digest())
    return b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def digest(*parts: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(b"".join(parts)).digest()


def thumbprint(public: bytes, curve: str = "Ed25519") -> str:
    """RFC 7638: what a key is called everywhere."""
    return b64(digest(jcs({"crv": curve, "kty": "OKP", "x": b64(public)})))


def verifies(public: bytes, signature: bytes, form: str, payload_type: str, payload: bytes) -> bool:
    """Whether this key signed it."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message(form, payload_type, payload))
    except (InvalidSignature, ValueError):
        return False
    return True
