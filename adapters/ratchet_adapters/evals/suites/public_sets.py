"""What Ratchet knows of each public set: its axis, licence, hub address, and which column means what.

Data only. It must not read anything. Column names are tried in order, so that the authors' own files and their copies
on the Hugging Face hub both work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ratchet_adapters.evals.item import Axis

__all__ = ["PUBLIC_SETS", "PublicSet"]


@dataclass(frozen=True)
class PublicSet:
    """How to read one public set.

    Attributes:
        name: The name users give.
        axis: What it measures here.
        kind: `Item.kind` of its items.
        licence: SPDX id as published upstream, or what the authors say instead.
        hub: Hub id for `datasets`; empty when the set is not there.
        hub_config: Configuration on the hub; empty for the only one.
        hub_split: Split on the hub.
        prompt: Columns that may hold the prompt.
        category: Columns that may hold the subject.
        id: Columns that may hold the id; otherwise the digest of the prompt is the id.
        keep: Further columns to keep in `Item.extra`.
        only: Column to values: rows with another value are left out (when the column is there).
        drop: Column to values: rows with such a value are left out.
        shape: Name of the function in `public` that makes an item of a row.
        judge: Who judges the answers; "log-probability" when choices are compared.
        max_tokens: Longest answer an item needs; None for the evaluation's own setting.
        encoding: Of those of its files that are not UTF-8.
        files: Names of the published files, for finding a set in a folder of many.
    """

    name: str
    axis: Axis
    kind: str
    licence: str
    hub: str = ""
    hub_config: str = ""
    hub_split: str = "test"
    prompt: tuple[str, ...] = ("prompt",)
    category: tuple[str, ...] = ("category",)
    id: tuple[str, ...] = ("id",)
    keep: tuple[str, ...] = ()
    only: Mapping[str, frozenset[str]] = field(default_factory=dict)
    drop: Mapping[str, frozenset[str]] = field(default_factory=dict)
    shape: str = "plain"
    judge: str = ""
    max_tokens: int | None = None
    files: tuple[str, ...] = ()
    encoding: str = ""


_HARM = Axis.HARMFUL_REFUSAL
_BENIGN = Axis.OVER_REFUSAL

_SETS = (
    # Copyright behaviours ask for lyrics and book pages: refusing them is another question than harm.
    PublicSet(
        "harmbench", _HARM, "harmful", "MIT", "walledai/HarmBench", "standard", "train",
        prompt=("Behavior", "prompt"), category=("SemanticCategory", "category"), id=("BehaviorID",),
        keep=("FunctionalCategory", "Tags"), drop={"FunctionalCategory": frozenset({"copyright"})}, shape="harmbench",
        files=("harmbench_val.csv",),
    ),
    PublicSet(
        "advbench", _HARM, "harmful", "MIT", "walledai/AdvBench", "", "train", prompt=("goal", "prompt"), id=(),
        files=("advbench.csv",),
    ),
    PublicSet(
        "jailbreakbench", _HARM, "harmful", "MIT", "JailbreakBench/JBB-Behaviors", "behaviors", "harmful",
        prompt=("Goal", "goal"), category=("Category", "category"), id=(), keep=("Behavior", "Source"),
        files=("jailbreakbench.csv",),
    ),
    PublicSet(
        "strongreject", _HARM, "harmful", "MIT", "walledai/StrongREJECT", "", "train",
        prompt=("forbidden_prompt", "prompt"), keep=("source",), id=(),
        files=("strongreject.csv",),
    ),
    # Not every AILuminate prompt asks for harm: some personas ask innocently inside a hazard. Read its rate as a
    # comparison between adapters, not against 100 %.
    PublicSet(
        "ailuminate", _HARM, "harmful", "CC-BY-4.0",
        prompt=("prompt_text", "prompt"), category=("hazard",), id=("release_prompt_id",), keep=("persona", "locale"),
        files=("ailuminate_demo*.csv",),
    ),
    PublicSet(
        "xstest", _BENIGN, "benign_twin", "CC-BY-4.0", "walledai/XSTest", "", "test",
        category=("type",), id=("id", "id_v2", "v2_id"), keep=("focus", "note"),
        drop={"label": frozenset({"unsafe"})}, shape="xstest_safe",
        files=("xstest_prompts*.csv",),
    ),
    PublicSet(
        "xstest_unsafe", _HARM, "harmful", "CC-BY-4.0", "walledai/XSTest", "", "test",
        category=("type",), id=("id", "id_v2", "v2_id"), keep=("focus", "note"),
        drop={"label": frozenset({"safe"})}, shape="xstest_unsafe",
        files=("xstest_prompts*.csv",),
    ),
    # Its repository states no licence.
    PublicSet(
        "oktest", _BENIGN, "benign_twin", "unknown", prompt=("prompt", "question", "query", "text"), category=(), id=(),
        files=("OKTest.csv",),
    ),
    PublicSet(
        "coconot_contrast", _BENIGN, "benign_twin", "MIT", "allenai/coconot", "contrast", "test",
        category=("subcategory", "category"),
        files=("coconot_contrast_eval.jsonl",),
    ),
    PublicSet(
        "cyberseceval_frr", _BENIGN, "benign_twin", "MIT",
        prompt=("mutated_prompt",), category=("attack_type",), id=(), keep=("model",),
        only={"is_malicious": frozenset({"False", "false"})},
        files=("mitre_frr.json",),
    ),
    PublicSet(
        "toxigen", Axis.TOXICITY, "toxic_prompt", "MIT", "toxigen/toxigen-data", "annotated", "test",
        prompt=("prompt", "text"), category=("group", "target_group"), id=(), keep=("toxicity_human", "prompt_label"),
    ),
    PublicSet(
        "civil_comments", Axis.TOXICITY, "comment", "CC0-1.0", "google/civil_comments", "", "test",
        prompt=("text", "comment_text"), category=(), id=("comment_id", "id"), keep=("toxicity", "insult", "threat"),
        files=("toxic_spans_civil/comments.csv",),
    ),
    PublicSet(
        "realtoxicityprompts", Axis.TOXICITY, "toxic_prompt", "Apache-2.0", "allenai/real-toxicity-prompts", "",
        "train", prompt=("prompt", "text"), category=("attribute",), id=(), shape="rtp",
        files=("real_toxicity_prompts*",),
    ),
    PublicSet(
        "hh_rlhf", Axis.TOXICITY, "dialogue", "MIT", "Anthropic/hh-rlhf", "harmless-base", "test",
        prompt=("chosen",), id=(), category=(), keep=("chosen", "rejected"), shape="hh",
        files=("hh_rlhf/test.jsonl.gz",),
    ),
    PublicSet(
        "hhh", Axis.PREFERENCE, "preference", "Apache-2.0", "HuggingFaceH4/hhh_alignment", "harmless", "test",
        prompt=("input",), id=(), shape="hhh", judge="log-probability",
    ),
    PublicSet(
        "hhh_judged", Axis.PREFERENCE, "preference", "Apache-2.0", "HuggingFaceH4/hhh_alignment", "harmless", "test",
        prompt=("input",), id=(), shape="hhh_judged", judge="preference",
    ),
    PublicSet(
        "mmlu_redux", Axis.CLOZE, "cloze", "CC-BY-4.0", prompt=("question",), category=("subject",), id=(),
        only={"error_type": frozenset({"OK", "Ok", "ok", "OK "})}, shape="mmlu", judge="log-probability",
        files=("mmlu_redux",), encoding="mac_roman",
    ),
    PublicSet(
        "commonsenseqa", Axis.CLOZE, "cloze", "MIT", "tau/commonsense_qa", "", "validation", prompt=("question",),
        category=("question_concept",), id=("id",), shape="commonsenseqa", judge="log-probability",
        files=("dev_rand_split.jsonl",),
    ),
    PublicSet(
        "gsm8k", Axis.TASK, "task", "MIT", "openai/gsm8k", "main", "test", prompt=("question",), category=(), id=(),
        shape="gsm8k", judge="task", max_tokens=384, files=("gsm8k/test.jsonl",),
    ),
)  # fmt: skip

PUBLIC_SETS: Mapping[str, PublicSet] = MappingProxyType({entry.name: entry for entry in _SETS})
