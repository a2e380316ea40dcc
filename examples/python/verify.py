"""An independent verifier of NockVault's audit chains: public keys and files, no network and no vault.

Nothing of NockVault is underneath. `examples/python/README.md` says how to run it, and what it leaves to vault-verify.
Exit 0: intact; 2: tampered, with the entry and how; 1: it could not be told.
"""

import argparse
import base64
import bisect
import functools
import hashlib
import ipaddress
import json
import re
import sys
import time
import tomllib
import unicodedata

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

TYPES = {
    name: f"application/vnd.nockvault.{name}.v1+json"
    for name in ("request", "command", "response", "register", "cert", "audit")
}
EXACT = 1 << 53
# How many bytes and how deep: a payload of an agent, one of an operator, a line, a line of _operators.
AGENT, OPERATOR, LINE, OPERATORS_LINE = (8 << 10, 8), (64 << 10, 8), (32 << 10, 16), (128 << 10, 16)
# What is left to be done beyond the trail when a lease ends, by how its credential is revoked.
OUTCOME = {"none": "none", "listed": "listed", "backend": "pending"}
# The longest skew that a vault can be set to, in milliseconds.
LONGEST_SKEW = 3_600_000
LEFT_BY = {"postgres": "backend", "ssh": "listed", "x509": "listed"}


class Tampered(Exception):
    """The chain is not what it claims to be; `fault` is the word that programs act on."""

    def __init__(self, fault, how, entry=None):
        super().__init__(how)
        self.fault = fault
        # Where it is, if that was passed already.
        self.entry = entry


class NotUnderstood(Exception):
    """An entry says what this program does not know."""


class Unusable(Exception):
    """It cannot be told, and why."""


class Malformed(Exception):
    """Bytes that do not have the form that they should have."""


# --- bytes


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text, length=None):
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, TypeError):
        raise Malformed("not base64url") from None
    if b64(data) != text or (length is not None and len(data) != length):
        raise Malformed("not canonical base64url of the right length")
    return data


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_of(line):
    return sha256(b"\0", line)


def pae(payload_type, payload):
    t = TYPES[payload_type].encode()
    return b"DSSEv1 %d %s %d %s" % (len(t), t, len(payload), payload)


def sshsig(payload_type, message):
    """What ssh-keygen -Y sign makes of a message."""
    parts = [TYPES[payload_type].encode(), b"", b"sha512", hashlib.sha512(message).digest()]
    return b"SSHSIG" + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def kid_of(public):
    return b64(sha256(rfc8785.dumps({"crv": "Ed25519", "kty": "OKP", "x": b64(public)})))


def admit(data, rules):
    """The JSON object that these bytes are in their one canonical form: nothing twice, no float, no great number."""
    most, deepest = rules
    if len(data) > most:
        raise Malformed(f"{len(data)} bytes, over the limit of {most}")

    def members(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Malformed("a member stands twice")
        if not all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in found):
            raise Malformed("a member's name is not of the form [a-z][a-z0-9_]*")
        return found

    def whole(text):
        if len(text) > 17 or abs(int(text)) >= EXACT:
            raise Malformed("a number is at or beyond 2^53")
        return int(text)

    def no_float(text):
        raise Malformed("a number is not a plain integer")

    try:
        value = json.loads(
            data.decode(), object_pairs_hook=members, parse_int=whole, parse_float=no_float, parse_constant=no_float
        )
        if not isinstance(value, dict) or depth(value) > deepest:
            raise Malformed("not an object, or nested too deep")
        if rfc8785.dumps(value) != data:
            raise Malformed("not in canonical form (RFC 8785)")
    except (ValueError, RecursionError, rfc8785.CanonicalizationError) as why:
        raise Malformed(f"not JSON: {why}") from None
    return value


