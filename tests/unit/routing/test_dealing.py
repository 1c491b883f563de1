"""Who gets the candidate: the share that was asked for, always the same ones, alike on every server."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.routing.conftest import House, build

from ratchet_adapters.flags import Message
from ratchet_adapters.registry import AdapterNotFound, FleetNotReady, RolloutPlan, RolloutStep, Routing, rollouts
from ratchet_server.routing.router import Router
from ratchet_server.routing.sticky import Sticky, bucket, sticky

PLAN = RolloutPlan(
    steps=(
        RolloutStep(kind="shadow", share_bp=5000),
        RolloutStep(kind="canary", share_bp=1000),
        RolloutStep(kind="probation", share_bp=1000),
    )
)


def router(split: str, share_bp: int, *, by: str = "conversation") -> Router:
    now = datetime.now(UTC)
    return Router(None, Routing(3, "new", "old", now, split, "other", share_bp, by, "r", 1))  # type: ignore[arg-type]


async def dealt(routes: Router, number: int = 4000) -> list[tuple[str, str, str]]:
    found = [await routes.resolve("", Sticky(f"t{n}", f"c{n}")) for n in range(number)]
    return [(route.digest, route.alias, route.arm.name if route.arm else "") for route in found]


async def test_a_canary_gets_its_share_and_both_arms_are_counted() -> None:
    found = await dealt(router("canary", 1000))
    assert set(found) == {("other", "canary", "candidate"), ("new", "champion", "control")}
    assert 0.08 < sum(digest == "other" for digest, _, _ in found) / len(found) < 0.12


async def test_under_probation_the_champion_before_keeps_its_share_and_no_canary_is_taken_back() -> None:
    canary, holdout = await dealt(router("canary", 1000)), await dealt(router("holdout", 1000))
    assert set(holdout) == {("other", "previous", "control"), ("new", "champion", "candidate")}
    assert not [pair for pair in zip(canary, holdout, strict=True) if pair[0][2] == "candidate" != pair[1][2]]


async def test_a_greater_share_takes_nobody_back() -> None:
    small, great = await dealt(router("canary", 500)), await dealt(router("canary", 2500))
    assert all(g[2] == "candidate" for s, g in zip(small, great, strict=True) if s[2] == "candidate")


async def test_a_shadow_never_answers() -> None:
    routes = router("shadow", 5000)
    found = [await routes.resolve("", Sticky("", f"c{n}")) for n in range(1000)]
    assert {route.digest for route in found} == {"new"}
    assert 400 < sum(route.shadow == "other" for route in found) < 600
    assert all((route.arm is not None) == bool(route.shadow) for route in found)


async def test_names_are_answered_by_who_is_named_and_not_counted() -> None:
    routes = router("canary", 9999)
    by_name = [await routes.resolve(name, Sticky("", "c")) for name in ("champion", "canary", "previous", "base")]
    assert [route.digest for route in by_name] == ["new", "other", "old", ""]
    assert not any(route.arm for route in by_name)
    with pytest.raises(AdapterNotFound):
        await routes.resolve("shadow")
    assert (await routes.resolve("")).digest == "new"


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.lists(st.text(min_size=1), max_size=4))
def test_every_turn_of_a_conversation_goes_together(
    tenant: str, principal: str, opening: str, later: list[str]
) -> None:
    first = [Message("system", "be kind"), Message("user", opening)]
    turns = [*first, *(Message("user", text) for text in later)]
    who = {"tenant": tenant, "principal": principal, "conversation_id": ""}
    assert sticky(messages=turns, **who) == sticky(messages=first, **who)
    assert 0 <= bucket("r", sticky(messages=first, **who).key("conversation")) < 10_000


def test_tenants_go_together_where_asked_and_ids_win_over_texts() -> None:
    a, b = (
        sticky(tenant="t", principal=p, conversation_id="", messages=[Message("user", text)])
        for p, text in (("x", "one"), ("y", "two"))
    )
    assert a.key("tenant") == b.key("tenant")
    assert a.key("conversation") != b.key("conversation")
    same = [
        sticky(tenant="t", principal="x", conversation_id="7", messages=[Message("user", text)]) for text in ("1", "2")
    ]
    assert same[0] == same[1]
    other = sticky(tenant="u", principal="x", conversation_id="7", messages=[Message("user", "1")])
    assert other.conversation != same[0].conversation


@pytest.mark.parametrize("split", ["canary", "holdout", "shadow"])
async def test_whole_tenants_are_known_by_a_key_that_tells_no_name(split: str) -> None:
    asked = [Sticky(f"tenant-{n % 7}", f"c{n}") for n in range(40)] + [Sticky("", f"c{n}") for n in range(40)]
    found: dict[str, set[tuple[str, str]]] = {}
    for by in ("tenant", "conversation"):
        routes = router(split, 5000, by=by)
        arms = [(who.tenant, (await routes.resolve("", who)).arm) for who in asked]
        found[by] = {(tenant, arm.tenant) for tenant, arm in arms if arm is not None and arm.tenant}
    # In shadow pairs are compared, so that a tenant is no trial.
    named = set() if split == "shadow" else {who.tenant for who in asked} - {""}
    assert {tenant for tenant, _ in found["tenant"]} == named and len(found["tenant"]) == len(named)
    assert len({key for _, key in found["tenant"]}) == len(named)
    assert not any(tenant in key for tenant, key in found["tenant"])
    assert not found["conversation"]


def advance(house: House, rollout_id: str, step: int) -> None:
    with house.registry.database.write() as session:
        rollouts.advance(session, rollout_id, step, house.registry.policy, "t", "")


async def agreed(house: House, rollout_id: str, step: int) -> None:
    """Advance once every server has said that it can serve the candidate; a rollout tries again by itself, too."""
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(FleetNotReady):
                return await asyncio.to_thread(advance, house, rollout_id, step)
            await asyncio.sleep(0.01)


async def reaches(house: House, version: int) -> None:
    async with asyncio.timeout(10):
        while house.router.routing.version < version:
            await asyncio.sleep(0.005)


async def test_another_server_deals_out_alike_through_a_whole_rollout(house: House) -> None:
    other = build(house.scratch.parent, house.scratch)
    for server in (house, other):
        await server.swaps.start(0.01)
    first = house.add("first")
    await house.promote(first)
    digest = house.add("candidate")
    house.report(digest)
    begun = await house.swaps.begin(digest, PLAN, actor="t", reason="")
    keys = [Sticky(f"t{n % 9}", f"c{n}") for n in range(300)]
    for step in range(3):
        for server in (house, other):
            await reaches(server, house.registry.routing().version)
            # What takes part is loaded before anybody is sent there.
            assert server.swaps.routable(digest)
        assert [await house.router.resolve("", k) for k in keys] == [await other.router.resolve("", k) for k in keys]
        await agreed(house, begun.id, step)
    await reaches(other, house.registry.routing().version)
    assert (other.router.routing.champion, other.router.routing.split) == (digest, "")
    for server in (house, other):
        await server.swaps.stop()


async def test_a_server_that_cannot_load_the_candidate_still_follows(house: House) -> None:
    other = build(house.scratch.parent, house.scratch)
    digest = house.add("candidate")
    house.report(digest)
    await house.swaps.begin(digest, PLAN, actor="t", reason="")
    folder = house.artifacts.fetch(digest)
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    for file in folder.iterdir():
        file.chmod(0o644)
        file.unlink()
    await other.swaps.start(0.01)
    await reaches(other, 1)
    assert other.router.routing.split == "shadow"
    assert not other.swaps.routable(digest)
    await other.swaps.stop()
