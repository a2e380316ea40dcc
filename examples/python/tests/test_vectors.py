"""The request vectors of tests/vectors/requests, run by the sync and the async client.

    python -m unittest discover -s examples/python/tests
"""

import asyncio
import json
import os
import tempfile
import unittest
from pathlib import Path
from typing import Any

import nockvault
from nockvault import sealing, wire
from nockvault.core import Core
from nockvault.statements import b64, message, pae, unb64
from nockvault.wire import Call, Envelope, Failure

BESIDE = Path(__file__).resolve().parents[3] / "tests/vectors/requests"
FOLDER = Path(os.environ.get("NOCKVAULT_REQUEST_VECTORS", BESIDE))
CODES = {5: "NOT_FOUND", 7: "PERMISSION_DENIED", 9: "FAILED_PRECONDITION", 14: "UNAVAILABLE", 16: "UNAUTHENTICATED"}


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def card(whole: Any) -> nockvault.Card:
    said = whole["card"]
    return nockvault.Card(said["name"], said["aud"], unb64(said["identity"]), said["agents"])


class Scripted:
    """A clock that stands still, and what is drawn, by purpose."""

    def __init__(self, clock: int, drawn: dict[str, list[str]]) -> None:
        self.now = clock
        self.drawn = {what: [bytes.fromhex(text) for text in texts] for what, texts in drawn.items()}

    def around(self) -> nockvault.Around:
        def random(what: str, length: int) -> bytes:
            data = self.drawn[what].pop(0)
            assert len(data) == length
            return data

        return nockvault.Around(lambda: self.now, random)


class Statements(unittest.TestCase):
    def test_requests_are_signed_byte_for_byte(self) -> None:
        vectors = load("requests.json")["vectors"]
        self.assertEqual(len(vectors), 24)
        for vector in vectors:
            with self.subTest(vector["name"]):
                given, ask, typ = vector["given"], vector["ask"], vector["typ"].removeprefix("nockvault/")
                key = nockvault.Key(bytes.fromhex(vector["seed"]), given["kver"], vector["form"])
                self.assertEqual(key.kid, vector["kid"])
                if typ == "register":
                    signed = key.register(given["agent"], given["aud"], given["nonce"], given["iat"], given["prev"])
                    sent = Envelope(
                        vector["payload_type"], nockvault.statements.jcs(signed["payload"]), unb64(signed["sig"]), key.kid
                    )
                else:
                    sent = self.request(vector, key, typ, given, dict(ask))
                self.assertEqual(sent.payload.decode(), vector["payload"])
                self.assertEqual(sent.payload_type, vector["payload_type"])
                self.assertEqual(b64(pae(sent.payload_type, sent.payload)), vector["pae"])
                self.assertEqual(b64(message(key.form, sent.payload_type, sent.payload)), vector["signed"])
                self.assertEqual(b64(sent.signature), vector["signature"])
                self.assertEqual(b64(sent.digest()), vector["req"])

    def request(self, vector: Any, key: nockvault.Key, typ: str, given: Any, body: Any) -> Envelope:
        around = nockvault.Around(lambda: given["iat"], lambda what, _: unb64(given["nonce"]))
        whole = nockvault.Card("prod", given["aud"], bytes(32), "unix:/x")
        core = Core(whole, given["agent"], key, None, around)
        if "session_key" in given:
            secret = nockvault.core.X25519PrivateKey.from_private_bytes(bytes.fromhex(given["session_key"]))
            body["seal"] = {"pk": b64(secret.public_key().public_bytes_raw()), "suite": sealing.SUITE}
        if typ == "rotate_key":
            said = body.pop("next")
            following = nockvault.Key(bytes.fromhex(said["seed"]), key.kver + 1, said["form"])
            body["new"] = following.register(given["agent"], given["aud"], said["nonce"], said["iat"], key.kid)
        return core.sign(typ, body, given["sid"], given["seen"])

    def test_what_cannot_be_said_is_not_signed(self) -> None:
        whole = load("requests.json")
        core = Core(nockvault.Card("prod", "nv1:x", b"", "unix:/x"), "kit", nockvault.Key(bytes(32)), None, nockvault.Around())
        for case in whole["unsayable"]:
            with self.subTest(case["name"]), self.assertRaises(nockvault.Local):
                core.sign("issue", {"params": case["params"]}, "s", {})


class Tape:
    """Takes the place of gRPC: each call must be the next line's, and gets the answer that stands there."""

    def __init__(self, lines: list[Any]) -> None:
        self.lines = list(lines)

    def __call__(self, call: Call) -> Envelope | Failure:
        line = self.lines.pop(0)
        assert call.method == line["call"], (call.method, line["call"])
        if call.method == "DescribeVault":
            assert call.body == wire.challenge(unb64(line["challenge"]))
        else:
            assert wire.answer(call.body) == envelope(line["signed"])
        if "signed" in line["answer"]:
            return envelope(line["answer"]["signed"])
        status = line["answer"]["status"]
        return Failure(CODES[status["code"]], status["message"], unb64(status["details"]) or None)

    async def awaited(self, call: Call) -> Envelope | Failure:
        await asyncio.sleep(0)
        return self(call)


def envelope(said: Any) -> Envelope:
    return Envelope(said["payload_type"], said["payload"].encode(), unb64(said["signature"]), said["kid"])


