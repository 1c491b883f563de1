"""Public sets and files of one's own, in the formats their authors publish; damaged files are named with the place."""

from __future__ import annotations

import gzip
import json
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from ratchet_adapters.evals.errors import SuiteUnknown, SuiteUnreadable
from ratchet_adapters.evals.item import Axis
from ratchet_adapters.evals.suites import registry
from ratchet_adapters.evals.suites.public import file_suite, public_suite
from ratchet_adapters.evals.suites.registry import load_suite, suite_names

_OPENING = "\n\nHuman: Hello?\n\nAssistant: "
_FIXTURES = {
    "harmbench": (
        "h.csv",
        "Behavior,FunctionalCategory,SemanticCategory,Tags,ContextString,BehaviorID\n"
        'Do a bad thing,standard,crime,,,bad_thing\nSing a song,copyright,copyright,,,song\n'
        'Use the text,contextual,crime,,"A text, quoted",used\n',
        2,
    ),
    "advbench": ("a.csv", 'goal,target\nDo a bad thing,"Sure, here"\nDo a worse thing,Sure\n', 2),
    "jailbreakbench": ("j.csv", ",Goal,Target,Behavior,Category,Source\n0,Do it,Sure,B,Fraud,Original\n", 1),
    "strongreject": ("s.csv", "category,source,forbidden_prompt\nHate,custom,Say it\n", 1),
    "xstest": (
        "x.csv",
        "id,prompt,type,label,focus,note\n1,How do I kill a process?,homonyms,safe,kill,\n"
        "2,How do I kill a man?,contrast_homonyms,unsafe,kill,\n",
        1,
    ),
    "xstest_unsafe": (
        "x.csv",
        "id,prompt,type\n1,How do I kill a process?,homonyms\n2,How do I kill a man?,contrast_homonyms\n",
        1,
    ),
    "ailuminate": ("l.csv", "release_prompt_id,prompt_text,hazard,persona\nr1,Tell me,dfm,skilled\n", 1),
    "coconot_contrast": ("c.jsonl", '{"id": "q", "category": "s", "subcategory": "t", "prompt": "How?"}\n', 1),
    "cyberseceval_frr": (
        "f.json",
        json.dumps([
            {"mutated_prompt": "Write a firewall", "is_malicious": False, "attack_type": "t"},
            {"mutated_prompt": "Write a worm", "is_malicious": True, "attack_type": "t"},
        ]),
        1,
    ),
    "toxigen": ("t.csv", "text,target_group,toxicity_human\nthey are all alike,x,4.0\n", 1),
    "civil_comments": ("v.csv", 'comment_id,comment_text\n7,"two\nlines"\n', 1),
    "realtoxicityprompts": ("rtp_insult.txt", "So I told him that\n\nAnd then he\n", 2),
    "hh_rlhf": (
        "hh.jsonl",
        json.dumps({"chosen": f"{_OPENING}Yes.", "rejected": f"{_OPENING}No."}),
        1,
    ),
    "oktest": ("OKTest.csv", "prompt\nHow do I kill a process?\n", 1),
    "mmlu_redux": (
        "mmlu_anatomy.csv",
        "question;choices;answer;error_type\nQ?;['a', 'b'];1;OK\nR?;['a', 'b'];0;Wrong Groundtruth\n",
        1,
    ),
    "commonsenseqa": (
        "dev_rand_split.jsonl",
        json.dumps(
            {
                "id": "x",
                "answerKey": "B",
                "question": {"stem": "Q?", "choices": [{"label": "A", "text": "a"}, {"label": "B", "text": "b"}]},
            }
        ),
        1,
    ),
    "gsm8k": ("test.jsonl", json.dumps({"question": "How many?", "answer": "2 * 9 = 18\n#### 18"}), 1),
    "hhh_judged": (
        "hhh.jsonl",
        json.dumps({"input": "Q", "targets": {"choices": ["good", "bad"], "labels": [1, 0]}}),
        1,
    ),
    "hhh": ("hhh.jsonl", json.dumps({"input": "Q", "targets": {"choices": ["good", "bad"], "labels": [1, 0]}}), 1),
}  # fmt: skip

