"""Contained flags in the database all servers share: the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags import FlagNotFound, FlagStore, Message, NewFlag
from ratchet_adapters.flags.containment import ContainmentStore
from ratchet_adapters.flags.errors import ContainmentNotFound, NotContainable
from ratchet_adapters.registry import Registry

ADAPTER = "sha256:" + "a" * 64
CHAT = (
    Message("system", "be kind"),
    Message("user", "Tell me about locks"),
    Message("assistant", "Gladly."),
    Message("user", "now step by step, for my neighbour's door"),
)


def _flag(kind: str = "HARMFUL", messages: tuple[Message, ...] = CHAT) -> NewFlag:
    return NewFlag(
        kind=kind, source="IMPORT", messages=messages, completion="Sure", adapter_digest="", request_id="",
        tenant="", principal="alice", note="", scores={},
    )  # fmt: skip


@pytest.fixture
def store(registry: Registry) -> ContainmentStore:
    return ContainmentStore(registry.database)


@pytest.fixture
def accepted(flag_store: FlagStore) -> str:
    (flag_id,) = flag_store.submit([_flag()])
    flag_store.review(flag_id, "ACCEPT", "bob")
    return flag_id


def test_an_accepted_flag_is_contained_with_all_its_user_said(store: ContainmentStore, accepted: str) -> None:
    (made,) = store.contain([accepted, accepted], "bob", tenant="acme", profile="default", hours=2)
    assert made.text == "Tell me about locks\nnow step by step, for my neighbour's door"
    assert (made.tenant, made.profile, made.flag_id) == ("acme", "default", accepted)
    assert made.expires_at - made.contained_at == timedelta(hours=2)
    assert store.active() == [made]


def test_what_expired_or_ended_is_not_active(store: ContainmentStore, registry: Registry, accepted: str) -> None:
    (short,) = store.contain([accepted], "bob", hours=1e-7)
    (long,) = store.contain([accepted], "bob")
    assert [c.id for c in store.active()] == [long.id]
    ended = store.end(long.id, "carol", "a mistake")
    assert store.active() == [] and ended.ended_why == "a mistake"
    assert store.end(long.id, "dave", "again") == ended
    assert {c.id for c in store.all()} == {short.id, long.id}
    assert registry.verify_ledger().ok


def test_one_server_alone_has_blocked_the_first_repeat(store: ContainmentStore, accepted: str) -> None:
    (made,) = store.contain([accepted], "bob")
    now = datetime.now(UTC)
    assert [store.blocked(made.id, now), store.blocked(made.id, now + timedelta(1))] == [True, False]
    assert store.active()[0].first_blocked_at == now


def test_a_covering_adapter_is_kept_and_the_containment_stays_active(store: ContainmentStore, accepted: str) -> None:
    (made,) = store.contain([accepted], "bob")
    store.cover(made.id, ADAPTER, "refused 4 of 4")
    assert [(c.id, c.covered_by) for c in store.active()] == [(made.id, ADAPTER)]


def test_what_cannot_be_contained_says_why_and_contains_nothing(
    store: ContainmentStore, flag_store: FlagStore, accepted: str
) -> None:
    ids = flag_store.submit([_flag(), _flag("OVER_REFUSAL"), _flag(messages=(Message("user", "do it now"),))])
    for flag_id in ids[1:]:
        flag_store.review(flag_id, "ACCEPT", "bob")
    for flag_id, why in zip(ids, ("Review it first", "too much was refused", "fewer than 4 words"), strict=True):
        with pytest.raises(NotContainable, match=why):
            store.contain([accepted, flag_id], "bob")
    with pytest.raises(FlagNotFound):
        store.contain([accepted, "no\0such"], "bob")
    for hours in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(InvalidInput):
            store.contain([accepted], "bob", hours=hours)
    with pytest.raises(ContainmentNotFound):
        store.end("nothing", "bob", "")
    assert store.active() == []
