"""Rollouts: the table of stages, the policy, and a machine that tries to break both on each database."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ratchet_adapters.registry import (
    TRANSITIONS,
    AdapterRecord,
    Event,
    FreezeWindow,
    GateRefused,
    NotApproved,
    NothingToRollBack,
    PromotionFrozen,
    PromotionPolicy,
    Proof,
    Registry,
    RegistryError,
    ReportRecord,
    RolledBackOnEvidence,
    RolloutActive,
    RolloutPlan,
    RolloutStep,
    SelfApproval,
    Stage,
    StageForbids,
    rollouts,
    stages,
)

Make = Callable[..., AdapterRecord]
MakeReport = Callable[..., ReportRecord]
PROOF = Proof(1.0, 2.0, 8, (1.0,), datetime(2026, 1, 2, tzinfo=UTC))
PLAN = RolloutPlan(
    steps=(
        RolloutStep(kind="shadow", share_bp=2000),
        RolloutStep(kind="canary", share_bp=500),
        RolloutStep(kind="canary", share_bp=2500),
        RolloutStep(kind="probation", share_bp=1000),
    )
)


@pytest.fixture
def gated(registry: Registry, new_adapter: Make, new_report: MakeReport) -> Callable[[str], str]:
    """Adds a proven adapter with a PASS against the present champion; gives its digest."""

    def make(name: str) -> str:
        adapter = new_adapter(name, proof=PROOF)
        registry.add_adapter(adapter, "me")
        registry.add_report(new_report(adapter.digest, registry.routing().champion))
        return adapter.digest

    return make


def advance(registry: Registry, rollout_id: str, step: int) -> None:
    with registry.database.write() as session:
        rollouts.advance(session, rollout_id, step, registry.policy, "rollout", "within its margins")


def fail(registry: Registry, rollout_id: str) -> None:
    with registry.database.write() as session:
        rollouts.roll_back(session, "rollout", "refusal is worse", evidence=rollout_id)


def test_an_adapter_goes_through_every_stage_of_its_plan(registry: Registry, gated: Callable[[str], str]) -> None:
    first = gated("first")
    registry.promote(first, expected_champion="", actor="me", reason="")
    digest = gated("a")
    assert registry.adapter(digest).stage == Stage.GATED
    begun = registry.begin_rollout(digest, plan=PLAN, actor="me", reason="new")
    seen = []
    for step in range(4):
        routing = registry.routing()
        seen.append((registry.adapter(digest).stage, routing.split, routing.beside, routing.share_bp, routing.step))
        advance(registry, begun.id, step)
    assert seen == [
        ("shadow", "shadow", digest, 2000, 0),
        ("canary", "canary", digest, 500, 1),
        ("canary", "canary", digest, 2500, 2),
        ("champion", "holdout", first, 1000, 3),
    ]
    routing = registry.routing()
    assert (routing.champion, routing.previous, routing.split, routing.beside) == (digest, first, "", "")
    assert registry.adapter(first).stage == Stage.RETIRED
    done = registry.rollout(begun.id)
    assert done is not None
    assert (done.outcome, registry.rollout()) == ("completed", None)
    assert [change.kind for change in registry.routing_changes(1, 6)] == ["split"] * 3 + ["promote", "split"]
    assert registry.verify_ledger().ok


def test_who_is_behind_advances_nothing(registry: Registry, gated: Callable[[str], str]) -> None:
    begun = registry.begin_rollout(gated("a"), plan=PLAN, actor="me", reason="")
    advance(registry, begun.id, 0)
    before = registry.routing()
    advance(registry, begun.id, 0)
    fail(registry, "another rollout")
    assert registry.routing() == before


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_rollback_works_in_every_step_and_takes_only_the_newest_thing(
    registry: Registry, gated: Callable[[str], str], steps: int
) -> None:
    first = gated("first")
    registry.promote(first, expected_champion="", actor="me", reason="")
    digest = gated("a")
    begun = registry.begin_rollout(digest, plan=PLAN, actor="me", reason="")
    for step in range(steps):
        advance(registry, begun.id, step)
    routing = registry.rollback(actor="me", reason="worse")
    assert (routing.champion, routing.split, routing.previous) == (first, "", "")
    assert registry.adapter(digest).stage == Stage.ROLLED_BACK
    assert registry.adapter(first).stage == Stage.CHAMPION
    assert registry.rollback(actor="me", reason="").champion == ""
    assert registry.verify_ledger().ok


def test_what_live_traffic_spoke_against_needs_a_newer_report(
    registry: Registry, gated: Callable[[str], str], new_report: MakeReport
) -> None:
    digest = gated("a")
    begun = registry.begin_rollout(digest, plan=PLAN, actor="me", reason="")
    fail(registry, begun.id)
    for ask in (
        lambda: registry.begin_rollout(digest, plan=PLAN, actor="me", reason=""),
        lambda: registry.promote(digest, expected_champion=None, actor="me", reason=""),
    ):
        with pytest.raises(RolledBackOnEvidence):
            ask()
    registry.add_report(new_report(digest, ""))
    assert registry.promote(digest, expected_champion=None, actor="me", reason="").champion == digest


@pytest.mark.parametrize(("outcome", "stage"), [("FAIL", "rejected"), ("INCONCLUSIVE", "proven")])
def test_a_report_that_is_no_pass_ends_the_rollout(
    registry: Registry, gated: Callable[[str], str], new_report: MakeReport, outcome: str, stage: str
) -> None:
    digest = gated("a")
    begun = registry.begin_rollout(digest, plan=PLAN, actor="me", reason="")
    registry.add_report(new_report(digest, "", outcome))
    assert registry.adapter(digest).stage == stage
    assert registry.routing().split == ""
    ended = registry.rollout(begun.id)
    assert ended is not None
    assert ended.outcome == "rejected"
    assert registry.verify_ledger().ok


def test_one_rollout_at_a_time_and_a_promotion_at_once_supersedes_it(
    registry: Registry, gated: Callable[[str], str]
) -> None:
    first, second = gated("a"), gated("b")
    begun = registry.begin_rollout(first, plan=PLAN, actor="me", reason="")
    with pytest.raises(RolloutActive):
        registry.begin_rollout(second, plan=PLAN, actor="me", reason="")
    registry.promote(second, expected_champion="", actor="me", reason="")
    ended = registry.rollout(begun.id)
    assert ended is not None
    assert (ended.outcome, registry.adapter(first).stage, registry.routing().split) == ("superseded", "proven", "")


def test_what_is_not_in_the_table_does_not_happen(registry: Registry, new_adapter: Make) -> None:
    digest = new_adapter("a").digest
    registry.add_adapter(new_adapter("a"), "me")
    for stage in Stage:
        for happening in Event:
            with registry.database.write() as session:
                session.execute(text("UPDATE adapters SET stage = :stage"), {"stage": str(stage)})
                if stage in TRANSITIONS[happening]:
                    assert stages.move(session, digest, happening) == {digest: TRANSITIONS[happening][stage]}
                else:
                    with pytest.raises(StageForbids):
                        stages.move(session, digest, happening)
    # Every stage can be reached, and every one but the first be left.
    assert {to for table in TRANSITIONS.values() for to in table.values()} == set(Stage) - {Stage.REGISTERED}
    assert {stage for table in TRANSITIONS.values() for stage in table} == set(Stage)


def test_an_edited_stage_or_share_is_seen(registry: Registry, gated: Callable[[str], str]) -> None:
    digest = gated("a")
    registry.begin_rollout(digest, plan=PLAN, actor="me", reason="")
    assert registry.verify_ledger().ok
    for edit, undo in (
        ("UPDATE adapters SET stage = 'champion'", "UPDATE adapters SET stage = 'shadow'"),
        (
            "UPDATE routing SET share_bp = 9000 WHERE version > 0",
            "UPDATE routing SET share_bp = 2000 WHERE version = 1",
        ),
    ):
        with registry.database.write() as session:
            session.execute(text(edit))
        assert not registry.verify_ledger().ok
        with registry.database.write() as session:
            session.execute(text(undo))
    assert registry.verify_ledger().ok


def test_two_people_must_agree_and_one_of_them_is_not_who_asks(
    registry: Registry, gated: Callable[[str], str], new_report: MakeReport
) -> None:
    digest = gated("a")
    strict = Registry(registry.database, policy=PromotionPolicy(approvals=1))
    with pytest.raises(NotApproved):
        strict.promote(digest, expected_champion=None, actor="alice", reason="")
    strict.approve(digest, approver="alice", reason="mine")
    with pytest.raises(NotApproved):
        strict.promote(digest, expected_champion=None, actor="alice", reason="")
    # In shadow nobody sees it: that needs no approval, the canary does.
    begun = strict.begin_rollout(digest, plan=PLAN, actor="carol", reason="")
    with pytest.raises(SelfApproval):
        strict.approve(digest, approver="carol")
    strict.rollback(actor="me", reason="")
    strict.add_report(new_report(digest, ""))
    begun = strict.begin_rollout(digest, plan=PLAN, actor="carol", reason="")
    # Alice approved the report before, not this one.
    with pytest.raises(NotApproved):
        advance(strict, begun.id, 0)
    assert strict.routing().split == "shadow"
    strict.approve(digest, approver="bob", reason="looked at the flips")
    strict.approve(digest, approver="bob", reason="twice is once")
    advance(strict, begun.id, 0)
    assert strict.routing().split == "canary"
    assert [e.actor for e in strict.ledger() if e.kind == "adapter.approved"] == ["alice", "bob"]


def test_the_run_that_made_it_does_not_let_its_owner_approve(
    registry: Registry, new_adapter: Make, new_report: MakeReport
) -> None:
    run = registry.create_run(method="m", options={}, requested_by="alice")
    registry.add_adapter(new_adapter("a", run_id=run.id), "learner")
    digest = new_adapter("a").digest
    registry.add_report(new_report(digest, ""))
    with pytest.raises(SelfApproval):
        registry.approve(digest, approver="alice")
    with pytest.raises(GateRefused):
        registry.add_adapter(new_adapter("b"), "me")
        registry.approve(new_adapter("b").digest, approver="bob")


def test_nothing_is_promoted_in_a_freeze_and_everything_rolled_back(
    registry: Registry, gated: Callable[[str], str]
) -> None:
    digest, now = gated("a"), datetime.now(UTC)
    hour = timedelta(hours=1)
    once = FreezeWindow(start=now - hour, end=now + hour)
    again = FreezeWindow(
        cron=f"{(now - timedelta(minutes=5)).minute} {(now - timedelta(minutes=5)).hour} * * *", hours=1
    )
    for window in (once, again):
        frozen = Registry(registry.database, policy=PromotionPolicy(freezes=(window,)))
        for ask in (
            lambda registry=frozen: registry.promote(digest, expected_champion=None, actor="me", reason=""),
            lambda registry=frozen: registry.begin_rollout(digest, plan=PLAN, actor="me", reason=""),
        ):
            with pytest.raises(PromotionFrozen):
                ask()
    begun = registry.begin_rollout(digest, plan=PLAN, actor="me", reason="")
    with pytest.raises(PromotionFrozen):
        advance(frozen, begun.id, 0)
    assert frozen.rollback(actor="me", reason="").split == ""
    over = Registry(
        registry.database, policy=PromotionPolicy(freezes=(FreezeWindow(start=now - 2 * hour, end=now - hour),))
    )
    assert over.promote(digest, expected_champion=None, actor="me", reason="").champion == digest


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"cron": "61 * * * *", "hours": 1},
        {"cron": "0 16 * * 5"},
        {"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
        {"start": "2026-01-01T00:00:00", "end": "2026-01-02T00:00:00"},
    ],
)
def test_a_freeze_window_that_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"validation error"):
        FreezeWindow.model_validate(wrong)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "add",
                "prove",
                "PASS",
                "FAIL",
                "INCONCLUSIVE",
                "begin",
                "advance",
                "expire",
                "evidence",
                "promote",
                "back",
            ]
        ),
        st.sampled_from("abc"),
    ),
    max_size=24,
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=MOVES)
def test_no_order_of_calls_breaks_the_machine(
    registry: Registry, new_adapter: Make, new_report: MakeReport, moves: list[tuple[str, str]]
) -> None:
    run = os.urandom(6).hex()
    try:
        while True:
            registry.rollback(actor="me", reason="clean")
    except NothingToRollBack:
        pass
    passed: set[tuple[str, str]] = set()
    for move, name in [("add", n) for n in "abc"] + [("prove", n) for n in "abc"] + moves:
        adapter, before = new_adapter(f"{run}-{name}"), registry.routing()
        digest, under_way = adapter.digest, registry.rollout()
        plan = replace_plan(name)
        calls: dict[str, Callable[[], object]] = {
            "add": lambda a=adapter: registry.add_adapter(a, "me"),
            "prove": lambda d=digest: registry.record_proof(d, PROOF),
            "begin": lambda d=digest, p=plan: registry.begin_rollout(d, plan=p, actor="me", reason=""),
            "promote": lambda d=digest: registry.promote(d, expected_champion=None, actor="me", reason=""),
            "back": lambda: registry.rollback(actor="me", reason=""),
            "advance": lambda r=under_way: r and advance(registry, r.id, r.step),
            "expire": lambda r=under_way: r and expire(registry, r.id, r.step),
            "evidence": lambda r=under_way: r and fail(registry, r.id),
        }
        if move in {"PASS", "FAIL", "INCONCLUSIVE"}:
            registry.add_report(new_report(digest, before.champion, move))
            (passed.add if move == "PASS" else passed.discard)((digest, before.champion))
        else:
            try:
                calls[move]()
            except (RegistryError, ValueError):
                assert registry.routing() == before
        _holds(registry, before.champion, passed, went_back=move in {"back", "evidence"})
    check = registry.verify_ledger()
    assert check.ok, check.reason


def replace_plan(name: str) -> RolloutPlan:
    """Plans of several shapes: all steps, a canary only, probation only."""
    cut = {"a": PLAN.steps, "b": PLAN.steps[1:2], "c": PLAN.steps[3:]}[name]
    return PLAN.model_copy(update={"steps": cut})


def expire(registry: Registry, rollout_id: str, step: int) -> None:
    with registry.database.write() as session:
        rollouts.expire(session, rollout_id, step, "rollout", "no traffic")


def _holds(registry: Registry, champion_before: str, passed: set[tuple[str, str]], *, went_back: bool) -> None:
    routing, adapters, rollout = registry.routing(), registry.adapters(1000), registry.rollout()
    champions = [a.digest for a in adapters if a.stage == Stage.CHAMPION]
    assert champions == ([routing.champion] if routing.champion else [])
    if routing.champion != champion_before and not went_back:
        assert (routing.champion, champion_before) in passed
    beside = [a.digest for a in adapters if a.stage in (Stage.SHADOW, Stage.CANARY)]
    assert beside == ([routing.beside] if routing.split in ("shadow", "canary") else [])
    assert (rollout is not None) == bool(routing.split)
    if rollout is not None:
        assert (rollout.id, rollout.step) == (routing.rollout_id, routing.step)
