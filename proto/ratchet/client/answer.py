"""What a generate call gives back, as plain Python values around the receipt."""

from __future__ import annotations

from dataclasses import dataclass

from ratchet.v1 import common_pb2, inference_pb2


@dataclass(frozen=True)
class Answer:
    """A whole answer. `text` is empty when a rail blocked, `signed_receipt` when the server signs none."""

    text: str
    finish_reason: str
    receipt: common_pb2.Receipt
    signed_receipt: str = ""

    @property
    def blocked(self) -> bool:
        """Whether a rail withheld the answer."""
        return self.finish_reason.startswith("BLOCKED")


@dataclass(frozen=True)
class TextDelta:
    """Text that every output rail let pass."""

    text: str


@dataclass(frozen=True)
class Done:
    """The last event of a stream; its signed receipt is of all text of the stream."""

    finish_reason: str
    receipt: common_pb2.Receipt
    signed_receipt: str = ""


def finish_name(reason: inference_pb2.FinishReason.ValueType) -> str:
    """`FINISH_REASON_BLOCKED_INPUT` -> `BLOCKED_INPUT`."""
    return inference_pb2.FinishReason.Name(reason).removeprefix("FINISH_REASON_")


def answer(response: inference_pb2.GenerateResponse) -> Answer:
    """From the wire."""
    return Answer(response.text, finish_name(response.finish_reason), response.receipt, response.signed_receipt)


def event(response: inference_pb2.GenerateStreamResponse) -> TextDelta | Done:
    """From the wire."""
    if response.WhichOneof("event") == "done":
        done = response.done
        return Done(finish_name(done.finish_reason), done.receipt, done.signed_receipt)
    return TextDelta(response.text)
