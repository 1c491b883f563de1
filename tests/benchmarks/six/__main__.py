"""Six adapters before the real gate, in the real engine: one passes, five must not.

    python -m tests.benchmarks.six [--small] [--only NAME ...] [--out bench-report/six]

What was made, answered and judged is kept under --out, and a run goes on with what is missing there.

The better one must PASS; the over-refusing one must FAIL on over-refusal, the babbling one on coherence, the one that
was trained on evaluation items on leakage; the one that does nothing must be refused at load; the poisoned one must be
caught by the scan for triggers or by the gate. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.benchmarks.six.cases import CASES, Case
from tests.benchmarks.six.judged import Judged, judged
from tests.benchmarks.six.size import FULL, SMALL, learner

from ratchet_server.app import running
from ratchet_server.settings import Settings


def settle(found: list[Judged]) -> Table:
    """Return the table of what became of them."""
    table = Table("adapter", "wanted", "got", "sentence that decided", "train s", "judge s", "scan s")
    for one in found:
        mark = "" if one.met else " (!)"
        seconds = (f"{value:.0f}" for value in (one.made_seconds, one.judged_seconds, one.scan_seconds))
        table.add_row(one.name, one.wanted, one.outcome + mark, one.reason, *seconds)
    return table


async def _run(arguments: argparse.Namespace, console: Console) -> None:
    cases = [case for case in CASES if not arguments.only or case.name in arguments.only]
    cases = [case for case in cases if not _file(arguments.out, case).is_file()]
    settings = Settings(
        state_dir=arguments.out / "state",
        rpc={"port": 0},
        observability={"metrics_port": 0},
        engine={"max_lora_rank": 16, "max_loaded": 4},
    )
    async with running(settings) as app:
        bench = learner(app, arguments.out, small=arguments.small)
        size = SMALL if arguments.small else FULL

        def work() -> None:
            for one in judged(bench, size, cases=cases, say=lambda line: console.print(line, style="dim")):
                case = next(case for case in cases if case.name == one.name)
                _file(arguments.out, case).write_text(json.dumps(asdict(one), indent=2))

        await asyncio.to_thread(work)


def _file(out: Path, case: Case) -> Path:
    return out / f"{case.name}.json"


def main() -> int:
    """Judge what is asked for, write a file of each, and return 0 if everybody got what they deserve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="what the test does: minutes, parts of the suites")
    parser.add_argument("--only", nargs="*", choices=[case.name for case in CASES], default=[])
    parser.add_argument("--out", type=Path, default=Path("bench-report/six"))
    arguments = parser.parse_args()
    console = Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    asyncio.run(_run(arguments, console))
    files = [_file(arguments.out, case) for case in CASES]
    found = [Judged(**json.loads(file.read_text())) for file in files if file.is_file()]
    console.print(settle(found))
    return 0 if all(one.met for one in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
