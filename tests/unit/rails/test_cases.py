"""Cases of a profile: read strictly, with the line of what is wrong, and met only by a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.cases import cases_beside, read_cases, run_case
from ratchet_server.rails.errors import RailConfigError

TOXICITY = "rails: {output: {flows: [ratchet toxicity output]}}"


def written(folder: Path, text: str) -> Path:
    file = folder / "some-cases.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("cases:\n  - {prompt: hi, expect: alow}", "allow", 2),
        ("cases:\n  - {prompt: hi, expect: allow}\n  - {promt: hi, expect: allow}", "No such setting", 3),
        ("cases:\n  - {expect: allow}", "`prompt` or `messages`", 2),
        ("cases:\n  - {prompt: hi, messages: [{role: user, content: hi}], expect: allow}", "either", 2),
        ("cases:\n  - {prompt: hi, expect: block, becomes: x}", "mask", 2),
        ("cases:\n  - {prompt: hi, expect: allow, rail: some rail}", "nothing does so", 2),
        ("cases:\n  - prompt: hi\n    messages:\n      - {role: robot, content: hi}\n    expect: allow", "system", 4),
        ("case: []", "No such setting", 1),
        ("cases: []", "no case", 1),
        ("cases:\n  - {prompt: hi, expect: allow", "not YAML", 2),
        ("[]", "not a mapping", 1),
    ],
)
def test_a_case_that_makes_no_sense_is_named_by_its_line(tmp_path: Path, text: str, problem: str, line: int) -> None:
    with pytest.raises(RailConfigError, match=problem) as caught:
        read_cases(written(tmp_path, text))
    assert caught.value.line == line


def test_a_folder_without_cases_has_none_and_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert cases_beside(tmp_path) == ()
    with pytest.raises(RailConfigError, match="no such file"):
        read_cases(tmp_path / "cases.yaml")


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ("{prompt: hi, answer: fine, expect: allow}", ""),
        ("{prompt: hi, answer: TOXIC, expect: block, rail: ratchet toxicity output}", ""),
        ("{prompt: hi, answer: TOXIC, expect: allow}", "expected allow, got block by 'ratchet toxicity output'"),
        ("{prompt: hi, answer: fine, expect: block}", "expected block, got allow"),
        ("{prompt: hi, answer: fine, expect: mask}", "expected mask, got allow"),
        ("{prompt: hi, answer: TOXIC, expect: block, rail: regex check output}", "by 'regex check output', got it by"),
        ("{messages: [{role: user, content: TOXIC}], expect: allow}", ""),
    ],
)
async def test_a_case_says_what_is_not_as_expected(tmp_path: Path, profile_of: Any, case: str, problem: str) -> None:
    (read,) = read_cases(written(tmp_path, f"cases: [{case}]"))
    result = await run_case(profile_of(TOXICITY), read)
    assert problem in result.problem
    assert bool(problem) == bool(result.problem)


@pytest.mark.parametrize("expect", ["allow", "block", "mask"])
async def test_a_rail_that_fails_meets_no_expectation(
    tmp_path: Path, profile_of: Any, with_rail: Any, expect: str
) -> None:
    async def broken(text: str, **_: Any) -> Any:
        raise RuntimeError

    with_rail(broken)
    (case,) = read_cases(written(tmp_path, f"cases: [{{prompt: hi, answer: fine, expect: {expect}}}]"))
    result = await run_case(profile_of("rails: {output: {flows: [test rail]}}"), case)
    assert "got failed by 'test rail'" in result.problem