def told(fault: nockvault.Fault) -> Any:
    match fault:
        case nockvault.Refused():
            return {"refused": {"reason": fault.reason, "limit": fault.limit, "proven": fault.proven}}
        case nockvault.Unreachable():
            return {"unreachable": {}}
        case nockvault.NoAnswer():
            return {"no_answer": {}}
        case nockvault.Untrusted(member=None):
            return {"untrusted": {"why": fault.why}}
        case nockvault.Untrusted():
            return {"untrusted": {"why": fault.why, "member": fault.member}}
        case nockvault.Local():
            return {"local": {}}
    raise fault


def shown(came: Any) -> Any:
    """What an act gave, as the vectors have it."""
    if isinstance(came, nockvault.Credential):
        assert not any(value in repr(came) for value in came.secret.values() if value != came.kind), repr(came)
        members = ("lease", "exp", "renewable", "revocation")
        return {"secret": dict(came.secret), **{name: getattr(came, name) for name in members}}
    return came


def arguments(act: Any) -> tuple[list[Any], dict[str, Any]]:
    """What an act calls its method with."""
    if act["do"] == "request":
        ask = dict(act["ask"])
        return [ask.pop("role")], ask
    if act["do"] == "rotate_key":
        return [nockvault.Key(bytes.fromhex(act["seed"]))], {}
    return [act[name] for name in ("lease", "req", "ttl") if name in act], {}


def lost(state: nockvault.memory.State) -> Any:
    return {"head": state.head, "size": state.size}


NAMES = {"renew": "exp", "release_unanswered": "lease", "close": "leases", "rotate_key": "grace"}


def result(act: Any, came: Any) -> Any:
    if act["do"] == "hello":
        return {"ends": came["ends"], "idle": came["idle"]}
    if act["do"] in NAMES:
        return {NAMES[act["do"]]: came}
    return shown(came) or {}


class Conversations(unittest.TestCase):
    def each(self, hold: Any) -> None:
        whole = load("conversations.json")
        self.assertGreater(len(whole["conversations"]), 80)
        for talk in whole["conversations"]:
            with self.subTest(talk["name"]), tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / whole["card"]["aud"] / "kit.seen"
                file.parent.mkdir()
                file.write_bytes(nockvault.statements.jcs(talk["memory"]) + b"\n")
                tape = Tape(talk["tape"])
                scripted = Scripted(talk["clock"], talk["random"])
                hold(whole, talk, tape, scripted, folder)
                self.assertEqual(tape.lines, [])
                self.assertEqual(json.loads(file.read_bytes()), talk["remembers"])

    def test_the_sync_client_holds_them(self) -> None:
        def hold(whole: Any, talk: Any, tape: Tape, scripted: Scripted, folder: str) -> None:
            vault: nockvault.Vault | None = None
            session: nockvault.Session | None = None
            refused: nockvault.Refused | None = None
            for act in talk["acts"]:
                came: Any = {}
                try:
                    if act["do"] == "connect":
                        vault = nockvault.Vault(
                            card(whole), "kit", key(whole), state=folder, around=scripted.around(), carry=tape
                        )
                    elif act["do"] == "wait":
                        scripted.now += act["seconds"] * 1000
                    elif act["do"] == "accept_restore":
                        came = lost(vault.accept_restore(refused))  # type: ignore[union-attr,arg-type]
                    else:
                        session = session or vault.session(whole["label"])  # type: ignore[union-attr]
                        positional, named = arguments(act)
                        came = result(act, getattr(session, act["do"])(*positional, **named))
                    came = {"ok": came}
                except nockvault.Fault as fault:
                    came = told(fault)
                    refused = fault if isinstance(fault, nockvault.Refused) else refused
                self.assertEqual(came, act["expect"], act)

        self.each(hold)

    def test_the_async_client_holds_them(self) -> None:
        async def carry_out(whole: Any, talk: Any, tape: Tape, scripted: Scripted, folder: str) -> None:
            vault = nockvault.AsyncVault(
                card(whole), "kit", key(whole), state=folder, around=scripted.around(), carry=tape.awaited
            )
            session: nockvault.AsyncSession | None = None
            refused: nockvault.Refused | None = None
            for act in talk["acts"]:
                came: Any = {}
                try:
                    if act["do"] == "connect":
                        await vault.connect()
                    elif act["do"] == "wait":
                        scripted.now += act["seconds"] * 1000
                    elif act["do"] == "accept_restore":
                        came = lost(vault.accept_restore(refused))  # type: ignore[arg-type]
                    else:
                        session = session or vault.session(whole["label"])
                        positional, named = arguments(act)
                        came = result(act, await getattr(session, act["do"])(*positional, **named))
                    came = {"ok": came}
                except nockvault.Fault as fault:
                    came = told(fault)
                    refused = fault if isinstance(fault, nockvault.Refused) else refused
                self.assertEqual(came, act["expect"], act)

        self.each(lambda *talk: asyncio.run(carry_out(*talk)))


def key(whole: Any) -> nockvault.Key:
    return nockvault.Key(bytes.fromhex(whole["agent"]["seed"]), whole["agent"]["kver"])


if __name__ == "__main__":
    unittest.main()
