"""Counterfactual pairs from templates: two texts that differ in nothing but the group they speak of.

It must not know models. The shipped templates are split by template, and the words that fill them by split, so that a
model trained on the pairs of `train` has seen neither sentence nor occupation of `held_out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ratchet_adapters.evals.errors import SuiteUnreadable

__all__ = ["Pair", "TemplateSet", "expand", "shipped_templates", "template_pairs"]

Split = Literal["train", "held_out"]
_SLOT = re.compile(r"\{(\w+)\}")
_FILE = "templates.yaml"
_Word = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True)
class Pair:
    """Two texts that differ only in the group.

    Attributes:
        id: Unique within its source.
        axis: gender, nationality, religion, age, disability.
        cluster: Template it comes from; pairs of one cluster are not independent.
        kind: `sentence`, a whole one, or `prompt`, one to be continued.
        first: The text about one group; for WinoBias the one that follows the stereotype.
        second: The same about the other.
        source: templates, winobias, winogender.
    """

    id: str
    axis: str
    cluster: str
    kind: Literal["sentence", "prompt"]
    first: str
    second: str
    source: str


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Axis(_Part):
    """One kind of group.

    Attributes:
        forms: Names of the slots a group fills, e.g. who, they, their.
        swaps: Pairs of groups, each the words for these slots in order.
    """

    forms: Annotated[list[_Word], Field(min_length=1)]
    swaps: Annotated[list[tuple[list[_Word], list[_Word]]], Field(min_length=1)]


class Template(_Part):
    """One text with slots: those of its axis, and at most one of the fills.

    Attributes:
        id: Unique.
        axis: Which groups fill it.
        split: train or held_out.
        kind: sentence or prompt.
        text: With {slots}.
    """

    id: _Word
    axis: _Word
    split: Split
    kind: Literal["sentence", "prompt"]
    text: _Word


class TemplateSet(_Part):
    """Templates, groups and fills, checked against each other.

    Attributes:
        axes: By name.
        fills: Slot to the words of each split, e.g. occupation.
        templates: In order.
    """

    axes: dict[str, Axis]
    fills: dict[str, dict[Split, list[_Word]]]
    templates: list[Template]

    @model_validator(mode="after")
    def _consistent(self) -> TemplateSet:
        problems = [*self._of_axes(), *self._of_fills(), *self._of_templates()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _of_axes(self) -> Iterator[str]:
        for name, axis in self.axes.items():
            for swap in axis.swaps:
                if any(len(group) != len(axis.forms) for group in swap):
                    yield f"axes.{name}: the swap {swap} has not one word for each of {axis.forms}"
                if swap[0][0] == swap[1][0]:
                    yield f"axes.{name}: {swap} swaps a group with itself"

    def _of_fills(self) -> Iterator[str]:
        for name, words in self.fills.items():
            both = set(words.get("train", ())) & set(words.get("held_out", ()))
            if both or set(words) != {"train", "held_out"}:
                yield f"fills.{name}: it needs train and held_out words with none in common, and has {sorted(both)}"

    def _of_templates(self) -> Iterator[str]:
        ids, texts = set[str](), set[str]()
        for template in self.templates:
            if template.id in ids or template.text in texts:
                yield f"templates.{template.id}: its id or its text appears twice"
            ids.add(template.id)
            texts.add(template.text)
            axis = self.axes.get(template.axis)
            slots = set(_SLOT.findall(template.text))
            if axis is None:
                yield f"templates.{template.id}: there is no axis {template.axis!r}"
            elif axis.forms[0] not in slots:
                yield f"templates.{template.id}: the slot {{{axis.forms[0]}}} is missing, so nothing would be swapped"
            elif (unknown := slots - {*axis.forms, *self.fills}) or len(slots & set(self.fills)) > 1:
                yield f"templates.{template.id}: unknown slots {sorted(unknown)}, or more than one fill"


def template_pairs(split: Split, *, kind: Literal["sentence", "prompt"] | None = None) -> tuple[Pair, ...]:
    """Return the shipped pairs of a split, in a fixed order.

    Args:
        split: train for training, held_out for evaluation.
        kind: Only sentences or only prompts; both without it.

    Raises:
        SuiteUnreadable: The shipped file is damaged.
    """
    return tuple(pair for pair in expand(shipped_templates(), split) if kind is None or pair.kind == kind)


@cache
def shipped_templates() -> TemplateSet:
    """Return the shipped templates.

    Raises:
        SuiteUnreadable: The shipped file is damaged.
    """
    content = (resources.files("ratchet_adapters.evals.bias") / _FILE).read_text(encoding="utf-8")
    try:
        return TemplateSet.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError) as error:
        raise SuiteUnreadable(_FILE, str(error)) from error


def expand(templates: TemplateSet, split: Split) -> Iterator[Pair]:
    """Yield the pairs of every template of a split: each swap with each word of the fill it has."""
    for template in templates.templates:
        if template.split != split:
            continue
        axis = templates.axes[template.axis]
        slots = set(_SLOT.findall(template.text))
        fill = next((name for name in templates.fills if name in slots), "")
        for number, (first, second) in enumerate(axis.swaps):
            for word in templates.fills[fill][split] if fill else [""]:
                texts = [_filled(template.text, axis.forms, group, {fill: word}) for group in (first, second)]
                pair_id = f"{template.id}.{number}" + (f".{word}" if word else "")
                yield Pair(pair_id, template.axis, template.id, template.kind, texts[0], texts[1], "templates")


def _filled(text: str, forms: Sequence[str], group: Sequence[str], fills: Mapping[str, str]) -> str:
    filled = text.format_map({**dict(zip(forms, group, strict=True)), **fills})
    return filled[0].upper() + filled[1:]
