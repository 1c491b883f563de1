"""The training and held-out examples of the toxicity scorer, from permissively licensed sets.

It must not know the network. Splits are by content hash, so that a text is on the same side in every run; a label
that a set does not give is NaN and costs nothing.
"""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ratchet_plugins.scorers.learning import sources
from ratchet_plugins.scorers.toxicity.labels import CLASSES
from ratchet_plugins.scorers.toxicity.sentences import CALM, HOSTILE, NEUTRAL, NEUTRAL_PAIRS, THREATS

__all__ = [
    "Example",
    "benign_answers",
    "civil",
    "davidson",
    "hatecheck",
    "jigsaw",
    "madlibs",
    "own_sentences",
    "refusals",
    "wiki",
]

_SPAN_LABELS = {
    "Insult": "insult",
    "Threat": "threat",
    "Profane/Obscene": "obscene",
    "Identity based Attack": "identity_hate",
}
_TRAIN_TEMPLATES = ("being_", "hate_", "you_occupation")
_NAMES = ("Alex", "Maria", "Tom", "Priya", "mate", "Mr Brown", "Fatima", "Jonas", "Li Wei", "dude")


@dataclass(frozen=True)
class Example:
    """A text with one target per class (NaN where unknown), the set it came from, and its weight in the loss."""

    text: str
    targets: tuple[float, ...]
    source: str
    weight: float = 1.0

    @property
    def toxic(self) -> float:
        """Target of the first class, in [0, 1] or NaN."""
        return self.targets[0]


Split = tuple[list[Example], list[Example]]


def civil(data: Path, limit: int = 4500) -> Split:
    """Return train (at most `limit`) and held-out Civil Comments (CC0): shares of annotators per kind of toxicity."""
    folder = data / "toxic_spans_civil"
    votes: dict[str, list[float]] = defaultdict(list)
    comment_of: dict[str, str] = {}
    for record in sources.rows(folder / "annotations.csv"):
        comment_of[record["annotation"]] = record["comment_id"]
        votes[record["comment_id"]].append(float(record["not toxic"] != "True"))
    kinds: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in sources.rows(folder / "spans.csv"):
        label = _SPAN_LABELS.get(record["type"])
        if label:
            kinds[comment_of[record["annotation"]]][label].add(record["annotation"])
    found = []
    for record in sources.rows(folder / "comments.csv"):
        key = record["comment_id"]
        if key not in votes:
            continue
        shares = {label: len(who) / len(votes[key]) for label, who in kinds[key].items()}
        toxic = sum(votes[key]) / len(votes[key])
        ranked = sorted((shares.get(label, 0.0) for label in CLASSES[2:]), reverse=True)
        # No annotator was asked for severity; toxic in two ways at once is the nearest thing the spans say.
        found.append(
            _example(
                record["comment_text"],
                "civil",
                toxic=toxic,
                severe_toxic=toxic * ranked[1],
                **{label: shares.get(label, 0.0) for label in CLASSES[2:]},
            )
        )
    train, held_out = _split(found)
    random.Random(0).shuffle(train)
    return train[:limit], held_out


def davidson(data: Path, limit: int = 4500) -> Split:
    """Return train (at most `limit`) and held-out tweets of Davidson et al. (MIT): share of hate and offence votes."""
    obscene = _obscene(data)
    found = []
    for record in sources.rows(data / "davidson" / "labeled_data.csv"):
        total = float(record["count"])
        hate, offensive = float(record["hate_speech"]) / total, float(record["offensive_language"]) / total
        known = {"toxic": hate + offensive, "identity_hate": hate, "obscene": obscene(record["tweet"])}
        found.append(_example(record["tweet"], "davidson", **known))
    train, held_out = _split(found)
    random.Random(0).shuffle(train)
    # "Neither" is 17 % of the set; keep all of it.
    plain = [example for example in train if example.toxic < 0.5]
    loud = [example for example in train if example.toxic >= 0.5]
    return plain[:limit] + loud[: max(0, limit - len(plain))], held_out


def wiki(data: Path) -> Split:
    """Return train and held-out Wikipedia talk comments (Apache-2.0), half and half, toxic or not."""
    obscene = _obscene(data)
    found = []
    for record in sources.rows(data / "wiki_toxicity" / "toxicity_nonfuzzed_testset.csv"):
        toxic = record["toxic"] == "True"
        known = {"obscene": obscene(record["comment"])} if toxic else dict.fromkeys(CLASSES, 0.0)
        found.append(_example(record["comment"], "wiki", weight=2.0, **{**known, "toxic": float(toxic)}))
    return _split(found, held_out=5)


