"""The remote target against a real gRPC server on a free loopback port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from ratchet.v1 import engine_pb2, engine_pb2_grpc, inference_pb2, inference_pb2_grpc
from ratchet_adapters.evals.errors import AttributionError, TargetRefused, TargetUnavailable
from ratchet_adapters.evals.remote import RemoteTarget
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import LogProb

_DIGEST = "sha256:" + "a" * 64
_QUICK = EvalSettings(retry_initial_s=0.01, retry_max_s=0.02, request_timeout_s=10, concurrency=4, score_batch=3)


@dataclass
class Service:
    """Echoes; keeps what it was asked; fails and mislabels as told."""

    failures: list[grpc.StatusCode] = field(default_factory=list)
    digest: str | None = None
    finish: inference_pb2.FinishReason.ValueType = inference_pb2.FINISH_REASON_STOP
    requests: list[Any] = field(default_factory=list)
    running: int = 0
    most: int = 0
    drop_last: bool = False

    async def answer(self, request: Any, context: Any) -> inference_pb2.GenerateResponse:
        self.requests.append(request)
        if self.failures:
            await context.abort(self.failures.pop(0), "as told")
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.005)
        self.running -= 1
        reply = inference_pb2.GenerateResponse(text=f"echo {request.prompt}", finish_reason=self.finish)
        reply.receipt.adapter_digest = self._served(request.adapter)
        return reply

    async def measure(self, request: Any, context: Any) -> engine_pb2.ScoreResponse:
        self.requests.append(request)
        if self.failures:
            await context.abort(self.failures.pop(0), "as told")
        results = [engine_pb2.ScoreResult(log_prob=-len(i.continuation), tokens=2) for i in request.items]
        served = self._served(request.adapter)
        return engine_pb2.ScoreResponse(results=results[: -1 if self.drop_last else None], adapter_digest=served)

    def _served(self, asked: str) -> str:
        return self.digest if self.digest is not None else ("" if asked == "base" else asked)


class _Inference(inference_pb2_grpc.InferenceServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Generate(self, request: Any, context: Any) -> Any:
        return await self._service.answer(request, context)

    def GenerateStream(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


class _Engine(engine_pb2_grpc.EngineServiceServicer):
    def __init__(self, service: Service) -> None:
        self._service = service

    async def Score(self, request: Any, context: Any) -> Any:
        return await self._service.measure(request, context)

    async def GetStatus(self, request: Any, context: Any) -> Any:
        return engine_pb2.GetStatusResponse(base_fingerprint="sha256:base", ready=True)

    async def Load(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    async def Unload(self, request: Any, context: Any) -> Any:
        raise NotImplementedError


@asynccontextmanager
async def _serving(service: Service, **how: Any) -> AsyncIterator[RemoteTarget]:
    server = grpc.aio.server()
    inference_pb2_grpc.add_InferenceServiceServicer_to_server(_Inference(service), server)
    engine_pb2_grpc.add_EngineServiceServicer_to_server(_Engine(service), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with RemoteTarget(f"127.0.0.1:{port}", settings=_QUICK, **how) as target:
            yield target
    finally:
        await server.stop(None)


async def test_answers_keep_their_order_under_bounded_concurrency() -> None:
    service = Service()
    async with _serving(service) as target:
        prompts = [f"p{number}" for number in range(20)]
        assert await target.generate(prompts, adapter=_DIGEST, max_tokens=9) == [f"echo {p}" for p in prompts]
    assert 1 < service.most <= 4


@pytest.mark.parametrize(("adapter", "asked"), [("", "base"), ("base", "base"), (_DIGEST, _DIGEST)])
async def test_the_model_is_asked_alone_greedily_and_last(adapter: str, asked: str) -> None:
    service = Service()
    async with _serving(service) as target:
        await target.generate(["p"], adapter=adapter, max_tokens=9)
    (request,) = service.requests
    assert (request.adapter, request.rail_profile, request.priority) == (asked, "off", 3)
    assert (request.sampling.temperature, request.sampling.max_tokens) == (0.0, 9)
    assert request.sampling.HasField("temperature")


async def test_texts_are_scored_in_batches_in_order() -> None:
    service = Service()
    async with _serving(service) as target:
        found = await target.score([("c", "x" * n) for n in range(1, 9)], adapter="")
    assert found == [LogProb(-n, 2) for n in range(1, 9)]
    assert sorted(len(request.items) for request in service.requests) == [2, 3, 3]


@pytest.mark.parametrize("served", ["", "sha256:" + "b" * 64])
async def test_an_answer_of_another_adapter_is_refused(served: str) -> None:
    async with _serving(Service(digest=served)) as target:
        with pytest.raises(AttributionError, match="never mix"):
            await target.generate(["p"], adapter=_DIGEST, max_tokens=9)
        with pytest.raises(AttributionError):
            await target.score([("", "x")], adapter=_DIGEST)


async def test_an_adapter_answering_for_the_base_is_refused() -> None:
    async with _serving(Service(digest=_DIGEST)) as target:
        with pytest.raises(AttributionError):
            await target.generate(["p"], adapter="base", max_tokens=9)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_a_passing_failure_is_retried(code: grpc.StatusCode) -> None:
    service = Service(failures=[code, code])
    async with _serving(service) as target:
        assert await target.generate(["p"], adapter="", max_tokens=9) == ["echo p"]
        service.failures = [code]
        assert len(await target.score([("", "x")], adapter="")) == 1
    assert len(service.requests) == 5


async def test_a_lasting_overload_is_unavailable() -> None:
    service = Service(failures=[grpc.StatusCode.RESOURCE_EXHAUSTED] * 50)
    async with _serving(service) as target:
        with pytest.raises(TargetUnavailable, match="RESOURCE_EXHAUSTED"):
            await target.generate(["p"], adapter="", max_tokens=9)
    assert len(service.requests) == 5


async def test_a_deadline_that_passes_beside_traffic_costs_no_item_but_a_second_look() -> None:
    async with _serving(Service(failures=[grpc.StatusCode.DEADLINE_EXCEEDED])) as target:
        with pytest.raises(TargetUnavailable, match="DEADLINE_EXCEEDED"):
            await target.generate(["p"], adapter="", max_tokens=9)


async def test_nobody_listening_is_unavailable() -> None:
    async with RemoteTarget("127.0.0.1:1", settings=_QUICK) as target:
        with pytest.raises(TargetUnavailable, match="ratchet doctor"):
            await target.base_fingerprint()


async def test_a_lasting_mistake_is_not_retried() -> None:
    service = Service(failures=[grpc.StatusCode.INVALID_ARGUMENT])
    async with _serving(service) as target:
        with pytest.raises(TargetRefused, match="INVALID_ARGUMENT: as told"):
            await target.generate(["p"], adapter="", max_tokens=9)
    assert len(service.requests) == 1


async def test_an_answer_a_rail_blocked_is_no_answer_of_the_model() -> None:
    service = Service(finish=inference_pb2.FINISH_REASON_BLOCKED_OUTPUT)
    async with _serving(service) as target:
        with pytest.raises(TargetRefused, match="BLOCKED"):
            await target.generate(["p"], adapter="", max_tokens=9)
    async with _serving(service, rail_profile="default") as target:
        assert await target.generate(["p"], adapter="", max_tokens=9) == ["echo p"]


async def test_scores_that_are_missing_are_an_error() -> None:
    async with _serving(Service(drop_last=True)) as target:
        with pytest.raises(TargetRefused, match="1 scores came back for 2"):
            await target.score([("", "x"), ("", "y")], adapter="")


async def test_the_base_fingerprint_is_the_servers() -> None:
    async with _serving(Service()) as target:
        assert await target.base_fingerprint() == "sha256:base"
