"""Which suites a candidate is evaluated on; their texts are never trained on.

Must not know how an evaluation goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratchet_adapters.evals.suites.suite import Suite

__all__ = ["evaluation_suites"]


def evaluation_suites(names: tuple[str, ...]) -> tuple[Suite, ...]:
    """Return the suites of these names; the seed suites when there are none.

    Raises:
        SuiteUnknown: A name is unknown.
    """
    from ratchet_adapters.evals.suites.registry import load_suite
    from ratchet_adapters.evals.suites.seed import seed_suites

    return tuple(load_suite(name) for name in names) if names else seed_suites()
