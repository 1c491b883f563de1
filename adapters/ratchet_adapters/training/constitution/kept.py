"""A chat model whose answers are kept in a folder, by what was asked, so that an interrupted revision goes on.

It must not know what the answers are for.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ratchet_adapters.private_file import write_private_json
from ratchet_adapters.training.constitution.critic import Chat, Message

__all__ = ["KeptChat"]

_LOG = logging.getLogger(__name__)


class KeptChat:
    """A `Chat` that asks another one each question once. A file is there whole or not at all.

    Args:
        chat: Who is asked.
        folder: Made when absent; may be shared by many runs and models.
    """

    def __init__(self, chat: Chat, folder: Path) -> None:
        self._chat = chat
        self._folder = folder

    @property
    def name(self) -> str:
        """The other's."""
        return self._chat.name

    async def answer(self, messages: Sequence[Message]) -> str:
        """See `Chat`.

        Raises:
            OSError: The folder can not be written.
        """
        key = json.dumps([self.name, [asdict(message) for message in messages]])
        path = self._folder / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        known = _read(path)
        if known is not None:
            return known
        text = await self._chat.answer(messages)
        write_private_json(path, {"answer": text, "sha256": hashlib.sha256(text.encode()).hexdigest()})
        return text


def _read(path: Path) -> str | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        text = stored["answer"]
        if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != stored["sha256"]:
            raise ValueError("its content is not what was written")
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        _LOG.warning("The kept answer %s is damaged (%s) and will be asked for again.", path, error)
        return None
    return text
