"""What the rails cost besides classifier compute: per check, per 200-token stream, and on the event loop.

`python tests/benchmarks/rails_overhead.py [--nemo] [--scorers]` prints a table. `--nemo` adds the same regex
configuration on NeMo's own `LLMRails`; `--scorers` adds the real classifiers. It asserts nothing: numbers depend on the
machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from ratchet_server.rails.gate import Released
from ratchet_server.rails.loading import SHIPPED_PROFILES
from ratchet_server.rails.message import Message
from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.scoring import ScorerPool

CHAT = [Message("user", "How do I keep tomatoes from getting blossom end rot?")]
TOKENS = ["Water ", "them ", "evenly", ", ", "and ", "mulch ", "the ", "soil", ". "] * 23
REGEX = """
rails:
  input: {flows: [regex check input]}
  output: {flows: [regex check output]}
  config: {regex_detection: {input: {patterns: ['forbidden']}, output: {patterns: ['forbidden']}}}
"""


class InstantScorer:
    """Costs nothing, so that only the rails are measured."""

    version, threshold = "none", 0.5

    def __init__(self, name: str) -> None:
        self.name = name
        self.labels = ("harm",) if name == "triage" else ("toxicity",)
        self.primary = self.labels[0]

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [dict.fromkeys(self.labels, 0.0) for _ in texts]


async def cpu_ms(work: Callable[[int], Awaitable[object]], repeats: int) -> dict[str, float]:
    """CPU time of this process per call, and wall time."""
    for number in range(min(repeats, 20)):
        await work(-number - 1)
    walls = []
    begin = time.process_time()
    for number in range(repeats):
        wall = time.perf_counter()
        await work(number)
        walls.append((time.perf_counter() - wall) * 1e3)
    cpu = (time.process_time() - begin) * 1e3 / repeats
    return {"cpu_ms": round(cpu, 4), "wall_p50_ms": round(statistics.median(walls), 4)}


async def tokens() -> AsyncIterator[str]:
    for token in TOKENS[:200]:
        yield token
        await asyncio.sleep(0)


async def drain(profile: Profile) -> None:
    text = ""
    async for event in profile.guard_stream(CHAT, tokens()):
        if isinstance(event, Released):
            text += event.text
    assert text == "".join(TOKENS[:200])


async def without_gate(_: int) -> None:
    async for token in tokens():
        assert token


async def loop_lag_ms(profile: Profile, rate: int = 50, seconds: float = 4) -> dict[str, float]:
    """How late a 2 ms ticker is while 10-message chats are checked at a steady rate."""
    chat = [Message(("user", "assistant")[i % 2], f"message {i} " * 20) for i in range(9)]
    lags: list[float] = []
    running = True

    async def tick() -> None:
        while running:
            due = time.perf_counter() + 0.002
            await asyncio.sleep(0.002)
            lags.append((time.perf_counter() - due) * 1e3)

    ticker = asyncio.create_task(tick())
    checks = []
    for number in range(int(rate * seconds)):
        unique = [*chat, Message("user", f"question {number}")]
        checks.append(asyncio.create_task(profile.check_input(unique)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*checks)
    running = False
    await ticker
    lags.sort()
    return {"lag_p50_ms": round(lags[len(lags) // 2], 3), "lag_p99_ms": round(lags[int(len(lags) * 0.99)], 3)}


async def measure(nemo: bool, scorers: bool) -> dict[str, dict[str, float]]:
    instant = ScorerPool(InstantScorer)
    folder = Path(tempfile.mkdtemp())
    (folder / "config.yml").write_text(REGEX)
    regex = compile_profile("regex", folder, scorers=instant)
    default = compile_profile("default", SHIPPED_PROFILES / "default", scorers=instant)
    chats = [[Message("user", f"question {n} about tomatoes")] for n in range(-100, 2_000)]
    table = {
        "regex, input": await cpu_ms(lambda n: regex.check_input(chats[n]), 1_000),
        "default rails, input (no compute)": await cpu_ms(lambda n: default.check_input(chats[n]), 1_000),
        "default rails, output (no compute)": await cpu_ms(lambda n: default.check_output(CHAT, f"answer {n}"), 1_000),
        "200-token stream, no gate": await cpu_ms(without_gate, 300),
        "200-token stream, gate + regex": await cpu_ms(lambda _: drain(regex), 300),
        "200-token stream, gate + default (no compute)": await cpu_ms(lambda _: drain(default), 300),
        "loop lag at 50 checks/s, 10 messages": await loop_lag_ms(default),
    }
    instant.close()
    if scorers:
        table |= await measure_scorers()
    if nemo:
        table["NeMo LLMRails, the same regex, input"] = await measure_llmrails()
    return table


async def measure_scorers() -> dict[str, dict[str, float]]:
    real = ScorerPool()
    profile = await asyncio.to_thread(compile_profile, "default", SHIPPED_PROFILES / "default", scorers=real)
    table = {
        "default rails, input (real triage)": await cpu_ms(
            lambda n: profile.check_input([Message("user", f"question {n} about tomatoes")]), 60
        ),
        "default rails, output (real toxicity)": await cpu_ms(
            lambda n: profile.check_output(CHAT, f"{n} {''.join(TOKENS[:60])}"), 60
        ),
    }
    texts = [f"{n} {''.join(TOKENS[:40])}" for n in range(256)]
    for name in ("triage", "toxicity"):
        scorer = real.scorer(name)
        begin = time.perf_counter()
        for text in texts[:64]:
            await asyncio.to_thread(scorer.score, [text])
        alone = 64 / (time.perf_counter() - begin)
        begin = time.perf_counter()
        waiting = asyncio.Semaphore(32)

        async def one(text: str, name: str = name, waiting: asyncio.Semaphore = waiting) -> None:
            async with waiting:
                await real.score(name, [text])

        await asyncio.gather(*(one(text) for text in texts))
        batched = len(texts) / (time.perf_counter() - begin)
        table[f"{name}, texts/s"] = {"one by one": round(alone, 1), "32 at once": round(batched, 1)}
    real.close()
    return table


async def measure_llmrails() -> dict[str, float]:
    from nemoguardrails import LLMRails, RailsConfig
    from nemoguardrails.rails.llm.options import RailType

    rails = LLMRails(RailsConfig.from_content(yaml_content=f"models: []\n{REGEX}"))
    return await cpu_ms(
        lambda n: rails.check_async([{"role": "user", "content": f"question {n}"}], rail_types=[RailType.INPUT]), 60
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nemo", action="store_true", help="also measure NeMo's LLMRails")
    parser.add_argument("--scorers", action="store_true", help="also measure the real classifiers")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    table = asyncio.run(measure(arguments.nemo, arguments.scorers))
    json.dump(table, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