def depth(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


# --- Ed25519, in its strictest reading: what `cryptography` leaves open is closed here, so that two verifiers agree

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ORDER = 2**252 + 27742317777372353535851937790883648493
ROOT = pow(2, (P - 1) // 4, P)


def add(p, q):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = p, q
    a, b = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(k, p):
    q = (0, 1, 1, 0)
    while k:
        if k & 1:
            q = add(q, p)
        p, k = add(p, p), k >> 1
    return q


def is_zero(p):
    return p[0] % P == 0 and (p[1] - p[2]) % P == 0


def point(encoded):
    """The point of a canonical encoding, or None."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & (2**255 - 1)
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


@functools.lru_cache(maxsize=4096)
def registrable(public):
    """Whether a key may be registered: canonical, not of small order, and without a part of small order."""
    p = point(public)
    return p is not None and not is_zero(times(8, p)) and is_zero(times(ORDER, p))


@functools.lru_cache(maxsize=4096)
def loaded(public):
    return Ed25519PublicKey.from_public_bytes(public)


def signed_by(public, signature, message):
    """`public` is registrable, and the first half of the signature is not of small order."""
    r = point(signature[:32]) if len(signature) == 64 else None
    if not registrable(public) or r is None or is_zero(times(8, r)):
        return False
    try:
        loaded(public).verify(signature, message)
        return True
    except InvalidSignature:
        return False


# --- the forms of things: each is a function that says whether a value has the form


def text(value):
    return isinstance(value, str)


def number(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def boolean(value):
    return isinstance(value, bool)


def anything(value):
    return True


def like(pattern, most=10_000):
    compiled = re.compile(pattern)
    return lambda value: text(value) and len(value) <= most and compiled.fullmatch(value) is not None


def raw(low, high=None):
    def check(value):
        try:
            return text(value) and low <= len(unb64(value)) <= (high or low)
        except Malformed:
            return False

    return check


def one_of(*words):
    return lambda value: value in words and text(value)


def nullable(form):
    return lambda value: value is None or form(value)


def list_of(form):
    return lambda value: isinstance(value, list) and all(map(form, value))


def map_of(form):
    return lambda value: isinstance(value, dict) and all(map(form, value.values()))


def either(*forms):
    return lambda value: any(form(value) for form in forms)


def record(optional=(), **members):
    def check(value):
        if not isinstance(value, dict) or not value.keys() <= members.keys():
            return False
        return all(form(value[name]) if name in value else name in optional for name, form in members.items())

    return check


def key(value):
    return raw(32)(value) and registrable(unb64(value))


def purpose(value):
    return text(value) and len(value.encode()) <= 256 and not any(unicodedata.category(c) == "Cc" for c in value)


def share(value):
    return number(value) and value < 256


def network(value):
    try:
        return "/" in value and str(ipaddress.ip_interface(value)) == value
    except (ValueError, TypeError):
        return False


def prev(value):
    return value == "" or kid(value)


def vault_id(value):
    return text(value) and value.startswith("nv1:") and kid(value.removeprefix("nv1:"))


obj = map_of(anything)
digest = kid = raw(32)
name = like("[a-z0-9][a-z0-9.-]{0,62}")
role_name = like("[a-z0-9][a-z0-9._-]*(/[a-z0-9][a-z0-9._-]*)*", 128)
sid = like("[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
chain_name = like("_operators|_vault|[a-z0-9][a-z0-9.-]{0,62}")
lease_id = like("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
embedded = record(payload=obj, sig=raw(64))
by = record(chain=chain_name, leaf=digest, seq=number)
APPROVAL = record(entry=record(leaf=digest, seq=number), operator=name)
terms = record(
    ttl=number, max_ttl=number, max_uses=nullable(number), until=nullable(number),
    session=nullable(like("[A-Za-z0-9._*-]{1,128}")), rate=nullable(record(count=number, per=number)),
    **{"from": list_of(network)},
)
hdr = record(
    agent=name, exp=number, iat=number, kid=kid, lease=lease_id, renewable=boolean, req=digest,
    revocation=one_of("none", "listed", "backend"), role=role_name, sid=sid, vault=vault_id,
)
duty = either(
    record(name=one_of("admin", "auditor", "responder")),
    record(name=one_of("grantor"), roles=lambda value: list_of(role_name)(value) and 1 <= len(set(value)) <= 200),
)


def shares_of(value):
    """How many there are and how many of them are enough make sense."""
    whole = record(name=one_of("shares"), count=number, set=raw(8), threshold=number)
    return whole(value) and 2 <= value["threshold"] <= value["count"] <= 16


def stretched(value):
    whole = record(name=one_of("passphrase"), m_kib=number, p=number, salt=raw(16), t=number)
    return whole(value) and 19456 <= value["m_kib"] <= 1 << 20 and 2 <= value["t"] <= 64 and 1 <= value["p"] <= 16


custodian_kind = either(
    record(name=one_of("file", "credential", "command")), record(name=one_of("pkcs11"), salt=raw(16)),
    shares_of, stretched,
)
seal = record(("sig_pk",), pk=raw(32), suite=text, sig_pk=key)
nonce = raw(16, 32)

EVERY = {
    "checkpoint": record(cert=embedded, note=text, tree=list_of(digest)),
    "clock_reset": record(by=by),
    "restore": record(by=by, number=number, salt=raw(0, 1000)),
}
KINDS = {
    "agent": EVERY | {
        "genesis": record(agent=name, by=by, identity=raw(0, 1000), register=embedded, salt=raw(0, 1000)),
        "session": record(request=embedded),
        "issue": record(grant=number, handle=text, hdr=hdr, request=embedded, sealed=digest),
        "deny": record(("handle", "lease"), handle=text, lease=lease_id, reason=text, request=embedded),
        "deny_summary": record(counts=map_of(number), to=number, **{"from": number}),
        "renew": record(exp=number, lease=lease_id, request=embedded),
        "release": record(lease=lease_id, request=embedded),
        "close": record(request=embedded),
        "revoke": record(by=by, lease=lease_id, outcome=text),
        "expire": record(lease=lease_id, outcome=text),
        "undelivered": record(lease=lease_id, outcome=text),
        "undone": record(lease=lease_id, outcome=text, tries=number),
        "forget": record(by=by, lease=lease_id),
        "agent_key": record(
            ("by", "request"), by=by, grace=nullable(number), register=embedded, request=embedded
        ),
        "agent_key_end": record(by=by, kid=kid, suspect_from=nullable(number)),
        "session_end": record(("by",), by=by, reason=text, sid=sid),
        "grant": record(by=by, role=role_name, terms=terms),
        "ungrant": record(by=by, grant=number, role=role_name),
        "freeze": record(by=by),
        "thaw": record(by=by),
    },
    "_operators": EVERY | {
        "genesis": record(identity=raw(0, 1000), operator=name, register=embedded, salt=raw(0, 1000)),
        "command": record(approvals=list_of(APPROVAL), command=embedded, result=obj),
        "custody_operator": record(
            custodian=name, duty=duty, kind=custodian_kind, register=embedded, shares=list_of(share)
        ),
    },
    "_vault": EVERY | {
        "genesis": record(aud=vault_id, identity=raw(0, 1000), name=name, salt=raw(0, 1000)),
        "start": record(
            ("opened",), node=text, opened=record(custodian=nullable(name), shares=list_of(share)), version=text
        ),
        "config": record(limits=map_of(number)),
        "recover": record(interrupted=number, quarantined=list_of(chain_name), since=number),
        "stop": record(),
        "epoch": record(),
        "freeze": record(by=by),
        "thaw": record(by=by),
        "swept": record(handle=text, outcome=text, role=role_name),
        "refused": record(counts=map_of(number), minute=number),
    },
}
ENTRY = record(
    ("cert",), body=anything, cert=embedded, kid=kid, kind=text, origin=text, prev=digest, seq=number, sig=raw(64),
    ts=number, v=number,
)
CERT = record(
    aud=vault_id, epoch=number, exp=number, kid=kid, nbf=number, node=text, pk=raw(0, 1000),
    role=one_of("response", "audit", "checkpoint", "intake", "jwt"), typ=text, v=number,
)
REGISTER = record(
    ("agent", "operator"), agent=name, operator=name, aud=vault_id, form=one_of("pae", "sshsig"), iat=number, kid=kid,
    kver=number, nonce=nonce, pk=key, prev=prev, typ=text, v=number,
)
COMMON = {
    "v": number, "typ": text, "aud": vault_id, "agent": name, "kid": kid, "kver": number, "sid": sid, "nonce": nonce,
    "iat": number, "seen": record(head=digest, size=number),
}
REQUESTS = {
    "nockvault/hello": record(**COMMON, seal=seal),
    "nockvault/issue": record(**COMMON, role=role_name, ttl=number, params=obj, purpose=purpose, seal=seal),
    "nockvault/renew": record(**COMMON, lease=lease_id, ttl=number),
    "nockvault/release": record(("lease", "req"), **COMMON, lease=lease_id, req=digest),
    "nockvault/close": record(**COMMON),
    "nockvault/rotate_key": record(**COMMON, new=embedded),
}
OPERATOR_REGISTER = record(duty=nullable(duty), register=embedded)
OPERATOR_ROTATE = record(register=embedded)
OPERATOR_DUTY = record(duty=duty, operator=name)
OPERATOR_KEY_END = record(operator=name, kid=nullable(kid), suspect_from=nullable(number))
COMMANDS = record(id=raw(16), of=number, part=number)
POLICY_SET = record(
    rules=lambda value: map_of(lambda most: number(most) and 2 <= most <= 9)(value) and len(value) <= 100,
    wait=lambda value: number(value) and 60 <= value <= 30 * 86_400,
)
ABOUT_WAITING = record(command=digest)
WAITS = record(command=digest, expires=number, persons=number)
COMMAND = record(
    ("set",), v=number, typ=text, aud=vault_id, operator=name, kid=kid, kver=number, nonce=nonce, iat=number,
    body=anything, set=lambda value: COMMANDS(value) and 1 <= value["part"] <= value["of"] <= 1_000_000,
)


def handle_of(agent, lease):
    bits = int(lease.replace("-", ""), 16)
    digits = "".join("0123456789abcdefghjkmnpqrstvwxyz"[bits >> 5 * i & 31] for i in reversed(range(26)))
    return f"nv_{agent[:33]}_{digits}"


def origin_of(origin):
    """A chain's vault, name and count of restores."""
    found = re.fullmatch("([^/]*)/([^~]*)(?:~([1-9][0-9]{0,18}))?", origin)
    if not found or not name(found[1]) or not chain_name(found[2]):
        raise Malformed("origin is not <vault>/<chain>")
    return found[1], found[2], int(found[3] or 0)


# --- certificates and keys


def open_cert(cert, role, identity, what="it"):
    """The certificate of a key that signs in `role`, and the key."""
    said, data = cert["payload"], rfc8785.dumps(cert["payload"])
    if not signed_by(identity, unb64(cert["sig"]), pae("cert", data)):
        raise Malformed(f"the identity key did not sign {what}")
    admit(data, AGENT)
    if not CERT(said) or said["typ"] != "nockvault/cert" or said["v"] != 1:
        raise Malformed(f"{what} is not a certificate of version 1")
    public = unb64(said["pk"])
    if said["aud"] != "nv1:" + kid_of(identity) or said["role"] != role:
        raise Malformed(f"{what} is of another vault or for another role")
    if len(public) != 32 or not registrable(public) or kid_of(public) != said["kid"]:
        raise Malformed(f"the key of {what} is not the one that it names")
    return said, public


class Keys:
    """The holder's keys, as the chain tells them; the newest last."""

    def __init__(self, holder, aud, first, ts, pinned=()):
        self.holder, self.aud, self.pinned, self.keys = holder, aud, pinned, []
        self.succeed(first, ts, None)

    def succeed(self, register, ts, grace):
        said = register["payload"]
        try:
            data = rfc8785.dumps(said)
            admit(data, AGENT)
            good = REGISTER(said) and said["typ"] == "nockvault/register" and said["v"] == 1
            good = good and ("agent" in said) != ("operator" in said) and said["kver"] >= 1
            good = good and kid_of(unb64(said["pk"])) == said["kid"] and (said["kver"] == 1) == (said["prev"] == "")
            message = pae("register", data)
            message = sshsig("register", message) if good and said["form"] == "sshsig" else message
            if not good or not signed_by(unb64(said["pk"]), unb64(register["sig"]), message):
                raise Malformed("it is none, or its key did not sign it")
        except (Malformed, rfc8785.CanonicalizationError) as why:
            raise Tampered("register", f"the register statement does not prove its key: {why}") from None
        kind, who = self.holder
        if said.get(kind) != who or said["aud"] != self.aud:
            raise Tampered("register", f"the register statement is not of {kind} {who} for this vault")
        newest = self.keys[-1] if self.keys else None
        if said["kver"] != (newest["kver"] + 1 if newest else 1) or said["prev"] != (newest["kid"] if newest else ""):
            raise Tampered("key_order", f"the key {said['kid']} does not follow the newest key")
        if any(old["kid"] == said["kid"] for old in self.keys):
            raise Tampered("key_order", f"the key {said['kid']} was registered before")
        if self.pinned and said["kid"] not in self.pinned:
            raise Tampered("key_pin", f"the key {said['kid']} is not among those that were pinned")
        if newest:
            newest["until"] = least(newest["until"], ts if grace is None else grace)
            newest["over"] = newest["over"] or grace is None
            newest["overlap"] = 0 if grace is None else max(0, grace - ts) // 1000 * 1000
        public = unb64(said["pk"])
        self.keys.append(
            {"kid": said["kid"], "kver": said["kver"], "pk": public, "form": said["form"], "since": ts, "until": None,
             "overlap": None, "ended": False, "over": False, "signed": 0}
        )

    def begin_overlaps_anew(self, ts):
        """The clock was put back to `ts`: from there on a key that had a successor has its overlap at the most."""
        for one in self.keys:
            if one["overlap"] is not None and not one["over"]:
                one["until"] = min(one["until"], ts + one["overlap"])

    def end(self, which, ts):
        found = next((one for one in self.keys if one["kid"] == which), None)
        if not found or found["ended"]:
            raise Tampered("key_order", f"it ends the key {which}, which was never registered or was ended before")
        found["ended"], found["over"], found["until"] = True, True, least(found["until"], ts)

    def signer(self, statement, payload_type):
        """The key that signed a request or a command, and the bytes that it signed."""
        said = statement["payload"]
        found = next((one for one in self.keys if one["kid"] == said.get("kid")), None)
        if not found:
            raise Tampered("request_signature", "what it rests on names a key that the holder never had")
        data = rfc8785.dumps(said)
        message = pae(payload_type, data)
        form = sshsig(payload_type, message) if found["form"] == "sshsig" else message
        if not signed_by(found["pk"], unb64(statement["sig"]), form):
            raise Tampered("request_signature", "what it rests on was not signed by the key that it names")
        found["signed"] += 1
        return found, data, sha256(message)


def least(one, other):
    return other if one is None else min(one, other)


def accepted_once(found, iat):
    # An intent is older than the entry that it ends with, which may stand behind the end of the key.
    if found["until"] is not None and found["until"] <= iat - LONGEST_SKEW:
        raise Tampered("request_key", f"it rests on the key {found['kid']}, which was not accepted any more at that time")


def accepted(found, ts):
    # A key that was ended stays so when the clock is set back.
    if found["until"] is not None and (found["until"] <= ts or found["over"]):
        raise Tampered("request_key", f"it rests on the key {found['kid']}, which was not accepted any more at that time")


# --- _operators


# What others than admins may command. Everybody reads, and puts its own next key in place.
READS = (
    "status_read agent_list agent_show role_list role_show secret_list secret_versions ca_show grant_list lease_list lease_show "
    "audit_read audit_list audit_checkpoint audit_prove directory_read operator_list operator_show operator_rotate"
).split()
DUTIES = {word: ("admin", "grantor", "auditor", "responder") for word in READS}
DUTIES |= {word: ("admin", "grantor") for word in ("agent_register", "grant_create", "grant_revoke")}
DUTIES |= {
    word: ("admin", "responder")
    for word in ("agent_key_end", "agent_freeze", "vault_freeze", "role_freeze", "lease_revoke", "vault_seal")
}
DUTIES |= {word: ("admin", "grantor", "responder") for word in ("approve", "withdraw")}
# And what only admins may. Whether others may give a command that is not known here cannot be told.
ADMINS_OWN = (
    "agent_thaw vault_thaw role_thaw role_create role_check role_rotate secret_put secret_rollback ca_create ca_import "
    "ca_certify lease_forget key_rotate ring_rotate clock_reset backup operator_register operator_duty operator_key_end "
    "custody_add custody_remove custody_rotate policy_set"
).split()


def path(value, *names):
    for one in names:
        value = value.get(one) if isinstance(value, dict) else None
    return value


class Freezes:
    """When everything was frozen, or a role. What stands in an agent's chain with a later time than a freeze came after
    it; what came after a thaw is not earlier than that by more than the longest skew. A reset begins time anew."""

    def __init__(self):
        # Spans by role, or None for everything: the entry of the freeze, when it was, and when the thaw was.
        self.resets, self.spans, self.newest = [], {}, (0, 0)

    def carried(self, seq, ts, typ, body):
        self.newest = now = (len(self.resets), ts)
        what = body.get("role") if typ.startswith("role_") and isinstance(body, dict) else None
        if typ.startswith("role_") and not text(what):
            return
        if typ == "clock_reset":
            self.resets.append(seq)
        elif typ in ("vault_freeze", "role_freeze"):
            spans = self.spans.setdefault(what, [])
            if not spans or spans[-1][2]:
                spans.append([seq, now, None])
        elif typ in ("vault_thaw", "role_thaw") and self.spans.get(what) and not self.spans[what][-1][2]:
            self.spans[what][-1][2] = now

    def compares(self, command, since):
        """Whether the times of the command of this entry and of a chain whose time rests on `since` compare."""
        return bisect.bisect_left(self.resets, command) == bisect.bisect_right(self.resets, since)

    def forbids(self, since, ts, role):
        now = (bisect.bisect_right(self.resets, since), ts)
        for what in (None, role) if role else (None,):
            for seq, begin, thaw in self.spans.get(what, []):
                until, end = thaw or self.newest
                if begin < now and (now[0] < until or now[0] == until and ts + LONGEST_SKEW < end):
                    return seq
        return None


# What takes as many operators as the strictest rule, once there is one.
GUARDED = ("custody_add", "custody_remove", "operator_duty", "operator_register", "policy_set")


class Approvals:
    """The rules of several persons, what waits for others, and who approved it."""

    def __init__(self):
        self.rules, self.wait, self.waiting = {}, 86_400, {}

    def persons(self, said):
        """How many operators must want this command, the one who gives it among them."""
        word = said["typ"].removeprefix("nockvault/")
        if word in GUARDED:
            return max(self.rules.values(), default=1)
        kver = path(said["body"], "register", "payload", "kver")
        further = word == "agent_register" and not (number(kver) and kver == 1)
        return max(self.rules.get(word, 1), self.rules.get("grant_create", 1) if further else 1)

    def is_of(self, one, said, ts):
        return one["giver"] == said["operator"] and self.stands(one, ts) and one["wish"] == wish(said)

    @staticmethod
    def stands(one, ts):
        return one["since"] <= ts < one["expires"]

    def forget(self, ts, operators):
        """What does not wait any more, for one who could still give it: no reset of the clock brings it back."""
        lives = lambda name: not operators.staff[name][0].keys[-1]["ended"]
        self.waiting = {name: one for name, one in self.waiting.items() if self.stands(one, ts) and lives(one["giver"])}

    def refused(self, body, at, operators):
        said, hashed, _, ts = at
        if body["approvals"]:
            raise Tampered("approval", "it was refused, and names approvals")
        waits = body["result"].get("waits")
        if body["result"]["denied"] != "needs_approval" and "waits" not in body["result"]:
            return
        if body["result"]["denied"] != "needs_approval" or not WAITS(waits):
            raise Tampered("approval", "what it says of its waiting cannot be read")
        asked = self.persons(said)
        if waits["persons"] != asked or asked < 2:
            raise Tampered("approval", f"it says that it takes {waits['persons']} operators, but it takes {asked}")
        if waits["command"] != hashed:
            known = self.waiting.get(waits["command"])
            if not known or not self.is_of(known, said, ts) or known["expires"] != waits["expires"]:
                raise Tampered("approval", "it names another command that waits, which is not the same wish of this operator")
            return
        if waits["expires"] != ts + 1000 * self.wait:
            raise Tampered("approval", "it does not wait for as long as the rules say")
        self.forget(ts, operators)
        if len(self.waiting) >= 100:
            raise Tampered("approval", "more commands wait than a vault lets wait")
        self.waiting[hashed] = {
            "giver": said["operator"], "wish": wish(said), "typ": said["typ"], "body": said["body"], "since": ts,
            "expires": waits["expires"], "approvals": {},
        }

    def wanted(self, named, at, operators):
        """Whether a command that was carried out was wanted by enough. What waited for it does so no longer."""
        said, _, _, ts = at
        waits = next((name for name, one in self.waiting.items() if self.is_of(one, said, ts)), None)
        given = self.waiting.pop(waits)["approvals"] if waits else {}
        persons = [said["operator"]]
        for one in named:
            who = one["operator"]
            entry, key_of = given.get(who, (None, None))
            if entry != one["entry"]:
                raise Tampered("approval", f"it names an approval of {who} that is none of this command")
            if who in persons:
                raise Tampered("approval", f"it counts {who} twice")
            persons.append(who)
            if operators.is_over(who, key_of) or operators.staff[who][0].keys[-1]["ended"]:
                raise Tampered("approval", f"it counts {who}, who is out, or whose key was ended since")
            operators.allowed(who, said["typ"], said["body"])
        asked = self.persons(said)
        if len(persons) < asked:
            raise Tampered("approval", f"it takes {asked} operators by the rules then, and {len(persons)} wanted it")

    def carried(self, at, operators):
        """What a command that was carried out did to rules and approvals."""
        said, _, entry, ts = at
        word, body, who = said["typ"].removeprefix("nockvault/"), said["body"], said["operator"]
        if word == "policy_set":
            if not POLICY_SET(body):
                raise Tampered("request_members", f"the command in it is no {word}")
            self.rules, self.wait = body["rules"], body["wait"]
            self.forget(ts, operators)
        elif word in ("approve", "withdraw"):
            if not ABOUT_WAITING(body):
                raise Tampered("request_members", f"the command in it is no {word}")
            one = self.waiting.get(body["command"])
            if not one or not self.stands(one, ts):
                raise Tampered("approval", "it is about a command that does not wait for approval then")
            if word == "withdraw":
                if one["giver"] != who and operators.staff[who][1]["name"] != "admin":
                    raise Tampered("approval", f"{who} took back a command of another, and is no admin")
                del self.waiting[body["command"]]
                self.forget(ts, operators)
                return
            if one["giver"] == who:
                raise Tampered("approval", f"{who} approved a command of its own")
            operators.allowed(who, one["typ"], one["body"])
            if who in one["approvals"] and not operators.is_over(who, one["approvals"][who][1]):
                raise Tampered("approval", f"{who} approved it before")
            one["approvals"][who] = (entry, said["kid"])
            self.forget(ts, operators)


def wish(said):
    """What a command says beside who gives it and when."""
    return sha256(rfc8785.dumps({"body": said["body"], "typ": said["typ"]}))


class Operators:
    """The commands of operators, to hold an agent's chain against."""

    def __init__(self, body, aud, ts, _pins):
        self.aud = aud
        # Each operator's keys, and what it may do.
        self.staff = {body["operator"]: (Keys(("operator", body["operator"]), aud, body["register"], ts), {"name": "admin"})}
        self.given, self.when, self.known, self.left, self.size = {}, {}, set(), {}, 1
        self.freezes, self.approvals = Freezes(), Approvals()
        # The custodians, as far as commands have told them, and the operators whom they made.
        self.custodians, self.kinds, self.by_custody = None, {}, []

    def judge(self, entry, leaf, _leaves, _around):
        body = entry["body"]
        if entry["kind"] == "custody_operator":
            return self.made_by_custody(entry, body)
        said = body["command"]["payload"]
        who = next((who for who, (keys, _) in self.staff.items() if any(one["kid"] == said.get("kid") for one in keys.keys)), None)
        if who is None:
            raise Tampered("request_signature", "what it rests on names a key that no operator ever had")
        found, data, hashed = self.staff[who][0].signer(body["command"], "command")
        try:
            admit(data, OPERATOR)
        except Malformed as why:
            raise Tampered("request_members", f"the command in it is not one: {why}") from None
        if not COMMAND(said) or (said["aud"], said["operator"], said["kver"], said["v"]) != (
            self.aud, who, found["kver"], 1,
        ):
            raise Tampered("request_members", "the command in it is of another operator, key, vault or version")
        accepted(found, entry["ts"])
        if hashed in self.known:
            raise Tampered("request_twice", "the command in it stands in an earlier entry already: a replay")
        self.known.add(hashed)
        denied = "denied" in body["result"]
        at = (said, b64(hashed), {"leaf": b64(leaf), "seq": entry["seq"]}, entry["ts"])
        if denied:
            self.approvals.refused(body, at, self)
        else:
            self.allowed(who, said["typ"], said["body"])
            self.approvals.wanted(body["approvals"], at, self)
            self.carried(who, said["typ"].removeprefix("nockvault/"), said["body"], body["result"], entry["ts"])
            self.approvals.carried(at, self)
        if said["typ"] == "nockvault/role_create" and not denied and isinstance(said["body"], dict):
            self.left.setdefault(said["body"].get("role"), LEFT_BY.get(said["body"].get("engine")))
        if not denied:
            self.freezes.carried(entry["seq"], entry["ts"], said["typ"].removeprefix("nockvault/"), said["body"])
        self.size = entry["seq"] + 1
        self.when[entry["seq"]] = entry["ts"]
        self.given[entry["seq"]] = (leaf, said["typ"].removeprefix("nockvault/"), said["body"], denied)

    def made_by_custody(self, entry, body):
        """Somebody opened a custodian of the root key, and that made an operator: no operator commanded it."""
        custodian, kind, shares = body["custodian"], body["kind"], body["shares"]
        if body["duty"] != {"name": "admin"}:
            raise Tampered("custody", "custody makes an operator who may do everything, and this one may not")
        if self.kinds.get(custodian, kind) != kind or self.custodians is not None and custodian not in self.custodians:
            raise Tampered("custody", f"the vault had no such custodian {custodian}")
        needed = kind["threshold"] if kind["name"] == "shares" else 0
        ordered = all(one < other for one, other in zip(shares, shares[1:]))
        if len(shares) != needed or not ordered or not all(1 <= one <= kind["count"] for one in shares):
            raise Tampered("custody", f"the shares {shares} are not those that the custodian takes")
        self.register(None, "custody_operator", body, {}, entry["ts"])
        self.by_custody.append((entry["seq"], body["register"]["payload"]["operator"], custodian, kind, shares, entry["ts"]))
        self.size = entry["seq"] + 1

    def allowed(self, who, typ, body):
        """What each duty may command, as the manual's table has it."""
        duty, word = self.staff[who][1], typ.removeprefix("nockvault/")
        if duty["name"] == "admin":
            return
        if not typ.startswith("nockvault/") or word not in DUTIES and word not in ADMINS_OWN:
            raise NotUnderstood(f"the command {typ}")
        good = duty["name"] in DUTIES.get(word, ())
        if good and duty["name"] == "grantor" and word in ("grant_create", "grant_revoke"):
            good = isinstance(body, dict) and body.get("role") in duty["roles"]
        if good and duty["name"] == "grantor" and word == "agent_register":
            good = 1 == path(body, "register", "payload", "kver")
        if not good:
            raise Tampered("duty", f"{who} may not command {word} by the duty {duty['name']} that it had")

    def carried(self, who, word, body, result, ts):
        """What a command did among the operators."""
        if word in ("custody_add", "custody_remove") and isinstance(body, dict):
            self.kinds[body.get("name")] = body.get("kind") if word == "custody_add" else None
            self.custodians = result.get("custodians")
        if word in ("operator_register", "operator_rotate"):
            if not (OPERATOR_REGISTER if word == "operator_register" else OPERATOR_ROTATE)(body):
                raise Tampered("request_members", f"the command in it is no {word}")
            self.register(who, word, body, result, ts)
        elif word == "operator_duty":
            if not OPERATOR_DUTY(body):
                raise Tampered("request_members", f"the command in it is no {word}")
            if body["operator"] not in self.staff:
                raise Tampered("key_order", f"it is about {body['operator']}, who never was an operator")
            self.staff[body["operator"]] = (self.staff[body["operator"]][0], body["duty"])
            self.an_admin_stays()
        elif word == "operator_key_end":
            kids = result.get("kids")
            if not OPERATOR_KEY_END(body) or not (isinstance(kids, list) and all(kid(one) for one in kids)):
                raise Tampered("request_members", f"the command in it is no {word}, or does not say what it ended")
            if body["operator"] not in self.staff:
                raise Tampered("key_order", f"it is about {body['operator']}, who never was an operator")
            keys = self.staff[body["operator"]][0]
            living = [one["kid"] for one in keys.keys if not one["ended"]]
            if kids != [body["kid"]] if body["kid"] else not set(living) <= set(kids):
                raise Tampered("key_order", "it ends other keys than the command says")
            for one in kids:
                keys.end(one, ts)
            self.an_admin_stays()

    def register(self, who, word, body, result, ts):
        said = body["register"]["payload"]
        if not REGISTER(said) or "operator" not in said or "agent" in said:
            raise Tampered("register", "the register statement in it is no operator's")
        whose, duty = said["operator"], body.get("duty")
        if word == "operator_rotate" and whose != who:
            raise Tampered("register", f"{who} put a key of {whose} in place of its own")
        if any(one["kid"] == said["kid"] for other, (keys, _) in self.staff.items() if other != whose for one in keys.keys):
            raise Tampered("key_order", f"the key {said['kid']} was another operator's before")
        if said["kver"] == 1:
            if whose in self.staff or duty is None:
                raise Tampered("key_order", f"it registers {whose} anew, or without a duty")
            self.staff[whose] = (Keys(("operator", whose), self.aud, body["register"], ts), duty)
            return
        if duty is not None or whose not in self.staff:
            raise Tampered("key_order", f"it gives {whose} a duty with a further key, or was never an operator")
        grace = result.get("grace")
        self.staff[whose][0].succeed(body["register"], ts, grace if number(grace) else None)

    def an_admin_stays(self):
        if not any(duty["name"] == "admin" and not keys.keys[-1]["ended"] for keys, duty in self.staff.values()):
            raise Tampered("duty", "after it the vault has no admin with a key, which it never does without")

    def is_over(self, who, which):
        """Whether this key of an operator was ended."""
        return any(one["kid"] == which and one["ended"] for one in self.staff[who][0].keys)

    def rests(self, cause, aud, fits_it):
        """That the entry which `cause` names holds a command that was carried out and that fits."""
        if self.aud != aud or cause["seq"] >= self.size:
            raise Unusable(f"it rests on entry {cause['seq']} of _operators, which the file given does not hold")
        leaf, typ, body, denied = self.given.get(cause["seq"], (None, None, None, True))
        if leaf is None or b64(leaf) != cause["leaf"] or denied or not fits_it(typ, body):
            raise Tampered("by", f"it rests on entry {cause['seq']} of _operators, which holds no such command")

    def is_older(self, cause, since, iat):
        """Whether the command is of before what was issued at `iat`. A reset and a restore take back what is later."""
        seq = cause["seq"]
        timeless = self.given[seq][1] in ("clock_reset", "backup")
        return not timeless and self.freezes.compares(seq, since) and self.when[seq] + LONGEST_SKEW < iat

    def on_the_vault(self):
        """The commands on everything that should have left something in `_vault`."""
        return [seq for seq, (_, typ, _, denied) in self.given.items() if typ in ("vault_freeze", "vault_thaw") and not denied]

    def reset_the_clock(self, cause, aud):
        self.rests(cause, aud, lambda typ, _body: typ == "clock_reset")

    def made_a_backup(self, cause, aud):
        self.rests(cause, aud, lambda typ, _body: typ == "backup")

    def about(self, agent):
        """The commands about this agent that should have left something in its chain."""
        for seq, (_, typ, body, denied) in self.given.items():
            leaves_an_entry = (
                "agent_register", "agent_key_end", "agent_freeze", "agent_thaw", "grant_create", "grant_revoke"
            )
            if typ in leaves_an_entry and not denied:
                payload = body.get("register", {}).get("payload", {})
                if body.get("agent", payload.get("agent")) == agent:
                    yield seq


def fits(typ, body, agent, effect, detail):
    """Whether a command means this effect on this agent. A body is the operator's own word, of any shape."""
    if not isinstance(body, dict):
        return False
    own = body.get("agent") == agent
    match typ, effect:
        case "agent_register", "registered":
            return body.get("register") == detail
        case "agent_key_end", "key_ended":
            return own and body.get("kid") in (None, detail["kid"]) and body.get("suspect_from") == detail["suspect_from"]
        case "agent_key_end", "revoked":
            return own
        case "grant_create", "granted":
            return own and body.get("role") == detail["role"] and body.get("terms") == detail["terms"]
        case "grant_revoke", ("ungranted" | "revoked"):
            return own and body.get("role") == detail["role"]
        case "lease_revoke", ("revoked" | "session_ended"):
            scope = body.get("scope")
            session = scope == {"agent": agent, "sid": detail["sid"]}
            if effect == "session_ended":
                return session
            return session or scope in ({"lease": detail["lease"]}, {"agent": agent}, {"role": detail["role"]}, {"all": True})
        case "lease_forget", "forgotten":
            return body.get("lease") == detail
        case "agent_freeze", ("frozen" | "revoked"):
            return own
        case "vault_freeze", "revoked":
            return True
        case "role_freeze", "revoked":
            return body.get("role") == detail["role"]
        case "agent_thaw", "thawed":
            return own
        case ("clock_reset" | "backup"), ("revoked" | "session_ended"):
            return True
    return False


# --- an agent's chain


class Agent:
    """What an agent's chain has told so far."""

    def __init__(self, body, aud, ts, pins):
        self.agent, self.aud, self.operators = body["agent"], aud, pins.operators
        self.keys = Keys(("agent", self.agent), aud, body["register"], ts, pins.agent_keys)
        self.known, self.claims, self.spent = set(), [], set()
        self.grants, self.sessions, self.sids = {}, {}, set()
        self.since, self.restored, self.reset = body["by"]["seq"], set(), False
        self.leases, self.named, self.at_backend, self.frozen = {}, set(), set(), False
        self.caused(body["by"], "genesis", "registered", body["register"])

    def judge(self, entry, _leaf, leaves, _around):
        getattr(self, "on_" + entry["kind"])(entry["body"], entry, leaves)

    # what agents ask for

    def asked(self, request, typ, entry, leaves, intended=False):
        """A request: signed by a key of the agent's, for this vault, once; and whether its `seen` is this chain's."""
        found, data, hashed = self.keys.signer(request, "request")
        said = request["payload"]
        form = REQUESTS.get(typ)
        try:
            admit(data, AGENT)
        except Malformed as why:
            raise Tampered("request_members", f"the request in it is not one: {why}") from None
        exclusive = typ != "nockvault/release" or ("lease" in said) != ("req" in said)
        if form is None or not form(said) or not exclusive or (said["typ"], said["v"]) != (typ, 1):
            raise Tampered("request_members", f"the request in it is not a {typ} of version 1")
        if (said["aud"], said["agent"], said["kver"]) != (self.aud, self.agent, found["kver"]):
            raise Tampered("request_members", "the request in it is of another agent, key number or vault")
        if not intended:
            accepted(found, entry["ts"])
        elif not self.reset:
            accepted_once(found, said["iat"])
        if hashed in self.known:
            raise Tampered("request_twice", "the request in it stands in an earlier entry already: a replay")
        self.known.add(hashed)
        size, head = said["seen"]["size"], unb64(said["seen"]["head"])
        held = head == bytes(32) if size == 0 else size <= len(leaves) and leaves[size - 1] == head
        return said, hashed, held

    def obeyed(self, request, typ, entry, leaves):
        said, hashed, held = self.asked(request, typ, entry, leaves)
        if not held:
            raise Tampered(
                "history", "the agent signed in view of another history: this one was rewritten after the agent saw it"
            )
        if self.frozen:
            raise Tampered("frozen", "the agent was frozen, and yet its request was carried out")
        return said, hashed

    def allowed(self, ts, role):
        """Nothing is given while everything is frozen, or the role."""
        freeze = self.operators and self.operators.freezes.forbids(self.since, ts, role)
        if freeze is not None:
            raise Tampered("frozen", f"by entry {freeze} of _operators nothing of the kind might be given any more")

    def on_session(self, body, entry, leaves):
        said, _ = self.obeyed(body["request"], "nockvault/hello", entry, leaves)
        self.allowed(entry["ts"], None)
        self.open(said)

    def on_issue(self, body, entry, leaves):
        said, hashed = self.obeyed(body["request"], "nockvault/issue", entry, leaves)
        given, ts = body["hdr"], entry["ts"]
        wanted = {member: said[member] for member in ("agent", "kid", "role", "sid")}
        wanted |= {"vault": self.aud, "req": b64(hashed)}
        for member, value in wanted.items():
            if given[member] != value:
                raise Tampered("header", f"what was issued has another {member} than what the agent asked for")
        self.handle(given["lease"], body["handle"])
        left = self.operators and self.operators.left.get(given["role"])
        if left and left != given["revocation"]:
            raise Tampered("header", "what was issued says something else of its revocation than its engine leaves")
        self.allowed(ts, given["role"])
        self.open(said)
        if given["iat"] > ts or given["exp"] <= given["iat"]:
            raise Tampered("header", "what was issued is of the future, or lives backwards")
        life = given["exp"] - given["iat"]
        if said["ttl"] and life > said["ttl"] * 1000:
            raise Tampered("life", "it lives longer than the agent asked for")
        grant = self.in_force(given["role"], body["grant"])
        longest = grant["terms"]["max_ttl"] if said["ttl"] else grant["terms"]["ttl"]
        until, pattern, uses = (grant["terms"][member] for member in ("until", "session", "max_uses"))
        grant["uses"] += 1
        covers = ".*".join(map(re.escape, (pattern or "*").split("*")))
        if (
            life > longest * 1000 or (until is not None and given["exp"] > until)
            or not re.fullmatch(covers, given["sid"]) or (uses is not None and grant["uses"] > uses)
        ):
            raise Tampered("grant", "what was issued is beyond its grant")
        self.name_lease(given["lease"])
        self.leases[given["lease"]] = given | {"grant": body["grant"]}

    def on_deny(self, body, entry, leaves):
        typ = body["request"]["payload"].get("typ")
        _, _, held = self.asked(body["request"], typ if text(typ) else None, entry, leaves, "lease" in body)
        if ("lease" in body) != ("handle" in body):
            raise Tampered("lease", "it names a lease without its public name, or a name without its lease")
        if "lease" in body:
            self.handle(body["lease"], body["handle"])
            self.name_lease(body["lease"])
            self.at_backend.add(body["lease"])
        if not held:
            self.claims.append(entry["seq"])

    def on_deny_summary(self, body, entry, leaves):
        pass

    def on_renew(self, body, entry, leaves):
        said, _ = self.obeyed(body["request"], "nockvault/renew", entry, leaves)
        self.is_open(said["sid"])
        if said["lease"] != body["lease"]:
            raise Tampered("request_members", "the agent asked to renew another lease")
        self.allowed(entry["ts"], self.leases.get(body["lease"], {}).get("role"))
        lease, ts = self.live(body["lease"]), entry["ts"]
        if lease["sid"] != said["sid"]:
            raise Tampered("session", "the lease is of another session")
        if not lease["renewable"] or lease["exp"] <= ts:
            raise Tampered("lease", "the lease was not renewable, or had run out")
        allowed = self.in_force(lease["role"], lease["grant"])["terms"]
        asked = ts + said["ttl"] * 1000 if said["ttl"] else max(ts + allowed["ttl"] * 1000, lease["exp"])
        if body["exp"] > asked:
            raise Tampered("life", "the lease lives longer than was asked for")
        if body["exp"] > least(allowed["until"], lease["iat"] + allowed["max_ttl"] * 1000):
            raise Tampered("grant", "the lease lives beyond its grant")
        lease["exp"] = body["exp"]

    def on_release(self, body, entry, leaves):
        said, _ = self.obeyed(body["request"], "nockvault/release", entry, leaves)
        self.is_open(said["sid"])
        lease = self.end(body["lease"], None)
        if said.get("lease", body["lease"]) != body["lease"] or said.get("req", lease["req"]) != lease["req"]:
            raise Tampered("request_members", "the agent gave back another lease")

    def on_close(self, body, entry, leaves):
        said, _ = self.obeyed(body["request"], "nockvault/close", entry, leaves)
        for lease in [one for one, live in self.leases.items() if live["sid"] == said["sid"]]:
            self.end(lease, None)
        self.close(said["sid"])

    # what ends

    def on_revoke(self, body, entry, leaves):
        lease = self.end(body["lease"], body["outcome"])
        self.rests(body["by"], "revoked", lease)
        if self.operators and not lease.get("before_reset") and self.operators.is_older(body["by"], self.since, lease["iat"]):
            raise Tampered("by", f"it rests on entry {body['by']['seq']} of _operators, a command from before the lease")

    def on_expire(self, body, entry, leaves):
        lease = self.end(body["lease"], body["outcome"])
        if lease["exp"] > entry["ts"] and lease["sid"] in self.sessions:
            raise Tampered("lease", "the lease is said to have run out, but it lives and its session is open")

    def on_undelivered(self, body, entry, leaves):
        self.end(body["lease"], body["outcome"])

    def on_undone(self, body, entry, leaves):
        if body["outcome"] not in ("revoked", "absent"):
            raise Tampered("lease", "that is not how a credential goes from its backend")
        self.undo(body["lease"])

    def on_forget(self, body, entry, leaves):
        self.undo(body["lease"])
        self.caused(body["by"], "forget", "forgotten", body["lease"])

    def on_session_end(self, body, entry, leaves):
        if "by" in body:
            # One command may end several sessions, none of them twice.
            self.rests(body["by"], "session_ended", body)
        if (body["reason"] == "revoked") != ("by" in body):
            raise Tampered("by", "a session ends by a command, or by its time")
        self.close(body["sid"])

    # what operators cause, and changes of keys

    def on_agent_key(self, body, entry, leaves):
        if "by" in body:
            self.caused(body["by"], "agent_key", "registered", body["register"])
        else:
            said, _ = self.obeyed(body["request"], "nockvault/rotate_key", entry, leaves)
            if said["kver"] != self.keys.keys[-1]["kver"]:
                raise Tampered("key_order", "a key that was not the newest named its successor")
            if said["new"] != body["register"]:
                raise Tampered("request_members", "the agent named another successor than the one put in place")
        self.keys.succeed(body["register"], entry["ts"], body["grace"])

    def on_agent_key_end(self, body, entry, leaves):
        self.rests(body["by"], "key_ended", body)
        self.spent.add(("agent_key_end", body["by"]["seq"]))
        self.keys.end(body["kid"], entry["ts"])

    def on_grant(self, body, entry, leaves):
        self.caused(body["by"], "grant", "granted", body)
        self.grants[body["role"]] = {"seq": entry["seq"], "terms": body["terms"], "uses": 0}

    def on_ungrant(self, body, entry, leaves):
        self.caused(body["by"], "ungrant", "ungranted", body)
        self.in_force(body["role"], body["grant"])
        del self.grants[body["role"]]

    def on_freeze(self, body, entry, leaves):
        self.caused(body["by"], "freeze", "frozen", None)
        self.frozen = True

    def on_thaw(self, body, entry, leaves):
        self.caused(body["by"], "thaw", "thawed", None)
        self.frozen = False

    # what these share

    def caused(self, cause, kind, effect, detail):
        """An effect that a command has once."""
        self.rests(cause, effect, detail)
        if (kind, cause["seq"]) in self.spent:
            raise Tampered("by", f"entry {cause['seq']} of _operators, on which it rests, had this effect before")
        self.spent.add((kind, cause["seq"]))

    def rests(self, cause, effect, detail):
        if cause["chain"] != "_operators":
            raise Tampered("by", f"it rests on an entry of {cause['chain']}, where no operator's command stands")
        if self.operators:
            # A backup takes back what stood in it where the chain was restored from it.
            own = lambda typ: typ != "backup" or cause["seq"] in self.restored
            self.operators.rests(
                cause, self.aud, lambda typ, body: own(typ) and fits(typ, body, self.agent, effect, detail)
            )

    def handle(self, lease, named):
        if handle_of(self.agent, lease) != named:
            raise Tampered("header", "that is not the public name of this lease")

    def open(self, said):
        pinned = self.sessions.setdefault(said["sid"], said["seal"])
        if pinned != said["seal"]:
            raise Tampered("session", "the session is pinned to another seal key")
        if said["sid"] in self.sids and pinned is said["seal"]:
            raise Tampered("session", "the session had ended before")
        self.sids.add(said["sid"])

    def is_open(self, session):
        if session not in self.sessions:
            raise Tampered("session", "the session is not open at this place")

    def close(self, session):
        self.is_open(session)
        del self.sessions[session]

    def in_force(self, role, seq):
        grant = self.grants.get(role)
        if not grant or grant["seq"] != seq:
            raise Tampered("grant", f"it rests on entry {seq}, which is no grant of {role} in force")
        return grant

    def name_lease(self, lease):
        if lease in self.named:
            raise Tampered("lease", f"the lease {lease} was issued before")
        self.named.add(lease)

    def live(self, lease):
        if lease not in self.leases:
            raise Tampered("lease", f"the lease {lease} was never issued, or had ended before")
        return self.leases[lease]

    def end(self, lease, outcome):
        ended = self.live(lease)
        del self.leases[lease]
        if outcome not in (None, OUTCOME[ended["revocation"]]):
            raise Tampered("lease", "that is not what a credential of its kind leaves")
        if ended["revocation"] == "backend":
            self.at_backend.add(lease)
        return ended

    def undo(self, lease):
        if lease not in self.at_backend:
            raise Tampered("lease", f"the lease {lease} has nothing left at a backend, or lives")
        self.at_backend.remove(lease)


class Vault:
    """`_vault`: daemons begin and end, and turn their audit keys, in an order in which that can happen."""

    def __init__(self, _body, aud, _ts, pins):
        self.aud, self.operators, self.frozen, self.newest, self.obeyed = aud, pins.operators, False, -1, set()
        # A daemon that writes down its limits also writes down that the one before was broken off.
        self.runs, self.tells, self.owed, self.broken_off = None, False, False, None
        self.restored = False

    def judge(self, entry, _leaf, _leaves, around):
        before, new_key = around
        kind, body = entry["kind"], entry["body"]
        restored, self.restored = self.restored, kind == "restore"
        if self.owed and kind not in ("start", "recover", "config", "restore"):
            raise Tampered("order", "the daemon before did not end in order, and this one did not say what it found")
        if restored and kind != "start":
            raise Tampered("order", "the vault was restored, and no daemon begins on it")
        if kind in ("start", "epoch") and not new_key and not restored:
            raise Tampered("order", "it says that a new audit key signs, and the one of the entry before it does")
        if kind == "restore":
            # Of a daemon that ran when the backup was made, the restored vault knows no end.
            if self.runs and self.broken_off is None:
                self.broken_off = before
        elif kind == "start":
            self.owed = bool(self.runs) and self.tells
            if not self.runs:
                self.broken_off = None
            elif self.broken_off is None:
                self.broken_off = before
            self.runs = True
        elif kind in ("stop", "epoch", "config", "recover"):
            if not self.runs:
                raise Tampered("order", "no daemon runs at this place: it follows no start, or a stop")
            self.runs = kind != "stop"
            self.tells = self.tells or kind == "config"
            if kind == "recover":
                self.owed = False
                if self.broken_off is None or body["since"] < self.broken_off:
                    raise Tampered("order", "nothing was broken off here, or the newest entry was of a later time")
            if kind != "config":
                self.broken_off = None
        elif kind in ("freeze", "thaw"):
            self.ordered(body["by"], kind)

    def ordered(self, cause, kind):
        """Everything was frozen, or thawed."""
        if cause["chain"] != "_operators":
            raise Tampered("by", f"it rests on an entry of {cause['chain']}, where no operator's command stands")
        if self.operators:
            self.operators.rests(cause, self.aud, lambda typ, _body: typ == "vault_" + kind)
        if cause["seq"] <= self.newest:
            raise Tampered("by", "a freeze or thaw before it rests on the same or a later entry of _operators")
        self.newest = cause["seq"]
        self.obeyed.add(cause["seq"])
        if kind == "thaw" and not self.frozen:
            raise Tampered("order", "it thaws what is not frozen")
        self.frozen = kind == "freeze"


TRAILS = {"agent": Agent, "_operators": Operators, "_vault": Vault}


# --- the chain


class Tree:
    """RFC 6962's tree over the leaves so far, as its complete subtrees, largest first."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def push(self, leaf):
        self.size += 1
        count = self.size
        while count % 2 == 0:
            leaf = sha256(b"\1", self.peaks.pop(), leaf)
            count //= 2
        self.peaks.append(leaf)

    def with_one(self, leaf):
        tree = Tree()
        tree.size, tree.peaks = self.size, list(self.peaks)
        tree.push(leaf)
        return tree

    def root(self):
        *rest, right = self.peaks or [sha256(b"")]
        for left in reversed(rest):
            right = sha256(b"\1", left, right)
        return right


def note_signed(note, origin, public):
    """The text of a signed note that `public` signed under the name `origin`."""
    body, gap, lines = note.rpartition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise Malformed("it is no signed note")
    body += "\n"
    wanted = sha256(origin.encode(), b"\n\x01", public)[:4]
    good = False
    for line in lines[:-1].split("\n"):
        found = re.fullmatch("\u2014 ([^ ]+) ([A-Za-z0-9+/]+={0,2})", line)
        if not found:
            raise Malformed("a line of its signatures is none")
        data = base64.b64decode(found[2], validate=True)
        if found[1] == origin and data[:4] == wanted:
            good = good or signed_by(public, data[4:], body.encode())
    if not good:
        raise Malformed("the checkpoint key did not sign it under the chain's name")
    return body


class Kept:
    """A checkpoint that was kept elsewhere: a note, whoever else signed it."""

    def __init__(self, note):
        self.note = note
        lines = note.rpartition("\n\n")[0].split("\n")
        if len(lines) != 3 or not re.fullmatch("[1-9][0-9]{0,18}", lines[1]):
            raise Malformed("what was kept is no checkpoint of entries")
        self.origin, self.size, self.root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
        self.of = origin_of(self.origin)

    def signed(self, certs, identity):
        for cert in certs:
            try:
                note_signed(self.note, self.origin, open_cert(cert, "checkpoint", identity)[1])
                return True
            except (Malformed, ValueError, rfc8785.CanonicalizationError):
                continue
        return False

    def differs(self):
        how = f"the first {self.size} entries are not those of a checkpoint that was kept"
        return Tampered("kept_checkpoint", how, self.size - 1)


class Pins:
    """What the reader knows from elsewhere."""

    def __init__(self):
        self.identity = self.aud = self.vault = self.genesis = self.chain = self.operators = self.max_age = None
        self.agent_keys, self.receipts, self.heads, self.checkpoints, self.certs = [], [], [], [], []


class Chain:
    """A chain under verification."""

    def __init__(self, pins):
        self.pins, self.leaves, self.times, self.tree = pins, [], [], Tree()
        self.origin = self.identity = self.trail = self.puzzle = self.first = self.last = None
        self.audit_keys, self.receipts, self.after_checkpoint, self.unended = {}, [], False, False
        self.audit_ever, self.over = set(), set()
        self.kinds, self.newest_key, self.reset, self.certs, self.differ = {}, None, -1, [], {}
        # From which entry on there may have been others before a restore, when the newest was, and what was lost to it.
        self.lost_from = self.restored_at = self.fell = None
        self.restores, self.lost = 0, {}

    def take(self, line):
        try:
            entry = admit(line, OPERATORS_LINE)
            form, known = ENTRY(entry), entry.get("v") == 1
            if not form and not known and number(entry.get("v")):
                return self.skip(line)
            if not form:
                raise Malformed("its members are not those of an entry")
            origin = origin_of(entry["origin"])
            if origin[1] != "_operators" and len(line) > LINE[0]:
                raise Malformed(f"{len(line)} bytes, over the limit")
        except Malformed as why:
            if not self.leaves and not (line.startswith(b'{"body":') or line.endswith(b',"v":1}')):
                raise Unusable(f"this is not the file of an audit chain: {why}") from None
            raise Tampered("malformed", f"the line is not an audit entry: {why}") from None
        leaf = leaf_of(line)
        family = origin[1] if origin[1] in KINDS else "agent"
        understood = known and entry["kind"] in KINDS[family]
        self.link(entry, origin, understood)
        new_key = self.key(entry)
        self.held(entry, origin, leaf)
        if understood and not KINDS[family][entry["kind"]](entry["body"]):
            raise Tampered("malformed", "the body is not that of its kind")
        if understood and entry["kind"] == "agent_key" and ("by" in entry["body"]) == ("request" in entry["body"]):
            raise Tampered("malformed", "the body names either a request or a command")
        self.timely(entry, understood)
        if not understood:
            self.puzzle = self.puzzle or (len(self.leaves), "a kind or version that this program does not know")
        self.understand(entry, origin, family, leaf, understood, new_key)
        self.took(leaf, entry["ts"])
        self.after_checkpoint = understood and entry["kind"] == "checkpoint"

    def timely(self, entry, understood):
        """Time falls at a reset of the clock alone, or at a restore that a reset follows."""
        fell, self.fell = self.fell, False
        falls = self.last is not None and entry["ts"] < self.last
        if not understood or entry["kind"] == "clock_reset":
            return
        if entry["kind"] == "restore" and falls:
            self.fell = True
        elif falls or fell:
            raise Tampered("time", "it is of a time before that of an entry before it")

    def skip(self, line):
        if not self.leaves:
            raise NotUnderstood("a version that this program does not know")
        self.puzzle = self.puzzle or (len(self.leaves), "a version that this program does not know")
        self.took(leaf_of(line), self.last)

    def took(self, leaf, ts):
        self.leaves.append(leaf)
        self.times.append(ts)
        self.tree.push(leaf)
        self.first, self.last = ts if self.first is None else self.first, ts

    def back_to(self, size):
        """What only the end showed is wrong at an entry that was passed: what follows it is no longer good."""
        del self.leaves[size:], self.times[size:]
        self.kinds, self.last = {}, self.times[-1] if size else None

    def link(self, entry, origin, understood):
        if entry["seq"] != len(self.leaves):
            raise Tampered("seq", f"entry {entry['seq']} stands where entry {len(self.leaves)} belongs")
        if unb64(entry["prev"]) != (self.leaves[-1] if self.leaves else bytes(32)):
            raise Tampered("prev", "it does not follow the entry before it: one of the two is not the original")
        if self.origin is None:
            if self.pins.vault not in (None, origin[0]):
                raise Tampered("origin", f"it is of the vault {origin[0]}")
            if self.pins.chain not in (None, origin[1]):
                raise Unusable(f"this is the chain {origin[1]}, but {self.pins.chain} was asked for")
        elif origin != self.origin and (
            origin[:2] != self.origin[:2] or understood and not (entry["kind"] == "restore" and origin[2] > self.origin[2])
        ):
            raise Tampered("origin", f"it belongs to the chain {entry['origin']}")
        self.origin = origin

    def key(self, entry):
        """The identity, and the audit key's certificate, life and signature; and whether the key is a new one."""
        if self.identity is None:
            named = entry["body"].get("identity") if isinstance(entry["body"], dict) else None
            named = unb64(named) if key(named) else None
            if self.pins.identity and named and named != self.pins.identity:
                raise Tampered("identity", "the chain is of another vault than the one that was pinned")
            identity = self.pins.identity or named
            if identity is None:
                raise Tampered("genesis", "the first entry names no identity key")
            if self.pins.aud not in (None, "nv1:" + kid_of(identity)):
                raise Tampered("identity", "the chain is of another vault than the one that was pinned")
            self.identity = identity
        if entry["kind"] == "clock_reset":
            # Others took over from these while the clock was right: the vault erased them, and they do not come back.
            self.over |= self.audit_ever - {self.newest_key}
        if entry["kind"] == "restore":
            # These were in the memory of daemons that are no more.
            self.over |= self.audit_ever
        if entry["kid"] in self.over:
            raise Tampered("key_life", "its audit key was over before the clock was put back or the vault restored")
        if "cert" in entry:
            try:
                cert, public = open_cert(entry["cert"], "audit", self.identity)
                if cert["kid"] != entry["kid"]:
                    raise Malformed("it is of another key than the entry names")
            except (Malformed, rfc8785.CanonicalizationError) as why:
                raise Tampered("certificate", f"the certificate that it carries is not good: {why}") from None
            # A key past its end does not come again.
            self.audit_keys = {kid: had for kid, had in self.audit_keys.items() if entry["ts"] < had[0]["exp"]}
            self.audit_keys[entry["kid"]] = (cert, public)
            self.audit_ever.add(entry["kid"])
        if entry["kid"] not in self.audit_keys:
            raise Tampered("certificate", "no certificate in the chain makes that an audit key")
        cert, public = self.audit_keys[entry["kid"]]
        if not cert["nbf"] <= entry["ts"] < cert["exp"]:
            raise Tampered("key_life", "the audit key was not good at that time")
        unsigned = {member: value for member, value in entry.items() if member != "sig"}
        if not signed_by(public, unb64(entry["sig"]), pae("audit", rfc8785.dumps(unsigned))):
            raise Tampered("signature", "its signature is not that of the audit key that it names")
        before, self.newest_key = self.newest_key, entry["kid"]
        return before != entry["kid"]

    def held(self, entry, origin, leaf):
        """What others hold of this very entry."""
        if entry["seq"] == 0:
            pinned = (self.pins.genesis or {}).get({"_vault": "vault", "_operators": "operators"}.get(origin[1]))
            if pinned not in (None, b64(leaf)):
                raise Tampered("genesis", "the chain begins with another entry than the one that was pinned")
            self.receipts = [open_receipt(receipt, self.identity) for receipt in self.pins.receipts]
            self.certs = list(self.pins.certs)
            if any(kept.of[:2] != origin[:2] for kept in self.pins.checkpoints):
                raise Unusable("the checkpoint is of another chain")
            if origin[2]:
                # Of a chain of this name before the restores nothing is known.
                self.lost_from, self.restores = 0, origin[2]
        if entry["kind"] == "restore":
            self.lost_from = entry["seq"] if self.lost_from is None else self.lost_from
            self.restored_at = entry["ts"]
        for at, kept in enumerate(self.pins.checkpoints):
            if kept.size != entry["seq"] + 1:
                continue
            if kept.of[2] < origin[2]:
                self.lost["checkpoint", at] = f"the checkpoint of {kept.size} entries"
            elif kept.of[2] > origin[2] or self.tree.with_one(leaf).root() != kept.root:
                if kept.signed(self.certs, self.identity):
                    raise kept.differs()
                self.differ[id(kept)] = entry["seq"]
        for at, (size, head) in enumerate(self.pins.heads):
            if size == entry["seq"] + 1 and head != b64(leaf):
                if self.may_be_lost(entry["seq"], None):
                    self.lost["head", at] = f"the state {head}:{size}"
                    continue
                raise Tampered("head", "its leaf is another than the one that was held for it")
        for at, (named, issued) in enumerate(self.receipts):
            if named["seq"] == entry["seq"]:
                if named["leaf"] != b64(leaf):
                    if self.may_be_lost(entry["seq"], issued and issued[0]["iat"]):
                        self.lost["receipt", at] = f"the receipt of entry {named['seq']}"
                        continue
                    raise Tampered("receipt", "its leaf is another than the one in a receipt")
                body = entry["body"]
                if issued and entry["kind"] == "issue" and issued != (body.get("hdr"), body.get("sealed")):
                    raise Tampered("receipt", "its receipt says that something else was issued")

    def may_be_lost(self, seq, of):
        """Whether the chain may have had another entry there before a restore, as one holds it who knows of it since `of`."""
        since = of is not None and self.restored_at is not None and self.restored_at < of
        return not since and self.lost_from is not None and seq >= self.lost_from

    def understand(self, entry, origin, family, leaf, understood, new_key):
        if not understood:
            return
        if entry["kind"] == "checkpoint":
            self.checkpoint(entry)
        if self.puzzle:
            return
        if entry["kind"] == "clock_reset":
            self.clock_reset(entry["body"]["by"], entry["seq"], entry["ts"])
        if entry["kind"] == "restore":
            self.restore(entry, origin, new_key)
        self.kinds[entry["kind"]] = self.kinds.get(entry["kind"], 0) + 1
        if self.trail is None:
            self.begin(entry, origin, family)
        elif entry["kind"] == "genesis":
            raise Tampered("genesis", "a chain has one genesis, at its beginning")
        elif entry["kind"] not in EVERY or entry["kind"] == "restore" and isinstance(self.trail, Vault):
            try:
                self.trail.judge(entry, leaf, self.leaves, (self.last, new_key))
            except NotUnderstood as what:
                self.puzzle = (len(self.leaves), str(what))

    def begin(self, entry, origin, family):
        body, aud = entry["body"], "nv1:" + kid_of(self.identity)
        if entry["kind"] != "genesis":
            raise Tampered("genesis", "the chain does not begin with its genesis")
        own = {
            "agent": lambda: body["agent"] == origin[1],
            "_operators": lambda: True,
            "_vault": lambda: body["name"] == origin[0] and body["aud"] == aud,
        }
        if unb64(body["identity"]) != self.identity or len(unb64(body["salt"])) != 16 or not own[family]():
            raise Tampered("genesis", "its genesis is that of another chain")
        self.trail = TRAILS[family](body, aud, entry["ts"], self.pins)

    def checkpoint(self, entry):
        """The vault's own word on the tree before this entry, which others may have kept."""
        body, root = entry["body"], base64.b64encode(self.tree.root()).decode()
        try:
            if "cert" not in entry or self.after_checkpoint:
                raise Malformed("it follows another, or carries no certificate of its audit key")
            cert, public = open_cert(body["cert"], "checkpoint", self.identity)
            if not cert["nbf"] <= entry["ts"] < cert["exp"]:
                raise Malformed("its key was not good at that time")
            if note_signed(body["note"], entry["origin"], public) != f"{entry['origin']}\n{entry['seq']}\n{root}\n":
                raise Malformed("it is not of the entries before it")
            if [unb64(peak) for peak in body["tree"]] != self.tree.peaks:
                raise Malformed("its tree is not that of the entries before it")
            self.certs.append(body["cert"])
        except (ValueError, Malformed, rfc8785.CanonicalizationError) as why:
            raise Tampered("checkpoint", f"the checkpoint is not good: {why}") from None

    def clock_reset(self, cause, seq, ts):
        """An operator said that the clock had been ahead."""
        if cause["chain"] != "_operators" or cause["seq"] <= self.reset:
            raise Tampered("by", "it rests on no entry of _operators, or on one that had reset this chain's clock before")
        self.reset = cause["seq"]
        if isinstance(self.trail, Agent):
            self.trail.since, self.trail.reset = cause["seq"], True
            for lease in self.trail.leases.values():
                lease["before_reset"] = True
            self.trail.keys.begin_overlaps_anew(ts)
        if isinstance(self.trail, Operators):
            if cause["seq"] >= seq:
                raise Tampered("by", "it rests on an entry that does not stand before it")
            self.trail.reset_the_clock(cause, self.trail.aud)
            for keys, _ in self.trail.staff.values():
                keys.begin_overlaps_anew(ts)
        elif self.pins.operators:
            self.pins.operators.reset_the_clock(cause, "nv1:" + kid_of(self.identity))

    def restore(self, entry, origin, new_key):
        """The vault was restored from a backup."""
        body, cause = entry["body"], entry["body"]["by"]
        if not new_key:
            raise Tampered("restore", "its audit key signed here before: a restored vault begins with a new one")
        if body["number"] != origin[2] or body["number"] <= self.restores or len(unb64(body["salt"])) != 16 or not self.leaves:
            raise Tampered("restore", "its number is not the one that the origin has from here on, or does not count on")
        if cause["chain"] != "_operators":
            raise Tampered("by", f"it rests on an entry of {cause['chain']}, where no operator's command stands")
        self.restores = body["number"]
        if isinstance(self.trail, Agent):
            self.trail.restored.add(cause["seq"])
        if isinstance(self.trail, Operators):
            if cause["seq"] >= entry["seq"]:
                raise Tampered("by", "it rests on an entry that does not stand before it")
            self.trail.made_a_backup(cause, self.trail.aud)
        elif self.pins.operators:
            self.pins.operators.made_a_backup(cause, "nv1:" + kid_of(self.identity))

    def end(self):
        """What only the end of the chain can tell."""
        if not self.leaves:
            raise Unusable("the file is empty")
        heads = [(size, "head") for size, _ in self.pins.heads]
        missing = max(heads + [(named["seq"] + 1, "receipt") for named, _ in self.receipts], default=(0, ""))
        if missing[0] > len(self.leaves) and self.lost_from is None:
            raise Tampered(missing[1], f"the chain ends here, but entry {missing[0] - 1} is held elsewhere")
        for kept in self.pins.checkpoints:
            if not kept.signed(self.certs, self.identity):
                raise Unusable("the checkpoint that was kept is not the vault's, or the certificate of its key is missing")
            if id(kept) in self.differ:
                raise kept.differs()
            if kept.size > len(self.leaves) and kept.of[2] < self.origin[2]:
                self.lost["checkpoint", id(kept)] = f"the checkpoint of {kept.size} entries"
                continue
            if kept.size > len(self.leaves):
                raise Tampered("kept_checkpoint", f"the chain ends here, but a checkpoint of {kept.size} entries is held")
        for at, (size, head) in enumerate(self.pins.heads):
            if size > len(self.leaves):
                self.lost["head", at] = f"the state {head}:{size}"
        for at, (named, _) in enumerate(self.receipts):
            if named["seq"] >= len(self.leaves):
                self.lost["receipt", at] = f"the receipt of entry {named['seq']}"
        if isinstance(self.trail, Operators):
            self.trail.size = len(self.leaves)
        if self.puzzle:
            raise NotUnderstood(self.puzzle[1])


def open_receipt(receipt, identity):
    """Which entry a receipt names, and what was issued and sealed."""
    payload = receipt.get("payload")
    if "cert" in receipt:
        try:
            _, public = open_cert(receipt["cert"], "response", identity, "the receipt's certificate")
            if not signed_by(public, unb64(receipt["sig"]), pae("response", rfc8785.dumps(payload))):
                raise Malformed("its signature is not that of the response key")
        except (Malformed, KeyError, TypeError, rfc8785.CanonicalizationError) as why:
            raise Unusable(f"the receipt is not good: {why}") from None
    named = payload.get("entry") if isinstance(payload, dict) else None
    if not record(leaf=digest, seq=number)(named):
        raise Unusable("the receipt names no entry")
    issued = None
    if payload.get("typ") == "nockvault/issued":
        issued = (payload["hdr"], b64(sha256(unb64(payload["enc"]), unb64(payload["ct"]))))
    return named, issued


def breaks_off(line):
    """Whether a line ends in the middle of JSON that is good as far as it goes."""
    inside, open_ends, escaped = False, 0, False
    for byte in line:
        if inside:
            inside, escaped = escaped or byte != 0x22, byte == 0x5C and not escaped
        elif byte == 0x22:
            inside = True
        else:
            open_ends += (byte in b"{[") - (byte in b"}]")
    return line[:1] == b"{" and (inside or open_ends > 0)


def verify(lines, pins):
    """The verdict on a chain, and what was found."""
    chain = Chain(pins)
    verdict = {"is": "intact"}
    try:
        for line in lines:
            whole = line.endswith(b"\n")
            if not whole and breaks_off(line):
                return chain, place(chain, "torn", "the file breaks off inside this entry; what stands before it is intact")
            chain.unended = not whole
            chain.take(line.removesuffix(b"\n"))
        chain.end()
        now, age = pins.max_age or (0, 0)
        if chain.lost:
            how = "; ".join(chain.lost.values()) + ": lost when the vault was restored from a backup, or cut off since"
            verdict = place(chain, "lost", how, at=chain.lost_from)
        elif pins.max_age and chain.last + age * 1000 < now:
            verdict = {"is": "stale", "how": "the newest entry is older than it may be"}
    except Tampered as why:
        if why.entry is not None:
            chain.back_to(why.entry)
        verdict = place(chain, "tampered", str(why), why.fault)
    except NotUnderstood as why:
        verdict = place(chain, "not_understood", str(why), None, chain.puzzle and chain.puzzle[0])
    except Unusable as why:
        verdict = {"is": "unusable", "how": str(why)}
    return chain, verdict


def place(chain, verdict, how, fault=None, at=None):
    entry = len(chain.leaves) if at is None else at
    how = "".join(" " if unicodedata.category(c) == "Cc" else c for c in how)
    found = {"is": verdict, "entry": entry, "line": entry + 1, "how": how}
    return found | {"fault": fault} if fault else found


# --- the command line


def when(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def told(path, chain, verdict, pins):
    origin = "/".join(chain.origin[:2]) if chain.origin else "this file"
    at = f" at entry {verdict['entry']} (line {verdict['line']})" if "entry" in verdict else ""
    words = verdict["is"].upper() if verdict["is"] == "tampered" else verdict["is"].replace("_", " ")
    print(f"{path}: {origin}: {words}{at}" + (f": {verdict['how']}" if "how" in verdict else ""))
    if not chain.leaves:
        return
    print(f"  {len(chain.leaves)} good entries, {when(chain.first)} to {when(chain.last)}")
    print(f"  head {b64(chain.leaves[-1])}:{len(chain.leaves)}")
    pinned = pins.identity or pins.aud
    print(f"  vault nv1:{kid_of(chain.identity)}" + ("" if pinned else "  (NOT PINNED)"))
    print("  " + ", ".join(f"{count} {kind}" for kind, count in sorted(chain.kinds.items())))
    if isinstance(chain.trail, (Agent, Operators)):
        trail = chain.trail
        for one in trail.keys.keys if isinstance(trail, Agent) else [one for keys, _ in trail.staff.values() for one in keys.keys]:
            print(f"  {one['signed']} signed with key number {one['kver']} ({one['kid']}), good from {when(one['since'])}")
    for seq, who, custodian, kind, shares, ts in chain.trail.by_custody if isinstance(chain.trail, Operators) else []:
        given = f", {len(shares)} of {kind['count']}: {', '.join(map(str, shares))}" if shares else ""
        print(f"  BY CUSTODY, AND BY NO OPERATOR'S COMMAND: {who} was made admin by custody"
              f" ({kind['name']} {custodian}{given}) at {when(ts)} (entry {seq})")
    print("  not proved:")
    if isinstance(chain.trail, Operators):
        for seq, who, *_ in chain.trail.by_custody:
            print(f"  - WHO MADE {who} AN OPERATOR in entry {seq}: custodians sign nothing; it is the vault's word")
    if not pinned:
        print("  - WHOSE VAULT THIS IS: the identity was taken from the file itself; give --card or --identity")
    if not pins.heads and not pins.receipts and not pins.checkpoints:
        print("  - that nothing follows: a bare file cannot show that its end was cut off; give --checkpoint, --head or --receipt")
    if chain.lost_from is not None:
        print(f"  - WHAT THE VAULT WROTE BETWEEN A BACKUP AND ITS RESTORE, in entries from number {chain.lost_from} on")
    if chain.unended:
        print("  - that the last line was written to its end: its LF is missing")
    if isinstance(chain.trail, Vault) and pins.operators:
        idle = [seq for seq in pins.operators.on_the_vault() if seq not in chain.trail.obeyed]
        if idle:
            print(f"  - THAT THE VAULT OBEYED the commands in the entries {idle} of _operators")
    if isinstance(chain.trail, Agent):
        if not pins.operators:
            print("  - that operators gave the commands named here: give --operators")
        else:
            idle = [seq for seq in pins.operators.about(chain.trail.agent) if seq not in {s for _, s in chain.trail.spent}]
            if idle:
                print(f"  - THAT THE VAULT OBEYED the commands in the entries {idle} of _operators")
        if not pins.agent_keys:
            print("  - that the agent's first key is the agent's: pin it with --agent-key")
        if chain.trail.claims:
            print(f"  - what the agent claims in the refused requests {chain.trail.claims}: another history")
        print("  - who used the agent's keys: a signature shows a holder of the key, and nothing of who holds it")


def identity_pin(pins, said):
    if said.startswith("nv1:"):
        pins.aud = said
        return
    if not key(said):
        raise Malformed("--identity is neither a public key in base64url nor nv1:...")
    pins.identity, pins.aud = unb64(said), "nv1:" + kid_of(unb64(said))


def pins_of(given):
    pins, found = Pins(), []
    if given.card:
        with open(given.card, "rb") as file:
            card = tomllib.load(file)
        identity_pin(pins, card["identity"])
        if pins.aud != card["aud"]:
            raise Malformed("the card contradicts itself")
        pins.vault, pins.genesis = card["name"], card["genesis"]
    if given.identity:
        before = pins.aud
        identity_pin(pins, given.identity)
        if before not in (None, pins.aud):
            raise Malformed("--identity is of another vault than the card")
    if given.operators:
        pins.chain = "_operators"
        with open(given.operators, "rb") as file:
            chain, verdict = verify(file, pins)
        found.append((given.operators, chain, verdict))
        pins.operators = chain.trail if verdict["is"] == "intact" else None
    pins.chain, pins.agent_keys = given.chain, given.agent_key
    for path in given.receipt:
        with open(path, "rb") as file:
            pins.receipts.append(json.load(file))
    for path in given.checkpoint:
        with open(path, encoding="utf-8", newline="") as file:
            pins.checkpoints.append(Kept(file.read()))
    for path in given.cert:
        with open(path, "rb") as file:
            pins.certs.append(json.load(file))
    for head in given.head:
        leaf, _, size = head.partition(":")
        if not digest(leaf) or not size.isdecimal() or int(size) < 1:
            raise Malformed("--head is LEAF:SIZE")
        pins.heads.append((int(size), leaf))
    if given.max_age is not None:
        pins.max_age = (time.time_ns() // 1_000_000, given.max_age)
    return pins, found


def main():
    arguments = argparse.ArgumentParser(description="Verify the audit chains of a NockVault with public keys alone.")
    arguments.add_argument("--card", "--vault", metavar="CARD", help="the vault's card, which pins its identity")
    arguments.add_argument("--identity", metavar="KEY|ID", help="the vault's public key in base64url, or its id, nv1:...")
    arguments.add_argument("--agent-key", action="append", default=[], metavar="KID", help="a key the agent may have")
    arguments.add_argument("--chain", metavar="NAME", help="whose chain the files are")
    arguments.add_argument("--operators", metavar="FILE", help="the file of _operators")
    arguments.add_argument("--receipt", action="append", default=[], metavar="FILE", help="an answer that was kept")
    arguments.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="a checkpoint that was kept")
    arguments.add_argument("--cert", action="append", default=[], metavar="FILE", help="a checkpoint key's certificate")
    arguments.add_argument("--head", action="append", default=[], metavar="LEAF:SIZE", help="a state the chain once had")
    arguments.add_argument("--max-age", type=int, metavar="SECONDS", help="how old the newest entry may be")
    arguments.add_argument("--output", choices=("human", "json"), default="human", help="one object a line and file")
    arguments.add_argument("files", nargs="+", metavar="FILE", help="files of audit chains")
    # argparse takes what begins with a hyphen for an option, and so does base64url one time in 64: --head=LEAF:SIZE.
    try:
        given = arguments.parse_args()
    except SystemExit as why:
        # argparse's own code for wrong usage is 2, which here means tampered.
        sys.exit(1 if why.code else 0)
    worst = 0
    try:
        pins, found = pins_of(given)
        for path in given.files:
            with open(path, "rb") as file:
                # A line over the limit is cut, and then found to be over it.
                lines = iter(lambda: file.readline(OPERATORS_LINE[0] + 2), b"")
                found.append((path, *verify(lines, pins)))
        for path, chain, verdict in found:
            if given.output == "json":
                head = b64(chain.leaves[-1] if chain.leaves else bytes(32))
                print(json.dumps({"file": path, "verdict": verdict, "size": len(chain.leaves), "head": head}))
            else:
                told(path, chain, verdict, pins)
            worst = max(worst, {"intact": 0, "tampered": 2}.get(verdict["is"], 1))
    except (OSError, Malformed, KeyError, ValueError) as why:
        print(f"verify: {why}", file=sys.stderr)
        sys.exit(1)
    sys.exit(worst)


if __name__ == "__main__":
    main()
