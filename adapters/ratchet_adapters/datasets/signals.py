"""How many independent signals stand behind a lesson: somebody's claim, a detector, a reviewer.

It must not know what a lesson teaches. Two of a kind are one: names are cheap, and the rails and the scorers look at a
prompt with the same models.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from enum import StrEnum

from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.datasets.training_flag import TrainingFlag

__all__ = ["Signal", "signals_of"]

_DETECTORS = frozenset({"RAIL", "SCORER"})
_CLAIMS = frozenset({"USER", "IMPORT"})


class Signal(StrEnum):
    """Where agreement comes from."""

    CLAIM = "claim"
    DETECTOR = "detector"
    REVIEWER = "reviewer"


def signals_of(flags: Sequence[TrainingFlag], settings: DatasetSettings) -> tuple[Signal, ...]:
    """Return the independent signals behind flags that say the same of the same prompt, in order of name.

    A claim is a flag somebody submitted. A detector is a rail or scorer that flagged, or the scores of the served
    exchange when they agree with the claim; scores that came with an import are the importer's word, not a signal.
    A reviewer counts where a flag was accepted by somebody who is not its principal.
    """
    found: set[Signal] = set()
    for flag in flags:
        if flag.source in _CLAIMS:
            found.add(Signal.CLAIM)
        if flag.source in _DETECTORS or (flag.source != "IMPORT" and _scores_agree(flag, settings)):
            found.add(Signal.DETECTOR)
        if _name(flag.reviewer) and _name(flag.reviewer) != _name(flag.principal):
            found.add(Signal.REVIEWER)
    return tuple(sorted(found))


def _scores_agree(flag: TrainingFlag, settings: DatasetSettings) -> bool:
    harm, refusal = flag.scores.get("input_harm"), flag.scores.get("refusal")
    if flag.kind == "HARMFUL":
        return harm is not None and harm >= settings.signal_harm
    return harm is not None and refusal is not None and harm <= settings.signal_benign and refusal >= 0.5


def _name(person: str) -> str:
    return unicodedata.normalize("NFKC", person).strip().casefold()
