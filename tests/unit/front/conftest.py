"""A server that listens for real, on loopback, around a path whose answers are written down beforehand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest

from ratchet.client import AsyncRatchet
from ratchet.v1 import adapter_pb2_grpc, engine_pb2_grpc, feedback_pb2_grpc, learning_pb2_grpc
from ratchet_server.access.door import Door
from ratchet_server.front import Front
from ratchet_server.http.settings import HttpSettings
from ratchet_server.rails.verdict import Direction, Outcome, Verdict
from ratchet_server.rpc.answers import Answers
from ratchet_server.rpc.inference import InferenceService
from ratchet_server.rpc.server import Servicers
from ratchet_server.rpc.settings import RpcSettings
from ratchet_server.serving.base_model import BaseModel
from ratchet_server.serving.exchange import Finished, Released, Request
from ratchet_server.serving.settings import SamplingDefaults

BLOCK = Verdict("no bombs", Direction.INPUT, Outcome.BLOCK, "asks for a bomb")


@dataclass
class Script:
    """A request path: what it was asked, what it says, and how it fails.

    Attributes:
        words: What it releases, one by one.
        error: Raised after that many words.
        gate: Waited for before every word.
    """

    words: tuple[str, ...] = ("Paris ", "is ", "it.")
    blocked: bool = False
    error: tuple[int, Exception] | None = None
    gate: asyncio.Event | None = None
    asked: list[Request] = field(default_factory=list)
    running: int = 0

    async def run(self, request: Request) -> AsyncGenerator[Released | Finished, None]:
        """As `RequestPath.run`."""
        self.asked.append(request)
        self.running += 1
        try:
            for number, word in enumerate(() if self.blocked else self.words):
                if self.gate is not None:
                    await self.gate.wait()
                if self.error is not None and self.error[0] == number:
                    raise self.error[1]
                yield Released(word)
            reason, verdicts = ("blocked_input", (BLOCK,)) if self.blocked else ("stop", ())
            yield Finished(reason, "", "champion", "default", "sha256:aa", verdicts, {}, 5, len(self.words))
        finally:
            self.running -= 1


@dataclass
class Served:
    """A running server."""

    front: Front
    script: Script

    @property
    def address(self) -> str:
        """Of gRPC."""
        return f"127.0.0.1:{self.front.rpc.port}"

    def client(self, **options: Any) -> AsyncRatchet:
        """A client of gRPC."""
        return AsyncRatchet(self.address, **options)

    def openai(self, key: str = "unused", **options: Any) -> openai.AsyncOpenAI:
        """OpenAI's own client."""
        assert self.front.http is not None
        return openai.AsyncOpenAI(base_url=f"{self.front.http.url}/v1", api_key=key, max_retries=0, **options)


Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Serve:
    """Starts a server: `async with serve(script, door=...) as served`."""

    @asynccontextmanager
    async def start(
        script: Script | None = None,
        *,
        door: Door | None = None,
        rpc: dict[str, Any] | None = None,
        path: Any = None,
        models: Callable[[], list[str]] = lambda: ["ratchet", "champion", "base"],
        **services: Any,
    ) -> AsyncIterator[Served]:
        script = script or Script()
        base = BaseModel("small", Path("small"), "sha256:bb")
        answers = Answers(path or script, base, SamplingDefaults())
        servicers = Servicers(
            inference=InferenceService(answers),
            adapters=services.get("adapters") or adapter_pb2_grpc.AdapterServiceServicer(),
            feedback=services.get("feedback") or feedback_pb2_grpc.FeedbackServiceServicer(),
            learning=learning_pb2_grpc.LearningServiceServicer(),
            engine=engine_pb2_grpc.EngineServiceServicer(),
        )
        settings = RpcSettings(port=0, grace_seconds=0.2, **(rpc or {}))
        front = Front(settings, HttpSettings(port=0), servicers, answers, door or Door(), models)
        await front.start()
        await front.serving(True)
        try:
            yield Served(front, script)
        finally:
            await front.stop()

    return start
