"""The files through which a training process and its parent talk.

It must not know what they mean to either.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

__all__ = ["JOB", "LOCK", "LOG", "OUTCOME", "PROGRESS", "write_json"]

JOB = "request.json"
LOCK = "lock"
LOG = "log.txt"
OUTCOME = "outcome.json"
PROGRESS = "progress.jsonl"


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
