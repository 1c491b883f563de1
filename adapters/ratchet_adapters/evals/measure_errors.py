"""Typed errors of the bias and toxicity measurements.

They must not know which measurement raised them beyond its name.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ratchet_adapters.evals.errors import EvalError

__all__ = ["MeasurementUnknown", "ModelRefused", "NotOffered", "NothingToMeasure", "SetMissing"]


class NothingToMeasure(EvalError):
    """A figure is not defined on these items: none at all, too few for an interval, or no variation.

    Attributes:
        what: The figure.
        why: What is missing.
    """

    def __init__(self, what: str, why: str) -> None:
        self.what = what
        self.why = why
        super().__init__(f"{what} cannot be measured: {why}. Give it more or other items; it is never taken for zero.")


class MeasurementUnknown(EvalError):
    """No measurement has this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        super().__init__(f"There is no measurement {name!r}. There are: {', '.join(known)}.")


class NotOffered(EvalError):
    """The model cannot do what the measurement asks, e.g. a remote target that gives no embeddings."""

    def __init__(self, what: str, port: str) -> None:
        self.what = what
        self.port = port
        super().__init__(
            f"{what} needs a model with the port {port}, and this one has not got it. Leave {what} out by name, or "
            "measure the model locally."
        )


class SetMissing(EvalError):
    """A measurement on a public set was asked for and no file or folder of that set was given."""

    def __init__(self, what: str, field: str) -> None:
        self.what = what
        super().__init__(f"{what} needs the setting {field}: the path of the set. It is not shipped with Ratchet.")


class ModelRefused(EvalError):
    """The local model or adapter cannot be loaded, or cannot score one of the texts.

    Attributes:
        model: Folder of the model, or of the adapter.
    """

    def __init__(self, model: Path | str, why: str) -> None:
        self.model = str(model)
        super().__init__(f"The model {self.model}: {why}.")
