"""What every trainer does alike: claim the work folder, continue from a checkpoint, train, measure, save.

A method's own trainer file says what is trained with which loss; this one says how a training is carried out. It must
not know any method.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from ratchet_adapters.artifacts.adapter_files import inspect_adapter
from ratchet_adapters.datasets.dataset import Dataset, Row, RowKind, Split, read_dataset
from ratchet_adapters.precision import resolve_precision
from ratchet_adapters.training.errors import BatchNotShared, InputAdapterMissing, NothingToTrain
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.recipe import AdapterRecipe
from ratchet_adapters.training.trainers.checkpoints import claim, last_checkpoint, mark_finished
from ratchet_adapters.training.trainers.model import load_model, load_tokenizer
from ratchet_adapters.training.trainers.saving import save_adapter
from ratchet_adapters.training.trainers.workers import (
    averaging,
    check_equal,
    first_goes_first,
    is_first,
    said_by_first,
    wait_for_all,
    workers,
)

__all__ = ["OnProgress", "Session", "Work", "carry_out", "start_folder", "tokens_of"]

_MAX_RANK = 512

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Work:
    """What a method makes of a session.

    Attributes:
        trainer: A `transformers.Trainer`, or one of TRL's, whose model is `session.model` and whose `args` come from
            `session.arguments`.
        rows: Train rows it uses; 0 is an error.
        tokens: Tokens of one pass over them.
    """

    trainer: Any
    rows: int
    tokens: int


@dataclass(frozen=True)
class Session:
    """One training job, opened.

    Attributes:
        job: What was asked for.
        dataset: Read and checked.
        precision: Of matrix products and base weights.
    """

    job: TrainingJob
    dataset: Dataset
    precision: Literal["bf16", "fp32"]

    def rows(self, *kinds: RowKind, split: Split = Split.TRAIN) -> list[Row]:
        """Rows of these kinds (all when none is named) in one split, in the dataset's order."""
        return [row for row in self.dataset.rows if row.split is split and (not kinds or row.kind in kinds)]

    @cached_property
    def tokenizer(self) -> Any:
        """The base model's, with a pad token."""
        return load_tokenizer(self.job.model)

    @cached_property
    def model(self) -> Any:
        """The PEFT model: base frozen, one LoRA adapter named "default". The random numbers are seeded before."""
        from transformers import set_seed

        set_seed(self.job.settings.seed)
        return load_model(self.job.model, self.job.settings, self.precision, start=start_folder(self.job))

    def arguments(self, kind: type[Any], **own: Any) -> Any:
        """Return `kind(...)`: a TrainingArguments class, with everything that is the same for all methods.

        Args:
            kind: For example `trl.DPOConfig`.
            own: What the method adds or changes. `max_steps` or `num_train_epochs` must be among them, or
                `settings.epochs` counts.
        """
        import torch

        settings = self.job.settings
        size, left = divmod(settings.batch_size, settings.accumulate * workers())
        if left and "per_device_train_batch_size" not in own:
            raise BatchNotShared(settings.batch_size, settings.accumulate, workers())
        common = {
            "output_dir": str(self.job.work),
            "num_train_epochs": settings.epochs,
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": settings.accumulate,
            "learning_rate": settings.learning_rate,
            "lr_scheduler_type": "cosine",
            "warmup_steps": settings.warmup_share,
            "weight_decay": 0.0,
            "max_grad_norm": settings.max_grad_norm,
            "seed": settings.seed,
            "data_seed": settings.seed,
            # The trainer's own autocast covers `model.forward` only, and bfloat16 base weights need none.
            "bf16": False,
            "fp16": False,
            "use_cpu": not torch.cuda.is_available(),
            # Naming one would make a training of one process distributed.
            "ddp_backend": "gloo" if workers() > 1 and not torch.cuda.is_available() else None,
            "gradient_checkpointing": False,
            "dataloader_pin_memory": False,
            "logging_steps": 1,
            "logging_first_step": True,
            "logging_nan_inf_filter": False,
            "save_strategy": "steps",
            "save_steps": settings.checkpoint_steps,
            "save_total_limit": 2,
            "report_to": [],
            "disable_tqdm": True,
        }
        return kind(**{**common, **own})


