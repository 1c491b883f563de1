"""The local cache of prepared models: where it is, how a folder gets there whole, and how it is verified.

It must not know which models there are nor how they are made: the caller hands over a function that fills a folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ratchet_plugins.models.errors import ModelCorrupt, ModelError

__all__ = [
    "MANIFEST",
    "Progress",
    "cache_root",
    "prepare",
    "read_json",
    "read_manifest",
    "sha256_of",
    "verify",
    "write_json",
]

MANIFEST = "MANIFEST.json"
Progress = Callable[[str], None]

_FORMAT = 1
_CHUNK = 1 << 22
_REPAIR = "run `ratchet models prepare --force`"


def cache_root() -> Path:
    """Return the folder that holds everything prepared on this machine.

    Returns:
        `$RATCHET_CACHE` when it is set, else the user cache folder of the platform. It may not exist yet.
    """
    override = os.environ.get("RATCHET_CACHE")
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ratchet", appauthor=False))


def sha256_of(path: Path) -> str:
    """Return the lower-case hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def prepare(
    name: str,
    recipe: str,
    build: Callable[[Path], Mapping[str, Any]],
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Return the verified folder `name` of the cache, building it first when it is absent.

    The folder appears whole or not at all: it is built beside its place, hashed, and renamed into it under a lock,
    so that several processes may ask at once.

    Args:
        name: Human-readable first part of the folder's name.
        recipe: Anything that determines the result (source digests, conversion version). Its digest ends the
            folder's name, so a new recipe never overwrites a folder another process has open.
        build: Fills the empty folder it is given; returns facts for the manifest (JSON values).
        force: Build again even when a folder is there.
        progress: Called with one line per step.

    Returns:
        The absolute path of the folder.

    Raises:
        ModelCorrupt: The folder's bytes are not those it was prepared with.
        ModelError: The cache cannot be written.
    """
    say = progress or _silent
    home = cache_root() / "models"
    target = home / f"{name}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    if target.exists() and not force:
        # No lock on this path: a read-only cache baked into an image must work.
        verify(target)
        return target
    import filelock

    try:
        home.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(str(home / f".{target.name}.lock")):
            if target.exists() and not force:
                verify(target)
                return target
            return _build(target, recipe, build, say)
    except OSError as error:
        raise ModelError(
            f"The model cache {home} cannot be written ({error}). "
            "Point RATCHET_CACHE at a folder with about 1 GB of free space that this user may write."
        ) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a prepared folder.

    Raises:
        ModelCorrupt: It is missing or not readable as JSON.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or not isinstance(manifest["files"], dict):
            raise ValueError("unknown format")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelCorrupt(f"{folder / MANIFEST} is missing or unreadable ({error}): {_REPAIR}.") from error
    return dict(manifest)


def verify(folder: Path, *, full: bool = False) -> dict[str, Any]:
    """Check a prepared folder against its manifest.

    Args:
        folder: A folder made by `prepare`.
        full: Hash every file. Otherwise a file whose size and modification time are unchanged is trusted, and only
            the others are hashed (copying a cache changes times, not bytes).

    Returns:
        The manifest.

    Raises:
        ModelCorrupt: A file is missing or its bytes changed.
    """
    manifest = read_manifest(folder)
    moved = False
    for relative, entry in manifest["files"].items():
        path = folder / relative
        try:
            stat = path.stat()
        except OSError as error:
            raise ModelCorrupt(f"{path} is missing from the prepared model: {_REPAIR}.") from error
        if not full and stat.st_size == entry["size"] and stat.st_mtime_ns == entry["mtime_ns"]:
            continue
        if stat.st_size != entry["size"] or sha256_of(path) != entry["sha256"]:
            raise ModelCorrupt(f"{path} is not the file that was prepared (SHA-256 differs): {_REPAIR}.")
        moved = moved or stat.st_mtime_ns != entry["mtime_ns"]
        entry["mtime_ns"] = stat.st_mtime_ns
    if moved:
        # A read-only cache is hashed at every start instead; that is slower, not wrong.
        with contextlib.suppress(OSError):
            write_json(folder / MANIFEST, manifest)
    return manifest


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file, or None when there is none that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a JSON file atomically.

    Raises:
        OSError: The folder cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(value, stream, indent=1, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _build(target: Path, recipe: str, build: Callable[[Path], Mapping[str, Any]], say: Progress) -> Path:
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new-"))
    try:
        os.chmod(scratch, 0o755)
        facts = build(scratch)
        say("hashing")
        files: dict[str, Any] = {}
        for path in sorted(scratch.rglob("*")):
            if path.is_file():
                # Some writers make their files private; a cache is shared with the service user.
                path.chmod(0o644)
                _sync(path)
                stat = path.stat()
                relative = path.relative_to(scratch).as_posix()
                files[relative] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256_of(path)}
        write_json(scratch / MANIFEST, {"format": _FORMAT, "recipe": recipe, "source": dict(facts), "files": files})
        if target.exists():
            # A folder cannot be replaced by rename while it has content, so the old one steps aside first.
            aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old-"))
            os.replace(target, aside / "old")
            os.replace(scratch, target)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.replace(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return target


def _sync(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def _silent(_: str) -> None:
    return None
