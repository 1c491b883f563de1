"""What can go wrong in the engine, as types that say what to do.

It must not know status codes: translating an error for the wire is the rpc package's job.
"""

from __future__ import annotations

__all__ = [
    "AdapterFingerprintMismatch",
    "AdapterHasNoEffect",
    "AdapterLoadFailed",
    "AdapterNotFolded",
    "AdapterNotLoaded",
    "AdapterSlotsExhausted",
    "DeadlineExceeded",
    "EngineError",
    "EngineRequestFailed",
    "EngineSettingsInvalid",
    "EngineStartFailed",
    "EngineUnavailable",
    "PromptTooLong",
    "RequestInvalid",
]


class EngineError(Exception):
    """Root of everything the engine raises.

    Attributes:
        retryable: The same call may succeed later without any change by the caller.
    """

    retryable: bool = False


class EngineSettingsInvalid(EngineError):
    """A setting has a value the engine cannot run with."""

    def __init__(self, setting: str, problem: str) -> None:
        self.setting = setting
        self.problem = problem
        super().__init__(f"engine setting {setting}: {problem}")


class EngineStartFailed(EngineError):
    """The engine core did not come up, or came up without something it needs."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the engine did not start: {problem}")


class EngineUnavailable(EngineError):
    """There is no running engine core: not started, stopped, restarting, or it died."""

    retryable = True

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"the engine is unavailable: {problem}")


class EngineRequestFailed(EngineError):
    """vLLM failed on one request for a reason of its own; the core lives on."""

    def __init__(self, request_id: str, problem: str) -> None:
        self.request_id = request_id
        self.problem = problem
        super().__init__(f"the engine failed on request {request_id}: {problem}")


class RequestInvalid(EngineError):
    """The request cannot be served as it is."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(f"invalid request: {problem}")


class PromptTooLong(EngineError):
    """The prompt leaves no room for a single new token."""

    def __init__(self, prompt_tokens: int, limit: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.limit = limit
        super().__init__(
            f"the prompt has {prompt_tokens} tokens, but this engine takes at most {limit - 1} "
            f"(context of {limit}, at least one new token): shorten it or raise max_model_len"
        )


class DeadlineExceeded(EngineError):
    """The request's deadline passed before the engine was done; it was aborted."""

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id} was aborted at its deadline: allow more time or ask for fewer tokens")


class AdapterNotLoaded(EngineError):
    """A request named an adapter that is not loaded; it never reached vLLM."""

    def __init__(self, digest: str) -> None:
        self.digest = digest
        super().__init__(f"adapter {digest} is not loaded in this engine: load and prove it first")


class AdapterLoadFailed(EngineError):
    """An adapter folder could not be loaded; the engine is unharmed."""

    def __init__(self, digest: str, problem: str) -> None:
        self.digest = digest
        self.problem = problem
        super().__init__(f"adapter {digest} could not be loaded: {problem}")


class AdapterNotFolded(EngineError):
    """An adapter could not be folded; it is served as a LoRA all the same."""

    def __init__(self, digest: str, problem: str) -> None:
        self.digest = digest
        self.problem = problem
        super().__init__(f"adapter {digest} is served as a LoRA, not folded: {problem}")


class AdapterSlotsExhausted(EngineError):
    """As many adapters are loaded as the engine holds."""

    retryable = True

    def __init__(self, digest: str, limit: int) -> None:
        self.digest = digest
        self.limit = limit
        super().__init__(
            f"adapter {digest} was not loaded: {limit} adapters are loaded, the most this engine holds; "
            "unload one that no alias points at, or raise max_loaded"
        )


class AdapterHasNoEffect(EngineError):
    """A loaded adapter changes nothing: its module names do not match, or its weights are zero."""

    def __init__(self, digest: str, max_delta: float, threshold: float) -> None:
        self.digest = digest
        self.max_delta = max_delta
        self.threshold = threshold
        super().__init__(
            f"adapter {digest} does nothing: the largest log-probability change on the proof prompts is "
            f"{max_delta:.4f} nats, below the threshold of {threshold:.4f}; check that its module names are those of "
            "this base model and that it was trained"
        )


class AdapterFingerprintMismatch(EngineError):
    """A loaded adapter does not behave as the version its digest names."""

    def __init__(self, digest: str, distance: float, tolerance: float) -> None:
        self.digest = digest
        self.distance = distance
        self.tolerance = tolerance
        super().__init__(
            f"adapter {digest} is not the one its digest names: its fingerprint is {distance:.4f} nats from the "
            f"recorded one (tolerance {tolerance:.4f}); fetch the artifact again"
        )
