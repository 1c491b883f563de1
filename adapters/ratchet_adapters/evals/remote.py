"""The model under evaluation behind a Ratchet server, over gRPC, at the lowest priority.

It must not know suites, judges or gates. Retries are gRPC's own (service config), so that they respect the deadline.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self, TypedDict, TypeVar

import grpc

from ratchet.v1 import engine_pb2, engine_pb2_grpc, inference_pb2, inference_pb2_grpc
from ratchet_adapters.evals.errors import AttributionError, TargetRefused, TargetUnavailable
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import BASE, LogProb, digest_of

__all__ = ["RAILS_OFF", "RemoteTarget"]

RAILS_OFF = "off"
_ANSWERED = (inference_pb2.FINISH_REASON_STOP, inference_pb2.FINISH_REASON_LENGTH)
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
# Too slow while others are served first is no property of an item: what was answered is kept, the rest comes later.
_AWAY = (*_RETRIED, grpc.StatusCode.DEADLINE_EXCEEDED)
_Reply = TypeVar("_Reply")


class _Calling(TypedDict):
    timeout: float
    metadata: tuple[tuple[str, str], ...]


class RemoteTarget:
    """An `EvalTarget` over InferenceService.Generate and EngineService.Score.

    Args:
        address: host:port of the server.
        settings: Concurrency, batch sizes, deadlines and retries.
        credentials: TLS credentials; None for a plain channel.
        metadata: Sent with each call, e.g. an authorization header.
        rail_profile: "off" measures the model alone; another profile measures the service, blocked answers being
            returned as "" then.
    """

    def __init__(
        self,
        address: str,
        *,
        settings: EvalSettings | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        metadata: Sequence[tuple[str, str]] = (),
        rail_profile: str = RAILS_OFF,
    ) -> None:
        self._address = address
        self._settings = settings or EvalSettings()
        self._metadata = tuple(metadata)
        self._rail_profile = rail_profile
        options = _channel_options(self._settings)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, options=options)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, options=options)
        self._inference = inference_pb2_grpc.InferenceServiceStub(self._channel)
        self._engine = engine_pb2_grpc.EngineServiceStub(self._channel)
        self._slots = asyncio.Semaphore(self._settings.concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the channel; calls in flight are cancelled."""
        await self._channel.close()

    async def base_fingerprint(self) -> str:
        """Return the fingerprint of the base model the server runs: part of the key of every cached answer.

        Raises:
            TargetUnavailable: The server cannot be reached.
            TargetRefused: It answered with an error.
        """
        status = await self._call(lambda: self._engine.GetStatus(engine_pb2.GetStatusRequest(), **self._calling()))
        return status.base_fingerprint

    async def generate(self, prompts: Sequence[str], *, adapter: str, max_tokens: int) -> list[str]:
        """Answer each prompt greedily; see `EvalTarget`.

        Raises:
            AttributionError: The receipt of an answer names another adapter.
            TargetRefused: The server answered with an error, or a rail blocked although rails are off.
            TargetUnavailable: It stayed unreachable or overloaded.
        """
        return await _all([self._one(prompt, adapter, max_tokens) for prompt in prompts])

    async def score(self, items: Sequence[tuple[str, str]], *, adapter: str) -> list[LogProb]:
        """Score each (context, continuation); see `EvalTarget`. Raises as `generate` does."""
        parts = await _all([self._batch(batch, adapter) for batch in self._batches(items)])
        return [result for part in parts for result in part]

    async def _one(self, prompt: str, adapter: str, max_tokens: int) -> str:
        request = inference_pb2.GenerateRequest(
            prompt=prompt,
            sampling=inference_pb2.Sampling(max_tokens=max_tokens, temperature=0.0),
            adapter=adapter or BASE,
            rail_profile=self._rail_profile,
            priority=inference_pb2.PRIORITY_EVALUATION,
        )
        async with self._slots:
            reply = await self._call(lambda: self._inference.Generate(request, **self._calling()))
        _attribute(adapter, reply.receipt.adapter_digest)
        if self._rail_profile == RAILS_OFF and reply.finish_reason not in _ANSWERED:
            reason = inference_pb2.FinishReason.Name(reply.finish_reason)
            raise TargetRefused("BLOCKED", f"the answer ended with {reason} although rails are off")
        return reply.text

    async def _batch(self, items: Sequence[tuple[str, str]], adapter: str) -> list[LogProb]:
        request = engine_pb2.ScoreRequest(
            adapter=adapter or BASE,
            items=[engine_pb2.ScoreItem(context=context, continuation=text) for context, text in items],
        )
        async with self._slots:
            reply = await self._call(lambda: self._engine.Score(request, **self._calling()))
        _attribute(adapter, reply.adapter_digest)
        if len(reply.results) != len(items):
            raise TargetRefused("INTERNAL", f"{len(reply.results)} scores came back for {len(items)} texts")
        return [LogProb(result.log_prob, result.tokens, result.worst_gap) for result in reply.results]

    def _batches(self, items: Sequence[tuple[str, str]]) -> list[Sequence[tuple[str, str]]]:
        size = self._settings.score_batch
        return [items[start : start + size] for start in range(0, len(items), size)]

    def _calling(self) -> _Calling:
        return {"timeout": self._settings.request_timeout_s, "metadata": self._metadata}

    async def _call(self, call: Callable[[], Awaitable[_Reply]]) -> _Reply:
        try:
            return await call()
        except grpc.aio.AioRpcError as error:
            why = f"{error.code().name}: {error.details()}"
            if error.code() in _AWAY:
                raise TargetUnavailable(self._address, why) from error
            raise TargetRefused(error.code().name, error.details() or "no details") from error


async def _all(calls: Sequence[Awaitable[_Reply]]) -> list[_Reply]:
    # A task group cancels the rest at the first failure, but hides it in a group; the caller wants the failure itself.
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _attribute(asked: str, served: str) -> None:
    if digest_of(asked) != served:
        raise AttributionError(digest_of(asked), served)


def _channel_options(settings: EvalSettings) -> list[tuple[str, str | int]]:
    retry = {
        "maxAttempts": settings.retry_attempts,
        "initialBackoff": f"{settings.retry_initial_s}s",
        "maxBackoff": f"{settings.retry_max_s}s",
        "backoffMultiplier": settings.retry_multiplier,
        "retryableStatusCodes": [code.name for code in _RETRIED],
    }
    names = [
        {"service": "ratchet.v1.InferenceService", "method": "Generate"},
        {"service": "ratchet.v1.EngineService", "method": "Score"},
        {"service": "ratchet.v1.EngineService", "method": "GetStatus"},
    ]
    config = {"methodConfig": [{"name": names, "retryPolicy": retry}]}
    return [
        ("grpc.enable_retries", 1),
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", 64 << 20),
    ]
