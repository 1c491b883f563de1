"""The root of every typed error this package raises.

It must not know any particular failure: those live in the `errors.py` of the subpackage that raises them.
"""

from __future__ import annotations

__all__ = ["AdaptersError", "InvalidInput"]


class AdaptersError(RuntimeError):
    """Base of all errors of `ratchet_adapters`. The message says what was wrong and what to do about it."""


class InvalidInput(AdaptersError):
    """A value handed in can never be accepted. Nothing was changed.

    Attributes:
        field: Name of the argument or field that was wrong.
        why: What is wrong with it, without echoing the value.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}. Correct it and send it again.")
        self.field = field
        self.why = why
