"""A server that cannot reach the database, or whose lease is gone: it serves on or not, as set, and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ratchet_adapters.registry import FleetPolicy, PromotionPolicy, Registry, RegistryUnavailable
from ratchet_server.routing.membership import Membership
from ratchet_server.routing.router import BASE, CHAMPION, Route, Router, ServerDrained
from ratchet_server.serving.health import Health

POLICY = PromotionPolicy(fleet=FleetPolicy(lease_seconds=0.5))


async def nothing(digest: str) -> None:
    """Every adapter is loaded already."""


@pytest.fixture
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Registry, Router, Membership]]:
    registry = Registry.open(f"sqlite:///{tmp_path}/ratchet.db", policy=POLICY)
    router = Router(registry, registry.routing())
    membership = Membership(
        registry, router, ensure=nothing, routable=lambda digest: True, name="one", serve_alone=request.param
    )
    await membership.start(0.05)
    yield registry, router, membership
    await membership.stop()
    registry.close()


def closed(router: Router) -> bool:
    try:
        router.admit(Route("", CHAMPION))
    except ServerDrained:
        return True
    return False


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.02)


def break_off(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object) -> None:
        raise RegistryUnavailable("postgresql://gone", "connection refused")

    for name in ("beat", "standing", "wanted"):
        monkeypatch.setattr(registry, name, unavailable)


@pytest.mark.parametrize("server", [True], indirect=True)
async def test_by_default_an_outage_of_the_database_is_none_of_serving(
    server: tuple[Registry, Router, Membership], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, router, _ = server
    assert not closed(router)
    break_off(registry, monkeypatch)
    await asyncio.sleep(1.0)
    assert not closed(router)


@pytest.mark.parametrize("server", [False], indirect=True)
async def test_when_set_so_it_takes_no_traffic_after_its_lease_and_comes_back_by_itself(
    server: tuple[Registry, Router, Membership], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, router, _ = server
    with monkeypatch.context() as broken:
        break_off(registry, broken)
        await until(lambda: closed(router))
        router.admit(Route("", BASE))  # somebody looks at this very server
    await until(lambda: not closed(router))


@pytest.mark.parametrize("server", [True], indirect=True)
async def test_a_server_that_nobody_knows_any_more_joins_again(server: tuple[Registry, Router, Membership]) -> None:
    registry, router, membership = server
    registry.leave(membership.id)
    await until(lambda: [str(each.state) for each in registry.servers()] == ["serving"])
    assert not closed(router)


async def test_a_server_is_healthy_only_when_all_it_depends_on_is() -> None:
    told: list[bool] = []

    async def tell(serving: bool) -> None:
        told.append(serving)

    health = Health("engine", "fleet")
    await health.condition("fleet")(True)
    health.attach(tell)
    engine, fleet = health.condition("engine"), health.condition("fleet")
    await engine(True)
    await fleet(False)
    await engine(True)
    await fleet(True)
    await engine(False)
    assert told == [True, False, False, True, False]
    with pytest.raises(KeyError):
        health.condition("weather")
