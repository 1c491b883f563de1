"""Typed errors of a chat endpoint.

They must not know what was asked, nor hold a key.
"""

from __future__ import annotations

__all__ = ["EndpointError", "EndpointRefused", "EndpointReplyInvalid", "EndpointUnavailable"]


class EndpointError(Exception):
    """A chat endpoint did not answer as it should.

    Attributes:
        address: Its URL.
        why: What happened; never a key.
    """

    what, advice = "failed", ""

    def __init__(self, address: str, why: str) -> None:
        super().__init__(f"The chat endpoint {address} {self.what}: {why}. {self.advice}")
        self.address = address
        self.why = why


class EndpointUnavailable(EndpointError):
    """It could not be reached, or was too busy or too slow for too long."""

    what, advice = "is not available", "Start it, or raise timeout_s and attempts, and try again."


class EndpointRefused(EndpointError):
    """It did not accept a request."""

    what, advice = "refused the request", "Check its URL, its model's name and the key."


class EndpointReplyInvalid(EndpointError):
    """Its reply is not in the OpenAI chat format, is empty or is too long."""

    what, advice = "sent a reply that can not be used", "Check that the address is that of a chat model."
