"""The port of the inference engine: what the server asks of it, in the server's own words.

It must not know vLLM. Adapters have no names here, only content digests; the empty digest is the base model alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ratchet_adapters.registry.records import Proof

__all__ = [
    "BATCH",
    "EVALUATION",
    "INTERACTIVE",
    "RAILS",
    "ChatMessage",
    "Chunk",
    "Engine",
    "EngineRequest",
    "EngineStatus",
    "Form",
    "LogProb",
    "Message",
    "RestartReport",
    "Sampling",
]

INTERACTIVE = 0
RAILS = 1
BATCH = 2
EVALUATION = 10


class ChatMessage(Protocol):
    """One turn of a chat, whoever defines it."""

    @property
    def role(self) -> str:
        """One of "system", "user", "assistant"."""
        ...

    @property
    def content(self) -> str:
        """The text."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Form:
    """The form that an answer must have; one of them is set.

    Attributes:
        json_schema: A JSON Schema, as JSON.
        regex: A regular expression that the whole answer matches.
        choices: The texts that may be answered.
    """

    json_schema: str = ""
    regex: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_tokens: Most new tokens; cut to what the context has left.
        temperature: 0 is greedy.
        top_p: Nucleus mass.
        top_k: 0 is all.
        seed: Seed of this request; None takes the engine's stream.
        stop: Texts that end the answer; not part of it.
        repetition_penalty: 1 is none.
        ignore_eos: Go on to max_tokens (benchmarks).
        form: The form that the answer must have; None: any.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    form: Form | None = None


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """One generation.

    Attributes:
        request_id: For logs and errors.
        messages: The chat to render; or give prompt_token_ids.
        prompt_token_ids: A rendered prompt; wins over messages.
        sampling: How tokens are chosen.
        digest: The adapter; "" is the base model alone.
        priority: INTERACTIVE, RAILS, BATCH or EVALUATION; lower goes first.
        deadline: `time.monotonic()` at which the request is aborted.
    """

    request_id: str
    messages: Sequence[ChatMessage] = ()
    prompt_token_ids: Sequence[int] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    digest: str = ""
    priority: int = INTERACTIVE
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one step added to an answer.

    Attributes:
        text: New text; may be empty while a character or a stop text is incomplete.
        token_ids: Number of new tokens.
        finish_reason: "stop" or "length" on the last chunk, else None.
        prompt_tokens: Length of the prompt.
    """

    text: str
    token_ids: int
    finish_reason: str | None
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class LogProb:
    """Log-probability of a continuation.

    Attributes:
        log_prob: Sum over its tokens, nats.
        tokens: Number of its tokens.
        worst_gap: Largest distance, over its tokens, between the likeliest token and the given one, nats. About 0 for a
            text that this adapter wrote greedily.
    """

    log_prob: float
    tokens: int
    worst_gap: float


@dataclass(frozen=True, slots=True)
class EngineStatus:
    """What the engine is doing.

    Attributes:
        running: Requests handed to the core and not done.
        waiting: Requests waiting for an adapter slot, or for their turn to be scored.
        ready: The core is up and healthy.
        loaded: Digests of the adapters that can be asked for.
    """

    running: int
    waiting: int
    ready: bool
    loaded: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RestartReport:
    """What came back after a restart of the core.

    Attributes:
        seconds: From the call until ready.
        restored: Digests loaded, and proven again where a proof was known.
        refused: Digest to the reason why it is not loaded any more.
    """

    seconds: float
    restored: tuple[str, ...]
    refused: dict[str, str]


class Engine(Protocol):
    """Base model plus adapters. All methods belong to one event loop; every error is an `EngineError`."""

    async def start(self) -> None:
        """Bring the core up. Raises EngineStartFailed."""
        ...

    async def stop(self) -> None:
        """Take the core down; requests in flight end with EngineUnavailable. Idempotent."""
        ...

    async def restart(self) -> RestartReport:
        """Bring up a fresh core with the adapters of the old one, re-proven."""
        ...

    def generate(self, request: EngineRequest) -> AsyncGenerator[Chunk, None]:
        """Stream one answer. Closing or cancelling the iterator aborts the request in the core.

        Raises (on iteration):
            AdapterNotLoaded, PromptTooLong, RequestInvalid, DeadlineExceeded, EngineUnavailable, EngineRequestFailed.
        """
        ...

    async def score(
        self, items: Sequence[tuple[str, str]], digest: str, *, priority: int = EVALUATION
    ) -> list[LogProb]:
        """Log-probabilities of continuations given contexts, in order; see `scoring.py` for the token boundary."""
        ...

    async def load(self, digest: str, folder: Path) -> None:
        """Make an adapter available; idempotent. Raises AdapterLoadFailed, AdapterSlotsExhausted."""
        ...

    async def unload(self, digest: str) -> None:
        """Drain an adapter and free it. Raises AdapterNotLoaded."""
        ...

    async def prove(self, digest: str, expected: Proof | None = None) -> Proof:
        """Measure that an adapter has an effect, and the recorded one. See `proof.py`."""
        ...

    def holds(self, digest: str) -> bool:
        """Whether an adapter can be asked for: one look-up, for the request path."""
        ...

    def loaded(self) -> list[str]:
        """Digests that can be asked for."""
        ...

    async def check_health(self) -> None:
        """Return when the core is up. Raises EngineUnavailable."""
        ...

    def render(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Token ids of a chat, ready for the assistant's answer."""
        ...

    def status(self) -> EngineStatus:
        """What the engine is doing now."""
        ...
