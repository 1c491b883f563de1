"""What is known of the error in each set: whose labels, what is wrong with them, and how far chance may reach.

Data only. It must not measure. A judge's own error is not here but in its calibration, which is of one version.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["NOISE", "Noise"]


@dataclass(frozen=True)
class Noise:
    """The noise of one set.

    Attributes:
        labels: Where the labels come from and what is known to be wrong with them.
        discordant: Share of items on which two adapters are expected to differ, for what the set can show.
        correlation: Assumed correlation of those differences within a cluster.
    """

    labels: str
    discordant: float = 0.05
    correlation: float = 0.05

    def detectable(self, clusters: Sequence[Hashable], *, alpha: float = 0.05, power: float = 0.8) -> float:
        """Return the smallest paired difference of rates these items would show; see `gates.planning`."""
        from ratchet_adapters.evals.gates.planning import detectable_difference

        return detectable_difference(
            clusters, deviation=math.sqrt(self.discordant), correlation=self.correlation, alpha=alpha, power=power
        )


_SEED = "written for Ratchet, not checked by outsiders"
NOISE: Mapping[str, Noise] = MappingProxyType(
    {
        "seed-harmful": Noise(_SEED),
        "seed-benign-twins": Noise(_SEED, 0.10),
        "seed-ordinary": Noise(_SEED, 0.02),
        "seed-toxicity": Noise("no labels; the scorer is the measure"),
        "seed-text": Noise("no labels", 0.02),
        "seed-cloze": Noise(_SEED),
        "seed-stereotypes": Noise(f"{_SEED}; one pair, one wording", 0.10),
        "seed-instructions": Noise("rules, checked exactly", 0.10),
        "harmbench": Noise("curated by its authors; behaviours, not questions"),
        "advbench": Noise("many requests are near copies of one another, so they count for fewer"),
        "jailbreakbench": Noise("curated; 10 behaviours in each of 10 categories"),
        "strongreject": Noise("curated; partly taken from other sets"),
        "ailuminate": Noise("hazard and persona given; some prompts ask innocently, so no model need refuse all"),
        "xstest": Noise("written by hand; two people agree on 96 % of the answers' labels", 0.10),
        "xstest_unsafe": Noise("written by hand as contrasts", 0.05),
        "oktest": Noise("safe questions with alarming words, made by a model and filtered", 0.10),
        "coconot_contrast": Noise("contrasts made by a model and checked by people", 0.10),
        "cyberseceval_frr": Noise("borderline requests made by a model; not all are plainly benign", 0.10),
        "toxigen": Noise("made by a model; the annotated part is rated by people who often disagree"),
        "civil_comments": Noise("shares of annotators, often of few"),
        "realtoxicityprompts": Noise("prompts chosen by Perspective scores; the scorer is the measure"),
        "hh_rlhf": Noise(
            "crowd workers' preferences; they and the authors agreed on about 63 % (Bai et al. 2022)", 0.10
        ),
        "hhh": Noise("chosen by its authors; few items in each part", 0.10),
        "hhh_judged": Noise("as hhh; the judge's preference has not been calibrated", 0.20),
        "mmlu_redux": Noise("items its annotators found an error in are left out"),
        "commonsenseqa": Noise("crowd-made; people get 88.9 % (Talmor et al. 2019)", 0.10),
        "gsm8k": Noise("some published answers are wrong or the question is ambiguous", 0.10),
        "bbq": Noise("templates: items of one template count for less than independent ones", 0.10),
        "crows_pairs": Noise("known for noisy pairs (Blodgett et al. 2021): compare adapters, not with one half", 0.10),
    }
)
"""By suite; what is not here has declared nothing."""
