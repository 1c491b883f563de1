"""A reviewer that decides by a written policy, so that the demo needs no human. It sees what a human would: the flag.

The policy: a HARMFUL claim is accepted when triage is sure of the prompt; an OVER_REFUSAL claim when triage is sure of
the opposite; everything else is left for people. Two signals must agree, as no single one may train anything.
"""

from __future__ import annotations

from collections import Counter

from ratchet.client import AsyncRatchet
from ratchet.v1 import feedback_pb2 as pb

SURE_HARM = 0.7
SURE_BENIGN = 0.05
REVIEWER = "policy:two-signals"


async def review_all(client: AsyncRatchet) -> Counter[str]:
    """Reviews every open flag.

    Returns:
        How many were accepted, rejected and left open, as "accepted HARMFUL" and so on.
    """
    decisions: Counter[str] = Counter()
    token = ""
    flags: list[pb.Flag] = []
    while True:
        page = await client.feedback.ListFlags(
            pb.ListFlagsRequest(state=pb.FLAG_STATE_OPEN, page_size=1000, page_token=token), timeout=60
        )
        flags += page.flags
        token = page.next_page_token
        if not token:
            break
    for flag in flags:
        kind = pb.FlagKind.Name(flag.kind).removeprefix("FLAG_KIND_")
        decision = _decide(flag)
        if decision is None:
            decisions[f"left open {kind}"] += 1
            continue
        await client.feedback.ReviewFlag(
            pb.ReviewFlagRequest(flag_id=flag.id, decision=decision, reviewer=REVIEWER), timeout=60
        )
        accepted = decision == pb.REVIEW_DECISION_ACCEPT
        decisions[f"{'accepted' if accepted else 'rejected'} {kind}"] += 1
    return decisions


def _decide(flag: pb.Flag) -> pb.ReviewDecision.ValueType | None:
    harm = flag.scores.input_harm if flag.scores.HasField("input_harm") else None
    if harm is None:
        return None
    if flag.kind == pb.FLAG_KIND_HARMFUL:
        return pb.REVIEW_DECISION_ACCEPT if harm >= SURE_HARM else pb.REVIEW_DECISION_REJECT
    if flag.kind == pb.FLAG_KIND_OVER_REFUSAL:
        return pb.REVIEW_DECISION_ACCEPT if harm <= SURE_BENIGN else pb.REVIEW_DECISION_REJECT
    return None
