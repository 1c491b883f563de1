"""The numbers of the toxicity card: `python -m ratchet_plugins.scorers.toxicity.measure --data DIR`.

It must not train. It measures the committed weights through the scorer that serves, on what training held out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.toxicity import data as sets
from ratchet_plugins.scorers.toxicity.labels import CLASSES, LABELS
from ratchet_plugins.scorers.toxicity.scorer import ToxicityScorer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_LIMIT = 2500


def main() -> None:
    """Print ranking, false-positive and calibration numbers per held-out set."""
    import numpy as np
    import torch
    from sklearn.metrics import average_precision_score, roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--model", default="ratchet-minilm")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scorer = ToxicityScorer(arguments.model)

    def column(texts: list[str], label: str = "toxicity") -> npt.NDArray[np.float64]:
        return np.array([row[label] for row in scorer.score(texts)])

    data = arguments.data
    for name, held in (
        ("wiki", sets.wiki(data)[1]),
        ("civil", sets.civil(data)[1]),
        ("davidson", sets.davidson(data)[1]),
        ("madlibs", sets.madlibs(data)[1]),
        ("hatecheck", sets.hatecheck(data)),
    ):
        # Files are ordered by content of the set; a stride keeps every part of it.
        part = held[:: max(1, len(held) // _LIMIT)]
        truth = np.array([example.toxic for example in part])
        hard, scores = truth >= 0.5, column([example.text for example in part])
        error = _calibration_error(scores, truth)
        say(
            f"| {name} | {len(part)} | {roc_auc_score(hard, scores):.3f} | {average_precision_score(hard, scores):.3f}"
            f" | {(scores[hard] >= 0.5).mean():.3f} | {(scores[~hard] >= 0.5).mean():.3f} | {error:.3f} |"
        )
    civil = sets.civil(data)[1]
    rows = scorer.score([example.text for example in civil])
    for place, label in enumerate(CLASSES):
        truth = np.array([example.targets[place] for example in civil]) >= 0.5
        if truth.any():
            area = roc_auc_score(truth, [row[LABELS[place]] for row in rows])
            say(f"civil {label}: AUC {area:.3f} ({truth.sum()} positive)")
    _benign(data, column)


def _benign(data: Path, column: object) -> None:
    import numpy as np

    assert callable(column)
    jbb = [
        record["response"]
        for path in sorted((data / "jbb_completions_labelled").glob("*.harmless.json"))
        for record in _completions(path)
    ]
    gpt4 = [text for model, text, label in sources.completions(data) if model == "gpt4" and label == "compliance"]
    for name, texts in (
        ("refusals, held out", [example.text for example in sets.refusals(data)[1]]),
        ("benign prompts and answers, held out", [example.text for example in sets.benign_answers(data)[1]]),
        ("answers of 5 chat models to harmless prompts", jbb),
        ("gpt-4 answers to XSTest", gpt4),
    ):
        scores = np.asarray(column(texts))
        say(
            f"| {name} | {len(texts)} | {np.median(scores):.3f} | {np.quantile(scores, 0.95):.3f}"
            f" | {(scores >= 0.5).mean():.4f} |"
        )


def _completions(path: Path) -> list[dict[str, str]]:
    import json

    found: list[dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["completions"]
    return found


def _calibration_error(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    """Return the mean distance of score and truth over ten equal bins of the score, weighted by size."""
    import numpy as np

    place = np.minimum((scores * 10).astype(int), 9)
    return float(
        sum(
            abs(scores[place == i].mean() - truth[place == i].mean()) * (place == i).mean()
            for i in range(10)
            if (place == i).any()
        )
    )


if __name__ == "__main__":
    main()
