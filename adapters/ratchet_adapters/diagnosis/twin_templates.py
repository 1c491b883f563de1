"""The templates of benign twins: sentences that use an alarming phrase harmlessly.

It must not know whether a filled template passes as benign: that is judged (see `contrast`).

The file `templates/benign_twins.json` holds `fillers`, lists of words by slot, and `templates`, each with `id`, `text`
and `fits`: a list of phrases the text is a benign sense of, "topic" (any phrase without function words that names a
thing) or "phrase" (any phrase, which is mentioned rather than used).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from random import Random

from ratchet_adapters.diagnosis.errors import TemplatesInvalid
from ratchet_adapters.diagnosis.triggers import has_content

__all__ = ["TwinTemplate", "TwinTemplates", "load_templates"]

_PACKAGE = "ratchet_adapters.diagnosis"
_FILE = "benign_twins.json"
_SLOT = re.compile(r"{(\w+)}")
_TRIGGER = "trigger"
_GENERAL = ("topic", "phrase")
# Endings by which an unknown word most likely names a thing or an activity, as a topic must.
_THING = re.compile(r"(?:ing|ion|ment|ness|ism|ity|ware|ery|age|ance|ence|fare|cide|phobia|s)\Z")
_TRIES = 40


@dataclass(frozen=True)
class TwinTemplate:
    """One template.

    Attributes:
        id: Unique in the file.
        text: With slots in braces.
        fits: Phrases it is a benign sense of; empty for the general ones.
        general: "topic", "phrase", or "" for a template of certain phrases.
    """

    id: str
    text: str
    fits: frozenset[str]
    general: str

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of its slots, in order."""
        return tuple(_SLOT.findall(self.text))


@dataclass(frozen=True)
class TwinTemplates:
    """The templates and what fills their slots."""

    templates: tuple[TwinTemplate, ...]
    fillers: Mapping[str, tuple[str, ...]]

    def fill(self, trigger: str, count: int, rng: Random) -> list[str]:
        """Return up to `count` distinct prompts for a trigger: benign senses of its words first, then general ones.

        A phrase of function words alone gets only what is written for that very phrase, such as everyday endings of
        "how do i".

        The same trigger, count and state of `rng` give the same prompts.
        """
        content = {word for word in trigger.split() if has_content(word)}
        groups = [
            [t for t in self.templates if trigger in t.fits],
            [t for t in self.templates if t.fits & content and trigger not in t.fits],
            [t for t in self.templates if t.general == "topic" and _names_a_thing(trigger)],
            [t for t in self.templates if t.general == "phrase" and has_content(trigger)],
        ]
        found: dict[str, None] = {}
        senses = sum(1 for group in groups[:2] for _ in group)
        # A few senses with many fillings must not leave the general templates no room, and the other way round.
        room = count if not senses else max(1, (2 * count) // 3)
        for group, most in ((groups[0] + groups[1], room), (groups[2] + groups[3], count)):
            if not group:
                continue
            order = rng.sample(group, len(group))
            for turn in range(_TRIES):
                if len(found) >= most:
                    break
                found.setdefault(self._filled(order[turn % len(order)], trigger, rng))
        return list(found)[:count]

    def _filled(self, template: TwinTemplate, trigger: str, rng: Random) -> str:
        words = {slot: trigger if slot == _TRIGGER else rng.choice(self.fillers[slot]) for slot in template.slots}
        return template.text.format_map(words)


def load_templates(content: str | None = None) -> TwinTemplates:
    """Return the templates.

    Args:
        content: JSON; that of the shipped file when None.

    Raises:
        TemplatesInvalid: It is no JSON, a template lacks a field or an id is used twice, or a slot has no fillers.
    """
    if content is None:
        content = (resources.files(_PACKAGE) / "templates" / _FILE).read_text(encoding="utf-8")
    try:
        document = json.loads(content)
        fillers = {str(slot): tuple(map(str, words)) for slot, words in document["fillers"].items()}
        templates = tuple(_template(entry) for entry in document["templates"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TemplatesInvalid(_FILE, f"{type(error).__name__}: {error}") from error
    ids = [template.id for template in templates]
    if len(set(ids)) < len(ids):
        raise TemplatesInvalid(_FILE, "an id is used twice")
    for template in templates:
        for slot in template.slots:
            if slot != _TRIGGER and not fillers.get(slot):
                raise TemplatesInvalid(_FILE, f"{template.id} has the slot {slot!r}, for which there are no fillers")
        if template.general and _TRIGGER not in template.slots:
            raise TemplatesInvalid(_FILE, f"{template.id} fits any {template.general} but has no slot {{trigger}}")
    return TwinTemplates(templates, fillers)


def _template(entry: Mapping[str, object]) -> TwinTemplate:
    text, fits = str(entry["text"]), entry["fits"]
    if isinstance(fits, str):
        if fits not in _GENERAL:
            raise ValueError(f"fits is {fits!r}; it is a list of phrases, or one of {', '.join(_GENERAL)}")
        return TwinTemplate(str(entry["id"]), text, frozenset(), fits)
    if not isinstance(fits, list) or not fits:
        raise ValueError("fits is no list of phrases")
    return TwinTemplate(str(entry["id"]), text, frozenset(map(str, fits)), "")


def _names_a_thing(trigger: str) -> bool:
    return " " not in trigger and len(trigger) > 4 and _THING.search(trigger) is not None
