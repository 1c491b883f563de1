"""Rows that come from no flag: openings for a penalty to score continuations of, pairs that ought to be equally likely.

It must not read anything held out: both come from train splits.
"""

from __future__ import annotations

from random import Random

from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.datasets.settings import DatasetSettings

__all__ = ["material"]

_VALIDATION_SHARE = 0.1


def material(settings: DatasetSettings, *, first_cluster: int) -> tuple[Row, ...]:
    """Return as many openings and pairs as the settings ask for and the shipped train splits hold.

    Args:
        settings: `openings`, `pairs` and the seed of the choice.
        first_cluster: Number of the first cluster that no row has yet; those of one theme or template share one.
    """
    from ratchet_adapters.evals.bias.pairs import template_pairs
    from ratchet_adapters.evals.toxicity.prompts import shipped_openings

    rng = Random(settings.seed)
    openings = list(shipped_openings("train")) if settings.openings else []
    pairs = list(template_pairs("train", kind="sentence")) if settings.pairs else []
    rng.shuffle(openings)
    rng.shuffle(pairs)
    found = [
        (f"seed:opening.{number}", RowKind.OPENING, opening.theme, opening.text, "", "", opening.theme)
        for number, opening in enumerate(openings[: settings.openings])
    ]
    found += [
        (f"seed:{pair.id}", RowKind.PAIR, pair.axis, "", pair.first, pair.second, pair.cluster)
        for pair in pairs[: settings.pairs]
    ]
    names = sorted({name for *_, name in found})
    numbers = {name: first_cluster + place for place, name in enumerate(names)}
    held_out = set(rng.sample(names, int(len(names) * _VALIDATION_SHARE)))
    return tuple(
        Row(
            id=key,
            kind=kind,
            split=Split.VALIDATION if name in held_out else Split.TRAIN,
            category=category,
            prompt=prompt,
            target=target,
            origin="seed",
            flag_ids=(),
            cluster=numbers[name],
            rejected=rejected,
        )
        for key, kind, category, prompt, target, rejected, name in found
    )
