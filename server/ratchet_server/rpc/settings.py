"""Settings section of the gRPC server."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RpcSettings(BaseModel, extra="forbid"):
    """Where the server listens."""

    host: str = "127.0.0.1"
    """There is no authentication yet: anything but loopback needs `insecure_beyond_loopback`."""

    port: int = Field(50051, ge=0, le=65535)
    """0 takes a free one."""

    insecure_beyond_loopback: bool = False
    max_concurrent_rpcs: int = Field(512, ge=1)
    """Calls over this are turned away with RESOURCE_EXHAUSTED at once."""

    grace_seconds: float = Field(10, ge=0)
    """How long running calls may take to finish when the server stops."""
