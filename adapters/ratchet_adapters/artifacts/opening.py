"""From a URL to the store that serves it.

It must not know how a store works inside.
"""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.artifacts.errors import ArtifactStoreUnavailable
from ratchet_adapters.artifacts.local import LocalStore
from ratchet_adapters.artifacts.remote import RemoteStore
from ratchet_adapters.artifacts.store import ArtifactStore

__all__ = ["open_store"]


def open_store(url: str, *, cache: Path | None = None) -> ArtifactStore:
    """Open the artifact store at a URL, creating it when it is not there.

    Args:
        url: A local path, or any fsspec URL (`file://`, `s3://`, `gs://`, `memory://`, ...).
        cache: Folder for local copies; needed for everything that is not local.

    Raises:
        ArtifactStoreUnavailable: The URL is wrong, its driver is not installed, or the store cannot be written.
    """
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    try:
        filesystem, path = url_to_fs(url)
    except (ValueError, ImportError, OSError) as error:
        raise ArtifactStoreUnavailable(url, str(error)) from error
    if isinstance(filesystem, LocalFileSystem):
        return LocalStore(Path(path))
    if cache is None:
        raise ArtifactStoreUnavailable(url, "a remote store needs a local cache folder and none was given")
    return RemoteStore(filesystem, path, LocalStore(cache))
