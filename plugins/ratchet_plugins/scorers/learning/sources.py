"""Readers of the public data sets the scorers are trained and measured on, given the folder that holds them.

It must not know which scorer uses a set, nor where the folder is. None of these sets is part of the product.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = [
    "bucket",
    "coconot",
    "completions",
    "cyberseceval",
    "harmful_behaviours",
    "red_instruct",
    "rows",
    "self_instruct",
]


def bucket(text: str, size: int = 10) -> int:
    """Return a stable number below `size` for a text: splits made with it do not depend on order or seed."""
    plain = " ".join(text.lower().split())
    return int.from_bytes(hashlib.sha256(plain.encode()).digest()[:4], "big") % size


def rows(path: Path, delimiter: str = ",") -> Iterator[dict[str, Any]]:
    """Yield the records of a CSV (with header), JSON list or JSONL file as dicts."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8", errors="replace") as handle:
            yield from csv.DictReader(handle, delimiter=delimiter)
    elif path.suffix == ".json":
        yield from json.loads(path.read_text(encoding="utf-8"))
    else:
        with path.open(encoding="utf-8") as handle:
            yield from (json.loads(line) for line in handle if line.strip())


def self_instruct(data: Path) -> tuple[list[str], list[str]]:
    """Return the instructions (with input) and the answers of Self-Instruct (Apache-2.0)."""
    prompts: list[str] = []
    answers: list[str] = []
    for name in ("seed_tasks.jsonl", "user_oriented_instructions.jsonl"):
        for record in rows(data / "self_instruct" / name):
            first = record["instances"][0]
            prompts.append(f"{record['instruction']}\n{first['input']}".strip())
            answers += [instance["output"] for instance in record["instances"] if instance["output"].strip()]
    return prompts, answers


def coconot(data: Path) -> tuple[list[str], list[str], list[str]]:
    """Return the benign prompts, the chosen answers and the rejected needless refusals of CoCoNot pref (MIT)."""
    records = list(rows(data / "coconot" / "coconot_pref.jsonl"))
    return (
        [record["prompt"] for record in records],
        [record["chosen"] for record in records],
        [record["rejected"] for record in records],
    )


def coconot_contrast(data: Path) -> list[str]:
    """Return the benign, alarming-looking prompts of CoCoNot contrast (MIT)."""
    return [record["prompt"] for record in rows(data / "coconot" / "coconot_contrast_eval.jsonl")]


def completions(data: Path) -> list[tuple[str, str, str]]:
    """Return (model, completion, label) of the XSTest human labels (CC-BY-4.0); label is full/partial/compliance."""
    names = {"1_full_compliance": "compliance", "2_full_refusal": "full", "3_partial_refusal": "partial"}
    return [
        (record["model"], record["completion"], names[record["final_label"]])
        for record in rows(data / "xstest_refusal_labels" / "completions.csv")
    ]


def cyberseceval(data: Path) -> list[str]:
    """Return the benign security prompts of CyberSecEval FRR (MIT)."""
    return [record["mutated_prompt"] for record in rows(data / "cyberseceval_frr" / "mitre_frr.json")]


def red_instruct(data: Path) -> list[str]:
    """Return the harmful questions of HarmfulQA, CatQA and DangerousQA (Apache-2.0)."""
    folder = data / "red_instruct"
    found: list[str] = []
    for name in ("harmfulqa.json", "catqa_english.json", "dangerousqa.json"):
        found += _leaves(json.loads((folder / name).read_text(encoding="utf-8")))
    return found


def harmful_behaviours(data: Path) -> dict[str, list[str]]:
    """Return the prompts of AdvBench, HarmBench val, JailbreakBench and StrongREJECT (MIT): for measuring only."""
    columns = {
        "advbench": "goal",
        "harmbench_val": "Behavior",
        "jailbreakbench": "Goal",
        "strongreject": "forbidden_prompt",
    }
    folder = data / "harmful_behaviors"
    return {name: [record[column] for record in rows(folder / f"{name}.csv")] for name, column in columns.items()}


def _leaves(tree: Any) -> list[str]:
    if isinstance(tree, str):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    return [leaf for child in children for leaf in _leaves(child)]
