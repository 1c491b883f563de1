"""Trials on this machine: a dataset of the seed train split, a training process, and a model asked in memory.

It must not know how recipes are chosen. Only the validation split it is handed is ever asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ratchet_adapters.datasets.refusal_text import opens_like_a_refusal
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_adapters.learning.options import run_options
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_adapters.training.trainers.process import train_in_process
from ratchet_adapters.tuning.heldout import HeldOut
from ratchet_adapters.tuning.objectives import Measured

__all__ = ["LocalEvaluator", "LocalTrainer"]

_ANSWER_TOKENS = 16
"""Of a validation answer: its opening decides whether it refuses."""


class LocalTrainer:
    """Builds a trial's dataset from what is left of the seed train split, and trains in a child process."""

    def __init__(
        self, method: str, split: HeldOut, model: Path, fingerprint: str, out: Path, process: ProcessSettings
    ) -> None:
        """Remember where everything is; the base model is loaded when its answers are first needed.

        Args:
            method: Training method.
            split: Whose training part is learnt from.
            model: Folder of the base model.
            fingerprint: Of it.
            out: Folder for the base model's answers, shared by all trials.
            process: What a training may use.
        """
        self._method = method
        self._split = split
        self._model = model
        self._fingerprint = fingerprint
        self._answers_file = out / "answers.json"
        self._process = process

    def __call__(self, options: Mapping[str, Any], folder: Path, should_stop: Callable[[], bool]) -> Path:
        """Train; see `Trainer`."""
        from ratchet_adapters.datasets.builder import build

        adapter = folder / "adapter"
        if adapter.is_dir() and not (folder / "work").exists():
            return adapter
        chosen = run_options(self._method, options, DatasetSettings(), {})
        dataset = asyncio.run(
            build(
                (),
                answers=self._answers,
                settings=chosen.dataset,
                base_fingerprint=self._fingerprint,
                seed=self._split.training,
            )
        )
        job = TrainingJob(
            method=self._method,
            dataset=dataset.write(folder / "dataset"),
            model=self._model,
            base_fingerprint=self._fingerprint,
            output=adapter,
            work=folder / "work",
            settings=chosen.training,
            process=self._process,
        )
        train_in_process(job, None, should_stop)
        # Checkpoints are many times the size of the adapter.
        shutil.rmtree(job.work)
        return adapter

    async def _answers(self, prompts: Sequence[str], max_tokens: int) -> Sequence[str]:
        """The base model's answers, each asked for once in the whole search."""
        known = self._known
        keys = [hashlib.sha256(f"{max_tokens}\n{prompt}".encode()).hexdigest() for prompt in prompts]
        missing = [place for place, key in enumerate(keys) if key not in known]
        if missing:
            model, tokenizer = _loaded(self._model, None)
            from ratchet_adapters.training.trainers.generation import generate

            made = generate(model, tokenizer, [prompts[place] for place in missing], max_tokens=max_tokens)
            known.update({keys[place]: text for place, text in zip(missing, made, strict=True)})
            temporary = self._answers_file.with_suffix(".new")
            temporary.write_text(json.dumps(known), encoding="utf-8")
            temporary.replace(self._answers_file)
        return [known[key] for key in keys]

    @cached_property
    def _known(self) -> dict[str, str]:
        if not self._answers_file.exists():
            return {}
        found: dict[str, str] = json.loads(self._answers_file.read_text(encoding="utf-8"))
        return found


class LocalEvaluator:
    """Asks the validation prompts greedily and judges by the opening of the answers."""

    def __init__(self, model: Path, split: HeldOut, *, threads: int) -> None:
        """Remember what to ask.

        Args:
            model: Folder of the base model.
            split: Whose validation part is asked.
            threads: CPU threads.
        """
        self._model = model
        self._split = split
        self._threads = threads

    def __call__(self, adapter: Path | None) -> Measured:
        """Measure; see `Evaluator`."""
        import torch

        from ratchet_adapters.evals.local import LocalModel
        from ratchet_adapters.training.trainers.generation import generate

        torch.set_num_threads(self._threads)
        model, tokenizer = _loaded(self._model, adapter)

        def refused(prompts: Sequence[str]) -> float:
            answers = generate(model, tokenizer, prompts, max_tokens=_ANSWER_TOKENS)
            return sum(map(opens_like_a_refusal, answers)) / len(answers)

        scores = LocalModel(model, tokenizer).log_probs([("", item.prompt) for item in self._split.texts])
        return Measured(
            refusal=refused([item.prompt for item in self._split.harmful]),
            over_refusal=refused([item.prompt for item in self._split.benign]),
            nll=-sum(score.log_prob for score in scores) / sum(score.tokens for score in scores),
        )


def _loaded(folder: Path, adapter: Path | None) -> tuple[Any, Any]:
    """The base model, with an adapter or without, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    from ratchet_adapters.precision import resolve_precision
    from ratchet_adapters.training.trainers.model import load_tokenizer

    dtype = torch.bfloat16 if resolve_precision("auto") == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype, local_files_only=True)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
    return model.eval(), load_tokenizer(folder)
