"""Answers as messages of the contract: what the gRPC service and the HTTP facade both hand out.

One place makes requests of the wire into requests of the path and its results into receipts, so that no protocol can
have rails, receipts or signatures of its own. Must not know how messages travel.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing

from google.protobuf.json_format import MessageToDict

from ratchet.v1 import common_pb2
from ratchet.v1 import inference_pb2 as pb
from ratchet_adapters.provenance.receipts import sign_receipt
from ratchet_adapters.provenance.signing import Signer
from ratchet_server.engine.engine import Form, Sampling
from ratchet_server.rpc import convert
from ratchet_server.rpc.errors import FieldsInvalid
from ratchet_server.serving.base_model import BaseModel
from ratchet_server.serving.entrance import Path
from ratchet_server.serving.exchange import BATCH, EVALUATION, INTERACTIVE, Finished, Request
from ratchet_server.serving.settings import SamplingDefaults

__all__ = ["Answers"]

_PRIORITY = {
    pb.PRIORITY_UNSPECIFIED: INTERACTIVE,
    pb.PRIORITY_INTERACTIVE: INTERACTIVE,
    pb.PRIORITY_BATCH: BATCH,
    pb.PRIORITY_EVALUATION: EVALUATION,
}


class Answers:
    """One per server."""

    def __init__(self, path: Path, base: BaseModel, defaults: SamplingDefaults, signer: Signer | None = None) -> None:
        """`signer`: signs every receipt; None: they are not signed."""
        self._path = path
        self._base = base
        self._defaults = defaults
        self._signer = signer

    async def whole(self, request: pb.GenerateRequest, deadline: float | None) -> pb.GenerateResponse:
        """One answer; nothing leaves before all of it has passed.

        Args:
            request: A request that keeps its message's rules.
            deadline: Seconds the caller will wait; None for no limit.

        Raises:
            FieldsInvalid: A conversation in an impossible order.
            As `Entrance.run`.
        """
        text = ""
        domain = self._request(request, deadline)
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

    async def stream(
        self, request: pb.GenerateRequest, deadline: float | None
    ) -> AsyncGenerator[pb.GenerateStreamResponse, None]:
        """Released text, then the receipt; closing the iterator aborts the generation. As `whole` else."""
        domain, text = self._request(request, deadline), ""
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

    def _request(self, request: pb.GenerateRequest, deadline: float | None) -> Request:
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
            deadline=deadline,
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
            form=_form(wire.structured_output) if wire.HasField("structured_output") else None,
        )


def _form(wire: pb.StructuredOutput) -> Form:
    if wire.json_schema:
        _check_schema(wire.json_schema)
    return Form(wire.json_schema, wire.regex, tuple(wire.choices.texts))


def _check_schema(text: str) -> None:
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FieldsInvalid([("sampling.structured_output.json_schema", f"not JSON: {error}")]) from None
    if not isinstance(schema, dict):
        raise FieldsInvalid([("sampling.structured_output.json_schema", "must be a JSON object")])
