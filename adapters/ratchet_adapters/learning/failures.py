"""From whatever a step met to the one error the run records. Must not decide whether to try again.

Errors of the other packages already say what to do; they keep their text.
"""

from __future__ import annotations

import grpc

from ratchet.client import RatchetError
from ratchet.client.errors import from_rpc_error
from ratchet_adapters.artifacts.errors import ArtifactStoreUnavailable
from ratchet_adapters.evals.errors import TargetUnavailable
from ratchet_adapters.learning.errors import LearningError, ServerUnavailable, StepFailed, StoreUnavailable
from ratchet_adapters.registry.errors import RegistryFull, RegistryUnavailable
from ratchet_adapters.training.constitution.errors import CriticUnavailable

__all__ = ["typed_failure"]


def typed_failure(step: str, error: Exception, *, server: str) -> LearningError:
    """Return the error to record.

    Args:
        step: Name of the step.
        error: What it raised.
        server: Address of the serving engine.

    Returns:
        One that is `retryable` when another attempt may help, `StepFailed` otherwise.
    """
    if isinstance(error, LearningError):
        return error
    if isinstance(error, grpc.RpcError):
        error = from_rpc_error(error)
    if isinstance(error, RatchetError):
        if error.retryable:
            return ServerUnavailable(server, error.detail or error.code.name)
        return StepFailed(step, error.reason or error.code.name, error.detail)
    if isinstance(error, TargetUnavailable):
        return ServerUnavailable(error.address, error.why)
    if isinstance(error, CriticUnavailable):
        return ServerUnavailable("the critic", str(error))
    if isinstance(error, RegistryUnavailable | ArtifactStoreUnavailable) and not isinstance(error, RegistryFull):
        return StoreUnavailable(str(error))
    return StepFailed(step, type(error).__name__, str(error) or "no reason was given; the learner's log has the trace")
