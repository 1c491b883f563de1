"""The asyncio client. Thin: the raw stubs are its attributes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Unpack

import grpc

from ratchet.client.answer import Answer, Done, TextDelta, answer, event
from ratchet.client.channel import CHANNEL_OPTIONS
from ratchet.client.credentials import Tls, async_channel
from ratchet.client.errors import from_rpc_error
from ratchet.client.request import Options, Prompt, chat_request
from ratchet.client.stubs import AsyncStubs
from ratchet.v1 import inference_pb2


class AsyncRatchet(AsyncStubs):
    """A connection to one Ratchet server; use as an async context manager."""

    def __init__(self, address: str = "127.0.0.1:50051", *, api_key: str | None = None, tls: Tls | None = None) -> None:
        """Connects lazily.

        Args:
            address: host:port.
            api_key: An API key or a token; None: RATCHET_API_KEY, if that is set.
            tls: None: RATCHET_TLS_CA and its like (see `Tls.from_environment`), else no TLS.

        Raises:
            OSError: A file of `tls` cannot be read.
        """
        self.address = address
        self.channel = async_channel(address, CHANNEL_OPTIONS, api_key, tls)
        super().__init__(self.channel)

    async def generate(self, prompt: Prompt, *, timeout: float | None = 120, **options: Unpack[Options]) -> Answer:
        """One whole answer.

        Args:
            prompt: a user message or chat messages.
            timeout: seconds; sent as the deadline, after which the engine drops the request.
            **options: adapter, sampling and so on; see `Options`.

        Raises:
            RatchetError: typed by cause. A blocked answer is not an error: see `Answer.blocked`.
        """
        try:
            return answer(await self.inference.Generate(chat_request(prompt, **options), timeout=timeout))
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    async def stream(
        self, prompt: Prompt, *, timeout: float | None = 120, **options: Unpack[Options]
    ) -> AsyncIterator[TextDelta | Done]:
        """Released text as it comes, then `Done`. Closing the iterator cancels the request."""
        request = inference_pb2.GenerateStreamRequest(request=chat_request(prompt, **options))
        call = self.inference.GenerateStream(request, timeout=timeout)
        try:
            async for response in call:
                yield event(response)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()

    async def __aenter__(self) -> AsyncRatchet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
