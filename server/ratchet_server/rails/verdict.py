"""What rails say: verdicts of single rails, and the decision they add up to. Plain values, no behaviour of any rail."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

__all__ = ["ALLOWED", "Decision", "Direction", "Outcome", "RailResult", "Span", "Verdict"]


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
class Span:
    """A place in the judged text, and what a rail found there. It never carries the text.

    Attributes:
        start: Offset of the first character, in characters.
        end: Offset after the last one.
        kind: What it is, in the rail's words (EMAIL, CARD, ...).
    """

    start: int
    end: int
    kind: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rail said of one text. It never carries the text.

    Attributes:
        rail: The flow as configured.
        reason: Why, for people; empty if the rail gave none.
        score: The classifier's value in [0, 1], or None.
        threshold: The value from which on it blocks, or None.
        duration_ms: Wall time the rail took, in milliseconds, summed over the windows of a stream.
        enforced: False for a FAILED rail that the operator set to fail open, and for every verdict of a shadow rail.
        shadow: The rail only watches: what it says is recorded, and stops nothing.
        rewrote: The rail let the text pass with some of it replaced.
        cached: The rail did not run: it had judged the same text before.
        spans: Where in the judged text it found what it looks for, if it says.
    """

    rail: str
    direction: Direction
    outcome: Outcome
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    duration_ms: float = 0.0
    enforced: bool = True
    shadow: bool = False
    rewrote: bool = False
    cached: bool = False
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What all rails of one side add up to.

    Attributes:
        outcome: BLOCK if a rail blocks; else FAILED if an enforced rail failed; else ALLOW.
        verdicts: One per rail that ran, in the order of the configuration.
        scores: Classifier scores seen, by name: `input_<label>` for the prompt, `<label>` for the answer.
        rewritten: The judged text as the rails let it pass; None if they left it as it is.
        skipped: Rails that did not have to run, because an earlier one took the prompt for plainly benign.
    """

    outcome: Outcome
    verdicts: tuple[Verdict, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    rewritten: str | None = None
    skipped: tuple[str, ...] = ()

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], scores: Mapping[str, float], rewritten: str | None = None) -> Decision:
        """Add up verdicts."""
        enforced = {verdict.outcome for verdict in verdicts if verdict.enforced}
        worst = next((o for o in (Outcome.BLOCK, Outcome.FAILED) if o in enforced), Outcome.ALLOW)
        return cls(worst, tuple(verdicts), dict(scores), rewritten if worst is Outcome.ALLOW else None)

    def after(self, earlier: Decision) -> Decision:
        """Return this decision on a longer text with what earlier ones on its beginning saw: highest scores, all time.

        The outcome stays this one's. A rail that did not run this time keeps its earlier verdict.
        """
        before = {verdict.rail: verdict for verdict in earlier.verdicts}
        now = {verdict.rail: _joined(before.get(verdict.rail), verdict) for verdict in self.verdicts}
        scores = dict(earlier.scores)
        for name, value in self.scores.items():
            scores[name] = max(value, scores.get(name, 0.0))
        return Decision(self.outcome, tuple((before | now).values()), scores, self.rewritten, self.skipped)


ALLOWED = Decision(Outcome.ALLOW)


@dataclass(frozen=True, slots=True)
class RailResult:
    """What one run of a rail returned, before deadline and fail mode. `rewritten`: the text as it wants to have it."""

    outcome: Outcome
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    scores: Mapping[str, float] | None = None
    rewritten: str | None = None
    spans: tuple[Span, ...] = ()


def _joined(earlier: Verdict | None, later: Verdict) -> Verdict:
    if earlier is None:
        return later
    # Only a verdict that is not enforced can be followed by another one on more of the same text.
    worse = earlier if earlier.outcome is not Outcome.ALLOW and later.outcome is Outcome.ALLOW else later
    seen = [score for score in (earlier.score, later.score) if score is not None]
    return replace(
        worse,
        score=max(seen) if seen else None,
        threshold=later.threshold if later.threshold is not None else earlier.threshold,
        duration_ms=earlier.duration_ms + later.duration_ms,
    )