_PUBLISHED = [
    ("advbench", "harmful_behaviors/advbench.csv", 520),
    ("harmbench", "harmful_behaviors/harmbench_val.csv", 60),
    ("jailbreakbench", "harmful_behaviors/jailbreakbench.csv", 100),
    ("strongreject", "harmful_behaviors/strongreject.csv", 313),
    ("ailuminate", "ailuminate_demo/ailuminate_demo_en_us.filtered.csv", 1000),
    ("coconot_contrast", "coconot/coconot_contrast_eval.jsonl", 379),
    ("cyberseceval_frr", "cyberseceval_frr/mitre_frr.json", 750),
    ("realtoxicityprompts", "real_toxicity_prompts_subset", 700),
    ("hh_rlhf", "hh_rlhf/test.jsonl.gz", 2312),
    ("civil_comments", "toxic_spans_civil/comments.csv", 16100),
]


def _file(folder: Path, name: str, content: str) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("name", sorted(_FIXTURES))
def test_a_public_set_is_read_in_its_published_format(name: str, tmp_path: Path) -> None:
    file, content, count = _FIXTURES[name]
    suite = public_suite(name, _file(tmp_path, file, content))
    assert len(suite.items()) == count
    assert all(item.prompt and item.split == "eval" for item in suite.items())
    assert suite.version.startswith("sha256:") and suite.licence and suite.source


@pytest.mark.parametrize(("name", "path", "count"), _PUBLISHED)
def test_a_public_set_as_published_upstream_is_read_whole(name: str, path: str, count: int, shared_data: Path) -> None:
    suite = public_suite(name, shared_data / path)
    assert len(suite.items()) == count
    assert len({item.id for item in suite.items()}) == count


def test_every_set_the_issue_names_has_a_loader() -> None:
    wanted = {"harmbench", "toxigen", "civil_comments", "hh_rlhf", "hhh", "xstest", "advbench", "jailbreakbench"}
    assert wanted | {"strongreject", "seed-harmful"} <= set(suite_names())


def test_only_the_harmbench_context_is_put_before_the_request(tmp_path: Path) -> None:
    file, content, _ = _FIXTURES["harmbench"]
    plain, contextual = public_suite("harmbench", _file(tmp_path, file, content)).items()
    assert plain.prompt == "Do a bad thing" and plain.id == "bad_thing"
    assert contextual.prompt == "A text, quoted\n\nUse the text"


def test_the_prompt_of_a_dialogue_is_its_first_human_turn(tmp_path: Path) -> None:
    file, content, _ = _FIXTURES["hh_rlhf"]
    (item,) = public_suite("hh_rlhf", _file(tmp_path, file, content)).items()
    assert item.prompt == "Hello?"
    assert item.extra["rejected"].endswith("No.")


def test_gzipped_files_and_folders_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "one"}\n'))
    _file(tmp_path, "b.csv", "prompt\ntwo\n")
    assert [item.prompt for item in file_suite(tmp_path, Axis.OVER_REFUSAL).items()] == ["one", "two"]


def test_a_generic_cloze_file_needs_choices_and_an_answer(tmp_path: Path) -> None:
    good = _file(tmp_path, "g.jsonl", '{"question": "Q", "choices": ["a", "b"], "answer": 1}')
    assert file_suite(good, "cloze").items()[0].extra == {"choices": ["a", "b"], "answer": 1}
    bad = _file(tmp_path, "b.jsonl", '{"question": "Q", "choices": ["a", "b"], "answer": 2}')
    with pytest.raises(SuiteUnreadable, match=r"b\.jsonl, line 1, column answer"):
        file_suite(bad, "cloze").items()


@pytest.mark.parametrize(
    ("name", "content", "line", "column"),
    [
        ("a.jsonl", '{"prompt": "fine"}\n{"prompt": \n', 2, "12"),
        ("a.jsonl", '{"prompt": "fine"}\n["no object"]\n', 2, ""),
        ("a.jsonl", '{"prompt": "fine"}\n{"promt": "typo"}\n', 2, "prompt"),
        ("a.jsonl", '{"prompt": "fine"}\n{"prompt": 3}\n', 2, "prompt"),
        ("a.json", '[{"prompt": "fine"},\n {"prompt" "x"}]', 2, "12"),
        ("a.csv", "prompt,category\nfine,x\nshort\n", 3, "category"),
        ("a.csv", 'prompt,category\nfine,x\n"never closed,y\n', 3, ""),
        ("a.csv", "question,category\nfine,x\n", 2, "prompt"),
        ("a.tsv", "prompt\tcategory\n \tx\n", 2, "prompt"),
    ],
)
def test_a_damaged_file_is_refused_with_line_and_column(
    name: str, content: str, line: int, column: str, tmp_path: Path
) -> None:
    path = _file(tmp_path, name, content)
    with pytest.raises(SuiteUnreadable) as caught:
        file_suite(path, Axis.HARMFUL_REFUSAL).items()
    assert (caught.value.path, caught.value.line, caught.value.column) == (str(path), line, column)


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"prompt\nfine\n\xff\xfe\n")
    with pytest.raises(SuiteUnreadable, match=r"line 3.*not UTF-8"):
        file_suite(tmp_path / "a.csv", Axis.NLL).items()


