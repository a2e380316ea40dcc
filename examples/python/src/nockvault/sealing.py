"""What the vault sealed to a session: HPKE (RFC 9180), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305."""

import json

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from .faults import Untrusted
from .statements import Json, digest, jcs, unb64

SUITE = "X25519-HKDF-SHA256-CHACHA20POLY1305"
BLOCK = 64
_KEM = b"KEM\x00\x20"
_HPKE = b"HPKE\x00\x20\x00\x01\x00\x03"


def _extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    mac = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    mac.update(b"HPKE-v1" + suite + label + ikm)
    return mac.finalize()


def _expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), length, labeled).derive(prk)


def hpke_open(key: X25519PrivateKey, enc: bytes, info: bytes, ct: bytes) -> bytes:
    """RFC 9180 section 6.1, with an empty aad. Raises `ValueError` or `InvalidTag`."""
    dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + key.public_key().public_bytes_raw()
    shared = _expand(_KEM, _extract(_KEM, b"", b"eae_prk", dh), b"shared_secret", context, 32)
    schedule = b"\0" + _extract(_HPKE, b"", b"psk_id_hash", b"") + _extract(_HPKE, b"", b"info_hash", info)
    secret = _extract(_HPKE, shared, b"secret", b"")
    nonce = _expand(_HPKE, secret, b"base_nonce", schedule, 12)
    return ChaCha20Poly1305(_expand(_HPKE, secret, b"key", schedule, 32)).decrypt(nonce, ct, b"")


def open_secret(key: X25519PrivateKey, hdr: Json, enc: str, ct: str) -> Json:
    """The secret of an answer with this header."""
    try:
        info = b"nockvault-seal-v1\0" + unb64(hdr["req"]) + digest(jcs(hdr))
        framed = hpke_open(key, unb64(enc), info, unb64(ct))
        length = int.from_bytes(framed[:4], "big")
        secret, padding = framed[4 : 4 + length], framed[4 + length :]
        whole = len(framed) >= 4 and len(framed) % BLOCK == 0 and len(secret) == length
        if not whole or len(padding) >= BLOCK or any(padding):
            raise ValueError("not framed")
        opened = json.loads(secret)
        if not isinstance(opened, dict):
            raise ValueError("no object")
    except (InvalidTag, ValueError, RecursionError):
        # Without the cause, which may quote the secret.
        text = "the sealed secret does not open with this session's key for this request"
        raise Untrusted("seal", text) from None
    return opened
