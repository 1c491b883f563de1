"""`sft-refusal` on the embedded model, side by side with TRL's plain SFTTrainer on the same rows.

Plain: the same rank, modules, rows, batch size, epochs and learning rate, completion-only loss as TRL does it,
the same precision, and nothing of what the recipe adds: no packing behind a shared prefix, no cut completions, no
first layer, no output layer over taught tokens only, no anchor. Both run in this process, one after the other, on the
same threads.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from random import Random
from typing import Any

from tests.benchmarks.learning.axes import axes
from tests.benchmarks.learning.model import in_bfloat16, loaded, precision
from tests.benchmarks.learning.rows import ordinary_rows, text_rows, written

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.datasets.seed import load_seed
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_adapters.training.sft_refusal import SftSettings
from ratchet_adapters.training.trainers.generation import generate
from ratchet_adapters.training.trainers.model import load_tokenizer

_REFUSALS, _TWINS, _REPLAYS = 80, 94, 40


def measure(base: Path, work: Path, *, quick: bool) -> dict[str, Any]:
    """Train both and compare examples per second and held-out refusal."""
    from ratchet_plugins.models.chat import fingerprint

    rows = _rows(base, 20 if quick else 1)
    chosen = method("sft-refusal")
    job = TrainingJob(
        method=chosen.name,
        dataset=written([*rows, *text_rows()], work / "dataset"),
        model=base,
        base_fingerprint=fingerprint(base),
        output=work / "adapter",
        work=work / "training",
        settings=SftSettings(checkpoint_steps=10_000),
        process=ProcessSettings(),
    )
    result = chosen.load()(job, None)
    plain_seconds = _plain(job, rows, work / "plain")
    kept = work.parents[1] / "base.json"
    before = json.loads(kept.read_text())["axes"] if kept.exists() else axes(base, None, quick=quick)
    ours, plain = axes(base, result.adapter, quick=quick), axes(base, work / "plain", quick=quick)
    done = len(rows) * job.settings.epochs
    ratio = plain_seconds / result.seconds
    refusal = "harmful_refusal"
    as_safe = ours[refusal]["high"] >= plain[refusal]["value"]
    as_helpful = ours["over_refusal"]["low"] <= plain["over_refusal"]["value"]
    return {
        "target": {
            "name": "refusal of held-out harmful prompts",
            "before": before[refusal],
            "after": ours[refusal],
            "yardstick": "1.5 x the examples/s of TRL's plain SFTTrainer at an equal held-out result "
            f"(measured: {ratio:.2f} x, {done / result.seconds:.1f} against {done / plain_seconds:.1f} examples/s)",
            "met": ratio >= 1.5 and as_safe and as_helpful,
        },
        "axes": ours,
        "also": {"plain": plain, "plain_seconds": plain_seconds, "ratio": ratio},
        "steps": result.steps,
        "seconds": result.seconds,
        "step_seconds": result.step_seconds,
        "peak_memory_bytes": result.peak_memory_bytes,
        "adapter": result.adapter,
    }


def _rows(base: Path, every: int) -> list[Row]:
    seed, bank, rng = load_seed(), load_bank(), Random(0)
    harmful = rng.sample(seed.of("harmful"), _REFUSALS)[::every]
    twins = rng.sample(seed.of("benign_twin"), _TWINS)[::every]
    answers = generate(loaded(base), load_tokenizer(base), [twin.prompt for twin in twins], max_tokens=16)
    rows = [
        Row(one.id, RowKind.REFUSAL, Split.TRAIN, one.category, one.prompt, bank.pick(one.category, rng), "seed", (), n)
        for n, one in enumerate(harmful)
    ]
    rows += [
        Row(one.id, RowKind.CONTRAST, Split.TRAIN, one.category, one.prompt, answer, "seed", (), 1000 + n)
        for n, (one, answer) in enumerate(zip(twins, answers, strict=True))
    ]
    return rows + ordinary_rows(base, _REPLAYS // every)


def _plain(job: TrainingJob, rows: list[Row], output: Path) -> float:
    """Train with SFTTrainer as its documentation shows; return the seconds of `train()`."""
    import torch
    from datasets import Dataset as Table
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, set_seed
    from trl import SFTConfig, SFTTrainer

    settings = job.settings
    set_seed(settings.seed)
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(job.model), dtype=precision(), local_files_only=True),
        processing_class=load_tokenizer(job.model),
        train_dataset=Table.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": row.prompt}],
                    "completion": [{"role": "assistant", "content": row.target}],
                }
                for row in rows
            ]
        ),
        peft_config=LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules=list(settings.target_modules),
            task_type="CAUSAL_LM",
        ),
        args=SFTConfig(
            output_dir=str(output.with_name("plain-work")),
            per_device_train_batch_size=settings.batch_size,
            num_train_epochs=settings.epochs,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=settings.warmup_share,
            bf16=in_bfloat16(),
            gradient_checkpointing=False,
            use_cpu=not torch.cuda.is_available(),
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=settings.seed,
        ),
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    trainer.model.save_pretrained(str(output))
    return seconds
