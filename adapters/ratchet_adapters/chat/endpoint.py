"""A chat model behind any HTTP endpoint that speaks the OpenAI chat format: hosted, or vLLM, llama.cpp, Ollama.

It must not know what is asked. The key goes into one header and nowhere else: not into names, errors or logs.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from ratchet_adapters.chat.errors import EndpointRefused, EndpointReplyInvalid, EndpointUnavailable
from ratchet_adapters.chat.message import Message

__all__ = ["ChatEndpoint", "ChatEndpointSettings"]

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MAX_BYTES = 4 << 20


class ChatEndpointSettings(BaseSettings):
    """Where the endpoint is and how hard it is worked; whoever uses it names the variables by an `env_prefix`."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    url: str = Field(description='Up to the version, e.g. "https://host/v1"; /chat/completions is added.')
    model: str = Field(min_length=1, description="As the endpoint names it.")
    api_key: SecretStr = Field(SecretStr(""), description="Sent as a bearer token; empty: none is sent.")
    max_tokens: int = Field(256, ge=1, le=8192, description="Most tokens of one reply.")
    temperature: float = Field(0.0, ge=0, le=2, description="0: as repeatable as the endpoint can be.")
    timeout_s: float = Field(120.0, gt=0, description="Of one request, from connecting to its last byte.")
    attempts: int = Field(4, ge=1, le=10, description="Tries while the endpoint is busy or away.")
    backoff_s: float = Field(1.0, ge=0, description="Pause before the second try; doubled each time.")
    concurrency: int = Field(8, ge=1, le=256, description="Requests in flight at once.")

    @field_validator("url")
    @classmethod
    def _plain(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if parts.username or parts.password or parts.query or parts.fragment:
            # The URL is shown in errors and manifests.
            raise ValueError("url must hold no user, password, query or fragment; the key has its own setting")
        return url.rstrip("/")


class ChatEndpoint:
    """A chat model. Use it as an async context manager."""

    def __init__(self, settings: ChatEndpointSettings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.concurrency)
        key = settings.api_key.get_secret_value()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.AsyncClient(headers=headers, timeout=settings.timeout_s, follow_redirects=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    @property
    def name(self) -> str:
        """Model, endpoint and sampling."""
        return self.name_of(self._settings)

    @staticmethod
    def name_of(settings: ChatEndpointSettings) -> str:
        """Return the name an endpoint of these settings has."""
        sampling = f"max_tokens {settings.max_tokens}, temperature {settings.temperature:g}"
        return f"{settings.model} at {settings.url}, {sampling}"

    async def answer(self, messages: Sequence[Message]) -> str:
        """Return the next turn, which is not empty.

        Raises:
            EndpointUnavailable, EndpointRefused, EndpointReplyInvalid.
        """
        settings = self._settings
        body = {
            "model": settings.model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
        }
        why = ""
        async with self._slots:
            for attempt in range(settings.attempts):
                if attempt:
                    await asyncio.sleep(settings.backoff_s * 2 ** (attempt - 1))
                try:
                    # The client's own limit is per read; a server that drips bytes would never meet it.
                    async with asyncio.timeout(settings.timeout_s):
                        status, content = await self._post(body)
                except (httpx.TimeoutException, TimeoutError):
                    why = f"no reply within {settings.timeout_s:g} s"
                    continue
                except httpx.HTTPError as error:
                    why = f"{type(error).__name__}: {error}"
                    continue
                if status in _RETRIED:
                    why = f"HTTP {status}"
                    continue
                if status != 200:
                    raise EndpointRefused(settings.url, f"HTTP {status}")
                return _content(settings.url, content)
        raise EndpointUnavailable(settings.url, why)

    async def _post(self, body: dict[str, Any]) -> tuple[int, bytes]:
        async with self._client.stream("POST", f"{self._settings.url}/chat/completions", json=body) as response:
            content = b""
            async for part in response.aiter_bytes():
                content += part
                if len(content) > _MAX_BYTES:
                    raise EndpointReplyInvalid(self._settings.url, f"it is longer than {_MAX_BYTES} bytes")
            return response.status_code, content


def _content(url: str, body: bytes) -> str:
    try:
        text = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise EndpointReplyInvalid(url, f"it is not in the OpenAI chat format ({type(error).__name__})") from error
    if not isinstance(text, str) or not text.strip():
        raise EndpointReplyInvalid(url, "it holds no text")
    return text.strip()
