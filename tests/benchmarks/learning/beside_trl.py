"""The methods that rest on one of TRL's trainers, beside that trainer as its documentation shows it.

    python -m tests.benchmarks.learning.beside_trl [--only NAME ...] [--out bench-report/learning] [--rows 32]

Same base model, rank, modules, rows, answer lengths, batch size, passes, precision and, for the policy methods, the
same reward. Timed is all of it: loading the model, preparing the rows, reference log-probabilities, steps. The two run
twice in one process, in turn; the smaller time of each side counts.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from tests.benchmarks.learning.grpo import seed_rows
from tests.benchmarks.learning.model import in_bfloat16, precision

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.methods import method
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_plugins.models.chat import fingerprint, prepare_chat_model

METHODS = ("dpo", "kto", "orpo", "reward-model", "grpo", "rloo")
_TIMES = 2
_BATCH = 8
_ANSWER = "Here is a short overview with the most important steps, what you need, and what to look out for."
"""Stands for an answer of the model: how long a step takes does not depend on what is said."""


def main() -> int:
    """Time what is asked for and write beside-trl.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--out", type=Path, default=Path("bench-report/learning"))
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    base, console = prepare_chat_model(), Console()
    arguments.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in arguments.only:
        with tempfile.TemporaryDirectory() as work:
            found[name] = beside_trl(name, base, Path(work), rows=arguments.rows)
        console.print(f"{name}: {found[name]['ratio']:.2f} of plain TRL's time", markup=False)
    (arguments.out / "beside-trl.json").write_text(json.dumps(found, indent=2))
    return 0


def beside_trl(name: str, base: Path, work: Path, *, rows: int) -> dict[str, float]:
    """Return {"ours", "trl"}: seconds, and {"ratio"}: ours over TRL's.

    Args:
        name: One of METHODS.
        base: Folder of the base model.
        work: Empty folder.
        rows: Rows to train on, one pass.
    """
    job = _job(name, base, work, rows)
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    for turn in range(_TIMES):
        seconds["ours"].append(_ours(replace(job, output=work / f"adapter-{turn}", work=work / f"work-{turn}")))
        seconds["trl"].append(_PLAIN[name](job))
    ours, theirs = min(seconds["ours"]), min(seconds["trl"])
    return {"ours": ours, "trl": theirs, "ratio": ours / theirs}


def _job(name: str, base: Path, work: Path, count: int) -> TrainingJob:
    recipe: dict[str, Any] = {"epochs": 1.0, "batch_size": _BATCH, "checkpoint_steps": 100_000}
    if name in ("dpo", "kto", "orpo"):
        # Rating the pairs is not training, and plain TRL is given them as they are.
        recipe |= {"judge": "rows"}
    elif name in ("grpo", "rloo"):
        recipe |= {"guide_share": 0.0, "most_steps": count // 2}
    rows = _rows(count)
    dataset = Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {}})
    return TrainingJob(
        method=name,
        dataset=dataset.write(work / "dataset"),
        model=base,
        base_fingerprint=fingerprint(base),
        output=work / "adapter",
        work=work / "training",
        settings=method(name).settings.model_validate(recipe),
        process=ProcessSettings(),
    )


