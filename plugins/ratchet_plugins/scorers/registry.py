"""Scorers by name: the built-in ones, and those other packages add under the entry-point group `ratchet.scorers`.

It must not know how any of them works. A scorer that does not load stops start-up; it is never skipped.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any, cast

from ratchet_plugins.scorers.errors import ScorerUnavailable
from ratchet_plugins.scorers.scorer import Scorer

__all__ = ["BUILT_IN", "GROUP", "load_scorer", "scorer_names"]

GROUP = "ratchet.scorers"
BUILT_IN = {
    "toxicity": "ratchet_plugins.scorers.toxicity.scorer:ToxicityScorer",
    "refusal": "ratchet_plugins.scorers.refusal.scorer:RefusalScorer",
    "triage": "ratchet_plugins.scorers.triage.scorer:TriageScorer",
}


def scorer_names() -> tuple[str, ...]:
    """Return the names that `load_scorer` knows, sorted, without loading anything."""
    return tuple(sorted({*BUILT_IN, *(point.name for point in importlib.metadata.entry_points(group=GROUP))}))


def load_scorer(name: str, **settings: Any) -> Scorer:
    """Make the scorer registered under a name.

    Args:
        name: A built-in name, or that of an entry point whose value is a callable returning a `Scorer`.
        settings: Handed to that callable.

    Raises:
        ScorerUnavailable: The name is unknown or claimed twice, its package fails to import, it refuses the
            settings, or what it makes is no scorer.
    """
    factory = _factory(name)
    try:
        made = factory(**settings)
    except ScorerUnavailable:
        raise
    except Exception as error:
        raise ScorerUnavailable(
            f"The scorer {name!r} could not be made with settings {sorted(settings)}: {type(error).__name__}: {error}. "
            "Correct its settings or remove it from the configuration."
        ) from error
    if not isinstance(made, Scorer):
        raise ScorerUnavailable(
            f"What the entry point {name!r} of group {GROUP} makes is no Scorer ({type(made).__name__}). It needs "
            "name, version, labels, primary, threshold and score()."
        )
    return made


def _factory(name: str) -> Callable[..., Any]:
    points = list(importlib.metadata.entry_points(group=GROUP, name=name))
    values = {point.value for point in points} | ({BUILT_IN[name]} if name in BUILT_IN else set())
    if not values:
        raise ScorerUnavailable(
            f"There is no scorer {name!r}; there are {', '.join(scorer_names())}. Install the package that brings it "
            "or correct the configuration."
        )
    if len(values) > 1:
        raise ScorerUnavailable(
            f"The scorer name {name!r} is claimed by {', '.join(sorted(values))}. Uninstall one of these packages."
        )
    module, _, attribute = values.pop().partition(":")
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module), attribute))
    # A third party's module may raise anything while it is imported.
    except Exception as error:
        raise ScorerUnavailable(
            f"The scorer {name!r} ({module}:{attribute}) does not load: {type(error).__name__}: {error}. "
            "Repair or uninstall the package that brings it."
        ) from error
