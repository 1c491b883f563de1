"""Between the wire's messages and the domain's records. Decides nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from ratchet.v1 import adapter_pb2, common_pb2, feedback_pb2, inference_pb2, learning_pb2
from ratchet_adapters.flags import Flag, Message
from ratchet_adapters.registry import AdapterRecord, ReportRecord, RolloutRecord, Routing, RunRecord
from ratchet_adapters.rollouts.judging import Judgement
from ratchet_server.rails.verdict import Verdict
from ratchet_server.rpc.errors import FieldsInvalid
from ratchet_server.serving.exchange import Finished

FINISH = {
    "stop": inference_pb2.FINISH_REASON_STOP,
    "length": inference_pb2.FINISH_REASON_LENGTH,
    "blocked_input": inference_pb2.FINISH_REASON_BLOCKED_INPUT,
    "blocked_output": inference_pb2.FINISH_REASON_BLOCKED_OUTPUT,
}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """None stays unset."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def enum_name(wrapper: object, value: int, prefix: str) -> str:
    """`FLAG_KIND_TOXIC` -> `TOXIC`; the unspecified value -> ""."""
    name: str = wrapper.Name(value).removeprefix(prefix)  # type: ignore[attr-defined]
    return "" if name == "UNSPECIFIED" else name


def messages_from_wire(messages: Iterable[inference_pb2.Message]) -> tuple[Message, ...]:
    """Roles become "system", "user", "assistant"."""
    return tuple(Message(enum_name(inference_pb2.Role, m.role, "ROLE_").lower(), m.content) for m in messages)


def request_messages(request: inference_pb2.GenerateRequest) -> tuple[Message, ...]:
    """The chat of a request.

    Raises:
        FieldsInvalid: a conversation that does not end with the user, or has a system message past the first place.
    """
    if request.WhichOneof("input") == "prompt":
        return (Message("user", request.prompt),)
    messages = messages_from_wire(request.conversation.messages)
    if messages[-1].role != "user":
        raise FieldsInvalid([("conversation.messages", "the last message must be the user's")])
    for index, message in enumerate(messages[1:], 1):
        if message.role == "system":
            raise FieldsInvalid([(f"conversation.messages[{index}].role", "a system message must come first")])
    return messages


def receipt(request_id: str, done: Finished, base_model: str, base_fingerprint: str) -> common_pb2.Receipt:
    """The receipt of a finished request."""
    wire = common_pb2.Receipt(
        request_id=request_id,
        adapter_digest=done.adapter_digest,
        adapter_alias=done.adapter_alias,
        base_model=base_model,
        base_fingerprint=base_fingerprint,
        policy_version=done.policy_version,
        rail_profile=done.profile,
        scores=common_pb2.Scores(**done.scores),
        tokens=common_pb2.TokenCounts(prompt=done.prompt_tokens, completion=done.completion_tokens),
        timings=common_pb2.Timings(
            input_rails_ms=done.timings.input_rails_ms,
            time_to_first_token_ms=done.timings.time_to_first_token_ms,
            output_rails_ms=done.timings.output_rails_ms,
            total_ms=done.timings.total_ms,
        ),
    )
    wire.verdicts.extend(map(verdict, done.verdicts))
    wire.served_at.FromNanoseconds(time.time_ns())
    return wire


def verdict(v: Verdict) -> common_pb2.Verdict:
    """A rail's verdict."""
    return common_pb2.Verdict(
        rail=v.rail,
        direction=common_pb2.Direction.Value(f"DIRECTION_{v.direction.upper()}"),
        outcome=common_pb2.Outcome.Value(f"OUTCOME_{v.outcome.name}"),
        reason=v.reason,
        score=v.score,
        threshold=v.threshold,
        duration_ms=v.duration_ms,
        enforced=v.enforced,
        shadow=v.shadow,
        rewrote=v.rewrote,
        spans=[common_pb2.Span(start=s.start, end=s.end, kind=s.kind) for s in v.spans],
    )


def adapter(record: AdapterRecord, *, routable: bool) -> adapter_pb2.Adapter:
    """An adapter as ops see it."""
    wire = adapter_pb2.Adapter(
        digest=record.digest,
        name=record.name,
        base_fingerprint=record.base_fingerprint,
        rank=record.rank,
        alpha=record.alpha,
        target_modules=record.target_modules,
        size_bytes=record.size_bytes,
        run_id=record.run_id or "",
        created_by=record.created_by,
        created_at=timestamp(record.created_at),
        aliases=record.aliases,
        routable=routable,
        stage=record.stage,
    )
    if record.proof is not None:
        wire.proof.mean_delta = record.proof.mean_delta
        wire.proof.max_delta = record.proof.max_delta
        wire.proof.prompts = record.proof.prompts
        wire.proof.proven_at.FromDatetime(record.proof.proven_at)
    return wire


