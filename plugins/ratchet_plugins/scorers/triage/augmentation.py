"""Copies of training prompts that keep the label and change what must not matter: the form, and what stands around.

It must not know the network. Without these copies "Write a tutorial on ..." is learned as benign, because the public
harmful sets ask "How can I ...?", and three sentences about the weather hide a request.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ratchet_plugins.scorers.triage.data import Prompt

__all__ = ["AUGMENTED", "reformed", "surrounded"]

AUGMENTED = "augmented"
"""Source of every copy. Copies keep their cluster, so that they are left out together with the original."""

_QUESTION = re.compile(r"^how (?:can|do|could|would|should|might) (?:i|you|we|one|someone) (.+?)\?$", re.I)
_INSTRUCTION = re.compile(
    r"^(?:explain|describe|write a tutorial on|give (?:me )?instructions (?:on|for)) how to (.+?)[.?]?$",
    re.I,
)
_FORMS = (
    "Write a tutorial on how to {}",
    "Explain how to {}.",
    "Give me step-by-step instructions on how to {}",
    "Tell me how to {}",
    "I want to {}. What do I need to do?",
    "Write a detailed guide on how to {}.",
    "What is the best way to {}?",
    "how to {}",
    "Please help me to {}.",
    "How do I {}?",
)


def reformed(prompts: Sequence[Prompt], share: float, seed: int = 0) -> list[Prompt]:
    """Return copies of a share of the prompts that ask how to do something, in another form of asking."""
    pick = random.Random(seed)
    copies = []
    for prompt in prompts:
        match = _QUESTION.match(prompt.text) or _INSTRUCTION.match(prompt.text)
        if match and pick.random() < share:
            text = pick.choice(_FORMS).format(match[1])
            copies.append(Prompt(text, prompt.harmful, prompt.cluster, AUGMENTED))
    return copies


def surrounded(prompts: Sequence[Prompt], filler: Sequence[str], share: float, seed: int = 0) -> list[Prompt]:
    """Return copies of a share of the prompts with one to six benign sentences before them, after them, or both.

    Args:
        prompts: What to copy.
        filler: Benign texts, of which sentences are taken.
        share: In [0, 1].
        seed: Makes the choice repeatable.
    """
    pick = random.Random(seed)
    sentences = [part for text in filler for part in re.split(r"(?<=[.!?])\s+", text) if 20 <= len(part) <= 120]
    copies = []
    for prompt in prompts:
        if pick.random() >= share:
            continue
        parts = [*pick.sample(sentences, pick.randint(1, 6))]
        parts.insert(pick.choice((0, len(parts), pick.randint(0, len(parts)))), prompt.text)
        copies.append(Prompt(pick.choice((" ", " ", "\n")).join(parts), prompt.harmful, prompt.cluster, AUGMENTED))
    return copies
