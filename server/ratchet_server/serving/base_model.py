"""Which base model this server hosts. Facts only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BaseModel:
    """Name as configured, files, and the content fingerprint that adapters are bound to."""

    name: str
    path: Path
    fingerprint: str
