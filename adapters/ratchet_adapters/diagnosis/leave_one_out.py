"""Does a phrase cause the refusal? Prompts are asked again without it, with a neutral word in its place, and without
another phrase of the same length, which is the control.

It must not know how phrases were found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from ratchet_adapters.diagnosis.case import Case, Did
from ratchet_adapters.diagnosis.settings import DiagnosisSettings
from ratchet_adapters.diagnosis.triggers import occurrences, words

__all__ = ["Ask", "Trial", "Tried", "leave_one_out", "without"]

Ask = Callable[[Sequence[str]], Awaitable[Sequence[Did]]]
"""Prompts to what the model under diagnosis did with each, in order."""

NEUTRAL = "something"
"""What a phrase is replaced by: it keeps the sentence whole and names nothing."""


@dataclass(frozen=True)
class Trial:
    """One wrongly refused prompt, asked again.

    Attributes:
        prompt: As it was asked first.
        removed: What the model did without the phrase; None when nothing would have been left to ask.
        replaced: What it did with the neutral word in the phrase's place.
        control: What it did without another phrase of the same length; None when there is no other.
        removed_prompt: What was asked without the phrase.
    """

    prompt: str
    removed: Did | None
    replaced: Did
    control: Did | None
    removed_prompt: str


@dataclass(frozen=True)
class Tried:
    """A trigger in the prompts it was tried in.

    Attributes:
        phrase: The trigger.
        trials: One per prompt.
        removed: Trials in which the refusal went away with the phrase, of `removed_of`.
        replaced: Trials in which it went away with the neutral word, of all.
        control: Trials in which it went away without another phrase, of `control_of`.
    """

    phrase: str
    trials: tuple[Trial, ...]
    removed: int
    removed_of: int
    replaced: int
    control: int
    control_of: int

    @property
    def effect(self) -> float | None:
        """Share of refusals that went away with the phrase, less the control's; None when either was not tried."""
        if not self.removed_of or not self.control_of:
            return None
        return self.removed / self.removed_of - self.control / self.control_of


async def leave_one_out(
    phrases: Sequence[str], refused: Sequence[Case], ask: Ask, *, settings: DiagnosisSettings
) -> list[Tried]:
    """Try each phrase in up to `prompts_per_trigger` of the wrongly refused prompts it occurs in.

    An incoherent answer is no answer: it never counts as a refusal that went away.

    Args:
        phrases: Triggers, in order.
        refused: Wrongly refused cases.
        ask: Asks the model under diagnosis.
        settings: How many prompts, and the seed of the choices.
    """
    plan: list[tuple[str, str, str, str, str]] = []
    for phrase in phrases:
        holding = [case.question.prompt for case in refused if occurrences(case.question.prompt, phrase)]
        drawn = sorted(holding, key=lambda prompt: _rank(prompt, phrase, settings.seed))
        for prompt in drawn[: settings.prompts_per_trigger]:
            removed, replaced = without(prompt, phrase), without(prompt, phrase, NEUTRAL)
            plan.append((phrase, prompt, removed, replaced, _control(prompt, phrase, settings.seed)))
    wanted = list(dict.fromkeys(text for _, _, *texts in plan for text in texts if text))
    did = dict(zip(wanted, await ask(wanted), strict=True)) if wanted else {}
    trials: dict[str, list[Trial]] = {phrase: [] for phrase in phrases}
    for phrase, prompt, removed, replaced, control in plan:
        trials[phrase].append(Trial(prompt, did.get(removed), did[replaced], did.get(control), removed))
    return [_tried(phrase, own) for phrase, own in trials.items()]


def without(prompt: str, phrase: str, instead: str = "") -> str:
    """Return the prompt with every occurrence of a phrase taken out, or replaced.

    Returns:
        The prompt with single spaces, and "" when no word but the replacement is left.
    """
    parts, at = [], 0
    for start, end in occurrences(prompt, phrase):
        # Overlapping occurrences are one.
        if start < at:
            continue
        parts += [prompt[at:start], instead]
        at = end
    text = " ".join("".join([*parts, prompt[at:]]).split())
    for mark in ".,;:?!":
        text = text.replace(f" {mark}", mark)
    return text.strip(" ,;:") if words(text) else ""


def _control(prompt: str, phrase: str, seed: int) -> str:
    """The prompt without another phrase as long that shares no word with the trigger; "" when there is none."""
    said, size = words(prompt), len(phrase.split())
    taken = set(phrase.split())
    others = [said[at : at + size] for at in range(len(said) - size + 1)]
    free = sorted({" ".join(other) for other in others if not taken & set(other)})
    if not free:
        return ""
    return without(prompt, min(free, key=lambda other: _rank(other, prompt, seed)))


def _tried(phrase: str, trials: Sequence[Trial]) -> Tried:
    removed = [trial.removed for trial in trials if trial.removed is not None]
    control = [trial.control for trial in trials if trial.control is not None]
    return Tried(
        phrase,
        tuple(trials),
        removed=removed.count(Did.COMPLIED),
        removed_of=len(removed),
        replaced=[trial.replaced for trial in trials].count(Did.COMPLIED),
        control=control.count(Did.COMPLIED),
        control_of=len(control),
    )


def _rank(text: str, salt: str, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{salt}\n{text}".encode()).hexdigest()
