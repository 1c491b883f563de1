"""Settings: the environment over the file, and nothing misspelt goes unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet_server.settings import SettingsInvalid, load


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("RATCHET_")]:
        monkeypatch.delenv(name)


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ratchet.yaml"
    file.write_text("rpc: {port: 1111}\nengine: {threads: 3}\n")
    monkeypatch.setenv("RATCHET_CONFIG", str(file))
    monkeypatch.setenv("RATCHET_RPC__PORT", "2222")
    settings = load()
    assert (settings.rpc.port, settings.engine.threads) == (2222, 3)


def test_a_scorer_takes_its_settings_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_SCORERS__TOXICITY__MODEL", "unbiased")
    assert load().scorers == {"toxicity": {"model": "unbiased"}}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RATCHET_RPCC__PORT", "1", "RATCHET_RPCC__PORT"),
        ("RATCHET_RPC__PROT", "1", "rpc.prot"),
        ("RATCHET_RPC__PORT", "99999", "rpc.port"),
        ("RATCHET_CONFIG", "/no/such/file.yaml", "/no/such/file.yaml"),
    ],
)
def test_what_is_misspelt_or_impossible_is_named(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid, match=said):
        load()


def test_the_server_does_not_listen_beyond_loopback_by_accident() -> None:
    from ratchet_server.access.door import Door
    from ratchet_server.rpc.server import BindRefused, RpcServer
    from ratchet_server.rpc.settings import RpcSettings

    everywhere = RpcSettings(host="0.0.0.0", port=0)
    nobody: Any = None
    with pytest.raises(BindRefused, match="not be encrypted"):
        RpcServer(everywhere, nobody, Door(required=True))
    with pytest.raises(BindRefused, match="anybody could call"):
        RpcServer(everywhere, nobody, Door(), certificates=nobody or object())  # type: ignore[arg-type]
