"""What an evaluation costs those who are being served: time to first token with one running and without, side by side.

    python tests/benchmarks/evaluation_latency.py [--threads 2] [--requests 40] [--rounds 3]

Starts the embedded model in the real engine, sends interactive streams at a steady rate, in turns alone, beside an
evaluation that is held back as it is by default, and beside one that is not, and prints p50 and p95 of the time to
first token and between tokens, and their ratios to those alone. The evaluation is kept busy for the whole of its turn.
It asserts nothing: run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import logging
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from ratchet.client import AsyncRatchet, TextDelta
from ratchet_adapters.evals.remote import RemoteTarget
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_server.app import running
from ratchet_server.settings import Settings

TOKENS = 24
COUNT = itertools.count()


async def one(client: AsyncRatchet) -> tuple[float, list[float]]:
    """Milliseconds to the first text of a stream, and between its pieces."""
    times = [time.perf_counter()]
    prompt = f"Tell me about the number {next(COUNT)} and its history."
    async for event in client.stream(prompt, max_tokens=TOKENS, temperature=0.0, adapter="base", rail_profile="off"):
        if isinstance(event, TextDelta):
            times.append(time.perf_counter())
    if len(times) < 2:
        raise RuntimeError("A stream ended without a word, so it has no latency.")
    steps = [1e3 * (after - before) for before, after in itertools.pairwise(times)]
    return steps[0], steps[1:]


async def serve(client: AsyncRatchet, requests: int, every: float) -> tuple[list[float], list[float]]:
    """Send streams at a steady rate, whether or not the ones before have ended."""
    streams = []
    for _ in range(requests):
        streams.append(asyncio.create_task(one(client)))
        await asyncio.sleep(every)
    found = await asyncio.gather(*streams)
    return [first for first, _ in found], [step for _, steps in found for step in steps]


async def evaluating(target: RemoteTarget, done: list[int]) -> None:
    """Ask and score without end, as many at a time as an evaluation does."""
    prompts = [item.prompt for item in seed_items("benign_twin", "eval")]
    passages = [("", item.prompt) for item in seed_items("text", "eval")]
    settings = EvalSettings()

    async def work() -> None:
        while True:
            number = next(COUNT)
            await target.generate([f"{prompts[number % len(prompts)]} ({number})"], adapter="", max_tokens=64)
            if number % 8 == 0:
                await target.score([passages[number % len(passages)]], adapter="")
            done.append(number)

    await asyncio.gather(*(work() for _ in range(settings.concurrency)))


def summary(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {"p50_ms": round(statistics.median(values), 1), "p95_ms": round(cuts[18], 1), "n": len(values)}


async def measure(threads: int | None, requests: int, rounds: int, every: float) -> dict[str, object]:
    """Take the three conditions in turns, so that a drift of the machine meets them all."""
    firsts: dict[str, list[float]] = {"alone": [], "held back": [], "not held back": []}
    steps: dict[str, list[float]] = {name: [] for name in firsts}
    answered = dict.fromkeys(firsts, 0)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bounded = await stack.enter_async_context(running(_settings(folder / "bounded", threads)))
        # A second server around the same engine, which lets as much of an evaluation in as comes.
        open_ = _settings(folder / "open", threads, evaluation={"at_once": 64, "beside_traffic": 64})
        unbounded = await stack.enter_async_context(running(open_, engine=bounded.engine))
        for _, name in itertools.product(range(rounds), firsts):
            address = (unbounded if name == "not held back" else bounded).address
            async with AsyncRatchet(address) as client, RemoteTarget(address) as target:
                await serve(client, 2, every)
                done: list[int] = []
                background = asyncio.create_task(evaluating(target, done)) if name != "alone" else None
                if background:
                    # Until its requests fill the engine.
                    await asyncio.sleep(3)
                before = len(done)
                first, between = await serve(client, requests, every)
                firsts[name] += first
                steps[name] += between
                answered[name] += len(done) - before
                if background:
                    if background.done():
                        background.result()
                    background.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await background
    return {
        "to the first token": _beside(firsts),
        "between tokens": _beside(steps),
        "evaluation's answers meanwhile": answered,
    }


def _settings(state: Path, threads: int | None, **more: object) -> Settings:
    return Settings(
        state_dir=state,
        rpc={"port": 0},
        observability={"metrics_port": 0},
        engine={"threads": threads, "kv_cache_bytes": 512 << 20},
        **more,
    )


def _beside(measured: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    found = {name: summary(values) for name, values in measured.items()}
    for cut in ("p50", "p95"):
        for name in found:
            found[name][f"{cut}_ratio"] = round(found[name][f"{cut}_ms"] / found["alone"][f"{cut}_ms"], 2)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--requests", type=int, default=40, help="streams in each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between streams")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    found = asyncio.run(measure(options.threads, options.requests, options.rounds, options.every))
    json.dump(found, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
