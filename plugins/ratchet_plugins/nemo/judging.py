"""How a scorer becomes a rail: score the pieces of a text, take the highest value per label, compare with a threshold.

It must not know which scorer it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nemoguardrails.actions.rail_outcome import RailOutcome

from ratchet_plugins.nemo.context import SCORING
from ratchet_plugins.nemo.errors import NemoRailError
from ratchet_plugins.nemo.segments import segments

__all__ = ["judge"]


async def judge(
    scorer: str, text: str, threshold: str | None, *, whole: bool = False, beside: Sequence[str] = ()
) -> RailOutcome:
    """Judge one text by one scorer.

    Args:
        scorer: The scorer's name in the registry.
        text: The text; long ones are scored in overlapping pieces, so all of it counts.
        threshold: A number in (0, 1] that replaces the scorer's own threshold.
        whole: Score a long text in one piece as well, as far as the scorer reads it: what is asked for in one
            sentence may be harmful only with another one far away. Not for growing texts, where nothing of it could
            be reused.

        beside: What was asked for in earlier turns; judged by the scorer's own threshold, if that is the higher one.

    Returns:
        Block if the primary label reaches the threshold, else allow. The metadata holds `scorer`, `scores` (highest
        value per label, and of `beside` as `conversation`), `score` and `threshold`; never the text.

    Raises:
        ScorerError: The text could not be scored.
        NemoRailError: The scorer returned something that is not a score.
    """
    scoring = SCORING.get()
    if not text.strip() and not beside:
        return RailOutcome.allow(reason="empty text")
    pieces = segments(text)
    if whole and len(pieces) > 1:
        pieces.append(text)
    rows = await scoring.score(scorer, [*pieces, *beside])
    chosen = scoring.scorer(scorer)
    limit = chosen.threshold if threshold is None else float(threshold)
    # `max` hides a NaN depending on its place, so every value is looked at.
    if len(rows) <= len(beside) or not all(0.0 <= value <= 1.0 for row in rows for value in row.values()):
        raise NemoRailError(f"The scorer {scorer!r} returned no valid score: reinstall it.")
    own, others = rows[: len(pieces)], rows[len(pieces) :]
    scores = {label: max((row[label] for row in own), default=math.nan) for label in chosen.labels}
    score, where = scores[chosen.primary], ""
    if others:
        scores["conversation"] = max(row[chosen.primary] for row in others)
        # Many readings are many chances to err, so only the scorer's own, precise threshold counts for them.
        least = max(limit, chosen.threshold)
        if score < limit and scores["conversation"] >= least:
            score, limit, where = scores["conversation"], least, " over the turns"
    metadata = {"scorer": scorer, "scores": scores, "score": score, "threshold": limit}
    if score >= limit:
        return RailOutcome.block(reason=f"{chosen.primary} {score:.3f}{where} reaches {limit:.3f}", metadata=metadata)
    return RailOutcome.allow(metadata=metadata)
