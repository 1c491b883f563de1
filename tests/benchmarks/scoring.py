"""Rows per second of `ratchet score` with 1 and 2 workers of one thread, as processes and on Ray.

    python tests/benchmarks/scoring.py [--rows 800] [--backend local ray]

Prompts of the seed suites with refusals of the bank and plain passages as completions, in random order. Steady: from
the first finished part to the last, so that starting Ray and loading models, which is in the total, does not count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from ratchet_adapters.cluster.settings import RaySettings
from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.seed import load_seed
from ratchet_adapters.scoring.log import check_log
from ratchet_adapters.scoring.plan import Plan, plan
from ratchet_adapters.scoring.running import score_locally, score_on_ray

_PARTS = 16
_WORKERS = (1, 2)


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--backend", nargs="*", choices=("local", "ray"), default=["local", "ray"])
    arguments = parser.parse_args()
    shown = Table("backend", "workers", "rows/s", "rows/s with the start", "against 1 worker", title="ratchet score")
    with tempfile.TemporaryDirectory() as folder:
        log = written(Path(folder) / "log.jsonl", arguments.rows)
        for backend in arguments.backend:
            alone = 0.0
            for workers in _WORKERS:
                steady, total = measured(log, Path(folder) / f"{backend}-{workers}", backend, workers)
                alone = alone or steady
                shown.add_row(backend, str(workers), f"{steady:.1f}", f"{total:.1f}", f"{steady / alone:.2f} x")
    Console().print(shown)
    return 0


def written(path: Path, count: int) -> Path:
    """Write a log of so many rows and return it."""
    seed, bank, rng = load_seed(), load_bank(), Random(0)
    prompts = [one.prompt for kind in ("harmful", "benign_twin", "ordinary") for one in seed.of(kind)]
    passages = [one.prompt for one in seed.of("text")]
    with path.open("w", encoding="utf-8") as log:
        for number in range(count):
            completion = bank.pick(rng.choice(bank.categories), rng) if number % 2 else rng.choice(passages)
            row = {"id": str(number), "prompt": rng.choice(prompts), "completion": completion}
            log.write(json.dumps(row) + "\n")
    return path


def measured(log: Path, out: Path, backend: str, workers: int) -> tuple[float, float]:
    """Return rows per second from the first finished part on, and of the whole run."""
    checked = check_log(log, -(-sum(1 for _ in log.open(encoding="utf-8")) // _PARTS))
    chosen = plan(checked, out, threads=1)
    ends: list[tuple[float, int]] = []
    began = time.monotonic()
    _RUN[backend](chosen, workers, lambda part, rows: ends.append((time.monotonic(), rows)))
    seconds = time.monotonic() - began
    later = sum(rows for _, rows in ends[1:])
    return later / (ends[-1][0] - ends[0][0]), checked.rows / seconds


def _on_ray(chosen: Plan, workers: int, on_part: Callable[[int, int], None]) -> None:
    score_on_ray(chosen, RaySettings(address="", workers=workers, cpus_per_worker=1), on_part)


_RUN: dict[str, Callable[[Plan, int, Callable[[int, int], None]], None]] = {"local": score_locally, "ray": _on_ray}


if __name__ == "__main__":
    raise SystemExit(main())
