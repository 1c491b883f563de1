"""Look-ups stay flat however many adapters there are: no statement of theirs reads a table from end to end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from ratchet_adapters.registry import AdapterRecord, Registry

MANY = 20_000
_FILL = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT :after + 1 UNION ALL SELECT i + 1 FROM n WHERE i < :after + :many) ",
    "postgresql": "WITH n AS (SELECT i + CAST(:after AS bigint) AS i FROM generate_series(1, :many) AS s(i)) ",
}
_HASH = {
    "sqlite": "printf('%08x%056x', (i * 2654435761) % 4294967296, i)",
    "postgresql": "lpad(to_hex((i * 2654435761) % 4294967296), 8, '0') || lpad(to_hex(i), 56, '0')",
}


def fill(registry: Registry, many: int, *, after: int = 0) -> None:
    """Put many adapters in at once, beyond those that earlier calls put in."""
    with registry.database.engine.begin() as connection:
        kind = connection.dialect.name
        insert = (
            "INSERT INTO adapters (digest, seq, name, base_fingerprint, rank, alpha, target_modules, size_bytes,"
            " run_id, created_by, created_at, stage, proof) "
        )
        rows = (
            f"SELECT 'sha256:' || {_HASH[kind]}, i + 9, 'n', 'sha256:{'b' * 64}', 8, 16.0, '[]', 1, '', 't',"
            " '2026-01-01 00:00:00.000000', 'registered', 'null' FROM n"
        )
        connection.execute(text(f"{_FILL[kind]} {insert} {rows}"), {"many": many, "after": after})
        connection.execute(text("ANALYZE"))


@contextmanager
def statements(registry: Registry) -> Iterator[list[tuple[str, Any]]]:
    """Every SELECT that is sent, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            seen.append((statement, parameters))

    event.listen(registry.database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(registry.database.engine, "before_cursor_execute", note)


def plans(registry: Registry, seen: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Each statement and its plan."""
    with registry.database.engine.connect() as connection:
        on_sqlite = connection.dialect.name == "sqlite"
        for statement, parameters in seen:
            explain = "EXPLAIN QUERY PLAN " if on_sqlite else "EXPLAIN "
            rows = connection.exec_driver_sql(explain + statement, parameters).all()
            yield statement, "\n".join(str(row[-1]) for row in rows)


def scans(plan: str) -> bool:
    """Whether a plan reads all adapters."""
    lines = plan.splitlines()
    return any("Seq Scan on adapters" in line for line in lines) or any(
        line.startswith("SCAN adapters") and "USING INDEX" not in line for line in lines
    )


def test_no_look_up_reads_every_adapter(
    registry: Registry, new_adapter: Callable[..., AdapterRecord], promoted: Callable[[str], str]
) -> None:
    champion = promoted("champion")
    fill(registry, MANY)
    some = registry.adapters(3)[-1].digest
    with statements(registry) as seen:
        assert registry.adapter(champion).aliases == ("champion",)
        assert registry.adapter(some).digest == some
        assert registry.resolve(some[:30]) == some
        assert registry.resolve("champion") == champion
        assert len(registry.adapters(10)) == 10
        registry.routing()
        registry.add_adapter(new_adapter("one more"), "me")
    assert len(seen) > 8
    assert [(statement, plan) for statement, plan in plans(registry, seen) if scans(plan)] == []


def test_the_test_would_see_a_scan(registry: Registry) -> None:
    fill(registry, MANY)
    unindexed = [("SELECT * FROM adapters WHERE name = 'x'", ())]
    assert [scans(plan) for _, plan in plans(registry, unindexed)] == [True]


@pytest.mark.parametrize("ref", ["sha256:" + "0" * 12, "f" * 12, "0" * 64])
def test_a_prefix_finds_what_a_comparison_of_all_would(
    registry: Registry, new_adapter: Callable[..., AdapterRecord], ref: str
) -> None:
    """The range of a prefix ends after its last possible digit, 64 of them included."""
    digits = ref.removeprefix("sha256:")
    inside = f"sha256:{digits.ljust(64, digits[-1])}"
    outside = f"sha256:{'8' * 64}"
    for name, digest in (("in", inside), ("out", outside)):
        registry.add_adapter(new_adapter(name, digest=digest), "me")
    assert registry.resolve(ref) == inside
