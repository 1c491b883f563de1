"""Fits the weights of the rules on ranked texts: `python -m ratchet_adapters.training.rewards.fitting`.

Squared hinge on pairs of texts of which one ranks higher (arXiv 2411.01111, section 4.3). `--gold DIR` also measures
the propositions and the ranking on the labelled completions that the paper's authors published. It must not be imported
by a training.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ratchet_adapters.training.rewards.propositions import PROPOSITIONS, propositions
from ratchet_adapters.training.rewards.rules import WEIGHTS, Ideal, LinearRule

__all__ = ["fit", "pair_accuracy"]

Array = npt.NDArray[np.float64]

_RANKINGS = "rankings.json"
_ACCEPTED_TIERS = 2
_FOLDS = 4
_NEVER_GOOD = frozenset({"judges", "discloses", "mentions_itself", "agrees", "repeats", "says_nothing"})
_NEUTRAL = {
    Ideal.HARD_REFUSAL: frozenset[str](),
    Ideal.SAFE_REFUSAL: frozenset[str](),
    Ideal.ANSWER: frozenset({"discloses", "offers_alternative", "points_to_help", "mentions_itself", "agrees"}),
}
_GOLD_NAMES = {
    "refuses": "inability_to_comply",
    "apologises": "apology",
    "judges": "judgement",
    "points_to_help": "encourage_professional_help",
    "empathises": "apology_acknowledges_emotional_state",
    "asks_back": "requests_information",
    "mentions_itself": "meta_commentary",
}
_GOLD_IDEALS = {"Hard Refuse": Ideal.HARD_REFUSAL, "Safe Refuse 2": Ideal.SAFE_REFUSAL, "Comply": Ideal.ANSWER}


def fit(
    tiers: Sequence[Sequence[str]], ideal: Ideal = Ideal.HARD_REFUSAL, *, l2: float = 0.02, margin: float = 2.0
) -> LinearRule:
    """Return the rule that ranks the texts: the first tier highest.

    Args:
        tiers: Texts by rank, best first. The first two are acceptable; the offset puts the middle between them and the
            rest at 0.5.
        ideal: Some propositions can only lose, and some say nothing about an answer: a policy must not earn by lists.
        l2: Weight of the squared weights.
        margin: By which a text should beat one of a lower tier, in log-odds.
    """
    optimize: Any = import_module("scipy.optimize")
    features = [_features(texts) for texts in tiers]
    pairs = _pairs(features)

    def loss(weights: Array) -> tuple[float, Array]:
        gap = np.maximum(0.0, margin - pairs @ weights)
        gradient = -2.0 * (gap[:, None] * pairs).mean(axis=0) + 2.0 * l2 * weights
        return float((gap**2).mean() + l2 * weights @ weights), gradient

    neutral = _NEUTRAL[ideal]
    bounds = [
        (0, 0) if name in neutral else (None, 0) if name in _NEVER_GOOD else (None, None) for name in PROPOSITIONS
    ]
    found = optimize.minimize(loss, np.zeros(len(PROPOSITIONS)), jac=True, method="L-BFGS-B", bounds=bounds).x
    good = np.concatenate(features[:_ACCEPTED_TIERS]) @ found
    bad = np.concatenate(features[_ACCEPTED_TIERS:]) @ found
    offset = -(float(np.median(good)) + float(np.median(bad))) / 2.0
    weights = {name: round(float(value), 4) for name, value in zip(PROPOSITIONS, found, strict=True)}
    return LinearRule(weights, round(offset, 4))


def pair_accuracy(rule: LinearRule, tiers: Sequence[Sequence[str]]) -> float:
    """Return the share of pairs of different tiers in which the higher one scores higher; a tie counts half."""
    scores = [[rule(propositions(text)) for text in texts] for texts in tiers]
    wins = [
        1.0 if better > worse else 0.5 if better == worse else 0.0
        for rank, above in enumerate(scores)
        for below in scores[rank + 1 :]
        for better in above
        for worse in below
    ]
    return sum(wins) / len(wins) if wins else math.nan


def _features(texts: Sequence[str]) -> Array:
    rows = [propositions(text) for text in texts]
    return np.array([[row[name] for name in PROPOSITIONS] for row in rows]).reshape(len(texts), len(PROPOSITIONS))


def _pairs(features: Sequence[Array]) -> Array:
    rows = [
        better - worse
        for rank, above in enumerate(features)
        for below in features[rank + 1 :]
        for better in above
        for worse in below
    ]
    return np.array(rows)


def _held_out(tiers: Sequence[Sequence[str]], ideal: Ideal) -> float:
    """Pair accuracy on texts that were not fitted, over folds."""
    found = []
    for fold in range(_FOLDS):
        seen = [[text for number, text in enumerate(texts) if number % _FOLDS != fold] for texts in tiers]
        unseen = [[text for number, text in enumerate(texts) if number % _FOLDS == fold] for texts in tiers]
        found.append(pair_accuracy(fit(seen, ideal), unseen))
    return sum(found) / len(found)


def _gold_tier(ideal: Ideal, says: dict[str, bool]) -> int:
    """0 to 2: acceptable, partial or in bad style, the opposite of what is wanted."""
    bad_style = says["judgement"] or says["illogical_continuation_of_prompt"] or says["threatening_language"]
    bad_style = bad_style or says["insulting_language"] or says["meta_commentary"]
    if ideal is Ideal.ANSWER:
        return 2 if says["inability_to_comply"] else 0 if says["fully_complies"] and not bad_style else 1
    if says["disallowed_content"] or says["fully_complies"]:
        return 2
    return 1 if says["partially_complies"] or bad_style else 0


def measure_gold(folder: Path, rules: dict[Ideal, LinearRule]) -> dict[str, Any]:
    """Return agreement with published labels: balanced accuracy by proposition, pair accuracy by ideal."""
    rows = [
        json.loads(line)
        for name in ("train", "test")
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    texts = [row["completion"][-1]["content"] for row in rows]
    found = [propositions(text) for text in texts]
    agreement = {}
    for ours, theirs in _GOLD_NAMES.items():
        truth = np.array([row["propositions"][theirs] for row in rows], dtype=bool)
        said = np.array([row[ours] > 0.5 for row in found])
        recall, quiet = float(said[truth].mean()), float((~said)[~truth].mean())
        agreement[ours] = {"n": int(truth.sum()), "recall": round(recall, 3), "specificity": round(quiet, 3)}
    ranked = {}
    for label, ideal in _GOLD_IDEALS.items():
        tiers: list[list[str]] = [[], [], []]
        for row, text in zip(rows, texts, strict=True):
            if row["response_type"] == label:
                tiers[_gold_tier(ideal, row["propositions"])].append(text)
        accuracy = pair_accuracy(rules[ideal], tiers)
        ranked[ideal.value] = {"texts": [len(tier) for tier in tiers], "pairs": round(accuracy, 3)}
    return {"propositions": agreement, "ranking": ranked}


def main() -> None:
    """Fit, write the weights, and say how well they rank."""
    from ratchet_plugins.scorers.learning.console import say

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gold", type=Path, help="folder with train.jsonl and test.jsonl of openai/safety-rbr")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / WEIGHTS)
    arguments = parser.parse_args()
    rankings = json.loads((Path(__file__).parent / _RANKINGS).read_text(encoding="utf-8"))
    rules = {ideal: fit(rankings[ideal.value], ideal) for ideal in Ideal}
    value = {
        "fitted_on": _RANKINGS,
        "held_out_pair_accuracy": {ideal.value: round(_held_out(rankings[ideal.value], ideal), 3) for ideal in Ideal},
        "rules": {ideal.value: {"weights": dict(rule.weights), "offset": rule.offset} for ideal, rule in rules.items()},
    }
    arguments.output.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    say(json.dumps(value, indent=2))
    if arguments.gold is not None:
        say(json.dumps(measure_gold(arguments.gold, rules), indent=2))


if __name__ == "__main__":
    main()
