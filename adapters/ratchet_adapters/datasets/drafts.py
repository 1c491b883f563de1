"""Which prompts a dataset is made of, before anything answers them: refusals, contrast, replay, anchors.

It must not know what answers them, nor how rows are split. It counts why each prompt that is not taken was left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random

from ratchet_adapters.datasets.categories import categories
from ratchet_adapters.datasets.dataset import RowKind
from ratchet_adapters.datasets.extra_contrast import ContrastFile
from ratchet_adapters.datasets.label_noise import LabelCheck, Labelled, check_labels
from ratchet_adapters.datasets.near_duplicates import Embed, NearDuplicates, clusters
from ratchet_adapters.datasets.scrub import scrubbed
from ratchet_adapters.datasets.seed import SeedData
from ratchet_adapters.datasets.selection import CONTRAST, REFUSE, Lesson, Selection
from ratchet_adapters.datasets.settings import DatasetSettings
from ratchet_plugins.pii.recognisers import scrub_pii

__all__ = ["Draft", "Drafting", "Wanted"]

_TWIN = "benign_twin"
_ORDINARY = "ordinary"
_HARMFUL = "harmful"
_TEXT = "text"
_ANCHOR_WORDS = 45


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before it has a target, a split and a cluster. An anchor's prompt is empty and its text known."""

    id: str
    kind: RowKind
    prompt: str
    origin: str
    category: str = ""
    flag_ids: tuple[str, ...] = ()
    flagged: str = ""
    """What was answered to it and flagged, as it came from traffic."""


@dataclass(frozen=True)
class Wanted:
    """What traffic and extra files ask to teach, after the checks, and what the check of labels found."""

    refuse: tuple[Lesson, ...]
    contrast: tuple[Draft, ...]
    labels: LabelCheck
    doubted: tuple[tuple[str, ...], ...]
    """Flag ids, or the draft's id, of each issue of `labels`, in its order."""


