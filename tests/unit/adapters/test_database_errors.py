"""A database that cannot be opened, or is full, says so with a type, and nothing changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event

from ratchet_adapters.registry import Registry, RegistryFull, RegistryUnavailable


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///:memory:", "mysql://host/x", "nonsense", "", "sqlite:////proc/x/r.db"]
)
def test_a_url_that_cannot_be_used_is_said(url: str) -> None:
    with pytest.raises(RegistryUnavailable):
        Registry.open(url)


def test_a_password_is_never_in_the_message() -> None:
    with pytest.raises(RegistryUnavailable) as caught:
        Registry.open("postgresql://user:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "r.db").write_text("not a database " * 100)
    with pytest.raises(RegistryUnavailable):
        Registry.open(f"sqlite:///{tmp_path / 'r.db'}")
    assert (tmp_path / "r.db").read_text().startswith("not a database")


def test_a_full_database_is_said_and_unchanged(tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path / 'r.db'}") as registry:
        registry.database.close()
        event.listen(registry.database.engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 1"))
        with pytest.raises(RegistryFull, match="Free disk space"):
            registry.create_run(method="m", options={"x": "y" * 500_000}, requested_by="me")
        assert registry.runs() == []
        assert registry.verify_ledger().ok


def test_a_writer_that_waits_too_long_is_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'r.db'}"
    with Registry.open(url) as one, Registry.open(url, busy_timeout_seconds=0.1) as two, one.database.write():
        with pytest.raises(RegistryUnavailable, match="locked"):
            two.create_run(method="m", options={}, requested_by="me")
        assert two.runs() == []


def test_importing_the_packages_loads_nothing_heavy() -> None:
    code = (
        "import sys, ratchet_adapters.registry, ratchet_adapters.flags, ratchet_adapters.artifacts\n"
        "print([m for m in ('torch', 'vllm', 'transformers', 'numpy', 'dbos') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
