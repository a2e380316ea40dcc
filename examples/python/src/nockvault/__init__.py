"""An agent's client of NockVault.

    with nockvault.connect(agent="kit") as session:
        credential = session.request("orders-read")
        open_the_database(password=credential["password"])

An agent signs each request with its own Ed25519 key; the vault answers with a short-lived secret that is sealed to the
session, and this client believes an answer only where the vault that the card pins signed it, for this very request.
The same bytes are never sent twice. Under the launcher, `vault-agent exec`, a tool holds no key at all and asks it:

    credential = nockvault.from_agent("orders-read")

Every fault is a `Fault`: `Refused`, `Unreachable`, `NoAnswer`, `Untrusted` or `Local`, sorted by who has to act.
"""

from .aio import AsyncSession, AsyncVault, connect_async
from .core import Around, Credential, Secret
from .faults import Fault, Local, NoAnswer, Refused, Unreachable, Untrusted
from .keys import Key, find_key
from .launcher import Given, from_agent, from_agent_async
from .places import Card, find_card
from .sync import Session, Vault, connect

__all__ = [
    "Around",
    "AsyncSession",
    "AsyncVault",
    "Card",
    "Credential",
    "Fault",
    "Given",
    "Key",
    "Local",
    "NoAnswer",
    "Refused",
    "Secret",
    "Session",
    "Unreachable",
    "Untrusted",
    "Vault",
    "connect",
    "connect_async",
    "find_card",
    "find_key",
    "from_agent",
    "from_agent_async",
]
__version__ = "0.1.0"
