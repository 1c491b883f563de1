"""What a model already said, kept in a folder, so that an interrupted evaluation goes on where it was.

It must not know judges: it keeps answers and log-probabilities, which are what costs time. An entry belongs to one base
model, one adapter, one suite version and one way of sampling; a file is replaced whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ratchet_adapters.evals.target import Sampling
from ratchet_adapters.private_file import write_private_json

__all__ = ["EvalCache"]

_LOG = logging.getLogger(__name__)
_FORMAT = 1


class EvalCache:
    """Observations by (base model, adapter, suite version, sampling), and within it by item.

    Args:
        folder: Made when absent.
        base_fingerprint: Of the model under evaluation. Without it answers of one model would pass for another's.
    """

    def __init__(self, folder: Path, *, base_fingerprint: str) -> None:
        if not base_fingerprint:
            raise ValueError("An evaluation cache needs the base model's fingerprint: ask the target for it.")
        self._folder = folder
        self._base = base_fingerprint

    def read(self, adapter: str, version: str, sampling: Sampling) -> dict[str, Any]:
        """Return what was kept: item id to observation (JSON values); empty when nothing was.

        A damaged entry is measured again: it is removed and a warning is logged.
        """
        path = self._path(adapter, version, sampling)
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if stored["sha256"] != _digest(stored["observations"]):
                raise ValueError("its content is not what was written")
            return dict(stored["observations"])
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError) as error:
            _LOG.warning("The cached evaluation %s is damaged (%s) and will be measured again.", path, error)
            path.unlink(missing_ok=True)
            return {}

    def write(self, adapter: str, version: str, sampling: Sampling, observations: Mapping[str, Any]) -> None:
        """Replace what is kept, atomically.

        Raises:
            OSError: The folder cannot be written.
        """
        path = self._path(adapter, version, sampling)
        write_private_json(path, {"sha256": _digest(observations), "observations": dict(observations)})

    def _path(self, adapter: str, version: str, sampling: Sampling) -> Path:
        key = [_FORMAT, self._base, adapter, version, sampling.max_tokens, sampling.temperature]
        return self._folder / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()}.json"


def _digest(observations: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(observations, sort_keys=True).encode()).hexdigest()
