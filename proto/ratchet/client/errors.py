"""What a failed call raises. Knows the wire statuses; must not know how the server comes to them."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
from google.rpc import error_details_pb2, status_pb2


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that broke a rule, by its path in the message."""

    field: str
    description: str


class RatchetError(Exception):
    """A call failed.

    Attributes:
        code: the gRPC status code.
        reason: stable upper-case identifier of the cause (`google.rpc.ErrorInfo.reason`), "" if the server gave none.
        detail: what was wrong and what to do.
        metadata: further facts, by name.
        violations: the fields that broke a rule.
        retry_after: seconds after which the server says a retry makes sense; None if it does not.
    """

    retryable = False

    def __init__(
        self,
        code: grpc.StatusCode,
        detail: str,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.reason = reason
        self.metadata = metadata or {}
        self.violations = violations
        self.retry_after = retry_after


class InvalidRequest(RatchetError):
    """The request broke a rule; `violations` says which fields."""


class NotFound(RatchetError):
    """No adapter, flag, run or report has that name."""


class Refused(RatchetError):
    """The server's state forbids it: no PASS report, another champion, an adapter that proved nothing."""


class Unauthenticated(RatchetError):
    """The server asks for an API key or a token, or does not know this one."""


class PermissionDenied(RatchetError):
    """The caller is known and may not do this."""


class DeadlineExceeded(RatchetError):
    """The timeout passed; the server has dropped the request."""


class Overloaded(RatchetError):
    """The queue is full, or a limit of the tenant is reached; try again after `retry_after` seconds."""

    retryable = True


class Unavailable(RatchetError):
    """The server or its engine is not there now; try again."""

    retryable = True


_BY_CODE: dict[grpc.StatusCode, type[RatchetError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.ABORTED: Refused,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
}


def from_rpc_error(error: grpc.RpcError) -> RatchetError:
    """Turns a gRPC error into the typed one, with the details the server sent along."""
    code, detail = error.code(), error.details() or ""
    reason, metadata, violations = "", {}, []
    retry_after: float | None = None
    for entry in error.trailing_metadata() or ():
        if entry[0] != "grpc-status-details-bin":  # type: ignore[index]  # the stubs do not know it is a pair
            continue
        status = status_pb2.Status.FromString(entry[1])  # type: ignore[index]
        for packed in status.details:
            info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
            retry = error_details_pb2.RetryInfo()
            if packed.Unpack(info):
                reason, metadata = info.reason, dict(info.metadata)
            elif packed.Unpack(bad):
                violations += [FieldViolation(v.field, v.description) for v in bad.field_violations]
            elif packed.Unpack(retry):
                retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return _BY_CODE.get(code, RatchetError)(code, detail, reason, metadata, tuple(violations), retry_after)
