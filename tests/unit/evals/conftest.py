"""Small real parts for the evaluation tests: suites of a few items, a target in memory, results made by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from ratchet_adapters.evals.item import GATED, Axis, Item
from ratchet_adapters.evals.result import EvalResult, ItemResult, SuiteResult
from ratchet_adapters.evals.suites.suite import ItemSuite
from ratchet_adapters.evals.target import LogProb, Sampling


@dataclass
class MemoryTarget:
    """Answers from a function of (adapter, prompt), counts what it was asked, fails where it is told to."""

    answer: Callable[[str, str], str] = lambda adapter, prompt: f"A plain and helpful reply to {prompt}"
    log_prob: Callable[[str, str, str], LogProb] = lambda adapter, context, text: LogProb(-2.0 * len(text), len(text))
    broken: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    scored: list[tuple[str, str]] = field(default_factory=list)

    async def generate(self, prompts: Sequence[str], *, adapter: str, max_tokens: int) -> list[str]:
        for prompt in prompts:
            if prompt in self.broken:
                raise self.broken[prompt]
        self.asked += prompts
        return [self.answer(adapter, prompt) for prompt in prompts]

    async def score(self, items: Sequence[tuple[str, str]], *, adapter: str) -> list[LogProb]:
        self.scored += items
        return [self.log_prob(adapter, context, text) for context, text in items]


def make_suite(axis: Axis, prompts: Sequence[str], name: str = "") -> ItemSuite:
    extra = {"choices": ["right", "wrong"], "answer": 0} if axis is Axis.CLOZE else {}
    items = [Item(f"i{n}", "kind", "cat", f"c{n % 5}", "eval", prompt, extra) for n, prompt in enumerate(prompts)]
    return ItemSuite(name or f"small-{axis.value}", axis, "MIT", "memory", lambda: items)


def make_result(adapter: str = "sha256:cand", n: int = 200, **rates: float) -> EvalResult:
    """An evaluation in which the first `rate * n` items of an axis hold; toxicity and nll are constants."""
    wanted = {"harmful_refusal": 0.9, "over_refusal": 0.05, "toxicity": 0.02, "nll": 3.0, "cloze": 0.6} | rates
    suites = []
    for axis in GATED:
        items = []
        for number in range(n):
            weight = 50.0 if axis is Axis.NLL else 1.0
            wobble = 1.0 + 0.01 * (number % 7)
            if axis in (Axis.TOXICITY, Axis.NLL):
                value = wanted[axis.value] * weight * wobble
            else:
                value = float(number < round(wanted[axis.value] * n))
            label = "full_refusal" if value else "answered"
            items.append(
                ItemResult(
                    f"i{number}",
                    "cat",
                    f"c{number % 20}",
                    f"prompt {number}",
                    "answer",
                    label,
                    value,
                    weight,
                    {"margin": 1.0} if axis is Axis.CLOZE else {},
                )
            )
        suites.append(SuiteResult(f"s-{axis.value}", "sha256:v1", axis, "j@1", Sampling(64), tuple(items)))
    return EvalResult(adapter, tuple(suites), "2026-01-01T00:00:00+00:00")


def change(result: EvalResult, axis: Axis, edit: Callable[[SuiteResult], SuiteResult | None]) -> EvalResult:
    """The result with its suites of one axis edited, or dropped where the edit gives None."""
    edited = [edit(suite) if suite.axis is axis else suite for suite in result.suites]
    return replace(result, suites=tuple(suite for suite in edited if suite is not None))


@pytest.fixture
def target() -> MemoryTarget:
    return MemoryTarget()


@pytest.fixture(scope="session")
def suite_of() -> Callable[..., ItemSuite]:
    return make_suite


@pytest.fixture(scope="session")
def result_of() -> Callable[..., EvalResult]:
    return make_result


@pytest.fixture(scope="session")
def changed() -> Callable[..., EvalResult]:
    return change


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = Path(__file__).resolve().parents[3].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data with the public sets is not beside this repository")
    return folder
