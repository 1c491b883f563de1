"""Typed errors of diagnosis. Each says what was wrong and what to do.

They must not know how they are shown on the command line.
"""

from __future__ import annotations

from ratchet_adapters.errors import AdaptersError

__all__ = ["AnswersMissing", "DiagnosisError", "NothingToDiagnose", "SuiteUnfit", "TemplatesInvalid"]


class DiagnosisError(AdaptersError):
    """Base of all errors of this subpackage."""


class AnswersMissing(DiagnosisError):
    """The model returned a different number of answers than it was asked for."""

    def __init__(self, asked: int, got: int) -> None:
        super().__init__(
            f"The model was asked {asked} prompts and returned {got} answers. "
            "An answerer must return one text per prompt, in order."
        )
        self.asked = asked
        self.got = got


class SuiteUnfit(DiagnosisError):
    """A suite measures something else than refusal, or has no items in the split that was asked for."""

    def __init__(self, suite: str, why: str) -> None:
        super().__init__(f"The suite {suite!r} can not be diagnosed on: {why}.")
        self.suite = suite
        self.why = why


class NothingToDiagnose(DiagnosisError):
    """No prompt that should be answered is among the suites."""

    def __init__(self) -> None:
        super().__init__(
            "None of the suites holds prompts that should be answered, so no wrong refusal can be found. "
            "Add one that measures over_refusal, such as seed-benign-twins."
        )


class TemplatesInvalid(DiagnosisError):
    """The file of contrast templates can not be used."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"Contrast templates {name!r}: {why}. Correct the file.")
        self.name = name
        self.why = why
