"""An agent's key: in a file that is closed to everyone else, or in a variable; NockGuard's serve too."""

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from .faults import Local
from .places import config_dir
from .statements import AGENT, REGISTER, Json, admit, b64, jcs, message, thumbprint, unb64, verifies

MAX = 4096


class Key:
    """An Ed25519 key with its number among the agent's keys. It shows itself by its identifier alone."""

    def __init__(self, seed: bytes, kver: int = 1, form: str = "pae") -> None:
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()
        self.kid = thumbprint(self.public)
        self.kver = kver
        self.form = form

    def __repr__(self) -> str:
        return f"Key({self.kid}, kver={self.kver})"

    @classmethod
    def generate(cls, kver: int = 1) -> Self:
        """A new key."""
        return cls(secrets.token_bytes(32), kver)

    @classmethod
    def parse(cls, text: str, kver: int = 1) -> Self:
        """64 digits of hex are a seed, 128 a seed with its public key after it."""
        text = text.strip()
        try:
            if not text.isascii() or len(text) not in (64, 128) or not text.isalnum():
                raise ValueError
            data = bytes.fromhex(text)
        except ValueError:
            # Without the cause, which may quote the text.
            raise Local("a private key is 64 or 128 digits of hex") from None
        key = cls(data[:32], kver)
        if data[32:] not in (b"", key.public):
            raise Local("the two halves of the 128 digits do not belong together")
        return key

    @classmethod
    def read(cls, path: str | Path, kver: int | None = None) -> Self:
        """The key in a file; its number comes from the register statement beside it, and is 1 where there is none."""
        try:
            key = cls.parse(_read_safely(path))
            beside = Path(path).with_suffix(".register")
            if kver is not None:
                key.kver = kver
            elif beside.exists():
                key.numbered(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError) as why:
            raise Local(f"{path}: {why}") from None
        except Local as why:
            raise Local(f"{path}: {why}") from None
        return key

    def numbered(self, register: str) -> None:
        """Takes the number out of a register statement; that of another key says nothing about this one."""
        try:
            text = register.strip()
            embedded = json.loads(text if text.startswith("{") else unb64(text))
            payload = jcs(embedded["payload"])
            said = admit(payload, AGENT)
            own = verifies(unb64(said["pk"], 32), unb64(embedded["sig"], 64), said["form"], REGISTER, payload)
            if not own or said["typ"] != "nockvault/register" or type(said["kver"]) is not int:
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise Local("is not a register statement; vaultctl keygen makes one") from None
        if said["pk"] == b64(self.public):
            self.kver, self.form = said["kver"], said["form"]

    def write(self, path: str | Path) -> None:
        """Writes the key to a new file that nobody else can read."""
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self._seed.hex() + "\n")
            file.flush()
            os.fsync(file.fileno())

    def sign(self, payload_type: str, payload: bytes) -> bytes:
        """The signature over an envelope's type and payload."""
        return self._key.sign(message(self.form, payload_type, payload))

    def register(self, agent: str, aud: str, nonce: str, iat: int, prev: str = "") -> Json:
        """The statement that proves that its holder holds it, signed by itself."""
        statement = {
            "agent": agent,
            "aud": aud,
            "form": self.form,
            "iat": iat,
            "kid": self.kid,
            "kver": self.kver,
            "nonce": nonce,
            "pk": b64(self.public),
            "prev": prev,
            "typ": "nockvault/register",
            "v": 1,
        }
        return {"payload": statement, "sig": b64(self.sign(REGISTER, jcs(statement)))}


def _read_safely(path: str | Path) -> str:
    """The text of a file that only this user can read and have written."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as why:
        if Path(path).is_symlink():
            raise Local("is a link; a key file is opened where it stands") from None
        raise Local(why.strerror or str(why)) from None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise Local("is not a regular file")
        if about.st_uid != os.geteuid():
            raise Local("belongs to another user; a key file belongs to who uses it")
        if about.st_mode & 0o077:
            raise Local(f"is open to others (mode {about.st_mode & 0o777:04o}); run: chmod 600 {path}")
        text = file.read(MAX + 1)
    if len(text) > MAX:
        raise Local(f"is larger than the {MAX} bytes of a key file")
    return text.decode("ascii", "replace")


def find_key(agent: str, file: str | Path | None = None) -> Key:
    """An agent's key: `NOCKVAULT_AGENT_<NAME>_ED25519_KEY`, then NockGuard's variable, then the files: of the
    current folder first, as `vault-agent` has it."""
    part = agent.replace(".", "_").replace("-", "_").upper()
    for house in ("NOCKVAULT", "NOCKGUARD"):
        name = f"{house}_AGENT_{part}_ED25519_KEY"
        text = os.environ.get(name)
        if text is None:
            continue
        try:
            key = Key.parse(text)
            name = f"NOCKVAULT_AGENT_{part}_REGISTER"
            if register := os.environ.get(name):
                key.numbered(register)
        except Local as why:
            raise Local(f"{name}: {why}") from None
        return key
    if file is not None:
        return Key.read(file)
    config, home = config_dir(), os.environ.get("HOME", "")
    folders = [Path(".")] + ([config / "agents"] if config else [])
    folders += [Path(home) / ".nockguard/keys"] if Path(home).is_absolute() else []
    places = [folder / f"{agent}.ed25519" for folder in folders]
    for path in places:
        # A file that is there and not safe is an error, and never passed over for another.
        if path.exists() or path.is_symlink():
            return Key.read(path)
    tried = " nor ".join([f"NOCKVAULT_AGENT_{part}_ED25519_KEY", *map(str, places)])
    raise Local(
        f"no key of agent {agent}: neither {tried}; vaultctl keygen --agent {agent} makes one, and an operator "
        f"registers it: vaultctl agent register {agent}.register"
    )
