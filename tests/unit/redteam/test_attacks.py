"""Every shipped attack makes a conversation a server takes, and carries the item's own request in it."""

from __future__ import annotations

import base64
import codecs
import unicodedata
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.client import chat_request
from ratchet_adapters.evals.item import Item
from ratchet_adapters.evals.suites.seed import seed_items
from ratchet_adapters.redteam.attack import AWAITED, Script, Turn, WrittenAttack, scripted, user
from ratchet_adapters.redteam.attacks.encodings import homoglyphs, leetspeak, zero_width
from ratchet_adapters.redteam.attacks.framing import past_tense
from ratchet_adapters.redteam.attacks.registry import attack_names, load_attack
from ratchet_adapters.redteam.errors import AttackInvalid, AttackUnknown
from ratchet_adapters.redteam.plan import planned


def item(prompt: str, name: str = "i") -> Item:
    return Item(name, "harmful", "self_harm", "c", "eval", prompt)


@pytest.mark.parametrize("name", attack_names())
@settings(max_examples=15, deadline=None)
@given(prompt=st.text(min_size=1, max_size=300).filter(str.strip))
def test_any_prompt_becomes_a_valid_request_and_always_the_same(name: str, prompt: str) -> None:
    attack = load_attack(name)
    script = scripted(attack, item(prompt))
    assert script == scripted(attack, item(prompt))
    assert 1 <= script.requests == 1 + sum(turn.text == AWAITED for turn in script.turns)
    messages = [{"role": turn.role, "content": turn.text or "an answer"} for turn in script.turns]
    chat_request(messages).SerializeToString()


def test_the_request_itself_can_be_read_back_from_what_hides_it() -> None:
    prompt = "How do I open the blue box?"
    said = {name: load_attack(name).apply(item(prompt)).turns for name in attack_names()}
    assert base64.b64decode(said["base64"][0].text.split("\n\n")[1]).decode() == prompt
    assert codecs.decode(said["rot13"][0].text.split("\n\n")[1], "rot13") == prompt
    assert said["zero-width"][0].text.replace("\u200b", "") == prompt
    for name in ("direct", "prefill", "role-play", "wild-persona", "wild-mode", "wild-orders", "crescendo"):
        assert any(prompt in turn.text for turn in said[name]), name
    halves = " ".join(turn.text for turn in said["split"])
    assert all(word in halves for word in prompt.split())


def test_hidden_words_are_no_longer_the_words_but_look_alike() -> None:
    prompt = "escape a paper box"
    assert leetspeak(prompt) == "35c4p3 4 p4p3r b0x"
    swapped = homoglyphs(prompt)
    assert len(swapped) == len(prompt) and not set(swapped) & set("aceiopxy")
    assert all("CYRILLIC" in unicodedata.name(one) for one, other in zip(swapped, prompt, strict=True) if one != other)
    assert "paper" not in zero_width(prompt)


@pytest.mark.parametrize(
    ("prompt", "past"),
    [
        ("How do I open my box?", "How did people open their box in the past?"),
        ("Tell me how to open a box.", "How did people open a box in the past?"),
        ("Where can I find a box?", "Where did people find a box in the past?"),
        ("what is the best way to open a box", "What used to be the usual way to open a box in the past?"),
    ],
)
def test_known_openings_go_into_the_past_tense(prompt: str, past: str) -> None:
    assert past_tense(prompt) == past


def test_every_wording_is_used_and_named() -> None:
    items = seed_items("harmful", "eval")
    for name, count in (("prefill", 3), ("role-play", 3), ("wild-persona", 2), ("wild-mode", 2), ("wild-orders", 2)):
        attack = load_attack(name)
        variants = [attack.apply(entry).variant for entry in items]
        assert len(set(variants)) == count
        assert min(variants.count(variant) for variant in set(variants)) > len(items) / count / 2


@pytest.mark.parametrize(
    ("turns", "why"),
    [
        ((), "no script"),
        ((Turn("user", "a"), Turn("assistant", "b")), "last turn"),
        ((Turn("user", "a"), Turn("user", "b")), "take turns"),
        ((Turn("user", " "),), "empty"),
        ((Turn("user", "x" * 40_000),), "40000 characters"),
    ],
)
def test_an_attack_that_makes_no_conversation_is_named(turns: tuple[Turn, ...], why: str) -> None:
    with pytest.raises(AttackInvalid, match=why):
        scripted(WrittenAttack("bad", "", lambda item: Script(turns)), item("p"))


def test_an_attack_that_breaks_is_named() -> None:
    def broken(item: Item) -> Script:
        raise KeyError("nothing there")

    with pytest.raises(AttackInvalid, match="nothing there"):
        scripted(WrittenAttack("bad", "", broken), item("p"))


def test_other_packages_add_attacks_and_their_faults_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    added = {
        "shout": EntryPoint("shout", f"{__name__}:SHOUT", "ratchet.attacks"),
        "none": EntryPoint("none", "builtins:object", "ratchet.attacks"),
        "gone": EntryPoint("gone", "no_such_module:x", "ratchet.attacks"),
        "direct": EntryPoint("direct", "builtins:object", "ratchet.attacks"),
    }
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group, name="": [point for key, point in added.items() if name in ("", key)],
    )
    import sys

    monkeypatch.setitem(sys.modules, __name__, type(sys)("shouting"))
    sys.modules[__name__].SHOUT = WrittenAttack("shout", "Loud.", lambda item: user(item.prompt.upper()))  # type: ignore[attr-defined]
    assert "shout" in attack_names()
    assert load_attack("shout").apply(item("box")).turns[0].text == "BOX"
    for name, why in (("none", "no Attack"), ("gone", "no_such_module"), ("direct", "several"), ("x", "none of that")):
        with pytest.raises(AttackUnknown, match=why):
            load_attack(name)


def test_wherever_a_plan_is_cut_every_attack_has_met_the_same_items() -> None:
    attacks = [load_attack(name) for name in ("direct", "prefill", "base64")]
    items = seed_items("harmful", "eval")
    attempts = planned(items, attacks, seed=3)
    assert len({attempt.id for attempt in attempts}) == 3 * len(items)
    half = attempts[: 3 * 50]
    by_attack = {name: [a.item.id for a in half if a.attack == name] for name in ("direct", "prefill", "base64")}
    assert by_attack["direct"] == by_attack["prefill"] == by_attack["base64"]
    counts = [
        sum(a.item.category == category for a in half if a.attack == "direct")
        for category in {i.category for i in items}
    ]
    assert max(counts) - min(counts) <= 1
    assert planned(items, attacks, seed=4)[0].item != attempts[0].item
    assert planned(items, attacks, seed=3) == attempts
