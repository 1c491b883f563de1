"""The port every suite implements, and the plain implementation over a list of items.

It must not know any particular suite, nor how answers are judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.item import Axis, Item, items_digest
from ratchet_adapters.evals.suites.noise import Noise

__all__ = ["ItemSuite", "Suite"]


@runtime_checkable
class Suite(Protocol):
    """A named, versioned set of items that measures one axis."""

    @property
    def name(self) -> str:
        """The name it is loaded and reported by."""

    @property
    def version(self) -> str:
        """Digest of the evaluation items: two suites with equal versions ask exactly the same."""

    @property
    def axis(self) -> Axis:
        """What it measures."""

    @property
    def licence(self) -> str:
        """SPDX id of the data's licence, or `unknown`."""

    @property
    def source(self) -> str:
        """Where the data came from: a file, a folder, a hub id."""

    def items(self, split: str = "eval") -> tuple[Item, ...]:
        """Return the items of one split, always in the same order."""
        ...


@dataclass(frozen=True)
class ItemSuite:
    """A suite whose items are read when first asked for.

    Attributes:
        name: See `Suite`.
        axis: See `Suite`.
        licence: See `Suite`.
        source: See `Suite`.
        read: Returns every item of every split; raises `SuiteUnreadable`.
        judge: What turns answers into values: the name of a judge, or "log-probability".
        noise: What is known of the labels' and the judge's error; None when nothing was declared.
        max_tokens: Longest answer, for items that need longer ones than an evaluation's setting; None for that.
    """

    name: str
    axis: Axis
    licence: str
    source: str
    read: Callable[[], Sequence[Item]]
    judge: str = ""
    noise: Noise | None = None
    max_tokens: int | None = None

    @cached_property
    def _all(self) -> tuple[Item, ...]:
        items = tuple(self.read())
        for item_id, count in Counter(item.id for item in items).items():
            if count > 1:
                raise SuiteUnreadable(self.source, f"the id {item_id!r} appears {count} times", column="id")
        return items

    @cached_property
    def version(self) -> str:
        """Digest of the evaluation items."""
        return items_digest(self.items())

    def items(self, split: str = "eval") -> tuple[Item, ...]:
        """Return the items of one split in file order.

        Raises:
            SuiteUnreadable: The data cannot be read or holds an id twice.
        """
        return tuple(item for item in self._all if item.split == split)
