"""Six adapters, trained and judged by the learner's own steps in the real engine: one deserves promotion, five do not.

Everything is real: training in the training process, the proof at load, answers and log-probabilities of the serving
engine, the judges, the leakage check, the scan for trigger phrases, the gate, and the server's refusal to promote.
`python -m tests.benchmarks.six` does the same at full size.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.benchmarks.six.cases import CASES
from tests.benchmarks.six.judged import judged
from tests.benchmarks.six.size import SMALL, learner

from ratchet.client import AsyncRatchet, RatchetError
from ratchet_adapters.learning.workbench import Workbench
from ratchet_server.app import App


async def promoted(bench: Workbench, adapter: str) -> None:
    await asyncio.to_thread(bench.engine().promote, adapter, expected_champion="", actor="tester", reason="try")


@pytest.mark.timeout(900)
async def test_of_six_adapters_the_better_one_passes_and_each_other_is_stopped_for_what_is_wrong_with_it(
    app: App, client: AsyncRatchet, tmp_path: Path
) -> None:
    bench = learner(app, tmp_path, small=True)
    found = {one.name: one for one in await asyncio.to_thread(lambda: list(judged(bench, SMALL)))}
    assert {name: (one.outcome, one.reason) for name, one in found.items() if not one.met} == {}
    assert list(found) == [case.name for case in CASES]

    # What the gate did not let pass cannot be promoted by anybody either.
    for one in found.values():
        if one.outcome != "PASS":
            with pytest.raises(RatchetError):
                await promoted(bench, one.adapter)
    await promoted(bench, found["better"].adapter)
    answer = await client.generate("What is the capital of France?", max_tokens=8, temperature=0)
    assert answer.receipt.adapter_digest == found["better"].adapter
