"""Typed errors of the flag store. Each says what was wrong and what to do about it."""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = [
    "AlreadyReviewed",
    "ContainmentNotFound",
    "ExchangeNotFound",
    "FlagError",
    "FlagNotFound",
    "NotContainable",
]


class FlagError(AdaptersError):
    """Base of the flag store's errors."""


class FlagNotFound(FlagError):
    """No flag has this id."""

    def __init__(self, flag_id: str) -> None:
        super().__init__(f"There is no flag {flag_id[:128]!r}. List the flags to see their ids.")
        self.flag_id = flag_id


class ExchangeNotFound(FlagError):
    """No exchange of this tenant has this request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"There is no served exchange {request_id[:128]!r}. Check the id in the receipt, or send the messages."
        )
        self.request_id = request_id


class AlreadyReviewed(FlagError):
    """A flag is reviewed once."""

    def __init__(self, flag_id: str, state: str, reviewer: str) -> None:
        super().__init__(f"Flag {flag_id} was {state} by {reviewer!r} before. A review is final: submit a new flag.")
        self.flag_id = flag_id
        self.state = state
        self.reviewer = reviewer


class NotContainable(FlagError):
    """A flag cannot become an instant rail."""

    def __init__(self, flag_id: str, why: str) -> None:
        super().__init__(f"Flag {flag_id} cannot be contained: {why}")
        self.flag_id = flag_id


class ContainmentNotFound(FlagError):
    """No containment has this id."""

    def __init__(self, containment_id: str) -> None:
        super().__init__(f"There is no containment {containment_id[:128]!r}. `ratchet flags contained` lists them.")
        self.containment_id = containment_id
