"""NeMo's topic safety rail with a verdict that must be one: same flow, same prompt, and neither answer means failed.

Upstream lets every text pass unless the model's answer is "off-topic" to the letter: an empty answer, one with a full
stop or one that was cut short lets it pass. It must not know which model answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nemoguardrails.actions.rail_outcome import RailOutcome
from nemoguardrails.library.topic_safety import rail as stock
from nemoguardrails.library.topic_safety.actions import TOPIC_SAFETY_OUTPUT_RESTRICTION
from nemoguardrails.llm.call import llm_call
from nemoguardrails.llm.filters import to_chat_messages
from nemoguardrails.manifests import ActionRef

from ratchet_plugins.nemo.errors import NemoRailError
from ratchet_plugins.nemo.replacing import replaced

__all__ = ["RAIL", "check_topic"]

_VERDICT = re.compile(r"\W*(on|off)[- ]?topic\b", re.IGNORECASE)


async def check_topic(
    user_message: str,
    model_name: str,
    llms: Mapping[str, Any],
    llm_task_manager: Any,
    events: Sequence[dict[str, Any]],
    **_: Any,
) -> RailOutcome:
    """Ask a model whether the user's turn is on topic.

    Args:
        user_message: The turn.
        model_name: The type of the configured model that is asked.
        llms: The configured models.
        llm_task_manager: Renders the prompt `topic_safety_check_input $model=<type>`.
        events: The turns before it.

    Returns:
        Allow or block, as the model says.

    Raises:
        NemoRailError: Its answer is neither on-topic nor off-topic.
    """
    task = f"topic_safety_check_input $model={model_name}"
    orders = llm_task_manager.render_task_prompt(task=task).strip()
    if not orders.endswith(TOPIC_SAFETY_OUTPUT_RESTRICTION):
        orders = f"{orders}\n\n{TOPIC_SAFETY_OUTPUT_RESTRICTION}"
    prompt = [
        {"type": "system", "content": orders},
        *to_chat_messages(list(events)),
        {"type": "user", "content": user_message},
    ]
    stop = llm_task_manager.get_stop_tokens(task=task)
    answer = await llm_call(llms[model_name], prompt, stop=stop, llm_params={"temperature": 0.0})
    verdict = _VERDICT.match(answer.content)
    if verdict is None:
        raise NemoRailError("The model said neither on-topic nor off-topic: ask one that follows the prompt.")
    return RailOutcome.allow() if verdict.group(1).lower() == "on" else RailOutcome.block(reason="off topic")


_ACTION = ActionRef(name="topic_safety_check_input", target="ratchet_plugins.nemo.topic:check_topic")

RAIL = replaced(
    stock.RAIL, _ACTION, [surface.model_copy(update={"action": _ACTION}) for surface in stock.RAIL.spec.surfaces]
)
