"""Settings section of the gRPC server."""

from __future__ import annotations

from pydantic import BaseModel, Field

from ratchet_server.rpc.tls import TlsSettings


class RpcSettings(BaseModel, extra="forbid"):
    """Where the server listens."""

    host: str = "127.0.0.1"
    """Anything but loopback needs `tls` and `access.required`, or `insecure_beyond_loopback`."""

    port: int = Field(50051, ge=0, le=65535)
    """0 takes a free one."""

    insecure_beyond_loopback: bool = False
    """Listen there all the same: where a proxy or a mesh encrypts and authenticates."""

    tls: TlsSettings = TlsSettings()
    max_concurrent_rpcs: int = Field(512, ge=1)
    """Calls over this are turned away with RESOURCE_EXHAUSTED at once."""

    grace_seconds: float = Field(10, ge=0)
    """How long running calls may take to finish when the server stops."""
