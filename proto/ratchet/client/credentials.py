"""How a client proves who it is and whom it talks to: an API key or token, and TLS."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

__all__ = ["Tls", "async_channel", "sync_channel"]


@dataclass(frozen=True)
class Tls:
    """TLS to the server; PEM files.

    Attributes:
        ca: The authorities to believe; None: those of the system.
        certificate: The client's own certificate, with its chain; None: it has none.
        key: The key of that certificate.
        server_name: The name in the server's certificate, when it is not that of the address.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Tls | None:
        """From RATCHET_TLS_CA, _CERTIFICATE, _KEY and _SERVER_NAME, or RATCHET_TLS_ON=1 for the system's authorities
        alone; None when none of them is set."""
        names = ("CA", "CERTIFICATE", "KEY", "SERVER_NAME", "ON")
        given = {name: environment.get(f"RATCHET_TLS_{name}", "") for name in names}
        if not any(given.values()):
            return None
        ca, certificate, key = (Path(given[n]) if given[n] else None for n in names[:3])
        return cls(ca, certificate, key, given["SERVER_NAME"])

    def credentials(self) -> grpc.ChannelCredentials:
        """As gRPC takes them. Raises OSError when a file cannot be read."""
        ca, certificate, key = (path.read_bytes() if path else None for path in (self.ca, self.certificate, self.key))
        return grpc.ssl_channel_credentials(ca, key, certificate)

    def options(self) -> tuple[tuple[str, str], ...]:
        """Channel options."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def sync_channel(address: str, options: Any, api_key: str | None, tls: Tls | None) -> grpc.Channel:
    """A blocking channel; what is None comes from the environment. Raises OSError for a file that cannot be read."""
    key, tls = _resolved(api_key, tls)
    if tls is None:
        channel = grpc.insecure_channel(address, options=options)
    else:
        channel = grpc.secure_channel(address, tls.credentials(), options=(*options, *tls.options()))
    return grpc.intercept_channel(channel, _Bearer(key)) if key else channel


def async_channel(address: str, options: Any, api_key: str | None, tls: Tls | None) -> grpc.aio.Channel:
    """The same for asyncio."""
    key, tls = _resolved(api_key, tls)
    given = [kind(key) for kind in _ASYNC] if key else None
    if tls is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=given)
    credentials, named = tls.credentials(), (*options, *tls.options())
    return grpc.aio.secure_channel(address, credentials, options=named, interceptors=given)


def _resolved(api_key: str | None, tls: Tls | None) -> tuple[str, Tls | None]:
    key = os.environ.get("RATCHET_API_KEY", "") if api_key is None else api_key
    return key, Tls.from_environment() if tls is None else tls


class _Adds:
    def __init__(self, key: str) -> None:
        self._entry = ("authorization", f"Bearer {key}")

    def _with_key(self, details: Any, made: Callable[..., Any]) -> Any:
        fields = {"method": details.method, "timeout": details.timeout, "credentials": details.credentials}
        metadata = (*(details.metadata or ()), self._entry)
        return made(metadata=metadata, wait_for_ready=details.wait_for_ready, **fields)


@dataclass
class _Details(grpc.ClientCallDetails):
    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None = None


class _Bearer(
    _Adds,
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
):
    """Adds the key to every call of a blocking channel: gRPC's own call credentials refuse channels without TLS."""

    def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with_key(details, _Details), request)

    intercept_unary_unary: Any = _call
    intercept_unary_stream: Any = _call
    intercept_stream_unary: Any = _call


class _AsyncAdds(_Adds):
    async def _call(self, continuation: Any, details: Any, request: Any) -> Any:
        def made(metadata: Any, **fields: Any) -> grpc.aio.ClientCallDetails:
            return grpc.aio.ClientCallDetails(metadata=grpc.aio.Metadata(*metadata), **fields)

        return await continuation(self._with_key(details, made), request)


class _AsyncUnary(_AsyncAdds, grpc.aio.UnaryUnaryClientInterceptor):
    intercept_unary_unary: Any = _AsyncAdds._call


class _AsyncServerStream(_AsyncAdds, grpc.aio.UnaryStreamClientInterceptor):
    intercept_unary_stream: Any = _AsyncAdds._call


class _AsyncClientStream(_AsyncAdds, grpc.aio.StreamUnaryClientInterceptor):
    intercept_stream_unary: Any = _AsyncAdds._call


# One class for all would be taken for the first kind only.
_ASYNC = (_AsyncUnary, _AsyncServerStream, _AsyncClientStream)
