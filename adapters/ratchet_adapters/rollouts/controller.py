"""Carries the rollout under way one judgement further. Every server calls it; it does not matter which one acts.

There is no leader to lose: what is decided depends on the database alone, each decision is one transaction of the only
writer, and one that another process was faster with changes nothing. It must not know who counts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from ratchet_adapters.registry import (
    FleetNotReady,
    GateRefused,
    NotApproved,
    PromotionFrozen,
    QuorumMissing,
    Registry,
    RolloutPlan,
    RolloutRecord,
    rollouts,
)
from ratchet_adapters.rollouts.judging import Judgement, Says, judge

__all__ = ["ACTOR", "carry_on", "judged"]

log = logging.getLogger(__name__)

ACTOR = "rollout"


def judged(registry: Registry, rollout: RolloutRecord, now: datetime | None = None) -> Judgement:
    """Return what the present step of a rollout shows."""
    hours = ((now or datetime.now(UTC)) - rollout.step_since).total_seconds() / 3600
    counts = registry.arm_counts(rollout.id)
    return judge(RolloutPlan.model_validate(rollout.plan), rollout.step, counts, hours)


def carry_on(
    registry: Registry, now: datetime | None = None, *, tell: Callable[[Judgement], None] | None = None
) -> RolloutRecord | None:
    """Judge the rollout under way and do what follows.

    Args:
        registry: Where it is.
        now: The present when None.
        tell: Called with the judgement, before anything follows from it.

    Returns:
        The rollout as it is afterwards; None when there was none.

    Raises:
        RegistryUnavailable: Nothing was decided.
    """
    rollout = registry.rollout()
    if rollout is None:
        return None
    judgement = judged(registry, rollout, now)
    if tell is not None:
        tell(judgement)
    if judgement.says is Says.UNDECIDED:
        return rollout
    try:
        with registry.database.write() as session:
            if judgement.says is Says.WORSE:
                rollouts.roll_back(session, ACTOR, judgement.reason, evidence=rollout.id)
            elif judgement.says is Says.WITHIN:
                rollouts.advance(session, rollout.id, rollout.step, registry.policy, ACTOR, judgement.reason)
            else:
                rollouts.expire(session, rollout.id, rollout.step, ACTOR, judgement.reason)
    except (NotApproved, PromotionFrozen, GateRefused, FleetNotReady, QuorumMissing) as error:
        log.info("rollout %s waits: %s", rollout.id, error)
        return rollout
    log.warning("rollout %s, step %d: %s (%s)", rollout.id, rollout.step, judgement.says, judgement.reason)
    return registry.rollout(rollout.id)
