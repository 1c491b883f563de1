"""Exchanges, flags and reviews: the same on SQLite and PostgreSQL."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.flags import (
    AlreadyReviewed,
    Exchange,
    ExchangeNotFound,
    FlagNotFound,
    FlagStore,
    Message,
    NewFlag,
)
from ratchet_adapters.registry import Registry

Make = Callable[..., NewFlag]
EXCHANGE = Exchange(
    request_id="req-1",
    messages=(Message("system", "be kind"), Message("user", "hello \0 \ud800 🔥")),
    completion="Hi \0 there",
    adapter_digest="sha256:" + "a" * 64,
    tenant="acme",
    principal="alice",
    scores={"toxicity": 0.1, "refusal": 1e-17},
    verdicts=({"rail": "regex", "outcome": "ALLOW", "score": None},),
    finish_reason="stop",
    created_at=datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC),
)


def test_an_exchange_comes_back_whatever_characters_it_holds(flag_store: FlagStore) -> None:
    flag_store.save_exchanges([EXCHANGE])
    assert flag_store.exchange("req-1") == EXCHANGE


def test_saving_an_exchange_again_keeps_the_first(flag_store: FlagStore) -> None:
    flag_store.save_exchanges([EXCHANGE])
    flag_store.save_exchanges([replace(EXCHANGE, completion="forged"), replace(EXCHANGE, request_id="req-2")])
    assert flag_store.exchange("req-1") == EXCHANGE
    assert flag_store.exchange("req-2").request_id == "req-2"
    flag_store.save_exchanges([])


@pytest.mark.parametrize(
    "fields", [{"scores": {"x": math.nan}}, {"request_id": ""}, {"request_id": "é"}, {"tenant": "a\0"},
               {"messages": ()}, {"adapter_digest": "a"}, {"created_at": datetime(2026, 1, 1)},
               {"verdicts": ({"x": {1, 2}},)}],
)  # fmt: skip
def test_a_poisonous_exchange_is_refused_with_its_batch(flag_store: FlagStore, fields: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        flag_store.save_exchanges([EXCHANGE, replace(EXCHANGE, **{"request_id": "req-2", **fields})])  # type: ignore[arg-type]
    with pytest.raises(ExchangeNotFound):
        flag_store.exchange("req-1")


@pytest.mark.parametrize("request_id", ["none", "", "a\0", "\ud800"])
def test_an_unknown_exchange_or_flag_is_not_found(flag_store: FlagStore, request_id: str) -> None:
    with pytest.raises(ExchangeNotFound):
        flag_store.exchange(request_id)
    with pytest.raises(FlagNotFound):
        flag_store.flag(request_id)
    with pytest.raises(FlagNotFound):
        flag_store.review(request_id, "ACCEPT", "bob")


def test_a_flag_comes_back_open_with_what_was_claimed(flag_store: FlagStore, new_flag: Make) -> None:
    (flag_id,) = flag_store.submit([new_flag("x \0 y", scores={"toxicity": 0.5}, note="bad", tenant="t")])
    flag = flag_store.flag(flag_id)
    assert (flag.state, flag.kind, flag.source, flag.note, flag.tenant) == ("OPEN", "HARMFUL", "USER", "bad", "t")
    assert (flag.messages, flag.scores) == ((Message("user", "x \0 y"),), {"toxicity": 0.5})
    assert (flag.reviewer, flag.reviewed_at) == ("", None)


def test_a_flag_about_a_served_exchange_holds_what_was_served(flag_store: FlagStore, new_flag: Make) -> None:
    flag_store.save_exchanges([EXCHANGE])
    claims = [new_flag(request_id="req-1", messages=()), new_flag("forged", request_id="req-1", completion="forged")]
    for flag_id in flag_store.submit(claims):
        flag = flag_store.flag(flag_id)
        assert (flag.messages, flag.completion) == (EXCHANGE.messages, EXCHANGE.completion)
        assert (flag.adapter_digest, flag.tenant, flag.scores) == (EXCHANGE.adapter_digest, "acme", EXCHANGE.scores)
        assert flag.principal == "user-1"


def test_the_exchange_of_another_tenant_is_not_there(flag_store: FlagStore, new_flag: Make) -> None:
    flag_store.save_exchanges([EXCHANGE])
    with pytest.raises(ExchangeNotFound):
        flag_store.submit([new_flag(request_id="req-1", messages=(), tenant="other")])
    assert flag_store.flags() == ([], "")


@pytest.mark.parametrize(
    "fields",
    [{"kind": "NICE"}, {"source": "ME"}, {"principal": ""}, {"principal": "\0"}, {"messages": ()}, {"note": "\ud800"},
     {"scores": {"t": math.inf}}, {"messages": (Message("", "x"),)}, {"tenant": "t" * 65}],
)  # fmt: skip
def test_a_poisonous_flag_is_refused_with_its_batch(
    registry: Registry, flag_store: FlagStore, new_flag: Make, fields: dict[str, object]
) -> None:
    with pytest.raises(InvalidInput):
        flag_store.submit([new_flag(), new_flag(**fields)])
    assert flag_store.flags() == ([], "")
    assert registry.ledger() == []


def test_pages_hold_every_flag_once_in_order(flag_store: FlagStore, new_flag: Make) -> None:
    ids = flag_store.submit([new_flag(str(number)) for number in range(7)])
    seen, token = [], ""
    while True:
        page, token = flag_store.flags(page_size=3, page_token=token)
        seen += [flag.id for flag in page]
        if not token:
            break
    assert seen == ids


def test_flags_are_filtered_and_counted(flag_store: FlagStore, new_flag: Make) -> None:
    ids = flag_store.submit([new_flag(), new_flag(kind="TOXIC", source="SCORER"), new_flag(kind="TOXIC")])
    flag_store.review(ids[2], "REJECT", "bob")
    assert [flag.id for flag in flag_store.flags(kind="TOXIC")[0]] == ids[1:]
    assert [flag.id for flag in flag_store.flags(state="OPEN", source="SCORER")[0]] == [ids[1]]
    counts = flag_store.counts()
    assert counts["state"] == {"OPEN": 2, "ACCEPTED": 0, "REJECTED": 1}
    assert counts["kind"]["TOXIC"] == 2
    assert counts["source"] == {"USER": 2, "RAIL": 0, "SCORER": 1, "IMPORT": 0}


@pytest.mark.parametrize(
    "wrong", [{"state": "open"}, {"kind": ""}, {"source": "x"}, {"page_size": 0}, {"page_size": 1001},
              {"page_token": "-1"}, {"page_token": "9" * 40}, {"page_token": "٣"}, {"page_token": "1 OR 1"}],
)  # fmt: skip
def test_a_wrong_query_is_refused(flag_store: FlagStore, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        flag_store.flags(**wrong)  # type: ignore[arg-type]


def test_a_review_is_final_and_may_correct_the_kind(flag_store: FlagStore, new_flag: Make) -> None:
    (flag_id,) = flag_store.submit([new_flag()])
    flag = flag_store.review(flag_id, "ACCEPT", "bob", "indeed", kind="TOXIC")
    assert (flag.state, flag.kind, flag.reviewer, flag.review_note) == ("ACCEPTED", "TOXIC", "bob", "indeed")
    assert flag.reviewed_at is not None
    assert flag_store.flag(flag_id) == flag
    with pytest.raises(AlreadyReviewed) as caught:
        flag_store.review(flag_id, "REJECT", "eve")
    assert (caught.value.state, caught.value.reviewer) == ("ACCEPTED", "bob")


@pytest.mark.parametrize(
    ("decision", "reviewer", "kind"), [("MAYBE", "b", None), ("ACCEPT", "", None), ("ACCEPT", "b", "X")]
)
def test_a_wrong_review_is_refused(
    flag_store: FlagStore, new_flag: Make, decision: str, reviewer: str, kind: str | None
) -> None:
    (flag_id,) = flag_store.submit([new_flag()])
    with pytest.raises(InvalidInput):
        flag_store.review(flag_id, decision, reviewer, kind=kind)
    assert flag_store.flag(flag_id).state == "OPEN"


def test_of_racing_reviews_one_wins(flag_store: FlagStore, new_flag: Make) -> None:
    (flag_id,) = flag_store.submit([new_flag()])
    results: list[str] = []

    def review(reviewer: str) -> None:
        try:
            results.append(flag_store.review(flag_id, "ACCEPT", reviewer).reviewer)
        except AlreadyReviewed:
            results.append("")

    threads = [threading.Thread(target=review, args=(f"r{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [name for name in results if name] == [flag_store.flag(flag_id).reviewer]


def test_submissions_and_reviews_are_in_the_ledger(registry: Registry, flag_store: FlagStore, new_flag: Make) -> None:
    ids = flag_store.submit([new_flag(str(number)) for number in range(1100)])
    flag_store.review(ids[0], "ACCEPT", "bob")
    entries = registry.ledger()
    assert [entry.kind for entry in entries] == ["flags.submitted"] * 3 + ["flag.reviewed"]
    assert {flag_id for entry in entries[:3] for flag_id in entry.payload["flags"]} == set(ids)
    assert entries[3].actor == "bob"
    assert registry.verify_ledger().ok
