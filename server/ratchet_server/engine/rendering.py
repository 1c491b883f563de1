"""From chats and texts to token ids, with boundaries that cannot be forged.

It must not know the engine: it needs a Hugging Face tokenizer only.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any

from ratchet_server.engine.engine import ChatMessage
from ratchet_server.engine.errors import RequestInvalid

__all__ = ["Renderer"]


class Renderer:
    """Turns messages and (context, continuation) pairs into token ids."""

    def __init__(self, tokenizer: Any, system_prompt: str | None = None) -> None:
        """Create a renderer.

        Args:
            tokenizer: A Hugging Face tokenizer; its own chat template is used.
            system_prompt: Put before chats without a system message; None leaves it to the template.
        """
        self._tokenizer = tokenizer
        self._system_prompt = system_prompt
        specials = sorted({str(token) for token in tokenizer.all_special_tokens}, key=len, reverse=True)
        self._specials = re.compile("|".join(map(re.escape, specials))) if specials else None

    def chat(self, messages: Sequence[ChatMessage]) -> list[int]:
        """Render a chat up to where the assistant's answer begins.

        A control token written out in a message ("<|im_end|>") is encoded as plain text: no user can end their own
        turn and speak as the system.

        Raises:
            RequestInvalid: No messages, or the model's template refuses them.
        """
        if not messages:
            raise RequestInvalid("there are no messages; send at least one")
        turns = [{"role": message.role, "content": message.content} for message in messages]
        if self._system_prompt is not None and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self._system_prompt})
        if self._specials is None or not any(self._specials.search(turn["content"]) for turn in turns):
            return self._encode(self._template(turns))
        return self._guarded(turns)

    def split(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Token ids of a context and of its continuation, encoded apart so that the boundary is exact.

        No token straddles the boundary, whatever the texts. Spaces that end the context move to the continuation,
        because these vocabularies write a word with the space before it; for "The sky is" and " blue" the result is
        that of encoding the whole. An empty context becomes the beginning-of-text token (else the end-of-text one),
        since the first token of a text has no log-probability. Control tokens are recognised in both: scoring is for
        evaluation, which renders chats itself.

        Args:
            context: May be empty.
            continuation: Not empty.

        Raises:
            RequestInvalid: The continuation has no tokens.
        """
        kept = context.rstrip(" ")
        after = self._encode(context[len(kept) :] + continuation)
        if not after:
            raise RequestInvalid("a continuation to score is empty; give it at least one character")
        before = self._encode(kept) if kept else []
        return before or [self._first()], after

    def _first(self) -> int:
        for token in (self._tokenizer.bos_token_id, self._tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        raise RequestInvalid("this model has no beginning-of-text token; give every item a context")

    def _template(self, turns: list[dict[str, str]]) -> str:
        try:
            text = self._tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        # A template is a program of the model's author and raises what it likes.
        except Exception as error:
            raise RequestInvalid(f"the model's chat template refuses these messages: {error}") from error
        return str(text)

    def _encode(self, text: str, *, plain: bool = False) -> list[int]:
        ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=plain)
        return [int(token) for token in ids]

    def _guarded(self, turns: list[dict[str, str]]) -> list[int]:
        # Each content is replaced by a mark the template carries through, and put back as plain text after rendering.
        nonce = secrets.token_hex(8)
        marks = {f"[{nonce}-{index}]": turn["content"] for index, turn in enumerate(turns)}
        text = self._template(
            [{"role": turn["role"], "content": mark} for turn, mark in zip(turns, marks, strict=True)]
        )
        ids: list[int] = []
        for part in re.split(rf"(\[{nonce}-\d+\])", text):
            if part in marks:
                ids += self._encode(marks[part], plain=True)
            elif part:
                ids += self._encode(part)
        return ids
