"""The number of label values is bounded, whatever comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_server.observability.labels import BASE, OTHER, AdapterLabels, ProfileLabels, adapter_label

DIGESTS = st.integers(0, 30).map(lambda number: f"sha256:{number:012x}" + "0" * 52)


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        ("", "base"),
        ("base", "base"),
        ("sha256:0123456789abcdef" + "0" * 48, "0123456789ab"),
        ("0123456789ab", "0123456789ab"),
        ("champion", "other"),
        ("sha256:abc", "other"),
        ('x"}\n', "other"),
    ],
)
def test_an_adapter_is_labelled_base_or_by_twelve_digits_or_other(adapter: str, label: str) -> None:
    assert adapter_label(adapter) == label


@given(st.lists(st.tuples(st.sampled_from(["admit", "crown"]), DIGESTS)), st.integers(2, 5))
def test_no_more_than_the_limit_are_named_and_the_champion_always_is(calls: list[tuple[str, str]], limit: int) -> None:
    labels = AdapterLabels(limit)
    named: set[str] = set()
    champion = BASE
    for call, digest in calls:
        label, evicted = getattr(labels, call)(digest)
        if label != OTHER:
            named.add(label)
        if evicted is not None:
            named.remove(evicted)
        champion = label if call == "crown" else champion
        assert len(named) <= limit
        assert champion == BASE or champion in named
        assert all(labels.known(name) == name for name in named)


def test_an_adapter_that_lost_its_place_gets_it_back_only_as_champion() -> None:
    labels = AdapterLabels(2)
    first, *rest = (f"sha256:{number:064d}".replace("0" * 12, f"{number:012d}", 1) for number in (1, 2, 3))
    for digest in (first, *rest):
        labels.admit(digest)
    assert labels.admit(first) == (OTHER, None)
    assert labels.crown(first)[0] == adapter_label(first)
    assert labels.known(first) == adapter_label(first)


def test_base_takes_no_place() -> None:
    labels = AdapterLabels(2)
    assert [labels.admit(adapter)[1] for adapter in ("", "a" * 64, "base", "b" * 64)] == [None] * 4


def test_profiles_beyond_the_limit_share_one_label() -> None:
    profiles = ProfileLabels(2)
    assert [profiles.admit(name) for name in ("a", "b", "c", "a")] == ["a", "b", "other", "a"]
    assert profiles.known("never seen") == "other"
