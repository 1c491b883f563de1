"""The asyncio client. Thin: the raw stubs are its attributes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Unpack

import grpc

from ratchet.client.answer import Answer, Done, TextDelta, answer, event
from ratchet.client.channel import CHANNEL_OPTIONS
from ratchet.client.credentials import Tls, async_channel
from ratchet.client.errors import from_rpc_error
from ratchet.client.patience import Patience
from ratchet.client.request import Options, Prompt, chat_request, run_request
from ratchet.client.stubs import AsyncStubs
from ratchet.v1 import inference_pb2, learning_pb2


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
            timeout: seconds, for all attempts; sent as the deadline, after which the engine drops the request. An
                overloaded server is asked again when it says so, while there is time.
            **options: adapter, sampling and so on; see `Options`.

        Raises:
            RatchetError: typed by cause. A blocked answer is not an error: see `Answer.blocked`.
        """
        request = chat_request(prompt, **options)
        patience = Patience(timeout)
        while True:
            try:
                return answer(await self.inference.Generate(request, timeout=patience.left()))
            except grpc.RpcError as error:
                await asyncio.sleep(patience.pause(from_rpc_error(error)))

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

    async def start_run(
        self,
        method: str = "",
        options: Mapping[str, object] | None = None,
        *,
        promote_on_pass: bool = False,
        idempotency_key: str = "",
        timeout: float | None = 30,
    ) -> learning_pb2.Run:
        """Queue a learning run, once however often the call has to be tried: it carries an idempotency key.

        Args:
            method: How to train; "" is the server's default.
            options: Of the method.
            promote_on_pass: Promote the adapter if the gate says PASS.
            idempotency_key: Say the same to get the same run; "" makes a fresh one.
            timeout: Seconds for all attempts.

        Raises:
            RatchetError: typed by cause.
        """
        request = run_request(method, options, promote_on_pass, idempotency_key)
        patience = Patience(timeout)
        while True:
            try:
                return (await self.learning.StartRun(request, timeout=patience.left())).run
            except grpc.RpcError as error:
                await asyncio.sleep(patience.pause(from_rpc_error(error)))

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()

    async def __aenter__(self) -> AsyncRatchet:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
