"""Files of principles: the shipped one, one's own, and those that can not be used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from ratchet_adapters.datasets.bank import load_bank
from ratchet_adapters.datasets.dataset import Row, RowKind, Split
from ratchet_adapters.training.constitution.errors import (
    ConstitutionInvalid,
)
from ratchet_adapters.training.constitution.principles import read_constitution


def row(kind, category=""):
    return Row("r", kind, Split.TRAIN, category, "x", "", "seed", (), 0)


def test_the_shipped_principles_cover_every_category_and_benign_prompts():
    found, harmful, benign = read_constitution(), row(RowKind.REFUSAL, "cybercrime"), row(RowKind.CONTRAST)
    for category in load_bank().categories:
        assert found.drawn(row(RowKind.REFUSAL, category), 9, 0)
    assert [one.name for one in found.drawn(benign, 9, 0)] == ["no-needless-refusal"]
    assert found.drawn(replace(benign, kind=RowKind.REPLAY), 9, 0) == []
    assert found.drawn(harmful, 2, 0) == found.drawn(harmful, 2, 0)


GOOD = {"name": "one", "applies_to": ["harmful"], "critique": "What is wrong?", "revision": "Write it again."}


def test_a_file_of_ones_own_is_read_and_its_digest_follows_its_content(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"principles": [GOOD]}))
    first = read_constitution(path)
    path.write_text(yaml.safe_dump({"principles": [{**GOOD, "revision": "Write it anew."}]}))
    assert first.digest != read_constitution(path).digest


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "dictionary"),
        ("principles: []", "at least 1"),
        (yaml.safe_dump({"principles": [{**GOOD, "critiqe": "x"}]}), "critiqe"),
        (yaml.safe_dump({"principles": [{k: v for k, v in GOOD.items() if k != "revision"}]}), "revision"),
        (yaml.safe_dump({"principles": [{**GOOD, "applies_to": ["everything"]}]}), "applies_to"),
        (yaml.safe_dump({"principles": [{**GOOD, "critique": " "}]}), "critique"),
        (yaml.safe_dump({"principles": [GOOD, {**GOOD, "applies_to": ["benign"]}]}), "same name"),
        ("a: &x [1]\nprinciples: *x", "alias"),
        ("principles: [", "Error"),
        ("!!python/object/apply:os.system ['true']", "Error"),
        (b"\xff\xfe\x00", "Error"),
    ],
)
def test_a_file_that_can_not_be_used_is_a_typed_error(tmp_path, content, problem):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConstitutionInvalid, match=problem):
        read_constitution(path)
    with pytest.raises(ConstitutionInvalid):
        read_constitution(tmp_path / "absent.yaml")


# Revision
