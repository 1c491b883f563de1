"""The blocking client. Thin: the raw stubs are its attributes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Unpack

import grpc

from ratchet.client.answer import Answer, Done, TextDelta, answer, event
from ratchet.client.channel import CHANNEL_OPTIONS
from ratchet.client.credentials import Tls, sync_channel
from ratchet.client.errors import from_rpc_error
from ratchet.client.patience import Patience
from ratchet.client.request import Options, Prompt, chat_request, run_request
from ratchet.client.stubs import Stubs
from ratchet.v1 import inference_pb2, learning_pb2


class Ratchet(Stubs):
    """A connection to one Ratchet server; thread-safe; use as a context manager."""

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
        self.channel = sync_channel(address, CHANNEL_OPTIONS, api_key, tls)
        super().__init__(self.channel)

    def generate(self, prompt: Prompt, *, timeout: float | None = 120, **options: Unpack[Options]) -> Answer:
        """One whole answer; see `AsyncRatchet.generate`."""
        request = chat_request(prompt, **options)
        patience = Patience(timeout)
        while True:
            try:
                return answer(self.inference.Generate(request, timeout=patience.left()))
            except grpc.RpcError as error:
                time.sleep(patience.pause(from_rpc_error(error)))

    def stream(
        self, prompt: Prompt, *, timeout: float | None = 120, **options: Unpack[Options]
    ) -> Iterator[TextDelta | Done]:
        """Released text as it comes, then `Done`. Closing the iterator cancels the request."""
        request = inference_pb2.GenerateStreamRequest(request=chat_request(prompt, **options))
        call = self.inference.GenerateStream(request, timeout=timeout)
        try:
            for response in call:
                yield event(response)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def start_run(
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
                return (self.learning.StartRun(request, timeout=patience.left())).run
            except grpc.RpcError as error:
                time.sleep(patience.pause(from_rpc_error(error)))

    def close(self) -> None:
        """Closes the connection."""
        self.channel.close()

    def __enter__(self) -> Ratchet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
