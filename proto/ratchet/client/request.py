"""How plain Python values become a GenerateRequest. Sends nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict, Unpack

from ratchet.v1 import inference_pb2 as pb
from ratchet.v1 import learning_pb2

Prompt = str | Sequence[Mapping[str, str]]
PriorityName = Literal["interactive", "batch", "evaluation"]


class Options(TypedDict, total=False):
    """Keyword arguments of `generate` and `stream`; each unset one takes the server's default."""

    adapter: str
    tenant: str
    principal: str
    conversation_id: str
    rail_profile: str
    request_id: str
    priority: PriorityName
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    seed: int
    stop: Sequence[str]
    repetition_penalty: float
    json_schema: Mapping[str, object]
    regex: str
    choices: Sequence[str]


_SAMPLING = {"max_tokens", "temperature", "top_p", "top_k", "seed", "repetition_penalty"}


def chat_request(prompt: Prompt, **options: Unpack[Options]) -> pb.GenerateRequest:
    """Builds the request.

    Args:
        prompt: one user message, or chat messages as `{"role": "user", "content": "..."}`.
        **options: see `Options`.

    Raises:
        ValueError: a role or option that does not exist.
    """
    request = pb.GenerateRequest()
    if isinstance(prompt, str):
        request.prompt = prompt
    else:
        request.conversation.SetInParent()
        for message in prompt:
            role = f"ROLE_{message['role'].upper()}"
            if role not in pb.Role.keys():  # noqa: SIM118  (an enum wrapper, not a dict)
                raise ValueError(f"role {message['role']!r} is not one of system, user, assistant")
            request.conversation.messages.add(role=pb.Role.Value(role), content=message["content"])
    for key, value in options.items():
        if key in _SAMPLING:
            setattr(request.sampling, key, value)
        elif key == "stop":
            request.sampling.stop.extend(options["stop"])
        elif key == "json_schema":
            request.sampling.structured_output.json_schema = json.dumps(value)
        elif key == "regex":
            request.sampling.structured_output.regex = options["regex"]
        elif key == "choices":
            request.sampling.structured_output.choices.texts.extend(options["choices"])
        elif key == "priority":
            request.priority = pb.Priority.Value(f"PRIORITY_{options['priority'].upper()}")
        else:
            setattr(request, key, value)
    return request


def run_request(
    method: str, options: Mapping[str, object] | None, promote_on_pass: bool, idempotency_key: str
) -> learning_pb2.StartRunRequest:
    """Builds the request of a run that is queued once: without a key it gets a fresh one."""
    return learning_pb2.StartRunRequest(
        method=method,
        options_json=json.dumps(options) if options else "",
        promote_on_pass=promote_on_pass,
        idempotency_key=idempotency_key or uuid.uuid4().hex,
    )
