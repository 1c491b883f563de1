"""The six labels of the toxicity checkpoint, in the names it is trained with and those Detoxify reports.

It must not know how they are learned.
"""

from __future__ import annotations

__all__ = ["CLASSES", "LABELS", "PRIMARY"]

CLASSES = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
LABELS = ("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_attack")
PRIMARY = "toxicity"
