"""The store on a local folder: staged beside its place, flushed to disk, then renamed into it.

It must not know other file systems. Layout: `objects/<hex>` (files, manifests), `folders/<hex>/`, `staging/`.
A folder counts as stored once its manifest is in `objects/`: that file is written last.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ratchet_adapters.artifacts.digest import canonical_json, hex_of, is_digest
from ratchet_adapters.artifacts.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactRefused,
    ArtifactStoreFull,
    ArtifactStoreUnavailable,
)
from ratchet_adapters.artifacts.manifest import FileEntry, Manifest, copy_hashing, hash_file, walk_files
from ratchet_adapters.errors import InvalidInput

__all__ = ["LocalStore", "storage_errors", "to_json"]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STALE_SECONDS = 24 * 3600.0


@contextmanager
def storage_errors(store: str) -> Iterator[None]:
    """Turn operating-system errors into the store's typed ones."""
    try:
        yield
    except OSError as error:
        kind = ArtifactStoreFull if error.errno in _FULL else ArtifactStoreUnavailable
        raise kind(store, error.strerror or str(error)) from error


def to_json(value: Any) -> bytes:
    """Return the canonical JSON bytes of a value, or raise InvalidInput."""
    try:
        return canonical_json(value).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput("value", f"it has no JSON form ({error})") from error


class LocalStore:
    """An `ArtifactStore` in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        """Open the store at a folder, creating it and sweeping staging left by processes that died a day ago."""
        self._root = root.absolute()
        self._objects, self._folders, self._staging = (self._root / n for n in ("objects", "folders", "staging"))
        with storage_errors(self.url):
            for folder in (self._objects, self._folders, self._staging):
                folder.mkdir(parents=True, exist_ok=True)
            self._sweep()

    @property
    def url(self) -> str:
        """The folder."""
        return str(self._root)

    def put_folder(self, folder: Path) -> str:
        """See `ArtifactStore.put_folder`."""
        with storage_errors(self.url), self._stage() as stage:
            files = walk_files(folder)
            manifest = Manifest.of([_copy(name, path, stage / "folder" / name) for name, path in files])
            key = hex_of(manifest.digest)
            if not ((self._objects / key).exists() and (self._folders / key).is_dir()):
                self._publish_folder(stage / "folder", key)
                self._publish_bytes(manifest.to_bytes(), stage / "manifest", key)
            return manifest.digest

    def fetch(self, digest: str) -> Path:
        """See `ArtifactStore.fetch`."""
        data = self.fetch_file(digest).read_bytes()
        folder = self._folders / hex_of(digest)
        if not folder.is_dir():
            raise ArtifactMissing(digest, self.url)
        try:
            manifest = Manifest.from_bytes(data)
            found = Manifest.read(folder)
        except (ValueError, AttributeError, OSError) as error:
            raise ArtifactCorrupt(digest, self.url, str(error)) from error
        if found != manifest:
            wrong = sorted({f.name for f in set(found.files) ^ set(manifest.files)})
            raise ArtifactCorrupt(digest, self.url, f"{', '.join(wrong)} changed after it was stored")
        return folder

    def put_file(self, path: Path) -> str:
        """See `ArtifactStore.put_file`."""
        if path.is_symlink() or not path.is_file():
            raise ArtifactRefused(str(path), "it is not a regular file")
        with storage_errors(self.url), self._stage() as stage:
            entry = _copy(path.name, path, stage / "file")
            self._publish_file(stage / "file", entry.sha256)
            return f"sha256:{entry.sha256}"

    def fetch_file(self, digest: str) -> Path:
        """See `ArtifactStore.fetch_file`."""
        path = self._objects / self._key(digest)
        if not path.is_file():
            raise ArtifactMissing(digest, self.url)
        with storage_errors(self.url):
            if hash_file(path)[0] != path.name:
                raise ArtifactCorrupt(digest, self.url, "its bytes changed after it was stored")
        return path

    def put_json(self, value: Any) -> str:
        """See `ArtifactStore.put_json`."""
        data = to_json(value)
        with storage_errors(self.url), self._stage() as stage:
            (stage / "file").write_bytes(data)
            key = hash_file(stage / "file")[0]
            _flush(stage / "file")
            self._publish_file(stage / "file", key)
            return f"sha256:{key}"

    def fetch_json(self, digest: str) -> Any:
        """See `ArtifactStore.fetch_json`."""
        try:
            return json.loads(self.fetch_file(digest).read_bytes())
        except ValueError as error:
            raise ArtifactCorrupt(digest, self.url, "it is not JSON") from error

    def exists(self, digest: str) -> bool:
        """See `ArtifactStore.exists`."""
        return (self._objects / self._key(digest)).is_file()

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a scratch folder on the store's own disk, removed afterwards."""
        with self._stage() as stage:
            yield stage

    def evict(self, digest: str) -> None:
        """Remove a copy. Only for a store used as a cache: an artifact's home never forgets."""
        key = self._key(digest)
        with storage_errors(self.url), self._stage() as stage:
            # The manifest first: without it the folder does not count.
            (self._objects / key).unlink(missing_ok=True)
            folder = self._folders / key
            if folder.is_dir():
                for root, _, _ in os.walk(folder):
                    os.chmod(root, 0o755)
                folder.rename(stage / "evicted")

    def _key(self, digest: str) -> str:
        if not is_digest(digest):
            raise InvalidInput("digest", "it is not of the form sha256:<64 hex digits>")
        return hex_of(digest)

    @contextmanager
    def _stage(self) -> Iterator[Path]:
        stage = self._staging / uuid.uuid4().hex
        stage.mkdir()
        try:
            yield stage
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def _publish_folder(self, staged: Path, key: str) -> None:
        _flush_folders(staged)
        target = self._folders / key
        try:
            staged.rename(target)
        except OSError as error:
            # Another writer published the same content first, or died before writing its manifest.
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.EACCES} or not target.is_dir():
                raise
            if Manifest.read(target).digest != f"sha256:{key}":
                raise ArtifactCorrupt(f"sha256:{key}", self.url, "its folder has other files") from error
        # After the rename: moving a folder needs write permission on the folder itself.
        for root, _, _ in os.walk(target):
            os.chmod(root, 0o555)
        _flush(self._folders)

    def _publish_bytes(self, data: bytes, staged: Path, key: str) -> None:
        staged.write_bytes(data)
        _flush(staged)
        self._publish_file(staged, key)

    def _publish_file(self, staged: Path, key: str) -> None:
        staged.chmod(0o444)
        try:
            # A link, unlike a rename, never replaces what is there.
            os.link(staged, self._objects / key)
        except FileExistsError:
            return
        _flush(self._objects)

    def _sweep(self) -> None:
        for path in self._staging.iterdir():
            try:
                stale = time.time() - path.stat().st_mtime > _STALE_SECONDS
            except FileNotFoundError:
                continue
            if stale:
                shutil.rmtree(path, ignore_errors=True)


def _copy(name: str, source: Path, target: Path) -> FileEntry:
    target.parent.mkdir(parents=True, exist_ok=True)
    # O_NOFOLLOW: the walk saw a regular file here; a link put in its place since then must not be followed.
    with os.fdopen(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as reading, target.open("wb") as writing:
        sha256, size = copy_hashing(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
    target.chmod(0o444)
    return FileEntry(name, sha256, size)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_folders(root: Path) -> None:
    for folder, _, _ in os.walk(root):
        _flush(Path(folder))
