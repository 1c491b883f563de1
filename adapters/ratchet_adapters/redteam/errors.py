"""Typed errors of red teaming. Each says what was wrong and what to do."""

from __future__ import annotations

from pathlib import Path

from ratchet_adapters.evals.errors import EvalError

__all__ = [
    "AttackInvalid",
    "AttackUnknown",
    "BudgetInvalid",
    "CampaignDiffers",
    "CampaignEmpty",
    "CampaignUnreadable",
    "ScanInvalid",
]


class AttackUnknown(EvalError):
    """No attack has this name, or several packages claim it, or the package that brings it does not load."""

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        super().__init__(f"Attack {name!r}: {why}")


class AttackInvalid(EvalError):
    """What an attack made of an item is no conversation a server could be sent."""

    def __init__(self, attack: str, item: str, why: str) -> None:
        self.attack = attack
        self.item = item
        super().__init__(f"The attack {attack!r} on the item {item!r} made no valid conversation: {why}. Repair it.")


class BudgetInvalid(EvalError):
    """A campaign that may send nothing can find nothing."""

    def __init__(self, name: str, value: float) -> None:
        self.name = name
        self.value = value
        super().__init__(f"The budget {name} is {value:g}; a campaign needs more than 0 to ask anything.")


class CampaignDiffers(EvalError):
    """A result file belongs to another campaign, so its results must not be mixed with this one's.

    Attributes:
        path: The file.
        facts: Names of what differs.
    """

    def __init__(self, path: Path, facts: tuple[str, ...]) -> None:
        self.path = path
        self.facts = facts
        super().__init__(
            f"{path} holds another campaign (it differs in {', '.join(facts)}). Name another folder, or repeat the "
            "command with what it was started with to go on."
        )


class CampaignUnreadable(EvalError):
    """A result file is damaged, or another process writes to it."""

    def __init__(self, path: Path, why: str) -> None:
        self.path = path
        super().__init__(f"The result file {path} cannot be used: {why}.")


class CampaignEmpty(EvalError):
    """Nothing was judged: there is no attack success rate, and that is not a rate of zero."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The campaign judged no answer ({why}). This says nothing about the model: it is no pass.")


class ScanInvalid(EvalError):
    """A scan for triggers was given material it cannot be done with."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The scan for triggers cannot be done: {why}.")
