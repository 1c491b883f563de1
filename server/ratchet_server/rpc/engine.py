"""EngineService: candidates in and out of the engine, log-probabilities for the evaluation."""

from __future__ import annotations

import asyncio

from ratchet.v1 import engine_pb2 as pb
from ratchet.v1 import engine_pb2_grpc
from ratchet_adapters.registry import Registry
from ratchet_server.engine.engine import Engine
from ratchet_server.rails.profiles import RailProfiles
from ratchet_server.routing.router import Router
from ratchet_server.routing.swap import Swaps
from ratchet_server.rpc import convert
from ratchet_server.rpc.guard import Context
from ratchet_server.serving.base_model import BaseModel


class EngineService(engine_pb2_grpc.EngineServiceServicer):
    """See engine.proto."""

    def __init__(
        self,
        registry: Registry,
        engine: Engine,
        router: Router,
        swaps: Swaps,
        base: BaseModel,
        profiles: RailProfiles,
    ) -> None:
        self._registry = registry
        self._engine = engine
        self._router = router
        self._swaps = swaps
        self._base = base
        self._profiles = profiles

    async def Load(self, request: pb.LoadRequest, context: Context) -> pb.LoadResponse:
        """Unrouted."""
        record = await asyncio.to_thread(self._registry.adapter, request.adapter)
        await self._swaps.ensure(record.digest)
        record = await asyncio.to_thread(self._registry.adapter, record.digest)
        return pb.LoadResponse(adapter=convert.adapter(record, routable=self._swaps.routable(record.digest)))

    async def Unload(self, request: pb.UnloadRequest, context: Context) -> pb.UnloadResponse:
        """Refused while an alias points at it."""
        await self._swaps.remove(request.adapter)
        return pb.UnloadResponse()

    async def Score(self, request: pb.ScoreRequest, context: Context) -> pb.ScoreResponse:
        """Order kept."""
        route = await self._router.resolve(request.adapter)
        await self._swaps.usable(route.digest)
        results = await self._engine.score([(i.context, i.continuation) for i in request.items], route.digest)
        return pb.ScoreResponse(
            results=[pb.ScoreResult(log_prob=r.log_prob, tokens=r.tokens, worst_gap=r.worst_gap) for r in results],
            adapter_digest=route.digest,
        )

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """What runs here."""
        status = self._engine.status()
        return pb.GetStatusResponse(
            base_model=self._base.name,
            base_fingerprint=self._base.fingerprint,
            model_path=str(self._base.path),
            ready=status.ready,
            loaded=self._engine.loaded(),
            running=status.running,
            waiting=status.waiting,
            rail_profiles=self._profiles.names,
        )
