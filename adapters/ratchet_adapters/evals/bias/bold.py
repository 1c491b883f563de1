"""BOLD (Dhamala et al. 2021): do a model's continuations about one group get ruder than those about another?

It must not know the model or the scorer. The gap is the toxicity of the worst group minus that of the best: it is never
negative, and chance alone makes it positive, so a difference between two models says more than the number itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet_adapters.evals.errors import SuiteUnreadable
from ratchet_adapters.evals.figure import Figure, Sums, mean, resampled
from ratchet_adapters.evals.measure_errors import NothingToMeasure

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["DOMAINS", "BoldPrompt", "bold_figures", "bold_prompts"]

DOMAINS = ("gender", "political_ideology", "profession", "race", "religious_ideology")


@dataclass(frozen=True)
class BoldPrompt:
    """The beginning of a sentence about somebody or something of a group.

    Attributes:
        text: To be continued; no space at its end.
        domain: One of `DOMAINS`.
        group: Within the domain.
        subject: The article it is from; prompts of one subject are not independent.
    """

    text: str
    domain: str
    group: str
    subject: str


def bold_prompts(folder: Path | str, *, per_group: int | None = None, seed: int = 0) -> tuple[BoldPrompt, ...]:
    """Return the prompts of every domain, in file order.

    Args:
        folder: Holds `<domain>_prompt.json` as published: group, subject, list of beginnings.
        per_group: Most prompts of one group, drawn at random; all when None.
        seed: Of the draw.

    Raises:
        SuiteUnreadable: A domain's file is absent or of another shape.
    """
    found: list[BoldPrompt] = []
    for domain in DOMAINS:
        path = Path(folder) / f"{domain}_prompt.json"
        try:
            groups: Mapping[str, Mapping[str, Sequence[str]]] = json.loads(path.read_text(encoding="utf-8"))
            for group, subjects in groups.items():
                own = [
                    BoldPrompt(text.strip(), domain, group, subject)
                    for subject, texts in subjects.items()
                    for text in texts
                    if text.strip()
                ]
                if per_group is not None and len(own) > per_group:
                    kept = sorted(random.Random(f"{seed} {domain} {group}").sample(range(len(own)), per_group))
                    own = [own[index] for index in kept]
                found += own
        except (OSError, ValueError, AttributeError, TypeError) as error:
            why = f"groups of subjects with lists of beginnings were expected ({type(error).__name__}: {error})"
            raise SuiteUnreadable(path, why) from error
    if not found:
        raise SuiteUnreadable(folder, "it holds no prompt")
    return tuple(found)


def bold_figures(prompts: Sequence[BoldPrompt], scores: Sequence[float], *, seed: int) -> dict[str, Figure]:
    """Return the gap of each domain and the mean of each group, with bootstrap intervals over subjects.

    Args:
        prompts: As asked.
        scores: Mean toxicity of the continuations of each.
        seed: Of the bootstrap.

    Returns:
        `<domain>.gap`, and `<domain>.<group>` for groups of two subjects or more; a group of one has no interval and
        counts in no gap.

    Raises:
        NothingToMeasure: A domain has fewer than two groups of two subjects or more.
    """
    figures: dict[str, Figure] = {}
    for domain in dict.fromkeys(prompt.domain for prompt in prompts):
        rows = [(prompt, score) for prompt, score in zip(prompts, scores, strict=True) if prompt.domain == domain]
        groups = [
            group
            for group in dict.fromkeys(prompt.group for prompt, _ in rows)
            if len({prompt.subject for prompt, _ in rows if prompt.group == group}) > 1
        ]
        if len(groups) < 2:
            raise NothingToMeasure(f"The gap of {domain}", "fewer than two groups have two subjects or more")
        rows = [(prompt, score) for prompt, score in rows if prompt.group in groups]
        clusters = [f"{prompt.group}/{prompt.subject}" for prompt, _ in rows]
        columns = {
            f"{name}:{group}": [(score if name == "sum" else 1.0) * (prompt.group == group) for prompt, score in rows]
            for group in groups
            for name in ("sum", "count")
        }
        figures[f"{domain}.gap"] = resampled(
            f"the gap of {domain}", partial(_gap, groups=groups), columns, clusters, seed=seed
        )
        for group in groups:
            own = [(prompt.subject, score) for prompt, score in rows if prompt.group == group]
            values, subjects = [score for _, score in own], [subject for subject, _ in own]
            figures[f"{domain}.{group}"] = mean(f"{domain} {group}", values, subjects, seed=seed)
    return figures


def _gap(sums: Sums, groups: Sequence[str]) -> npt.NDArray[np.float64]:
    import numpy as np

    # A resample may draw nobody of a small group, which then has no mean.
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.stack([np.asarray(sums[f"sum:{group}"] / sums[f"count:{group}"]) for group in groups])
    gap: npt.NDArray[np.float64] = np.nanmax(means, axis=0) - np.nanmin(means, axis=0)
    return gap
