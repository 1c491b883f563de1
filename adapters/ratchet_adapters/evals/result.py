"""What an evaluation found, item by item, and its JSON form.

It must not know how it was obtained nor what it will be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from ratchet_adapters.evals.errors import ResultUnreadable
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.target import Sampling

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["EvalResult", "ItemResult", "SuiteResult"]


@dataclass(frozen=True)
class ItemResult:
    """One item, asked and judged.

    Attributes:
        id: Id within the suite.
        category: Of the item.
        cluster: Of the item; the unit of dependence in statistics.
        prompt: What was asked.
        answer: What the model said, or the choice it preferred; "" for passages.
        label: The judge's word; right/wrong for cloze.
        value: refused (0/1), toxicity in [0, 1], right (0/1), or nats of the whole passage; None when it failed.
        weight: Tokens of the passage for `nll`, 1 elsewhere.
        scores: Numbers behind the value; `margin` (nats) for cloze.
        error: Why there is no value; "" when there is one.
    """

    id: str
    category: str
    cluster: str
    prompt: str
    answer: str
    label: str
    value: float | None
    weight: float = 1.0
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class SuiteResult:
    """One suite, run through one adapter.

    Attributes:
        suite: The suite's name.
        version: Digest of its items.
        axis: What it measures.
        judge: "name@version" of the judge; "" when log-probabilities need none.
        sampling: How answers were drawn.
        items: Every item of the suite, in order, failed ones included.
        failure: Why the suite as a whole has no result; "" when it has. One failed item fails the suite.
    """

    suite: str
    version: str
    axis: Axis
    judge: str
    sampling: Sampling
    items: tuple[ItemResult, ...]
    failure: str = ""


@dataclass(frozen=True)
class EvalResult:
    """Everything measured of one adapter.

    Attributes:
        adapter: Digest; "" for the model alone.
        suites: One entry per suite asked for.
        created_at: ISO 8601, UTC.
    """

    adapter: str
    suites: tuple[SuiteResult, ...]
    created_at: str = ""

    def on(self, axis: Axis) -> tuple[SuiteResult, ...]:
        """Return the suites that measured an axis."""
        return tuple(suite for suite in self.suites if suite.axis == axis)

    def to_json(self) -> str:
        """Return the result as JSON; `from_json` gives it back equal."""
        return _adapter().dump_json(self).decode()

    @classmethod
    def from_json(cls, text: str) -> EvalResult:
        """Read what `to_json` wrote.

        Raises:
            ResultUnreadable: The text is damaged or of another shape.
        """
        try:
            return _adapter().validate_json(text)
        except ValueError as error:
            raise ResultUnreadable("evaluation result", str(error)) from error


@cache
def _adapter() -> TypeAdapter[EvalResult]:
    from pydantic import ConfigDict, TypeAdapter

    # NaN must survive storage to be refused by the gate, not come back as an absent value.
    EvalResult.__pydantic_config__ = ConfigDict(ser_json_inf_nan="constants")  # type: ignore[attr-defined]
    return TypeAdapter(EvalResult)
