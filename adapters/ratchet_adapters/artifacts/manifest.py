"""The manifest of a folder: each file's name, SHA-256 and size. Its canonical JSON is what the folder's digest is of.

It must not know where a folder is stored.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ratchet_adapters.artifacts.digest import bytes_digest, canonical_json
from ratchet_adapters.artifacts.errors import ArtifactRefused

__all__ = ["FileEntry", "Manifest", "copy_hashing", "hash_file", "walk_files"]

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file: POSIX path inside the folder, hex SHA-256, bytes."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """The files of a folder, sorted by name."""

    files: tuple[FileEntry, ...]

    def to_bytes(self) -> bytes:
        """Return the canonical JSON `{name: {"sha256": ..., "size": ...}}`."""
        return canonical_json({f.name: {"sha256": f.sha256, "size": f.size} for f in self.files}).encode()

    @property
    def digest(self) -> str:
        """The folder's digest."""
        return bytes_digest(self.to_bytes())

    @classmethod
    def of(cls, files: Iterator[FileEntry] | tuple[FileEntry, ...] | list[FileEntry]) -> Manifest:
        """Make a manifest from entries in any order."""
        return cls(tuple(sorted(files, key=lambda entry: entry.name)))

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Parse a stored manifest.

        Raises:
            ValueError: It is no manifest, or a name in it would leave the folder.
        """
        raw = json.loads(data)
        if not isinstance(raw, dict) or not raw:
            raise ValueError("not an object of files")
        files = []
        for name, entry in raw.items():
            if not is_safe_name(name):
                raise ValueError(f"the file name {name!r} would leave the folder")
            if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
                raise ValueError(f"the entry of {name!r} has no sha256")
            if not isinstance(entry.get("size"), int):
                raise ValueError(f"the entry of {name!r} has no size")
            files.append(FileEntry(name, entry["sha256"], entry["size"]))
        return cls.of(files)

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Hash every file of a folder.

        Raises:
            ArtifactRefused: It holds a link or something that is no regular file, or nothing at all.
            OSError: It cannot be read.
        """
        return cls.of([FileEntry(name, *hash_file(path)) for name, path in walk_files(folder)])


def is_safe_name(name: str) -> bool:
    """Say whether a POSIX relative path stays inside its folder and is written in its only form."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and ".." not in path.parts
        and str(path) == name
        and name != "."
        and "\\" not in name
        and name.isprintable()
    )


def walk_files(folder: Path) -> list[tuple[str, Path]]:
    """List the regular files under a folder as (POSIX relative name, path), sorted.

    Raises:
        ArtifactRefused: It holds a link or something that is no regular file, a name that is not safe, or nothing.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ArtifactRefused(str(folder), "it is not a folder")
    found = []
    for root, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(root, name)
            mode = path.lstat().st_mode
            relative = path.relative_to(folder).as_posix()
            if stat.S_ISDIR(mode):
                continue
            if not stat.S_ISREG(mode):
                raise ArtifactRefused(relative, "it is a link or a special file")
            if not is_safe_name(relative):
                raise ArtifactRefused(relative, "its name is not printable text")
            found.append((relative, path))
    if not found:
        raise ArtifactRefused(str(folder), "it holds no file")
    return sorted(found)


def hash_file(path: Path) -> tuple[str, int]:
    """Return the hex SHA-256 and the size of a file."""
    with path.open("rb") as source:
        return _stream(source, None)


def copy_hashing(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    """Copy a stream and return the hex SHA-256 and the size of what was copied."""
    return _stream(source, target)


def _stream(source: BinaryIO, target: BinaryIO | None) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return digest.hexdigest(), size
