"""What rails say: verdicts of single rails, and the decision they add up to. Plain values, no behaviour of any rail."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["ALLOWED", "Decision", "Direction", "Outcome", "RailResult", "Verdict"]


class Outcome(enum.StrEnum):
    """What became of a check. FAILED is never ALLOW."""

    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    FAILED = "FAILED"


class Direction(enum.StrEnum):
    """The side of the model a rail guards."""

    INPUT = "INPUT"
    OUTPUT = "OUTPUT"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rail said of one text. It never carries the text.

    Attributes:
        rail: The flow as configured.
        reason: Why, for people; empty if the rail gave none.
        score: The classifier's value in [0, 1], or None.
        threshold: The value from which on it blocks, or None.
        duration_ms: Wall time the rail took, in milliseconds, summed over the windows of a stream.
        enforced: False only for a FAILED rail that the operator set to fail open.
    """

    rail: str
    direction: Direction
    outcome: Outcome
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    duration_ms: float = 0.0
    enforced: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What all rails of one side add up to.

    Attributes:
        outcome: BLOCK if a rail blocks; else FAILED if an enforced rail failed; else ALLOW.
        verdicts: One per rail that ran, in the order of the configuration.
        scores: Classifier scores seen, by name: `input_<label>` for the prompt, `<label>` for the answer.
    """

    outcome: Outcome
    verdicts: tuple[Verdict, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], scores: Mapping[str, float]) -> Decision:
        """Add up verdicts."""
        enforced = {verdict.outcome for verdict in verdicts if verdict.enforced}
        worst = next((o for o in (Outcome.BLOCK, Outcome.FAILED) if o in enforced), Outcome.ALLOW)
        return cls(worst, tuple(verdicts), dict(scores))

    def after(self, earlier: Decision) -> Decision:
        """Return this decision on a longer text with what earlier ones on its beginning saw: highest scores, all time.

        The outcome stays this one's. A rail that did not run this time keeps its earlier verdict.
        """
        before = {verdict.rail: verdict for verdict in earlier.verdicts}
        now = {verdict.rail: _joined(before.get(verdict.rail), verdict) for verdict in self.verdicts}
        scores = dict(earlier.scores)
        for name, value in self.scores.items():
            scores[name] = max(value, scores.get(name, 0.0))
        return Decision(self.outcome, tuple((before | now).values()), scores)


ALLOWED = Decision(Outcome.ALLOW)


@dataclass(frozen=True, slots=True)
class RailResult:
    """What one run of a rail returned, before deadline and fail mode. `rewrite`: it wants to change the text."""

    outcome: Outcome
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    scores: Mapping[str, float] | None = None
    rewrite: bool = False


def _joined(earlier: Verdict | None, later: Verdict) -> Verdict:
    if earlier is None:
        return later
    failed_open = earlier if earlier.outcome is Outcome.FAILED and later.outcome is Outcome.ALLOW else later
    seen = [score for score in (earlier.score, later.score) if score is not None]
    return replace(
        failed_open,
        score=max(seen) if seen else None,
        threshold=later.threshold if later.threshold is not None else earlier.threshold,
        duration_ms=earlier.duration_ms + later.duration_ms,
    )
