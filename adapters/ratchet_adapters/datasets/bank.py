"""The refusal templates: what a model is taught to say, by category of harm.

It must not know which prompts they answer. Targets come from here and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from random import Random
from types import MappingProxyType

from ratchet_adapters.datasets.errors import BankInvalid

__all__ = ["GENERAL", "TemplateBank", "load_bank"]

GENERAL = "general"
"""Name of the category-free bank."""

_PACKAGE = "ratchet_adapters.training"
_FOLDER = "templates"


@dataclass(frozen=True)
class TemplateBank:
    """Refusals by category.

    Attributes:
        refusals: Category to texts; always has the general one.
        digest: "sha256:<64 hex>" of the content.
    """

    refusals: Mapping[str, tuple[str, ...]]
    digest: str

    @property
    def categories(self) -> tuple[str, ...]:
        """The named categories, without the general one."""
        return tuple(name for name in self.refusals if name != GENERAL)

    def pick(self, category: str, rng: Random, *, general_share: float = 0.0) -> str:
        """Return a refusal of the category; of the general bank when it has none, and for a share of the others."""
        if category not in self.refusals or rng.random() < general_share:
            category = GENERAL
        return rng.choice(self.refusals[category])


def load_bank(files: Mapping[str, str] | None = None) -> TemplateBank:
    """Return the template bank.

    Args:
        files: File name to JSON content; the shipped bank when None.

    Raises:
        BankInvalid: A file is not {"category": ..., "refusals": [...]}, or there is no general bank.
    """
    banks: dict[str, tuple[str, ...]] = {}
    for name, content in sorted((_shipped() if files is None else files).items()):
        category, refusals = _parse(name, content)
        if category in banks:
            raise BankInvalid(name, f"the category {category!r} is there twice")
        banks[category] = refusals
    if GENERAL not in banks:
        raise BankInvalid(GENERAL, "the category-free bank is missing")
    canonical = json.dumps(banks, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return TemplateBank(MappingProxyType(banks), f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}")


def _shipped() -> dict[str, str]:
    folder = resources.files(_PACKAGE).joinpath(_FOLDER)
    return {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir() if entry.name.endswith(".json")}


def _parse(name: str, content: str) -> tuple[str, tuple[str, ...]]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise BankInvalid(name, f"it is not JSON ({error})") from error
    if not isinstance(value, dict) or set(value) != {"category", "refusals"}:
        raise BankInvalid(name, "it must be an object with the keys category and refusals")
    category, refusals = value["category"], value["refusals"]
    if not isinstance(category, str) or not category:
        raise BankInvalid(name, "category must be a text")
    if not isinstance(refusals, list) or not refusals or not all(isinstance(r, str) and r.strip() for r in refusals):
        raise BankInvalid(name, "refusals must be a list of texts, and not empty")
    return category, tuple(refusals)
