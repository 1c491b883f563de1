"""A soak: adapters are promoted, rolled back, unloaded and loaded while clients stream, and every answer is checked.

    python -m tests.benchmarks.hot_swap [--cycles 20] [--minutes 7] [--clients 4] [--load-every 10] [--fold]

A cycle is two promotions and two rollbacks, and every tenth also takes an adapter out of the engine and brings it back.
Before it begins, each prompt is answered by the base model and by each adapter alone; under load an answer must be the
one of the adapter in its receipt, to the letter. One that is not (sums in another order can turn a near tie) must be an
answer that this adapter could have written: each token its likeliest but for a rounding. An answer that is another
adapter's is a contamination. Prompts share a beginning longer than a block of the prefix cache, so that a cache used
across adapters would show. `--progress FILE` adds this run's figures to those in the file and says how far all are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from tests.benchmarks.lora_overhead import write_adapter

from ratchet.cli.adapters import _parts
from ratchet.client import AsyncRatchet, Done, RatchetError, TextDelta
from ratchet.v1 import adapter_pb2, engine_pb2
from ratchet_adapters.registry import ReportRecord
from ratchet_plugins.models.chat import prepare_chat_model
from ratchet_server.app import App, running
from ratchet_server.demo.attribution import mixtures
from ratchet_server.demo.crowd import Talk
from ratchet_server.settings import Settings

_BEGINNING = (
    "You are asked about a small harbour town. It has a lighthouse, two piers, a market on Saturdays, a school with "
    "one teacher, a baker who opens at five, a ferry that leaves twice a day, and a library in the customs house. In "
    "winter the ferry stops and the baker drives to the next town for flour. The lighthouse keeper writes down the "
    "weather every evening, and the teacher reads it to the children every morning. On Saturdays the farmers come with "
    "potatoes, apples, honey and cheese, and the market closes when the church bell rings noon. Answer briefly. "
)
_QUESTIONS = (
    "Who writes down the weather?", "When does the baker open?", "What do the farmers bring?", "Where is the library?",
    "How often does the ferry leave?", "What happens in winter?",
)  # fmt: skip
PROMPTS = tuple(_BEGINNING + question for question in _QUESTIONS)


@dataclass
class Tally:
    """What was seen."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    swaps_ms: list[float] = field(default_factory=list)
    moves_ms: dict[str, list[float]] = field(default_factory=dict)
    rss_mb: list[tuple[float, float]] = field(default_factory=list)
    doubtful: list[Talk] = field(default_factory=list)
    cycles: int = 0


class Soak:
    """One server, its clients and whoever swaps."""

    def __init__(self, app: App, client: AsyncRatchet, model: Path, digests: list[str], tokens: int) -> None:
        self.app = app
        self.client = client
        self.model = model
        self.digests = digests
        self.tokens = tokens
        self.tally = Tally()
        self.said: dict[tuple[str, str], str] = {}
        self.over = asyncio.Event()

    async def learn_answers(self) -> None:
        """Each prompt by each adapter, alone."""
        for digest in ("", *self.digests):
            for prompt in PROMPTS:
                self.said[digest, prompt] = (await self._ask(prompt, digest or "base"))[0]
        differing = {digest: {self.said[digest, prompt] for prompt in PROMPTS} for digest in ("", *self.digests)}
        for digest, answers in differing.items():
            others = set().union(*(found for name, found in differing.items() if name != digest))
            assert not answers & others, "the adapters must be told apart by every answer"

    async def talk(self, number: int) -> None:
        """One client: on the champion, on a digest or on the base model; now and then it leaves in the middle."""
        choice = random.Random(number)
        while not self.over.is_set():
            prompt = choice.choice(PROMPTS)
            adapter = choice.choice(["", "", "", "base", *self.digests])
            try:
                if choice.random() < 0.1:
                    await self._leave(prompt, adapter)
                    continue
                self._judge(prompt, *await self._ask(prompt, adapter))
            except RatchetError as error:
                self.tally.errors[f"{error.code.name} {error.reason}"] += 1

    async def swap(self, cycles: int, until: float, load_every: int) -> None:
        """Promote the first adapter and the second over it, and back twice; then the third out and in."""
        first, second, third = self.digests
        while self.tally.cycles < cycles and time.monotonic() < until:
            for digest in (first, second):
                request = adapter_pb2.PromoteRequest(adapter=digest, actor="soak")
                await self._move("promote", self.client.adapters.Promote(request, timeout=60))
            for _ in range(2):
                await self._move("rollback", self.client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="soak")))
            if self.tally.cycles % load_every == 0:
                await self._move("unload", self.client.engine.Unload(engine_pb2.UnloadRequest(adapter=third)))
                await self._move("load", self.client.engine.Load(engine_pb2.LoadRequest(adapter=third), timeout=120))
            self.tally.cycles += 1
            self._weigh()
            await asyncio.sleep(0.05)
        self.over.set()

    async def settle(self) -> None:
        """Look closely at answers that were not the expected ones."""
        wrong, _ = await mixtures(self.client, self.model, self.tally.doubtful)
        self.tally.answers["mixed"] += len(wrong)
        self.tally.answers["own, other rounding"] += len(self.tally.doubtful) - len(wrong)

    async def _ask(self, prompt: str, adapter: str) -> tuple[str, str]:
        text, digest = "", ""
        options = {"adapter": adapter, "temperature": 0.0, "max_tokens": self.tokens, "rail_profile": "off"}
        async for event in self.client.stream(prompt, **options):  # type: ignore[arg-type]
            if isinstance(event, Done):
                digest = event.receipt.adapter_digest
            elif isinstance(event, TextDelta):
                text += event.text
        return text, digest

    async def _leave(self, prompt: str, adapter: str) -> None:
        options = {"adapter": adapter, "max_tokens": self.tokens, "rail_profile": "off"}
        stream = self.client.stream(prompt, **options)  # type: ignore[arg-type]
        with suppress(StopAsyncIteration):
            await anext(stream)
        await stream.aclose()
        self.tally.answers["left by its client"] += 1

    def _judge(self, prompt: str, text: str, digest: str) -> None:
        if text == self.said[digest, prompt]:
            self.tally.answers["exact"] += 1
        elif any(text == said for (_, asked), said in self.said.items() if asked == prompt):
            self.tally.answers["another adapter's"] += 1
        else:
            now = time.perf_counter()
            self.tally.doubtful.append(Talk("soak", prompt, text, now, now, digest=digest))

    async def _move(self, kind: str, call: Any) -> None:
        began = time.perf_counter()
        try:
            answer = await call
        except Exception as error:
            self.tally.errors[f"{kind}: {error}"] += 1
            return
        self.tally.moves_ms.setdefault(kind, []).append((time.perf_counter() - began) * 1e3)
        if kind in ("promote", "rollback"):
            self.tally.swaps_ms.append(answer.swap_ms)

    def _weigh(self) -> None:
        core = sum(psutil.Process(pid).memory_info().rss for pid in self.app.engine.core.pids)
        self.tally.rss_mb.append((psutil.Process().memory_info().rss / 2**20, core / 2**20))


