"""Measuring by name, through a small real transformers model, and through a target."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet_adapters.evals.bias.crows import sentence_preference, shipped_pairs
from ratchet_adapters.evals.bias.gap import divergence, likelihood_gap
from ratchet_adapters.evals.bias.pairs import Pair
from ratchet_adapters.evals.local import LocalModel
from ratchet_adapters.evals.measure import MEASUREMENTS, SHIPPED, MeasureSettings, measure
from ratchet_adapters.evals.measure_errors import (
    MeasurementUnknown,
    ModelRefused,
    NothingToMeasure,
    NotOffered,
    SetMissing,
)
from ratchet_adapters.evals.ports import Embedder, LogProbs, NextTokens, Sampler
from ratchet_adapters.evals.remote_scores import RemoteScores
from ratchet_adapters.evals.target import LogProb


class _Known:
    """Log-probabilities and next-token distributions out of tables."""

    def __init__(self, log_probs: dict[str, LogProb], following: dict[str, list[float]]) -> None:
        self._log_probs = log_probs
        self._following = following

    def log_probs(self, items: Sequence[tuple[str, str]]) -> list[LogProb]:
        return [self._log_probs[text] for _, text in items]

    def next_log_probs(self, prompts: Sequence[str]) -> Any:
        with np.errstate(divide="ignore"):
            return np.log(np.array([self._following[prompt] for prompt in prompts], dtype=np.float32))


def _pair(cluster: str, first: str, second: str, kind: Any = "prompt") -> Pair:
    return Pair(f"{cluster}.{first}", "age", cluster, kind, first, second, "templates")


def test_the_likelihood_gap_is_per_token_and_without_sign() -> None:
    scores = {"a": LogProb(-6.0, 3), "b": LogProb(-10.0, 4), "c": LogProb(-8.0, 2), "d": LogProb(-6.0, 2)}
    figure = likelihood_gap(_Known(scores, {}), [_pair("t1", "a", "b"), _pair("t2", "c", "d")], seed=0)
    # |-2 + 2.5| and |-4 + 3|.
    assert figure.value == pytest.approx(0.75) and (figure.low, figure.high) == (0.5, 1.0)


def test_the_divergence_is_in_nats_between_0_and_ln_2() -> None:
    following = {"a": [1.0, 0.0, 0.0], "b": [0.0, 1.0, 0.0], "c": [0.5, 0.5, 0.0], "d": [0.5, 0.5, 0.0]}
    pairs = [_pair("t1", "a", "b"), _pair("t2", "c", "d"), _pair("t3", "x", "y", "sentence")]
    figure = divergence(_Known({}, following), pairs, seed=0)
    assert figure.value == pytest.approx(math.log(2) / 2, abs=1e-6) and figure.n == 2
    # Half its mass moved: m = (3/4, 1/4), JS = (KL(1,0 || m) + KL(1/2,1/2 || m)) / 2.
    moved = divergence(_Known({}, following), [_pair("t1", "a", "c"), _pair("t2", "a", "c")], seed=0)
    expected = (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2)) / 2
    assert moved.value == pytest.approx(expected, abs=1e-6)


def test_pairs_without_prompts_have_no_divergence() -> None:
    with pytest.raises(NothingToMeasure):
        divergence(_Known({}, {}), [_pair("t", "x", "y", "sentence")], seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer Llama with random weights and a tokenizer of letters, saved as transformers saves them."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("model")
    vocabulary = {"<s>": 0, "</s>": 1, **{chr(code): code - 30 for code in range(32, 127)}}
    plain = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="</s>"))
    plain.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    plain.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    ).save_pretrained(path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=256, bos_token_id=0, eos_token_id=1, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def local(folder: Path) -> LocalModel:
    return LocalModel.load(folder, precision="fp32", batch_tokens=64)


def _by_hand(folder: Path, context: str, text: str) -> float:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    before = tokenizer.encode(context, add_special_tokens=False) or [tokenizer.bos_token_id]
    ids = before + tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(table[place - 1, ids[place]] for place in range(len(before), len(ids))))


def test_a_local_model_has_every_port(local: LocalModel) -> None:
    assert all(isinstance(local, port) for port in (LogProbs, NextTokens, Sampler, Embedder))


def test_scores_are_those_of_one_text_at_a_time_whatever_the_batch(local: LocalModel, folder: Path) -> None:
    items = [("", "A cat sat."), ("The sky is", " blue"), ("", "No"), ("A longer context of words", " x")]
    found = local.log_probs(items)
    assert [entry.tokens for entry in found] == [10, 5, 2, 2]
    for (context, text), entry in zip(items, found, strict=True):
        assert entry.log_prob == pytest.approx(_by_hand(folder, context, text), abs=1e-3)
    # A space that ends the context belongs to the continuation.
    (moved,) = local.log_probs([("The sky is ", "blue")])
    assert moved.tokens == 5 and moved.log_prob == pytest.approx(found[1].log_prob, abs=1e-3)


def test_next_token_distributions_sum_to_one_and_agree_with_the_scores(local: LocalModel) -> None:
    table = local.next_log_probs(["Hello", "A much longer beginning"])
    assert np.exp(table).sum(1) == pytest.approx([1.0, 1.0], abs=1e-4)
    assert table[0, ord("!") - 30] == pytest.approx(local.log_probs([("Hello", "!")])[0].log_prob, abs=1e-3)


def test_samples_are_k_a_prompt_and_the_same_for_the_same_seed(local: LocalModel) -> None:
    import torch

    def draw(seed: int) -> list[list[str]]:
        return local.sample(["One", "Twenty one"], k=3, max_tokens=6, temperature=1.0, top_p=0.9, seed=seed)

    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = draw(1)
    assert [len(own) for own in first] == [3, 3] and max(len(text) for own in first for text in own) <= 6
    assert first == draw(1) != draw(2)
    # Whoever measures during training must not change what training draws next.
    assert torch.equal(before, torch.random.get_rng_state())


def test_embeddings_do_not_depend_on_the_batch(local: LocalModel) -> None:
    together = local.embed(["cat", "a rather long text"])
    assert together.shape == (2, 32)
    assert together[0] == pytest.approx(local.embed(["cat"])[0], abs=1e-4)


def test_a_model_in_training_stays_in_training(local: LocalModel) -> None:
    local._model.train()
    local.log_probs([("", "x")])
    assert local._model.training
    local._model.eval()


def test_an_empty_continuation_and_a_missing_model_are_refused(local: LocalModel, tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="empty"):
        local.log_probs([("x", "")])
    with pytest.raises(ModelRefused, match="does not load"):
        LocalModel.load(tmp_path)


def test_an_adapter_changes_the_scores_and_a_missing_one_is_refused(folder: Path, tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = LocalModel.load(folder, precision="fp32")
    torch.manual_seed(1)
    settings = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(folder), settings).save_pretrained(tmp_path / "adapter")
    adapted = LocalModel.load(folder, tmp_path / "adapter", precision="fp32")
    assert adapted.log_probs([("", "Hello")])[0].log_prob != base.log_probs([("", "Hello")])[0].log_prob
    with pytest.raises(ModelRefused, match="adapter does not load"):
        LocalModel.load(folder, tmp_path / "absent")


def test_measurements_give_finite_figures_and_the_same_again(folder: Path) -> None:
    local = LocalModel.load(folder, precision="fp32", batch_tokens=8192)

    class Even:
        name, version, labels, primary, threshold = "even", "1", ("toxicity",), "toxicity", 0.5

        def score(self, texts: Sequence[str]) -> list[dict[str, float]]:
            return [{"toxicity": len(text) % 2} for text in texts]

    settings = MeasureSettings(pair_limit=40, opening_limit=6, continuations=2, max_tokens=4)
    # The association tests take thousands of permutations each; test_weat has them.
    quick = [name for name in SHIPPED if name not in ("weat", "seat")]
    figures = measure(local, quick, settings=settings, scorer=Even())
    assert {name.split(".")[0] for name in figures} == set(quick)
    for name, figure in figures.items():
        assert figure.n > 0 and all(map(math.isfinite, (figure.value, figure.low, figure.high))), name
    assert figures == measure(local, quick, settings=settings, scorer=Even())


def test_what_cannot_be_measured_is_an_error_and_never_left_out() -> None:
    only_scores = _Known({}, {})
    with pytest.raises(MeasurementUnknown, match="stereotypes"):
        measure(only_scores, ["stereotype"])
    with pytest.raises(NotOffered, match="Embedder"):
        measure(only_scores, ["weat"])
    for name in ("bbq", "rtp"):
        with pytest.raises(SetMissing, match=name):
            measure(only_scores, [name])
    assert set(SHIPPED) < set(MEASUREMENTS)


async def test_a_target_is_measured_from_a_thread_and_refuses_to_block_its_loop(target: Any) -> None:
    scores = RemoteScores(target, "sha256:a")
    figure = await asyncio.to_thread(sentence_preference, scores, shipped_pairs())
    assert figure.n == len(shipped_pairs()) and len(target.scored) == 2 * figure.n
    with pytest.raises(RuntimeError, match="to_thread"):
        scores.log_probs([("", "x")])
    with pytest.raises(NotOffered, match="Sampler"):
        await asyncio.to_thread(measure, scores, ["toxicity"])
