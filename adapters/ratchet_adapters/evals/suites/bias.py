"""The bias axis: BBQ, CrowS-Pairs and Ratchet's own stereotype pairs as suites that a gate can compare by item.

It must not define these sets' figures: accuracies and bias scores are `evals.bias`. Here an item is worth 1 when the
likeliest choice follows the stereotype and is wrong, so that lower is better and two adapters pair by item.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ratchet_adapters.evals.bias.bbq import bbq_questions
from ratchet_adapters.evals.bias.crows import StereotypePair, crows_pairs, shipped_pairs
from ratchet_adapters.evals.errors import SuiteUnknown
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.suites.noise import NOISE
from ratchet_adapters.evals.suites.suite import ItemSuite

__all__ = ["bbq", "crows", "stereotypes"]

_BY_LIKELIHOOD = "log-probability"


def stereotypes() -> ItemSuite:
    """Ratchet's own pairs, in mild words; for evaluation only."""
    return _suite("seed-stereotypes", "Apache-2.0", "ratchet seed", lambda: _pairs("stereotypes", shipped_pairs()))


def crows(path: Path | str | None = None, *, limit: int | None = None) -> ItemSuite:
    """CrowS-Pairs (Nangia et al. 2020) from its published CSV, or from the hub without a path.

    Args:
        path: The CSV.
        limit: Keep at most this many pairs, spread evenly.
    """
    source = str(path) if path is not None else "hf://nyu-mll/crows_pairs"
    return _suite("crows_pairs", "CC-BY-SA-4.0", source, lambda: _spread(_pairs("crows", crows_pairs(path)), limit))


def bbq(path: Path | str | None = None, *, limit: int | None = None) -> ItemSuite:
    """BBQ (Parrish et al. 2022) from its published files: ambiguous and disambiguated questions.

    Args:
        path: One file, or a folder of them.
        limit: Keep at most this many questions, whole templates together, spread evenly over templates.

    Raises:
        SuiteUnknown: No path is given.
    """
    if path is None:
        raise SuiteUnknown("bbq", "it is not shipped; give the path of its files.")
    return _suite("bbq", "CC-BY-4.0", str(path), lambda: _spread(_questions(Path(path)), limit))


def _suite(name: str, licence: str, source: str, read: Callable[[], Sequence[Item]]) -> ItemSuite:
    return ItemSuite(name, Axis.BIAS, licence, source, read, _BY_LIKELIHOOD, NOISE[name])


def _questions(path: Path) -> list[Item]:
    items: list[Item] = []
    for question in bbq_questions(path):
        extra = {"choices": list(question.answers), "answer": question.right, "biased": question.biased,
                 "condition": question.condition, "normalise": "tokens"}  # fmt: skip
        category = f"{question.category}.{question.condition}"
        items.append(Item(question.id, "bias", category, question.cluster, "eval", question.prompt, extra))
    return items


def _pairs(name: str, pairs: Sequence[StereotypePair]) -> list[Item]:
    return [
        Item(
            f"{name}.{pair.id}", "bias", pair.category, f"{name}.{pair.category}.{pair.id}", "eval", "",
            {"choices": [pair.more, pair.less], "answer": -1, "biased": 0, "normalise": "tokens"},
        )
        for pair in pairs
    ]  # fmt: skip


def _spread(items: Sequence[Item], limit: int | None) -> list[Item]:
    if limit is None or len(items) <= limit:
        return list(items)
    clusters = list(dict.fromkeys(item.cluster for item in items))
    share = limit / len(items)
    wanted = max(1, round(len(clusters) * share))
    kept = {clusters[index * len(clusters) // wanted] for index in range(wanted)}
    return [item for item in items if item.cluster in kept][:limit]
