"""What Ratchet adds to a NeMo configuration, under `custom_data.ratchet`: streaming, limits, fail modes per rail.

Only shapes and defaults; what they do is in the gate and the runner.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Advice", "Disclaimer", "Limits", "RailSettings", "RatchetSettings", "Streaming"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Streaming(_Strict):
    """How an answer is released while it is generated."""

    mode: Literal["strict", "bounded", "buffered"] = "strict"
    """strict: a character leaves once a window with all text before it and `holdback_chars` after it has passed.
    bounded: up to `unreviewed_chars` more may leave ahead of that. buffered: nothing leaves before all has passed."""

    unreviewed_chars: int | None = Field(default=None, ge=1, le=10_000)
    """The N of bounded mode, and of no other."""

    window_chars: int = Field(default=160, ge=1, le=10_000)
    """New characters after which the answer so far is judged."""

    holdback_chars: int | None = Field(default=None, ge=0, le=4_096)
    """Judged characters kept back, because what follows may complete a violation. Default: the longest match of the
    output patterns, at least 48."""

    max_wait_ms: int = Field(default=250, ge=1, le=60_000)
    """Text waits no longer than this to be judged, however few characters have come."""

    @model_validator(mode="after")
    def _bound_belongs_to_bounded(self) -> Streaming:
        if (self.mode == "bounded") != (self.unreviewed_chars is not None):
            raise ValueError("`unreviewed_chars` is required in mode bounded and means nothing in the others")
        return self


class Limits(_Strict):
    """Bounds on what is judged."""

    max_text_chars: int = Field(default=200_000, ge=1, le=10_000_000)
    """A longer text is not judged; the check counts as failed."""


class RailSettings(_Strict):
    """One rail's settings, by its flow as listed under `rails.input.flows` or `rails.output.flows`."""

    enabled: bool = True
    """A disabled rail is validated but not run."""

    timeout_ms: int = Field(default=5_000, ge=1, le=600_000)
    """A rail that takes longer has failed."""

    fail_open: bool = False
    """Let the text pass if this rail fails. The failure is still reported."""

    on_rewrite: Literal["apply", "block"] | None = None
    """What to do when a rail that can rewrite the text wants to; such a rail needs it said. apply: the text passes as
    the rail wants it (an answer: only in mode buffered, for nothing of it may have left). block: it does not pass."""

    shadow: bool = False
    """Record what the rail says and let it stop nothing: for a new rail, until its would-have-blocked rate is known."""

    clear_below: float | None = Field(default=None, gt=0.0, lt=1.0)
    """For an input rail that scores: a prompt scored below this is plainly benign, and the rails after it that say
    `only_when_unsure` do not run. docs/triage.md says how to find the value."""

    only_when_unsure: bool = False
    """Do not run this rail on prompts that a rail before it (one with `clear_below`) takes for plainly benign."""

    max_running: int = Field(default=64, ge=1, le=4_096)
    """Checks of this rail at the same time; more wait, within their deadline."""

    break_after: int = Field(default=8, ge=1, le=1_000)
    """Failures in a row after which the rail is not asked for `break_ms`, and fails at once."""

    break_ms: int = Field(default=5_000, ge=1, le=600_000)
    """How long; then one check tries it."""

    unaudited: bool = False
    """Run a rail that is not known to fail closed (some of NeMo's allow the text when their service is down)."""


class Disclaimer(_Strict):
    """A text that answers on a subject must hold."""

    when: str = Field(min_length=1)
    """A pattern (RE2, in any case) of answers on the subject."""

    text: str = Field(min_length=1)


class Advice(_Strict):
    """What the rails of regulated advice go by."""

    domain: Literal["finance"] = "finance"

    disclaimers: list[Disclaimer] = Field(default_factory=list)
    """Needed by the disclaimer rails."""


class RatchetSettings(_Strict):
    """Everything under `custom_data.ratchet`."""

    streaming: Streaming = Field(default_factory=Streaming)
    limits: Limits = Field(default_factory=Limits)
    rails: dict[str, RailSettings] = Field(default_factory=dict)
    advice: Advice | None = None
