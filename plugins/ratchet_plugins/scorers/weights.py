"""Committed weights: one small safetensors file beside each scorer, with its thresholds in the metadata.

It must not know what the tensors mean.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.scorers.errors import ScorerUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["Weights", "read_weights", "write_weights"]

_KEY = "ratchet"


@dataclass(frozen=True)
class Weights:
    """Tensors (as stored, mostly float16), settings, and the digest of the file they came from."""

    tensors: dict[str, torch.Tensor]
    settings: dict[str, Any]
    digest: str


@cache
def read_weights(path: Path) -> Weights:
    """Read a weight file once per process.

    Raises:
        ScorerUnavailable: It is missing or unreadable.
    """
    from safetensors import SafetensorError, safe_open

    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(str(path), framework="pt") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 - no mapping
            settings = json.loads((handle.metadata() or {})[_KEY])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ScorerUnavailable(
            f"The scorer weights {path.name} are missing or damaged ({error}). Reinstall ratchet."
        ) from error
    return Weights(tensors, settings, f"sha256:{digest}")


def write_weights(path: Path, tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> None:
    """Write a weight file; used by the training scripts only."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
    save_file(contiguous, str(path), metadata={_KEY: json.dumps(settings, sort_keys=True)})
    # The writer makes it private, and a wheel keeps file modes.
    path.chmod(0o644)
