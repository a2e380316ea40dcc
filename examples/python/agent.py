"""An agent of NockVault in Python: asks for one credential and opens it.

Nothing of NockVault is underneath. `examples/python/README.md` says how to run it.
"""

import argparse
import base64
import hashlib
import json
import os
import secrets
import sys
import time
import tomllib

import grpc
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nockvault.v1 import agent_pb2, agent_pb2_grpc, envelope_pb2

REQUEST = "application/vnd.nockvault.request.v1+json"
RESPONSE = "application/vnd.nockvault.response.v1+json"
CERT = "application/vnd.nockvault.cert.v1+json"
SUITE = "X25519-HKDF-SHA256-CHACHA20POLY1305"
# What the vault says of how a credential can be made useless before its time.
REVOCABLE = {
    "none": "in no way; what was read stays known",
    "listed": "by a list that verifiers fetch from the vault",
    "backend": "where it lives, at once",
}


class Untrusted(Exception):
    """An answer that must not be believed."""


class Refused(Exception):
    """The vault said no."""

    def __init__(self, reason, message, denied):
        super().__init__(message)
        self.reason = reason
        # The vault's signed word, or None. Only this may decide anything.
        self.denied = denied


# --- bytes


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if b64(data) != text:
        raise Untrusted("base64url that is not canonical")
    return data


def jcs(value):
    """RFC 8785. Member names are plain ASCII and numbers are integers, so that sorted compact JSON is all it takes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def pae(payload_type, payload):
    """DSSE's pre-authentication encoding: what is signed."""
    t = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(t), t, len(payload), payload)


