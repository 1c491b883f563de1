"""One spelling for texts that look alike: what a disguise changes and a reader does not see is taken out.

For comparing only; what is judged by a model or released is never changed. It must not know who compares.
"""

from __future__ import annotations

import unicodedata

__all__ = ["words_of"]

# Letters of other alphabets that are drawn like Latin ones (Unicode TR39, the lower-case ones that are in use).
_LOOKS_LIKE = str.maketrans(
    "аеорсухіјѕԁһӏкмтвнгԛԝαορεικνυτχγωßıł",
    "aeopcyxijsdhlkmtbhrqwaopeiknutxywsil",
)
_LEET = str.maketrans("013457@$", "oieastas")


def words_of(text: str) -> list[str]:
    """Return the words of a text, case, accents, signs, invisible characters and look-alike letters removed.

    Digits inside words that also hold letters are read as the letters they imitate ("b0mb").
    """
    folded = unicodedata.normalize("NFKD", text).casefold()
    # Cf: zero-width and direction marks. Mn: accents. Both are dropped, so that they part no word.
    kept = "".join(c for c in folded if unicodedata.category(c) not in ("Cf", "Mn")).translate(_LOOKS_LIKE)
    plain = "".join(c if c.isalnum() or c in "@$" else " " for c in kept)
    words = (word if word.isdigit() else word.translate(_LEET) for word in plain.split())
    return [word for word in (word.strip("@$") for word in words) if word]
