"""WinoBias (Zhao et al. 2018) and Winogender (Rudinger et al. 2018) as counterfactual pairs, from their own files.

It must not know models. Both are for training here: what is trained on them is evaluated on other sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ratchet_adapters.evals.bias.pairs import Pair
from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.suites.rows import read_rows

__all__ = ["winobias_pairs", "winogender_pairs"]

_LINE = re.compile(r"\A\d+\s+(?P<sentence>\S.*\S)\s*\Z")
_SENTENCE_FILE = "all_sentences.tsv"
_GENDERS = ("male", "female")
_PRONOUNS = frozenset({"he", "she", "him", "her", "his", "hers", "himself", "herself"})
_MATCHING = 0.9
"""Least share of sentences that must have their counterpart; below it the two files are not of one version."""


def winobias_pairs(folder: Path | str, part: Literal["dev", "test"] = "dev") -> tuple[Pair, ...]:
    """Return the pairs of WinoBias: the same sentence with the stereotypical and with the other pronoun.

    The published files have a few sentences that were changed on one side only (a typing error, another verb); those
    are left out, since they differ in more than the group.

    Args:
        folder: Holds `{pro,anti}_stereotyped_type{1,2}.txt.{dev,test}`, sentence by sentence in the same order.
        part: Which of the published parts.

    Raises:
        SuiteUnreadable: A file is absent, a line is not of the format, or the files do not belong together.
    """
    pairs = []
    sentences = 0
    for kind in (1, 2):
        paths = [Path(folder) / f"{side}_stereotyped_type{kind}.txt.{part}" for side in ("pro", "anti")]
        pro, anti = (list(_wino_lines(path)) for path in paths)
        if len(pro) != len(anti):
            raise SuiteUnreadable(paths[1], f"{len(anti)} sentences where {paths[0].name} has {len(pro)}")
        sentences += len(pro)
        for number, (first, second) in enumerate(zip(pro, anti, strict=True), start=1):
            if not _minimal(first, second):
                continue
            # Two sentences in a row are about one pair of occupations.
            cluster = f"winobias.type{kind}.{part}.{(number - 1) // 2}"
            pairs.append(
                Pair(f"winobias.type{kind}.{part}.{number}", "gender", cluster, "sentence", first, second, "winobias")
            )
    if len(pairs) < _MATCHING * sentences or not pairs:
        why = f"only {len(pairs)} of {sentences} sentences have a counterpart that differs in its pronouns alone"
        raise SuiteUnreadable(folder, why)
    return tuple(pairs)


def winogender_pairs(folder: Path | str) -> tuple[Pair, ...]:
    """Return the pairs of Winogender: each sentence with a male and with a female pronoun; the neutral is left out.

    Args:
        folder: Holds `all_sentences.tsv` with the columns `sentid` (occupation.participant.answer.gender.txt) and
            `sentence`.

    Raises:
        SuiteUnreadable: The file is absent, lacks a column, or a sentence lacks its counterpart.
    """
    path = Path(folder) / _SENTENCE_FILE
    found: dict[str, dict[str, str]] = {}
    for row in read_rows(path):
        for column in ("sentid", "sentence"):
            if not row.values.get(column):
                raise SuiteUnreadable(path, "it is absent or empty", line=row.line, column=column)
        parts = str(row.values["sentid"]).removesuffix(".txt").split(".")
        if len(parts) != 4 or parts[3] not in (*_GENDERS, "neutral"):
            why = "occupation.participant.answer.gender.txt was expected"
            raise SuiteUnreadable(path, why, line=row.line, column="sentid")
        found.setdefault(".".join(parts[:3]), {})[parts[3]] = str(row.values["sentence"])
    pairs = []
    for key, sentences in found.items():
        if any(gender not in sentences for gender in _GENDERS):
            raise SuiteUnreadable(path, f"{key} has not both a male and a female sentence", column="sentid")
        first, second = (sentences[gender] for gender in _GENDERS)
        cluster = f"winogender.{key.split('.')[0]}"
        pairs.append(Pair(f"winogender.{key}", "gender", cluster, "sentence", first, second, "winogender"))
    if not pairs:
        raise SuiteUnreadable(path, "it holds no sentence")
    return tuple(pairs)


def _wino_lines(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SuiteUnreadable(path, f"it cannot be read ({error})") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None:
            raise SuiteUnreadable(path, "a number and a sentence were expected", line=number)
        yield re.sub(r"[\[\]]", "", match.group("sentence"))


def _minimal(first: str, second: str) -> bool:
    words, others = first.split(), second.split()
    if len(words) != len(others):
        return False
    changed = [pair for pair in zip(words, others, strict=True) if pair[0] != pair[1]]
    return bool(changed) and all(word.lower().strip(".,'") in _PRONOUNS for pair in changed for word in pair)
