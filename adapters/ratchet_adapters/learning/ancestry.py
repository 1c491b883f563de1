"""What a candidate was learnt from: its own dataset, and those of the adapters it was made of or goes on from.

Must not judge what it finds. An adapter at nine tenths of its strength has still seen what it was trained on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ratchet_adapters.artifacts import ArtifactMissing
from ratchet_adapters.artifacts.adapter_files import PROVENANCE
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import AdapterNotFound, RunNotFound
from ratchet_adapters.training.arithmetic import ArithmeticSettings
from ratchet_adapters.training.recipe import AdapterRecipe, Recipe

if TYPE_CHECKING:
    from ratchet_adapters.datasets.leakage import LeakReport

__all__ = ["leak_check", "named_adapters"]


def named_adapters(recipe: Recipe) -> tuple[str, ...]:
    """Return the digests of the adapters that a recipe is made of or goes on from."""
    if isinstance(recipe, ArithmeticSettings):
        return tuple(recipe.adapters)
    if isinstance(recipe, AdapterRecipe) and recipe.start:
        return (recipe.start,)
    return ()


def leak_check(bench: Workbench, trail: Trail) -> tuple[str, LeakReport | None]:
    """Return what a run's candidate was learnt from, and the leakage check of all of it.

    Returns:
        The digest of its dataset, of the first of its ancestors' when it has none of its own, "" when nobody learnt
        from any; and every leaked row of any of them, compared with the suites that all of them were compared with.
        None for the check when there was none of one of them, or nothing says what an ancestor was learnt from.

    Raises:
        DatasetInvalid, ResultUnreadable: What is stored is damaged.
    """
    from ratchet_adapters.datasets.dataset import read_dataset
    from ratchet_adapters.evals.gates.validity import read_leak_check

    recipe = bench.settings.options_of(trail.method, trail.options or {}).training
    datasets, whole = _behind(bench, trail.dataset, named_adapters(recipe))
    checks = [read_leak_check(read_dataset(bench.artifacts.fetch(digest)).manifest) for digest in datasets]
    known = [check for check in checks if check is not None]
    complete = whole and len(known) == len(datasets) > 0
    found = _together(known) if known else None
    if found is not None and (complete or not found.clean):
        return datasets[0], found
    return next(iter(datasets), "" if whole else "unknown"), None


def _behind(bench: Workbench, own: str, parents: Sequence[str]) -> tuple[list[str], bool]:
    """Return the datasets of all generations, each once, and whether every ancestor's is known."""
    datasets, whole = [own] if own else [], True
    waiting, seen = list(parents), set(parents)
    while waiting:
        digest = waiting.pop()
        try:
            said = json.loads((bench.artifacts.fetch(digest) / PROVENANCE).read_text(encoding="utf-8"))
            dataset = bench.registry.run(bench.registry.adapter(digest).run_id).dataset_digest
        except (AdapterNotFound, RunNotFound, ArtifactMissing, OSError, ValueError):
            whole = False
            continue
        further = _named(said)
        # Arithmetic learns from nothing of its own; anything else that names no dataset is not known.
        whole = whole and bool(dataset or further)
        if dataset and dataset not in datasets:
            datasets.append(dataset)
        waiting += [one for one in further if one not in seen]
        seen |= set(further)
    return datasets, whole


def _named(said: Any) -> list[str]:
    settings = said.get("settings") if isinstance(said, dict) else None
    if not isinstance(settings, dict):
        return []
    start, adapters = settings.get("start"), settings.get("adapters")
    return [*(adapters if isinstance(adapters, dict) else ()), *([str(start)] if start else ())]


def _together(checks: Sequence[LeakReport]) -> LeakReport:
    from ratchet_adapters.datasets.leakage import LeakReport

    first, *others = checks
    cosines = [check.cosine for check in checks]
    return LeakReport(
        tuple(pair for check in checks for pair in check.pairs),
        sum(check.rows for check in checks),
        {
            name: compared
            for name, compared in first.suites.items()
            if all(other.suites.get(name) == compared for other in others)
        },
        max(check.jaccard for check in checks),
        None if None in cosines else max(one for one in cosines if one is not None),
    )
