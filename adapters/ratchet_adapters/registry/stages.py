"""Where an adapter stands on its way to serving and back, and the one table of what may follow what.

It must not know routing, reports or who decides: those raise the events.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from sqlalchemy.orm import Session

from ratchet_adapters.registry.errors import StageForbids
from ratchet_adapters.registry.models import AdapterRow

__all__ = ["TRANSITIONS", "Event", "Stage", "after", "move"]


class Stage(StrEnum):
    """Where an adapter stands."""

    REGISTERED = "registered"
    PROVEN = "proven"
    GATED = "gated"
    SHADOW = "shadow"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    REJECTED = "rejected"
    ROLLED_BACK = "rolled_back"


class Event(StrEnum):
    """What can happen to an adapter."""

    PROVE = "prove"
    """The engine has proven that it changes what it should."""
    PASS = "pass"
    """Its newest report against the present champion is a PASS."""
    FAIL = "fail"
    """Its newest report against the present champion is a FAIL."""
    DOUBT = "doubt"
    """Its newest report against the present champion is INCONCLUSIVE."""
    SHADOW = "shadow"
    """It begins to answer beside the champion, unseen."""
    CANARY = "canary"
    """It begins to answer a share of the requests."""
    PROMOTE = "promote"
    """It becomes the champion through the gate."""
    RETIRE = "retire"
    """Another one became the champion through the gate."""
    ROLL_BACK = "roll_back"
    """It is taken out of service, by somebody or by its own figures."""
    RESTORE = "restore"
    """A rollback of the champion above it makes it champion again."""
    SUPERSEDE = "supersede"
    """The champion it was measured against is gone: its report says nothing any more."""
    EXPIRE = "expire"
    """Its rollout ended without an answer."""


def _from(*stages: Stage, to: Stage) -> Mapping[Stage, Stage]:
    return MappingProxyType(dict.fromkeys(stages, to))


_S = Stage
TRANSITIONS: Mapping[Event, Mapping[Stage, Stage]] = MappingProxyType(
    {
        Event.PROVE: _from(_S.REGISTERED, to=_S.PROVEN),
        # A report comes from an engine that loaded the adapter, so it may come before the proof is written down.
        Event.PASS: _from(
            _S.REGISTERED, _S.PROVEN, _S.GATED, _S.REJECTED, _S.RETIRED, _S.ROLLED_BACK, to=_S.GATED
        ),
        Event.FAIL: _from(_S.REGISTERED, _S.PROVEN, _S.GATED, _S.SHADOW, _S.CANARY, _S.REJECTED, to=_S.REJECTED),
        Event.DOUBT: _from(_S.GATED, _S.SHADOW, _S.CANARY, to=_S.PROVEN),
        Event.SHADOW: _from(_S.GATED, _S.SHADOW, to=_S.SHADOW),
        Event.CANARY: _from(_S.GATED, _S.SHADOW, _S.CANARY, to=_S.CANARY),
        Event.PROMOTE: _from(_S.GATED, _S.SHADOW, _S.CANARY, to=_S.CHAMPION),
        Event.RETIRE: _from(_S.CHAMPION, to=_S.RETIRED),
        Event.ROLL_BACK: _from(_S.SHADOW, _S.CANARY, _S.CHAMPION, to=_S.ROLLED_BACK),
        # What lies on the promotion stack may have been rejected or rolled back since: the way back stays open.
        Event.RESTORE: _from(
            _S.REGISTERED, _S.PROVEN, _S.GATED, _S.RETIRED, _S.REJECTED, _S.ROLLED_BACK, to=_S.CHAMPION
        ),
        Event.SUPERSEDE: _from(_S.SHADOW, _S.CANARY, to=_S.PROVEN),
        Event.EXPIRE: _from(_S.SHADOW, _S.CANARY, to=_S.GATED),
    }
)  # fmt: skip


def after(stage: Stage, event: Event) -> Stage | None:
    """Return the stage an event leads to; None when it may not happen in this stage."""
    return TRANSITIONS[event].get(stage)


def move(session: Session, digest: str, event: Event) -> dict[str, str]:
    """Let an event happen to an adapter in the caller's transaction.

    Returns:
        {digest: new stage} for the ledger entry of the change; empty for the base model, which has no stage.

    Raises:
        StageForbids: The event may not happen in the adapter's stage; nothing was changed.
    """
    row = session.get(AdapterRow, digest) if digest else None
    if row is None:
        return {}
    to = after(Stage(row.stage), event)
    if to is None:
        raise StageForbids(digest, row.stage, str(event), sorted(TRANSITIONS[event]))
    row.stage = str(to)
    return {digest: str(to)}
