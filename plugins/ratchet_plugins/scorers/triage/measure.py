"""The numbers of the triage card: `python -m ratchet_plugins.scorers.triage.measure --data DIR --seed DIR`.

It must not train. It measures the committed weights through the scorer that serves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.triage import data as sets
from ratchet_plugins.scorers.triage.scorer import TriageScorer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def main() -> None:
    """Print recall and false-positive rates on everything held out."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--seed", type=Path, required=True, help="folder of the seed suite")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scorer = TriageScorer()

    def harm(texts: list[str]) -> npt.NDArray[np.float64]:
        return np.array([row["harm"] for row in scorer.score(texts)])

    def line(name: str, scores: npt.NDArray[np.float64], against: npt.NDArray[np.float64] | None = None) -> None:
        area = ""
        if against is not None:
            truth = np.r_[np.ones(len(scores)), np.zeros(len(against))]
            area = f" AUC {roc_auc_score(truth, np.r_[scores, against]):.3f}"
        say(
            f"| {name} | {len(scores)} | {(scores >= scorer.escalate).mean():.3f} "
            f"| {(scores >= scorer.block).mean():.3f} |{area}"
        )

    say(f"escalate {scorer.escalate} block {scorer.block}")
    held = sets.seed(arguments.seed, "eval")
    of = {source: harm([p.text for p in held if p.source == source]) for source in ("benign_twin", "ordinary")}
    line("seed eval, harmful", harm([p.text for p in held if p.harmful]), of["benign_twin"])
    for source, scores in of.items():
        line(f"seed eval, {source}", scores)
    for name, texts in sets.held_out_harmful(arguments.data).items():
        line(name, harm(texts), of["benign_twin"])
    for name, texts in sets.held_out_benign(arguments.data).items():
        line(name, harm(texts))
    long = [text for text in sources.coconot(arguments.data)[1] if len(text) > 2000][:200]
    line("long benign text (CoCoNot answers over 2,000 characters)", harm(long))


if __name__ == "__main__":
    main()
