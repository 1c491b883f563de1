"""A garak generator that asks a Ratchet server over gRPC.

It needs garak and the light client, not the server's packages. It must not decide anything: a blocked answer is an
empty one for garak, as it is for a user; the message's notes say so. Requests go at evaluation priority: they yield to
users' traffic and are never captured as traffic to learn from. Written for garak 0.17.
"""

from __future__ import annotations

import logging
from typing import Any

from garak import _config
from garak.attempt import Conversation, Message
from garak.exception import BadGeneratorException
from garak.generators.base import Generator

from ratchet.client import InvalidRequest, NotFound, Overloaded, Ratchet, RatchetError, Unavailable

__all__ = ["DEFAULT_CLASS", "RatchetGenerator"]

DEFAULT_CLASS = "RatchetGenerator"
"""What garak takes when its command line names the module alone."""

_LOG = logging.getLogger(__name__)


class RatchetGenerator(Generator):  # type: ignore[misc]  # garak is not installed beside the server
    """A Ratchet server, with the adapter and the rails of its users unless others are asked for.

    garak's configuration may set these under `plugins.generators.ratchet.RatchetGenerator`, besides garak's own
    `max_tokens`, `temperature` and `top_k` (unset: the server's defaults):

    Attributes:
        address: host:port, when `--target_name` gives none.
        adapter: Alias, digest or "base"; empty: as the server routes.
        rail_profile: Name; empty: the server's default. "off" measures the model alone.
        tenant: Kept with the request.
        request_timeout: Deadline of one request, in seconds.
    """

    DEFAULT_PARAMS = Generator.DEFAULT_PARAMS | {
        "address": "127.0.0.1:50051",
        "adapter": "",
        "rail_profile": "",
        "tenant": "",
        "request_timeout": 120.0,
    }
    _unsafe_attributes = ["_client"]  # noqa: RUF012  (garak's own kind of attribute)

    generator_family_name = "Ratchet"
    supports_multiple_generations = False

    def __init__(self, name: str = "", config_root: Any = _config) -> None:
        # Set before the configuration is read, which fills in what the caller left empty.
        self.name = name
        self._load_config(config_root)
        self.name = self.name or self.address
        super().__init__(self.name, config_root=config_root)
        self._load_unsafe()

    def _load_unsafe(self) -> None:
        # A channel belongs to one process: garak's workers, which get the generator pickled, open their own.
        self._client = Ratchet(self.name)

    def _call_model(self, prompt: Conversation, generations_this_call: int = 1) -> list[Message | None]:
        """Return the server's answer to a conversation; None when this request has none.

        Raises:
            BadGeneratorException: No request will ever be answered: the server is gone, or has no such adapter.
        """
        messages = [turn for turn in self._conversation_to_list(prompt) if turn["content"]]
        if not messages or messages[-1]["role"] != "user":
            # garak's blank prompts; the server takes no empty message.
            return [None]
        try:
            answer = self._client.generate(messages, timeout=self.request_timeout, **self._options())
        except (NotFound, Unavailable, Overloaded) as error:
            raise BadGeneratorException(f"{self.fullname} does not answer: {error.code.name}, {error}") from error
        except InvalidRequest as error:
            _LOG.warning("the server takes no such prompt: %s", error)
            return [None]
        except RatchetError as error:
            _LOG.warning("a request failed: %s, %s", error.code.name, error)
            return [None]
        receipt = answer.receipt
        notes = {
            "finish_reason": answer.finish_reason,
            "adapter": receipt.adapter_digest,
            "request": receipt.request_id,
        }
        return [Message("" if answer.blocked else answer.text, notes=notes)]

    def _options(self) -> dict[str, Any]:
        names = ("adapter", "rail_profile", "tenant", "max_tokens", "temperature", "top_k", "seed")
        given = {name: getattr(self, name, None) for name in names}
        return {name: value for name, value in given.items() if value not in (None, "")} | {"priority": "evaluation"}
