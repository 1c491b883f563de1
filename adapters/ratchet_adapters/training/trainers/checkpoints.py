"""Finished checkpoints in a work folder: which is the newest that was written whole.

It must not know what is in a checkpoint.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

from ratchet_adapters.training.errors import WorkFolderMismatch

__all__ = ["claim", "last_checkpoint", "mark_finished"]

_NAME = re.compile(r"checkpoint-(\d+)")
_DONE = "FINISHED"
_IDENTITY = "job.json"


def claim(work: Path, identity: dict[str, Any]) -> None:
    """Make the work folder belong to one job.

    Args:
        work: The folder; made when absent.
        identity: JSON values that decide what the checkpoints are worth: recipe, data, base model.

    Raises:
        WorkFolderMismatch: It belongs to a job with another identity.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / _IDENTITY
    wanted = json.loads(json.dumps(identity))
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(wanted, sort_keys=True), encoding="utf-8")
        temporary.replace(path)
        return
    if known != wanted:
        different = sorted(key for key in {*known, *wanted} if known.get(key) != wanted.get(key))
        raise WorkFolderMismatch(work, different)


def mark_finished(work: Path, step: int) -> None:
    """Record that the checkpoint of a step is on disk, whole."""
    (work / f"checkpoint-{step}" / _DONE).touch()


def last_checkpoint(work: Path) -> tuple[int, Path] | None:
    """Return step and folder of the newest finished checkpoint; remove the ones a kill left half-written."""
    found: list[tuple[int, Path]] = []
    for folder in work.iterdir():
        match = _NAME.fullmatch(folder.name)
        if match is None:
            continue
        if (folder / _DONE).exists():
            found.append((int(match[1]), folder))
        else:
            shutil.rmtree(folder)
    return max(found, default=None)
