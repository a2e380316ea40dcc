"""The few messages of gRPC that there are, written out: an envelope each way, and the status of a refusal."""

from dataclasses import dataclass
from typing import NamedTuple

from .statements import digest, pae


@dataclass(frozen=True)
class Envelope:
    """A signed statement as it travels. Nothing in it is believed before its signature is verified."""

    payload_type: str
    payload: bytes
    signature: bytes
    kid: str

    def digest(self) -> bytes:
        """H(PAE): the statement's name."""
        return digest(pae(self.payload_type, self.payload))


class Call(NamedTuple):
    """A call that is to be made, and its message."""

    method: str
    body: bytes


class Failure(NamedTuple):
    """A status other than OK, with `grpc-status-details-bin` where it came."""

    code: str
    message: str
    details: bytes | None


class Refusal(NamedTuple):
    """What the status of a refusal holds."""

    reason: str
    metadata: dict[str, str]
    signed: Envelope | None


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out) + bytes([number])


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value if value else b""


def _fields(message: bytes) -> dict[int, list[bytes]]:
    """The fields of a message that have a length; others are passed over. Raises `ValueError`."""
    found: dict[int, list[bytes]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = 0
        for shift in range(0, 64, 7):
            if at >= len(message):
                raise ValueError("a message that ends too early")
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise ValueError("a number without end")

    while at < len(message):
        tag = varint()
        kind = tag & 7
        if kind == 0:
            varint()
            continue
        length = {1: 8, 5: 4}.get(kind) or (varint() if kind == 2 else -1)
        if length < 0 or at + length > len(message):
            raise ValueError("a message that is none")
        if kind == 2:
            found.setdefault(tag >> 3, []).append(message[at : at + length])
        at += length
    return found


def _last(fields: dict[int, list[bytes]], number: int) -> bytes:
    return fields.get(number, [b""])[-1]


def challenge(random: bytes) -> bytes:
    """A `DescribeVaultRequest`."""
    return _field(1, random)


def request(envelope: Envelope) -> bytes:
    """Any other request: an envelope in its first field."""
    inner = (envelope.payload_type.encode(), envelope.payload, envelope.signature, envelope.kid.encode())
    return _field(1, b"".join(_field(number, value) for number, value in enumerate(inner, 1)))


def _envelope(message: bytes) -> Envelope:
    fields = _fields(message)
    payload_type, payload, signature, kid = (_last(fields, number) for number in (1, 2, 3, 4))
    if len(signature) != 64 or len(payload_type) > 128 or len(kid) > 64:
        raise ValueError("the envelope's parts are not of their lengths")
    return Envelope(payload_type.decode(), payload, signature, kid.decode())


def answer(message: bytes) -> Envelope:
    """The envelope of an answer. Raises `ValueError`."""
    fields = _fields(message)
    if 1 not in fields:
        raise ValueError("the message holds no signed envelope")
    return _envelope(_last(fields, 1))


def refusal(details: bytes | None) -> Refusal | None:
    """The refusal in a status, or nothing where it is none of the vault's: from a proxy, or from the transport."""
    try:
        packed = [_fields(message) for message in _fields(details or b"").get(3, [])]
        reason, metadata, signed = None, {}, None
        for any_ in packed:
            name, value = _last(any_, 1).decode().rpartition("/")[2], _last(any_, 2)
            if name == "google.rpc.ErrorInfo" and reason is None:
                info = _fields(value)
                if _last(info, 2) == b"nockvault":
                    reason = _last(info, 1).decode()
                    pairs = [_fields(pair) for pair in info.get(3, [])]
                    metadata = {_last(pair, 1).decode(): _last(pair, 2).decode() for pair in pairs}
            elif name == "nockvault.v1.SignedEnvelope" and signed is None:
                try:
                    signed = _envelope(value)
                except ValueError:
                    pass  # only a verified one proves anything
    except ValueError:
        return None
    return None if reason is None else Refusal(reason, metadata, signed)
