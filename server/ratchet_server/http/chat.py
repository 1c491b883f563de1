"""A chat request as OpenAI clients send it, and what it means in the contract.

What cannot be honoured is refused with its name; nothing a caller set is silently left out.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ratchet.v1 import inference_pb2 as pb
from ratchet_server.rpc.errors import FieldsInvalid

__all__ = ["ROUTED", "ChatRequest", "to_contract"]

ROUTED = "ratchet"
"""The model name of requests that the server routes by itself: champion, or a rollout's candidate when it is due."""

_ROLES = {"system": pb.ROLE_SYSTEM, "developer": pb.ROLE_SYSTEM, "user": pb.ROLE_USER, "assistant": pb.ROLE_ASSISTANT}
_PRIORITIES = {"interactive": pb.PRIORITY_INTERACTIVE, "batch": pb.PRIORITY_BATCH, "evaluation": pb.PRIORITY_EVALUATION}


class _Strict(BaseModel):
    """Refuses unknown fields, except unset ones: clients send back whole messages with all that was null in them."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = cls.model_fields
        return {k: v for k, v in values.items() if v is not None and (k in known or v not in ([], {}))}


class _Part(_Strict):
    type: Literal["text"]
    text: str


def _text(value: Any) -> Any:
    """Content is text, or parts that are all text."""
    if isinstance(value, list):
        return "".join(_Part.model_validate(part).text for part in value)
    return value


class ChatMessage(_Strict):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text)] = ""
    name: str = ""
    refusal: str = ""


class StreamOptions(_Strict):
    """How a stream ends."""

    include_usage: bool = False


class _Schema(_Strict):
    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, values: Any) -> Any:
        # Empty is a schema too: anything.
        return {"schema": {}} | values if isinstance(values, dict) else values


class _ResponseFormat(_Strict):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: _Schema | None = None

    @model_validator(mode="after")
    def _belongs(self) -> _ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("json_schema belongs to the type json_schema, and to no other")
        return self


class _StructuredOutputs(_Strict):
    """As vLLM's own servers take them."""

    regex: str = ""
    choice: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _one(self) -> _StructuredOutputs:
        if bool(self.regex) == bool(self.choice):
            raise ValueError("give regex or choice, one of them")
        return self


def _unit(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class ChatRequest(_Strict):
    """The body of `/v1/chat/completions`; fields without a description mean what they mean to OpenAI."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_unit)] = Field(default_factory=list)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
    n: Literal[1] = 1
    user: str = ""
    # Taken and without effect here.
    metadata: dict[str, str] = Field(default_factory=dict)
    store: Literal[False] = False
    presence_penalty: Literal[0] = 0
    frequency_penalty: Literal[0] = 0
    response_format: _ResponseFormat | None = None
    # Beyond OpenAI's: as in GenerateRequest and Sampling of the contract.
    structured_outputs: _StructuredOutputs | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    rail_profile: str = ""
    conversation_id: str = ""
    tenant: str = ""
    priority: Literal["interactive", "batch", "evaluation"] = "interactive"

    @model_validator(mode="after")
    def _one_limit(self) -> ChatRequest:
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and both[0] != both[1]:
            raise ValueError("max_tokens and max_completion_tokens are the same limit here: send one of them")
        return self


def to_contract(chat: ChatRequest, request_id: str) -> pb.GenerateRequest:
    """Return the same request as the contract's message, its rules not yet checked.

    An assistant's turn without text, as a blocked answer leaves it in a client's history, says nothing and is left out.

    Raises:
        FieldsInvalid: A number that its field cannot hold.
    """
    request = pb.GenerateRequest(
        adapter="" if chat.model == ROUTED else chat.model,
        principal=chat.user,
        tenant=chat.tenant,
        rail_profile=chat.rail_profile,
        conversation_id=chat.conversation_id,
        priority=_PRIORITIES[chat.priority],
        request_id=request_id,
    )
    for message in chat.messages:
        if message.content or message.role != "assistant":
            request.conversation.messages.add(role=_ROLES[message.role], content=message.content)
    limit = chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens
    numbers = {
        "max_tokens": limit, "temperature": chat.temperature, "top_p": chat.top_p, "seed": chat.seed,
        "top_k": chat.top_k, "repetition_penalty": chat.repetition_penalty,
    }  # fmt: skip
    for name, value in numbers.items():
        if value is not None:
            try:
                setattr(request.sampling, name, value)
            except ValueError:
                raise FieldsInvalid([(f"sampling.{name}", f"{value} is out of range")]) from None
    request.sampling.stop.extend(chat.stop)
    if (chat.response_format and chat.response_format.type != "text") or chat.structured_outputs:
        _set_form(request.sampling.structured_output, chat)
    return request


def _set_form(form: pb.StructuredOutput, chat: ChatRequest) -> None:
    wanted, own = chat.response_format, chat.structured_outputs
    if wanted is not None and wanted.type != "text":
        if own is not None:
            raise FieldsInvalid([("structured_outputs", "response_format asks for another form")])
        schema = wanted.json_schema.schema_ if wanted.json_schema else {"type": "object"}
        form.json_schema = json.dumps(schema)
    elif own is not None:
        if own.regex:
            form.regex = own.regex
            return
        form.choices.texts.extend(own.choice)
