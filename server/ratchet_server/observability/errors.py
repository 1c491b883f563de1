"""The errors of observability, under one root.

They must not carry user text: a message names settings, addresses and metric names only.
"""

from __future__ import annotations

__all__ = ["ExporterUnavailable", "ObservabilityError"]


class ObservabilityError(Exception):
    """Root of everything this package raises."""


class ExporterUnavailable(ObservabilityError):
    """The metrics port could not be opened.

    Attributes:
        host: The address asked for.
        port: The port asked for; 0 means any free one.
    """

    def __init__(self, host: str, port: int, cause: OSError) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"The metrics exporter cannot listen on {host}:{port}: {cause.strerror or cause}. "
            "Choose another RATCHET_OBSERVABILITY_METRICS_PORT (0 takes a free one) or an address of this machine."
        )
