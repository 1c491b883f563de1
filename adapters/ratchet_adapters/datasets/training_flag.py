"""A flag as the dataset builder sees it: what was asked, by whom, and what review decided.

It must not carry any text that could become a training target: notes stay in the flag store, and the flagged answer
is only ever an example of what not to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
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
        answer: What was answered, and flagged; empty when it was blocked or is not known.
        reviewer: Who decided; "" when nobody did.
        scores: Of the served exchange, in [0, 1].
        created_at: When it was submitted; None when that is not known.
    """

    id: str
    kind: str
    source: str
    state: str
    principal: str
    prompt: str
    answer: str = ""
    reviewer: str = ""
    scores: Mapping[str, float] = field(default_factory=dict)
    created_at: datetime | None = None


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
        answer=flag.completion,
        reviewer=flag.reviewer,
        scores=dict(flag.scores),
        created_at=flag.created_at,
    )
