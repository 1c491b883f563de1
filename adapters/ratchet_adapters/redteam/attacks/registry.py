"""Attacks by name: the shipped ones and those other packages add under the entry-point group `ratchet.attacks`.

It must not know how any of them words anything. An attack that does not load is an error, never skipped.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from types import MappingProxyType

from ratchet_adapters.redteam.attack import Attack
from ratchet_adapters.redteam.attacks import encodings, framing, multi_turn, templates
from ratchet_adapters.redteam.errors import AttackUnknown

__all__ = ["CONTROL", "GROUP", "attack_names", "load_attack"]

GROUP = "ratchet.attacks"
CONTROL = "direct"
"""The attack that is none: what the others are compared with."""

_SHIPPED: Mapping[str, Attack] = MappingProxyType(
    {attack.name: attack for attack in (*framing.ATTACKS, *templates.ATTACKS, *encodings.ATTACKS, *multi_turn.ATTACKS)}
)


def attack_names() -> tuple[str, ...]:
    """Return every name `load_attack` knows, the shipped ones first, without loading anything."""
    added = {point.name for point in importlib.metadata.entry_points(group=GROUP)} - set(_SHIPPED)
    return (*_SHIPPED, *sorted(added))


def load_attack(name: str) -> Attack:
    """Return the attack of a name.

    Args:
        name: A shipped attack, or an entry point of the group `ratchet.attacks` whose value is an `Attack` or a
            callable that returns one.

    Raises:
        AttackUnknown: The name is unknown or claimed twice, or its package does not load or makes no attack.
    """
    points = list(importlib.metadata.entry_points(group=GROUP, name=name))
    if len({point.value for point in points}) + (name in _SHIPPED) > 1:
        raise AttackUnknown(name, f"several packages claim it ({', '.join(p.value for p in points)}); uninstall one.")
    if name in _SHIPPED:
        return _SHIPPED[name]
    if not points:
        raise AttackUnknown(name, f"there is none of that name; there are {', '.join(attack_names())}.")
    try:
        made = points[0].load()
        if not isinstance(made, Attack):
            made = made()
    # A third party's module may raise anything while it is imported or called.
    except Exception as error:
        raise AttackUnknown(name, f"it does not load: {error!r}.") from error
    if not isinstance(made, Attack) or made.name != name:
        raise AttackUnknown(name, "what its entry point gives is no Attack of that name.")
    return made
