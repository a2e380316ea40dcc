"""The client for programs that wait."""

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from . import wire
from .channel import METHOD, TIMEOUT, failure, options, trusted
from .core import Around, Core, Credential, SessionCore, Steps, lease_of
from .faults import Fault, Local, Refused, Untrusted
from .keys import Key, find_key
from .memory import State
from .places import Card, find_card, state_dir, target
from .wire import Call, Envelope, Failure

T = TypeVar("T")
Carry = Callable[[Call], Envelope | Failure]
# Where `seen` is kept by habit.
USUAL = Path("~")


class Vault:
    """A connection to a vault in one agent's name."""

    def __init__(
        self,
        card: Card,
        agent: str,
        key: Key,
        *,
        state: str | Path | None = USUAL,
        around: Around | None = None,
        carry: Carry | None = None,
    ) -> None:
        """Connects, and challenges who answers to be the vault of the card. What is remembered is kept below `state`, in
        memory alone where that is None. `carry` takes the place of gRPC, for tests."""
        self._core = Core(card, agent, key, usual(state), around or Around())
        self._channel: Any = None
        self._carry = carry or self._open()
        try:
            self._run(self._core.connect())
        except BaseException:
            self.close()
            raise

    def _open(self) -> Carry:
        address, tls = target(self._core.card)
        if tls:
            self._channel = grpc.secure_channel(address, trusted(self._core.card), options(address))
        else:
            self._channel = grpc.insecure_channel(address, options(address))

        def carry(call: Call) -> Envelope | Failure:
            try:
                reply = self._channel.unary_unary(METHOD + call.method)(call.body, timeout=TIMEOUT)
            except grpc.RpcError as error:
                return failure(error)
            except ValueError as why:
                raise Local(f"the connection was closed here: {why}") from None
            return answer(reply)

        return carry

    def _run(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                call = steps.send(self._carry(call))
        except StopIteration as done:
            result: T = done.value
            return result

    @property
    def seen(self) -> State:
        """The newest state of the agent's chain that was shown to it: keep it where the vault cannot reach."""
        return self._core.memory.state

    @property
    def described(self) -> dict[str, Any]:
        """What the vault said of itself when it was last challenged."""
        return self._core.pins.described

    def session(self, label: str = "python") -> "Session":
        """A session whose id begins with `label`. Nothing is sent: the first request opens it at the vault."""
        return Session(self, SessionCore(self._core, label))

    def accept_restore(self, refused: Refused) -> State:
        """Goes on with a vault that has just said, signed, that it was restored from a backup (`Refused.reason` is
        `restored`). It is for whoever owns the agent to decide. Gives the newest state of the history that was lost, which
        is kept beside the memory as evidence."""
        return self._core.memory.accept_restore(refused)

    def close(self) -> None:
        """Ends the connection. Sessions that are open stay so at the vault."""
        if self._channel is not None:
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Session:
    """A session: credentials are sealed to its key, and end with it."""

    def __init__(self, vault: Vault, core: SessionCore, owns_vault: bool = False) -> None:
        self.vault, self._core, self._owns_vault = vault, core, owns_vault

    @property
    def sid(self) -> str:
        return self._core.sid

    def hello(self) -> dict[str, Any]:
        """Opens it at the vault before the first need: gives its end (`ends`), how long it may be idle, the time."""
        return self.vault._run(self._core.hello())

    def request(
        self, role: str, *, ttl: int = 0, params: dict[str, Any] | None = None, purpose: str = ""
    ) -> Credential:
        """Asks for a credential: for `ttl` seconds, or as long as the grant gives by itself."""
        return self.vault._run(self._core.request(role, ttl, params or {}, purpose))

    def renew(self, lease: str | Credential, ttl: int = 0) -> int:
        """Asks for a lease to live for `ttl` seconds from now. Gives when it ends, in milliseconds."""
        exp = self.vault._run(self._core.renew(lease_of(lease), ttl))
        if isinstance(lease, Credential):
            lease.exp = exp
        return exp

    def release(self, lease: str | Credential) -> None:
        """Gives a lease back."""
        self.vault._run(self._core.release(lease_of(lease)))

    def release_unanswered(self, req: str) -> str:
        """Gives back the lease that a request made whose answer was lost (`NoAnswer.req`)."""
        return self.vault._run(self._core.release_unanswered(req))

    def rotate_key(self, key: Key) -> int:
        """Puts `key` in place of the present one. Gives until when the old one is still accepted. Keep the new key safe
        before: afterwards there is no other."""
        return self.vault._run(self._core.rotate_key(key))

    def close(self) -> int:
        """Ends the session and every lease in it. Gives how many there were."""
        return self.vault._run(self._core.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        try:
            if self._core.used:
                self.close()
        except Fault as fault:
            # What went wrong inside matters more.
            if kind is None and not self._core.ended(fault):
                raise
        finally:
            if self._owns_vault:
                self.vault.close()


def connect(
    card: str | Path | Card | None = None,
    *,
    agent: str,
    key: str | Path | Key | None = None,
    label: str = "python",
    state: str | Path | None = USUAL,
) -> Session:
    """A session of this agent, to be used in a `with`: at its end every lease is released. Card and key are looked for
    in the usual places where they are not named."""
    vault = Vault(*found(card, agent, key), state=state)
    return Session(vault, SessionCore(vault._core, label), owns_vault=True)


def found(card: str | Path | Card | None, agent: str, key: str | Path | Key | None) -> tuple[Card, str, Key]:
    found_card = card if isinstance(card, Card) else find_card(card)
    return found_card, agent, key if isinstance(key, Key) else find_key(agent, key)


def usual(state: str | Path | None) -> str | Path | None:
    if state is USUAL:
        state = state_dir()
        if state is None:
            raise Local("neither HOME nor XDG_STATE_HOME names a folder; name one to remember in, or none (state=None)")
    return state


def answer(reply: bytes) -> Envelope:
    try:
        return wire.answer(reply)
    except ValueError as why:
        raise Untrusted("form", f"the answer is not a well formed answer: {why}") from None
