"""ContainmentService: flags whose repeats are blocked at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from ratchet.v1 import containment_pb2 as pb
from ratchet.v1 import containment_pb2_grpc
from ratchet_adapters.flags.containment import Containment, ContainmentStore
from ratchet_server.rpc import convert
from ratchet_server.rpc.guard import Context
from ratchet_server.serving.containing import Containing

_WEEK_HOURS = 168.0
_MOST_LISTED = 1_000


class ContainmentService(containment_pb2_grpc.ContainmentServiceServicer):
    """See containment.proto."""

    def __init__(self, store: ContainmentStore, containing: Containing) -> None:
        self._store = store
        self._containing = containing

    async def ContainFlags(self, request: pb.ContainFlagsRequest, context: Context) -> pb.ContainFlagsResponse:
        """In the database, and in force here, when it returns."""
        made = await asyncio.to_thread(
            self._store.contain,
            request.flag_ids,
            request.principal,
            tenant=request.tenant,
            profile=request.profile,
            hours=request.hours or _WEEK_HOURS,
        )
        await self._containing.refresh()
        return pb.ContainFlagsResponse(containments=map(_wire, made))

    async def ListContainments(
        self, request: pb.ListContainmentsRequest, context: Context
    ) -> pb.ListContainmentsResponse:
        """Newest first."""
        found = await asyncio.to_thread(self._store.all, _MOST_LISTED)
        now = datetime.now(UTC)
        shown = [c for c in found if request.include_over or (c.ended_at is None and c.expires_at > now)]
        return pb.ListContainmentsResponse(containments=map(_wire, shown))

    async def EndContainment(self, request: pb.EndContainmentRequest, context: Context) -> pb.EndContainmentResponse:
        """In force no longer, here, when it returns."""
        ended = await asyncio.to_thread(self._store.end, request.id, request.principal, request.why)
        await self._containing.refresh()
        return pb.EndContainmentResponse(containment=_wire(ended))


def _wire(containment: Containment) -> pb.Containment:
    return pb.Containment(
        id=containment.id,
        flag_id=containment.flag_id,
        tenant=containment.tenant,
        profile=containment.profile,
        contained_by=containment.contained_by,
        flagged_at=convert.timestamp(containment.flagged_at),
        contained_at=convert.timestamp(containment.contained_at),
        expires_at=convert.timestamp(containment.expires_at),
        first_blocked_at=convert.timestamp(containment.first_blocked_at),
        covered_by=containment.covered_by,
        ended_at=convert.timestamp(containment.ended_at),
        ended_why=containment.ended_why,
    )
