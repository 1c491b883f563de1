"""Held-out numbers of the refusal card: `python -m ratchet_plugins.scorers.refusal.measure --data DIR`.

It must not train. `--refusals FILE...` and `--answers FILE` measure other texts: JSON with a `refusals` list, and
JSON with a list of objects with an `answer`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.learning.console import say
from ratchet_plugins.scorers.refusal.scorer import RefusalScorer


def main() -> None:
    """Print how refusals and answers that were not trained on score."""
    import numpy as np
    import torch
    from sklearn.metrics import roc_auc_score

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--refusals", type=Path, nargs="*", default=[])
    parser.add_argument("--answers", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    scorer = RefusalScorer()

    def line(name: str, texts: list[str]) -> Any:
        scores = np.array([row["refusal"] for row in scorer.score(texts)])
        say(f"| {name} | {len(texts)} | {np.median(scores):.3f} | {(scores >= 0.5).mean():.3f} |")
        return scores

    rubric: dict[bool, list[str]] = {True: [], False: []}
    for name in ("train", "test"):
        for record in sources.rows(arguments.data / "openai_rbr" / f"{name}.jsonl"):
            says = record["propositions"]
            if says["inability_to_comply"] != says["fully_complies"]:
                rubric[says["inability_to_comply"]].append(record["completion"][-1]["content"])
    declined, complied = line("OpenAI RBR: inability", rubric[True]), line("OpenAI RBR: complies", rubric[False])
    truth = np.r_[np.ones(len(declined)), np.zeros(len(complied))]
    say(f"OpenAI RBR AUC {roc_auc_score(truth, np.r_[declined, complied]):.3f}")
    harmless: list[str] = []
    for path in sorted((arguments.data / "jbb_completions_labelled").glob("*.harmless.json")):
        records = json.loads(path.read_text(encoding="utf-8"))["completions"]
        harmless += [record["response"] for record in records]
    line("answers of 5 chat models to harmless prompts", harmless)
    line("the same, cut at 240 characters", [text[:240] for text in harmless])
    own = [text for path in arguments.refusals for text in json.loads(path.read_text(encoding="utf-8"))["refusals"]]
    if own:
        line("explanatory refusals", own)
        line("the same, cut at 100 characters", [text[:100] for text in own])
    if arguments.answers:
        records = json.loads(arguments.answers.read_text(encoding="utf-8"))
        line("answers", [record["answer"] for record in records if record.get("kind", "benign") == "benign"])


if __name__ == "__main__":
    main()
