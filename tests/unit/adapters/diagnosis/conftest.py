"""Small real parts for the diagnosis tests: a model that refuses by rule, a judge of its words, vectors of words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.diagnosis.case import Case, Did, Question, Should
from ratchet_adapters.evals.item import Axis, Item
from ratchet_adapters.evals.judges.judge import Answer, Judgement
from ratchet_adapters.evals.suites.suite import ItemSuite

REFUSAL = "I can't help with that."
ANSWER = "Of course, that is easily done."


@dataclass
class RuleModel:
    """Answers from a function of (adapter, prompt) and remembers what it was asked."""

    rule: Callable[[str, str], str]
    asked: list[tuple[str, str]] = field(default_factory=list)

    async def answers(self, prompts: Sequence[str], adapter: str, max_tokens: int) -> list[str]:
        self.asked += [(adapter, prompt) for prompt in prompts]
        return [self.rule(adapter, prompt) for prompt in prompts]


class WordJudge:
    """Knows the two sentences above; anything else is incoherent."""

    name = "words"
    version = "1"

    def judge(self, answers: Sequence[Answer]) -> list[Judgement]:
        labels = {REFUSAL: Did.REFUSED, ANSWER: Did.COMPLIED}
        found = [labels.get(answer.text, Did.INCOHERENT) for answer in answers]
        return [Judgement(float(did is Did.REFUSED), did.value) for did in found]


@dataclass
class TableTriage:
    """Gives a prompt the highest score of the words of the table in it."""

    table: dict[str, float]
    name: str = "triage"
    version: str = "1"
    labels: tuple[str, ...] = ("harm",)
    primary: str = "harm"
    threshold: float = 0.85

    def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
        return [
            {"harm": max((score for word, score in self.table.items() if word in text), default=0.0)} for text in texts
        ]


def embed(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """Bags of hashed words as unit vectors: enough to be near when words are shared."""
    vectors = np.zeros((len(texts), 512), dtype=np.float32)
    for line, text in enumerate(texts):
        for word in text.lower().split():
            vectors[line, int(hashlib.sha256(word.strip("?.,").encode()).hexdigest(), 16) % 512] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def make_suite(axis: Axis, train: Sequence[str], evaluation: Sequence[str] = (), name: str = "") -> ItemSuite:
    """A suite of these prompts, three categories by turns."""
    kind = "harmful" if axis is Axis.HARMFUL_REFUSAL else "benign_twin"
    items = [
        Item(f"{split}{n}", kind, f"cat{n % 3}", f"c{n}", split, prompt)
        for split, prompts in (("train", train), ("eval", evaluation))
        for n, prompt in enumerate(prompts)
    ]
    return ItemSuite(name or f"small-{axis.value}", axis, "MIT", "memory", lambda: items)


def make_case(prompt: str, did: Did, should: Should = Should.ANSWER, category: str = "cat") -> Case:
    """A judged prompt."""
    return Case(Question(f"s:{prompt}", "benign_twin", category, prompt, should), "said", did)


def make_row(
    prompt: str, kind: RowKind = RowKind.REFUSAL, split: Split = Split.TRAIN, flags: tuple[str, ...] = ()
) -> Row:
    """A training row."""
    return Row(f"row:{prompt}", kind, split, "cat", prompt, REFUSAL, "flag" if flags else "seed", flags, 0)


@pytest.fixture
def shared_data() -> Path:
    """The folder of public data sets beside the checkout."""
    folder = Path(__file__).resolve().parents[4].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder shared/data with the public sets is not beside this repository")
    return folder
