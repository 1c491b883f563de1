"""Ratchet behind Ray Serve's gRPC proxy, for real: two replicas of the small model, and the same server without Ray.

    python -m tests.benchmarks.ray_serve [--replicas 2] [--tokens 32] [--requests 24] [--concurrency 4]

Ray binds its gRPC port on every interface, so on Linux and as root this runs in a network namespace of its own. Shows
Ray binds its gRPC port on every interface, so on Linux, as root, this runs in a network namespace of its own. Shows
per second through Ray and straight to one replica, in turns. About 3 GB of memory per replica.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc

PORT = 50151
INSIDE = "RATCHET_BENCH_NAMESPACE"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("replicas", 2), ("tokens", 32), ("requests", 24), ("concurrency", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if os.environ.pop(INSIDE, "") == "" and sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare"):
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-m"]
        os.execvpe(command[0], [*command, "tests.benchmarks.ray_serve", *sys.argv[1:]], os.environ | {INSIDE: "1"})
    state = Path(tempfile.mkdtemp(prefix="ratchet-ray-"))
    os.environ |= {
        "RATCHET_STATE_DIR": str(state),
        "RATCHET_ENGINE__THREADS": "1",
        "RATCHET_ENGINE__KV_CACHE_BYTES": str(256 << 20),
        "RATCHET_RAILS__DEFAULT": "off",
        "OMP_NUM_THREADS": "1",
    }
    try:
        sys.stdout.write(json.dumps(_measure(options), indent=2) + "\n")
    finally:
        shutil.rmtree(state, ignore_errors=True)


def _measure(options: argparse.Namespace) -> dict[str, object]:
    from ratchet_server.ray_serve import application

    began = time.perf_counter()
    settings = application.Options(min_replicas=options.replicas, max_replicas=options.replicas, cpus=0.5)
    with application.deployed(settings, port=PORT, http_port=8123):
        ready = time.perf_counter() - began
        sys.stderr.write(f"{options.replicas} replicas after {ready:.0f} s\n")
        figures = asyncio.run(_through(options))
        return {"seconds until every replica serves": round(ready, 1), "memory, MB": _memory(), **figures}


async def _through(options: argparse.Namespace) -> dict[str, object]:
    from ratchet.client.aio import AsyncRatchet
    from ratchet_adapters.registry import Registry

    with Registry.open(f"sqlite:///{os.environ['RATCHET_STATE_DIR']}/ratchet.db") as registry:
        servers = [str(server.state) for server in registry.servers()]
    direct = _replica_addresses()
    figures: dict[str, list[tuple[float, float]]] = {"ray": [], "direct": []}
    async with AsyncRatchet(f"127.0.0.1:{PORT}") as ray, AsyncRatchet(direct[0]) as one:
        answer = await ray.generate("What is the capital of France?", max_tokens=8)
        problem = await _problem(ray)
        for _ in range(3):
            for name, client in (("ray", ray), ("direct", one)):
                figures[name].append(await _load(client, options))
        traffic = [await _served(address) for address in direct]
    return {
        "servers in the registry": servers,
        "an answer": answer.text,
        "an error": problem,
        "requests answered by each replica": traffic,
        "first text, ms, median of 3": {k: round(statistics.median(f[0] for f in v)) for k, v in figures.items()},
        "tokens/s, median of 3": {k: round(statistics.median(f[1] for f in v), 1) for k, v in figures.items()},
    }


async def _load(client: object, options: argparse.Namespace) -> tuple[float, float]:
    """Median milliseconds to the first text, and tokens per second, of streams kept at one concurrency."""
    from ratchet.client import Done

    first: list[float] = []
    tokens = 0
    queue = list(range(options.requests))

    async def worker() -> None:
        nonlocal tokens
        while queue:
            number, began, seen = queue.pop(), time.perf_counter(), False
            async for event in client.stream(f"Tell me about the number {number}.", max_tokens=options.tokens):  # type: ignore[attr-defined]
                if not seen:
                    first.append((time.perf_counter() - began) * 1e3)
                    seen = True
                if isinstance(event, Done):
                    tokens += event.receipt.tokens.completion

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(options.concurrency)))
    return statistics.median(first), tokens / (time.perf_counter() - began)


async def _problem(client: object) -> str:
    from ratchet.client import RatchetError

    try:
        await client.generate("x", adapter="sha256:" + "0" * 64)  # type: ignore[attr-defined]
    except RatchetError as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("an unknown adapter was served")


async def _served(address: str) -> int:
    from ratchet.v1 import adapter_pb2, adapter_pb2_grpc

    async with grpc.aio.insecure_channel(address) as channel:
        found = await adapter_pb2_grpc.AdapterServiceStub(channel).GetTraffic(adapter_pb2.GetTrafficRequest())
    return sum(int(each.requests) for each in found.adapters)


def _replica_addresses() -> list[str]:
    """Where the replicas' own gRPC servers listen: the loopback ports that answer to a Ratchet health check."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    ports = {int(line.split()[1].split(":")[1], 16) for line in lines if line.split()[3] == "0A"}
    found = []
    for port in sorted(ports - {PORT}):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            try:
                request = health_pb2.HealthCheckRequest(service="ratchet.alive")
                health_pb2_grpc.HealthStub(channel).Check(request, timeout=1)
            except grpc.RpcError:
                continue
            found.append(f"127.0.0.1:{port}")
    return found


def _memory() -> dict[str, int]:
    """Proportional set size of everything Ray started, in MB."""
    sizes = {"engine cores": 0, "replicas": 0, "ray": 0}
    out = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    for line in out.splitlines()[1:]:
        pid, _, command = line.strip().partition(" ")
        kind = _kind(command)
        if kind is None:
            continue
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        sizes[kind] += next(int(row.split()[1]) for row in rollup.splitlines() if row.startswith("Pss:")) // 1024
    return sizes


def _kind(command: str) -> str | None:
    if "EngineCore" in command:
        return "engine cores"
    if "ServeReplica" in command:
        return "replicas"
    return (
        "ray" if "ray" in command and ("raylet" in command or "gcs_server" in command or "ray::" in command) else None
    )


if __name__ == "__main__":
    main()
