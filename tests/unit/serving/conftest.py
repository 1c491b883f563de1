"""A real gRPC server on loopback with real rails around an engine double that counts what is begun and closed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from tests.unit.rails.conftest import KeywordScorer, keyword_scorer
from tests.unit.routing.conftest import build

from ratchet.v1 import inference_pb2_grpc
from ratchet_server.access.door import Door
from ratchet_server.engine.engine import Chunk, EngineRequest
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rails.instant import InstantRail
from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rpc.answers import Answers
from ratchet_server.rpc.errors import status_name
from ratchet_server.rpc.guard import Guard
from ratchet_server.rpc.inference import InferenceService
from ratchet_server.serving.base_model import BaseModel
from ratchet_server.serving.path import RequestPath
from ratchet_server.serving.settings import SamplingDefaults


@dataclass
class Says:
    """An engine that says what a test has laid down for a request id, piece by piece."""

    lines: dict[str, list[str]] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)

    async def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        self.begun[request.request_id] += 1
        try:
            for number, piece in enumerate(self.lines[request.request_id]):
                await asyncio.sleep(0.001 if number % 7 == 6 else 0)
                yield Chunk(piece, 1, None, 3)
        finally:
            self.closed[request.request_id] += 1


@dataclass
class Attacked:
    """What a test may turn against the server."""

    engine: Says
    profiles: RailProfiles
    pool: ScorerPool
    instant: InstantRail
    metrics: Metrics
    scorers: dict[str, KeywordScorer]
    stub: inference_pb2_grpc.InferenceServiceAsyncStub
    compile: Callable[..., Profile]


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a server with profiles given as the text of their config.yml."""
    scorers: dict[str, KeywordScorer] = {}
    pool = ScorerPool(lambda name: scorers.setdefault(name, keyword_scorer(name)))

    def compiled(name: str, config: str, generate: Any = None, **others: str) -> Profile:
        folder = tmp_path / f"profile-{name}-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "config.yml").write_text(config, encoding="utf-8")
        for file, text in others.items():
            (folder / f"{file}.yml").write_text(text, encoding="utf-8")
        return compile_profile(name, folder, scorers=pool, generate=generate)

    @asynccontextmanager
    async def start(profiles: dict[str, Profile]) -> AsyncIterator[Attacked]:
        house = build(tmp_path, tmp_path)
        offered = RailProfiles(profiles, next(iter(profiles)))
        engine, instant, metrics = Says(), InstantRail(pool), Metrics(CollectorRegistry())
        # What is asked with evaluation priority is neither scored nor captured.
        nobody: Any = None
        double: Any = engine
        path = RequestPath(
            double, house.router, house.swaps, offered, nobody, nobody, metrics, status_name, instant=instant
        )
        server = grpc.aio.server(interceptors=[Guard(Door())])
        service = InferenceService(Answers(path, BaseModel("base", tmp_path, "sha256:0"), SamplingDefaults()))
        inference_pb2_grpc.add_InferenceServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub: Any = inference_pb2_grpc.InferenceServiceStub(channel)
                yield Attacked(engine, offered, pool, instant, metrics, scorers, stub, compiled)
        finally:
            await server.stop(None)

    start.compiled = compiled  # type: ignore[attr-defined]
    yield start
    pool.close()
