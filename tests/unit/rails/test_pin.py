"""An upgrade of NeMo Guardrails that changes what the rails rely on fails at start-up."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet_server.rails import nemo
from ratchet_server.rails.errors import RailContractError
from ratchet_server.rails.pin import verify_nemo_contract
from ratchet_server.rails.verdict import Outcome, RailResult


async def test_the_installed_nemo_keeps_the_contract() -> None:
    await verify_nemo_contract()


async def test_another_version_is_refused() -> None:
    with pytest.raises(RailContractError, match=r"0\.24\.1 is needed, 0\.25\.0"):
        await verify_nemo_contract(version="0.25.0")


async def test_a_changed_signature_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nemo, "compile_rail", lambda flow, direction, options: None)
    with pytest.raises(RailContractError, match="compile_rail takes"):
        await verify_nemo_contract()


@pytest.mark.parametrize("always", [Outcome.ALLOW, Outcome.BLOCK, Outcome.FAILED])
async def test_rails_that_always_answer_the_same_are_refused(monkeypatch: pytest.MonkeyPatch, always: Outcome) -> None:
    class Stuck:
        async def execute(self, messages: Any, text: Any) -> RailResult:
            return RailResult(always)

    monkeypatch.setattr(nemo, "compile_flow", lambda *_: Stuck())
    with pytest.raises(RailContractError):
        await verify_nemo_contract()


async def test_a_regex_rail_run_by_pythons_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from nemoguardrails.manifests import default_rail_catalog

    monkeypatch.setattr(nemo, "merged_catalog", default_rail_catalog)
    with pytest.raises(RailContractError, match="the regex rail is run by"):
        await verify_nemo_contract()
