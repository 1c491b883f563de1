"""How much harm triage finds at a stated rate of false alarms, per set and category, beside a word list in NeMo's regex
rail, and over the turns of a conversation.

`python tests/benchmarks/triage.py --data DIR` prints Markdown tables. Each threshold is set on one half of the benign
prompts and every rate is measured on the other half and on prompts that triage was not trained on; intervals are 95 %
Wilson. It asserts nothing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import re2
from scipy.stats import binomtest

from ratchet_adapters.evals.item import Item
from ratchet_adapters.redteam.attacks.registry import load_attack
from ratchet_plugins.nemo.conversation import readings
from ratchet_plugins.scorers.triage import data as sets
from ratchet_plugins.scorers.triage.scorer import TriageScorer

SEED = Path(__file__).parents[2] / "adapters/ratchet_adapters/evals/suites/seed"
POINTS = {"2 % of ordinary prompts": ("ordinary", 0.02), "10 % of look-alikes": ("look-alikes", 0.10)}


def rate(hits: Sequence[bool]) -> str:
    found = binomtest(int(sum(hits)), len(hits)).proportion_ci(method="wilson")
    return f"{np.mean(hits):.3f} [{found.low:.3f}, {found.high:.3f}]"


def say(*cells: object) -> None:
    sys.stdout.write("| " + " | ".join(map(str, cells)) + " |\n")


class Bench:
    """Held-out prompts, and scores of each text, once."""

    def __init__(self, data: Path, most: int) -> None:
        self._scorer = TriageScorer()
        self._known: dict[str, float] = {}
        self._pick = random.Random(0)
        self._most = most
        held = sets.seed(SEED, "eval")
        self.harmful = {name: self.some(found) for name, found in sets.held_out_harmful(data).items()}
        for prompt in held:
            if prompt.harmful:
                self.harmful.setdefault("seed suite, eval", []).append(prompt.text)
        self.clusters = {p.text: p.cluster.partition(".")[0] for p in held}
        self.benign = {
            "ordinary": [p.text for p in held if p.source == "ordinary"]
            + [text for texts in sets.held_out_benign(data).values() for text in self.some(texts)],
            "look-alikes": [p.text for p in held if p.source == "benign_twin"],
        }
        self.turns = [list(map(str, turns)) for turns in _turns(data)]
        self.seed = held

    def some(self, texts: Sequence[str]) -> list[str]:
        return self._pick.sample(list(texts), min(self._most, len(texts)))

    def harm(self, texts: Sequence[str]) -> np.ndarray:
        fresh = [text for text in dict.fromkeys(texts) if text not in self._known]
        for text, row in zip(fresh, self._scorer.score(fresh), strict=True):
            self._known[text] = row["harm"]
        return np.array([self._known[text] for text in texts])

    @property
    def block(self) -> float:
        return self._scorer.block


def _turns(data: Path) -> list[list[str]]:
    lines = (data / "mt_bench" / "question.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["turns"] for line in lines]


def single_turns(bench: Bench, words: Sequence[str]) -> None:
    halves = {name: (bench.harm(texts[::2]), bench.harm(texts[1::2])) for name, texts in bench.benign.items()}
    bars = {point: float(np.quantile(halves[kind][0], 1 - r, method="higher")) for point, (kind, r) in POINTS.items()}
    options = re2.Options()
    options.case_sensitive = False
    listed = re2.compile("|".join(rf"\b{re2.escape(word)}\b" for word in words), options)
    say("set", "n", *(f"{point} (from {bar:.3f})" for point, bar in bars.items()), "word list in `regex check input`")
    say(*["---"] * 5)
    groups: dict[str, list[str]] = dict(bench.harmful)
    for category in sorted(set(bench.clusters.values())):
        own = [p.text for p in bench.seed if p.harmful and bench.clusters[p.text] == category]
        if len(own) >= 5:
            groups[f"seed suite, {category}"] = own
    for name, texts in bench.benign.items():
        groups[f"*benign: {name}, the other half*"] = texts[1::2]
    for name, texts in groups.items():
        scores = bench.harm(texts)
        found = [listed.search(text) is not None for text in texts]
        say(name, len(texts), *(rate(scores >= bar) for bar in bars.values()), rate(found))


def conversations(bench: Bench) -> None:
    say("conversation", "n", "last message only", "all turns")
    say("---", "---", "---", "---")
    kinds = {"harmful": "harmful", "benign look-alikes": "benign_twin", "ordinary": "ordinary"}
    chats: dict[str, list[list[str]]] = {}
    for attack in ("crescendo", "split"):
        for kind, source in kinds.items():
            prompts = bench.some([p.text for p in bench.seed if p.source == source])
            items = [Item(f"i{n}", kind, "general knowledge", "", "eval", text) for n, text in enumerate(prompts)]
            scripts = [load_attack(attack).apply(item) for item in items]
            chats[f"{attack}, {kind}"] = [[t.text for t in s.turns if t.role == "user"] for s in scripts]
    chats["MT-Bench, both turns"] = bench.turns
    for name, turns in chats.items():
        last = bench.harm([chat[-1] for chat in turns]) >= bench.block
        over = np.array([(bench.harm(readings(chat)) >= bench.block).any() for chat in turns])
        say(name, len(turns), rate(last), rate(last | over))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the public data sets")
    parser.add_argument("--most", type=int, default=150, help="prompts of one set")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        parser.error(f"there is no folder {arguments.data}")
    bench = Bench(arguments.data, arguments.most)
    words = (arguments.data / "ldnoobw" / "en").read_text(encoding="utf-8").split("\n")
    single_turns(bench, [word for word in words if word.strip()])
    sys.stdout.write("\n")
    conversations(bench)


if __name__ == "__main__":
    main()