def routing(table: Routing) -> adapter_pb2.Routing:
    """The routing table."""
    return adapter_pb2.Routing(
        version=table.version,
        champion=table.champion,
        previous=table.previous,
        changed_at=timestamp(table.changed_at),
        split=table.split,
        beside=table.beside,
        share_bp=table.share_bp,
        rollout_id=table.rollout_id,
    )


def rollout(record: RolloutRecord) -> adapter_pb2.Rollout:
    """A rollout as ops see it."""
    return adapter_pb2.Rollout(
        id=record.id,
        candidate=record.candidate,
        champion=record.champion,
        report_id=record.report_id,
        plan_json=json.dumps(record.plan),
        step=record.step,
        step_kind=record.plan["steps"][record.step]["kind"],
        outcome=record.outcome,
        reason=record.reason,
        requested_by=record.requested_by,
        started_at=timestamp(record.started_at),
        step_since=timestamp(record.step_since),
        ended_at=timestamp(record.ended_at),
    )


def judged_rollout(record: RolloutRecord, judgement: Judgement) -> adapter_pb2.GetRolloutResponse:
    """A rollout and what its step shows."""
    wire = adapter_pb2.GetRolloutResponse(rollout=rollout(record), says=judgement.says, why=judgement.reason)
    for figure in judgement.figures:
        wire.figures.add(
            metric=figure.metric,
            control_trials=figure.control[0],
            control_events=figure.control[1],
            candidate_trials=figure.candidate[0],
            candidate_events=figure.candidate[1],
            worse=figure.worse,
            alarm_at=figure.alarm_at,
            within=figure.within,
            shown_at=figure.shown_at,
        )
    return wire


def flag(record: Flag) -> feedback_pb2.Flag:
    """A flag with its text."""
    wire = feedback_pb2.Flag(
        id=record.id,
        kind=feedback_pb2.FlagKind.Value(f"FLAG_KIND_{record.kind}"),
        source=feedback_pb2.FlagSource.Value(f"FLAG_SOURCE_{record.source}"),
        state=feedback_pb2.FlagState.Value(f"FLAG_STATE_{record.state}"),
        completion=record.completion,
        adapter_digest=record.adapter_digest,
        request_id=record.request_id,
        tenant=record.tenant,
        principal=record.principal,
        note=record.note,
        scores=common_pb2.Scores(**{k: v for k, v in record.scores.items() if k in _SCORES}),
        reviewer=record.reviewer,
        review_note=record.review_note,
        created_at=timestamp(record.created_at),
        reviewed_at=timestamp(record.reviewed_at),
    )
    for message in record.messages:
        wire.messages.add(role=inference_pb2.Role.Value(f"ROLE_{message.role.upper()}"), content=message.content)
    return wire


_SCORES = {field.name for field in common_pb2.Scores.DESCRIPTOR.fields}


def run(record: RunRecord) -> learning_pb2.Run:
    """A learning run."""
    return learning_pb2.Run(
        id=record.id,
        method=record.method,
        state=learning_pb2.RunState.Value(f"RUN_STATE_{record.state}"),
        step=record.step,
        progress=record.progress,
        detail=record.detail,
        dataset_digest=record.dataset_digest,
        adapter_digest=record.adapter_digest,
        report_id=record.report_id,
        error=record.error,
        requested_by=record.requested_by,
        created_at=timestamp(record.created_at),
        updated_at=timestamp(record.updated_at),
        ended_at=timestamp(record.ended_at),
        losses=[
            learning_pb2.LossPoint(step=point.step, loss=point.loss, metrics=point.metrics) for point in record.curve
        ],
        promote_on_pass=record.promote_on_pass,
    )


def gate_report(record: ReportRecord, axes: Sequence[learning_pb2.AxisResult]) -> learning_pb2.GateReport:
    """A gate report."""
    return learning_pb2.GateReport(
        id=record.id,
        candidate_digest=record.candidate_digest,
        champion_digest=record.champion_digest,
        outcome=learning_pb2.GateOutcome.Value(f"GATE_OUTCOME_{record.outcome}"),
        reason=record.reason,
        axes=axes,
        created_at=timestamp(record.created_at),
    )
