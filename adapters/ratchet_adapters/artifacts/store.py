"""The port of an artifact store: content in, digest out; digest in, verified local content out.

It must not know any particular file system. Every implementation passes the same contract suite.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

__all__ = ["ArtifactStore"]


@runtime_checkable
class ArtifactStore(Protocol):
    """Content-addressed, atomic, idempotent, never overwritten. Safe from several threads and processes."""

    @property
    def url(self) -> str:
        """Where it is, without credentials."""

    def put_folder(self, folder: Path) -> str:
        """Store a folder.

        Args:
            folder: Regular files only; links, devices and empty folders are refused.

        Returns:
            The digest of its manifest.

        Raises:
            ArtifactRefused: It cannot be an artifact.
            ArtifactStoreFull: No space is left; nothing of it is visible.
            ArtifactStoreUnavailable: The store cannot be written.
        """
        ...

    def fetch(self, digest: str) -> Path:
        """Return a local, read-only folder that was just verified against its digest.

        Raises:
            ArtifactMissing: The store has no such folder.
            ArtifactCorrupt: What it has is not what the digest says.
        """
        ...

    def put_file(self, path: Path) -> str:
        """Store one file and return the digest of its bytes. Errors as `put_folder`."""
        ...

    def fetch_file(self, digest: str) -> Path:
        """Return a local, read-only file that was just verified against its digest. Errors as `fetch`."""
        ...

    def put_json(self, value: Any) -> str:
        """Store the canonical JSON of a value and return the digest of its bytes.

        Raises:
            InvalidInput: The value has no JSON form (NaN, cycles, other types).
        """
        ...

    def fetch_json(self, digest: str) -> Any:
        """Return the value stored by `put_json`. Errors as `fetch`."""
        ...

    def exists(self, digest: str) -> bool:
        """Say whether a folder or file is stored whole under a digest, without verifying it."""
        ...
