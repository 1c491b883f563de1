"""Rollouts through kill -9 at every edge, and through an upgrade of a database that knew none."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import event
from sqlalchemy.orm import Session
from tests.contract.test_registry_rollouts import PLAN, PROOF, advance, fail

from ratchet_adapters.registry import METRICS, AdapterRecord, ArmCount, Database, Registry, ReportRecord
from ratchet_adapters.registry import migration as migration_module
from ratchet_adapters.rollouts.controller import carry_on

Make = Callable[..., AdapterRecord]
MakeReport = Callable[..., ReportRecord]


def test_a_database_of_before_rollouts_opens_with_stages_that_verify(
    database_url: str, new_adapter: Make, new_report: MakeReport
) -> None:
    with Registry.open(database_url) as registry:
        for name in "abcd":
            registry.add_adapter(replace(new_adapter(name), proof=PROOF if name != "d" else None), "me")
        for name in "ab":
            registry.add_report(new_report(new_adapter(name).digest, registry.routing().champion))
            registry.promote(new_adapter(name).digest, expected_champion=None, actor="me", reason="")
        registry.rollback(actor="me", reason="")
        registry.add_report(new_report(new_adapter("c").digest, new_adapter("a").digest, "FAIL"))
        stages_now = {a.name: a.stage for a in registry.adapters()}
        _to_first_schema(registry.database)
    with Registry.open(database_url) as registry:
        assert {a.name: a.stage for a in registry.adapters()} == stages_now
        assert stages_now == {"a": "champion", "b": "rolled_back", "c": "rejected", "d": "registered"}
        assert [c.kind for c in registry.routing_changes(0, 3)] == ["promote", "promote", "rollback"]
        check = registry.verify_ledger()
        assert check.ok, check.reason


def _to_first_schema(database: Database) -> None:
    config = Config()
    folder = os.path.dirname(migration_module.__file__)
    config.set_main_option("script_location", os.path.join(folder, "migrations"))
    with database.write_connection() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")


# Edges of the machine, in the order in which the doomed process crosses them.
_EDGES = ["begin", "advance 0", "advance 1", "advance 2", "advance 3", "begin b", "evidence", "back"]


@pytest.mark.parametrize("moment", ["after_flush", "before_commit", "after_commit"])
def test_killed_at_any_edge_the_state_is_the_one_before_or_the_one_after(
    database_url: str, new_adapter: Make, new_report: MakeReport, moment: str
) -> None:
    """A process is killed with -9 in the middle of, at the end of, and right after the transaction of every edge."""
    with Registry.open(database_url) as registry:
        for name in "ab":
            registry.add_adapter(replace(new_adapter(name), proof=PROOF), "me")
        a, b = new_adapter("a").digest, new_adapter("b").digest
        registry.add_report(new_report(a, ""))
        registry.add_report(new_report(b, a))
        for edge in _EDGES:
            before = _state(registry)
            assert _dies_crossing(database_url, edge, moment, a, b) == -signal.SIGKILL
            if moment == "after_commit":
                assert _state(registry) != before, edge
            else:
                assert _state(registry) == before, edge
                # Whoever comes next takes it up from there.
                _cross(registry, edge, a, b)
                assert _state(registry) != before, edge
        check = registry.verify_ledger()
        assert check.ok, check.reason


def test_a_decider_killed_at_every_decision_is_replaced_by_the_next(
    database_url: str, new_adapter: Make, new_report: MakeReport
) -> None:
    """Counts come in, a process decides on them and is killed before its commit, another one decides the same."""
    a = new_adapter("a").digest
    with Registry.open(database_url) as registry:
        registry.add_adapter(replace(new_adapter("a"), proof=PROOF), "me")
        registry.add_report(new_report(a, ""))
        begun = registry.begin_rollout(a, plan=PLAN, actor="me", reason="")
        for step in range(4):
            _serve(registry, begun.id, step, bad=1500 if step == 3 else 0)
            before = _state(registry)
            assert _dies(database_url, "before_commit", carry_on) == -signal.SIGKILL
            assert _state(registry) == before
            carry_on(registry)
            assert _state(registry) != before
        assert (registry.routing().champion, registry.adapter(a).stage) == ("", "rolled_back")
        ended = registry.rollout(begun.id)
        assert ended is not None
        assert ended.outcome == "rolled_back"
        assert registry.verify_ledger().ok


def _serve(registry: Registry, rollout_id: str, step: int, *, bad: int) -> None:
    """What a server would have counted of 3000 answers in either arm, of which some of the candidate's were bad."""
    counts = [
        ArmCount(rollout_id, step, arm, metric, 3000, bad if arm == "candidate" else 0)
        for arm in ("control", "candidate")
        for metric in METRICS
    ]
    registry.count_arms("server", counts)


def _state(registry: Registry) -> object:
    rollout = registry.rollout()
    routing = registry.routing()
    return (routing.version, routing.champion, routing.split, {a.digest: a.stage for a in registry.adapters()}, rollout)


def _cross(registry: Registry, edge: str, a: str, b: str) -> None:
    word, _, rest = edge.partition(" ")
    rollout = registry.rollout()
    if word == "begin":
        registry.begin_rollout(b if rest else a, plan=PLAN, actor="me", reason="")
    elif word == "advance":
        assert rollout is not None
        advance(registry, rollout.id, int(rest))
    elif word == "evidence":
        assert rollout is not None
        fail(registry, rollout.id)
    else:
        registry.rollback(actor="me", reason="")


def _dies_crossing(url: str, edge: str, moment: str, a: str, b: str) -> int:
    return _dies(url, moment, lambda registry: _cross(registry, edge, a, b))


def _dies(url: str, moment: str, work: Callable[[Registry], object]) -> int:
    """Have a process do something, killed at a moment of its transaction; its status, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            registry = Registry.open(url)

            def die(*_: object) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            if moment == "after_flush":
                event.listen(Session, "after_flush", die)
            elif moment == "before_commit":
                event.listen(registry.database.engine, "commit", die)
            work(registry)
            die()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