def carry_out(job: TrainingJob, on_progress: OnProgress | None, prepare: Callable[[Session], Work]) -> TrainingResult:
    """Train in this process and return when the adapter folder is there.

    Where this process is one of several workers (`torch.distributed` is initialised), all of them call this with the
    same job and folders that all can see; each computes its share of every step, and the first one saves.

    A work folder with finished checkpoints of the same job is continued; the batches, and so the loss curve, are then
    the same as without the interruption.

    Args:
        job: What to train. The limits in `job.process` are the caller's to apply.
        on_progress: Called after each step, in this thread.
        prepare: Makes the method's trainer.

    Raises:
        DatasetInvalid: The dataset folder is damaged.
        NothingToTrain: It has no usable train rows for this method.
        WorkFolderMismatch: The work folder belongs to another job.
        NotEnoughMemory: The model would not fit.
        TrainingDiverged: The loss stopped being a number.
    """
    from transformers import PrinterCallback

    from ratchet_adapters.training.trainers.over_refusal import OverRefusalStop
    from ratchet_adapters.training.trainers.reporting import StepReport, metrics_of

    dataset = read_dataset(job.dataset)
    session = Session(job, dataset, resolve_precision(job.settings.precision))
    with first_goes_first():
        claim(job.work, _identity(session))
    work = prepare(session)
    if not work.rows:
        raise NothingToTrain(job.dataset)
    points: dict[int, Progress] = {}

    def on_step(progress: Progress) -> None:
        points[progress.step] = progress
        if on_progress is not None:
            on_progress(progress)

    trainer = work.trainer

    def on_saved(step: int) -> None:
        check_equal(trainer.model)
        wait_for_all()
        if is_first():
            mark_finished(job.work, step)

    report = StepReport(on_step, on_saved)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(report)
    stop = OverRefusalStop.of(session)
    if stop is not None:
        trainer.add_callback(stop)
    if workers() > 1:
        trainer.training_step = averaging(trainer)
    checkpoint = said_by_first(last_checkpoint(job.work) if is_first() else None)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint[1]))
    for entry in trainer.state.log_history:
        if "loss" in entry and (step := int(entry["step"])) not in points:
            points[step] = Progress(step, int(trainer.state.max_steps), float(entry["loss"]), metrics_of(entry))
    validation = float(trainer.evaluate()["eval_loss"]) if trainer.eval_dataset is not None else None
    seconds = time.monotonic() - began
    model = trainer.accelerator.unwrap_model(trainer.model)
    if stop is not None:
        stop.restore(model)
    check_equal(model)
    with first_goes_first():
        if is_first():
            save_adapter(job, dataset, model)
    return TrainingResult(
        adapter=job.output,
        steps=int(trainer.state.global_step),
        resumed_from=0 if checkpoint is None else checkpoint[0],
        curve=tuple(points[step] for step in sorted(points)),
        validation_loss=validation,
        rows=work.rows,
        tokens=work.tokens,
        seconds=seconds,
        step_seconds=report.step_seconds,
        peak_memory_bytes=_peak_memory(),
        stopped_early="" if stop is None else stop.reason,
    )


def start_folder(job: TrainingJob) -> Path | None:
    """Return the folder of the adapter that training goes on from; None when it begins anew.

    Raises:
        InputAdapterMissing: The recipe names one and the job does not say where it is.
        AdapterFileError: It is no adapter, or of another base model (`WrongBase`).
    """
    recipe = job.settings
    if not isinstance(recipe, AdapterRecipe) or not recipe.start:
        return None
    if recipe.start not in job.inputs:
        raise InputAdapterMissing(recipe.start)
    folder = job.inputs[recipe.start]
    inspect_adapter(folder, base_fingerprint=job.base_fingerprint, max_rank=_MAX_RANK)
    return folder


def _identity(session: Session) -> dict[str, Any]:
    job = session.job
    return {
        "method": job.method,
        "base_fingerprint": job.base_fingerprint,
        "dataset_digest": session.dataset.digest,
        "precision": session.precision,
        "settings": job.settings.model_dump(mode="json"),
    }


def _peak_memory() -> int:
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def tokens_of(rows: Sequence[Row], tokenizer: Any) -> int:
    """Tokens of prompts and targets, without the chat template's own."""
    return sum(len(tokenizer(row.prompt + row.target, add_special_tokens=False)["input_ids"]) for row in rows)
