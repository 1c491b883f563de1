"""The base model's own answers, asked of the serving engine at the lowest priority and kept, each asked once.

Must not know what they are for. They are kept by base model, prompt and sampling, so that an interrupted run, and every
later run on the same base model, goes on with what was already said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet_adapters.evals.cache import EvalCache
from ratchet_adapters.evals.settings import EvalSettings
from ratchet_adapters.evals.target import BASE, Sampling

if TYPE_CHECKING:
    from ratchet_adapters.evals.remote import RemoteTarget

__all__ = ["BaseAnswers"]

# In the cache's key, where an evaluation has the version of its suite: answers to single prompts belong to none.
_VERSION = "prompts"
_KEEP_EVERY = 32


class BaseAnswers:
    """Answers of the base model alone, rails off, greedy.

    Attributes:
        asked: How many answers are wanted.
        there: How many of them there are already.
    """

    def __init__(self, server: str, settings: EvalSettings, folder: Path, *, base_fingerprint: str) -> None:
        """Ask `server`, no harder than `settings` say, what `folder` does not hold for this base model."""
        self._server = server
        self._settings = settings
        self._cache = EvalCache(folder, base_fingerprint=base_fingerprint)
        self.asked = 0
        self.there = 0

    async def __call__(self, prompts: Sequence[str], max_tokens: int) -> list[str]:
        """Return one answer of at most `max_tokens` per prompt, in order.

        Raises:
            TargetUnavailable: The server cannot be reached; what was answered is kept.
            TargetRefused: It refused a request.
        """
        sampling = Sampling(max_tokens)
        known = self._cache.read("", _VERSION, sampling)
        wanted = {_key(prompt): prompt for prompt in prompts}
        missing = [key for key in wanted if key not in known]
        self.asked, self.there = len(wanted), len(wanted) - len(missing)
        if missing:
            async with self._target() as target:
                for start in range(0, len(missing), _KEEP_EVERY):
                    keys = missing[start : start + _KEEP_EVERY]
                    texts = [wanted[key] for key in keys]
                    answers = await target.generate(texts, adapter=BASE, max_tokens=max_tokens)
                    known.update(zip(keys, answers, strict=True))
                    self._cache.write("", _VERSION, sampling, known)
                    self.there += len(keys)
        return [known[_key(prompt)] for prompt in prompts]

    def _target(self) -> RemoteTarget:
        from ratchet_adapters.evals.remote import RemoteTarget

        return RemoteTarget(self._server, settings=self._settings)


def _key(prompt: str) -> str:
    return hashlib.sha256(prompt.encode()).hexdigest()
