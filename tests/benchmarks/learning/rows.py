"""Rows that several benchmarks train on besides their own: ordinary answers and plain texts, from train splits."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.learning.model import loaded

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.seed import load_seed
from ratchet_adapters.training.trainers.generation import generate
from ratchet_adapters.training.trainers.model import load_tokenizer


def ordinary_rows(base: Path, count: int, *, tokens: int = 16) -> list[Row]:
    """Ordinary prompts with the base model's own greedy answers."""
    prompts = [prompt.prompt for prompt in load_seed().of("ordinary")[:count]]
    answers = generate(loaded(base), load_tokenizer(base), prompts, max_tokens=tokens)
    return [
        Row(f"replay-{number}", RowKind.REPLAY, Split.TRAIN, "", prompt, answer, "seed", (), number)
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def text_rows() -> list[Row]:
    """Plain texts that hold an adapter to the base model."""
    return [
        Row(f"anchor-{number}", RowKind.ANCHOR, Split.TRAIN, "", "", text.prompt, "seed", (), 10_000 + number)
        for number, text in enumerate(load_seed().of("text"))
    ]


def written(rows: list[Row], folder: Path) -> Path:
    """The rows as a dataset folder."""
    manifest = {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {}}
    return Dataset(tuple(rows), manifest).write(folder)
