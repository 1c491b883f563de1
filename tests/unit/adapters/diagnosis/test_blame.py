"""The nearest rows are found, and compared with those of answered prompts."""

from __future__ import annotations

import pytest
from tests.unit.adapters.diagnosis.conftest import embed, make_case, make_row

from ratchet_adapters.datasets.dataset import RowKind, Split
from ratchet_adapters.diagnosis.blame import blame
from ratchet_adapters.diagnosis.case import Did

ROWS = [
    make_row("kill my neighbour tonight", flags=("f1",)),
    make_row("kill my rival quickly", split=Split.VALIDATION),
    make_row("bake some bread at home", RowKind.REPLAY),
    make_row("", RowKind.ANCHOR),
]


def test_the_nearest_row_and_its_flags_are_named() -> None:
    refused = [make_case("kill my process tonight", Did.REFUSED), make_case("kill my lights tonight", Did.PARTIAL)]
    answered = [make_case("bake some rolls at home", Did.COMPLIED)]
    found = blame(refused, answered, ROWS, embed, neighbours=2)
    assert found.rows == {"refusal": 1, "replay": 1}
    first, second = found.nearest[refused[0].question.id]
    assert first.prompt == "kill my neighbour tonight" and first.flag_ids == ("f1",)
    assert first.cosine == pytest.approx(0.75) and second.kind == "replay"
    assert (found.refused_near_refusal, found.refused) == (2, 2)
    assert (found.answered_near_refusal, found.answered) == (0, 1)
    assert [(s.neighbour.row, s.refusals) for s in found.suspects] == [("row:kill my neighbour tonight", 2)]


def test_a_row_that_taught_an_answer_is_no_suspect() -> None:
    found = blame([make_case("bake some bread", Did.REFUSED)], [], ROWS, embed, neighbours=1)
    assert found.suspects == () and found.refused_near_refusal == 0


def test_without_rows_or_refusals_there_is_nothing_to_blame() -> None:
    assert blame([make_case("kill", Did.REFUSED)], [], [ROWS[3]], embed, neighbours=3).nearest == {}
    assert blame([], [], ROWS, embed, neighbours=3).suspects == ()