def _rows(count: int) -> list[Row]:
    source = [row for row in seed_rows(benign_per_harmful=1.0, seed=0) if row.split is Split.TRAIN]
    bank, rng = load_bank(), Random(0)
    found = []
    for kind in (RowKind.REFUSAL, RowKind.CONTRAST):
        for row in [row for row in source if row.kind is kind][: count // 2]:
            refusal = bank.pick(row.category, rng)
            target, rejected = (refusal, _ANSWER) if kind is RowKind.REFUSAL else (_ANSWER, refusal)
            found.append(replace(row, target=target, rejected=rejected))
    return found


def _ours(job: TrainingJob) -> float:
    began = time.monotonic()
    method(job.method).load()(job, None)
    return time.monotonic() - began


def _preference(job: TrainingJob) -> float:
    """DPO, KTO or ORPO on the pairs that our trainer makes of the rows, as texts."""
    import trl
    from trl.experimental import orpo

    kinds = {
        "dpo": (trl.DPOTrainer, trl.DPOConfig),
        "kto": (trl.KTOTrainer, trl.KTOConfig),
        "orpo": (orpo.ORPOTrainer, orpo.ORPOConfig),
    }
    trainer, arguments = kinds[job.method]
    own = {"max_length": 512} if job.method == "orpo" else {}
    return _trained(job, trainer, arguments(**_common(job), **own), train_dataset=_pairs(job))


def _reward(job: TrainingJob) -> float:
    import trl

    return _trained(job, trl.RewardTrainer, trl.RewardConfig(**_common(job)), train_dataset=_pairs(job))


def _policy(job: TrainingJob) -> float:
    """GRPO or RLOO with our reward."""
    import trl

    from ratchet_adapters.datasets.dataset import read_dataset
    from ratchet_adapters.training.trainers.policy_gradient import (
        combined_reward,
        order_of_prompts,
        prompt_table,
        reward_function,
    )
    from ratchet_adapters.training.trainers.session import Session

    trainer, arguments = {"grpo": (trl.GRPOTrainer, trl.GRPOConfig), "rloo": (trl.RLOOTrainer, trl.RLOOConfig)}[
        job.method
    ]
    session = Session(job, read_dataset(job.dataset), "bf16")
    rows, settings = order_of_prompts(session), job.settings
    reward = reward_function(combined_reward(session))

    def scored(completions: Sequence[Any], **columns: Any) -> list[float]:
        # What plain TRL does not tell a reward: the base model's opinion of the answer.
        found: list[float] = reward(completions=completions, likelihood=[math.nan] * len(completions), **columns)
        return found

    return _trained(
        job,
        trainer,
        arguments(
            **_common(job) | {"num_train_epochs": 1},
            num_generations=settings.group_size,
            max_completion_length=settings.answer_tokens,
            beta=settings.beta,
            max_steps=len(rows) * settings.group_size // settings.batch_size,
        ),
        reward_funcs=scored,
        train_dataset=prompt_table(rows, settings),
    )


_PLAIN: Mapping[str, Callable[[TrainingJob], float]] = {
    **dict.fromkeys(("dpo", "kto", "orpo"), _preference),
    "reward-model": _reward,
    **dict.fromkeys(("grpo", "rloo"), _policy),
}


def _trained(job: TrainingJob, trainer: Any, arguments: Any, **own: Any) -> float:
    """Return the seconds that loading, preparing and training take."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, set_seed

    from ratchet_adapters.training.trainers.model import load_tokenizer

    settings = job.settings
    began = time.monotonic()
    set_seed(settings.seed)
    scores = job.method == "reward-model"
    kind, more = (AutoModelForSequenceClassification, {"num_labels": 1}) if scores else (AutoModelForCausalLM, {})
    model = kind.from_pretrained(str(job.model), dtype=precision(), local_files_only=True, **more)
    tokenizer = load_tokenizer(job.model)
    model.config.pad_token_id = tokenizer.pad_token_id
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=0.0,
        target_modules=list(settings.target_modules),
        task_type="SEQ_CLS" if scores else "CAUSAL_LM",
    )
    trainer(model=model, args=arguments, processing_class=tokenizer, peft_config=lora, **own).train()
    return time.monotonic() - began


def _common(job: TrainingJob) -> dict[str, Any]:
    import torch

    settings = job.settings
    return {
        "output_dir": str(job.work.with_name("plain")),
        "per_device_train_batch_size": settings.batch_size,
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "bf16": in_bfloat16(),
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "seed": settings.seed,
    }


def _pairs(job: TrainingJob) -> Any:
    """The rows as conversations, their answers cut as the recipe cuts them."""
    from datasets import Dataset as Table

    from ratchet_adapters.datasets.dataset import read_dataset
    from ratchet_adapters.training.trainers.model import load_tokenizer

    tokenizer, settings = load_tokenizer(job.model), job.settings
    limit = settings.answer_tokens if job.method == "reward-model" else settings.completion_tokens

    def said(text: str) -> list[dict[str, str]]:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][:limit]
        return [{"role": "assistant", "content": tokenizer.decode(ids)}]

    rows = []
    for row in read_dataset(job.dataset).rows:
        prompt = [{"role": "user", "content": row.prompt}]
        if job.method == "kto":
            rows.append({"prompt": prompt, "completion": said(row.target), "label": True})
            rows.append({"prompt": prompt, "completion": said(row.rejected), "label": False})
        else:
            rows.append({"prompt": prompt, "chosen": said(row.target), "rejected": said(row.rejected)})
    return Table.from_list(rows)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    raise SystemExit(main())
