"""What both transports have in common."""

from typing import Any

import grpc

from .places import Card
from .wire import Failure

METHOD = "/nockvault.v1.AgentService/"
# The vault answers within its own, shorter deadline, also where it cannot serve.
TIMEOUT = 30


def options(address: str) -> list[tuple[str, Any]]:
    """No proxy, since nothing between is trusted; no retries, since the same bytes are never sent twice."""
    chosen: list[tuple[str, Any]] = [
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", 5 << 20),
        ("grpc.primary_user_agent", "nockvault-python"),
    ]
    if address.startswith("unix:"):
        # grpcio would name the path as the authority, which is none in HTTP/2.
        chosen.append(("grpc.default_authority", "localhost"))
    return chosen


def trusted(card: Card) -> grpc.ChannelCredentials:
    """The card's CA, and no other."""
    return grpc.ssl_channel_credentials(root_certificates=(card.ca or "").encode())


def failure(error: Any) -> Failure:
    """What an error of either transport says."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    text = "".join(c for c in (error.details() or "") if c.isprintable())
    return Failure(error.code().name, text, details if isinstance(details, bytes) else None)
