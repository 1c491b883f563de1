"""Flag files: good lines are kept, broken ones are named, nothing is half-imported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ratchet_adapters.flags import FlagFileUnreadable, FlagStore, Message, read_flags
from ratchet_adapters.registry import Registry

GOOD = b'{"kind": "HARMFUL", "prompt": "p", "completion": "c", "principal": "u", "note": "n", "tenant": "t"}\n'


def test_good_lines_become_flags_and_broken_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "flags.jsonl"
    lines = [
        b"\xef\xbb\xbf" + GOOD, b"\n", b"{broken\n", b'{"kind": "NICE", "prompt": "p"}\n', b'{"kind": "TOXIC"}\n',
        b'{"kind": "TOXIC", "prompt": "p", "extra": 1}\n', b"\xff\xfe\n", b"[]\n", b'{"kind": "TOXIC", "prompt": 3}\n',
        b'{"kind": "TOXIC", "prompt": "' + b"x" * (5 << 20) + b'"}\n',
        b'{"kind": "TOXIC", "messages": [{"role": "user", "content": "m"}]}',
    ]  # fmt: skip
    path.write_bytes(b"".join(lines))
    result = read_flags(path, principal="importer")
    assert [number for number, _ in result.bad_lines] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert all(why for _, why in result.bad_lines)
    first, last = result.flags
    assert (first.kind, first.source, first.principal, first.tenant) == ("HARMFUL", "IMPORT", "u", "t")
    assert (last.messages, last.principal) == ((Message("user", "m"),), "importer")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_file_is_read_and_what_it_gives_can_be_stored(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "flags.jsonl"
    path.write_bytes(GOOD + data.replace(b"\n", b" ") + b"\n" + GOOD)
    result = read_flags(path)
    assert len(result.flags) >= 2
    assert len(result.flags) + len(result.bad_lines) <= 3


def test_what_was_read_is_stored_as_one(tmp_path: Path) -> None:
    (tmp_path / "flags.jsonl").write_bytes(GOOD * 3)
    with Registry.open(f"sqlite:///{tmp_path / 'r.db'}") as registry:
        store = FlagStore.open(registry)
        assert len(store.submit(read_flags(tmp_path / "flags.jsonl").flags)) == 3
        assert store.counts()["source"]["IMPORT"] == 3


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(FlagFileUnreadable):
        read_flags(tmp_path / "missing.jsonl")
    with pytest.raises(FlagFileUnreadable):
        read_flags(tmp_path)
