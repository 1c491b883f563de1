"""A critic behind any HTTP endpoint that speaks the OpenAI chat format.

It must not know how the endpoint is spoken to: that is `chat.endpoint`.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_settings import SettingsConfigDict

from ratchet_adapters.chat.endpoint import ChatEndpoint, ChatEndpointSettings
from ratchet_adapters.chat.errors import EndpointRefused, EndpointReplyInvalid, EndpointUnavailable
from ratchet_adapters.chat.message import Message
from ratchet_adapters.training.constitution.errors import CriticAnswerInvalid, CriticRefused, CriticUnavailable

__all__ = ["EndpointChat", "EndpointSettings"]


class EndpointSettings(ChatEndpointSettings):
    """See `ChatEndpointSettings`; from the environment (`RATCHET_CRITIC_...`) or from code."""

    model_config = SettingsConfigDict(env_prefix="RATCHET_CRITIC_")


class EndpointChat(ChatEndpoint):
    """A `Chat`. Use it as an async context manager."""

    async def answer(self, messages: Sequence[Message]) -> str:
        """See `Chat`."""
        try:
            return await super().answer(messages)
        except EndpointUnavailable as error:
            raise CriticUnavailable(error.address, error.why) from error
        except EndpointRefused as error:
            raise CriticRefused(error.address, error.why) from error
        except EndpointReplyInvalid as error:
            raise CriticAnswerInvalid(error.address, error.why) from error
