"""Which texts are the same question again: MinHash over word shingles, and optionally cosine of embeddings.

It must not know what the texts are for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Embed", "Match", "NearDuplicates", "clusters", "normal_form", "remembering"]

Embed = Callable[[Sequence[str]], "npt.NDArray[np.float32]"]
"""Texts to unit vectors, one row per text."""

_WORD = re.compile(r"\w+")
_PERMUTATIONS = 128
_CONTAINED_WORDS = 5
_BLOCK = 1024


def normal_form(text: str) -> str:
    """Return the words of a text, lower case, one space between them: what stays when punctuation and case go."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


@dataclass(frozen=True, slots=True)
class Match:
    """A member that a text is a near duplicate of.

    Attributes:
        index: Of the member.
        how: "same" or "contained" (words), "jaccard" (shingles) or "cosine" (embeddings): the plainest that applies.
        similarity: Jaccard or cosine; 1 for the same or contained words.
    """

    index: int
    how: str
    similarity: float


class NearDuplicates:
    """A collection of texts that can be asked whether it holds a near duplicate of another text.

    A text is a near duplicate of a member when their normal forms are equal, when one of five words or more
    contains the other's normal form, when the Jaccard similarity of their shingles reaches `jaccard`
    (MinHash, 128 permutations; candidates are checked exactly), or when their embeddings' cosine exceeds `cosine`.
    """

    def __init__(
        self, texts: Sequence[str], *, jaccard: float = 0.7, cosine: float = 0.92, embed: Embed | None = None
    ) -> None:
        from datasketch import MinHashLSH

        self._jaccard = jaccard
        self._cosine = cosine
        self._embed = embed
        self._forms = [normal_form(text) for text in texts]
        self._shingles = [_shingles(form) for form in self._forms]
        self._by_form: dict[str, list[int]] = {}
        # One text's words are inside another's only if its first five are: the others need not be compared.
        self._by_opening: dict[str, list[int]] = {}
        self._by_run: dict[str, list[int]] = {}
        for index, form in enumerate(self._forms):
            self._by_form.setdefault(form, []).append(index)
            runs = _runs(form)
            if runs:
                self._by_opening.setdefault(runs[0], []).append(index)
            for run in dict.fromkeys(runs):
                self._by_run.setdefault(run, []).append(index)
        # The index is only a filter: a lower threshold costs candidates, a higher one would miss duplicates.
        self._lsh: Any = MinHashLSH(threshold=max(0.1, jaccard - 0.2), num_perm=_PERMUTATIONS)
        for index, shingles in enumerate(self._shingles):
            self._lsh.insert(index, _minhash(shingles))
        self._vectors = embed(list(texts)) if embed is not None and texts else None

    def matches(self, texts: Sequence[str]) -> list[list[int]]:
        """Return, for each text, the indices of the members it is a near duplicate of, in order."""
        return [[match.index for match in found] for found in self.explained(texts)]

    def explained(self, texts: Sequence[str]) -> list[list[Match]]:
        """Return, for each text, the members it is a near duplicate of, in order, and why."""
        found = [self._by_words(normal_form(text)) for text in texts]
        if self._embed is not None and self._vectors is not None and texts:
            vectors = self._embed(list(texts))
            for start in range(0, len(texts), _BLOCK):
                cosines = vectors[start : start + _BLOCK] @ self._vectors.T
                for row, column in zip(*(cosines > self._cosine).nonzero(), strict=True):
                    match = Match(int(column), "cosine", round(float(cosines[row, column]), 4))
                    found[start + int(row)].setdefault(match.index, match)
        return [[matches[index] for index in sorted(matches)] for matches in found]

    def _by_words(self, form: str) -> dict[int, Match]:
        found = {index: Match(index, "same", 1.0) for index in self._by_form.get(form, ())}
        runs = _runs(form)
        inside = [index for run in dict.fromkeys(runs) for index in self._by_opening.get(run, ())]
        around = self._by_run.get(runs[0], ()) if runs else ()
        for index in (*inside, *around):
            if index not in found and _contains(form, self._forms[index]):
                found[index] = Match(index, "contained", 1.0)
        shingles = _shingles(form)
        for index in self._lsh.query(_minhash(shingles)):
            if index in found:
                continue
            other = self._shingles[index]
            union = len(shingles | other)
            jaccard = len(shingles & other) / union if union else 0.0
            if jaccard >= self._jaccard:
                found[index] = Match(index, "jaccard", round(jaccard, 4))
        return found


def remembering(embed: Embed) -> Embed:
    """Return an `embed` that computes the vector of each text once: a build looks at most texts several times."""
    known: dict[str, npt.NDArray[np.float32]] = {}

    def lookup(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        import numpy as np

        if missing := [text for text in dict.fromkeys(texts) if text not in known]:
            known.update(zip(missing, embed(missing), strict=True))
        return np.stack([known[text] for text in texts])

    return lookup


def clusters(
    texts: Sequence[str], *, jaccard: float = 0.7, cosine: float = 0.92, embed: Embed | None = None
) -> list[int]:
    """Return a cluster number per text: near duplicates, and near duplicates of near duplicates, share one.

    Numbers are the index of the cluster's first member, so they do not depend on anything but the order of texts.
    """
    from scipy.cluster.hierarchy import DisjointSet

    sets: Any = DisjointSet(range(len(texts)))
    for index, others in enumerate(NearDuplicates(texts, jaccard=jaccard, cosine=cosine, embed=embed).matches(texts)):
        for other in others:
            sets.merge(index, other)
    first: dict[int, int] = {}
    numbers = []
    for index in range(len(texts)):
        root = sets[index]
        numbers.append(first.setdefault(root, index))
    return numbers


def _runs(form: str) -> list[str]:
    """Every run of as many words as a contained text must have at least, in order."""
    words = form.split()
    return [" ".join(words[i : i + _CONTAINED_WORDS]) for i in range(len(words) - _CONTAINED_WORDS + 1)]


def _contains(form: str, other: str) -> bool:
    """Whether the words of one text, one after the other, are in the other text, whichever is shorter."""
    shorter, longer = sorted((form, other), key=len)
    return f" {shorter} " in f" {longer} "


def _shingles(form: str) -> frozenset[str]:
    words = form.split()
    if len(words) < 2:
        return frozenset(words)
    return frozenset(" ".join(words[i : i + 2]) for i in range(len(words) - 1)) | frozenset(words)


def _minhash(shingles: frozenset[str]) -> Any:
    sketch = _empty_sketch().copy()
    sketch.update_batch([shingle.encode() for shingle in sorted(shingles)])
    return sketch


@cache
def _empty_sketch() -> Any:
    """The sketch of nothing, to copy: drawing the hash functions anew would cost more than sketching a prompt."""
    from datasketch import MinHash

    return MinHash(num_perm=_PERMUTATIONS, seed=1)
