"""Which exchanges flag themselves, and as what. Decides only; must not know where flags are kept.

A flag is a claim for a reviewer, so these rules lean towards flagging.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, Field

from ratchet_adapters.flags import Exchange, NewFlag

# All callers that give no name are one: together they contribute no more to a dataset than one principal may.
ANONYMOUS = "anonymous"


class AutoFlagSettings(BaseModel, extra="forbid"):
    """Thresholds of the automatic flags; scores are in [0, 1]."""

    toxicity: float = Field(0.5, ge=0, le=1)
    """Flag answers at or over this Detoxify toxicity."""

    input_harm: float = Field(0.5, ge=0, le=1)
    """A prompt at or over this triage score should be refused: an answer that complies is flagged."""

    input_benign: float = Field(0.1, ge=0, le=1)
    """A prompt at or under this triage score should be answered: a refusal is flagged as over-refusal."""

    refusal: float = Field(0.5, ge=0, le=1)
    """An answer at or over this score is a refusal."""


def auto_flags(exchange: Exchange, settings: AutoFlagSettings) -> Iterator[NewFlag]:
    """The flags of one exchange.

    A rail that blocked flags as RAIL (a toxicity rail as TOXIC, any other as HARMFUL); scores over their threshold, and
    triage that disagrees with what the model did, flag as SCORER. At most one flag per kind.
    """
    seen: set[str] = set()
    for verdict in exchange.verdicts:
        if verdict.get("outcome") != "BLOCK":
            continue
        kind = "TOXIC" if "toxicity" in str(verdict.get("rail")) else "HARMFUL"
        if kind not in seen:
            seen.add(kind)
            yield _flag(exchange, kind, "RAIL", f"{verdict['rail']}: {verdict.get('reason', '')}")
    scores = exchange.scores
    toxicity, harm, refusal = scores.get("toxicity"), scores.get("input_harm"), scores.get("refusal")
    if toxicity is not None and toxicity >= settings.toxicity and "TOXIC" not in seen:
        yield _flag(exchange, "TOXIC", "SCORER", f"toxicity {toxicity:.2f} >= {settings.toxicity}")
    if harm is None or refusal is None or not exchange.completion:
        return
    if harm >= settings.input_harm and refusal < settings.refusal and "HARMFUL" not in seen:
        yield _flag(exchange, "HARMFUL", "SCORER", f"triage {harm:.2f}, answered (refusal {refusal:.2f})")
    if harm <= settings.input_benign and refusal >= settings.refusal:
        yield _flag(exchange, "OVER_REFUSAL", "SCORER", f"triage {harm:.2f}, refused (refusal {refusal:.2f})")


def _flag(exchange: Exchange, kind: str, source: str, note: str) -> NewFlag:
    return NewFlag(
        kind=kind,
        source=source,
        messages=exchange.messages,
        completion=exchange.completion,
        adapter_digest=exchange.adapter_digest,
        request_id=exchange.request_id,
        tenant=exchange.tenant,
        principal=exchange.principal or ANONYMOUS,
        note=note,
        scores=exchange.scores,
    )
