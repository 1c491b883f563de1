"""Doubles for the rails' tests: keyword scorers that implement the Scorer port, sources of text that count closings."""

from __future__ import annotations

import asyncio
import os
import sys
import types
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.scoring import ScorerPool

# Read by NeMo at import; tests that import it before the server's door does must not report usage either.
os.environ["NEMO_GUARDRAILS_NO_USAGE_STATS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"


class KeywordScorer:
    """A test double of the Scorer port: 0.9 on every label if a text holds the keyword, else 0.1."""

    def __init__(self, name: str, labels: tuple[str, ...], keyword: str, version: str = "sha256:double") -> None:
        self.name, self.labels, self.primary, self.version = name, labels, labels[0], version
        self.threshold = 0.5
        self._keyword = keyword
        self.calls: list[list[str]] = []

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        self.calls.append(list(texts))
        return [dict.fromkeys(self.labels, 0.9 if self._keyword in text else 0.1) for text in texts]


class Deltas:
    """A source of text, one delta per step, that records how often it was closed and how far it was read."""

    def __init__(self, parts: Sequence[str], *, pauses: Sequence[int] = (0,), fail_at: int | None = None) -> None:
        self.parts, self.pauses, self.fail_at = list(parts), list(pauses), fail_at
        self.read = 0
        self.closed = 0

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        for _ in range(self.pauses[self.read % len(self.pauses)]):
            await asyncio.sleep(0)
        if self.fail_at == self.read:
            raise ConnectionError("the engine died")
        if self.read >= len(self.parts):
            raise StopAsyncIteration
        self.read += 1
        return self.parts[self.read - 1]

    async def aclose(self) -> None:
        self.closed += 1


def keyword_scorer(name: str) -> KeywordScorer:
    if name == "triage":
        return KeywordScorer(name, ("harm",), "HARM")
    return KeywordScorer(name, ("toxicity", "threat"), "TOXIC")


@pytest.fixture
def pool() -> Iterator[ScorerPool]:
    scorers = ScorerPool(keyword_scorer)
    yield scorers
    scorers.close()


@pytest.fixture
def deltas() -> type[Deltas]:
    return Deltas


@pytest.fixture
def scorer_double() -> type[KeywordScorer]:
    return KeywordScorer


@pytest.fixture
def write_config(tmp_path: Path) -> Callable[..., Path]:
    """Write a configuration folder: the text of config.yml, and of other files by name."""

    def write(config: str, **others: str) -> Path:
        folder = tmp_path / "profile"
        folder.mkdir(exist_ok=True)
        (folder / "config.yml").write_text(config, encoding="utf-8")
        for name, text in others.items():
            (folder / name.replace("_DOT_", ".")).write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def profile_of(write_config: Callable[..., Path], pool: ScorerPool) -> Callable[..., Profile]:
    """Compile a profile from the text of config.yml."""

    def compile_text(config: str, generate: Any = None, **others: str) -> Profile:
        return compile_profile("test", write_config(config, **others), scorers=pool, generate=generate)

    return compile_text


@pytest.fixture
def with_rail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs an output rail `test rail` that runs a given action, as an entry point of another package would."""

    def install(action: Callable[..., Any], *, rewrites: bool = False, direction: str = "output") -> None:
        from nemoguardrails.manifests import (
            ActionRef,
            Binding,
            RailActions,
            RailDirection,
            RailManifest,
            RailManifestRecord,
            RailSpec,
            RailSurface,
            TransformTarget,
        )

        from ratchet_plugins.nemo import catalog

        module = types.ModuleType("rails_test_double")
        module.action = action  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "rails_test_double", module)
        targets = {"output": TransformTarget.BOT_MESSAGE, "input": TransformTarget.USER_MESSAGE}
        ref = ActionRef(name="test_rail", target="rails_test_double:action")
        side = RailDirection(direction)
        surface = RailSurface(
            name="test rail",
            direction=side,
            action=ref,
            bindings=(Binding.context("text", "bot_message" if direction == "output" else "user_message"),),
            transform_target=targets[direction] if rewrites else None,
        )
        manifest = RailManifest(name="test.rail", spec=RailSpec(actions=RailActions(refs=(ref,)), surfaces=(surface,)))
        records = (RailManifestRecord(manifest=manifest, source="entry point rails_test_double:RAIL"),)
        monkeypatch.setattr(catalog, "_from_entry_points", lambda: records)

    return install
