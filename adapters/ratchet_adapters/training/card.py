"""The adapter's README: what it is, what it was taught and with what, for a person.

It must not hold anything that differs between two runs of the same job, or the adapter's digest would.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet_adapters.training.recipe import Recipe

__all__ = ["adapter_card"]

_CARD = """---
library_name: peft
tags: [lora, safety, ratchet]
---

# Safety adapter

A LoRA adapter that teaches its base model to refuse harmful requests and to go on answering the others.
Method: `{method}`. It is valid only on the base model `{base_fingerprint}`.

## What it was taught

| rows | count |
|---|---|
{counts}

Refusals come from Ratchet's template bank; all other answers were written by the base model itself.
Prompts come from reviewed flags and from the train split of the seed suites. No text of a flag is a target.
Dataset `{dataset_digest}`; the dataset's manifest names the flags.

## Recipe

| setting | value |
|---|---|
{settings}

## Limits

It was taught direct requests in English. It does not make the model safe against jailbreaks, other languages or
later fine-tuning. How it measured is in the gate report of its training run, not here.
"""


def adapter_card(
    *, method: str, base_fingerprint: str, dataset_digest: str, counts: Mapping[str, Any], settings: Recipe
) -> str:
    """Return the card as Markdown."""
    return _CARD.format(
        method=method,
        base_fingerprint=base_fingerprint,
        dataset_digest=dataset_digest,
        counts=_table(counts),
        settings=_table(settings.model_dump(mode="json")),
    )


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(f"| {name} | {_shown(value)} |" for name, value in values.items())


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
