"""Which attack is tried on which item, and in what order.

It must not know budgets: any beginning of the order is a fair sample.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ratchet_adapters.evals.item import Item
from ratchet_adapters.redteam.attack import Attack, Script, scripted

__all__ = ["Attempt", "planned"]


@dataclass(frozen=True)
class Attempt:
    """One attack on one item.

    Attributes:
        id: "attack/item".
        attack: Name of the attack.
        item: The item.
        script: The conversation to be held.
        seed: Of the sampling of its requests.
    """

    id: str
    attack: str
    item: Item
    script: Script
    seed: int


def planned(items: Sequence[Item], attacks: Sequence[Attack], *, seed: int) -> list[Attempt]:
    """Return every attempt, item by item, with every attack on one item before the next item.

    Items are drawn with the seed, one of each category in turn. So wherever a budget ends, all attacks (but perhaps on
    the last item) have met the same items, and no category is ahead by more than one item.

    Raises:
        AttackInvalid: An attack makes no valid conversation of an item.
    """
    by_category: dict[str, list[Item]] = defaultdict(list)
    for item in sorted(items, key=lambda item: _draw(seed, "item", item.id)):
        by_category[item.category].append(item)
    categories = sorted(by_category, key=lambda name: _draw(seed, "category", name))
    longest = max((len(own) for own in by_category.values()), default=0)
    order = [by_category[name][at] for at in range(longest) for name in categories if at < len(by_category[name])]
    return [
        Attempt(
            f"{attack.name}/{item.id}", attack.name, item, scripted(attack, item), _draw(seed, attack.name, item.id)
        )
        for item in order
        for attack in attacks
    ]


def _draw(seed: int, *facts: str) -> int:
    digest = hashlib.sha256("\n".join((str(seed), *facts)).encode()).digest()
    # 31 bits: what every sampler accepts as a seed.
    return int.from_bytes(digest[:4], "big") >> 1
