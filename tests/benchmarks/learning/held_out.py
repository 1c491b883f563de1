"""Preference pairs that no training sees: their form, and those of public sets.

It must not know how they are judged.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class HeldOut:
    """A pair that was not trained on."""

    prompt: str
    chosen: str
    rejected: str
    cluster: str


def public_pairs(count: int) -> dict[str, list[HeldOut]]:
    """Return pairs of public sets below the folder RATCHET_DATA, none without it."""
    folder = os.environ.get("RATCHET_DATA")
    found: dict[str, list[HeldOut]] = {}
    if not folder:
        return found
    rng = Random(0)
    path = Path(folder) / "coconot" / "coconot_pref.jsonl"
    if path.is_file():
        items = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rng.shuffle(items)
        found["coconot"] = [HeldOut(it["prompt"], it["chosen"], it["rejected"], it["id"]) for it in items[:count]]
    path = Path(folder) / "hh_rlhf" / "test.jsonl.gz"
    if path.is_file():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            pairs = [_single_turn(number, json.loads(line)) for number, line in enumerate(stream)]
        found["hh_rlhf"] = rng.sample(usable := [pair for pair in pairs if pair is not None], min(count, len(usable)))
    return found


def _single_turn(number: int, item: Mapping[str, str]) -> HeldOut | None:
    parts = [item[name].split("\n\nAssistant:") for name in ("chosen", "rejected")]
    if any(len(part) != 2 for part in parts) or not all(part[1].strip() for part in parts):
        return None
    prompt = parts[0][0].removeprefix("\n\nHuman:").strip()
    return None if len(prompt) > 600 else HeldOut(prompt, parts[0][1].strip(), parts[1][1].strip(), str(number))
