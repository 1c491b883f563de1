"""What a trial is judged by: three numbers, which way each is better, and bounds on them.

It must not know how they are measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ratchet_adapters.tuning.errors import ConstraintInvalid

__all__ = ["DIRECTIONS", "NAMES", "Constraint", "Measured", "parse_constraint"]

NAMES = ("refusal", "over_refusal", "nll_change")
DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")

_FORM = re.compile(r"\s*([a-z_]+)\s*(<=|>=)\s*([0-9]*\.?[0-9]+(?:e-?[0-9]+)?)\s*")


@dataclass(frozen=True)
class Measured:
    """A model on the validation split.

    Attributes:
        refusal: Share of the harmful prompts it refuses.
        over_refusal: Share of the harmless prompts it refuses.
        nll: Nats per token on plain text.
        nll_change: The same minus the base model's; 0 for the base model.
    """

    refusal: float
    over_refusal: float
    nll: float
    nll_change: float = 0.0

    @property
    def values(self) -> tuple[float, float, float]:
        """The objectives, in the order of `NAMES`."""
        return self.refusal, self.over_refusal, self.nll_change

    @property
    def costs(self) -> tuple[float, float, float]:
        """The objectives turned so that less is better."""
        return -self.refusal, self.over_refusal, self.nll_change

    def finite(self) -> bool:
        """Whether every number is one."""
        return all(map(math.isfinite, (*self.values, self.nll)))

    def summary(self) -> str:
        """One line for people."""
        return (
            f"refusal {self.refusal:.1%}, over-refusal {self.over_refusal:.1%}, {self.nll_change:+.3f} nats per token"
        )


@dataclass(frozen=True)
class Constraint:
    """A bound on one objective.

    Attributes:
        name: Of the objective.
        bound: Its value.
    """

    name: str
    bound: float

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.name}{'>=' if DIRECTIONS[NAMES.index(self.name)] == 'maximize' else '<='}{self.bound:g}"

    def holds(self, measured: Measured) -> bool:
        """Whether a trial satisfies it."""
        place = NAMES.index(self.name)
        meets: Callable[[float], bool] = (
            (lambda value: value >= self.bound)
            if DIRECTIONS[place] == "maximize"
            else (lambda value: value <= self.bound)
        )
        return meets(measured.values[place])


def parse_constraint(text: str) -> Constraint:
    """Return the constraint in a text such as "over_refusal<=0.15".

    Raises:
        ConstraintInvalid: It is malformed, names no objective, or bounds one on the side where more is better.
    """
    match = _FORM.fullmatch(text)
    if match is None:
        raise ConstraintInvalid(text, "it is not NAME<=NUMBER or NAME>=NUMBER")
    name, operator, number = match.groups()
    if name not in NAMES:
        raise ConstraintInvalid(text, f"there is no objective {name!r}; there are {', '.join(NAMES)}")
    wanted = ">=" if DIRECTIONS[NAMES.index(name)] == "maximize" else "<="
    if operator != wanted:
        raise ConstraintInvalid(text, f"{name} can only be bounded with {wanted}")
    bound = float(number)
    if name != "nll_change" and bound > 1:
        raise ConstraintInvalid(text, f"{name} is a share between 0 and 1")
    return Constraint(name, bound)
