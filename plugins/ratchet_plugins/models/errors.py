"""Typed errors of the model folder. Each message says what was wrong and what to do about it."""

from __future__ import annotations

__all__ = ["ModelCorrupt", "ModelError", "ModelInvalid", "ModelUnavailable"]


class ModelError(RuntimeError):
    """Base of every error raised while a model is located, prepared or verified."""


class ModelUnavailable(ModelError):
    """The files of a model cannot be found or fetched."""


class ModelInvalid(ModelError):
    """A folder was found, but it does not hold a model that can be loaded."""


class ModelCorrupt(ModelError):
    """A prepared folder no longer has the bytes it was prepared with."""
