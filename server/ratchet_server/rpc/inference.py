"""InferenceService: the request path on the wire."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

from google.protobuf.json_format import MessageToDict

from ratchet.v1 import common_pb2, inference_pb2_grpc
from ratchet.v1 import inference_pb2 as pb
from ratchet_adapters.provenance.receipts import sign_receipt
from ratchet_adapters.provenance.signing import Signer
from ratchet_server.engine.engine import Sampling
from ratchet_server.rpc import convert
from ratchet_server.rpc.guard import Context
from ratchet_server.serving.base_model import BaseModel
from ratchet_server.serving.exchange import BATCH, EVALUATION, INTERACTIVE, Finished, Request
from ratchet_server.serving.path import RequestPath
from ratchet_server.serving.settings import SamplingDefaults

_PRIORITY = {
    pb.PRIORITY_UNSPECIFIED: INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: INTERACTIVE,
    pb.PRIORITY_BATCH: BATCH,
    pb.PRIORITY_EVALUATION: EVALUATION,
}


class InferenceService(inference_pb2_grpc.InferenceServiceServicer):
    """See inference.proto."""

    def __init__(
        self, path: RequestPath, base: BaseModel, defaults: SamplingDefaults, signer: Signer | None = None
    ) -> None:
        """`signer`: signs every receipt; None: they are not signed."""
        self._path = path
        self._base = base
        self._defaults = defaults
        self._signer = signer

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> pb.GenerateResponse:
        """Nothing leaves before all of it has passed."""
        text = ""
        domain = self._request(request, context)
        async with aclosing(self._path.run(domain)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    said = "" if item.finish_reason.startswith("blocked") else text
                    receipt = convert.receipt(domain.request_id, item, self._base.name, self._base.fingerprint)
                    return pb.GenerateResponse(
                        text=said,
                        finish_reason=convert.FINISH[item.finish_reason],
                        receipt=receipt,
                        signed_receipt=self._signed(receipt, said),
                    )
                text += item.text
        raise AssertionError("the request path ended without Finished")

    async def GenerateStream(
        self, request: pb.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[pb.GenerateStreamResponse]:
        """Released text, then the receipt."""
        domain, text = self._request(request.request, context), ""
        async with aclosing(self._path.run(domain)) as items:
            async for item in items:
                if isinstance(item, Finished):
                    receipt = convert.receipt(domain.request_id, item, self._base.name, self._base.fingerprint)
                    done = pb.GenerateDone(
                        finish_reason=convert.FINISH[item.finish_reason],
                        receipt=receipt,
                        signed_receipt=self._signed(receipt, text),
                    )
                    yield pb.GenerateStreamResponse(done=done)
                else:
                    text += item.text
                    yield pb.GenerateStreamResponse(text=item.text)

    def _signed(self, receipt: common_pb2.Receipt, text: str) -> str:
        """Return the signed receipt, over the text that was released; "" without a signer."""
        if self._signer is None:
            return ""
        return sign_receipt(MessageToDict(receipt, preserving_proto_field_name=True), text, self._signer)

    def _request(self, request: pb.GenerateRequest, context: Context) -> Request:
        return Request(
            request_id=request.request_id or uuid.uuid4().hex,
            messages=convert.request_messages(request),
            sampling=self._sampling(request.sampling),
            adapter=request.adapter,
            tenant=request.tenant,
            principal=request.principal,
            conversation=request.conversation_id,
            profile=request.rail_profile,
            priority=_PRIORITY[request.priority],
            deadline=context.time_remaining(),
        )

    def _sampling(self, wire: pb.Sampling) -> Sampling:
        fallback = self._defaults
        return Sampling(
            max_tokens=wire.max_tokens if wire.HasField("max_tokens") else fallback.max_tokens,
            temperature=wire.temperature if wire.HasField("temperature") else fallback.temperature,
            top_p=wire.top_p if wire.HasField("top_p") else fallback.top_p,
            top_k=wire.top_k if wire.HasField("top_k") else 0,
            seed=wire.seed if wire.HasField("seed") else None,
            stop=tuple(wire.stop),
            repetition_penalty=wire.repetition_penalty if wire.HasField("repetition_penalty") else 1.0,
        )
