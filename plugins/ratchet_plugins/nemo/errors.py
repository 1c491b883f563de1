"""Typed errors of the NeMo rails. Each message says what was wrong and what to do about it."""

from __future__ import annotations

__all__ = ["NemoRailError", "RailMisconfigured", "RailUnavailable", "UnsafePattern"]


class NemoRailError(RuntimeError):
    """A rail of this package could not judge a text. NeMo turns it into a failed, blocking outcome."""


class RailUnavailable(NemoRailError):
    """A rail manifest cannot be found or loaded, or collides with another."""


class RailMisconfigured(NemoRailError):
    """A rail cannot do what its configuration asks for.

    Attributes:
        problem: What is wrong.
        remedy: What to do.
        key: Where in the configuration; () for the flow itself.
    """

    def __init__(self, problem: str, remedy: str, key: tuple[str | int, ...] = ()) -> None:
        super().__init__(f"{problem} {remedy}")
        self.problem, self.remedy, self.key = problem, remedy, key


class UnsafePattern(NemoRailError):
    """A pattern of the regex rail is not one that can be matched in linear time.

    Attributes:
        pattern: The pattern as configured.
        index: Its place in the list of patterns, from 0.
        why: What the engine said.
    """

    def __init__(self, pattern: str, index: int, why: str) -> None:
        super().__init__(
            f"Pattern {index} ({pattern!r}) is refused: {why}. Patterns are matched by RE2, in linear time: "
            "write it without lookaround and backreferences."
        )
        self.pattern, self.index, self.why = pattern, index, why
