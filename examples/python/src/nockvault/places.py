"""Where cards, keys and memories lie, and what a card says."""

import ipaddress
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from .faults import Local
from .statements import thumbprint, unb64


def _folder(variable: str, below_home: str) -> Path | None:
    for name, below in ((variable, ""), ("HOME", below_home)):
        text = os.environ.get(name, "")
        if Path(text).is_absolute():
            return Path(text) / below
    return None


def config_dir() -> Path | None:
    """`$XDG_CONFIG_HOME/nockvault`, or `~/.config/nockvault`."""
    folder = _folder("XDG_CONFIG_HOME", ".config")
    return folder and folder / "nockvault"


def state_dir() -> Path | None:
    """`$XDG_STATE_HOME/nockvault`, or `~/.local/state/nockvault`."""
    folder = _folder("XDG_STATE_HOME", ".local/state")
    return folder and folder / "nockvault"


@dataclass(frozen=True)
class Card:
    """A vault's card: public, and as trustworthy as the way it came. It pins the vault's identity key."""

    name: str
    aud: str
    identity: bytes
    agents: str
    ca: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads a card and checks that it does not contradict itself."""
        try:
            card = tomllib.loads(text)
            texts = {name: card[name] for name in ("name", "aud", "identity", "agents", "operators")}
            ca = card.get("ca")
            known = {*texts, "genesis", "ca"} >= set(card) and isinstance(card["genesis"], dict)
            if not known or not all(isinstance(text, str) for text in (*texts.values(), ca or "")):
                raise ValueError("it has other members than a card")
            identity = unb64(texts["identity"], 32)
        except (ValueError, KeyError) as why:
            raise Local(f"not a vault card: {why}") from None
        if texts["aud"] != "nv1:" + thumbprint(identity):
            raise Local("the card's identity key does not belong to its aud; one of the two was changed")
        return cls(texts["name"], texts["aud"], identity, texts["agents"], ca)

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Reads the card in a file."""
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, Local) as why:
            raise Local(f"{path}: {why}") from None


def find_card(named: str | Path | None = None) -> Card:
    """The card that is named, by its file, its name in the usual folder or `NOCKVAULT_CARD`; else the only one."""
    named = named or os.environ.get("NOCKVAULT_CARD") or None
    folder = config_dir()
    if named is not None:
        path = Path(named)
        if path.exists() or len(path.parts) > 1 or folder is None:
            return Card.read(path)
        return Card.read(folder / f"{path.name.removesuffix('.card')}.card")
    found = sorted(folder.glob("*.card")) if folder else []
    if len(found) == 1:
        return Card.read(found[0])
    many = "there is more than one vault card" if found else "there is no vault card"
    raise Local(f"{many} in {folder}; name it, or set NOCKVAULT_CARD")


def target(card: Card) -> tuple[str, bool]:
    """Where gRPC connects to, and whether by TLS."""

    def bad(why: str) -> Local:
        forms = "it is https://host:port, http:// on loopback, or unix:/path"
        return Local(f"the address {card.agents!r} {why}; {forms}")

    if card.agents.startswith("unix:"):
        path = card.agents.removeprefix("unix:")
        if not path.startswith("/"):
            raise bad("names no absolute path")
        return "unix:/" + path.lstrip("/"), False
    try:
        url = urlsplit(card.agents)
        host, port = url.hostname or "", url.port
    except ValueError:
        raise bad("is not an address") from None
    if url.path not in ("", "/") or url.query or url.fragment or url.username or not host:
        raise bad("is not a host and a port")
    if url.scheme == "http" and not _loopback(host):
        raise bad("would send everything in the open to another machine")
    if url.scheme not in ("http", "https"):
        raise bad("has no scheme")
    if url.scheme == "https" and not card.ca:
        raise Local(f"the card carries no CA, so that nothing could be trusted at {card.agents}; ask for a new card")
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{port or (443 if url.scheme == 'https' else 80)}", url.scheme == "https"


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
