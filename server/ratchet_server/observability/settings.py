"""Settings section of metrics and logs.

They must not hold anything about models, rails or the database.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["LogFormat", "LogLevel", "ObservabilitySettings"]

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
LogFormat = Literal["auto", "rich", "json"]


class ObservabilitySettings(BaseModel):
    """Where metrics are served, how many label values they may take, and how logs are written.

    Attributes:
        metrics_host: Address of the exporter. Loopback unless the operator opens it on purpose.
        metrics_port: Port of the exporter; 0 takes a free one.
        max_adapters: Adapters with series of their own; older ones share the label "other". Base is not counted.
        max_profiles: Rail profiles with series of their own; later ones share the label "other".
        log_level: Least severe level written for Ratchet's own loggers.
        log_format: "rich" for people, "json" for machines, "auto" to choose by whether the stream is a terminal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(default=9464, ge=0, le=65535)
    max_adapters: int = Field(default=16, ge=2, le=512)
    max_profiles: int = Field(default=16, ge=1, le=256)
    log_level: LogLevel = "INFO"
    log_format: LogFormat = "auto"
