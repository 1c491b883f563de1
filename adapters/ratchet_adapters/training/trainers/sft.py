"""Supervised fine-tuning of a LoRA adapter with TRL and PEFT, resumable and deterministic.

It must not know where the dataset came from, nor which process it runs in.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_adapters.datasets.dataset import Dataset, Split, read_dataset
from ratchet_adapters.training.card import adapter_card
from ratchet_adapters.training.errors import NothingToTrain
from ratchet_adapters.training.job import Progress, TrainingJob, TrainingResult
from ratchet_adapters.training.settings import SftSettings
from ratchet_adapters.training.trainers.checkpoints import claim, last_checkpoint, mark_finished
from ratchet_adapters.training.trainers.encoding import Encoded, encode, schedule
from ratchet_adapters.training.trainers.precision import resolve_precision

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
    rows = encode([row for row in dataset.rows if row.split is Split.TRAIN], tokenizer, job.settings)
    held_out = encode([row for row in dataset.rows if row.split is Split.VALIDATION], tokenizer, job.settings)
    if not rows:
        raise NothingToTrain(job.dataset)
    batches = schedule([len(row) for row in rows], job.settings)
    points: dict[int, float] = {}

    def on_step(step: int, total: int, loss: float) -> None:
        points[step] = loss
        if on_progress is not None:
            on_progress(Progress(step, total, loss))

    trainer = _trainer(job, precision, tokenizer, rows, held_out, batches, on_step)
    checkpoint = last_checkpoint(job.work)
    began = time.monotonic()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint[1]))
    earlier = {int(entry["step"]): float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry}
    validation = float(trainer.evaluate()["eval_loss"]) if held_out else None
    seconds = time.monotonic() - began
    _save(job, dataset, trainer)
    return TrainingResult(
        adapter=job.output,
        steps=len(batches),
        resumed_from=0 if checkpoint is None else checkpoint[0],
        losses=tuple(sorted({**earlier, **points}.items())),
        validation_loss=validation,
        rows=len(rows),
        tokens=sum(map(len, rows)),
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
    rows: list[Encoded],
    held_out: list[Encoded],
    batches: list[list[int]],
    on_step: Callable[[int, int, float], None],
) -> CompletionTrainer:
    import torch
    from datasets import Dataset as Table
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig

    from ratchet_adapters.training.trainers.completion_trainer import Collator, CompletionTrainer, StepReport

    settings = job.settings
    set_seed(settings.seed)
    model = AutoModelForCausalLM.from_pretrained(
        str(job.model),
        dtype=torch.bfloat16 if precision == "bf16" else torch.float32,
        local_files_only=True,
        # Sequences of about a hundred tokens: plain matrix products beat the CPU's fused attention, backward most.
        attn_implementation="eager",
    )
    layers = int(model.config.get_text_config().num_hidden_layers)
    arguments = SFTConfig(
        output_dir=str(job.work),
        max_steps=len(batches),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        train_sampling_strategy="sequential",
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(settings.warmup_share * len(batches))),
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=precision == "bf16",
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
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        bias="none",
        target_modules=list(settings.target_modules),
        layers_to_transform=list(range(int(settings.first_layer * layers), layers)),
        task_type="CAUSAL_LM",
    )
    ordered = [_example(rows[index]) for batch in _full(batches, settings) for index in batch]
    return CompletionTrainer(
        model=model,
        args=arguments,
        train_dataset=Table.from_list(ordered),
        eval_dataset=Table.from_list([_example(row) for row in held_out]) if held_out else None,
        processing_class=tokenizer,
        data_collator=Collator(
            tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        ),
        peft_config=lora,
        callbacks=[StepReport(on_step, lambda step: mark_finished(job.work, step))],
        kl_weight=settings.kl_weight,
    )


def _full(batches: list[list[int]], settings: SftSettings) -> list[list[int]]:
    """Fill short batches up: read in sequence, the loader must cut the rows exactly where the schedule does."""
    rng = random.Random(settings.seed)
    everything = [index for batch in batches for index in batch]
    return [[*batch, *rng.choices(everything, k=settings.batch_size - len(batch))] for batch in batches]


def _example(row: Encoded) -> dict[str, Any]:
    return {
        "input_ids": [*row.prompt, *row.completion],
        "labels": [*[-100] * len(row.prompt), *row.completion],
        "anchored": row.anchored,
    }


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
