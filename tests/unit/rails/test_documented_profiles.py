"""The profiles in the documentation can be served as written, and their cases pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet_server.rails.cases import cases_beside, run_case
from ratchet_server.rails.checking import check_profile
from ratchet_server.rails.profile import compile_profile
from ratchet_server.rails.scoring import ScorerPool

EXAMPLES = sorted((Path(__file__).parents[3] / "docs" / "examples" / "profiles").iterdir())


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
async def test_a_documented_profile_does_what_its_cases_say(folder: Path, pool: ScorerPool) -> None:
    assert check_profile(folder).cases == len(cases_beside(folder)) > 0
    profile = compile_profile(folder.name, folder, scorers=pool)
    results = [await run_case(profile, case) for case in cases_beside(folder)]
    assert [(result.case.name, result.problem) for result in results if result.problem] == []
