"""AdapterService: upload, look, approve, roll out, promote, roll back."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from pydantic import ValidationError

from ratchet.v1 import adapter_pb2 as pb
from ratchet.v1 import adapter_pb2_grpc
from ratchet_adapters.registry import Registry, RolloutPlan, RolloutRecord
from ratchet_adapters.rollouts.controller import judged
from ratchet_server.access.identity import current
from ratchet_server.routing.intake import Intake
from ratchet_server.routing.router import BASE, Router
from ratchet_server.routing.swap import Swaps
from ratchet_server.rpc import convert
from ratchet_server.rpc.errors import FieldsInvalid
from ratchet_server.rpc.guard import Context


class AdapterService(adapter_pb2_grpc.AdapterServiceServicer):
    """See adapter.proto."""

    def __init__(self, registry: Registry, router: Router, swaps: Swaps, intake: Intake, plan: RolloutPlan) -> None:
        """`plan`: of rollouts that bring none."""
        self._registry = registry
        self._router = router
        self._swaps = swaps
        self._intake = intake
        self._plan = plan

    async def Register(self, requests: AsyncIterator[pb.RegisterRequest], context: Context) -> pb.RegisterResponse:
        """Upload to a scratch folder, then take in; a broken upload leaves nothing behind."""
        with tempfile.TemporaryDirectory(prefix="ratchet-upload-") as scratch:
            name = await self._receive(requests, Path(scratch))
            digest, created = await self._intake.take(Path(scratch), name=name, actor=current().name)
        return pb.RegisterResponse(adapter=await self._adapter(digest), created=created)

    async def _receive(self, requests: AsyncIterator[pb.RegisterRequest], folder: Path) -> str:
        name, size = "", 0
        async for request in requests:
            if request.WhichOneof("part") == "header":
                if name:
                    raise FieldsInvalid([("header", "may come only once, first")])
                name = request.header.name
                continue
            if not name:
                raise FieldsInvalid([("header", "must come before the first chunk")])
            size += len(request.chunk.data)
            if size > self._intake.max_bytes:
                raise FieldsInvalid([("chunk", f"the adapter is larger than {self._intake.max_bytes} bytes")])
            with (folder / request.chunk.name).open("ab") as file:
                await asyncio.to_thread(file.write, request.chunk.data)
        if not name:
            raise FieldsInvalid([("header", "is missing")])
        return name

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """By alias or digest."""
        route = await self._router.resolve(request.adapter)
        if not route.digest:
            raise FieldsInvalid([("adapter", f"{request.adapter!r} is the base model, not an adapter")])
        return pb.GetResponse(adapter=await self._adapter(route.digest))

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Newest first."""
        records = await asyncio.to_thread(self._registry.adapters, request.limit or 100)
        return pb.ListResponse(adapters=[convert.adapter(r, routable=self._swaps.routable(r.digest)) for r in records])

    async def Promote(self, request: pb.PromoteRequest, context: Context) -> pb.PromoteResponse:
        """The gate decides."""
        expected = "" if request.expected_champion == BASE else request.expected_champion or None
        swap = await self._swaps.promote(
            request.adapter, expected_champion=expected, actor=request.actor or "unknown", reason=request.reason
        )
        return pb.PromoteResponse(routing=convert.routing(swap.routing), swap_ms=swap.milliseconds)

    async def Rollback(self, request: pb.RollbackRequest, context: Context) -> pb.RollbackResponse:
        """No gate."""
        swap = await self._swaps.rollback(actor=request.actor or "unknown", reason=request.reason)
        return pb.RollbackResponse(routing=convert.routing(swap.routing), swap_ms=swap.milliseconds)

    async def Approve(self, request: pb.ApproveRequest, context: Context) -> pb.ApproveResponse:
        """Kept with the report it is about."""
        record = await asyncio.to_thread(self._registry.adapter, request.adapter)
        await asyncio.to_thread(self._registry.approve, record.digest, approver=request.approver, reason=request.reason)
        return pb.ApproveResponse(adapter=await self._adapter(record.digest))

    async def BeginRollout(self, request: pb.BeginRolloutRequest, context: Context) -> pb.BeginRolloutResponse:
        """From the first step on it goes by itself."""
        plan = self._plan
        if request.plan_json:
            try:
                plan = RolloutPlan.model_validate_json(request.plan_json)
            except ValidationError as error:
                wrong = [(f"plan_json.{'.'.join(map(str, e['loc']))}", e["msg"]) for e in error.errors()]
                raise FieldsInvalid(wrong) from None
        rollout = await self._swaps.begin(
            request.adapter, plan, actor=request.actor or "unknown", reason=request.reason
        )
        return pb.BeginRolloutResponse(rollout=convert.rollout(rollout))

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Context) -> pb.GetRolloutResponse:
        """With the figures of its present or last step."""
        rollout = await asyncio.to_thread(self._newest, request.rollout_id)
        if rollout is None:
            return pb.GetRolloutResponse()
        judgement = await asyncio.to_thread(judged, self._registry, rollout, rollout.ended_at)
        return convert.judged_rollout(rollout, judgement)

    async def ListRollouts(self, request: pb.ListRolloutsRequest, context: Context) -> pb.ListRolloutsResponse:
        """Newest first."""
        found = await asyncio.to_thread(self._registry.rollouts, request.limit or 100)
        return pb.ListRolloutsResponse(rollouts=[convert.rollout(r) for r in found])

    def _newest(self, rollout_id: str) -> RolloutRecord | None:
        found = self._registry.rollout(rollout_id)
        return found or next(iter(self._registry.rollouts(1)), None)

    async def GetTraffic(self, request: pb.GetTrafficRequest, context: Context) -> pb.GetTrafficResponse:
        """Counts of this server since it started."""
        table = self._router.routing
        aliases: dict[str, list[str]] = {}
        beside = [(table.split, table.beside)] if table.split in ("shadow", "canary") else []
        for alias, digest in (("champion", table.champion), ("previous", table.previous), *beside):
            aliases.setdefault(digest, []).append(alias)
        traffic = self._router.traffic()
        response = pb.GetTrafficResponse(routing=convert.routing(table))
        for digest in sorted(aliases.keys() | traffic.keys()):
            requests, in_flight = traffic.get(digest, (0, 0))
            response.adapters.add(
                adapter_digest=digest, aliases=aliases.get(digest, ()), requests=requests, in_flight=in_flight
            )
        return response

    async def _adapter(self, digest: str) -> pb.Adapter:
        record = await asyncio.to_thread(self._registry.adapter, digest)
        return convert.adapter(record, routable=self._swaps.routable(digest))
