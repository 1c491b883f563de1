"""The gate's answer with everything that led to it, and its JSON form.

It must not decide anything nor draw anything. Its JSON holds no NaN and no infinity, so that every database takes it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from ratchet_adapters.evals.errors import ResultUnreadable

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["AxisResult", "Flip", "GateOutcome", "GateReport", "SuiteNote", "TriggerNote"]


class GateOutcome(StrEnum):
    """PASS lets a candidate become champion; nothing else does."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class AxisResult:
    """One axis, paired by item: candidate minus champion.

    Attributes:
        axis: Name of the metric: harmful_refusal, over_refusal, incoherent, toxicity_mean, nll, cloze_accuracy.
        outcome: Of this axis.
        champion: The champion's figure; None when there is none.
        candidate: The candidate's figure.
        difference: Candidate minus champion; relative for nll.
        low: Lower end of the two-sided interval of the difference (95 % at the default alpha).
        high: Upper end of it.
        margin: How much worse the candidate may be; for a target to be improved, 0.
        items: Pairs compared.
        reason: One sentence.
        bound: The one-sided bound of the difference that was held against the margin.
        p_value: One-sided p of the axis's claim: better (target) or worse by less than the margin (all others).
        detectable: Smallest difference the set could show with the policy's power, computed without its outcomes.
        higher_is_better: Which way is good.
        adjusted_p: `p_value` corrected for the number of axes; what was held against `level`.
        level: Level of this decision, after earlier candidates.
    """

    axis: str
    outcome: GateOutcome
    champion: float | None
    candidate: float | None
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    items: int
    reason: str
    bound: float | None = None
    p_value: float | None = None
    detectable: float | None = None
    higher_is_better: bool = True
    adjusted_p: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Flip:
    """One item on which candidate and champion differ, with both answers.

    Attributes:
        axis: Metric it belongs to.
        better: True when the candidate is the better one.
    """

    axis: str
    suite: str
    item: str
    category: str
    prompt: str
    champion_answer: str
    candidate_answer: str
    champion_label: str
    candidate_label: str
    better: bool


@dataclass(frozen=True)
class SuiteNote:
    """Which suite, in which version, was judged by what."""

    suite: str
    version: str
    axis: str
    judge: str
    items: int


@dataclass(frozen=True)
class TriggerNote:
    """What a scan of the candidate for trigger phrases found.

    Attributes:
        outcome: Of the scan; None when it failed.
        reason: The sentence that decided, or why it failed.
        phrases: The triggers that were found.
        answers: How many answers were asked for.
        result: Digest of the whole result in the artifact store.
    """

    outcome: GateOutcome | None
    reason: str
    phrases: tuple[str, ...] = ()
    answers: int = 0
    result: str = ""


@dataclass(frozen=True)
class GateReport:
    """The decision on one candidate against one champion.

    Attributes:
        id: Made from candidate, champion, policy and time.
        candidate_digest: Of the adapter.
        champion_digest: Of the adapter it would replace; "" for the model alone.
        outcome: FAIL if any axis fails or there is a problem, else INCONCLUSIVE if any axis is, else PASS.
        reason: One sentence per problem and per axis that did not pass.
        axes: One entry per axis, in the policy's order.
        created_at: ISO 8601, UTC.
        policy: The thresholds.
        policy_digest: Their digest.
        suites: What was asked.
        flips: Items whose binary outcome differs; none of hidden suites.
        problems: What is never weighed: leaked items, a stale champion, a trigger phrase.
        doubts: What keeps the report from PASS and is no proof against the candidate: an undecided scan for triggers.
        triggers: The scan for triggers; None when there was none.
        dataset: Digest of what the candidate was trained on; "" when unknown.
        earlier: Decisions made before on this champion and these suites.
        level: Level of this decision at the policy's alpha.
    """

    id: str
    candidate_digest: str
    champion_digest: str
    outcome: GateOutcome
    reason: str
    axes: tuple[AxisResult, ...]
    created_at: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    policy_digest: str = ""
    suites: tuple[SuiteNote, ...] = ()
    flips: tuple[Flip, ...] = ()
    problems: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    triggers: TriggerNote | None = None
    dataset: str = ""
    earlier: int = 0
    level: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; numbers that are none (NaN, infinity) become None."""
        return cast(dict[str, Any], _plain(asdict(self)))

    def to_json(self) -> str:
        """Return the report as JSON text; `from_json` gives it back equal."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> GateReport:
        """Read what `to_json` wrote.

        Raises:
            ResultUnreadable: The text is damaged or of another shape.
        """
        try:
            return _adapter().validate_json(text)
        except ValueError as error:
            raise ResultUnreadable("gate report", str(error)) from error

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> GateReport:
        """Read what `to_dict` gave. Raises as `from_json` does."""
        return cls.from_json(json.dumps(body))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, StrEnum) else value


@cache
def _adapter() -> TypeAdapter[GateReport]:
    from pydantic import TypeAdapter

    return TypeAdapter(GateReport)
