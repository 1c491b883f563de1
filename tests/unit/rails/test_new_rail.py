"""A rail of one's own: the package that `ratchet rails new` writes works, and the test kit finds bad rails."""

from __future__ import annotations

import asyncio
import importlib
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.checking import check_profile
from ratchet_server.rails.errors import RailConfigError, RailScaffoldError
from ratchet_server.rails.loading import ProfileLoader
from ratchet_server.rails.message import Message
from ratchet_server.rails.scaffold import new_rail_package
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.verdict import Outcome


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The written package on the path, with its metadata, as pip would have left it."""
    from ratchet_plugins.nemo import catalog

    new_rail_package("acme-words", tmp_path / "acme")
    source = tmp_path / "acme" / "src"
    metadata = source / "acme_words-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-words\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[ratchet.rails]\nacme_words = acme_words:RAIL\n")
    monkeypatch.syspath_prepend(source)
    catalog._from_entry_points.cache_clear()
    yield tmp_path / "acme"
    sys.modules.pop("acme_words", None)
    catalog._from_entry_points.cache_clear()


async def test_the_written_package_passes_its_own_test_and_serves(installed: Path, pool: ScorerPool) -> None:
    names: dict[str, Any] = {}
    exec((installed / "tests" / "test_rail.py").read_text(), names)
    await names["test_the_rail"]()

    profile = installed / "profiles" / "words"
    profile.parent.mkdir()
    (installed / "profile").rename(profile)
    checked = check_profile(profile)
    assert (checked.input_rails, checked.shadow_rails) == (("acme words input",), ("acme words input",))
    config = profile / "config.yml"
    config.write_text(config.read_text().replace("shadow: true", "shadow: false"))
    loader = ProfileLoader(profile.parent, scorers=pool, default="words")
    serving = (await loader.start()).get()
    assert (await serving.check_input((Message("user", "Who is voldemort?"),))).outcome is Outcome.BLOCK
    config.write_text(config.read_text().replace("[Voldemort]", "[]"))
    with pytest.raises(RailConfigError, match="never block") as caught:
        check_profile(profile)
    assert caught.value.line == 8


def test_nothing_is_overwritten_and_a_bad_name_is_refused(tmp_path: Path) -> None:
    for name in ("Acme", "a b", "../up", "ratchet", ""):
        with pytest.raises(RailScaffoldError, match="name"):
            new_rail_package(name, tmp_path / "x")
    assert not (tmp_path / "x").exists()
    new_rail_package("acme-words", tmp_path / "x")
    with pytest.raises(RailScaffoldError, match="already"):
        new_rail_package("acme-words", tmp_path / "x")


def _raises_on_long(text: str) -> None:
    if len(text) > 5_000:
        raise ValueError


STATE: list[str] = []


async def _remembers(text: str) -> None:
    STATE.append(text)
    await asyncio.sleep(0.001)
    if STATE[-1] != text:
        raise LookupError


async def _swallows_its_cancellation(text: str) -> None:
    try:
        await asyncio.sleep(0.001)
    except asyncio.CancelledError:
        await asyncio.sleep(4)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (None, ""),
        (_raises_on_long, "It failed on 'word word"),
        (_remembers, "decided differently while others"),
        (lambda text: time.sleep(0.3) if text == "bad words" else None, "kept the event loop busy"),
        (_swallows_its_cancellation, "goes on for over 2 s"),
        ("leak", "repeats the judged text"),
        ("blind", "must be block, and is allow"),
    ],
)
async def test_the_test_kit_finds_what_a_rail_must_not_do(monkeypatch: Any, fault: Any, problem: str) -> None:
    from nemoguardrails.actions.rail_outcome import RailOutcome
    from nemoguardrails.manifests import (
        ActionRef,
        Binding,
        RailActions,
        RailDirection,
        RailManifest,
        RailSpec,
        RailSurface,
    )

    from ratchet_plugins.nemo.testkit import RailTestFailed, check_rail

    async def action(text: str, **_: Any) -> RailOutcome:
        if callable(fault):
            waited = fault(text)
            if waited is not None:
                await waited
        if "bad" not in text or fault == "blind":
            return RailOutcome.allow()
        return RailOutcome.block(reason=f"found in: {text}" if fault == "leak" else "found")

    module = importlib.import_module(__name__)
    monkeypatch.setattr(module, "action", action, raising=False)
    monkeypatch.setitem(sys.modules, "rail_under_test", module)
    ref = ActionRef(name="rail_under_test", target="rail_under_test:action")
    surface = RailSurface(
        name="rail under test",
        direction=RailDirection.OUTPUT,
        action=ref,
        bindings=(Binding.context("text", "bot_message"),),
    )
    rail = RailManifest(name="under.test", spec=RailSpec(actions=RailActions(refs=(ref,)), surfaces=(surface,)))
    check = check_rail(rail, blocks=["bad words", "a bad example of some length"], allows=["fine"])
    if not problem:
        await check
    else:
        with pytest.raises(RailTestFailed, match=problem):
            await check
    with pytest.raises(RailTestFailed, match="must let pass"):
        await check_rail(rail, blocks=["bad"])
