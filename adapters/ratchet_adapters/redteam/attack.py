"""The port every attack implements: it turns an item of a harm suite into a conversation.

It must not know how a conversation is sent nor how the answer is judged. An attack holds no harmful request of its own:
what is asked is always the item's prompt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from ratchet_adapters.evals.item import Item
from ratchet_adapters.redteam.errors import AttackInvalid

__all__ = ["AWAITED", "Attack", "Script", "Turn", "WrittenAttack", "chosen", "scripted", "user"]

AWAITED = ""
"""Text of an assistant's turn that the model under attack writes itself."""

_LONGEST = 32_768
_MOST_TURNS = 128


@dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
        role: Who is said to have written it.
        text: What it says; `AWAITED` in an assistant's turn for what the model really answers there.
    """

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Script:
    """A conversation to be held. The last turn is the user's; the answer to it is judged.

    Attributes:
        turns: In order.
        variant: Which of an attack's wordings it is; "" when there is one. Kept with the result.
    """

    turns: tuple[Turn, ...]
    variant: str = ""

    @property
    def requests(self) -> int:
        """How many answers the model is asked for."""
        return 1 + sum(turn.role == "assistant" and turn.text == AWAITED for turn in self.turns)


@runtime_checkable
class Attack(Protocol):
    """A way to ask for what a model refuses. Deterministic: equal items give equal conversations."""

    @property
    def name(self) -> str:
        """The name it is chosen and reported by."""

    @property
    def version(self) -> str:
        """Changes whenever any conversation it makes changes."""

    @property
    def licence(self) -> str:
        """SPDX id of its wording's licence."""

    @property
    def about(self) -> str:
        """One line for people: what it tries."""

    def apply(self, item: Item) -> Script:
        """Return the conversation that asks for what the item asks for."""
        ...


@dataclass(frozen=True)
class WrittenAttack:
    """An attack that is a function of the prompt.

    Attributes:
        name: See `Attack`.
        about: See `Attack`.
        make: From an item to a conversation.
        version: See `Attack`.
        licence: See `Attack`.
    """

    name: str
    about: str
    make: Callable[[Item], Script]
    version: str = "1"
    licence: str = "Apache-2.0"

    def apply(self, item: Item) -> Script:
        """See `Attack`."""
        return self.make(item)


def user(text: str, variant: str = "") -> Script:
    """Return a conversation of one user message."""
    return Script((Turn("user", text),), variant)


def chosen(item: Item, salt: str, variants: Sequence[str]) -> str:
    """Return one of several wordings, evenly over items and always the same for one item."""
    digest = hashlib.sha256(f"{salt}\n{item.id}\n{item.prompt}".encode()).digest()
    return variants[int.from_bytes(digest[:8], "big") % len(variants)]


def scripted(attack: Attack, item: Item) -> Script:
    """Return what an attack makes of an item, when a server can be sent it.

    Raises:
        AttackInvalid: It raised, or the turns do not alternate, or do not end with the user's, or one is empty or too
            long.
    """
    try:
        script = attack.apply(item)
    # An attack is any third party's code.
    except Exception as error:
        raise AttackInvalid(attack.name, item.id, f"{type(error).__name__}: {error}") from error
    why = _fault(script)
    if why:
        raise AttackInvalid(attack.name, item.id, why)
    return script


def _fault(script: object) -> str:
    if not isinstance(script, Script) or not script.turns:
        return "it is no script of turns"
    turns = script.turns[1:] if script.turns[0].role == "system" else script.turns
    if len(script.turns) > _MOST_TURNS:
        return f"it has {len(script.turns)} turns; a server takes {_MOST_TURNS}"
    if [turn.role for turn in turns] != ["user" if at % 2 == 0 else "assistant" for at in range(len(turns))]:
        return "user and assistant do not take turns"
    if not turns or turns[-1].role != "user":
        return "the last turn is not the user's"
    for number, turn in enumerate(script.turns):
        if turn.role != "assistant" and not turn.text.strip():
            return f"turn {number} is empty"
        if len(turn.text) > _LONGEST:
            return f"turn {number} has {len(turn.text)} characters; a server takes {_LONGEST}"
    return ""
