"""Cuts a text into overlapping pieces that a small encoder reads whole.

Encoders cut what is longer than their window without a word, so text behind the cut is never judged. The pieces depend
only on the text before their end: while an answer grows, all but its last pieces stay the same and can be cached.
It must not know any scorer.
"""

from __future__ import annotations

import re

__all__ = ["segments"]

_BLOCK_CHARS = 60
# Tokens of the smallest window (256) less the special ones and some slack.
_BUDGET_TOKENS = 240.0
_KEEP_BLOCKS = 2
# A letter costs half a token at worst in practice; a sign, or anything outside ASCII, one: padding a text with signs
# must not push what follows out of the encoder's window.
_LETTERS = re.compile(r"[A-Za-z0-9\s]+")


def segments(text: str) -> list[str]:
    """Cut a text into pieces of at most about 240 tokens, each beginning before the last one ended.

    Args:
        text: Any text. A short one is returned as the only piece.

    Returns:
        At least one piece; every character is in one, and every piece but the first repeats up to 120 characters.
    """
    if len(text) <= _BUDGET_TOKENS:
        return [text]
    pieces: list[str] = []
    begin, position, cost = 0, 0, 0.0
    while position < len(text):
        block = text[position : position + _BLOCK_CHARS]
        signs = len(_LETTERS.sub("", block))
        price = signs + (len(block) - signs) / 2
        if cost + price > _BUDGET_TOKENS:
            pieces.append(text[begin:position])
            begin = max(begin + _BLOCK_CHARS, position - _KEEP_BLOCKS * _BLOCK_CHARS)
            position, cost = begin, 0.0
            continue
        cost += price
        position += len(block)
    pieces.append(text[begin:])
    return pieces
