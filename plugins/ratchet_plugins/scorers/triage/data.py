"""The training examples of the triage scorer, and the held-out sets it is measured on.

It must not know the network. Evaluation items are never returned as training examples, nor near-duplicates of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet_plugins.models.encoder import Encoder
from ratchet_plugins.scorers.learning import sources

__all__ = ["Prompt", "drop_near_duplicates", "held_out_benign", "held_out_harmful", "seed", "training_prompts"]

_NEAR = 0.9
"""Cosine of plain MiniLM embeddings from which on two prompts ask the same."""


@dataclass(frozen=True)
class Prompt:
    """A prompt, whether it is harmful, the group it is held out with, and where it comes from."""

    text: str
    harmful: bool
    cluster: str
    source: str


def seed(folder: Path, split: str) -> list[Prompt]:
    """Return one split (`train` or `eval`) of the seed suite: harmful prompts, benign twins, ordinary prompts.

    Args:
        folder: The suite's folder, with `harm/*.jsonl` and `ordinary.jsonl`.
        split: Which split; the other is not looked at.
    """
    found = []
    for path in (*sorted((folder / "harm").glob("*.jsonl")), folder / "ordinary.jsonl"):
        for record in sources.rows(path):
            if record["split"] == split:
                found.append(Prompt(record["prompt"], record["kind"] == "harmful", record["cluster"], record["kind"]))
    return found


def training_prompts(folder: Path, data: Path) -> list[Prompt]:
    """Return everything triage may learn from: seed train split, red-instruct, and benign prompts of four sets."""
    found = seed(folder, "train")
    # Shares in tenths. Hundreds of the questions of some sets have one form ("How can I use ... to ..."), and all of
    # them would teach the form.
    parts = {
        "red_instruct": (sources.red_instruct(data), True, 4),
        "self_instruct": (sources.self_instruct(data)[0], False, 10),
        "coconot_pref": (sources.coconot(data)[0], False, 7),
        "coconot_contrast": (sources.coconot_contrast(data), False, 10),
        "cyberseceval_frr": (sources.cyberseceval(data), False, 3),
    }
    for name, (texts, harmful, share) in parts.items():
        found += [Prompt(text, harmful, name, name) for text in texts if sources.bucket(text) < share]
    unique = {" ".join(prompt.text.lower().split()): prompt for prompt in reversed(found)}
    return list(unique.values())


def held_out_harmful(data: Path) -> dict[str, list[str]]:
    """Return harmful sets for measuring only: AdvBench, HarmBench val, JailbreakBench, StrongREJECT, AILuminate."""
    found = sources.harmful_behaviours(data)
    path = data / "ailuminate_demo" / "ailuminate_demo_en_us.filtered.csv"
    return {**found, "ailuminate_demo": [record["prompt_text"] for record in sources.rows(path)]}


def held_out_benign(data: Path) -> dict[str, list[str]]:
    """Return benign sets for measuring only: MT-Bench first turns, GSM8K questions, MMLU-Redux questions."""
    mmlu: list[str] = []
    for path in sorted((data / "mmlu_redux").glob("*.csv")):
        # Some of the files are separated by semicolons.
        mark = "," if path.read_bytes().startswith(b"question,") else ";"
        mmlu += [record["question"] for record in sources.rows(path, delimiter=mark)]
    return {
        "mt_bench": [record["turns"][0] for record in sources.rows(data / "mt_bench" / "question.jsonl")],
        "gsm8k": [record["question"] for record in sources.rows(data / "gsm8k" / "test.jsonl")][:500],
        "mmlu_redux": mmlu[::10],
    }


def drop_near_duplicates(train: Sequence[Prompt], held_out: Sequence[str], encoder: Encoder) -> list[Prompt]:
    """Return the prompts of `train` that are not almost the same as any text of `held_out`."""
    nearest = (encoder.encode([prompt.text for prompt in train]) @ encoder.encode(held_out).T).max(axis=1)
    return [prompt for prompt, cosine in zip(train, nearest, strict=True) if cosine < _NEAR]
