"""Settings section of the HTTP facade."""

from __future__ import annotations

from pydantic import BaseModel, Field


class HttpSettings(BaseModel, extra="forbid"):
    """Where `/v1/chat/completions` and `/v1/models` are served. Host, TLS files and grace time are those of `rpc`."""

    port: int | None = Field(None, ge=0, le=65535)
    """None: no HTTP; 0 takes a free port."""

    timeout_seconds: float = Field(600, gt=0)
    """The deadline of every request: HTTP carries none."""

    max_body_bytes: int = Field(4 << 20, ge=1024)
    """A larger body is refused unread."""

    max_connections: int = Field(512, ge=1)
    """Connections over this are answered 503 at once."""
