"""Who must agree to a promotion, and when none happens. Enforced in the promotion's own transaction.

It must not know routing. A rollback is never subject to it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Self

from croniter import croniter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from sqlalchemy import select
from sqlalchemy.orm import Session

from ratchet_adapters.registry import ledger
from ratchet_adapters.registry.errors import AdapterNotFound, NotApproved, PromotionFrozen, SelfApproval
from ratchet_adapters.registry.models import AdapterRow, ApprovalRow, ReportRow, RolloutRow, RunRow

__all__ = ["FleetPolicy", "FreezeWindow", "PromotionPolicy", "approve", "check"]


class FreezeWindow(BaseModel):
    """A time in which nothing new goes into service: once (`start`, `end`) or again and again (`cron`, `hours`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: AwareDatetime | None = Field(default=None, description="ISO 8601 with a zone")
    end: AwareDatetime | None = Field(default=None, description="ISO 8601 with a zone")
    cron: str = Field(default="", description="when it opens, as five cron fields in UTC: '0 16 * * 5'")
    hours: float = Field(default=0.0, ge=0, le=24 * 31, description="how long it stays open after each opening")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        once = self.start is not None and self.end is not None and not self.cron and not self.hours
        again = bool(self.cron) and self.hours > 0 and self.start is None and self.end is None
        if not once and not again:
            raise ValueError("give start and end, or cron and hours")
        if again and not croniter.is_valid(self.cron):
            raise ValueError(f"{self.cron!r} is not five cron fields")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("it ends before it starts")
        return self

    def open_until(self, now: datetime) -> datetime | None:
        """Return when the window that is open now closes; None when it is not open."""
        if self.start is not None and self.end is not None:
            return self.end if self.start <= now < self.end else None
        # From just after now, so that an opening this very second counts.
        opened: datetime = croniter(self.cron, now + timedelta(microseconds=1)).get_prev(datetime)
        closes = opened + timedelta(hours=self.hours)
        return closes if now < closes else None

    def __str__(self) -> str:
        """How the operator wrote it."""
        return f"{self.cron} for {self.hours:g} h" if self.cron else f"{self.start} to {self.end}"


class FleetPolicy(BaseModel):
    """When several servers take a new champion into service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    quorum: float = Field(
        default=0.6,
        gt=0,
        le=1,
        description="share of the servers taking traffic that must have proven an adapter before it is champion; the "
        "others are drained. 1: all of them, or nothing is promoted",
    )
    answer_seconds: float = Field(
        default=60.0, gt=0, le=3600, description="time to load and prove it; who has not answered then cannot"
    )
    lease_seconds: float = Field(
        default=10.0, ge=0.5, le=600, description="a server not heard of for so long is believed dead"
    )


class PromotionPolicy(BaseModel):
    """What a promotion needs besides a PASS."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approvals: int = Field(
        default=0, ge=0, le=9, description="people, other than who asks for it, that must approve; 1 is two persons"
    )
    freezes: tuple[FreezeWindow, ...] = Field(default=(), description="windows in which nothing is promoted")
    fleet: FleetPolicy = Field(default_factory=FleetPolicy, description="how many servers must be able to serve it")

    def check_frozen(self, now: datetime) -> None:
        """Raise PromotionFrozen while a window is open."""
        for window in self.freezes:
            if (until := window.open_until(now)) is not None:
                raise PromotionFrozen(str(window), until.isoformat(timespec="seconds"))


def check(session: Session, policy: PromotionPolicy, digest: str, report_id: str, actor: str) -> None:
    """Let a promotion, or a canary, through or not.

    Raises:
        PromotionFrozen: A freeze window is open.
        NotApproved: Too few others have approved the promotion on this report.
    """
    policy.check_frozen(datetime.now(UTC))
    if policy.approvals == 0:
        return
    approvers = set(session.scalars(select(ApprovalRow.approver).where(ApprovalRow.report_id == report_id)))
    present = len(approvers - _requesters(session, digest) - {actor})
    if present < policy.approvals:
        raise NotApproved(digest, report_id, present, policy.approvals)


def approve(session: Session, digest: str, report: ReportRow, approver: str, reason: str) -> None:
    """Record that somebody approves the promotion of an adapter on a report; saying it twice changes nothing.

    Raises:
        AdapterNotFound: It is the base model.
        SelfApproval: It was they who asked for it.
    """
    if not digest:
        raise AdapterNotFound(digest, "it is the base model alone, which is no adapter")
    if approver in _requesters(session, digest):
        raise SelfApproval(approver, digest)
    if session.get(ApprovalRow, (report.id, approver)) is not None:
        return
    now = datetime.now(UTC)
    session.add(ApprovalRow(report_id=report.id, approver=approver, reason=reason, approved_at=now))
    payload = {"digest": digest, "report_id": report.id, "reason": reason}
    ledger.append(session, approver, "adapter.approved", payload)


def _requesters(session: Session, digest: str) -> set[str]:
    """Who asked for this adapter: for its run, and for its rollout under way."""
    row = session.get_one(AdapterRow, digest)
    run = session.get(RunRow, row.run_id) if row.run_id else None
    rollouts = session.scalars(
        select(RolloutRow.requested_by).where(RolloutRow.candidate == digest, RolloutRow.outcome == "")
    )
    return {*rollouts, *([run.requested_by] if run else [])}
