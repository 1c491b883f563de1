"""A flag as the dataset builder sees it: what was asked, by whom, and what review decided.

It must not carry any text that could become a training target: completions and notes stay in the flag store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ratchet_adapters.flags.records import Flag

__all__ = ["TrainingFlag", "training_flag"]


@dataclass(frozen=True, slots=True)
class TrainingFlag:
    """A claim about one prompt.

    Attributes:
        id: Of the flag.
        kind: HARMFUL, TOXIC, OVER_REFUSAL, BIAS or OTHER.
        source: USER, RAIL, SCORER or IMPORT.
        state: OPEN, ACCEPTED or REJECTED.
        principal: Who asked or flagged; "" for nobody in particular, which counts as one principal.
        prompt: The last user message.
    """

    id: str
    kind: str
    source: str
    state: str
    principal: str
    prompt: str


def training_flag(flag: Flag) -> TrainingFlag:
    """Return what the builder may see of a stored flag; the prompt is empty when nobody asked anything."""
    asked = [message.content for message in flag.messages if message.role == "user"]
    return TrainingFlag(
        id=flag.id,
        kind=str(flag.kind),
        source=str(flag.source),
        state=str(flag.state),
        principal=flag.principal,
        prompt=asked[-1] if asked else "",
    )
