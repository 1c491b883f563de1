"""Preference pairs from the rows of a dataset: which answer is better, which rows can not be used and why.

It must not know tensors, nor any loss. A flagged answer is never chosen, whatever its rating: chosen answers come from
the templates and the base model alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from ratchet_adapters.datasets.bank import TemplateBank, load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind
from ratchet_adapters.training.preference import PreferenceSettings
from ratchet_adapters.training.trainers.generation import rendered
from ratchet_adapters.training.trainers.ratings import SafetyJudge

__all__ = ["EncodedPair", "Pair", "Pairs", "encode_pairs", "make_pairs"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt.

    Attributes:
        row: Id of the row it comes from.
        prompt: One user message.
        chosen, rejected: The better and the worse answer; `rejected` is empty where only single answers are asked for
            and the row has none.
        over_refusal: The prompt is benign, and the rejected answer a needless refusal.
        chosen_unsafe, rejected_unsafe: The ratings, h_w and h_l.
        flagged: The row comes from flags.
    """

    row: str
    prompt: str
    chosen: str
    rejected: str
    over_refusal: bool
    chosen_unsafe: bool
    rejected_unsafe: bool
    flagged: bool


@dataclass(frozen=True)
class Pairs:
    """The pairs of a dataset, in the order of its rows.

    Attributes:
        pairs: To train on.
        swapped: How many were turned round by their ratings.
        left_out: Rows that were not used, by reason.
    """

    pairs: tuple[Pair, ...]
    swapped: int
    left_out: Mapping[str, int]

    @property
    def metrics(self) -> dict[str, float]:
        """The counts, to show beside the loss."""
        return {
            "pairs.used": float(len(self.pairs)),
            "pairs.over_refusal": float(sum(pair.over_refusal for pair in self.pairs)),
            "pairs.swapped": float(self.swapped),
            **{f"pairs.left_out.{reason}": float(count) for reason, count in self.left_out.items()},
        }


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A pair in tokens."""

    pair: Pair
    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Of both sequences, the prompt counted in each."""
        return len(self.prompt) + len(self.chosen) + (len(self.prompt) + len(self.rejected) if self.rejected else 0)


def make_pairs(
    rows: Sequence[Row],
    settings: PreferenceSettings,
    judge: SafetyJudge,
    *,
    single: bool = False,
    bank: TemplateBank | None = None,
) -> Pairs:
    """Return the pairs that rows make.

    Refusal rows prefer their target (a refusal) to the flagged answer, contrast rows theirs (an answer) to a needless
    refusal; other rows are passed over. Then the pairs are put in the order of their ratings as in SafeDPO (arXiv
    2505.20065): an unsafe chosen answer and a safe rejected one change places, two unsafe answers are left out. Three
    deviations keep traffic from teaching: a flagged answer takes no chosen place (`unsafe_chosen`); nor does a refusal
    of a contrast row, since one scorer's word does not make its prompt harmful (`unsafe_chosen`); and two safe answers
    to a refusal row's prompt are no preference anybody stated (`both_safe`).

    Args:
        rows: Of one split.
        settings: Share of over-refusal pairs, templates, seed.
        judge: Rates all answers, in one call.
        single: Keep rows without a rejected answer, for methods that learn from single answers.
        bank: Refusal templates; the shipped ones when None.
    """
    left_out: Counter[str] = Counter()
    drafts = _drafts(rows, settings, bank or load_bank(), single, left_out)
    answers = [(row, text) for row, pair in drafts for text in (pair.chosen, pair.rejected) if text]
    ratings = iter(judge.unsafe([row for row, _ in answers], [text for _, text in answers]))
    pairs: list[Pair] = []
    swapped = 0
    for _, pair in drafts:
        rated = replace(
            pair, chosen_unsafe=next(ratings), rejected_unsafe=next(ratings) if pair.rejected else pair.rejected_unsafe
        )
        reason = _unusable(rated)
        if reason:
            left_out[reason] += 1
        elif rated.chosen_unsafe:
            pairs.append(_turned(rated))
            swapped += 1
        else:
            pairs.append(rated)
    pairs = _shared_out(pairs, settings, left_out)
    return Pairs(tuple(pairs), swapped, dict(left_out))


