"""Errors as OpenAI clients read them. The meaning comes from the table of gRPC statuses; only the form is of HTTP."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import grpc
from google.rpc import error_details_pb2
from pydantic import ValidationError

from ratchet_server.rpc.errors import WireError, wire_error

__all__ = ["HttpError", "http_error", "refusal"]

_Code = grpc.StatusCode
# As google.rpc.Code maps them; OpenAI clients try 408, 409, 429 and 5xx again by themselves.
_STATUS = {
    _Code.INVALID_ARGUMENT: (400, "invalid_request_error"),
    _Code.FAILED_PRECONDITION: (400, "invalid_request_error"),
    _Code.UNAUTHENTICATED: (401, "authentication_error"),
    _Code.PERMISSION_DENIED: (403, "permission_error"),
    _Code.NOT_FOUND: (404, "not_found_error"),
    _Code.ALREADY_EXISTS: (409, "conflict_error"),
    _Code.ABORTED: (409, "conflict_error"),
    _Code.RESOURCE_EXHAUSTED: (429, "rate_limit_error"),
    _Code.UNAVAILABLE: (503, "service_unavailable_error"),
    _Code.DEADLINE_EXCEEDED: (504, "timeout_error"),
}
_CODES = {
    "ADAPTER_NOT_FOUND": ("model_not_found", "model"),
    "ADAPTER_AMBIGUOUS": ("model_not_found", "model"),
    "UNKNOWN_PROFILE": ("unknown_profile", "rail_profile"),
    "UNAUTHENTICATED": ("invalid_api_key", None),
    "LIMIT_EXCEEDED": ("rate_limit_exceeded", None),
    "PROMPT_TOO_LONG": ("context_length_exceeded", "messages"),
}


@dataclass(frozen=True)
class HttpError:
    """A status, the body `{"error": ...}` and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]


def http_error(error: Exception) -> HttpError:
    """The answer to a request that failed with any exception; unknown ones are logged and become 500 with an id."""
    if isinstance(error, ValidationError):
        return _invalid(error)
    wire = wire_error(error)
    status, kind = _STATUS.get(wire.code, (500, "server_error"))
    info, fields, wait = _details(wire)
    code, param = _CODES.get(info.reason, (info.reason.lower(), None))
    if fields.field_violations:
        code, param = "invalid_value", _param(fields.field_violations[0].field)
    headers = {}
    if wait is not None:
        headers = {"retry-after": str(max(1, math.ceil(wait))), "retry-after-ms": str(int(wait * 1e3))}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return HttpError(status, _body(wire.detail, kind, param, code), headers)


def refusal(status: int, message: str, code: str, param: str | None = None) -> HttpError:
    """A request that never became a message of the contract."""
    return HttpError(status, _body(message, "invalid_request_error", param, code), {})


def _invalid(error: ValidationError) -> HttpError:
    first = error.errors(include_url=False)[0]
    param = ".".join(str(part) for part in first["loc"]) or None
    what = {"extra_forbidden": "this server does not support it", "missing": "it is missing"}.get(
        first["type"], first["msg"].removeprefix("Value error, ")
    )
    message = f"{param}: {what}" if param else what
    code = "unsupported_parameter" if first["type"] == "extra_forbidden" else "invalid_value"
    return refusal(400, message, code, param)


def _param(field: str) -> str:
    """`sampling.temperature` -> `temperature`, as it is called here."""
    for prefix in ("request.", "conversation.", "sampling."):
        field = field.removeprefix(prefix)
    return {"adapter": "model", "principal": "user"}.get(field, field)


def _details(
    wire: WireError,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, float | None]:
    info, fields, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    wait: float | None = None
    for packed in wire.status.details:
        if packed.Unpack(retry):
            wait = retry.retry_delay.ToTimedelta().total_seconds()
        elif not packed.Unpack(info):
            packed.Unpack(fields)
    return info, fields, wait


def _body(message: str, kind: str, param: str | None, code: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
