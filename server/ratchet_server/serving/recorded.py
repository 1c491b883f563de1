"""A served request as the record that flags are taken from. It must not know who keeps it."""

from __future__ import annotations

from datetime import UTC, datetime

from ratchet_adapters.flags import Exchange
from ratchet_server.serving.exchange import Finished, Request
from ratchet_server.serving.tally import Tally

__all__ = ["exchange_of"]


def exchange_of(request: Request, done: Finished, tally: Tally) -> Exchange:
    """What flags are taken from: of a blocked answer the text that was held back."""
    return Exchange(
        request_id=request.request_id,
        messages=request.messages,
        completion=tally.generated if done.finish_reason == "blocked_output" else tally.text,
        adapter_digest=done.adapter_digest,
        tenant=request.tenant,
        principal=request.principal,
        scores=done.scores,
        verdicts=tuple(
            {
                "rail": v.rail,
                "direction": v.direction.value,
                "outcome": v.outcome.value,
                "reason": v.reason,
                "score": v.score,
            }
            # What a shadow rail says is no claim about the exchange.
            for v in done.verdicts
            if not v.shadow
        ),
        finish_reason=done.finish_reason,
        created_at=datetime.now(UTC),
    )
