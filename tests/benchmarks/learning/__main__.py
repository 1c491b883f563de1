"""Every training method on the embedded model, each against its yardstick: a table and a plot.

    python -m tests.benchmarks.learning [--only NAME ...] [--quick] [--out bench-report/learning] [--minutes 8]

Each method runs in a process of its own, so that its peak memory is its own and one that hangs is ended. A result that
is already in the output folder is kept; delete it to measure again. About 40 minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.benchmarks.learning.table import plot, rows_of, table

from ratchet_plugins.models.chat import prepare_chat_model

METHODS = (
    "sft-refusal",
    "toxicity-penalised",
    "bias-penalised",
    "dpo",
    "kto",
    "orpo",
    "reward-model",
    "grpo",
    "rloo",
    "constitutional",
    "rerouting",
    "arithmetic",
)
_NOT_SERVABLE = ("reward-model",)


def main() -> int:
    """Measure what is asked for, then write learning.json, learning.md and learning.svg."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=[], help="methods to measure; all without it")
    parser.add_argument("--quick", action="store_true", help="show that everything runs; the figures mean nothing")
    parser.add_argument("--out", type=Path, default=Path("bench-report/learning"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=8.0, help="longest time of one method")
    parser.add_argument("--child", choices=[*METHODS, "base"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return _child(arguments.child, arguments.out, arguments.quick, arguments.threads)
    console = Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in ("base", *(arguments.only or METHODS)):
        if (arguments.out / f"{name}.json").exists():
            console.print(f"{name}: already measured")
            continue
        began = time.monotonic()
        problem = _measured(name, arguments)
        console.print(f"{name}: {problem or f'{time.monotonic() - began:.0f} s'}", style="red" if problem else "")
    found = {
        name: json.loads(path.read_text()) for name in METHODS if (path := arguments.out / f"{name}.json").exists()
    }
    base = json.loads((arguments.out / "base.json").read_text())
    (arguments.out / "learning.json").write_text(json.dumps({"base": base, **found}, indent=2))
    (arguments.out / "learning.md").write_text(table(base, found))
    (arguments.out / "learning.svg").write_text(plot(rows_of(found)))
    console.print(table(base, found), soft_wrap=True, markup=False)
    missing = [name for name in (arguments.only or METHODS) if name not in found]
    return 1 if missing else 0


def _measured(name: str, arguments: argparse.Namespace) -> str:
    """Run one method in a child; return what went wrong, or nothing."""
    command = [sys.executable, "-m", "tests.benchmarks.learning", "--child", name, "--out", str(arguments.out)]
    command += ["--threads", str(arguments.threads), *(["--quick"] if arguments.quick else [])]
    threads = {
        "OMP_NUM_THREADS": str(arguments.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
    }
    with (arguments.out / f"{name}.log").open("wb") as log:
        try:
            done = subprocess.run(
                command, stdout=log, stderr=log, timeout=60 * arguments.minutes, env={**os.environ, **threads}
            )
        except subprocess.TimeoutExpired:
            return f"ended after {arguments.minutes:g} minutes; see {log.name}"
    return "" if done.returncode == 0 else f"failed with exit code {done.returncode}; see {log.name}"


def _child(name: str, out: Path, quick: bool, threads: int) -> int:
    import torch
    from tests.benchmarks.learning.axes import axes

    torch.set_num_threads(threads)
    base = prepare_chat_model()
    found: dict[str, Any] = {}
    if name == "base":
        found["axes"] = axes(base, None, quick=quick)
    else:
        module = import_module(f"tests.benchmarks.learning.{name.replace('-', '_')}")
        # Of a measurement that was ended, or of another recipe.
        shutil.rmtree(out / "work" / name, ignore_errors=True)
        found = dict(module.measure(base, out / "work" / name, quick=quick))
        if name not in _NOT_SERVABLE and "axes" not in found:
            found["axes"] = axes(Path(found.get("base", base)), Path(found["adapter"]), quick=quick)
    (out / f"{name}.json").write_text(json.dumps(found, indent=2, default=str))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