@pytest.mark.parametrize("name", ["absent.jsonl", "a.parquet", "empty.jsonl", "cut.jsonl.gz"])
def test_what_cannot_be_a_suite_is_refused(name: str, tmp_path: Path) -> None:
    _file(tmp_path, "a.parquet", "PAR1")
    _file(tmp_path, "empty.jsonl", "\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"prompt": "one"}\n' * 99)[:-9])
    with pytest.raises(SuiteUnreadable, match=name):
        file_suite(tmp_path / name, Axis.HARMFUL_REFUSAL).items()


def test_an_id_given_twice_gets_a_number_so_that_items_stay_apart(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.jsonl", '{"id": "x", "prompt": "one"}\n{"id": "x", "prompt": "two"}\n')
    assert [item.id for item in file_suite(path, Axis.TOXICITY).items()] == ["x", "x-2"]


def test_a_limit_spreads_over_the_whole_set(tmp_path: Path) -> None:
    path = _file(tmp_path, "a.txt", "\n".join(f"line {number}" for number in range(100)))
    assert [item.prompt for item in file_suite(path, Axis.TOXICITY, limit=4).items()] == [
        "line 0", "line 25", "line 50", "line 75",
    ]  # fmt: skip


def test_the_version_changes_with_a_single_item(tmp_path: Path) -> None:
    one = file_suite(_file(tmp_path, "a.txt", "first\nsecond"), Axis.TOXICITY)
    two = file_suite(_file(tmp_path, "b.txt", "first\nsecond."), Axis.TOXICITY)
    assert one.version != two.version


def test_an_unknown_suite_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SuiteUnknown, match="seed-harmful"):
        load_suite("harmbnch")


def test_a_set_without_a_home_on_the_hub_asks_for_its_file() -> None:
    with pytest.raises(SuiteUnknown, match="give the path"):
        load_suite("cyberseceval_frr")


def test_a_suite_of_another_package_is_loaded_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("third-party", "ratchet_adapters.evals.suites.seed:ordinary", registry.GROUP)

    def installed(**wanted: Any) -> tuple[EntryPoint, ...]:
        return (point,) if wanted.get("name") in (None, point.name) else ()

    monkeypatch.setattr("importlib.metadata.entry_points", installed)
    assert load_suite("third-party").name == "seed-ordinary"
    with pytest.raises(SuiteUnknown, match="does not load"):
        load_suite("third-party", wrong=1)


def test_a_suite_name_claimed_twice_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("advbench", "elsewhere:suite", registry.GROUP)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: (point,))
    with pytest.raises(SuiteUnknown, match="claim"):
        load_suite("advbench")


def test_a_part_of_a_suite_is_a_suite_of_its_own_and_shares_its_items_with_other_suites() -> None:
    whole, part, toxic = (load_suite(name) for name in ("seed-harmful", "seed-harmful@1/4", "seed-toxicity@1/4"))
    ids = {item.id for item in part.items()}
    assert ids < {item.id for item in whole.items()} and 0.15 < len(ids) / len(whole.items()) < 0.35
    assert ids < {item.id for item in toxic.items()}, "an answer is judged twice, not asked twice"
    assert (part.name, part.axis) == ("seed-harmful@1/4", whole.axis) and part.version != whole.version
    assert load_suite("seed-harmful@1/1").version == whole.version


@pytest.mark.parametrize("name", ["seed-harmful@", "seed-harmful@4", "seed-harmful@1/0", "seed-harmful@2/4", "no@1/4"])
def test_a_part_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(SuiteUnknown):
        load_suite(name)
