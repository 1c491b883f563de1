"""What the request path takes and gives, free of wire and engine types."""

from __future__ import annotations

from dataclasses import dataclass, field

from ratchet_adapters.flags import Message
from ratchet_server.engine.engine import Sampling
from ratchet_server.rails.verdict import Verdict

INTERACTIVE, RAILS, BATCH, EVALUATION = 0, 1, 2, 10


@dataclass(frozen=True)
class Request:
    """One validated request.

    Attributes:
        conversation: what its turns have in common, if the client says so.
        deadline: seconds the client will still wait, None for no limit.
        priority: lower goes first; EVALUATION requests are neither scored nor captured.
    """

    request_id: str
    messages: tuple[Message, ...]
    sampling: Sampling
    adapter: str = ""
    tenant: str = ""
    principal: str = ""
    conversation: str = ""
    profile: str = ""
    priority: int = INTERACTIVE
    deadline: float | None = None


@dataclass(frozen=True)
class Timings:
    """Milliseconds; `time_to_first_token_ms` is to the first released text."""

    input_rails_ms: float = 0.0
    time_to_first_token_ms: float = 0.0
    output_rails_ms: float = 0.0
    total_ms: float = 0.0


@dataclass(frozen=True)
class Released:
    """Text that may go to the client."""

    text: str


@dataclass(frozen=True)
class Finished:
    """The end of a request.

    Attributes:
        finish_reason: "stop", "length", "blocked_input" or "blocked_output".
        scores: those of "input_harm", "toxicity" and "refusal" that were measured, in [0, 1].
    """

    finish_reason: str
    adapter_digest: str
    adapter_alias: str
    profile: str
    policy_version: str
    verdicts: tuple[Verdict, ...]
    scores: dict[str, float]
    prompt_tokens: int
    completion_tokens: int
    timings: Timings = field(default_factory=Timings)
