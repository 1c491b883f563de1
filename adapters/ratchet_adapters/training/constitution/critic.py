"""The port of a critic, and two of them: a chat model, and templates for models too small to criticise themselves.

It must not know how a chat model is reached.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from random import Random
from typing import Protocol

from ratchet_adapters.chat.message import Message
from ratchet_adapters.datasets.bank import TemplateBank, load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.constitution.principles import Principle

__all__ = ["Chat", "ChatCritic", "Critic", "Message", "TemplateCritic"]


class Chat(Protocol):
    """A chat model."""

    @property
    def name(self) -> str:
        """Which model answers and how: equal names give answers that may be used for each other."""
        ...

    async def answer(self, messages: Sequence[Message]) -> str:
        """Return the next turn, which is not empty.

        Raises:
            CriticUnavailable, CriticRefused, CriticAnswerInvalid.
        """
        ...


class Critic(Protocol):
    """Criticises a draft by a principle, and rewrites it by the critique. Safe to be called many times at once."""

    @property
    def name(self) -> str:
        """For the dataset's manifest."""
        ...

    async def critique(self, row: Row, draft: str, principle: Principle) -> str:
        """Return what is wrong with a draft of the answer to the row's prompt."""
        ...

    async def revise(self, row: Row, draft: str, critique: str, principle: Principle) -> str:
        """Return the draft written anew; "" when the critic has nothing to put in its place."""
        ...


class ChatCritic:
    """A chat model that is shown the prompt and the draft as if it were its own, then asked twice.

    The conversation is that of constitutional AI (Bai et al. 2022, arXiv 2212.08073, section 3.1); the wording is the
    principle's.
    """

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    @property
    def name(self) -> str:
        """The chat model's."""
        return self._chat.name

    async def critique(self, row: Row, draft: str, principle: Principle) -> str:
        """See `Critic`."""
        return await self._chat.answer(_asked(row, draft, principle))

    async def revise(self, row: Row, draft: str, critique: str, principle: Principle) -> str:
        """See `Critic`."""
        question = f"{principle.revision} Reply with the new answer alone."
        messages = [*_asked(row, draft, principle), Message("assistant", critique), Message("user", question)]
        return _alone(await self._chat.answer(messages))


class TemplateCritic:
    """No model at all: a harmful draft is replaced by a refusal of the template bank, a benign one by nothing.

    What comes out teaches no more than refusal templates do; it is for trying the pipeline, and for students whose own
    model cannot judge a text (135M parameters cannot), when no larger model is at hand.
    """

    def __init__(self, bank: TemplateBank | None = None, *, seed: int = 0) -> None:
        self._bank = bank if bank is not None else load_bank()
        self._seed = seed

    @property
    def name(self) -> str:
        """Changes with the bank and the seed."""
        return f"templates {self._bank.digest} {self._seed}"

    async def critique(self, row: Row, draft: str, principle: Principle) -> str:
        """See `Critic`. The same for every draft of one principle."""
        return f"The answer does not meet the principle {principle.name}."

    async def revise(self, row: Row, draft: str, critique: str, principle: Principle) -> str:
        """See `Critic`."""
        if row.kind is not RowKind.REFUSAL:
            return ""
        key = hashlib.sha256(json.dumps([self._seed, row.id, row.prompt]).encode()).hexdigest()
        return self._bank.pick(row.category, Random(key))


_LEAD_IN = re.compile(
    r"\A\s*(?:(?:sure|certainly|of course|okay|ok)[,.!]\s*)?(?:here(?:['’]s| is)\s+(?:the|a|my)\s+)?"
    r"(?:revised|rewritten|new|updated)\s+(?:answer|response|version)[^:\n]{0,40}:\s*",
    re.IGNORECASE,
)


def _alone(text: str) -> str:
    """The answer without what announces it or puts it in quotation marks."""
    found = _LEAD_IN.sub("", text, count=1).strip()
    quoted = len(found) > 1 and found[0] == found[-1] == '"' and found.count('"') == 2
    return found[1:-1].strip() if quoted else found


def _asked(row: Row, draft: str, principle: Principle) -> list[Message]:
    return [Message("user", row.prompt), Message("assistant", draft), Message("user", principle.critique)]
