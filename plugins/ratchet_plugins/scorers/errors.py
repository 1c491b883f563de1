"""Typed errors of the scorers. Each message says what was wrong and what to do about it."""

from __future__ import annotations

__all__ = ["ScorerError", "ScorerUnavailable"]


class ScorerError(RuntimeError):
    """A text could not be scored. There is no default score: the caller decides what a missing one means."""


class ScorerUnavailable(ScorerError):
    """A scorer cannot be found, configured or loaded."""
