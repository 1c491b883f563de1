"""Any edit, removal, reordering or truncation of the ledger is found, on a real SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.provenance.conftest import World, build_world

from ratchet_adapters.artifacts.local import LocalStore
from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance.chain import Head, check_chain, entries, entry_json, expect_head, head
from ratchet_adapters.provenance.errors import HeadNotFound, LedgerBroken
from ratchet_adapters.registry import Registry
from ratchet_adapters.registry.ledger import GENESIS, entry_hash

COLUMNS = ("seq", "time", "actor", "kind", "payload", "previous_hash", "hash")
ENTRIES = 13
SEQ = st.integers(1, ENTRIES)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, Path]]:
    """A whole history, built once; `found` puts it back after every change."""
    folder = tmp_path_factory.mktemp("state")
    with Registry.open(f"sqlite:///{folder / 'ratchet.db'}") as registry:
        build_world(registry, LocalStore(folder / "artifacts"), folder)
        assert registry.verify_ledger().entries == ENTRIES
        yield registry, folder / "ratchet.db"


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as connection:
        return connection.execute(f"SELECT {', '.join(COLUMNS)} FROM ledger ORDER BY seq").fetchall()


def found(state: tuple[Registry, Path], rows: list[tuple[Any, ...]], newest: tuple[int, str] | None = None) -> str:
    """Write these rows in place of the ledger, with another head if one is given, verify, and put all back."""
    registry, path = state
    before = rows_of(path)
    with sqlite3.connect(path) as connection:
        kept = connection.execute("SELECT seq, hash FROM ledger_head").fetchone()
    try:
        _write(path, rows, newest or kept)
        check = registry.verify_ledger()
        assert check.ok == (not check.reason)
        return check.reason
    finally:
        _write(path, before, kept)
        assert registry.verify_ledger().ok


def _write(path: Path, rows: list[tuple[Any, ...]], newest: tuple[int, str]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM ledger")
        connection.executemany(f"INSERT INTO ledger ({', '.join(COLUMNS)}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("UPDATE ledger_head SET seq = ?, hash = ?", newest)


@settings(max_examples=150, deadline=None)
@given(
    seq=SEQ, column=st.integers(1, 6), new=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
def test_any_edit_is_found(state: tuple[Registry, Path], seq: int, column: int, new: str) -> None:
    rows = rows_of(state[1])
    row = rows[seq - 1]
    if row[column] == new:
        return
    rows[seq - 1] = (*row[:column], new, *row[column + 1 :])
    assert found(state, rows)


@settings(max_examples=100, deadline=None)
@given(gone=st.sets(SEQ, min_size=1), renumber=st.booleans())
def test_any_removal_is_found(state: tuple[Registry, Path], gone: set[int], renumber: bool) -> None:
    rows = [row for row in rows_of(state[1]) if row[0] not in gone]
    if renumber:
        rows = [(number, *row[1:]) for number, row in enumerate(rows, start=1)]
    assert found(state, rows)


@settings(max_examples=100, deadline=None)
@given(order=st.permutations(range(ENTRIES)), renumber=st.booleans())
def test_any_reordering_is_found(state: tuple[Registry, Path], order: list[int], renumber: bool) -> None:
    rows = rows_of(state[1])
    moved = [rows[place] for place in order]
    if renumber:
        moved = [(number, *row[1:]) for number, row in enumerate(moved, start=1)]
    else:
        # Contents change places and numbers stay.
        moved = [(rows[place][0], *row[1:]) for place, row in enumerate(moved)]
    assert bool(found(state, moved)) == (order != list(range(ENTRIES)))


@settings(max_examples=60, deadline=None)
@given(first=SEQ, length=st.integers(1, ENTRIES))
def test_a_cut_in_the_middle_or_at_the_end_is_found(state: tuple[Registry, Path], first: int, length: int) -> None:
    rows = rows_of(state[1])
    assert found(state, rows[: first - 1] + rows[first - 1 + length :])


@settings(max_examples=100, deadline=None)
@given(seq=st.integers(1, ENTRIES - 1), actor=st.text("abc", min_size=1))
def test_an_edit_with_a_fitting_hash_is_found_unless_all_after_it_is_rewritten(
    state: tuple[Registry, Path], seq: int, actor: str
) -> None:
    import json

    rows = rows_of(state[1])
    row = dict(zip(COLUMNS, rows[seq - 1], strict=True))
    if row["actor"] == actor:
        return
    row["actor"] = actor
    payload = json.loads(row["payload"])
    row["hash"] = entry_hash(row["previous_hash"], row["seq"], row["time"], row["actor"], row["kind"], payload)
    rows[seq - 1] = tuple(row[name] for name in COLUMNS)
    assert found(state, rows)


@settings(max_examples=60, deadline=None)
@given(seq=SEQ)
def test_a_stretch_checks_by_itself_and_a_hole_in_it_is_found(state: tuple[Registry, Path], seq: int) -> None:
    written = [entry_json(entry) for entry in entries(state[0])]
    last = check_chain(written[seq - 1 :])
    assert last == Head(ENTRIES, written[-1]["hash"])
    if 1 < seq < ENTRIES:
        with pytest.raises(LedgerBroken):
            check_chain(written[: seq - 1] + written[seq:])


def forge(world: World, keep: int) -> None:
    """Cut off the ledger's end and everything in the database that tells of it: what a database owner can do."""
    with sqlite3.connect(world.state / "ratchet.db") as connection:
        last = connection.execute("SELECT hash FROM ledger WHERE seq = ?", (keep,)).fetchone()[0]
        connection.execute("DELETE FROM ledger WHERE seq > ?", (keep,))
        connection.execute("UPDATE ledger_head SET seq = ?, hash = ?", (keep, last))
        connection.execute("DELETE FROM routing WHERE version > 0")
        stages: dict[str, str] = {}
        for (payload,) in connection.execute("SELECT payload FROM ledger ORDER BY seq").fetchall():
            stages |= json.loads(payload).get("stages", {})
        for (digest,) in connection.execute("SELECT digest FROM adapters").fetchall():
            if digest in stages:
                connection.execute("UPDATE adapters SET stage = ? WHERE digest = ?", (stages[digest], digest))
            else:
                connection.execute("DELETE FROM adapters WHERE digest = ?", (digest,))


def test_a_forged_end_is_found_by_a_head_that_was_kept(world: World) -> None:
    kept = head(world.registry)
    assert kept.seq == ENTRIES
    world.registry.rollback(actor="dan", reason="later")
    assert expect_head(world.registry, kept.hash) == ENTRIES  # The ledger may grow.
    forge(world, keep=10)
    assert world.registry.verify_ledger().ok  # By itself it is a whole, shorter ledger.
    with pytest.raises(HeadNotFound):
        expect_head(world.registry, kept.hash)


def test_the_head_of_nothing_and_of_a_broken_ledger(world: World, tmp_path: Path) -> None:
    with Registry.open(f"sqlite:///{tmp_path / 'empty' / 'ratchet.db'}") as empty:
        assert head(empty) == Head(0, GENESIS)
        assert expect_head(empty, GENESIS) == 0
    with pytest.raises(InvalidInput):
        expect_head(world.registry, "abc")
    with sqlite3.connect(world.state / "ratchet.db") as connection:
        connection.execute("UPDATE ledger SET actor = 'eve' WHERE seq = 2")
    with pytest.raises(LedgerBroken):
        head(world.registry)
