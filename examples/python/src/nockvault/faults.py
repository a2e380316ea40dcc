"""What can go wrong, sorted by who has to act."""

from datetime import datetime, timezone


class Fault(Exception):
    """Why a call gave no result."""


class Refused(Fault):
    """The vault said no."""

    def __init__(self, reason: str, message: str, limit: int | None, now: int | None, proven: bool) -> None:
        # The code of the reason: what programs act on.
        self.reason = reason
        # The vault's words for people.
        self.message = message
        # The limit that was met, in the unit that its reason states.
        self.limit = limit
        # The vault's time when it refused, in milliseconds.
        self.now = now
        # Whether the vault signed it, for exactly this request. What is not signed may be shown, and decides nothing.
        self.proven = proven
        text = message if message.startswith(reason) else f"{reason}: {message}"
        if limit is not None and "[limit " not in text:
            text += f" [limit {limit}]"
        if now is not None:
            text += f" [vault's time {_rfc3339(now)}]"
        super().__init__(f"refused: {text}" + ("" if proven else " [not signed by the vault]"))


class Unreachable(Fault):
    """No connection: nothing was sent."""

    def __init__(self, address: str, why: str) -> None:
        self.address = address
        super().__init__(
            f"{address} cannot be reached: {why}; see that vaultd runs there and that the card's address is right"
        )


class NoAnswer(Fault):
    """The request went out and no answer of the vault's came back. What was asked may have happened."""

    def __init__(self, req: str, why: str) -> None:
        # H(PAE) of what was sent; `Session.release_unanswered` ends a lease that it made.
        self.req = req
        super().__init__(f"no answer to {req}: {why}; what it asked for may have happened all the same")


class Untrusted(Fault):
    """An answer that must not be believed. Nothing of it was used."""

    def __init__(self, why: str, text: str, member: str | None = None) -> None:
        # `other_vault`, `certificate`, `signature`, `form`, `other_request`, `other_terms`, `older_history` or `seal`.
        self.why = why
        # Of `other_terms`, which member is not what was asked for.
        self.member = member
        super().__init__(text)


class Local(Fault):
    """A key, a file or an argument on this side."""


def _rfc3339(ms: int) -> str:
    try:
        return datetime.fromtimestamp(ms / 1000, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError):
        return f"{ms} ms"
