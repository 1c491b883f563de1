"""`unlikelihood`: makes logged toxic answers less likely, token by token, without sampling anything.

-log(1 - p) on the tokens of spans that a penalty scores above a threshold (unlikelihood training, Welleck et al. 2020,
arXiv 1908.04319). It must not know where the answers were logged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field

from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.errors import TermRowsMissing
from ratchet_adapters.training.loss_term import TermLoss, TermModel, TermStep
from ratchet_adapters.training.loss_terms.completions import completion_states, laid_out, loss_over_logits
from ratchet_adapters.training.penalties.scoring import penalised
from ratchet_adapters.training.penalty import penalty
from ratchet_adapters.training.trainers.generation import rendered

__all__ = ["Unlikelihood", "UnlikelihoodOptions", "spans"]

NAME = "unlikelihood"
_SENTENCE = re.compile(r"[^.!?\n]+[.!?\n]*")
_LEAST = 1e-6
"""Of 1 - p: the gradient of a token the model is sure of stays finite."""


class UnlikelihoodOptions(BaseModel):
    """Options of the term."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    penalty: str = Field("toxicity", description="Built in, or from the group ratchet.penalties.")
    penalty_options: Mapping[str, Any] = Field(default_factory=dict)
    threshold: float = Field(0.8, ge=0, le=1, description="Spans with this penalty or a higher one are unlearned.")
    answers: int = Field(4, ge=1, description="Answers per step.")
    prompt_tokens: int = Field(384, ge=8, description="Answers to longer prompts are left out.")
    answer_tokens: int = Field(96, ge=1, description="Answers are cut after so many tokens.")
    chat: bool = Field(False, description="Whether openings are user messages. Prompts of refusals always are.")


@dataclass(frozen=True)
class _Answer:
    prompt: list[int]
    tokens: list[int]
    toxic: list[bool]


class Unlikelihood:
    """Mean of -log(1 - p) over the toxic tokens of the step's answers. The level is their mean probability.

    Answers are the `rejected` texts of refusal and opening rows. Of an answer with sentences above the threshold those
    are unlearned; one that is above it only as a whole is unlearned whole; others are left alone. Takes the options of
    `UnlikelihoodOptions`.

    Raises:
        PenaltyUnknown: There is no such penalty.
        PenaltyOptionsInvalid: It does not take its options.
    """

    def __init__(self, **options: Any) -> None:
        self._options = UnlikelihoodOptions.model_validate(options)
        self._penalty = penalty(self._options.penalty, self._options.penalty_options)
        self._answers: list[_Answer] | None = None

    def __call__(self, model: TermModel, step: TermStep) -> TermLoss:
        """Return the term's value at a step.

        Raises:
            TermRowsMissing: No answer is above the threshold.
            PenaltyInvalid: The penalty failed or returned something other than scores.
        """
        if self._answers is None:
            self._answers = list(self._found(model))
        if not self._answers:
            raise TermRowsMissing(NAME, f"rejected answers with a penalty of at least {self._options.threshold:g}")
        chosen = step.chance.sample(self._answers, min(self._options.answers, len(self._answers)))
        device = model.model.device
        batch = laid_out([own.prompt for own in chosen], [own.tokens for own in chosen], pad=model.pad, device=device)
        toxic = torch.tensor([flag for own in chosen for flag in own.toxic], device=device)
        states = completion_states(model, batch)[toxic]
        targets = batch.targets[toxic]
        probability = 0.0

        def part_loss(logits: torch.Tensor, part: slice) -> torch.Tensor:
            nonlocal probability
            spoken = logits.softmax(-1).gather(-1, targets[part, None])
            probability += float(spoken.detach().sum())
            return -(1 - spoken).clamp_min(_LEAST).log().sum() / len(targets)

        loss = loss_over_logits(model, states, part_loss)
        return TermLoss(loss, probability / len(targets), {"tokens": float(len(targets))})

    def _found(self, model: TermModel) -> Iterator[_Answer]:
        rows = [row for kind in (RowKind.REFUSAL, RowKind.OPENING) for row in model.rows(kind) if row.rejected.strip()]
        scores = self._scores([row.prompt for row in rows], [row.rejected for row in rows])
        pieces = [spans(row.rejected) for row in rows]
        by_piece = iter(
            self._scores(
                [row.prompt for row, own in zip(rows, pieces, strict=True) for _ in own],
                [row.rejected[start:end] for row, own in zip(rows, pieces, strict=True) for start, end in own],
            )
        )
        for row, whole, own in zip(rows, scores, pieces, strict=True):
            bad = [span for span in own if next(by_piece) >= self._options.threshold]
            if not bad and whole >= self._options.threshold:
                bad = [(0, len(row.rejected))]
            answer = self._encoded(model, row, bad)
            if len(answer.prompt) <= self._options.prompt_tokens and any(answer.toxic):
                yield answer

    def _scores(self, prompts: list[str], texts: list[str]) -> list[float]:
        return penalised(self._options.penalty, self._penalty, prompts, texts)

    def _encoded(self, model: TermModel, row: Row, bad: list[tuple[int, int]]) -> _Answer:
        chat = self._options.chat or row.kind is RowKind.REFUSAL
        source = rendered(model.tokenizer, row.prompt) if chat else row.prompt
        prompt = model.tokenizer(source, add_special_tokens=False)["input_ids"]
        found = model.tokenizer(row.rejected, add_special_tokens=False, return_offsets_mapping=True)
        limit = self._options.answer_tokens
        toxic = [any(start < high and low < end for low, high in bad) for start, end in found["offset_mapping"][:limit]]
        return _Answer(prompt, found["input_ids"][:limit], toxic)


def spans(text: str) -> list[tuple[int, int]]:
    """Return where the sentences of a text begin and end; sentences without a letter or digit are left out."""
    return [
        match.span() for match in _SENTENCE.finditer(text) if any(character.isalnum() for character in match.group())
    ]
