"""Promotion and rollback: the gate, compare-and-swap, and a stack that always leads back to the base model."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.registry import (
    AdapterNotFound,
    AdapterRecord,
    ChampionChanged,
    GateRefused,
    NothingToRollBack,
    Registry,
    ReportRecord,
)

Make = Callable[..., AdapterRecord]
MakeReport = Callable[..., ReportRecord]


def test_a_new_registry_routes_to_the_base_model(registry: Registry) -> None:
    routing = registry.routing()
    assert (routing.version, routing.champion, routing.previous) == (0, "", "")
    with pytest.raises(NothingToRollBack):
        registry.rollback(actor="me", reason="")
    assert registry.ledger() == []


def test_nothing_is_promoted_without_a_passing_report(
    registry: Registry, new_adapter: Make, new_report: MakeReport
) -> None:
    digest = new_adapter("a").digest
    registry.add_adapter(new_adapter("a"), "me")
    for outcome in (None, "FAIL", "INCONCLUSIVE"):
        if outcome:
            registry.add_report(new_report(digest, "", outcome))
        with pytest.raises(GateRefused) as caught:
            registry.promote(digest, expected_champion=None, actor="me", reason="")
        assert caught.value.outcome == (outcome or "")
    assert registry.routing().version == 0


def test_the_newest_report_decides(registry: Registry, new_adapter: Make, new_report: MakeReport) -> None:
    digest = new_adapter("a").digest
    registry.add_adapter(new_adapter("a"), "me")
    registry.add_report(new_report(digest, "", "PASS"))
    registry.add_report(new_report(digest, "", "FAIL"))
    with pytest.raises(GateRefused):
        registry.promote(digest, expected_champion="", actor="me", reason="")
    registry.add_report(new_report(digest, "", "PASS"))
    assert registry.promote(digest, expected_champion="base", actor="me", reason="").champion == digest


def test_a_report_against_another_champion_does_not_count(
    registry: Registry, promoted: Callable[[str], str], new_adapter: Make, new_report: MakeReport
) -> None:
    promoted("a")
    registry.add_adapter(new_adapter("b"), "me")
    registry.add_report(new_report(new_adapter("b").digest, "", "PASS"))
    with pytest.raises(GateRefused, match="no gate report"):
        registry.promote(new_adapter("b").digest, expected_champion=None, actor="me", reason="")


def test_a_changed_champion_is_not_replaced(
    registry: Registry, promoted: Callable[[str], str], new_adapter: Make, new_report: MakeReport
) -> None:
    champion = promoted("a")
    registry.add_adapter(new_adapter("b"), "me")
    registry.add_report(new_report(new_adapter("b").digest, champion))
    with pytest.raises(ChampionChanged) as caught:
        registry.promote(new_adapter("b").digest, expected_champion="base", actor="me", reason="")
    assert (caught.value.expected, caught.value.champion) == ("", champion)
    assert registry.routing().champion == champion


def test_promoting_the_champion_again_changes_nothing(registry: Registry, promoted: Callable[[str], str]) -> None:
    digest, before = promoted("a"), registry.ledger()
    assert registry.promote(digest, expected_champion="", actor="me", reason="") == registry.routing()
    assert registry.routing().version == 1
    assert registry.ledger() == before


def test_an_unknown_adapter_is_not_promoted(registry: Registry, new_report: MakeReport) -> None:
    unknown = "sha256:" + "9" * 64
    registry.add_report(new_report(unknown, ""))
    with pytest.raises(AdapterNotFound):
        registry.promote(unknown, expected_champion=None, actor="me", reason="")


def test_rollbacks_lead_down_the_stack_and_never_up(registry: Registry, promoted: Callable[[str], str]) -> None:
    a, b, c = promoted("a"), promoted("b"), promoted("c")
    seen = []
    for _ in range(3):
        routing = registry.rollback(actor="me", reason="worse")
        seen.append((routing.champion, routing.previous))
    assert c not in {champion for champion, _ in seen}
    assert seen == [(b, a), (a, ""), ("", "")]
    with pytest.raises(NothingToRollBack):
        registry.rollback(actor="me", reason="")
    assert registry.routing().version == 6


def test_an_adapter_rolled_back_can_be_promoted_again_on_its_report(
    registry: Registry, promoted: Callable[[str], str]
) -> None:
    a = promoted("a")
    registry.rollback(actor="me", reason="")
    assert registry.promote(a, expected_champion="", actor="me", reason="again").champion == a
    assert registry.rollback(actor="me", reason="").champion == ""


def test_each_version_says_whether_a_promotion_or_a_rollback_made_it(
    registry: Registry, promoted: Callable[[str], str]
) -> None:
    promoted("a")
    promoted("b")
    registry.rollback(actor="me", reason="worse")
    promoted("c")
    made = [(change.version, change.kind) for change in registry.routing_changes(0, 4)]
    assert made == [(1, "promote"), (2, "promote"), (3, "rollback"), (4, "promote")]
    ledger = [entry.kind for entry in registry.ledger() if entry.kind.startswith("routing.")]
    assert ledger == [{"promote": "routing.promoted", "rollback": "routing.rolled_back"}[kind] for _, kind in made]
    assert [change.version for change in registry.routing_changes(1, 3)] == [2, 3]
    assert registry.routing_changes(4, 4) == []
    with pytest.raises(InvalidInput):
        registry.routing_changes(-1, 4)


def test_promote_rollback_promote_rollback_ends_below_both(registry: Registry, promoted: Callable[[str], str]) -> None:
    a = promoted("a")
    promoted("b")
    registry.rollback(actor="me", reason="")
    promoted("c")
    assert registry.rollback(actor="me", reason="").champion == a
    assert registry.rollback(actor="me", reason="").champion == ""


def test_racing_promotions_with_one_expectation_have_one_winner(
    registry: Registry, new_adapter: Make, new_report: MakeReport
) -> None:
    digests = [new_adapter(name).digest for name in "abcd"]
    for name, digest in zip("abcd", digests, strict=True):
        registry.add_adapter(new_adapter(name), "me")
        registry.add_report(new_report(digest, ""))
    won: list[str] = []

    def race(digest: str) -> None:
        try:
            won.append(registry.promote(digest, expected_champion="", actor=digest, reason="").champion)
        except ChampionChanged:
            return

    threads = [threading.Thread(target=race, args=(digest,)) for digest in digests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [registry.routing().champion]
    assert registry.verify_ledger().ok


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(moves=st.lists(st.sampled_from(["a", "b", "c", "back"]), max_size=10))
def test_any_history_behaves_like_a_stack(
    registry: Registry, new_adapter: Make, new_report: MakeReport, moves: list[str]
) -> None:
    while registry.routing().champion:
        registry.rollback(actor="me", reason="clean")
    stack = [""]
    for move in moves:
        if move == "back":
            if len(stack) == 1:
                with pytest.raises(NothingToRollBack):
                    registry.rollback(actor="me", reason="")
                continue
            stack.pop()
            registry.rollback(actor="me", reason="")
        else:
            adapter = new_adapter(move)
            registry.add_adapter(adapter, "me")
            registry.add_report(new_report(adapter.digest, stack[-1]))
            registry.promote(adapter.digest, expected_champion=stack[-1], actor="me", reason="")
            if adapter.digest != stack[-1]:
                stack.append(adapter.digest)
        routing = registry.routing()
        assert (routing.champion, routing.previous) == (stack[-1], stack[-2] if len(stack) > 1 else "")
    assert registry.verify_ledger().ok