def digest(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def raw(public):
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def kid(public_bytes):
    """RFC 7638: the thumbprint of the key as a JWK."""
    return b64(digest(jcs({"crv": "Ed25519", "kty": "OKP", "x": b64(public_bytes)})))


def verify(public_bytes, signature, message, what):
    try:
        Ed25519PublicKey.from_public_bytes(public_bytes).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Untrusted(f"{what} is not signed by the key that it should be signed by") from None


# --- HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305

KEM = b"KEM" + (0x0020).to_bytes(2, "big")
HPKE = b"HPKE" + (0x0020).to_bytes(2, "big") + (0x0001).to_bytes(2, "big") + (0x0003).to_bytes(2, "big")


def labeled_extract(suite, salt, label, ikm):
    mac = hmac.HMAC(salt or bytes(32), hashes.SHA256())
    mac.update(b"HPKE-v1" + suite + label + ikm)
    return mac.finalize()


def labeled_expand(suite, prk, label, info, length):
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return HKDFExpand(hashes.SHA256(), length, labeled).derive(prk)


def hpke_open(key, enc, info, ct):
    dh = key.exchange(X25519PublicKey.from_public_bytes(enc))
    context = enc + raw(key.public_key())
    shared = labeled_expand(KEM, labeled_extract(KEM, b"", b"eae_prk", dh), b"shared_secret", context, 32)
    psk_id_hash = labeled_extract(HPKE, b"", b"psk_id_hash", b"")
    info_hash = labeled_extract(HPKE, b"", b"info_hash", info)
    schedule = b"\0" + psk_id_hash + info_hash
    secret = labeled_extract(HPKE, shared, b"secret", b"")
    aead_key = labeled_expand(HPKE, secret, b"key", schedule, 32)
    nonce = labeled_expand(HPKE, secret, b"base_nonce", schedule, 12)
    return ChaCha20Poly1305(aead_key).decrypt(nonce, ct, b"")


def open_seal(key, hdr, enc, ct):
    info = b"nockvault-seal-v1\0" + unb64(hdr["req"]) + digest(jcs(hdr))
    try:
        framed = hpke_open(key, enc, info, ct)
    except (InvalidTag, ValueError):
        raise Untrusted("the seal does not open with this session's key for this request") from None
    length = int.from_bytes(framed[:4], "big")
    secret, padding = framed[4 : 4 + length], framed[4 + length :]
    if len(framed) % 64 or len(secret) != length or len(padding) >= 64 or any(padding):
        raise Untrusted("the sealed secret is not framed as it should be")
    return json.loads(secret)


# --- the vault


class Vault:
    """A connection, and what is believed on it."""

    def __init__(self, card):
        self.aud = card["aud"]
        self.identity = unb64(card["identity"])
        if self.aud != "nv1:" + kid(self.identity):
            raise Untrusted("the card contradicts itself")
        self.stub = agent_pb2_grpc.AgentServiceStub(channel(card["agents"], card.get("ca")))
        self.ahead = 0
        self.certs = []
        self.describe()

    def now(self):
        return int(time.time() * 1000) + self.ahead

    def set_clock(self, now):
        self.ahead = now - int(time.time() * 1000)

    def describe(self):
        """Challenges the vault and takes its certified keys."""
        challenge = secrets.token_bytes(32)
        signed = self.stub.DescribeVault(agent_pb2.DescribeVaultRequest(challenge=challenge), timeout=10).signed
        # Parsed before it is verified, since the certificates stand inside; believed only after.
        said = json.loads(signed.payload)
        if said["identity"] != b64(self.identity) or said["aud"] != self.aud:
            raise Untrusted(
                f"another vault answers: the card pins {kid(self.identity)}, this one shows {kid(unb64(said['identity']))}"
            )
        self.certs = [self.certificate(cert, said["now"]) for cert in said["certs"]]
        self.read(signed, "nockvault/described")
        if said["req"] != b64(challenge):
            raise Untrusted("the description answers another challenge")
        self.set_clock(said["now"])

    def certificate(self, embedded, now):
        cert = embedded["payload"]
        verify(self.identity, unb64(embedded["sig"]), pae(CERT, jcs(cert)), "a certificate")
        if cert["typ"] != "nockvault/cert" or cert["v"] != 1 or cert["aud"] != self.aud:
            raise Untrusted("a certificate is not one of this vault")
        return embedded if cert["nbf"] <= now < cert["exp"] else None

    def response_cert(self, signed):
        """The certificate whose key signed this answer."""
        for embedded in filter(None, self.certs):
            cert = embedded["payload"]
            if cert["role"] != "response":
                continue
            try:
                verify(unb64(cert["pk"]), signed.signature, pae(RESPONSE, signed.payload), "the answer")
                return embedded
            except Untrusted:
                continue
        raise Untrusted("no certified response key of the vault signed this answer")

    def read(self, signed, typ):
        """A signed answer: its signature first, then what it says."""
        if signed.payload_type != RESPONSE:
            raise Untrusted("the answer is of another payload type")
        self.response_cert(signed)
        said = json.loads(signed.payload)
        if said["typ"] != typ or said["v"] != 1 or "crit" in said or jcs(said) != signed.payload:
            raise Untrusted(f"the answer is not a {typ} of version 1")
        return said

    def refusal(self, error, sent):
        """What a call that failed means."""
        details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        if details is None:
            return error
        reason, denied = None, None
        for packed in fields(details, 3):
            url, value = fields(packed, 1)[0].decode(), (fields(packed, 2) or [b""])[0]
            if url.endswith("/google.rpc.ErrorInfo"):
                reason = fields(value, 1)[0].decode()
            elif url.endswith("/nockvault.v1.SignedEnvelope"):
                said = self.read(envelope_pb2.SignedEnvelope.FromString(value), "nockvault/denied")
                if said["req"] == b64(digest(pae(REQUEST, sent.payload))):
                    denied, reason = said, said["reason"]
        return Refused(reason, error.details(), denied)


def fields(message, number):
    """The values of one length-delimited field of a protobuf message: `google.rpc.Status` is not part of grpcio."""
    at, found = 0, []

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 2:
            length = varint()
            if tag >> 3 == number:
                found.append(message[at : at + length])
            at += length
        elif tag & 7 == 0:
            varint()
        else:
            raise Untrusted("a status that is not one")
    return found


def channel(address, ca):
    if address.startswith("https://"):
        credentials = grpc.ssl_channel_credentials(root_certificates=ca.encode())
        return grpc.secure_channel(address.removeprefix("https://"), credentials)
    host = address.removeprefix("http://")
    if address.startswith("unix:") or host.rsplit(":", 1)[0] in ("localhost", "127.0.0.1", "[::1]"):
        # Over a socket, grpcio would name the path as the authority, which is none in HTTP/2.
        return grpc.insecure_channel(host, options=[("grpc.default_authority", "localhost")])
    raise Untrusted(f"{address} would send everything in the open to another machine")


# --- the agent


class Agent:
    def __init__(self, vault, name, key, kver):
        self.vault, self.name, self.key, self.kver = vault, name, key, kver
        self.kid = kid(raw(key.public_key()))

    def sign(self, body, sid):
        statement = {
            "v": 1,
            "aud": self.vault.aud,
            "agent": self.name,
            "kid": self.kid,
            "kver": self.kver,
            "sid": sid,
            "nonce": b64(secrets.token_bytes(24)),
            "iat": self.vault.now(),
            "seen": {"head": b64(bytes(32)), "size": 0},
            **body,
        }
        payload = jcs(statement)
        signature = self.key.sign(pae(REQUEST, payload))
        return envelope_pb2.SignedEnvelope(payload_type=REQUEST, payload=payload, signature=signature, kid=self.kid)

    def request(self, role, ttl=0, purpose="", params=None):
        """Asks for a credential: the header, the secret, and the receipt to keep."""
        session = X25519PrivateKey.generate()
        sid = "python-" + secrets.token_hex(8)
        body = {
            "typ": "nockvault/issue",
            "role": role,
            "ttl": ttl,
            "params": params or {},
            "purpose": purpose,
            "seal": {"pk": b64(raw(session.public_key())), "suite": SUITE},
        }
        for attempt in (1, 2):
            sent = self.sign(body, sid)
            try:
                reply = self.vault.stub.RequestCredential(
                    agent_pb2.RequestCredentialRequest(signed=sent), timeout=30
                ).signed
                break
            except grpc.RpcError as error:
                refused = self.vault.refusal(error, sent)
                # The clock is corrected by what the vault signed for this request, and by nothing else; then a new
                # statement is signed, once.
                skewed = isinstance(refused, Refused) and refused.reason == "clock_skew" and refused.denied
                if attempt == 2 or not skewed:
                    raise refused from None
                self.vault.set_clock(refused.denied["now"])
        issued = self.vault.read(reply, "nockvault/issued")
        hdr = issued["hdr"]
        self.check(hdr, sent, role, ttl, sid)
        secret = open_seal(session, hdr, unb64(issued["enc"]), unb64(issued["ct"]))
        receipt = {"cert": self.vault.response_cert(reply), "payload": issued, "sig": b64(reply.signature)}
        return hdr, secret, receipt

    def check(self, hdr, sent, role, ttl, sid):
        wanted = {
            "req": b64(digest(pae(REQUEST, sent.payload))),
            "vault": self.vault.aud,
            "agent": self.name,
            "kid": self.kid,
            "role": role,
            "sid": sid,
        }
        for member, value in wanted.items():
            if hdr[member] != value:
                raise Untrusted(f"the answer's {member} is not what was asked for")
        if hdr["exp"] <= self.vault.now() or (ttl and hdr["exp"] - hdr["iat"] > ttl * 1000):
            raise Untrusted("the answer's exp is not what was asked for")


def read_key(path):
    """NockGuard's key file: the seed in hex, closed to everyone else."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW)) as file:
        if os.fstat(file.fileno()).st_mode & 0o077:
            sys.exit(f"{path} is open to others; run: chmod 600 {path}")
        return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(file.read().strip()[:64]))


def main():
    arguments = argparse.ArgumentParser(description="Ask a NockVault for a credential, as an agent.")
    arguments.add_argument("--vault", required=True, metavar="CARD", help="the vault card")
    arguments.add_argument("--agent", required=True, help="who asks")
    arguments.add_argument("--key", required=True, metavar="FILE", help="the agent's key file")
    arguments.add_argument("--kver", type=int, default=1, help="the key's number")
    arguments.add_argument("--role", required=True, help="what is asked for")
    arguments.add_argument("--ttl", type=int, default=0, metavar="SECONDS", help="for how long; 0 takes the grant's default")
    arguments.add_argument("--purpose", default="", help="what for; it stands in the trail")
    arguments.add_argument("--receipt", metavar="FILE", help="keep the vault's receipt in this file")
    arguments.add_argument("--reveal", action="store_true", help="print the secret, to standard output")
    given = arguments.parse_args()

    with open(given.vault, "rb") as file:
        card = tomllib.load(file)
    try:
        agent = Agent(Vault(card), given.agent, read_key(given.key), given.kver)
        hdr, secret, receipt = agent.request(given.role, given.ttl, given.purpose)
    except Refused as refused:
        print(f"refused: {refused}", file=sys.stderr)
        if refused.reason == "unauthenticated":
            # The vault says no more than this to a stranger.
            print(f"is this key enrolled? an operator registers it: vaultctl agent register {given.agent}.register", file=sys.stderr)
        sys.exit(2)
    except Untrusted as untrusted:
        print(f"not believed: {untrusted}", file=sys.stderr)
        sys.exit(1)
    except grpc.RpcError as error:
        print(f"no answer: {error.code().name}: {error.details()}", file=sys.stderr)
        sys.exit(1)
    if given.receipt:
        with open(given.receipt, "wb") as file:
            file.write(jcs(receipt))
    print(f"lease {hdr['lease']} of {hdr['role']}, a secret of type {secret['type']}", file=sys.stderr)
    print(f"revocable: {REVOCABLE.get(hdr['revocation'], hdr['revocation'])}", file=sys.stderr)
    if given.reveal:
        print(secret.get("value", secret.get("token")))


if __name__ == "__main__":
    main()
