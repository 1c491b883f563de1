"""LearningService: queues runs and shows how they go. The learner process does the work."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from ratchet.v1 import learning_pb2 as pb
from ratchet.v1 import learning_pb2_grpc
from ratchet_adapters.learning.options import DEFAULT_METHOD, check_options
from ratchet_adapters.registry import Registry
from ratchet_server.rpc import convert
from ratchet_server.rpc.errors import FieldsInvalid
from ratchet_server.rpc.guard import Context

POLL_SECONDS = 0.5
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class LearningService(learning_pb2_grpc.LearningServiceServicer):
    """See learning.proto."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def StartRun(self, request: pb.StartRunRequest, context: Context) -> pb.StartRunResponse:
        """Queues a run."""
        method = request.method or DEFAULT_METHOD
        options = _options(request.options_json)
        check_options(method, options)
        run = await asyncio.to_thread(
            self._registry.create_run,
            method=method,
            options=options,
            requested_by=request.actor,
            promote_on_pass=request.promote_on_pass,
            idempotency_key=request.idempotency_key,
        )
        return pb.StartRunResponse(run=convert.run(run))

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """One run."""
        return pb.GetRunResponse(run=convert.run(await asyncio.to_thread(self._registry.run, request.run_id)))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """Newest first."""
        runs = await asyncio.to_thread(self._registry.runs, request.limit or 50)
        return pb.ListRunsResponse(runs=[convert.run(r) for r in runs])

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncIterator[pb.WatchRunResponse]:
        """The run at once, then at every change until it ends."""
        last = None
        while True:
            run = await asyncio.to_thread(self._registry.run, request.run_id)
            if run != last:
                last = run
                yield pb.WatchRunResponse(run=convert.run(run))
            if run.state in ENDED:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def GetGateReport(self, request: pb.GetGateReportRequest, context: Context) -> pb.GetGateReportResponse:
        """By its id or its run's."""
        if request.WhichOneof("subject") == "report_id":
            record = await asyncio.to_thread(self._registry.report, request.report_id)
        else:
            record = await asyncio.to_thread(self._registry.report_for_run, request.run_id)
        axes = [
            pb.AxisResult(
                axis=row["axis"],
                outcome=pb.GateOutcome.Value(f"GATE_OUTCOME_{row['outcome']}"),
                **{k: row[k] for k in _AXIS_NUMBERS if row.get(k) is not None},
                reason=row.get("reason", ""),
            )
            for row in record.body.get("axes", ())
        ]
        return pb.GetGateReportResponse(report=convert.gate_report(record, axes))


_AXIS_NUMBERS = ("champion", "candidate", "difference", "low", "high", "margin", "items")


def _options(text: str) -> dict[str, object]:
    if not text:
        return {}
    try:
        options = json.loads(text)
    except ValueError as error:
        raise FieldsInvalid([("options_json", f"not JSON: {error}")]) from None
    if not isinstance(options, dict):
        raise FieldsInvalid([("options_json", "must be a JSON object")])
    return options
