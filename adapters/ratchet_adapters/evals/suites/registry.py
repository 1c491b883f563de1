"""Suites by name: seed, public, and those other packages add under the entry-point group `ratchet.suites`.

It must not know how any of them reads its data. A suite that does not load is an error, never skipped.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ratchet_adapters.evals.errors import EvalError, SuiteUnknown
from ratchet_adapters.evals.suites import bias, seed
from ratchet_adapters.evals.suites.public import public_suite
from ratchet_adapters.evals.suites.public_sets import PUBLIC_SETS
from ratchet_adapters.evals.suites.suite import ItemSuite, Suite

__all__ = ["GROUP", "load_suite", "suite_names"]

GROUP = "ratchet.suites"
_OWN: Mapping[str, Callable[[], Suite]] = MappingProxyType(
    {
        "seed-harmful": seed.harmful,
        "seed-benign-twins": seed.benign_twins,
        "seed-ordinary": seed.ordinary,
        "seed-toxicity": seed.toxicity,
        "seed-text": seed.text,
        "seed-cloze": seed.cloze,
        "seed-instructions": seed.instructions,
        "seed-stereotypes": bias.stereotypes,
        "bbq": bias.bbq,
        "crows_pairs": bias.crows,
    }
)


def suite_names() -> tuple[str, ...]:
    """Return every name `load_suite` knows, sorted, without loading anything."""
    added = (point.name for point in importlib.metadata.entry_points(group=GROUP))
    return tuple(sorted({*_OWN, *PUBLIC_SETS, *added}))


def load_suite(name: str, path: Path | str | None = None, **settings: Any) -> Suite:
    """Return the suite of a name.

    Args:
        name: A seed suite, a public set, or an entry point of the group `ratchet.suites` whose value is a callable
            returning a `Suite`. With "@1/4" behind it: about a fourth of its items, for a quicker look; suites that
            share an item have it both or neither.
        path: Local file or folder of a public set; handed to an entry point as `path`.
        settings: Further settings of a public set (`hub`, `limit`) or of the entry point.

    Raises:
        SuiteUnknown: The name is unknown or claimed twice, its package does not load, refuses the settings, or
            makes something that is no suite.
    """
    name, at, part = name.partition("@")
    if at:
        return _part_of(load_suite(name, path, **settings), part)
    points = list(importlib.metadata.entry_points(group=GROUP, name=name))
    built_in = name in _OWN or name in PUBLIC_SETS
    if len({point.value for point in points}) + built_in > 1:
        raise SuiteUnknown(name, f"several packages claim it ({', '.join(p.value for p in points)}); uninstall one.")
    if not points and not built_in:
        raise SuiteUnknown(name, f"there is none of that name; there are {', '.join(suite_names())}.")
    given: dict[str, Any] = dict(settings) if path is None else {"path": path, **settings}
    try:
        if name in _OWN:
            return _OWN[name](**given)
        if name in PUBLIC_SETS:
            return public_suite(name, **given)
        made = points[0].load()(**given)
    except EvalError:
        raise
    # A third party's module may raise anything while it is imported or called.
    except Exception as error:
        raise SuiteUnknown(name, f"it does not load with settings {sorted(given)}: {error!r}.") from error
    if not isinstance(made, Suite):
        raise SuiteUnknown(name, f"what its entry point makes is no Suite ({type(made).__name__}).")
    return made


def _part_of(suite: Suite, part: str) -> ItemSuite:
    name = f"{suite.name}@{part}"
    match = re.fullmatch(r"1/([1-9][0-9]{0,3})", part)
    if match is None:
        raise SuiteUnknown(name, "a part is written as 1/4, for about a fourth of the items.")
    if not isinstance(suite, ItemSuite):
        raise SuiteUnknown(name, "only a suite that is a list of items has parts.")
    return replace(
        suite, name=name, read=lambda: [item for item in suite.items() if _place(item.id) % int(match[1]) == 0]
    )


def _place(item_id: str) -> int:
    return int(hashlib.sha256(item_id.encode()).hexdigest()[:8], 16)
