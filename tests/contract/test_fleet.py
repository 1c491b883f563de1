"""Three server processes on one PostgreSQL: a promotion is whole or absent, whoever is killed when."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract import fleet
from tests.contract.fleet import POLICY, Server

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.registry import (
    AdapterRecord,
    Database,
    FleetPolicy,
    NothingToRollBack,
    PromotionPolicy,
    Registry,
    ReportRecord,
)

LEASE = POLICY.fleet.lease_seconds
HASTY = POLICY.model_copy(update={"fleet": FleetPolicy(lease_seconds=LEASE, answer_seconds=4.0)})
STRICT = POLICY.model_copy(update={"fleet": FleetPolicy(quorum=1.0, lease_seconds=LEASE)})
_NAMES = itertools.count()


class House:
    """Three servers that take traffic, and what tests do around them."""

    def __init__(
        self,
        url: str,
        folder: Path,
        policy: PromotionPolicy,
        adapter: Callable[..., AdapterRecord],
        report: Callable[..., ReportRecord],
    ) -> None:
        self.registry = Registry(Database(url), policy=policy)
        self._before = self._newest()
        self.url, self.folder, self.artifacts, self.policy = url, folder, folder / "artifacts", policy
        self._adapter, self._report = adapter, report
        self.servers = [self.start(name) for name in "abc"]

    def start(self, name: str) -> Server:
        return fleet.start(name, self.url, self.artifacts, self.policy)

    def passed(self) -> str:
        """A new adapter with a PASS against the present champion."""
        name = f"adapter-{next(_NAMES)}"
        folder = self.folder / name
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
        (folder / "adapter_config.json").write_text(name)
        digest = open_store(str(self.artifacts)).put_folder(folder)
        self.registry.add_adapter(replace(self._adapter(name), digest=digest), "me")
        self.registry.add_report(self._report(digest, self.registry.routing().champion))
        return digest

    def everywhere(self, champion: str, servers: list[Server] | None = None) -> None:
        """The champion is in force on these servers, which take traffic."""
        for server in servers or self.servers:
            server.until(lambda state: state["champion"] == champion and state["admits"] and state["up"])

    def story(self) -> list[tuple[str, dict[str, Any]]]:
        """What the ledger says of the fleet and of promotions; it must verify."""
        check = self.registry.verify_ledger()
        assert check.ok, check.reason
        told = self.registry.ledger(self._before, limit=10_000)
        return [(e.kind, e.payload) for e in told if e.kind.startswith(("fleet.", "routing."))]

    def close(self) -> None:
        """Kill the servers, and leave the database as it was found: the base model serves, and no server is known."""
        for server in self.servers:
            server.kill()
        for known in self.registry.servers():
            self.registry.leave(known.id)
        with suppress(NothingToRollBack):
            while True:
                self.registry.rollback(actor="me", reason="the end of a test")
        self.registry.close()

    def _newest(self) -> int:
        return max((entry.seq for entry in self.registry.ledger(limit=10_000)), default=0)

    def states(self) -> dict[str, str]:
        return {server.name: str(server.state) for server in self.registry.servers()}


@pytest.fixture(scope="module")
def url(postgresql_admin: Callable[[], str]) -> str:
    """A migrated database."""
    found = postgresql_admin()
    Registry.open(found).close()
    return found


@pytest.fixture(params=[POLICY], ids=["lenient"])
def house(
    request: pytest.FixtureRequest,
    url: str,
    tmp_path: Path,
    new_adapter: Callable[..., AdapterRecord],
    new_report: Callable[..., ReportRecord],
) -> Iterator[House]:
    made = House(url, tmp_path, request.param, new_adapter, new_report)
    yield made
    made.close()


def test_every_server_proves_it_before_the_alias_moves_and_rollback_waits_for_nobody(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    c.ask("hangs", digest)
    a.pipe.send(("promote", digest))
    time.sleep(0.5)
    assert house.registry.routing().champion == ""
    assert [server.ask("state")["champion"] for server in (b, c)] == ["", ""]
    c.ask("hangs", digest)
    assert a.hear() == digest
    house.everywhere(digest)
    kind, payload = house.story()[-1]
    assert (kind, len(payload["fleet"]["ready"]), payload["fleet"]["drained"]) == ("routing.promoted", 3, {})

    second = house.passed()
    c.ask("hangs", second)
    a.pipe.send(("promote", second))
    _wait(lambda: house.registry.wanted("nobody") != [])
    b.ask("rollback")
    # c still hangs: had anybody waited for it, nothing would have happened yet.
    assert a.hear() == "GateRefused"
    house.everywhere("")
    c.ask("hangs", second)
    assert house.registry.routing().champion == ""
    assert house.registry.wanted("nobody") == []


def test_a_server_that_cannot_prove_it_is_drained_and_comes_back_when_it_can(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    c.ask("refuses", digest)
    assert a.ask("promote", digest) == digest
    house.everywhere(digest, [a, b])
    c.until(lambda state: not state["admits"] and not state["up"])
    _, payload = house.story()[-1]
    assert next(iter(payload["fleet"]["drained"].values())).startswith("adapter sha256:")
    assert house.states()["c"] == "drained"
    c.ask("refuses", digest)
    house.everywhere(digest)
    assert [kind for kind, _ in house.story()][-1] == "fleet.serving"


def test_rolling_back_brings_a_drained_server_back(house: House) -> None:
    a, _, c = house.servers
    digest = house.passed()
    c.ask("refuses", digest)
    assert a.ask("promote", digest) == digest
    c.until(lambda state: not state["admits"])
    a.ask("rollback")
    house.everywhere("")


def test_without_a_quorum_nothing_is_promoted(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    for server in (b, c):
        server.ask("refuses", digest)
    assert a.ask("promote", digest) == "QuorumMissing"
    house.everywhere("")
    kind, payload = house.story()[-1]
    assert kind == "fleet.promotion_abandoned"
    assert "1 of 3 servers can serve it, and 2 must" in payload["why"]
    for server in (b, c):
        server.ask("refuses", digest)
    assert a.ask("promote", digest) == digest
    house.everywhere(digest)


@pytest.mark.parametrize("house", [HASTY], indirect=True, ids=["hasty"])
def test_a_server_that_never_answers_is_drained_when_its_time_is_up(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    c.ask("hangs", digest)
    assert a.ask("promote", digest) == digest
    house.everywhere(digest, [a, b])
    c.until(lambda state: not state["admits"])
    assert [*house.story()[-1][1]["fleet"]["drained"].values()] == ["no answer within 4 s"]


def test_a_server_killed_while_it_proves_holds_nothing_up_beyond_its_lease(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    c.ask("dies", digest)
    # It has 60 s to answer; the promotion does not wait for them.
    assert a.ask("promote", digest) == digest
    c.process.join()
    assert c.process.exitcode == -signal.SIGKILL
    house.everywhere(digest, [a, b])
    assert len(house.story()[-1][1]["fleet"]["lost"]) == 1
    assert house.states()["c"] == "lost"


def test_a_server_killed_after_it_has_answered_changes_nothing(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    b.ask("hangs", digest)
    a.pipe.send(("promote", digest))
    _wait(lambda: _said(house, c.name, digest))
    c.kill()
    b.ask("hangs", digest)
    assert a.hear() == digest
    house.everywhere(digest, [a, b])
    house.story()


@pytest.mark.parametrize("moment", ["after the proposal", "before the alias moves", "after the alias moved"])
def test_killed_at_any_edge_the_promotion_is_whole_or_absent_and_another_server_finishes_it(
    house: House, moment: str
) -> None:
    """The server that was asked for the promotion is killed with -9."""
    a, b, c = house.servers
    digest = house.passed()
    a.ask("die", moment)
    a.pipe.send(("promote", digest))
    a.process.join(60)
    assert a.process.exitcode == -signal.SIGKILL
    whole = moment == "after the alias moved"
    assert house.registry.routing().champion == (digest if whole else "")
    house.everywhere(digest if whole else "", [b, c])
    assert b.ask("promote", digest) == digest
    house.everywhere(digest, [b, c])
    kinds = [kind for kind, _ in house.story()]
    assert kinds.count("routing.promoted") == 1
    assert kinds.count("fleet.promotion_proposed") == 1
    b.ask("rollback")
    house.everywhere("", [b, c])


@pytest.mark.parametrize("house", [HASTY], indirect=True, ids=["hasty"])
def test_a_promotion_that_nobody_carries_on_is_ended(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    a.ask("die", "after the proposal")
    a.pipe.send(("promote", digest))
    a.process.join(60)
    _wait(lambda: house.story()[-1][0] == "fleet.promotion_abandoned")
    house.everywhere("", [b, c])
    assert b.ask("promote", digest) == digest


def test_a_server_that_was_cut_off_longer_than_its_lease_serves_again_only_what_is_champion(house: House) -> None:
    a, b, c = house.servers
    digest = house.passed()
    os.kill(c.process.pid, signal.SIGSTOP)
    time.sleep(LEASE + 0.2)
    assert a.ask("promote", digest) == digest
    house.everywhere(digest, [a, b])
    os.kill(c.process.pid, signal.SIGCONT)
    house.everywhere(digest)
    assert [kind for kind, _ in house.story()][-1] == "fleet.serving"


def test_servers_come_and_go(house: House) -> None:
    a, b, c = house.servers
    c.ask("stop")
    assert sorted(house.states()) == ["a", "b"]
    digest = house.passed()
    assert a.ask("promote", digest) == digest
    late = house.start("d")
    house.servers.append(late)
    house.everywhere(digest, [a, b, late])
    assert [kind for kind, _ in house.story()].count("fleet.left") == 1


@pytest.mark.parametrize("house", [STRICT], indirect=True, ids=["strict"])
def test_all_must_agree_when_the_quorum_is_one(house: House) -> None:
    a, _, c = house.servers
    digest = house.passed()
    c.ask("refuses", digest)
    assert a.ask("promote", digest) == "QuorumMissing"
    house.everywhere("")


def _said(house: House, name: str, digest: str) -> bool:
    server = next(s for s in house.registry.servers() if s.name == name)
    return any(each.digest == digest and each.said for each in house.registry.wanted(server.id))


def _wait(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
