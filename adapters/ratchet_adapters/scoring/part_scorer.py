"""What one worker process holds: the scorers, loaded once, and parts in turn.

It must not know how parts are handed to it.
"""

from __future__ import annotations

from ratchet_adapters.scoring.log import LogRow, read_part
from ratchet_adapters.scoring.plan import READS, Plan

__all__ = ["PartScorer"]

_ROWS = 256
"""At once: enough to sort by length, little enough to fit anywhere."""


class PartScorer:
    """Scores parts of one plan."""

    def __init__(self, plan: Plan) -> None:
        """Load the scorers.

        Raises:
            ScorerUnavailable: One of them does not load.
        """
        import torch

        from ratchet_plugins.scorers.registry import load_scorer

        torch.set_num_threads(plan.threads)
        self._plan = plan
        self._scorers = {name: load_scorer(name) for name in READS}

    def score(self, part: int) -> int:
        """Score a part, write it, and return its number of rows.

        Raises:
            LogUnreadable, RowInvalid: The file has changed.
            ScorerError: A scorer failed; it never invents a score.
        """
        rows = read_part(self._plan.log, part)
        found: list[dict[str, object]] = []
        for start in range(0, len(rows), _ROWS):
            found += self._scored(rows[start : start + _ROWS])
        self._plan.write(part, found)
        return len(rows)

    def _scored(self, rows: list[LogRow]) -> list[dict[str, object]]:
        found: list[dict[str, object]] = [{"line": row.line, "id": row.id} for row in rows]
        for name, scorer in self._scorers.items():
            scores = scorer.score([getattr(row, READS[name]) for row in rows])
            for entry, score in zip(found, scores, strict=True):
                entry.update({f"{name}.{label}": score[label] for label in scorer.labels})
        return found
