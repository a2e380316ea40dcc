"""What an agent does in its life, by the Python package against a real vault. Each line of the answer is one thing."""

import asyncio
import json
import sys
import time
from pathlib import Path

import nockvault
from nockvault import wire
from nockvault.statements import jcs


def say(*what):
    print(json.dumps(what))


def fault(act):
    try:
        act()
    except nockvault.Refused as refused:
        say(refused.reason, refused.limit, refused.proven)
    except nockvault.Fault as other:
        say(type(other).__name__, getattr(other, "why", None))


def life():
    card, key = nockvault.find_card("vault/prod.card"), nockvault.find_key("kit", "kit.ed25519")
    hand = [0]
    vault = nockvault.Vault(card, "kit", key, around=nockvault.Around(lambda: time.time_ns() // 10**6 + hand[0]))
    sent, carry = [], vault._carry
    vault._carry = lambda call: sent.append(call) or carry(call)
    with vault, vault.session("py") as session:
        credential = session.request("orders-read", ttl=60, purpose="n\u00e4chtlich \u2028")
        say(credential["value"], credential.value, credential.kind, session.sid[:3])
        Path("kit.receipt").write_bytes(jcs(credential.receipt))
        assert "hunter2" not in f"{credential!r} {credential.secret}", credential
        before = credential.exp
        say(session.renew(credential, 900) > before and credential.exp > before)
        fault(lambda: session.request("orders-write"))
        fault(lambda: session.request("orders-read", ttl=7200))
        fault(lambda: session.request("orders-read", params={"n": 1.5}))
        session.release(credential)
        fault(lambda: session.renew(credential))

        # The same bytes again: the vault refuses them, and this client never sends them.
        replayed = carry(next(call for call in sent if call.method == "RequestCredential"))
        say(wire.refusal(replayed.details).reason)
        bodies = [call.body for call in sent]
        say(len(bodies) == len(set(bodies)))

        # An hour late: the vault's signed word corrects it, and a new statement is signed, once.
        del sent[:]
        hand[0] = -3_600_000
        say(session.request("orders-read").value, len(sent))

        following = nockvault.Key.generate()
        following.write("kit.next.ed25519")
        say(session.rotate_key(following) > time.time() * 1000, following.kver)
        say(session.request("orders-read").value)
        session.request("orders-read")
        say(session.close())
        say(vault.seen.size)
    # What another process goes on from.
    again = nockvault.Vault(card, "kit", nockvault.Key.read("kit.next.ed25519", kver=2))
    say(again.seen == vault.seen)
    again.close()


def with_nothing_named():
    """Card, key and memory where they are by habit; what is held is released at the end of the `with`."""
    with nockvault.connect("vault/prod.card", agent="kit", key="kit.ed25519") as session:
        say(session.request("orders-read").value)
        session.close()
        fault(lambda: session.request("orders-read"))
    try:
        session.request("orders-read")
        raise AssertionError("the connection is closed")
    except nockvault.Local:
        pass


async def together():
    async with nockvault.connect_async("vault/prod.card", agent="kit", key="kit.ed25519", state=None) as session:
        asked = [session.request("orders-read") for _ in range(5)]
        credentials = await asyncio.gather(*asked)
        say(sorted({c.value for c in credentials}), len({c.lease for c in credentials}))
        try:
            await session.request("orders-write")
        except nockvault.Refused as refused:
            say(refused.reason, refused.proven)
        say(await session.renew(credentials[0]) > 0)
        await session.release(credentials[0])
        say(await session.close())


def strangers():
    for card in sys.argv[2:]:
        fault(lambda: nockvault.connect(card, agent="kit", key="kit.ed25519", state=None))
    fault(lambda: nockvault.connect("vault/prod.card", agent="kit", key="open.ed25519", state=None))
    fault(lambda: nockvault.connect("vault/prod.card", agent="kit", key=nockvault.Key.generate(), state=None).request("x"))


def launcher():
    given = nockvault.from_agent("orders-read", {"table": "orders"}, ttl=60, purpose="test")
    say(given.value, given.kind, given.role)
    assert "hunter2" not in repr(given), given
    fault(lambda: nockvault.from_agent("orders-write"))
    fault(lambda: nockvault.from_agent("broken"))


def launched():
    """Below the real launcher, which has the key that this process has not."""
    say(nockvault.from_agent("orders-read").value, nockvault.from_agent("orders-read").lease
        == asyncio.run(nockvault.from_agent_async("orders-read")).lease)
    fault(lambda: nockvault.from_agent("other"))


match sys.argv[1]:
    case "life":
        life()
    case "named":
        with_nothing_named()
    case "together":
        asyncio.run(together())
    case "strangers":
        strangers()
    case "launcher":
        launcher()
    case "launched":
        launched()
