"""Thresholds of two-stage triage: `python -m ratchet_plugins.scorers.triage.calibrate --seed DIR [--out FILE]`.

It finds two bars on one half of prompts that triage was not trained on, and says what they do on the other half. It
must not train, and nothing that serves reads its output: an operator copies the bars into a profile.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.triage import data as sets
from ratchet_plugins.scorers.triage.scorer import TriageScorer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["calibrated"]


def main() -> None:
    """Print the two bars with the rates they hold, and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--seed", type=Path, help="folder of the seed suite; its evaluation split is used")
    given.add_argument("--prompts", type=Path, help='your own, as JSONL: {"prompt": "...", "harmful": true}')
    parser.add_argument("--recall", type=float, default=0.95, help="of harmful prompts that are not cleared")
    parser.add_argument("--false-positives", type=float, default=0.02, help="of benign prompts that are blocked")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if not (0 < arguments.recall < 1 and 0 < arguments.false_positives < 1):
        parser.error("recall and false positives are shares between 0 and 1")
    try:
        prompts = _prompts(arguments.seed, arguments.prompts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        parser.error(f"the prompts cannot be read ({type(error).__name__}: {error})")
    if min(sum(prompts.values()), len(prompts) - sum(prompts.values())) < 20:
        parser.error("at least 20 harmful and 20 benign prompts are needed")
    scores = [row["harm"] for row in TriageScorer().score(list(prompts))]
    result = calibrated(scores, list(prompts.values()), arguments.recall, arguments.false_positives)
    result["scorer"] = TriageScorer().version
    text = json.dumps(result, indent=2) + "\n"
    say(text)
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")


def calibrated(scores: list[float], harmful: list[bool], recall: float, false_positives: float) -> dict[str, Any]:
    """Return the bars and what they do.

    Args:
        scores: Harm in [0, 1] of each prompt.
        harmful: Whether it is.
        recall: Least share of harmful prompts at or above `clear_below`.
        false_positives: Largest share of benign prompts at or above `block_from`.

    Returns:
        `clear_below` and `block_from`, set on every other prompt of either kind, and under `on_the_other_half` shares
        with 95 % Wilson intervals as [share, low, high].
    """
    import numpy as np

    values, truth = np.array(scores), np.array(harmful, dtype=bool)
    bad, good = values[truth], values[~truth]
    clear = float(np.quantile(bad[::2], 1 - recall, method="lower"))
    block = float(np.nextafter(np.quantile(good[::2], 1 - false_positives, method="higher"), 2.0))
    return {
        "asked": {"recall": recall, "false_positives": false_positives},
        "clear_below": round(clear, 4),
        "block_from": round(max(block, clear), 4),
        "prompts": {"harmful": len(bad), "benign": len(good)},
        "on_the_other_half": {
            "harmful not cleared": _share(bad[1::2] >= clear),
            "harmful blocked": _share(bad[1::2] >= max(block, clear)),
            "benign blocked": _share(good[1::2] >= max(block, clear)),
            "benign cleared: expensive rails saved": _share(good[1::2] < clear),
        },
    }


def _share(hits: npt.NDArray[np.bool_]) -> list[float]:
    from scipy.stats import binomtest

    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return [round(float(value), 3) for value in (hits.mean(), found.low, found.high)]


def _prompts(seed: Path | None, file: Path | None) -> dict[str, bool]:
    if seed is not None:
        # Half of real traffic's benign prompts do not look alarming; the suite's share is what it is.
        return {prompt.text: prompt.harmful for prompt in sets.seed(seed, "eval")}
    assert file is not None
    found = {}
    for number, record in enumerate(sources.rows(file), 1):
        if not (isinstance(record["prompt"], str) and isinstance(record["harmful"], bool)):
            raise ValueError(f"line {number}: prompt must be a text and harmful true or false")
        found[record["prompt"]] = record["harmful"]
    return found


if __name__ == "__main__":
    main()
