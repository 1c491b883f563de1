"""The artifact store's promises, on a local folder and on a remote file system."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from ratchet_adapters.artifacts import (
    ArtifactCorrupt,
    ArtifactMissing,
    ArtifactRefused,
    ArtifactStore,
    ArtifactStoreFull,
    ArtifactStoreUnavailable,
    Manifest,
    open_store,
)
from ratchet_adapters.artifacts.local import LocalStore
from ratchet_adapters.artifacts.remote import RemoteStore
from ratchet_adapters.errors import InvalidInput

UNKNOWN = "sha256:" + "0" * 64


@pytest.fixture(params=["local", "file-url", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    if request.param == "remote":
        root = f"/{uuid.uuid4().hex}"
        yield open_store(f"memory:/{root}", cache=tmp_path / "cache")
        if (remote := MemoryFileSystem()).exists(root):
            remote.rm(root, recursive=True)
    else:
        yield open_store(f"{'file://' if request.param == 'file-url' else ''}{tmp_path / 'store'}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "sub").mkdir(parents=True)
    (path / "a.json").write_text("{}")
    (path / "sub" / "b.bin").write_bytes(b"b" * 3_000_000)
    return path


def test_a_folder_comes_back_as_it_was_and_read_only(store: ArtifactStore, folder: Path) -> None:
    assert isinstance(store, ArtifactStore)
    digest = store.put_folder(folder)
    assert digest == Manifest.read(folder).digest
    found = store.fetch(digest)
    assert Manifest.read(found) == Manifest.read(folder)
    assert [path.stat().st_mode & 0o222 for path in (found, found / "sub", found / "a.json")] == [0, 0, 0]
    assert store.exists(digest)


def test_putting_again_changes_nothing(store: ArtifactStore, folder: Path) -> None:
    digest = store.put_folder(folder)
    before = store.fetch(digest).stat().st_ino
    assert store.put_folder(folder) == digest
    assert store.fetch(digest).stat().st_ino == before


def test_json_and_files_come_back(store: ArtifactStore, folder: Path) -> None:
    value = {"b": [1, 2.5, None], "a": "ü"}
    digest = store.put_json(value)
    assert store.put_json({"a": "ü", "b": [1, 2.5, None]}) == digest
    assert store.fetch_json(digest) == value
    assert store.fetch_file(store.put_file(folder / "a.json")).read_text() == "{}"
    with pytest.raises(InvalidInput):
        store.put_json({"x": math.nan})


@pytest.mark.parametrize("digest", ["", "sha256:..", "../../etc/passwd", "sha256:" + "A" * 64])
def test_what_is_no_digest_is_refused(store: ArtifactStore, digest: str) -> None:
    for call in (store.fetch, store.fetch_file, store.exists):
        with pytest.raises(InvalidInput):
            call(digest)


def test_an_unknown_digest_is_missing(store: ArtifactStore) -> None:
    assert not store.exists(UNKNOWN)
    for call in (store.fetch, store.fetch_file, store.fetch_json):
        with pytest.raises(ArtifactMissing):
            call(UNKNOWN)


def test_links_special_files_and_emptiness_are_refused(store: ArtifactStore, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to(folder)
    for path in (folder, tmp_path / "empty", tmp_path / "loop", tmp_path / "missing"):
        with pytest.raises(ArtifactRefused):
            store.put_folder(path)
    with pytest.raises(ArtifactRefused):
        store.put_file(folder / "link")


def test_concurrent_puts_of_one_folder_agree(store: ArtifactStore, folder: Path) -> None:
    digests: list[str] = []
    threads = [threading.Thread(target=lambda: digests.append(store.put_folder(folder))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [Manifest.read(folder).digest] * 6
    store.fetch(digests[0])


@pytest.mark.parametrize("change", ["flip", "truncate", "add", "remove"])
def test_a_changed_local_folder_is_corrupt(tmp_path: Path, folder: Path, change: str) -> None:
    store = LocalStore(tmp_path / "store")
    digest = store.put_folder(folder)
    found = store.fetch(digest)
    found.chmod(0o755)
    (found / "a.json").chmod(0o644)
    {
        "flip": lambda: (found / "a.json").write_text("[]"),
        "truncate": lambda: (found / "a.json").write_text(""),
        "add": lambda: (found / "evil.bin").write_text("x"),
        "remove": lambda: (found / "a.json").unlink(),
    }[change]()
    with pytest.raises(ArtifactCorrupt) as caught:
        store.fetch(digest)
    assert caught.value.digest == digest


def test_a_changed_remote_is_corrupt_and_a_changed_copy_is_fetched_again(tmp_path: Path, folder: Path) -> None:
    remote, root = MemoryFileSystem(), f"/{uuid.uuid4().hex}"
    digest = RemoteStore(remote, root, LocalStore(tmp_path / "one")).put_folder(folder)
    other = RemoteStore(remote, root, LocalStore(tmp_path / "two"))
    copy = other.fetch(digest) / "a.json"
    copy.chmod(0o644)
    copy.write_text("[]")
    assert (other.fetch(digest) / "a.json").read_text() == "{}"
    remote.pipe_file(f"{root}/folders/{digest[7:]}/a.json", b"[]")
    with pytest.raises(ArtifactCorrupt):
        RemoteStore(remote, root, LocalStore(tmp_path / "three")).fetch(digest)
    remote.rm(root, recursive=True)


class FullFileSystem(MemoryFileSystem):
    """Takes one file, then the disk is full."""

    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    room = 1

    def put_file(self, lpath: str, rpath: str, **kwargs: Any) -> None:
        if self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= 1
        super().put_file(lpath, rpath, **kwargs)


def test_a_full_remote_is_said_and_holds_nothing_half_written(tmp_path: Path, folder: Path) -> None:
    remote = FullFileSystem()
    store = RemoteStore(remote, "/full", LocalStore(tmp_path / "cache"))
    with pytest.raises(ArtifactStoreFull):
        store.put_folder(folder)
    assert remote.find("/full") == []
    assert not store.exists(Manifest.read(folder).digest)
    remote.room = 9
    assert store.exists(store.put_folder(folder))


def test_a_full_local_disk_is_said_and_holds_nothing_half_written(tmp_path: Path, folder: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from ratchet_adapters.artifacts import ArtifactStoreFull, open_store\n"
        "store = open_store(sys.argv[1])\n"
        "try: store.put_folder(pathlib.Path(sys.argv[2]))\n"
        "except ArtifactStoreFull: print('full')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store"), str(folder)],
        capture_output=True, text=True, timeout=60, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )  # fmt: skip
    assert done.stdout == "full\n", done.stderr
    assert [path for path in (tmp_path / "store").rglob("*") if path.is_file()] == []
    assert len(list((tmp_path / "store").iterdir())) == 3


def test_a_put_killed_half_way_leaves_nothing_visible_and_can_be_repeated(tmp_path: Path, folder: Path) -> None:
    code = (
        "import os, signal, sys, pathlib\n"
        "from ratchet_adapters.artifacts.local import LocalStore\n"
        "LocalStore._publish_bytes = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "LocalStore(pathlib.Path(sys.argv[1])).put_folder(pathlib.Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s"), str(folder)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    store = LocalStore(tmp_path / "s")
    digest = Manifest.read(folder).digest
    assert not store.exists(digest)
    with pytest.raises(ArtifactMissing):
        store.fetch(digest)
    assert store.put_folder(folder) == digest
    store.fetch(digest)


def test_a_manifest_that_leaves_its_folder_is_refused() -> None:
    for name in ("../a", "/a", "a/../../b", "", ".", "a//b", "a\\b", "a\0"):
        with pytest.raises(ValueError, match="leave the folder"):
            Manifest.from_bytes(b'{%s:{"sha256":"x","size":1}}' % json.dumps(name).encode())


def test_a_url_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for url, cache in (("nosuch://x", tmp_path), ("memory://x", None), (str(tmp_path / "file" / "x"), None)):
        with pytest.raises(ArtifactStoreUnavailable):
            open_store(url, cache=cache)
