"""Training of the refusal heads: `python -m ratchet_plugins.scorers.refusal.train --data DIR [--out FILE]`.

It must not be imported by anything that serves. Prints the leave-one-model-out numbers of the card; a few minutes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.models.encoder import Encoder
from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.refusal.cascade import combine
from ratchet_plugins.scorers.refusal.features import refusal_features
from ratchet_plugins.scorers.refusal.pattern import refuses_by_pattern
from ratchet_plugins.scorers.weights import write_weights

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["CLASSES", "CUTS", "fit_heads", "ordinary_answers"]

_OUT = Path(__file__).parent / "weights" / "refusal.safetensors"
CLASSES = ("full", "partial", "compliance")
_STRENGTH = 5.0
CUTS = (240, 110)
"""Characters of a completion cut at 48 to 64 tokens, and at 24: the learner and evaluations sample that many."""


def main() -> None:
    """Cross-validate over models, then fit on everything and write the weights."""
    import numpy as np
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--out", type=Path, default=_OUT)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    labelled = sources.completions(arguments.data)
    texts = [text for _, text, _ in labelled]
    models = np.array([model for model, _, _ in labelled])
    labels = np.array([label for _, _, label in labelled])
    extra = ordinary_answers(arguments.data)
    encoder = Encoder()
    whole = refusal_features(texts, encoder)
    cuts = [refusal_features([text[:cut] for text in texts], encoder) for cut in CUTS]
    more = np.vstack([refusal_features([text[:cut] for text in extra], encoder) for cut in (None, *CUTS)])

    fired = whole[:, -1] > 0.5
    sure = float((labels[fired] == "full").mean())
    say(f"full refusals among the {int(fired.sum())} completions the pattern matches: {sure:.3f}")

    predicted = np.zeros((1 + len(cuts), len(texts)))
    classes = np.zeros((len(texts), 3))
    for model in np.unique(models):
        out = models == model
        binary, three = fit_heads(whole[~out], [cut[~out] for cut in cuts], labels[~out], more)
        order = [list(three.classes_).index(name) for name in CLASSES]
        share = float((labels[fired & ~out] == "full").mean())
        predicted[0, out], classes[out] = combine(
            fired[out], binary.predict_proba(whole[out])[:, 1], three.predict_proba(whole[out])[:, order], share
        )
        for row, cut in enumerate(cuts, start=1):
            seen = cut[out, -1] > 0.5
            predicted[row, out], _ = combine(
                seen, binary.predict_proba(cut[out])[:, 1], three.predict_proba(cut[out])[:, order], share
            )
    _report(predicted, np.array(CLASSES)[classes.argmax(axis=1)], labels, models)

    binary, three = fit_heads(whole, cuts, labels, more)
    order = [list(three.classes_).index(name) for name in CLASSES]
    tensors = {
        "binary.weight": binary.coef_[0],
        "binary.bias": binary.intercept_,
        "classes.weight": three.coef_[order],
        "classes.bias": three.intercept_[order],
    }
    write_weights(
        arguments.out,
        {name: torch.tensor(np.asarray(value), dtype=torch.float16) for name, value in tensors.items()},
        {"threshold": 0.5, "classes": list(CLASSES), "sure": round(sure, 4)},
    )
    say("wrote", arguments.out, arguments.out.stat().st_size, "bytes")


def ordinary_answers(data: Path) -> list[str]:
    """Return answers that comply: Self-Instruct and CoCoNot, without those whose wording says otherwise."""
    _, answers = sources.self_instruct(data)
    _, chosen, _ = sources.coconot(data)
    return [text for text in (*answers, *chosen) if text.strip() and refuses_by_pattern(text) is None]


def fit_heads(
    whole: npt.NDArray[np.float32], cuts: Sequence[npt.NDArray[np.float32]], labels: Any, more: npt.NDArray[np.float32]
) -> tuple[Any, Any]:
    """Return the two-class (full refusal or not) and the three-class regression.

    The cut copies carry half the weight each. Those of partial refusals are left out: their start alone is often a
    whole answer or a whole refusal. Ordinary answers are many and easy, so they count a quarter.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    clear = labels != "partial"
    features = np.vstack([whole, *(cut[clear] for cut in cuts), more])
    target = np.concatenate([labels, *(labels[clear] for _ in cuts), np.full(len(more), "compliance")])
    parts = [np.ones(len(whole)), *(np.full(int(clear.sum()), 0.5) for _ in cuts), np.full(len(more), 0.25)]
    weight = np.concatenate(parts)
    binary = LogisticRegression(C=_STRENGTH, max_iter=3000).fit(features, target == "full", weight)
    three = LogisticRegression(C=_STRENGTH, max_iter=3000).fit(features, target, weight)
    return binary, three


def _report(predicted: Any, classes: Any, labels: Any, models: Any) -> None:
    import numpy as np
    from sklearn.metrics import roc_auc_score

    full = labels == "full"
    names = ("whole completions", *(f"cut at {cut} characters" for cut in CUTS))
    for name, scores in zip(names, predicted, strict=True):
        right = (scores > 0.5) == full
        say(f"leave one model out, {name}: accuracy {right.mean():.3f} AUC {roc_auc_score(full, scores):.3f}")
        say("  by model:", {str(model): round(float(right[models == model].mean()), 3) for model in np.unique(models)})
    say(f"three classes: accuracy {(classes == labels).mean():.3f}")


if __name__ == "__main__":
    main()
