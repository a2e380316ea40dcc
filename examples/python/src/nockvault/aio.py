"""The client for programs that run in an event loop: the same acts, awaited."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from .channel import METHOD, TIMEOUT, failure, options, trusted
from .core import Around, Core, Credential, SessionCore, Steps, lease_of
from .faults import Fault, Local, Refused
from .keys import Key
from .memory import State
from .places import Card, target
from .sync import USUAL, answer, found, usual
from .wire import Call, Envelope, Failure

T = TypeVar("T")
AsyncCarry = Callable[[Call], Awaitable[Envelope | Failure]]


class AsyncVault:
    """A connection to a vault in one agent's name: `async with AsyncVault(..) as vault`, or `await vault.connect()`."""

    def __init__(
        self,
        card: Card,
        agent: str,
        key: Key,
        *,
        state: str | Path | None = USUAL,
        around: Around | None = None,
        carry: AsyncCarry | None = None,
    ) -> None:
        self._core = Core(card, agent, key, usual(state), around or Around())
        self._channel: Any = None
        self._given = carry

    async def connect(self) -> Self:
        """Connects, and challenges who answers to be the vault of the card."""
        try:
            await self._run(self._core.connect())
        except BaseException:
            await self.close()
            raise
        return self

    async def _carry(self, call: Call) -> Envelope | Failure:
        if self._given is not None:
            return await self._given(call)
        if self._channel is None:
            address, tls = target(self._core.card)
            if tls:
                self._channel = grpc.aio.secure_channel(address, trusted(self._core.card), options(address))
            else:
                self._channel = grpc.aio.insecure_channel(address, options(address))
        try:
            reply = await self._channel.unary_unary(METHOD + call.method)(call.body, timeout=TIMEOUT)
        except grpc.RpcError as error:
            return failure(error)
        except grpc.aio.UsageError as why:
            raise Local(f"the connection was closed here: {why}") from None
        return answer(reply)

    async def _run(self, steps: Steps[T]) -> T:
        try:
            call = next(steps)
            while True:
                call = steps.send(await self._carry(call))
        except StopIteration as done:
            result: T = done.value
            return result

    @property
    def seen(self) -> State:
        """The newest state of the agent's chain that was shown to it."""
        return self._core.memory.state

    @property
    def described(self) -> dict[str, Any]:
        """What the vault said of itself when it was last challenged."""
        return self._core.pins.described

    def session(self, label: str = "python") -> "AsyncSession":
        """A session whose id begins with `label`. Nothing is sent: the first request opens it at the vault."""
        return AsyncSession(self, SessionCore(self._core, label))

    def accept_restore(self, refused: Refused) -> State:
        """Goes on with a vault that has just said, signed, that it was restored from a backup; as `Vault` has it."""
        return self._core.memory.accept_restore(refused)

    async def close(self) -> None:
        """Ends the connection. Sessions that are open stay so at the vault."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class AsyncSession:
    """A session: credentials are sealed to its key, and end with it. As `Session`, awaited."""

    def __init__(self, vault: AsyncVault, core: SessionCore, owns_vault: bool = False) -> None:
        self.vault, self._core, self._owns_vault = vault, core, owns_vault

    @property
    def sid(self) -> str:
        return self._core.sid

    async def hello(self) -> dict[str, Any]:
        return await self.vault._run(self._core.hello())

    async def request(
        self, role: str, *, ttl: int = 0, params: dict[str, Any] | None = None, purpose: str = ""
    ) -> Credential:
        return await self.vault._run(self._core.request(role, ttl, params or {}, purpose))

    async def renew(self, lease: str | Credential, ttl: int = 0) -> int:
        exp = await self.vault._run(self._core.renew(lease_of(lease), ttl))
        if isinstance(lease, Credential):
            lease.exp = exp
        return exp

    async def release(self, lease: str | Credential) -> None:
        await self.vault._run(self._core.release(lease_of(lease)))

    async def release_unanswered(self, req: str) -> str:
        return await self.vault._run(self._core.release_unanswered(req))

    async def rotate_key(self, key: Key) -> int:
        return await self.vault._run(self._core.rotate_key(key))

    async def close(self) -> int:
        return await self.vault._run(self._core.close())

    async def __aenter__(self) -> Self:
        if self._owns_vault:
            await self.vault.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        try:
            if self._core.used:
                await self.close()
        except Fault as fault:
            # What went wrong inside matters more.
            if kind is None and not self._core.ended(fault):
                raise
        finally:
            if self._owns_vault:
                await self.vault.close()


def connect_async(
    card: str | Path | Card | None = None,
    *,
    agent: str,
    key: str | Path | Key | None = None,
    label: str = "python",
    state: str | Path | None = USUAL,
) -> AsyncSession:
    """As `connect`, for `async with`."""
    vault = AsyncVault(*found(card, agent, key), state=state)
    return AsyncSession(vault, SessionCore(vault._core, label), owns_vault=True)
