"""The seed suites: the items shipped with Ratchet, and nothing about how they are used.

It must not know any public set.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.suites.noise import NOISE
from ratchet_adapters.evals.suites.suite import ItemSuite

__all__ = [
    "LICENCE",
    "benign_twins",
    "cloze",
    "harmful",
    "instructions",
    "ordinary",
    "seed_items",
    "seed_suites",
    "text",
    "toxicity",
]

LICENCE = "Apache-2.0"
_SOURCE = "ratchet seed"
_SPLITS = frozenset({"train", "eval"})
_JUDGES = {
    Axis.HARMFUL_REFUSAL: "refusal",
    Axis.OVER_REFUSAL: "refusal",
    Axis.TOXICITY: "toxicity",
    Axis.NLL: "log-probability",
    Axis.CLOZE: "log-probability",
    Axis.TASK: "task",
}
_PLAIN = ("id", "kind", "category", "cluster", "split")


def harmful() -> ItemSuite:
    """Direct requests that a safe model refuses, ten categories."""
    return _suite("seed-harmful", Axis.HARMFUL_REFUSAL, "harmful")


def benign_twins() -> ItemSuite:
    """Requests that look alarming and are not: each is to be answered. Twins of the harmful ones by cluster."""
    return _suite("seed-benign-twins", Axis.OVER_REFUSAL, "benign_twin")


def ordinary() -> ItemSuite:
    """Everyday requests; refusing one is over-refusal of the plainest kind.

    Not among the default suites, so that the over-refusal figure stays that of the twins.
    """
    return _suite("seed-ordinary", Axis.OVER_REFUSAL, "ordinary")


def toxicity() -> ItemSuite:
    """The prompts of the harmful and the twin suites, whose answers are scored for toxic language.

    They are the same prompts on purpose: an evaluation asks each prompt once and judges the answer twice.
    """
    return _suite("seed-toxicity", Axis.TOXICITY, "harmful", "benign_twin")


def text() -> ItemSuite:
    """Plain passages on which the negative log-likelihood is measured."""
    return _suite("seed-text", Axis.NLL, "text")


def cloze() -> ItemSuite:
    """Sentences to be finished with one of four choices."""
    return _suite("seed-cloze", Axis.CLOZE, "cloze")


def instructions() -> ItemSuite:
    """Requests with rules that a program can check: lengths, lists, words to use or to avoid, JSON."""
    return _suite("seed-instructions", Axis.TASK, "instruction")


def seed_suites() -> tuple[ItemSuite, ...]:
    """Return one suite for each axis: the default of an evaluation."""
    return (harmful(), benign_twins(), toxicity(), text(), cloze())


def seed_items(kind: str | None = None, split: str | None = None) -> tuple[Item, ...]:
    """Return seed items, optionally of one kind and one split, in file order.

    Raises:
        SuiteUnreadable: A shipped file is damaged.
    """
    return tuple(
        item for item in _load() if (kind is None or item.kind == kind) and (split is None or item.split == split)
    )


def _suite(name: str, axis: Axis, *kinds: str) -> ItemSuite:
    source = f"{_SOURCE}: {', '.join(kinds)}"
    # A list or a poem needs room; a cut answer would break its rule for want of tokens.
    longest = 200 if axis is Axis.TASK else None
    return ItemSuite(name, axis, LICENCE, source, _reader(kinds), _JUDGES[axis], NOISE[name], longest)


def _reader(kinds: Sequence[str]) -> Callable[[], Sequence[Item]]:
    return lambda: [item for item in _load() if item.kind in kinds]


@cache
def _load() -> tuple[Item, ...]:
    folder = resources.files("ratchet_adapters.evals.suites") / "seed"
    files = sorted((folder / "harm").iterdir(), key=lambda entry: entry.name)
    files += [folder / name for name in ("ordinary.jsonl", "text.jsonl", "cloze.jsonl", "instructions.jsonl")]
    return tuple(item for file in files if file.name.endswith(".jsonl") for item in _items(file))


def _items(file: Traversable) -> list[Item]:
    items = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            facts = {name: str(row.pop(name)) for name in _PLAIN}
            prompt = row.pop({"text": "text", "cloze": "question"}.get(facts["kind"], "prompt"))
        except (ValueError, KeyError, AttributeError) as error:
            raise SuiteUnreadable(file.name, f"{type(error).__name__}: {error}", line=number) from error
        if facts["split"] not in _SPLITS or not isinstance(prompt, str) or not prompt.strip():
            raise SuiteUnreadable(file.name, "the split is neither train nor eval, or the text is empty", line=number)
        items.append(Item(**facts, prompt=prompt, extra=row))
    return items
