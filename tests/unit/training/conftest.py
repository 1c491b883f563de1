"""A tiny random Llama with a chat template, and a dataset for it: real TRL and PEFT, in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.training.job import TrainingJob
from ratchet_adapters.training.settings import ProcessSettings
from ratchet_adapters.training.sft_refusal import SftSettings

TEMPLATE = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} {{ m['content'] }} <|im_end|> {% endfor %}"
    "{% if add_generation_prompt %}<|im_start|> assistant {% endif %}"
)
BASE = "sha256:" + "b" * 64


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Threads that wait for each other cost a tiny model more than they give, most of all on a busy machine."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a 4-layer Llama with random weights and a word tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<|im_start|>", "<|im_end|>", "user", "assistant", "i", "can", "not", "help", "here", "is", "the"]
    words += [f"w{i}" for i in range(52)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=2,
        tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny")
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset: 12 refusals, 12 answers, 4 of them for validation."""
    rows = []
    for i in range(24):
        refusal = i % 2 == 0
        rows.append(
            Row(
                id=f"r{i}",
                kind=RowKind.REFUSAL if refusal else RowKind.CONTRAST,
                split=Split.VALIDATION if i >= 20 else Split.TRAIN,
                category="",
                prompt=" ".join(f"w{(i * 3 + k) % 52}" for k in range(3 + i % 5)),
                target="i can not help" if refusal else " ".join(["here is the", *(f"w{k}" for k in range(i))]),
                origin="seed",
                flag_ids=(),
                cluster=i,
            )
        )
    dataset = Dataset(tuple(rows), {"format": FORMAT, "rows_digest": rows_digest(rows), "counts": {"refusal": 12}})
    return dataset.write(tmp_path_factory.mktemp("dataset"))


@pytest.fixture
def make_job(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> Any:
    """Make a job; `recipe` and other keywords change it."""

    def make(name: str = "a", process: dict[str, Any] | None = None, **recipe: Any) -> TrainingJob:
        values = {"rank": 8, "batch_size": 4, "epochs": 2.0, "precision": "fp32", "checkpoint_steps": 4, **recipe}
        return TrainingJob(
            method="sft-refusal",
            dataset=tiny_dataset,
            model=tiny_model,
            base_fingerprint=BASE,
            output=tmp_path / name / "adapter",
            work=tmp_path / name / "work",
            settings=SftSettings.model_validate(values),
            process=ProcessSettings.model_validate({"threads": 1, "nice": 0, **(process or {})}),
        )

    return make
