"""Mixes are read strictly, and extra prompts and the datasheet find their way into a version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.datasets.conftest import make

from ratchet_adapters.datasets.dataset import RowKind, read_dataset
from ratchet_adapters.datasets.datasheet import DATASHEET
from ratchet_adapters.datasets.errors import ContrastFileInvalid, DatasetInvalid, MixInvalid, MixUnknown
from ratchet_adapters.datasets.extra_contrast import read_contrast
from ratchet_adapters.datasets.mix import load_mix, mix_names, read_mix
from ratchet_adapters.datasets.settings import DatasetSettings


def test_the_default_mix_is_the_default_settings():
    assert load_mix("refusal") == DatasetSettings()


def test_every_shipped_mix_can_be_read():
    assert mix_names() == ("balanced-15-20-65", "refusal", "refusals-only")
    assert all(isinstance(load_mix(name), DatasetSettings) for name in mix_names())


def test_refusals_only_holds_nothing_but_refusals(world):
    dataset = make(world, [world.flag(i) for i in range(20)], settings=read_mix("refusals-only"))
    assert {row.kind for row in dataset.rows} == {RowKind.REFUSAL} and len(dataset.rows) == 20


def test_the_balanced_mix_has_the_shares_of_its_name(world):
    dataset = make(world, [world.flag(i, principal=f"p{i}") for i in range(9)],
                   settings={**read_mix("balanced-15-20-65"), "min_refusals": 1})  # fmt: skip
    assert dataset.counts == {"refusal": 9, "contrast": 12, "replay": 39}


@pytest.mark.parametrize(
    ("content", "line", "key"),
    [
        ("seed: 1\nmax_refusal: 3\n", 2, "max_refusal"),
        ("seed: 1\n\nseed: 2\n", 3, "seed"),
        ("seed: 1\nmax_refusals: many\n", 2, "max_refusals"),
        ("# none\nmax_refusals: -1\n", 2, "max_refusals"),
        ("principal_limits:\n  a: 1\n  a: 2\n", 3, "a"),
        ("seed: [1\n", 2, ""),
        ("- seed\n", 0, ""),
        ("", 0, ""),
        ("1: 2\n", 1, ""),
        ("a: &x [1]\nb: *x\n", 0, ""),
        ("seed: !!python/object/apply:os.getcwd []\n", 1, ""),
    ],
)
def test_a_broken_mix_is_named_by_line_and_key(tmp_path, content, line, key):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(MixInvalid, match=r"mine\.yaml") as caught:
        read_mix(str(path))
    assert (caught.value.line, caught.value.key) == (line, key)


def test_an_unknown_mix_is_named_with_those_there_are():
    with pytest.raises(MixUnknown, match="refusals-only"):
        read_mix("everything")
    with pytest.raises(MixInvalid, match="no file"):
        read_mix("/nowhere/at/all.yaml")


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return path


def test_extra_prompts_become_contrast_rows_with_the_base_models_answers(world, tmp_path):
    asked = "How do bakers kill yeast in a failed dough? Write to ann@mail.example"
    path = lines(tmp_path / "twins.jsonl", {"prompt": asked, "kind": "benign_twin"},
                 {"prompt": world.harmful(0), "kind": "benign_twin"},
                 {"prompt": world.guarded, "kind": "benign_twin"})  # fmt: skip
    dataset = make(world, [world.flag(i) for i in range(4)], settings={"extra_contrast": (path,)})
    (row,) = [row for row in dataset.rows if row.origin == "extra"]
    assert row.kind is RowKind.CONTRAST and row.prompt.endswith("Write to <EMAIL>") and row.prompt in row.target
    assert dataset.manifest["dropped"]["extra_is_harmful"] == 1 and dataset.manifest["dropped"]["evaluation_item"] == 1
    source = next(one for one in dataset.manifest["sources"] if "twins.jsonl" in one["name"])
    assert source["rows"] == 1 and source["digest"] == read_contrast(path).digest
    assert str(tmp_path) not in json.dumps(dataset.manifest)


def test_only_so_many_extra_prompts_are_taken(world, tmp_path):
    rows = [{"prompt": f"Explain glaze{i} kiln{i} clay{i} wheel{i}", "kind": "benign_twin"} for i in range(6)]
    settings = {"extra_contrast": (lines(tmp_path / "a.jsonl", *rows),), "max_extra_contrast": 2}
    dataset = make(world, [world.flag(i) for i in range(4)], settings=settings)
    assert sum(row.origin == "extra" for row in dataset.rows) == 2 and dataset.manifest["dropped"]["extra_bound"] == 4


@pytest.mark.parametrize(
    "bad",
    ["{\n", "[]\n", {"prompt": "x"}, {"prompt": "x", "kind": "harmful"}, {"prompt": " ", "kind": "benign_twin"},
     {"prompt": 1, "kind": "benign_twin"}, {"prompt": "x", "kind": "benign_twin", "more": 1},
     {"prompt": "fine", "kind": "benign_twin"}],
)  # fmt: skip
def test_a_line_that_is_anything_else_is_refused_by_its_number(tmp_path, bad):
    with pytest.raises(ContrastFileInvalid, match="line 2") as caught:
        read_contrast(lines(tmp_path / "a.jsonl", {"prompt": "fine", "kind": "benign_twin"}, bad))
    assert caught.value.line == 2


def test_a_file_that_is_not_there_or_empty_is_refused(tmp_path):
    for path in (tmp_path / "none.jsonl", lines(tmp_path / "empty.jsonl", "\n")):
        with pytest.raises(ContrastFileInvalid):
            read_contrast(path)
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(ContrastFileInvalid, match="UTF-8"):
        read_contrast(tmp_path / "latin.jsonl")


def test_the_datasheet_says_what_the_manifest_says_and_is_checked(world, tmp_path):
    dataset = make(world, [world.flag(i) for i in range(4)] + [world.flag(9, reviewer="")])
    folder = dataset.write(tmp_path / "d")
    page = (folder / DATASHEET).read_text()
    assert dataset.manifest["rows_digest"] in page and "Apache-2.0" in page and "| f0009 | claim |" in page
    assert "Not checked: there are no embeddings." in page and "0 rows leak" in page
    assert read_dataset(folder) == dataset
    (folder / DATASHEET).write_text(page.replace("0 rows leak", "no rows leak"))
    with pytest.raises(DatasetInvalid, match="datasheet"):
        read_dataset(folder)
    (folder / DATASHEET).unlink()
    with pytest.raises(DatasetInvalid, match="datasheet"):
        read_dataset(folder)


def test_two_builds_write_the_same_bytes(world, tmp_path):
    flags = [world.flag(i) for i in range(6)]
    one, two = make(world, flags).write(tmp_path / "1"), make(world, flags[::-1]).write(tmp_path / "2")
    assert {p.name: p.read_bytes() for p in one.iterdir()} == {p.name: p.read_bytes() for p in two.iterdir()}


def test_the_manifest_names_no_principal(world):
    flags = [world.flag(i, principal="ann@mail.example") for i in range(12)]
    manifest = make(world, flags).manifest
    assert "ann@mail.example" not in json.dumps(manifest)
    assert manifest["caps"]["most_rows_of_one_principal"] == manifest["caps"]["max_items_per_principal"] == 8
