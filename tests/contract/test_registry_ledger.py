"""The ledger finds every change made behind its back: of any field, of its order, of its end, of the routing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ratchet_adapters.flags import FlagStore, NewFlag
from ratchet_adapters.registry import Registry, RegistryTooNew
from ratchet_adapters.registry.ledger import GENESIS, entry_hash

FIELDS = ["seq", "time", "actor", "kind", "payload", "previous_hash", "hash"]


@pytest.fixture
def history(
    registry: Registry, flag_store: FlagStore, promoted: Callable[[str], str], new_flag: Callable[..., NewFlag]
) -> Registry:
    """A registry with ten ledger entries."""
    for name in "abc":
        promoted(name)
    flag_store.submit([new_flag()])
    assert registry.verify_ledger().entries == 10
    return registry


def tamper(registry: Registry, statement: str, **values: object) -> None:
    """Change the database behind the registry's back."""
    with registry.database.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


def test_an_untouched_ledger_verifies(history: Registry) -> None:
    check = history.verify_ledger()
    assert (check.ok, check.entries, check.first_bad_seq, check.reason) == (True, 10, None, "")


def test_entries_chain_from_the_genesis_hash(history: Registry) -> None:
    previous = GENESIS
    for number, entry in enumerate(history.ledger(), start=1):
        time = entry.time.isoformat(timespec="microseconds")
        assert (entry.seq, entry.previous_hash) == (number, previous)
        assert entry.hash == entry_hash(previous, entry.seq, time, entry.actor, entry.kind, entry.payload)
        previous = entry.hash
    assert [entry.seq for entry in history.ledger(after_seq=7)] == [8, 9, 10]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seq=st.integers(1, 10),
    field=st.sampled_from(FIELDS),
    spot=st.integers(0, 10_000),
    letter=st.sampled_from("0aZ {}\"'é"),
)
def test_any_change_of_one_field_is_found(history: Registry, seq: int, field: str, spot: int, letter: str) -> None:
    query = text("SELECT * FROM ledger WHERE seq = :seq")
    with history.database.engine.begin() as connection:
        before = connection.execute(query, {"seq": seq}).mappings().one()[field]
    if field == "seq":
        after: object = 100 + spot
    else:
        at = spot % (len(before) + 1)
        after = before[:at] + letter + before[at + 1 :]
        if after == before:
            return
        if field in {"previous_hash", "hash"} and len(str(after)) > 64:
            return  # PostgreSQL refuses it by itself.
    tamper(history, f"UPDATE ledger SET {field} = :after WHERE seq = :seq", after=after, seq=seq)
    try:
        check = history.verify_ledger()
        assert not check.ok
        assert check.first_bad_seq in {seq, seq + 1, 100 + spot}
        assert check.reason
    finally:
        at_seq = after if field == "seq" else seq
        tamper(history, f"UPDATE ledger SET {field} = :before WHERE seq = :seq", before=before, seq=at_seq)
    assert history.verify_ledger().ok


@pytest.mark.parametrize("seq", [1, 5, 10])
def test_a_removed_entry_is_found(history: Registry, seq: int) -> None:
    tamper(history, "DELETE FROM ledger WHERE seq = :seq", seq=seq)
    check = history.verify_ledger()
    assert not check.ok
    assert check.first_bad_seq in {seq, seq + 1}


def test_a_removed_ledger_or_head_is_found(history: Registry) -> None:
    tamper(history, "DELETE FROM ledger")
    assert not history.verify_ledger().ok
    tamper(history, "DELETE FROM ledger_head")
    assert not history.verify_ledger().ok  # The routing is there, and no entry explains it.


def test_an_entry_rewritten_with_its_own_hash_is_found_at_the_next(history: Registry) -> None:
    entry = history.ledger(after_seq=3, limit=1)[0]
    time = entry.time.isoformat(timespec="microseconds")
    forged = entry_hash(entry.previous_hash, entry.seq, time, "eve", entry.kind, entry.payload)
    tamper(history, "UPDATE ledger SET actor = 'eve', hash = :hash WHERE seq = 4", hash=forged)
    assert history.verify_ledger().first_bad_seq == 5


@pytest.mark.parametrize("change", ["SET champion = ''", "SET version = 77, below = NULL"])
def test_a_routing_the_ledger_does_not_explain_is_found(history: Registry, change: str) -> None:
    tamper(history, f"UPDATE routing {change} WHERE version = 3")
    check = history.verify_ledger()
    assert not check.ok
    assert "routing" in check.reason


def test_a_database_of_a_newer_version_is_refused(registry: Registry, database_url: str) -> None:
    tamper(registry, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(RegistryTooNew) as caught:
        Registry.open(database_url)
    assert caught.value.revision == "9999"


def test_the_ledger_survives_reopening(history: Registry, database_url: str, tmp_path: Path) -> None:
    with Registry.open(database_url) as again:
        assert again.ledger() == history.ledger()
        assert again.verify_ledger().ok
