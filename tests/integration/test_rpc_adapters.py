"""Adapters over gRPC on loopback: in, live, back and through a crash, with the real engine and registry behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ratchet.client import AsyncRatchet, Done, InvalidRequest, Refused, Unavailable
from ratchet.client.errors import from_rpc_error
from ratchet.v1 import adapter_pb2, engine_pb2
from ratchet_adapters.registry import Registry, ReportRecord
from ratchet_adapters.registry.errors import FleetNotReady
from ratchet_server.app import App

LONG = {"max_tokens": 200, "rail_profile": "off"}


def _upload(folder: Path, name: str = "test") -> list[adapter_pb2.RegisterRequest]:
    parts = [adapter_pb2.RegisterRequest(header=adapter_pb2.RegisterHeader(name=name))]
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        parts += [
            adapter_pb2.RegisterRequest(chunk=adapter_pb2.FileChunk(name=file.name, data=data[i : i + 1_000_000]))
            for i in range(0, len(data), 1_000_000)
        ]
    return parts


async def _register(client: AsyncRatchet, folder: Path) -> adapter_pb2.RegisterResponse:
    try:
        return await client.adapters.Register(iter(_upload(folder)), timeout=60)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


def _report(app: App, candidate: str, champion: str, outcome: str) -> None:
    record = ReportRecord(
        f"{outcome}-{candidate[7:19]}", "", candidate, champion, outcome, "test", {}, datetime.now(UTC)
    )
    app.registry.add_report(record)


async def test_promotion_needs_a_pass_and_rollback_needs_nothing(
    app: App, client: AsyncRatchet, adapter_factory: object
) -> None:
    made = adapter_factory(seed=41)  # type: ignore[operator]
    registered = await _register(client, made.folder)
    digest = registered.adapter.digest
    assert registered.created and registered.adapter.routable and registered.adapter.proof.mean_delta > 0
    assert not (await _register(client, made.folder)).created

    async def promote() -> adapter_pb2.PromoteResponse:
        try:
            return await client.adapters.Promote(adapter_pb2.PromoteRequest(adapter=digest, actor="t"), timeout=60)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    with pytest.raises(Refused) as caught:
        await promote()
    assert caught.value.reason == "GATE_REFUSED"
    _report(app, digest, "", "FAIL")
    with pytest.raises(Refused):
        await promote()
    assert (await client.generate("Hi", max_tokens=4)).receipt.adapter_digest == ""

    _report(app, digest, "", "PASS")
    old = client.stream("Write a long story about a lighthouse.", temperature=0, **LONG)
    await anext(old)
    assert (await promote()).routing.champion == digest
    new = await client.generate("Hi", max_tokens=4, rail_profile="off")
    assert new.receipt.adapter_digest == digest
    ending = [e async for e in old][-1]
    assert isinstance(ending, Done) and ending.receipt.adapter_digest == ""

    back = await client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="t"), timeout=60)
    assert back.routing.champion == ""
    assert (await client.generate("Hi", max_tokens=4)).receipt.adapter_digest == ""
    traffic = await client.adapters.GetTraffic(adapter_pb2.GetTrafficRequest(), timeout=10)
    assert {a.adapter_digest: a.requests for a in traffic.adapters}[digest] >= 1
    assert app.registry.verify_ledger().ok
    await client.engine.Unload(engine_pb2.UnloadRequest(adapter=digest), timeout=60)


async def _promoted_elsewhere(registry: Registry, digest: str) -> None:
    """Promote as another server of the fleet does: ask all, wait until they have answered, move the alias, leave."""
    elsewhere = "elsewhere-1"
    await asyncio.to_thread(registry.join, elsewhere, "elsewhere")
    asked = {"expected_champion": "", "actor": "elsewhere", "reason": ""}
    await asyncio.to_thread(registry.propose, digest, server=elsewhere, **asked)
    async with asyncio.timeout(60):
        while True:
            try:
                await asyncio.to_thread(registry.promote, digest, proven_by=elsewhere, **asked)
                break
            except FleetNotReady:
                await asyncio.to_thread(registry.beat, elsewhere)
                await asyncio.sleep(0.1)
    await asyncio.to_thread(registry.leave, elsewhere)


async def test_a_change_by_another_server_is_followed(app: App, client: AsyncRatchet, adapter_factory: object) -> None:
    made = adapter_factory(seed=43)  # type: ignore[operator]
    digest = (await _register(client, made.folder)).adapter.digest
    _report(app, digest, "", "PASS")
    await _promoted_elsewhere(app.registry, digest)
    async with asyncio.timeout(5):
        while (await client.generate("Hi", max_tokens=2, rail_profile="off")).receipt.adapter_digest != digest:
            await asyncio.sleep(0.1)
    await client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="t"), timeout=60)
    assert (await client.generate("Hi", max_tokens=2, rail_profile="off")).receipt.adapter_digest == ""


async def test_a_rollout_shadows_serves_a_share_and_is_taken_back_at_once(
    app: App, client: AsyncRatchet, adapter_factory: object
) -> None:
    digest = (await _register(client, adapter_factory(seed=46).folder)).adapter.digest  # type: ignore[operator]
    _report(app, digest, "", "PASS")
    steps = [{"kind": kind, "share_bp": 9999, "min_requests": 2} for kind in ("shadow", "canary")]
    # So wide that a handful of pairs shows it: the real figures are tested elsewhere.
    plan = json.dumps({"steps": steps, "beta": 0.49, "margins": {"blocked": 0.99}})
    begin = adapter_pb2.BeginRolloutRequest(adapter=digest, actor="t", plan_json=plan)
    assert (await client.adapters.BeginRollout(begin, timeout=60)).rollout.step_kind == "shadow"
    with pytest.raises(grpc.RpcError, match="is under way"):
        await client.adapters.BeginRollout(begin, timeout=60)

    async def ask(number: int) -> tuple[str, str]:
        receipt = (await client.generate(f"Say {number}", conversation_id=f"c{number}", max_tokens=4)).receipt
        return receipt.adapter_digest, receipt.adapter_alias

    answered, number = set(), 0
    async with asyncio.timeout(60):
        while ("canary" not in {alias for _, alias in answered}) and (number := number + 1):
            answered.add(await ask(number))
            await asyncio.sleep(0.1)
    # First the champion alone, watched by its shadow; then, on its figures, the candidate itself.
    assert answered == {("", "champion"), (digest, "canary")}
    shown = await client.adapters.GetRollout(adapter_pb2.GetRolloutRequest(), timeout=10)
    assert (shown.rollout.step_kind, shown.rollout.outcome) == ("canary", "")
    stage = (await client.adapters.Get(adapter_pb2.GetRequest(adapter="canary"), timeout=10)).adapter.stage
    assert stage == "canary"
    back = await client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="t"), timeout=60)
    assert (back.routing.champion, back.routing.split) == ("", "")
    assert await ask(1) == ("", "champion")
    assert app.registry.verify_ledger().ok
    await client.engine.Unload(engine_pb2.UnloadRequest(adapter=digest), timeout=60)


async def test_files_that_are_no_adapter_of_this_model_leave_nothing_behind(
    app: App, client: AsyncRatchet, adapter_factory: object, tmp_path: Path
) -> None:
    good = adapter_factory(seed=44).folder  # type: ignore[operator]
    before = len(app.registry.adapters(1000))

    def variant(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in good.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    truncated = variant("truncated")
    weights = truncated / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    pickled = variant("pickled")
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x04.")
    foreign = variant("foreign")
    (foreign / "ratchet.json").write_text(json.dumps({"base_fingerprint": "sha256:" + "0" * 64}))
    for folder, reason in ((truncated, "ADAPTER_TRUNCATED"), (pickled, "PICKLE_REFUSED"), (foreign, "WRONG_BASE")):
        with pytest.raises(InvalidRequest) as caught:
            await _register(client, folder)
        assert caught.value.reason == reason
    assert len(app.registry.adapters(1000)) == before


async def test_a_core_that_dies_is_replaced_and_serves_the_champion_again(
    app: App, client: AsyncRatchet, adapter_factory: object
) -> None:
    """Last in this module: the engine's core is another one afterwards."""
    digest = (await _register(client, adapter_factory(seed=45).folder)).adapter.digest  # type: ignore[operator]
    _report(app, digest, "", "PASS")
    await client.adapters.Promote(adapter_pb2.PromoteRequest(adapter=digest, actor="t"), timeout=60)
    stream = client.stream("Write a very long story about a storm.", temperature=0, **LONG)
    await anext(stream)
    os.kill(app.engine.core.pids[0], signal.SIGKILL)
    with pytest.raises(Unavailable):
        async for _ in stream:
            pass
    health = health_pb2_grpc.HealthStub(client.channel)
    seen = set()
    async with asyncio.timeout(120):
        while True:
            status = (await health.Check(health_pb2.HealthCheckRequest())).status
            seen.add(status)
            if len(seen) == 2 and status == health_pb2.HealthCheckResponse.SERVING:
                break
            await asyncio.sleep(0.1)
    answer = await client.generate("Hi", max_tokens=4, rail_profile="off")
    assert answer.receipt.adapter_digest == digest
    await client.adapters.Rollback(adapter_pb2.RollbackRequest(actor="t"), timeout=60)
