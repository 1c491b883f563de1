"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT, resumable and deterministic.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_adapters.datasets.dataset import Dataset, Split, read_dataset
from ratchet_adapters.training.card import adapter_card
from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.trainers.checkpoints import claim, last_checkpoint, mark_finished
from ratchet_adapters.training.trainers.encoding import Lessons, encode
from ratchet_adapters.training.trainers.precision import resolve_precision
from ratchet_adapters.training.trainers.schedule import Batch, schedule

if TYPE_CHECKING:
    from ratchet_adapters.training.trainers.completion_trainer import CompletionTrainer

__all__ = ["train"]

OnProgress = Callable[[Progress], None]
_WEIGHTS = "adapter_model.safetensors"
_CONFIG = "adapter_config.json"


def train(job: TrainingJob, on_progress: OnProgress | None = None) -> TrainingResult:
    """Train in this process and return when the adapter folder is there.

    A work folder with finished checkpoints of the same job is continued. The output folder holds
    `adapter_config.json`, `adapter_model.safetensors`, `ratchet.json` and `README.md`.

    Args:
        job: What to train. The limits in `job.process` are the caller's to apply.
        on_progress: Called after each step, in this thread.

    Raises:
        DatasetInvalid: The dataset folder is damaged.
        NothingToTrain: It has no usable train rows.
        WorkFolderMismatch: The work folder belongs to another job.
        TrainingDiverged: The loss stopped being a number.
    """
    dataset = read_dataset(job.dataset)
    precision = resolve_precision(job.settings.precision)
    claim(job.work, _identity(job, dataset, precision))
    tokenizer = _tokenizer(job.model)
    lessons = encode(
        [row for row in dataset.rows if row.split is Split.TRAIN],
        [row for row in dataset.rows if row.split is Split.VALIDATION],
        tokenizer,
        job.settings,
    )
    if not lessons.rows:
        raise NothingToTrain(job.dataset)
    batches = schedule(len(lessons.rows), len(lessons.anchors), job.settings)
    points: dict[int, float] = {}

    def on_step(step: int, total: int, loss: float) -> None:
        points[step] = loss
        if on_progress is not None:
            on_progress(Progress(step, total, loss))

    trainer = _trainer(job, precision, tokenizer, lessons, batches, on_step)
    checkpoint = last_checkpoint(job.work)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint[1]))
    earlier = {int(entry["step"]): float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry}
    validation = float(trainer.evaluate()["eval_loss"]) if lessons.validation else None
    seconds = time.monotonic() - began
    _save(job, dataset, trainer)
    return TrainingResult(
        adapter=job.output,
        steps=len(batches),
        resumed_from=0 if checkpoint is None else checkpoint[0],
        losses=tuple(sorted({**earlier, **points}.items())),
        validation_loss=validation,
        rows=len(lessons.rows),
        tokens=lessons.tokens,
        seconds=seconds,
    )


def _identity(job: TrainingJob, dataset: Dataset, precision: str) -> dict[str, Any]:
    return {
        "method": job.method,
        "base_fingerprint": job.base_fingerprint,
        "dataset_digest": dataset.digest,
        "precision": precision,
        "settings": job.settings.model_dump(mode="json"),
    }


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)


def _trainer(
    job: TrainingJob,
    precision: str,
    tokenizer: Any,
    lessons: Lessons,
    batches: list[Batch],
    on_step: Callable[[int, int, float], None],
) -> CompletionTrainer:
    from datasets import Dataset as Table
    from transformers import PrinterCallback, set_seed

    from ratchet_adapters.training.trainers.completion_trainer import BatchCollator, CompletionTrainer, StepReport

    settings = job.settings
    set_seed(settings.seed)
    held_out = range(len(lessons.validation))
    checks = [Batch(tuple(held_out[start : start + settings.batch_size])) for start in held_out[:: settings.batch_size]]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = CompletionTrainer(
        model=_model(job, precision),
        args=_arguments(job, len(batches)),
        train_dataset=Table.from_list([{**asdict(batch), "held_out": False} for batch in batches]),
        eval_dataset=Table.from_list([{**asdict(batch), "held_out": True} for batch in checks]) if checks else None,
        processing_class=tokenizer,
        data_collator=BatchCollator(lessons, settings, pad),
        callbacks=[StepReport(on_step, lambda step: mark_finished(job.work, step))],
        settings=settings,
        autocast=precision == "bf16",
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _model(job: TrainingJob, precision: str) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    settings = job.settings
    base = AutoModelForCausalLM.from_pretrained(
        str(job.model),
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        local_files_only=True,
        # Short sequences under a custom mask: plain matrix products beat the CPU's fused attention, backward most.
        attn_implementation="eager",
    )
    layers = int(base.config.get_text_config().num_hidden_layers)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(settings.target_modules),
        layers_to_transform=list(range(int(settings.first_layer * layers), layers)),
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(base, lora)
    for module in model.modules():
        if isinstance(module, LoraLayer):
            # Autocast multiplies in bfloat16 anyway; PEFT would copy every activation to float32 before it.
            module.cast_input_dtype_enabled = False
    return model


def _arguments(job: TrainingJob, steps: int) -> Any:
    import torch
    from trl import SFTConfig

    settings = job.settings
    return SFTConfig(
        output_dir=str(job.work),
        max_steps=steps,
        # One element of the dataset is one scheduled batch.
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(settings.warmup_share * steps)),
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        # The trainer's own autocast covers `model.forward` only; the loss sets its precision itself.
        bf16=False,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        prediction_loss_only=True,
        dataloader_pin_memory=False,
        logging_steps=1,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
    )


def _save(job: TrainingJob, dataset: Dataset, trainer: CompletionTrainer) -> None:
    """Put the adapter folder in place with one rename."""
    saved = job.work / "adapter"
    shutil.rmtree(saved, ignore_errors=True)
    model = trainer.accelerator.unwrap_model(trainer.model)
    model.peft_config["default"].inference_mode = True
    model.save_pretrained(str(saved), safe_serialization=True)
    config = json.loads((saved / _CONFIG).read_text(encoding="utf-8"))
    # A folder of this machine means nothing elsewhere, and a set has another order in every process.
    config["base_model_name_or_path"] = job.base_fingerprint
    config["target_modules"] = sorted(config["target_modules"])
    provenance = {
        "base_fingerprint": job.base_fingerprint,
        "dataset_digest": dataset.digest,
        "method": job.method,
        "settings": job.settings.model_dump(mode="json"),
    }
    card = adapter_card(
        method=job.method,
        base_fingerprint=job.base_fingerprint,
        dataset_digest=dataset.digest,
        counts=dataset.manifest.get("counts", {}),
        settings=job.settings,
    )
    ready = job.output.with_name(f".{job.output.name}.new")
    shutil.rmtree(ready, ignore_errors=True)
    ready.mkdir(parents=True)
    shutil.copyfile(saved / _WEIGHTS, ready / _WEIGHTS)
    _write(ready / _CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")
    _write(ready / "ratchet.json", json.dumps(provenance, indent=2, sort_keys=True) + "\n")
    _write(ready / "README.md", card)
    _sync(ready / _WEIGHTS)
    shutil.rmtree(job.output, ignore_errors=True)
    ready.replace(job.output)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    _sync(path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