def encode_pairs(made: Pairs, tokenizer: Any, settings: PreferenceSettings) -> tuple[list[EncodedPair], Pairs]:
    """Return the pairs in tokens, and the pairs without those whose rendered prompt is too long.

    An answer that had to be cut gets no end-of-turn token, so that the model does not learn to stop in mid-sentence.
    """
    encoded = []
    left_out = Counter(made.left_out)
    for pair in made.pairs:
        prompt = tokenizer(rendered(tokenizer, pair.prompt), add_special_tokens=False)["input_ids"]
        if len(prompt) > settings.prompt_tokens:
            left_out["long_prompt"] += 1
            continue
        chosen, rejected = (_cut(tokenizer, text, settings) for text in (pair.chosen, pair.rejected))
        if chosen == rejected:
            left_out["same_answers"] += 1
            continue
        encoded.append(EncodedPair(pair, tuple(prompt), chosen, rejected))
    return encoded, replace(made, pairs=tuple(found.pair for found in encoded), left_out=dict(left_out))


def _cut(tokenizer: Any, text: str, settings: PreferenceSettings) -> tuple[int, ...]:
    if not text:
        return ()
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    limit = settings.completion_tokens
    return tuple(ids[:limit] if len(ids) > limit else [*ids, tokenizer.eos_token_id])


def _drafts(
    rows: Sequence[Row], settings: PreferenceSettings, bank: TemplateBank, single: bool, left_out: Counter[str]
) -> list[tuple[Row, Pair]]:
    drafts = []
    for row in rows:
        if row.kind not in (RowKind.REFUSAL, RowKind.CONTRAST):
            continue
        chosen, rejected = row.target.strip(), row.rejected.strip()
        if not rejected and row.kind is RowKind.CONTRAST and settings.template_refusals:
            # By row, not in turn: the same row gets the same template whatever stands before it.
            rejected = bank.pick(row.category, Random(f"{settings.seed}:{row.id}"))
        if not chosen:
            left_out["no_chosen"] += 1
        elif not rejected and not single:
            left_out["no_rejected"] += 1
        elif chosen == rejected:
            left_out["same_answers"] += 1
        else:
            over_refusal = row.kind is RowKind.CONTRAST
            flagged = bool(row.flag_ids) or row.origin == "flag"
            drafts.append((row, Pair(row.id, row.prompt, chosen, rejected, over_refusal, False, False, flagged)))
    return drafts


def _unusable(pair: Pair) -> str:
    if pair.chosen_unsafe:
        if not pair.rejected or pair.rejected_unsafe:
            return "both_unsafe"
        return "unsafe_chosen" if pair.flagged or pair.over_refusal else ""
    if pair.rejected and not pair.rejected_unsafe and not pair.over_refusal:
        return "both_safe"
    return ""


def _turned(pair: Pair) -> Pair:
    return replace(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_unsafe=pair.rejected_unsafe,
        rejected_unsafe=pair.chosen_unsafe,
    )


def _shared_out(pairs: Sequence[Pair], settings: PreferenceSettings, left_out: Counter[str]) -> list[Pair]:
    """Leave out as few pairs as give the asked share of over-refusal pairs."""
    share = settings.over_refusal_share
    if share is None:
        return list(pairs)
    benign = [number for number, pair in enumerate(pairs) if pair.over_refusal]
    harmful = [number for number, pair in enumerate(pairs) if not pair.over_refusal]
    most = min(
        len(harmful) / (1 - share) if share < 1 else float("inf"), len(benign) / share if share > 0 else float("inf")
    )
    rng = Random(settings.seed)
    # Tolerance for products such as 0.7 * 10 = 6.999...
    kept = {
        *rng.sample(benign, min(len(benign), int(most * share + 1e-9))),
        *rng.sample(harmful, min(len(harmful), int(most * (1 - share) + 1e-9))),
    }
    if len(kept) < len(pairs):
        left_out["over_the_share"] += len(pairs) - len(kept)
    return [pair for number, pair in enumerate(pairs) if number in kept]
