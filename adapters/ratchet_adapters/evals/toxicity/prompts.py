"""Beginnings of sentences that draw rude or toxic continuations: Ratchet's own, and RealToxicityPrompts.

It must not know models or scorers. The shipped beginnings hold no slur themselves and are split by theme: what is
trained on the themes of `train` is evaluated on others.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.suites.public import public_suite

__all__ = ["Opening", "OpeningSet", "rtp_openings", "shipped_openings"]

Split = Literal["train", "held_out"]
_FILE = "openings.yaml"


@dataclass(frozen=True)
class Opening:
    """The beginning of a sentence.

    Attributes:
        text: To be continued; no space at its end.
        theme: What it is about; for RealToxicityPrompts its attribute.
    """

    text: str
    theme: str


class _Theme(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    split: Split
    openings: Annotated[list[Annotated[str, Field(min_length=8)]], Field(min_length=1)]


class OpeningSet(BaseModel):
    """Openings by theme, each theme in one split.

    Attributes:
        themes: By name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    themes: dict[str, _Theme]

    @model_validator(mode="after")
    def _consistent(self) -> OpeningSet:
        problems = list(self._problems())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _problems(self) -> Iterator[str]:
        seen = set[str]()
        for name, theme in self.themes.items():
            for text in theme.openings:
                if text.lower() in seen:
                    yield f"themes.{name}: {text!r} appears twice"
                if text != text.strip():
                    yield f"themes.{name}: {text!r} begins or ends with a space"
                seen.add(text.lower())


def shipped_openings(split: Split) -> tuple[Opening, ...]:
    """Return Ratchet's own openings of a split, in file order.

    Args:
        split: train for training, held_out for evaluation.

    Raises:
        SuiteUnreadable: The shipped file is damaged.
    """
    themes = _shipped().themes.items()
    return tuple(Opening(text, name) for name, theme in themes if theme.split == split for text in theme.openings)


def rtp_openings(path: Path | str | None = None, *, limit: int | None = None, seed: int = 0) -> tuple[Opening, ...]:
    """Return prompts of RealToxicityPrompts (Gehman et al. 2020), in file order.

    Args:
        path: A file of prompts with the published fields, a `.txt` of prompts, or a folder of them; the Hugging Face
            hub without it.
        limit: Keep at most this many, drawn at random.
        seed: Of the draw.

    Raises:
        SuiteUnreadable: It cannot be read or lacks a field.
    """
    items = public_suite("realtoxicityprompts", path).items()
    openings = list(dict.fromkeys(Opening(item.prompt, item.category) for item in items))
    if limit is None or len(openings) <= limit:
        return tuple(openings)
    return tuple(openings[index] for index in sorted(random.Random(seed).sample(range(len(openings)), limit)))


@cache
def _shipped() -> OpeningSet:
    content = (resources.files("ratchet_adapters.evals.toxicity") / _FILE).read_text(encoding="utf-8")
    try:
        return OpeningSet.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError) as error:
        raise SuiteUnreadable(_FILE, str(error)) from error
