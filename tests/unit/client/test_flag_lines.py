"""Flag files: whatever a line holds, it is a flag or it is named."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ratchet.cli.flag_lines import read
from ratchet.v1 import feedback_pb2 as pb


def test_a_good_line_becomes_a_request_and_the_default_principal_fills_in() -> None:
    good, bad = read(b'{"kind": "toxic", "prompt": "p", "completion": "c", "note": "n"}', "ann")
    assert bad == []
    flag = good[0].flag
    assert (flag.kind, flag.messages[0].content, flag.completion, flag.principal) == (
        pb.FLAG_KIND_TOXIC,
        "p",
        "c",
        "ann",
    )


def test_lines_that_break_a_rule_of_the_wire_are_named_not_sent() -> None:
    lines = [
        {"kind": "TOXIC"},
        {"kind": "TOXIC", "prompt": ""},
        {"kind": "TOXIC", "prompt": "p", "principal": "x" * 200},
    ]
    good, bad = read("\n".join(map(json.dumps, lines)).encode(), "ann")
    assert good == []
    assert [number for number, _ in bad] == [1, 2, 3]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    st.binary() | st.lists(JSON.map(json.dumps)).map("\n".join).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_any_file_is_read_and_every_line_is_accounted_for(data: bytes) -> None:
    good, bad = read(data, "ann")
    lines = [number for number, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    assert len(good) + len(bad) == len(lines)
    assert {number for number, _ in bad} <= set(lines)
