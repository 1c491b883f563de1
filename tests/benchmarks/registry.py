"""Look-ups in the registry with 10, 1000 and 100,000 adapters, as ratios; SQLite, and PostgreSQL if given.

python tests/benchmarks/registry.py [postgresql://...]      # an EMPTY database; its tables are filled
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.contract.test_registry_lookups import fill

from ratchet_adapters.registry import Registry

SIZES = (10, 1_000, 100_000)
ROUNDS = 300


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        for url in (f"sqlite:///{folder}/ratchet.db", *sys.argv[1:]):
            with Registry.open(url) as registry:
                measure(registry)


def measure(registry: Registry) -> None:
    """Median microseconds of each look-up at each size."""
    first: dict[str, float] = {}
    sys.stdout.write(f"{registry.database.url.split(':')[0]}: us (ratio to {SIZES[0]} adapters)\n")
    filled = 0
    for size in SIZES:
        fill(registry, size - filled, after=filled)
        filled = size
        middle = registry.adapters(5)[-1].digest
        looks: dict[str, Callable[[], object]] = {
            "by digest": partial(registry.adapter, middle),
            "by prefix": partial(registry.resolve, middle[:24]),
            "by alias": partial(registry.resolve, "champion"),
            "newest 10": partial(registry.adapters, 10),
        }
        if not first:
            for look in looks.values():
                _median(look)  # statements are compiled once
        cells = []
        for name, look in looks.items():
            took = _median(look)
            first.setdefault(name, took)
            cells.append(f"{name} {took:7.0f} ({took / first[name]:.2f})")
        sys.stdout.write(f"  {size:>7}  " + "  ".join(cells) + "\n")


def _median(look: Callable[[], object]) -> float:
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        look()
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


if __name__ == "__main__":
    main()
