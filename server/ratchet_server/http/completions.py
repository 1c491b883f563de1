"""Answers of the contract as OpenAI clients read them: completions, chunks of a stream, and receipts beside them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from ratchet.v1 import common_pb2
from ratchet.v1 import inference_pb2 as pb

__all__ = ["chunk", "completion", "end_of_stream", "receipt_headers", "sse"]

_FINISH = {
    pb.FINISH_REASON_STOP: "stop",
    pb.FINISH_REASON_LENGTH: "length",
    pb.FINISH_REASON_BLOCKED_INPUT: "content_filter",
    pb.FINISH_REASON_BLOCKED_OUTPUT: "content_filter",
}


def completion(response: pb.GenerateResponse, model: str, created: int) -> dict[str, Any]:
    """The body of a whole answer; the receipt is under `ratchet`. A blocked one has no text and says why in `refusal`.

    Args:
        response: What the service answered.
        model: The name that was asked for.
        created: Unix time of the request.
    """
    message = {"role": "assistant", "content": response.text, "refusal": _blocked(response)}
    choice = {"index": 0, "message": message, "finish_reason": _FINISH[response.finish_reason], "logprobs": None}
    return {
        "id": _id(response.receipt.request_id),
        "object": "chat.completion",
        "created": created,
        "model": model,
        "system_fingerprint": _fingerprint(response.receipt),
        "choices": [choice],
        "usage": _usage(response.receipt),
        "ratchet": _ratchet(response),
    }


def chunk(request_id: str, model: str, created: int, text: str, *, first: bool) -> dict[str, Any]:
    """Released text as one event of a stream."""
    delta = {"role": "assistant", "content": text} if first else {"content": text}
    return _chunk(request_id, model, created, [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}])


def end_of_stream(
    request_id: str, model: str, created: int, done: pb.GenerateDone, *, usage: bool
) -> list[dict[str, Any]]:
    """The last events of a stream: why it ended, with the receipt under `ratchet`, and the tokens if asked for."""
    delta = {"refusal": why} if (why := _blocked(done)) else {}
    choice = {"index": 0, "delta": delta, "finish_reason": _FINISH[done.finish_reason], "logprobs": None}
    last = _chunk(request_id, model, created, [choice])
    last |= {"system_fingerprint": _fingerprint(done.receipt), "ratchet": _ratchet(done)}
    counted = _chunk(request_id, model, created, []) | {"usage": _usage(done.receipt)}
    return [last, counted] if usage else [last]


def receipt_headers(response: pb.GenerateResponse) -> dict[str, str]:
    """The receipt as headers: what most want to see by name, and all of it as base64 of its JSON."""
    receipt = response.receipt
    headers = {
        "x-ratchet-adapter": receipt.adapter_digest or "base",
        "x-ratchet-policy": receipt.policy_version,
        "x-ratchet-rails": receipt.rail_profile,
        "x-ratchet-receipt": _encoded(json.dumps(_document(receipt), separators=(",", ":"))),
    }
    if response.signed_receipt:
        headers["x-ratchet-signed-receipt"] = _encoded(response.signed_receipt)
    return headers


def sse(event: Mapping[str, Any]) -> bytes:
    """One event on the wire."""
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _chunk(request_id: str, model: str, created: int, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": _id(request_id), "object": "chat.completion.chunk", "created": created, "model": model,
        "choices": choices,
    }  # fmt: skip


def _id(request_id: str) -> str:
    return f"chatcmpl-{request_id}"


def _fingerprint(receipt: common_pb2.Receipt) -> str:
    """What has to be equal for answers to be comparable: base model and adapter."""
    base, adapter = (d.removeprefix("sha256:")[:12] for d in (receipt.base_fingerprint, receipt.adapter_digest))
    return f"{base}-{adapter or 'base'}"


def _blocked(ended: pb.GenerateResponse | pb.GenerateDone) -> str | None:
    if _FINISH[ended.finish_reason] != "content_filter":
        return None
    verdicts = [v for v in ended.receipt.verdicts if v.outcome == common_pb2.OUTCOME_BLOCK and v.enforced]
    return "blocked by " + ", ".join(f"{v.rail}: {v.reason}" if v.reason else v.rail for v in verdicts)


def _usage(receipt: common_pb2.Receipt) -> dict[str, int]:
    prompt, made = receipt.tokens.prompt, receipt.tokens.completion
    return {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made}


def _ratchet(ended: pb.GenerateResponse | pb.GenerateDone) -> dict[str, Any]:
    return {"receipt": _document(ended.receipt), "signed_receipt": ended.signed_receipt}


def _document(receipt: common_pb2.Receipt) -> Any:
    return MessageToDict(receipt, preserving_proto_field_name=True)


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
