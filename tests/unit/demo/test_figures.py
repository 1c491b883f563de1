"""The demo's verdict on itself cannot be talked round: each broken promise is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ratchet_server.demo.crowd import Talk
from ratchet_server.demo.figures import figures, succeeded
from ratchet_server.demo.loop import Mark, Story
from ratchet_server.demo.page import rows, write

KEPT: dict[str, Any] = {
    "gate": {"outcome": "PASS", "reason": "all axes"},
    "traffic": {"failed": 0, "mixed_adapter": 0, "errors": []},
    "live_probe": {"before": 0.04, "promoted": 0.9, "rolled back": 0.04, "promoted again": 0.9},
}


def test_a_story_that_kept_everything_has_nothing_to_name() -> None:
    assert succeeded(KEPT) == []


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("gate", "outcome", "FAIL"),
        ("gate", "outcome", "INCONCLUSIVE"),
        ("gate", "outcome", None),
        ("traffic", "failed", 1),
        ("traffic", "mixed_adapter", 1),
        ("live_probe", "rolled back", 0.9),
        ("live_probe", "promoted again", 0.04),
    ],
)
def test_each_broken_promise_is_named(section: str, key: str, value: object) -> None:
    report = copy.deepcopy(KEPT)
    report[section][key] = value
    assert len(succeeded(report)) == 1


def test_what_was_not_reached_is_null_not_a_number(tmp_path: Any) -> None:
    story = Story()
    story.talks = [Talk("ordinary", "p", "t", 0.0, 1.0, error="UNAVAILABLE: gone")]
    report = figures(story)
    assert report["before"] == dict.fromkeys(report["before"])
    assert report["with_rails"] == {"harmful_compliance": None}
    assert (report["traffic"]["requests"], report["traffic"]["failed"]) == (1, 1)
    assert report["swap_seconds"] is None
    assert report["gate"]["outcome"] is None
    assert succeeded(report)
    page = write(tmp_path, story, report)
    assert "not measured" in page.read_text()
    assert all(cell == "not measured" for _, before, after, _ in rows(report) for cell in (before, after))


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Any) -> None:
    story = Story(marks=[Mark("promote", 1.0, 1.2, "sha256:ab")], ended=3.0)
    text = write(tmp_path, story, figures(story)).read_text()
    for outside in ('src="http', "@import", "<script", 'href="http'):
        assert outside not in text
