"""The store on any fsspec file system, read through a verified local copy.

It must not know any particular provider. Files go up under the digest of their folder and the manifest goes up last:
readers start from the manifest, so an interrupted upload is invisible.
"""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts.digest import hex_of
from ratchet_adapters.artifacts.errors import ArtifactCorrupt, ArtifactMissing
from ratchet_adapters.artifacts.local import LocalStore, storage_errors
from ratchet_adapters.artifacts.manifest import Manifest, hash_file

__all__ = ["RemoteStore"]


class RemoteStore:
    """An `ArtifactStore` on an fsspec file system."""

    def __init__(self, filesystem: Any, root: str, cache: LocalStore) -> None:
        """Open the store.

        Args:
            filesystem: An fsspec file system.
            root: Path in it.
            cache: Local store that keeps the copies.
        """
        self._fs = filesystem
        self._root = root.rstrip("/")
        self._cache = cache
        protocol = filesystem.protocol if isinstance(filesystem.protocol, str) else filesystem.protocol[0]
        self._url = f"{protocol}://{self._root}"

    @property
    def url(self) -> str:
        """The store's URL without credentials."""
        return self._url

    def put_folder(self, folder: Path) -> str:
        """See `ArtifactStore.put_folder`."""
        digest = self._cache.put_folder(folder)
        if self.exists(digest):
            return digest
        local = self._cache.fetch(digest)
        key = hex_of(digest)
        manifest = Manifest.read(local)
        with storage_errors(self.url):
            uploaded: list[str] = []
            try:
                for entry in manifest.files:
                    target = self._path("folders", key, entry.name)
                    uploaded.append(target)
                    self._upload((local / entry.name), target)
                self._write(manifest.to_bytes(), self._path("objects", key))
            except OSError:
                self._discard([*uploaded, self._path("objects", key)], key)
                raise
        return digest

    def fetch(self, digest: str) -> Path:
        """See `ArtifactStore.fetch`."""
        if self._cache.exists(digest):
            try:
                return self._cache.fetch(digest)
            except ArtifactMissing:
                pass  # The cache holds the manifest as a file only.
            except ArtifactCorrupt:
                self._cache.evict(digest)  # Only a copy: its home is asked again, and verified again.
        key = hex_of(digest)
        data = self.fetch_file(digest).read_bytes()
        try:
            manifest = Manifest.from_bytes(data)
        except (ValueError, AttributeError) as error:
            raise ArtifactMissing(digest, self.url) from error
        with self._cache.staging() as stage:
            for entry in manifest.files:
                self._download(digest, self._path("folders", key, entry.name), stage / entry.name)
            if (found := Manifest.read(stage)) != manifest:
                wrong = sorted({f.name for f in set(found.files) ^ set(manifest.files)})
                raise ArtifactCorrupt(digest, self.url, f"{', '.join(wrong)} changed after it was stored")
            self._cache.put_folder(stage)
        return self._cache.fetch(digest)

    def put_file(self, path: Path) -> str:
        """See `ArtifactStore.put_file`."""
        return self._push(self._cache.put_file(path))

    def fetch_file(self, digest: str) -> Path:
        """See `ArtifactStore.fetch_file`."""
        if self._cache.exists(digest):
            try:
                return self._cache.fetch_file(digest)
            except ArtifactCorrupt:
                self._cache.evict(digest)
        if not self.exists(digest):
            raise ArtifactMissing(digest, self.url)
        with self._cache.staging() as stage:
            copy = stage / "file"
            self._download(digest, self._path("objects", hex_of(digest)), copy)
            if hash_file(copy)[0] != hex_of(digest):
                raise ArtifactCorrupt(digest, self.url, "its bytes changed after it was stored")
            self._cache.put_file(copy)
        return self._cache.fetch_file(digest)

    def put_json(self, value: Any) -> str:
        """See `ArtifactStore.put_json`."""
        return self._push(self._cache.put_json(value))

    def fetch_json(self, digest: str) -> Any:
        """See `ArtifactStore.fetch_json`."""
        self.fetch_file(digest)
        return self._cache.fetch_json(digest)

    def exists(self, digest: str) -> bool:
        """See `ArtifactStore.exists`."""
        self._cache.exists(digest)  # Refuses what is no digest before it becomes part of a path.
        with storage_errors(self.url):
            self._fs.invalidate_cache()
            try:
                # Not `isfile`: it answers False when the network is down.
                return bool(self._fs.info(self._path("objects", hex_of(digest)))["type"] == "file")
            except FileNotFoundError:
                return False

    def _push(self, digest: str) -> str:
        if not self.exists(digest):
            target = self._path("objects", hex_of(digest))
            with storage_errors(self.url):
                try:
                    self._upload(self._cache.fetch_file(digest), target)
                except OSError:
                    self._discard([target], None)
                    raise
        return digest

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._root, *parts)

    def _upload(self, source: Path, target: str) -> None:
        self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
        self._fs.put_file(str(source), target)

    def _write(self, data: bytes, target: str) -> None:
        self._fs.makedirs(posixpath.dirname(target), exist_ok=True)
        self._fs.pipe_file(target, data)

    def _download(self, digest: str, source: str, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with storage_errors(self.url):
                try:
                    self._fs.get_file(source, str(target))
                except FileNotFoundError as error:
                    raise ArtifactCorrupt(digest, self.url, f"{posixpath.basename(source)} is gone") from error
        finally:
            self._fs.invalidate_cache()

    def _discard(self, paths: list[str], key: str | None) -> None:
        for path in paths:
            try:
                self._fs.rm_file(path)
            except (OSError, NotImplementedError):
                continue  # Best effort: without its manifest the rest is invisible anyway.
        if key is not None:
            try:
                self._fs.rmdir(self._path("folders", key))
            except (OSError, NotImplementedError):
                return