@dataclass(frozen=True)
class Drafting:
    """Chooses prompts; the same inputs give the same choice.

    Attributes:
        data: Seed prompts.
        guard: Evaluation texts.
        settings: Bounds and mix.
        rng: Of the seed.
        embed: Texts to unit vectors, or None.
        dropped: Reason to number of prompts left out; counted up.
        pii: Kind of entity to number replaced; counted up.
    """

    data: SeedData
    guard: NearDuplicates
    settings: DatasetSettings
    rng: Random
    embed: Embed | None
    dropped: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)

    def wanted(self, selection: Selection, files: Sequence[ContrastFile]) -> Wanted:
        """Return what may be taught of the lessons and the extra prompts.

        Prompts the seed suites hold as the opposite are left out: an accepted flag can be a mistake or an attack.
        """
        lessons = {kind: [one for one in selection.lessons if one.kind == kind] for kind in (REFUSE, CONTRAST)}
        benign = [*self.data.of(_TWIN), *self.data.of(_ORDINARY)]
        refuse = self._not_like(lessons[REFUSE], [s.prompt for s in benign], "curated_as_benign")
        harmful = [s.prompt for s in self.data.of(_HARMFUL)]
        over = self._not_like(lessons[CONTRAST], harmful, "curated_as_harmful")
        contrast = [
            Draft(f"flag:{one.flag_ids[0]}", RowKind.CONTRAST, one.prompt, "flag", "", one.flag_ids) for one in over
        ]
        contrast += self._extra(files, [*harmful, *(one.prompt for one in lessons[REFUSE])])
        if self.settings.label_check == "off":
            return Wanted(tuple(refuse), tuple(contrast), LabelCheck(why_not="the settings say off"), ())
        return self._checked(refuse, contrast)

    def refusals(self, wanted: Wanted) -> list[Draft]:
        """Prompts to refuse: those of flags first, then as many of the seed as the settings ask for."""
        harmful = self.data.of(_HARMFUL)
        least = self.settings.category_similarity
        names = categories([one.prompt for one in wanted.refuse], harmful, embed=self.embed, least_similarity=least)
        drafts = [
            Draft(f"flag:{one.flag_ids[0]}", RowKind.REFUSAL, one.prompt, "flag", name, one.flag_ids, one.answer)
            for one, name in zip(wanted.refuse, names, strict=True)
        ]
        seeds = self.rng.sample(harmful, min(self.settings.seed_harmful, len(harmful)))
        drafts += [Draft(f"seed:{s.id}", RowKind.REFUSAL, s.prompt, "seed", s.category) for s in seeds]
        return self._kept(drafts, self.settings.max_refusals)

    def benign(self, wanted: Wanted, refusals: int) -> list[Draft]:
        """Prompts to answer: contrast from flags and extra files, then seed twins; replay from ordinary prompts."""
        numbers = self.settings
        contrast = [*wanted.contrast, *self._seeds(_TWIN, RowKind.CONTRAST)]
        replay = self._seeds(_ORDINARY, RowKind.REPLAY)
        most = min(numbers.max_contrast, max(numbers.min_contrast, round(refusals * numbers.contrast_per_refusal)))
        replayed = min(numbers.max_replay, max(numbers.min_replay, round(refusals * numbers.replay_per_refusal)))
        return [*self._kept(contrast, most), *self._kept(replay, replayed)]

    def anchors(self) -> list[tuple[Draft, str]]:
        """Plain text in pieces, on which training holds the adapter to the base model."""
        if not self.settings.anchors:
            return []
        pieces = []
        for item in self.data.of(_TEXT):
            words = self._clean(item.prompt).split()
            texts = [" ".join(words[i : i + _ANCHOR_WORDS]) for i in range(0, len(words), _ANCHOR_WORDS)]
            pieces += [
                (Draft(f"seed:{item.id}.{number}", RowKind.ANCHOR, "", "seed", item.category), text)
                for number, text in enumerate(texts)
                if len(text.split()) >= _ANCHOR_WORDS // 2
            ]
        found = self.guard.matches([text for _, text in pieces])
        self.dropped["evaluation_item"] += sum(map(bool, found))
        return [piece for piece, matches in zip(pieces, found, strict=True) if not matches]

    def _seeds(self, kind: str, taught: RowKind) -> list[Draft]:
        prompts = self.data.of(kind)
        mixed = self.rng.sample(prompts, len(prompts))
        return [Draft(f"seed:{s.id}", taught, s.prompt, "seed", s.category) for s in mixed]

    def _not_like(self, lessons: Sequence[Lesson], curated: Sequence[str], reason: str) -> list[Lesson]:
        # Words only: embeddings put a twin close to the harmful prompt it imitates.
        found = NearDuplicates(curated, jaccard=self.settings.jaccard).matches([one.prompt for one in lessons])
        self.dropped[reason] += sum(map(bool, found))
        return [lesson for lesson, matches in zip(lessons, found, strict=True) if not matches]

    def _extra(self, files: Sequence[ContrastFile], harmful: Sequence[str]) -> list[Draft]:
        drafts = []
        for file in files:
            for number, prompt in enumerate(file.prompts, start=1):
                clean = scrubbed(prompt, self.settings.phone_regions)
                self.pii.update(clean.found)
                if not any(map(str.isalnum, clean.text)) or len(clean.text) > self.settings.max_prompt_chars:
                    self.dropped["extra_empty_or_long"] += 1
                    continue
                # The file's digest in the id: two files of the same name are not confused.
                name = f"extra:{file.digest.removeprefix('sha256:')[:12]}.{number}"
                drafts.append(Draft(name, RowKind.CONTRAST, clean.text, "extra"))
        found = NearDuplicates(harmful, jaccard=self.settings.jaccard).matches([draft.prompt for draft in drafts])
        kept = [draft for draft, matches in zip(drafts, found, strict=True) if not matches]
        self.dropped["extra_is_harmful"] += len(drafts) - len(kept)
        most = self.settings.max_extra_contrast
        self.dropped["extra_bound"] += max(0, len(kept) - most)
        return kept[:most]

    def _checked(self, refuse: Sequence[Lesson], contrast: Sequence[Draft]) -> Wanted:
        doubted = [Labelled(one.prompt, True) for one in refuse] + [Labelled(one.prompt, False) for one in contrast]
        ids = [one.flag_ids for one in refuse] + [one.flag_ids or (one.id,) for one in contrast]
        trusted = [
            Labelled(s.prompt, kind == _HARMFUL) for kind in (_HARMFUL, _TWIN, _ORDINARY) for s in self.data.of(kind)
        ]
        check = check_labels(doubted, trusted, embed=self.embed, seed=self.settings.seed)
        wrong = set[int]()
        if self.settings.label_check == "drop":
            wrong = {issue.index for issue in check.issues if issue.probability >= self.settings.label_confidence}
        self.dropped["label_probably_wrong"] += len(wrong)
        return Wanted(
            tuple(one for index, one in enumerate(refuse) if index not in wrong),
            tuple(one for index, one in enumerate(contrast, start=len(refuse)) if index not in wrong),
            check,
            tuple(ids[issue.index] for issue in check.issues),
        )

    def _kept(self, drafts: Sequence[Draft], most: int) -> list[Draft]:
        """The first `most` drafts that repeat no earlier draft and no evaluation text, scrubbed."""
        drafts = [replace(draft, prompt=self._clean(draft.prompt)) for draft in drafts]
        found = self.guard.matches([draft.prompt for draft in drafts])
        clean = [draft for draft, matches in zip(drafts, found, strict=True) if not matches]
        self.dropped["evaluation_item"] += len(drafts) - len(clean)
        numbers = clusters([draft.prompt for draft in clean], jaccard=self.settings.jaccard)
        first = [draft for index, (draft, number) in enumerate(zip(clean, numbers, strict=True)) if index == number]
        self.dropped["near_duplicate"] += len(clean) - len(first)
        self.dropped["cap"] += max(0, len(first) - most)
        return first[:most]

    def _clean(self, text: str) -> str:
        result = scrub_pii(text, self.settings.phone_regions)
        self.pii.update(result.found)
        return result.text