def percentile(values: list[float], share: float) -> float:
    """The value below which that share lies."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def growth(weights: list[float]) -> float:
    """MiB by which the second half weighs more than the first, after a warm-up of a fifth."""
    warm = weights[len(weights) // 5 :]
    if len(warm) < 4:
        return float("nan")
    return statistics.median(warm[len(warm) // 2 :]) - statistics.median(warm[: len(warm) // 2])


def figures(tally: Tally, seconds: float) -> dict[str, Any]:
    """What a run found, as JSON."""
    server, core = ([pair[side] for pair in tally.rss_mb] for side in (0, 1))
    return {
        "seconds": round(seconds),
        "cycles": tally.cycles,
        "operations": {kind: len(taken) for kind, taken in tally.moves_ms.items()},
        "answers": dict(tally.answers),
        "errors": dict(tally.errors),
        "swap_ms": {
            "p50": round(percentile(tally.swaps_ms, 0.5), 1),
            "p99": round(percentile(tally.swaps_ms, 0.99), 1),
        },
        "call_ms_p50": {kind: round(percentile(taken, 0.5)) for kind, taken in tally.moves_ms.items()},
        "rss_mb_grown": {"server": round(growth(server), 1), "engine": round(growth(core), 1)},
    }


async def soak(app: App, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run it; the app's engine must hold three adapters more."""
    async with AsyncRatchet(app.address) as client:
        digests = []
        with tempfile.TemporaryDirectory() as folder:
            for seed in (1, 2, 3):
                made = Path(folder) / str(seed)
                made.mkdir()
                write_adapter(model, made, 8, seed=seed)
                found = await client.adapters.Register(_parts(made, f"soak-{seed}"), timeout=300)
                digests.append(found.adapter.digest)
        for candidate, champion in ((digests[0], ""), (digests[1], digests[0])):
            report = ReportRecord(
                f"soak-{candidate[7:19]}", "", candidate, champion, "PASS", "soak", {}, datetime.now(UTC)
            )
            await asyncio.to_thread(app.registry.add_report, report)
        work = Soak(app, client, model, digests, options.tokens)
        await work.learn_answers()
        began = time.monotonic()
        clients = [asyncio.create_task(work.talk(number)) for number in range(options.clients)]
        await work.swap(options.cycles, began + options.minutes * 60, options.load_every)
        await asyncio.gather(*clients)
        await work.settle()
        return figures(work.tally, time.monotonic() - began)


def added(progress: Path | None, found: dict[str, Any]) -> list[dict[str, Any]]:
    """All runs of the progress file with this one."""
    if progress is None:
        return [found]
    runs = json.loads(progress.read_text(encoding="utf-8")) if progress.is_file() else []
    progress.write_text(json.dumps([*runs, found], indent=1), encoding="utf-8")
    return [*runs, found]


async def main() -> int:
    """Run, print, and return 1 if anything failed or was not its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cycles", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=7.0, help="of swapping; the cycles end earlier or here")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=12)
    parser.add_argument("--load-every", type=int, default=10)
    parser.add_argument("--fold", action="store_true", help="fold each champion that lasts a second")
    parser.add_argument("--progress", type=Path)
    options = parser.parse_args()
    model = prepare_chat_model()
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(
            state_dir=Path(state),
            rpc={"port": 0},
            observability={"metrics_port": 0},
            engine={"kv_cache_bytes": 512 << 20, "max_loras": 4, "max_loaded": 4, "fold": options.fold},
        )
        async with running(settings, lambda text: None) as app:
            runs = added(options.progress, await soak(app, model, options))
    sys.stdout.write(json.dumps(runs[-1], indent=1) + "\n")
    sys.stdout.write(f"{sum(run['cycles'] for run in runs)} cycles in {len(runs)} runs\n")
    bad = [
        run for run in runs if run["errors"] or run["answers"].get("mixed") or run["answers"].get("another adapter's")
    ]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
