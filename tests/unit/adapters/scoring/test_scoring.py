"""Bulk scoring: a bad row is named before anything is scored, and a started folder is continued."""

from __future__ import annotations

import json

import pytest

from ratchet_adapters.scoring import running
from ratchet_adapters.scoring.errors import LogUnreadable, OutputOfOtherJob, RowInvalid, ScoringFailed
from ratchet_adapters.scoring.log import check_log, read_part
from ratchet_adapters.scoring.plan import MANIFEST, Plan, plan

GOOD = [{"id": f"r{n}", "prompt": f"question {n}", "completion": f"answer {n}\u2028 so"} for n in range(7)]


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parquet(path, columns, **options):
    import pyarrow
    from pyarrow.parquet import write_table

    write_table(pyarrow.table(columns), path, **options)
    return path


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_the_parts_of_a_log_are_its_rows_in_order(tmp_path, ending):
    path = tmp_path / f"log.{ending}"
    if ending == "jsonl":
        jsonl(path, GOOD)
    else:
        parquet(path, {name: [row[name] for row in GOOD] for name in GOOD[0]}, row_group_size=2)
    log = check_log(path, 3)
    assert log.rows == 7 and [log.rows_of(part) for part in range(3)] == [3, 3, 1]
    rows = [row for part in range(3) for row in read_part(log, part)]
    assert [row.line for row in rows] == list(range(1, 8))
    assert [(row.id, row.prompt, row.completion) for row in rows] == [tuple(row.values()) for row in GOOD]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("", "it is empty"),
        ("{", "not JSON"),
        ("[1]", "list, not an object"),
        ('{"prompt": "a"}', "no completion"),
        ('{"completion": "a"}', "no prompt"),
        ('{"prompt": "a", "completion": 3}', "completion is int"),
        ('{"prompt": null, "completion": "b"}', "prompt is NoneType"),
        ('{"prompt": "a", "completion": "b", "user": "c"}', "unknown field 'user'"),
        ('{"prompt": "\\ud800", "completion": "b"}', "surrogate"),
    ],
)
def test_a_bad_line_is_named(tmp_path, bad, says):
    path = jsonl(tmp_path / "log.jsonl", GOOD[:3])
    path.write_text(path.read_text() + bad + "\n" + json.dumps(GOOD[0]) + "\n")
    with pytest.raises(RowInvalid, match=says) as caught:
        check_log(path, 2)
    assert caught.value.line == 4 and "line 4" in str(caught.value)


def test_bytes_that_are_no_text_are_named_too(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"prompt": "\xff", "completion": ""}\n')
    with pytest.raises(RowInvalid, match="line 1"):
        check_log(path, 2)


def test_files_that_are_no_log_are_refused(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    fake = tmp_path / "fake.parquet"
    fake.write_bytes(b"no parquet")
    for path, says in [
        (tmp_path / "log.csv", ".csv"),
        (tmp_path / "absent.jsonl", "No such file"),
        (empty, "no rows"),
        (fake, "not Parquet"),
        (parquet(tmp_path / "a.parquet", {"prompt": ["a"]}), "no column 'completion'"),
        (parquet(tmp_path / "b.parquet", {"prompt": ["a"], "completion": [1]}), "holds int64"),
        (parquet(tmp_path / "c.parquet", {"prompt": ["a"], "completion": ["b"], "x": ["c"]}), "unknown column 'x'"),
    ]:
        with pytest.raises(LogUnreadable, match=says):
            check_log(path, 2)
    with pytest.raises(RowInvalid, match="line 2: completion is NoneType"):
        check_log(parquet(tmp_path / "d.parquet", {"prompt": ["a", "b"], "completion": ["c", None]}), 2)


def test_a_file_that_changes_while_it_is_scored_is_an_error(tmp_path):
    log = check_log(jsonl(tmp_path / "log.jsonl", GOOD), 3)
    jsonl(log.path, GOOD[:4])
    with pytest.raises(RowInvalid, match="line 7"):
        read_part(log, 2)


def test_a_folder_of_another_job_is_refused(tmp_path):
    log = check_log(jsonl(tmp_path / "log.jsonl", GOOD), 3)
    made = plan(log, tmp_path / "out")
    assert plan(log, tmp_path / "out") == made and Plan.from_json(made.to_json()) == made
    with pytest.raises(OutputOfOtherJob, match="rows_per_part"):
        plan(check_log(log.path, 4), tmp_path / "out")
    other = check_log(jsonl(tmp_path / "other.jsonl", GOOD[:5]), 3)
    with pytest.raises(OutputOfOtherJob, match="input, rows"):
        plan(other, tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_text("{")
    with pytest.raises(OutputOfOtherJob, match="damaged"):
        plan(log, tmp_path / "out")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").touch()
    with pytest.raises(OutputOfOtherJob, match="no manifest"):
        plan(log, tmp_path / "foreign")


def test_only_parts_that_are_missing_are_scored_and_the_scores_are_the_scorers(tmp_path):
    from ratchet_plugins.scorers.registry import load_scorer

    log = check_log(jsonl(tmp_path / "log.jsonl", GOOD), 3)
    made = plan(log, tmp_path / "out")
    made.write(0, [{"line": 1, "here": "before"}])
    done: dict[int, int] = {}
    running.score_locally(made, 1, done.__setitem__)
    assert done == {1: 3, 2: 1} and made.pending == ()
    assert "before" in made.file(0).read_text()
    rows = [json.loads(line) for line in made.file(1).read_text().splitlines()]
    assert [(row["line"], row["id"]) for row in rows] == [(4, "r3"), (5, "r4"), (6, "r5")]
    texts = {"triage": "prompt", "refusal": "completion", "toxicity": "completion"}
    for name, field in texts.items():
        scores = load_scorer(name).score([row[field] for row in GOOD[3:6]])
        for label in load_scorer(name).labels:
            assert [row[f"{name}.{label}"] for row in rows] == pytest.approx([s[label] for s in scores], abs=1e-4)
    running.score_locally(made, 1, lambda part, rows: pytest.fail("nothing is pending"))


def test_a_worker_that_dies_is_a_typed_error(tmp_path, monkeypatch):
    made = plan(check_log(jsonl(tmp_path / "log.jsonl", GOOD), 3), tmp_path / "out")
    monkeypatch.setattr(running, "_load", _die)
    with pytest.raises(ScoringFailed, match="worker process died"):
        running.score_locally(made, 1, lambda part, rows: None)
    assert made.pending == (0, 1, 2)


def _die(plan, parent):
    import os

    os._exit(9)