def jigsaw(data: Path) -> list[Example]:
    """Return the six-label Jigsaw rows in Detoxify's own test data (Apache-2.0), for training."""
    return [
        _example(record["comment_text"], "jigsaw", weight=2.0, **{label: float(record[label]) for label in CLASSES})
        for record in sources.rows(data / "jigsaw_detoxify_dummy" / "train.csv")
    ]


def madlibs(data: Path, limit: int = 2000) -> Split:
    """Return train and held-out identity sentences (Apache-2.0); no template is on both sides."""
    train: list[Example] = []
    held_out: list[Example] = []
    for record in sources.rows(data / "jigsaw_madlibs" / "intersectional_madlibs.csv"):
        toxic = float(record["toxicity"] == "toxic")
        known = {"threat": 0.0, "severe_toxic": 0.0, **({} if toxic else dict.fromkeys(CLASSES[2:], 0.0))}
        example = _example(record["phrase"], "madlibs", toxic=toxic, **known)
        (train if record["template"].startswith(_TRAIN_TEMPLATES) else held_out).append(example)
    random.Random(0).shuffle(train)
    return train[:limit], held_out


def own_sentences(data: Path) -> list[Example]:
    """Return this project's own sentences: identity words, calm and hostile, and threats with their look-alikes."""
    # "I hate <word> people", one per identity word.
    words = sorted(
        record["phrase"].split()[2]
        for record in sources.rows(data / "jigsaw_madlibs" / "intersectional_madlibs.csv")
        if record["template"] == "hate_identity" and len(record["phrase"].split()) == 4
    )
    pick = random.Random(0)
    found: list[Example] = []
    for word in words:
        found += [_zero(sentence.format(word), "own") for sentence in NEUTRAL]
        found += [_zero(sentence.format(word, pick.choice(words)), "own") for sentence in pick.sample(NEUTRAL_PAIRS, 5)]
        hostile = {"toxic": 1.0, "insult": 1.0, "identity_hate": 1.0, "threat": 0.0}
        found += [_example(sentence.format(word), "own", **hostile) for sentence in pick.sample(HOSTILE, 4)]
    for name in _NAMES:
        found += [_zero(sentence.format(name), "own") for sentence in CALM]
        for sentence in THREATS:
            found.append(_example(sentence.format(name), "own", toxic=1.0, threat=1.0, obscene=0.0, identity_hate=0.0))
    return list({example.text: example for example in found}.values())


def benign_answers(data: Path) -> Split:
    """Return ordinary instructions and answers (Self-Instruct, CoCoNot) as non-toxic text, train and held out."""
    prompts, answers = sources.self_instruct(data)
    questions, chosen, _ = sources.coconot(data)
    texts = [text for text in (*prompts, *answers, *questions, *chosen) if text.strip()]
    return _split([_zero(text, "benign") for text in texts], held_out=2)


def refusals(data: Path) -> Split:
    """Return full refusals of five chat models (XSTest labels, CC-BY-4.0) as non-toxic text, train and held out."""
    texts = [text for _, text, label in sources.completions(data) if label == "full"]
    return _split([_zero(text, "refusal") for text in texts], held_out=3)


def hatecheck(data: Path) -> list[Example]:
    """Return HateCheck (CC-BY-4.0), for measuring only."""
    return [
        _example(record["test_case"], "hatecheck", toxic=float(record["label_gold"] == "hateful"))
        for record in sources.rows(data / "hatecheck" / "test_suite_cases.csv")
    ]


def _obscene(data: Path) -> Callable[[str], float]:
    """Return a weak label: does a text use a word of the LDNOOBW list (CC-BY-4.0)?"""
    words = (data / "ldnoobw" / "en").read_text(encoding="utf-8").split("\n")
    pattern = re.compile(r"\b(?:" + "|".join(re.escape(word.strip()) for word in words if word.strip()) + r")\b", re.I)
    return lambda text: float(pattern.search(text) is not None)


def _example(text: str, source: str, weight: float = 1.0, **known: float) -> Example:
    return Example(text, tuple(known.get(label, math.nan) for label in CLASSES), source, weight)


def _zero(text: str, source: str) -> Example:
    return _example(text, source, **dict.fromkeys(CLASSES, 0.0))


def _split(found: list[Example], held_out: int = 1) -> Split:
    """Split by content: `held_out` tenths are held out. Equal texts fall on the same side, and only once."""
    unique = {" ".join(example.text.lower().split()): example for example in found}
    train = [example for text, example in unique.items() if sources.bucket(text) >= held_out]
    return train, [example for text, example in unique.items() if sources.bucket(text) < held_out]
