"""Checks a NockGuard trail by NockGuard's rules, with nothing of ours: `check.py TRAIL PUBLIC_KEY_HEX`.

Each row is read, written again as Go's encoding/json writes the struct, and its Ed25519 signature checked over
`row without sig || LF || sig of the row before`; then the signed checkpoint beside it. Exit code 0 intact, 2 tampered.
"""

import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIELDS = [
    ("ts", True), ("agent", True), ("tool", True), ("decision", True), ("reason", False), ("nock_id", False),
    ("pr", False), ("review_id", False), ("parent_audit_seq", False), ("session_id", False), ("key_id", False),
]
NUMBERS = {"nock_id", "parent_audit_seq"}


def go_string(text):
    out = json.dumps(text, ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        out = out.replace(char, "\\u%04x" % ord(char))
    return out


def go_marshal(row):
    members = []
    for name, always in FIELDS:
        value = row.get(name, 0 if name in NUMBERS else "")
        if always or value:
            members.append('"%s":%s' % (name, value if name in NUMBERS else go_string(value)))
    return "{" + ",".join(members) + "}"


def once(pairs):
    if len({name for name, _ in pairs}) != len(pairs):
        tampered("a member stands twice")
    return dict(pairs)


def tampered(why):
    print("tampered:", why, file=sys.stderr)
    sys.exit(2)


def check(key, sig, message, what):
    try:
        key.verify(bytes.fromhex(sig), message.encode())
    except (InvalidSignature, ValueError):
        tampered(what + ": its signature does not fit")


def main(path, public):
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
    key_id = hashlib.sha256(bytes.fromhex(public)).hexdigest()
    sigs = []
    with open(path, encoding="utf-8", newline="\n") as trail:
        for line in trail:
            row = json.loads(line, object_pairs_hook=once)
            sig = row.pop("sig", None) or tampered("row %d is not signed" % (len(sigs) + 1))
            if not set(row) <= {name for name, _ in FIELDS}:
                tampered("row %d has a member that no struct has" % (len(sigs) + 1))
            canonical = go_marshal(row)
            what = "row %d" % (len(sigs) + 1)
            check(key, sig, canonical + "\n" + (sigs[-1] if sigs else ""), what)
            if line != canonical[:-1] + ',"sig":"' + sig + '"}\n':
                tampered(what + ": the line is not what was signed")
            if row.get("key_id", key_id) != key_id:
                tampered(what + ": it names another key")
            sigs.append(sig)
    with open(path + ".hwm", encoding="utf-8") as file:
        mark = json.load(file)
    check(key, mark["sig"], "nockguard-hwm-v1\n%d\n%s\n" % (mark["count"], mark["last_sig"]), "the checkpoint")
    if len(sigs) < mark["count"] or sigs[mark["count"] - 1] != mark["last_sig"]:
        tampered("the checkpoint counts other rows")
    print("intact: %d rows, %d anchored" % (len(sigs), mark["count"]))


main(*sys.argv[1:])
