"""The one table from domain errors to gRPC statuses, and the rich status that carries the cause.

Knows every package's error classes by name only, so that importing it pulls in nothing heavy. An error that is
not in the table becomes INTERNAL with an id that finds it in the log; its text never reaches the wire.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

log = logging.getLogger(__name__)

DOMAIN = "ratchet"
_INVALID, _NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
_REFUSED, _UNAVAILABLE = grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE
_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

# Class name -> status. A subclass inherits the row of its nearest listed ancestor.
STATUS: dict[str, grpc.StatusCode] = {
    # requests
    "FieldsInvalid": _INVALID,
    "RequestInvalid": _INVALID,
    "InvalidInput": _INVALID,
    "PromptTooLong": _INVALID,
    "UnknownMethod": _INVALID,
    "RunOptionsInvalid": _INVALID,
    "UnknownProfile": _NOT_FOUND,
    "IdempotencyConflict": grpc.StatusCode.ALREADY_EXISTS,
    # adapters
    "AdapterNotFound": _NOT_FOUND,
    "AdapterAmbiguous": _INVALID,
    "AdapterFileError": _INVALID,
    "AdapterLoadFailed": _REFUSED,
    "AdapterNotFolded": _REFUSED,
    "AdapterHasNoEffect": _REFUSED,
    "AdapterFingerprintMismatch": _REFUSED,
    "AdapterInUse": _REFUSED,
    "AdapterNotLoaded": _UNAVAILABLE,
    "AdapterUnavailable": _UNAVAILABLE,
    "AdapterSlotsExhausted": _EXHAUSTED,
    # signatures
    "SignatureMissing": _REFUSED,
    "SignatureInvalid": _REFUSED,
    "SignerUntrusted": _REFUSED,
    "ProvenanceError": _REFUSED,
    # artifacts
    "ArtifactMissing": _NOT_FOUND,
    "ArtifactCorrupt": grpc.StatusCode.DATA_LOSS,
    "ArtifactRefused": _INVALID,
    "ArtifactStoreUnavailable": _UNAVAILABLE,
    "ArtifactStoreFull": _EXHAUSTED,
    # registry
    "GateRefused": _REFUSED,
    "ChampionChanged": grpc.StatusCode.ABORTED,
    "NothingToRollBack": _REFUSED,
    "StageForbids": _REFUSED,
    "RolloutActive": _REFUSED,
    "RolloutNotFound": _NOT_FOUND,
    "RolledBackOnEvidence": _REFUSED,
    "NotApproved": _REFUSED,
    "SelfApproval": grpc.StatusCode.PERMISSION_DENIED,
    "PromotionFrozen": _REFUSED,
    "RunNotFound": _NOT_FOUND,
    "RunEnded": _REFUSED,
    "ReportNotFound": _NOT_FOUND,
    "ReportConflict": _REFUSED,
    "DatasetNotFound": _NOT_FOUND,
    "RegistryUnavailable": _UNAVAILABLE,
    "RegistryFull": _EXHAUSTED,
    "RegistryTooNew": _REFUSED,
    # flags
    "FlagNotFound": _NOT_FOUND,
    "ExchangeNotFound": _NOT_FOUND,
    "AlreadyReviewed": _REFUSED,
    # engine, rails, scorers
    "ServerStopping": _UNAVAILABLE,
    "EngineUnavailable": _UNAVAILABLE,
    "EngineRequestFailed": _UNAVAILABLE,
    "DeadlineExceeded": grpc.StatusCode.DEADLINE_EXCEEDED,
    "RailFailed": _UNAVAILABLE,
    "ScorerOverloaded": _EXHAUSTED,
    "ScorerStopped": _UNAVAILABLE,
    "ScorerError": _UNAVAILABLE,
}
_RETRYABLE = {_UNAVAILABLE, _EXHAUSTED, grpc.StatusCode.ABORTED}


class FieldsInvalid(Exception):
    """A request breaks a rule that protovalidate cannot state.

    Attributes:
        violations: (path of the field, what is wrong with it) pairs.
    """

    def __init__(self, violations: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {what}" if field else what for field, what in violations))
        self.violations = tuple(violations)


@dataclass(frozen=True)
class WireError:
    """A gRPC status with its `google.rpc.Status`."""

    code: grpc.StatusCode
    detail: str
    status: status_pb2.Status

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """The metadata entry from which clients read the details."""
        return (("grpc-status-details-bin", self.status.SerializeToString()),)


def _code_of(error: BaseException) -> grpc.StatusCode | None:
    for kind in type(error).__mro__:
        if kind.__name__ in STATUS:
            return STATUS[kind.__name__]
    return grpc.StatusCode.DEADLINE_EXCEEDED if isinstance(error, TimeoutError) else None


def status_name(error: BaseException) -> str:
    """The name of the gRPC status that an exception ends its call with, e.g. UNAVAILABLE."""
    # Of a cancelled call the client may see nothing; gRPC itself answers CANCELLED.
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return grpc.StatusCode.CANCELLED.name
    return (_code_of(error) or grpc.StatusCode.INTERNAL).name


def _reason(name: str) -> str:
    """`AdapterNotFound` -> `ADAPTER_NOT_FOUND`."""
    return "".join(f"_{c}" if c.isupper() and i else c for i, c in enumerate(name)).upper()


def _facts(error: BaseException) -> dict[str, str]:
    plain = {k: v for k, v in vars(error).items() if not k.startswith("_")}
    return {k: str(v) for k, v in plain.items() if isinstance(v, str | int | float | bool)}


def wire_error(error: BaseException) -> WireError:
    """The status of any exception; unknown ones are logged and become INTERNAL with an id."""
    code = _code_of(error)
    if code is None:
        ident = uuid.uuid4().hex[:12]
        log.error("internal error %s", ident, exc_info=error)
        code, detail = grpc.StatusCode.INTERNAL, f"internal error {ident}; the server's log has the cause"
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"error_id": ident})
    else:
        detail = str(error) or "the deadline passed before the answer was complete"
        info = error_details_pb2.ErrorInfo(reason=_reason(type(error).__name__), domain=DOMAIN, metadata=_facts(error))
    details: list[any_pb2.Any] = [_pack(info)]
    if isinstance(error, FieldsInvalid):
        bad = error_details_pb2.BadRequest()
        for field, what in error.violations:
            bad.field_violations.add(field=field, description=what)
        details.append(_pack(bad))
    if code in _RETRYABLE:
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1))))
    status = status_pb2.Status(code=code_pb2.Code.Value(code.name), message=detail, details=details)
    return WireError(code, detail, status)


def _pack(
    message: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
