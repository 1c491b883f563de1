"""The model behind a Ratchet server as a chat model: without adapter, rails off, at the lowest priority.

It must not know what is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import grpc

from ratchet.v1 import inference_pb2, inference_pb2_grpc
from ratchet_adapters.training.constitution.critic import Message
from ratchet_adapters.training.constitution.errors import CriticAnswerInvalid, CriticRefused, CriticUnavailable

__all__ = ["ServedChat"]

_BASE = "base"
_RAILS_OFF = "off"
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)
_ANSWERED = (inference_pb2.FINISH_REASON_STOP, inference_pb2.FINISH_REASON_LENGTH)
_ROLES = {"user": inference_pb2.ROLE_USER, "assistant": inference_pb2.ROLE_ASSISTANT}


class ServedChat:
    """A `Chat` over InferenceService.Generate, greedy. Use it as an async context manager, in one event loop.

    Args:
        address: host:port of the server.
        base_fingerprint: Of the model it serves; part of the name.
        max_tokens: Of one reply.
        timeout_s: Deadline of one call.
        concurrency: Calls in flight at once.
    """

    def __init__(
        self,
        address: str,
        *,
        base_fingerprint: str,
        max_tokens: int = 256,
        timeout_s: float = 300.0,
        concurrency: int = 16,
    ) -> None:
        self._address = address
        self._base = base_fingerprint
        self._max_tokens = max_tokens
        self._timeout = timeout_s
        self._slots = asyncio.Semaphore(concurrency)
        self._channel = grpc.aio.insecure_channel(address)
        self._stub = inference_pb2_grpc.InferenceServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    @property
    def name(self) -> str:
        """The base model and the reply's length, wherever it is served."""
        return f"base model {self._base}, max_tokens {self._max_tokens}"

    async def answer(self, messages: Sequence[Message]) -> str:
        """See `Chat`."""
        turns = [inference_pb2.Message(role=_ROLES[one.role], content=one.content) for one in messages]
        request = inference_pb2.GenerateRequest(
            conversation=inference_pb2.Conversation(messages=turns),
            sampling=inference_pb2.Sampling(max_tokens=self._max_tokens, temperature=0.0),
            adapter=_BASE,
            rail_profile=_RAILS_OFF,
            priority=inference_pb2.PRIORITY_EVALUATION,
        )
        async with self._slots:
            try:
                reply = await self._stub.Generate(request, timeout=self._timeout)
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
                if error.code() in _AWAY:
                    raise CriticUnavailable(self._address, why) from error
                raise CriticRefused(self._address, why) from error
        if reply.receipt.adapter_digest:
            raise CriticAnswerInvalid(self._address, f"the adapter {reply.receipt.adapter_digest} gave it")
        if reply.finish_reason not in _ANSWERED or not reply.text.strip():
            raise CriticAnswerInvalid(self._address, "it holds no text")
        return str(reply.text).strip()
