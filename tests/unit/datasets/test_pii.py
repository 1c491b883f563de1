"""Personal data leaves a text as a placeholder of its kind, and nothing else changes."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet_adapters.datasets.scrub import scrub, scrubbed
from ratchet_adapters.datasets.seed import load_seed
from ratchet_plugins.pii.recognisers import PiiKind, find_pii, scrub_pii

LABELLED = Path(__file__).parent / "pii_labelled.jsonl"


def _luhn(digits: str) -> str:
    total = sum(sum(divmod(int(d) * 2, 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    return digits + str(-total % 10)


def _iban(country: str, account: str) -> str:
    number = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    return f"{country}{98 - number % 97:02}{account}"


def _digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


word = st.text("abcdefghijklmnop", min_size=2, max_size=8)
ENTITIES = {
    PiiKind.EMAIL: st.builds("{}.{}@{}.example".format, word, word, word),
    PiiKind.CARD: _digits(14).map(lambda d: _luhn(f"4{d}")),
    PiiKind.IBAN: _digits(18).map(lambda d: _iban("DE", d)),
    PiiKind.SSN: st.builds(
        "{:03}-{:02}-{:04}".format, st.integers(100, 665), st.integers(1, 99), st.integers(1, 9999)
    ).filter(lambda s: s not in {"078-05-1120", "457-55-5462", "219-09-9999"}),
    PiiKind.IP: st.builds("{}.{}.{}.{}".format, st.integers(1, 126), *[st.integers(0, 255)] * 3),
    PiiKind.PHONE: st.integers(2_000_000, 9_999_999).map(lambda n: f"+1 212 {n // 10_000} {n % 10_000:04}"),
    PiiKind.CREDENTIALS: st.builds("https://{}:{}@{}.example/x".format, word, word, word),
    PiiKind.KEY: st.text("abcdefABCDEF0123456789", min_size=36, max_size=36).map(lambda t: f"ghp_{t}"),
}
plain = ["how", "bake", "12", "loaves", "2024", "$30.50", "9:45", "(v2.1),", "#", "7/8", "ok?", "x_y", "é", "\n"]
harmless = st.sampled_from(plain)
entity = st.sampled_from(list(ENTITIES)).flatmap(lambda kind: st.tuples(st.just(kind), ENTITIES[kind]))


@settings(max_examples=300, deadline=None)
@given(entities=st.lists(entity, min_size=1, max_size=4), between=st.sampled_from([", then ", "\n", " und ", "; "]))
def test_no_entity_is_left_and_each_leaves_its_placeholder(entities, between):
    result = scrub_pii(f"Please note {between.join(text for _, text in entities)} and go on")
    assert find_pii(result.text) == []
    assert all(text not in result.text for _, text in entities)
    assert result.found == Counter(kind.value for kind, _ in entities)
    assert re.findall(r"<(\w+)>", result.text) == [kind.value for kind, _ in entities]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.text(max_size=6), entity.map(lambda pair: pair[1]), st.sampled_from("@:.-/+<>[]0123456789")))
)
def test_scrubbing_is_idempotent_whatever_is_glued_together(parts):
    once = scrub_pii("".join(parts))
    assert scrub_pii(once.text).text == once.text and not scrub_pii(once.text).found
    assert find_pii(once.text) == []
    whole = scrubbed("".join(parts)).text
    assert scrub(whole) == whole and find_pii(whole) == []


@settings(max_examples=300, deadline=None)
@given(st.lists(harmless))
def test_a_text_without_personal_data_stays_as_it_is(words):
    text = " ".join(words)
    assert scrub_pii(text).text == text and not scrub_pii(text).found


def test_no_seed_prompt_is_changed():
    data = load_seed()
    texts = [prompt.prompt for prompt in data.prompts] + list(data.guarded)
    changed = [text for text in texts if scrub_pii(text).text != text]
    sys.stdout.write(f"{len(changed)} of {len(texts)} seed texts changed\n")
    assert changed == []


def test_precision_and_recall_on_labelled_texts():
    right = found = there = 0
    wrong = []
    for line in LABELLED.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        expected = Counter((kind, text) for kind, text in row["entities"])
        # As scrubbing sees it: kinds in turn, each on what the kinds before left.
        seen = Counter((kind.value, text) for kind, text in _replaced(row["text"]))
        right, found, there = right + (seen & expected).total(), found + seen.total(), there + expected.total()
        wrong += [row["text"]] if seen != expected else []
    precision, recall = right / found, right / there
    figures = f"precision {precision:.3f} ({right}/{found}), recall {recall:.3f} ({right}/{there})"
    sys.stdout.write(f"{figures}; not exact: {wrong}\n")
    assert precision >= 0.95 and recall >= 0.85


def _replaced(text: str) -> list[tuple[PiiKind, str]]:
    """What the placeholders stand for, read off by what of the text is left around them."""
    pattern = re.escape(scrub_pii(text).text)
    kinds = []
    for kind in re.findall(r"<([A-Z_]+)>", pattern):
        kinds.append(PiiKind(kind))
        pattern = pattern.replace(f"<{kind}>", "(.+)", 1)
    match = re.fullmatch(pattern, text, re.DOTALL)
    assert match is not None
    return list(zip(kinds, match.groups(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "1" * 20000,
        "a@" * 10000,
        "::1" * 6000,
        "4111 " * 4000,
        "key=" * 5000,
        "DE89" * 2000,
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_a_hostile_text_takes_no_more_than_a_moment(text):
    assert find_pii(scrub_pii(text).text) == []


def test_a_link_with_a_password_is_a_secret_and_any_other_link_is_a_link():
    asked = "Read https://ann:pw1@x.example/a and https://x.example/?q=1"
    result = scrubbed(asked)
    assert result.text == "Read <URL_WITH_CREDENTIALS> and a link"
    assert result.found == {"URL_WITH_CREDENTIALS": 1}
