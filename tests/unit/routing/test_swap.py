"""Invariants of promotion and rollback, each with the attempt to break it."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.routing.conftest import House, build

from ratchet_adapters.registry import ChampionChanged, GateRefused, NothingToRollBack, RegistryUnavailable
from ratchet_server.engine.errors import AdapterHasNoEffect, AdapterSlotsExhausted
from ratchet_server.routing.swap import AdapterInUse, AdapterUnavailable


async def test_nothing_is_promoted_without_a_pass_against_the_present_champion(house: House) -> None:
    first, second = house.add("first"), house.add("second")
    for outcome in (None, "FAIL", "INCONCLUSIVE"):
        if outcome:
            house.report(first, outcome)
        with pytest.raises(GateRefused):
            await house.swaps.promote(first, expected_champion=None, actor="t", reason="")
    house.report(second)
    await house.promote(first)
    with pytest.raises(GateRefused):
        await house.swaps.promote(second, expected_champion=None, actor="t", reason="")
    assert house.router.routing.champion == first


async def test_a_failed_report_after_a_pass_counts(house: House) -> None:
    digest = house.add("adapter")
    house.report(digest, "PASS")
    house.report(digest, "FAIL")
    with pytest.raises(GateRefused):
        await house.swaps.promote(digest, expected_champion=None, actor="t", reason="")


async def test_an_adapter_without_effect_is_not_routed_even_with_a_pass(house: House) -> None:
    digest = house.add("noop", weights=b"")
    house.report(digest)
    with pytest.raises(AdapterHasNoEffect):
        await house.swaps.promote(digest, expected_champion=None, actor="t", reason="")
    assert house.router.routing.champion == ""
    assert house.engine.loaded() == []
    assert not house.swaps.routable(digest)


async def test_a_promotion_made_against_another_champion_is_refused(house: House) -> None:
    first, second = house.add("first"), house.add("second")
    await house.promote(first)
    house.report(second)
    with pytest.raises(ChampionChanged):
        await house.swaps.promote(second, expected_champion="", actor="t", reason="")
    assert house.router.routing.champion == first


async def test_rollback_walks_back_to_the_base_model_and_then_says_there_is_nothing(house: House) -> None:
    first, second = house.add("first"), house.add("second")
    await house.promote(first)
    await house.promote(second)
    champions = [(await house.swaps.rollback(actor="t", reason="")).routing.champion for _ in range(2)]
    assert champions == [first, ""]
    with pytest.raises(NothingToRollBack):
        await house.swaps.rollback(actor="t", reason="")


async def test_rollback_works_when_the_champion_cannot_be_served(house: House) -> None:
    first, second = house.add("first"), house.add("second")
    await house.promote(first)
    await house.promote(second)
    restarted = build(house.scratch.parent, house.scratch)
    _destroy(restarted, second)
    await restarted.swaps.start(60)
    with pytest.raises(AdapterUnavailable):
        await restarted.swaps.usable(second)
    assert (await restarted.swaps.rollback(actor="t", reason="")).routing.champion == first
    await restarted.swaps.usable(first)
    await restarted.swaps.stop()


async def test_a_champion_that_cannot_be_loaded_is_refused_not_replaced_by_the_base_model(house: House) -> None:
    digest = house.add("adapter")
    await house.promote(digest)
    restarted = build(house.scratch.parent, house.scratch)
    _destroy(restarted, digest)
    await restarted.swaps.start(60)
    route = await restarted.router.resolve("")
    assert route.digest == digest
    with pytest.raises(AdapterUnavailable):
        await restarted.swaps.usable(route.digest)
    await restarted.swaps.stop()


async def test_a_restarted_server_proves_the_champion_again(house: House) -> None:
    digest = house.add("adapter")
    await house.promote(digest)
    restarted = build(house.scratch.parent, house.scratch)
    await restarted.swaps.start(60)
    assert restarted.engine.proved == [digest]
    assert restarted.swaps.routable(digest)
    await restarted.swaps.stop()


async def test_a_route_once_taken_stays(house: House) -> None:
    digest = house.add("adapter")
    route = await house.router.resolve("")
    with house.router.serving(route):
        await house.promote(digest)
        assert route.digest == ""
        assert house.router.traffic()[""] == (1, 1)
    assert (await house.router.resolve("champion")).digest == digest


async def test_routed_adapters_stay_in_the_engine_and_the_oldest_spare_makes_room(house: House) -> None:
    digests = [house.add(f"a{n}") for n in range(5)]
    await house.promote(digests[0])
    with pytest.raises(AdapterInUse):
        await house.swaps.remove(digests[0])
    for digest in digests[1:]:
        await house.swaps.ensure(digest)
    assert digests[0] in house.engine.loaded()
    assert len(house.engine.loaded()) <= 3
    assert digests[4] in house.engine.loaded()


async def test_many_requests_for_one_adapter_load_it_once(house: House) -> None:
    digest = house.add("adapter")
    await asyncio.gather(*(house.swaps.ensure(digest) for _ in range(20)))
    assert house.engine.proved == [digest]


async def test_a_request_for_a_served_adapter_is_one_look_up(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = house.add("adapter")
    await house.promote(digest)
    monkeypatch.setattr(house.engine, "loaded", lambda: pytest.fail("it lists every adapter for one request"))
    await house.swaps.usable(digest)
    await house.swaps.usable("")


async def test_an_older_routing_table_never_replaces_a_newer_one(house: House) -> None:
    old = house.router.routing
    digest = house.add("adapter")
    await house.promote(digest)
    assert not house.router.apply(old)
    assert house.router.routing.champion == digest


async def test_what_a_server_decides_is_counted_by_that_one_alone_as_what_it_was(house: House) -> None:
    other = build(house.scratch.parent, house.scratch)
    await other.swaps.start(0.01)
    first, second = house.add("first"), house.add("second")
    await house.promote(first)
    await _reaches(other, 1)
    await house.swaps.rollback(actor="t", reason="")
    await _reaches(other, 2)
    assert (house.swapped("promote"), house.swapped("rollback")) == (1, 1)
    # Both between two polls, as a rollout does it: through the registry.
    house.report(second)
    await other.swaps.ensure(second)
    server = other.registry.servers()[0].id
    other.registry.promote(second, expected_champion=None, actor="t", reason="", proven_by=server)
    other.registry.rollback(actor="t", reason="")
    await _reaches(other, 4)
    assert (other.swapped("promote"), other.swapped("rollback")) == (1, 1)
    assert _observed(other, "promote") == 2
    await other.swaps.stop()


async def test_a_swap_on_top_of_one_by_another_server_is_observed_with_it_and_each_counted_once(house: House) -> None:
    other = build(house.scratch.parent, house.scratch)
    await house.promote(house.add("first"))
    await other.swaps.rollback(actor="t", reason="")
    assert [_observed(other, kind) for kind in ("promote", "rollback")] == [1, 1]
    for kind in ("promote", "rollback"):
        assert house.swapped(kind) + other.swapped(kind) == 1


async def test_a_swap_is_counted_once_although_the_poll_sees_it_too(house: House) -> None:
    await house.swaps.start(0.001)
    for name in ("first", "second", "third"):
        await house.promote(house.add(name))
    await house.swaps.rollback(actor="t", reason="")
    await asyncio.sleep(0.05)
    assert (house.swapped("promote"), house.swapped("rollback")) == (3, 1)
    await house.swaps.stop()


async def test_promoting_the_champion_again_is_no_swap(house: House) -> None:
    digest = house.add("adapter")
    await house.promote(digest)
    await house.swaps.promote(digest, expected_champion=None, actor="t", reason="again")
    assert house.swapped("promote") == 1


async def test_a_swap_stands_when_it_cannot_be_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> None:
        raise RegistryUnavailable("sqlite:///gone", "disk I/O error")

    digest = house.add("adapter")
    monkeypatch.setattr(house.registry, "routing_changes", unavailable)
    await house.promote(digest)
    assert house.router.routing.champion == digest
    assert house.swapped("promote") == 0


def _observed(house: House, kind: str) -> float:
    return house.metrics.registry.get_sample_value("ratchet_swap_seconds_count", {"kind": kind}) or 0.0


async def _reaches(house: House, version: int) -> None:
    """Waits until a server has followed a change, its count included."""
    async with asyncio.timeout(10):
        while sum(_observed(house, kind) for kind in ("promote", "rollback")) < version:
            await asyncio.sleep(0.005)


def _destroy(house: House, digest: str) -> None:
    """The adapter's files are gone, as after a lost disk."""
    folder = house.artifacts.fetch(digest)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
        file.unlink()


async def test_whoever_is_idle_makes_room_before_one_that_answers(house: House) -> None:
    house.swaps._keep = 2
    older, newer, third = (house.add(name) for name in ("older", "newer", "third"))
    await house.swaps.ensure(older)
    await house.swaps.ensure(newer)
    with house.router.serving(await house.router.resolve(older)):
        await house.swaps.ensure(third)
    assert house.engine.loaded() == [older, third]


async def test_a_load_does_not_wait_for_ever_for_the_requests_of_another_adapter(house: House) -> None:
    house.swaps._keep, house.swaps._room_seconds = 1, 0.05
    busy, wanted = house.add("busy"), house.add("wanted")
    await house.swaps.ensure(busy)
    house.engine.streams_end = asyncio.Event()
    with pytest.raises(AdapterSlotsExhausted):
        await house.swaps.ensure(wanted)
    assert house.engine.loaded() == [busy] and house.swaps.routable(busy), "it stays as it was"
    house.engine.streams_end.set()
    await house.swaps.ensure(wanted)
    assert house.engine.loaded() == [wanted]
