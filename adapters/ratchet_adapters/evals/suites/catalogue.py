"""Every suite that can be named, with what it is, who judges it, how noisy it is, and whether it can be had here.

It must not run anything. A suite that can not be read says why; it is never left out.
"""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass, replace
from pathlib import Path

from ratchet_adapters.evals.errors import EvalError
from ratchet_adapters.evals.suites.noise import NOISE
from ratchet_adapters.evals.suites.public_sets import PUBLIC_SETS
from ratchet_adapters.evals.suites.registry import GROUP, load_suite, suite_names
from ratchet_adapters.evals.suites.suite import Suite

__all__ = ["SuiteCard", "catalogue", "find_set"]

_BIAS_FILES = {"bbq": ("bbq",), "crows_pairs": ("crows_pairs_anonymized.csv",)}


@dataclass(frozen=True)
class SuiteCard:
    """What is known of one suite without running it.

    Attributes:
        name: See `Suite`.
        axis: What it measures; "" when it could not be made.
        licence: Of its data.
        judge: Who turns answers into values.
        noise: What is known of its labels' error; "" when nothing was declared.
        items: Evaluation items; None when they could not be read.
        detectable: Smallest paired difference of rates these items would show at level 0.05 with power 0.8, by the
            declared noise; None where there are no items, no declaration, or values that are no rates.
        source: Where the items were read; "" when they were not.
        missing: What is missing; "" when it is available.
    """

    name: str
    axis: str = ""
    licence: str = ""
    judge: str = ""
    noise: str = ""
    items: int | None = None
    detectable: float | None = None
    source: str = ""
    missing: str = ""


def catalogue(data: Path | None = None) -> tuple[SuiteCard, ...]:
    """Return a card of every suite, by name.

    Args:
        data: Folder in which the public sets' published files are looked for, at any depth; nothing is downloaded.
    """
    return tuple(_card(name, data) for name in suite_names())


def find_set(name: str, data: Path) -> Path | None:
    """Return the published file or folder of a public set below a folder, by its known names; None without one."""
    for pattern in (*_patterns(name), name, f"{name}.*"):
        found = next(iter(sorted(data.rglob(pattern))), None)
        if found is not None:
            return found
    return None


def _patterns(name: str) -> tuple[str, ...]:
    known = PUBLIC_SETS.get(name)
    return known.files if known else _BIAS_FILES.get(name, ())


def _card(name: str, data: Path | None) -> SuiteCard:
    third_party = bool(importlib.metadata.entry_points(group=GROUP, name=name))
    outside = (name in PUBLIC_SETS or name in _BIAS_FILES) and not third_party
    path = find_set(name, data) if outside and data else None
    if outside and path is None:
        return _absent(name)
    try:
        suite = load_suite(name, path)
        items = suite.items()
    except EvalError as error:
        return replace(_absent(name) if outside else SuiteCard(name), missing=str(error))
    # Suites of other packages may be older than these two fields.
    noise = getattr(suite, "noise", None)
    rates = suite.axis not in ("nll", "toxicity")
    detectable = noise.detectable([item.cluster for item in items]) if noise and items and rates else None
    return SuiteCard(
        suite.name, suite.axis.value, suite.licence, getattr(suite, "judge", ""), noise.labels if noise else "",
        len(items), detectable, suite.source,
    )  # fmt: skip


def _absent(name: str) -> SuiteCard:
    known = PUBLIC_SETS.get(name)
    noise = NOISE.get(name)
    hub = known.hub if known else "nyu-mll/crows_pairs" if name == "crows_pairs" else ""
    missing = f"its file; give {name}=PATH" + (f", or let it be loaded from the hub ({hub})" if hub else "")
    # Making it reads nothing, and tells axis, licence and judge.
    suite: Suite = load_suite(name, Path(name))
    judge = getattr(suite, "judge", "")
    return SuiteCard(name, suite.axis.value, suite.licence, judge, noise.labels if noise else "", missing=missing)
