"""NeMo's rails for any Hugging Face classifier: all of a text is judged, and nothing returned is nothing allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.message import Message
from ratchet_server.rails.verdict import Outcome

CHAT = (Message("user", "hello"),)
WINDOW = "parameters: {truncation: true, max_length: 512}"


def config(more: str = WINDOW, model: str = "m", flow: str = "hf classifier check output $classifier=mine") -> str:
    return f"""
rails:
  output: {{flows: ["{flow}"]}}
  config:
    hf_classifier:
      mine: {{engine: local, model: "{model}", blocked_labels: [toxic], {more}}}
"""


class Backend:
    """A classifier that sees 512 characters and finds a word in them."""

    def __init__(self, answer: str = "") -> None:
        self.answer = answer

    async def classify(self, text: str) -> list[dict[str, Any]]:
        if self.answer == "nothing":
            return []
        return [{"label": "toxic" if "TOXIC" in text[:512] else "fine", "score": 0.9}]


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Backend:
    from ratchet_plugins.nemo import hf

    made = Backend()
    monkeypatch.setattr(hf, "get_backend", lambda *_, **__: made)
    monkeypatch.setattr(hf, "_get_or_create_pipeline", lambda *_: lambda text: [])
    return made


async def test_what_stands_behind_a_padding_is_judged_too(profile_of: Any, backend: Backend) -> None:
    profile = profile_of(config())
    padding = "words and words " * 300
    assert (await profile.check_output(CHAT, padding)).outcome is Outcome.ALLOW
    blocked = await profile.check_output(CHAT, f"{padding}TOXIC{padding}")
    assert blocked.outcome is Outcome.BLOCK
    assert (blocked.verdicts[0].score, blocked.verdicts[0].threshold) == (0.9, 0.5)


async def test_a_classifier_that_returns_nothing_has_failed(profile_of: Any, backend: Backend) -> None:
    backend.answer = "nothing"
    assert (await profile_of(config()).check_output(CHAT, "text")).outcome is Outcome.FAILED


def test_a_threshold_that_only_an_unlikely_label_would_reach_needs_all_labels(
    profile_of: Any, backend: Backend
) -> None:
    low = f"threshold: 0.3, {WINDOW}"
    with pytest.raises(RailConfigError, match="top_k"):
        profile_of(config(low))
    profile_of(config(low.replace("512", "512, top_k: null")))


def test_a_classifier_that_is_not_there_is_refused_when_the_profile_is_loaded(profile_of: Any, tmp_path: Path) -> None:
    with pytest.raises(RailConfigError, match="cannot be loaded") as caught:
        profile_of(config(model=str(tmp_path / "nowhere")))
    assert caught.value.line == 6


async def test_a_real_classifier_from_a_folder_judges_through_transformers(profile_of: Any, tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bad", "good"]))
    BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    small = BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        id2label={0: "toxic", 1: "fine"}, label2id={"toxic": 0, "fine": 1},
    )  # fmt: skip
    model = BertForSequenceClassification(small)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([3.0, 0.0]))
    model.save_pretrained(tmp_path)
    decision = await profile_of(config(model=str(tmp_path))).check_output(CHAT, "bad good " * 400)
    assert decision.outcome is Outcome.BLOCK
    assert decision.verdicts[0].score == pytest.approx(0.9526, abs=1e-3)
