"""Digests: the one canonical JSON form, and the `sha256:<64 hex>` names made from it.

It must not know what is being named.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

__all__ = ["bytes_digest", "canonical_json", "hex_of", "is_digest"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def canonical_json(value: Any) -> str:
    """Return the only JSON text of a value: sorted keys, no spaces, ASCII, no NaN.

    Args:
        value: Anything `json` can write.

    Raises:
        ValueError: It holds NaN or an infinity, or refers to itself.
        TypeError: It holds something JSON has no form for.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def bytes_digest(data: bytes) -> str:
    """Return `sha256:<64 hex>` of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(text: str) -> bool:
    """Say whether a text has the form of a digest."""
    return _DIGEST.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """Return the 64 hex digits of a well-formed digest."""
    return digest.removeprefix("sha256:")
