"""Which texts are the same question again: MinHash over word shingles, and optionally cosine of embeddings.

It must not know what the texts are for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Embed", "NearDuplicates", "clusters", "normal_form", "remembering"]

Embed = Callable[[Sequence[str]], "npt.NDArray[np.float32]"]
"""Texts to unit vectors, one row per text."""

_WORD = re.compile(r"\w+")
_PERMUTATIONS = 128
_CONTAINED_WORDS = 5
_BLOCK = 1024


def normal_form(text: str) -> str:
    """Return the words of a text, lower case, one space between them: what stays when punctuation and case go."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


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
        for index, form in enumerate(self._forms):
            self._by_form.setdefault(form, []).append(index)
        # The index is only a filter: a lower threshold costs candidates, a higher one would miss duplicates.
        self._lsh: Any = MinHashLSH(threshold=max(0.1, jaccard - 0.2), num_perm=_PERMUTATIONS)
        for index, shingles in enumerate(self._shingles):
            self._lsh.insert(index, _minhash(shingles))
        self._vectors = embed(list(texts)) if embed is not None and texts else None

    def matches(self, texts: Sequence[str]) -> list[list[int]]:
        """Return, for each text, the indices of the members it is a near duplicate of, in order."""
        forms = [normal_form(text) for text in texts]
        found = [self._matches_words(form) for form in forms]
        if self._embed is not None and self._vectors is not None and texts:
            vectors = self._embed(list(texts))
            for start in range(0, len(texts), _BLOCK):
                cosines = vectors[start : start + _BLOCK] @ self._vectors.T
                for row, column in zip(*(cosines > self._cosine).nonzero(), strict=True):
                    found[start + int(row)].add(int(column))
        return [sorted(indices) for indices in found]

    def _matches_words(self, form: str) -> set[int]:
        found = set(self._by_form.get(form, ()))
        shingles = _shingles(form)
        for index in self._lsh.query(_minhash(shingles)):
            other = self._shingles[index]
            union = len(shingles | other)
            if union and len(shingles & other) / union >= self._jaccard:
                found.add(index)
        padded = f" {form} "
        for index, other_form in enumerate(self._forms):
            shorter, longer = (form, f" {other_form} ") if len(form) < len(other_form) else (other_form, padded)
            if shorter.count(" ") >= _CONTAINED_WORDS - 1 and f" {shorter} " in longer:
                found.add(index)
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
