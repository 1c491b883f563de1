"""Typed errors of the use of a Ray cluster.

They must not know what was to be computed.
"""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = ["ClusterError", "ClusterUnavailable"]


class ClusterError(AdaptersError):
    """Base of all errors of this subpackage."""


class ClusterUnavailable(ClusterError):
    """No Ray cluster could be used.

    Attributes:
        address: Where it was looked for; empty for one of our own.
    """

    def __init__(self, address: str, problem: str) -> None:
        where = f"The Ray cluster at {address!r}" if address else "A Ray cluster of this machine"
        super().__init__(
            f"{where} can not be used: {problem}. Install ratchet-llm[ray], check the address, or use the "
            "backend 'local'."
        )
        self.address = address
