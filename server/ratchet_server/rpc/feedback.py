"""FeedbackService: flags in, flags out, reviews. Every write is on disk before it is acknowledged."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from ratchet.v1 import feedback_pb2 as pb
from ratchet.v1 import feedback_pb2_grpc
from ratchet_adapters.flags import ExchangeNotFound, FlagNotFound, FlagStore, NewFlag
from ratchet_server.access.identity import current
from ratchet_server.observability.metrics import Metrics
from ratchet_server.rpc import convert
from ratchet_server.rpc.guard import Context
from ratchet_server.traffic.capture import Capture

PAGE_SIZE = 100


class FeedbackService(feedback_pb2_grpc.FeedbackServiceServicer):
    """See feedback.proto."""

    def __init__(self, store: FlagStore, capture: Capture, metrics: Metrics) -> None:
        self._store = store
        self._capture = capture
        self._metrics = metrics

    async def SubmitFlag(self, request: pb.SubmitFlagRequest, context: Context) -> pb.SubmitFlagResponse:
        """One flag."""
        flag = await self._new_flag(request)
        (flag_id,) = await self._submit([flag])
        return pb.SubmitFlagResponse(flag_id=flag_id)

    async def SubmitFlags(
        self, requests: AsyncIterator[pb.SubmitFlagsRequest], context: Context
    ) -> pb.SubmitFlagsResponse:
        """Many, all or none of them."""
        flags = [await self._new_flag(request.flag) async for request in requests]
        return pb.SubmitFlagsResponse(flag_ids=await self._submit(flags))

    async def ListFlags(self, request: pb.ListFlagsRequest, context: Context) -> pb.ListFlagsResponse:
        """A page, newest first."""
        flags, token = await asyncio.to_thread(
            self._store.flags,
            state=convert.enum_name(pb.FlagState, request.state, "FLAG_STATE_") or None,
            kind=convert.enum_name(pb.FlagKind, request.kind, "FLAG_KIND_") or None,
            source=convert.enum_name(pb.FlagSource, request.source, "FLAG_SOURCE_") or None,
            page_size=request.page_size or PAGE_SIZE,
            page_token=request.page_token,
            tenant=current().tenant or None,
        )
        return pb.ListFlagsResponse(flags=[convert.flag(f) for f in flags], next_page_token=token)

    async def ReviewFlag(self, request: pb.ReviewFlagRequest, context: Context) -> pb.ReviewFlagResponse:
        """Accept or reject an open flag."""
        asked = await asyncio.to_thread(self._store.flag, request.flag_id)
        if not current().serves(asked.tenant):
            raise FlagNotFound(request.flag_id)
        accepted = request.decision == pb.REVIEW_DECISION_ACCEPT
        flag = await asyncio.to_thread(
            self._store.review,
            request.flag_id,
            "ACCEPT" if accepted else "REJECT",
            request.reviewer,
            note=request.note,
            kind=convert.enum_name(pb.FlagKind, request.kind, "FLAG_KIND_") or None,
        )
        return pb.ReviewFlagResponse(flag=convert.flag(flag))

    async def _submit(self, flags: list[NewFlag]) -> list[str]:
        ids = await asyncio.to_thread(self._store.submit, flags)
        for flag in flags:
            self._metrics.flag(flag.kind, flag.source)
        return ids

    async def _new_flag(self, request: pb.SubmitFlagRequest) -> NewFlag:
        kind = convert.enum_name(pb.FlagKind, request.kind, "FLAG_KIND_")
        shared: dict[str, Any] = {
            "kind": kind,
            "source": "USER" if request.request_id else "IMPORT",
            "principal": request.principal,
            "note": request.note,
        }
        if request.request_id:
            # The client has its receipt before the writer has run: what it flags must be found all the same.
            await self._capture.flushed()
            exchange = await asyncio.to_thread(self._store.exchange, request.request_id)
            if not current().serves(exchange.tenant):
                # Request ids of other tenants are not there to be guessed.
                raise ExchangeNotFound(request.request_id)
            return NewFlag(
                messages=exchange.messages,
                completion=exchange.completion,
                adapter_digest=exchange.adapter_digest,
                request_id=exchange.request_id,
                tenant=exchange.tenant,
                scores=exchange.scores,
                **shared,
            )
        return NewFlag(
            messages=convert.messages_from_wire(request.messages),
            completion=request.completion,
            adapter_digest="",
            request_id="",
            tenant=request.tenant,
            scores={},
            **shared,
        )
