"""Which part of a conversation an input rail has to judge. The message type is the one flags keep."""

from __future__ import annotations

from collections.abc import Sequence

from ratchet_adapters.flags.records import Message

__all__ = ["Message", "turn_to_judge"]


def turn_to_judge(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Return the conversation as NeMo reads it, with all of the present turn in its last user message.

    NeMo's rails judge the last user message only. A client can put text elsewhere: in several user messages in a row,
    or in a last assistant message that the model is made to continue. Both belong to the turn. A conversation without
    any user text is judged as a whole.

    Args:
        messages: The conversation, oldest first.

    Returns:
        Message dicts; the last one is the user's and holds the text under judgement (possibly empty).
    """
    last_user = max((i for i, m in enumerate(messages) if m.role == "user" and m.content), default=-1)
    if last_user < 0:
        return [{"role": "user", "content": "\n".join(m.content for m in messages if m.content)}]
    begin = last_user
    while begin > 0 and messages[begin - 1].role != "assistant":
        begin -= 1
    turn = [m for i, m in enumerate(messages) if i >= begin and m.content and (m.role != "system" or i > last_user)]
    history = [m for i, m in enumerate(messages) if m.content and (i < begin or (i < last_user and m.role == "system"))]
    judged = [{"role": m.role, "content": m.content} for m in history]
    judged.append({"role": "user", "content": "\n".join(m.content for m in turn)})
    return judged
