"""Whether a text opens like a refusal: the cheap check that keeps refusals out of the benign answers.

It must not be used to measure anything: evaluation has judges. It errs towards "refusal", because a lost replay row
costs nothing and a refusal taught on a benign prompt costs a lot.
"""

from __future__ import annotations

import re

__all__ = ["opens_like_a_refusal"]

_OPENING = 200
_REFUSAL = re.compile(
    r"\b(?:i|we)\s*(?:['’]?m| am| are)?\s*(?:really |truly |very |so )?(?:sorry|afraid)\b"
    r"|\bsorry\b|\bunable to\b|\bas an ai\b|\bapologi[sz]e"
    r"|\b(?:can(?:no|['’])t|can not|cannot|won['’]t|will not|couldn['’]t|do(?:n['’]t| not))"
    r"\s+(?:be able to |really |ever )?"
    r"(?:help|assist|provide|support|fulfil|comply|engage|condone|do (?:that|this|it)|have the (?:ability|capab))"
    r"|\b(?:not able|not willing|not comfortable|not capable|refuse|must decline|have to decline)\b"
    r"|\bi\s+(?:can(?:no|['’])t|can not|cannot|won['’]t|will not)\s+(?!wait|believe|help but|stop|remember|say for)"
    r"|\bi(?:['’]m| am) not going to\b|\b(?:must|have to) (?:say no|turn)\b"
    r"|\b(?:isn['’]t|is not|that['’]s) something (?:i|we)\b|^\s*no,",
    re.IGNORECASE,
)


def opens_like_a_refusal(text: str) -> bool:
    """Return whether the first 200 characters hold the wording of a refusal or an apology."""
    return _REFUSAL.search(text[:_OPENING]) is not None
