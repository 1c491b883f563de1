"""Whether rows that train are evaluation items, and which: compared with every suite by words and by meaning.

It must not know how suites are loaded or judged, nor what becomes of a leak: the builder keeps leaks out, a gate fails
on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ratchet_adapters.datasets.dataset import Row
from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates

__all__ = ["Asked", "LeakPair", "LeakReport", "SuiteTexts", "TextSuite", "leaks", "suite_texts"]

_LISTED = 100


class Asked(Protocol):
    """An evaluation item, as far as leakage goes."""

    @property
    def id(self) -> str:
        """Unique within its suite."""

    @property
    def prompt(self) -> str:
        """Its text."""


class SuiteTexts(Protocol):
    """An evaluation suite, as far as leakage goes: every `evals.suites.suite.Suite` is one."""

    @property
    def name(self) -> str:
        """What it is reported by."""

    @property
    def version(self) -> str:
        """Digest of its items."""

    def items(self) -> Sequence[Asked]:
        """The items that are asked in an evaluation."""


@dataclass(frozen=True, slots=True)
class _Text:
    id: str
    prompt: str


@dataclass(frozen=True)
class TextSuite:
    """Evaluation texts without ids of their own; an item's id is its number."""

    name: str
    texts: tuple[str, ...]
    version: str

    def items(self) -> tuple[Asked, ...]:
        """Return the texts as items."""
        return tuple(_Text(str(number), text) for number, text in enumerate(self.texts))


@dataclass(frozen=True, slots=True)
class LeakPair:
    """A row and an evaluation item that ask the same.

    Attributes:
        row_id: Of the row.
        suite: Name of the suite.
        item_id: Of the item.
        how: "same" or "contained" words, "jaccard" of shingles, "cosine" of embeddings.
        similarity: Jaccard or cosine; 1 for words that are the same or contained.
    """

    row_id: str
    suite: str
    item_id: str
    how: str
    similarity: float


@dataclass(frozen=True)
class LeakReport:
    """What a leakage check compared and found.

    Attributes:
        pairs: Every pair, by row, suite and item.
        rows: How many rows were checked.
        suites: Suite name to its version and number of items.
        jaccard: Threshold.
        cosine: Threshold; None when there were no embeddings to compare.
    """

    pairs: tuple[LeakPair, ...]
    rows: int
    suites: Mapping[str, tuple[str, int]]
    jaccard: float
    cosine: float | None

    @property
    def clean(self) -> bool:
        """Whether no row is an evaluation item."""
        return not self.pairs

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values, with the first 100 pairs."""
        return {
            "rows": self.rows,
            "suites": {name: {"version": v, "items": n} for name, (v, n) in sorted(self.suites.items())},
            "jaccard": self.jaccard,
            "cosine": self.cosine,
            "leaked_rows": len({pair.row_id for pair in self.pairs}),
            "pairs": len(self.pairs),
            "by": dict(sorted(Counter(pair.how for pair in self.pairs).items())),
            "listed": [asdict(pair) for pair in self.pairs[:_LISTED]],
        }


def leaks(
    rows: Sequence[Row],
    suites: Sequence[SuiteTexts],
    *,
    jaccard: float = 0.7,
    cosine: float = 0.92,
    embed: Embed | None = None,
) -> LeakReport:
    """Compare rows with every item of every suite.

    A row's text is its prompt; of a row without one (an anchor, a pair) its target and what it rejects. Embeddings
    cost some milliseconds a text on a CPU core; an `embed` that remembers (`near_duplicates.remembering`) pays once.

    Args:
        rows: Of a dataset.
        suites: Their evaluation items.
        jaccard: Least Jaccard similarity of word shingles.
        cosine: Embeddings closer than this are the same question.
        embed: Texts to unit vectors; without it only words are compared, and the report says so.
    """
    places: dict[str, list[tuple[str, str]]] = {}
    known: dict[str, tuple[str, int]] = {}
    for suite in {suite.name: suite for suite in suites}.values():
        items = suite.items()
        known[suite.name] = (suite.version, len(items))
        for item in items:
            places.setdefault(item.prompt, []).append((suite.name, item.id))
    texts = list(places)
    asked = [(row.id, text) for row in rows for text in ([row.prompt] if row.prompt else [row.target, row.rejected])]
    asked = [(row_id, text) for row_id, text in asked if text]
    guard = NearDuplicates(texts, jaccard=jaccard, cosine=cosine, embed=embed)
    found = guard.explained([text for _, text in asked])
    pairs = [
        LeakPair(row_id, suite_name, item_id, match.how, match.similarity)
        for (row_id, _), matches in zip(asked, found, strict=True)
        for match in matches
        for suite_name, item_id in places[texts[match.index]]
    ]
    pairs.sort(key=lambda pair: (pair.row_id, pair.suite, pair.item_id))
    return LeakReport(tuple(pairs), len(rows), known, jaccard, cosine if embed is not None else None)


def suite_texts(suites: Sequence[SuiteTexts]) -> tuple[str, ...]:
    """Return every text of the suites once, in order."""
    return tuple(dict.fromkeys(item.prompt for suite in suites for item in suite.items()))
