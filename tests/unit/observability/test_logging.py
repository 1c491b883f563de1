"""Logs are structured, and never repeat what users or the model wrote."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet_server.observability.logging import OURS, configure
from ratchet_server.observability.privacy import WITHHELD, safe_fields, safe_text, withheld
from ratchet_server.observability.settings import LogFormat, ObservabilitySettings

PROMPT = 'My "secret" question about\nmy neighbour, whom I do not like at all'


class Log:
    def __init__(self) -> None:
        self.stream = io.StringIO()

    def configure(self, log_format: LogFormat) -> None:
        configure(ObservabilitySettings(log_format=log_format), self.stream)

    @property
    def text(self) -> str:
        return self.stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture
def log() -> Iterator[Log]:
    before = {name: logging.getLogger(name).level for name in OURS}
    made = Log()
    made.configure("json")
    yield made
    root = logging.getLogger()
    for handler in [each for each in root.handlers if each.get_name() == "ratchet"]:
        root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(False)


def test_an_event_is_one_line_of_json_with_its_fields(log: Log) -> None:
    fields = {"digest": "sha256:ab", "seconds": 0.5, "ready": True}
    logging.getLogger("ratchet_server.engine").info("adapter %s", "loaded", extra=fields)
    (line,) = log.lines()
    assert line["event"] == "adapter loaded"
    assert (line["digest"], line["seconds"], line["ready"]) == ("sha256:ab", 0.5, True)
    assert line["level"] == "INFO"
    assert line["time"].endswith("+00:00")


def test_a_field_may_not_overwrite_the_time_or_level(log: Log) -> None:
    logging.getLogger("ratchet").info("x", extra={"level": "none", "time": 0})
    assert log.lines()[0]["level"] == "INFO"


@pytest.mark.parametrize("log_format", ["json", "rich"])
@pytest.mark.parametrize("field", ["prompt", "messages", "completion", "text", "anything"])
def test_text_in_a_field_is_told_by_its_size_only(log: Log, log_format: LogFormat, field: str) -> None:
    log.configure(log_format)
    content: object = [{"role": "user", "content": PROMPT}] if field == "messages" else PROMPT
    logging.getLogger("ratchet").info("request", extra={field: content})
    assert "secret" not in log.text
    assert field in log.text


@pytest.mark.parametrize("log_format", ["json", "rich"])
@pytest.mark.parametrize("written", [PROMPT, repr(PROMPT), PROMPT[10:45], f"could not parse {PROMPT!r}!"])
def test_a_line_that_repeats_the_withheld_text_loses_it(log: Log, log_format: LogFormat, written: str) -> None:
    log.configure(log_format)
    with withheld(PROMPT):
        logging.getLogger("some.library").warning("bad input: %s", written)
    assert "neighbour" not in log.text
    assert "withheld" in log.text


def test_an_exception_whose_message_quotes_the_prompt_keeps_its_type_and_stack_only(log: Log) -> None:
    try:
        with withheld(PROMPT):
            try:
                raise ValueError(f"cannot tokenise {PROMPT}")
            except ValueError:
                logging.getLogger("ratchet").exception("failed")
            raise KeyError("after")
    except KeyError:
        pass
    (line,) = log.lines()
    assert "neighbour" not in log.text
    assert "ValueError" in line["error"]
    assert "test_logging.py" in line["error"]


def test_an_ordinary_exception_keeps_its_message(log: Log) -> None:
    with withheld(PROMPT):
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            logging.getLogger("ratchet").exception("failed")
    assert "No space left on device" in log.lines()[0]["error"]


def test_other_peoples_loggers_are_heard_from_warning_up(log: Log) -> None:
    root = logging.getLogger()
    before = root.level
    root.setLevel("DEBUG")
    try:
        logging.getLogger("somebody.else.requests").info("Received request: prompt: %s", PROMPT)
        logging.getLogger("somebody.else").warning("slow")
    finally:
        root.setLevel(before)
    assert [line["event"] for line in log.lines()] == ["slow"]


def test_configuring_again_replaces_the_handler(log: Log) -> None:
    log.configure("json")
    logging.getLogger("ratchet").info("once")
    assert len(log.lines()) == 1


def test_withholding_ends_with_its_block(log: Log) -> None:
    with withheld(PROMPT):
        assert safe_text(PROMPT) == WITHHELD
    assert safe_text(PROMPT) == PROMPT


@given(st.text(min_size=24, max_size=80), st.text(max_size=20), st.text(max_size=20))
def test_no_line_that_contains_a_whole_withheld_text_passes(text: str, before: str, after: str) -> None:
    with withheld(text):
        assert safe_text(before + text + after) == WITHHELD


@given(st.text(min_size=9), st.text().filter(lambda name: name not in {"adapter"}))
def test_a_string_passes_only_under_a_known_name(text: str, name: str) -> None:
    shown = safe_fields({f"x{name}": text})[f"x{name}"]
    assert shown == f"[{len(text)} characters]"
