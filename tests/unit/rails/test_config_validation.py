"""What upstream would load as fewer rails than were meant is refused, with file, key, line and remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet_server.rails.errors import RailConfigError

BROKEN = {
    "a misspelt top-level key": ("rials: {}", "rials", 1, "'rails'"),
    "a misspelt side": ("rails:\n  inputs: {flows: []}", "rails.inputs", 2, "'input'"),
    "flow for flows": ("rails:\n  input:\n    flow: [regex check input]", "rails.input.flow", 3, "'flows'"),
    "a misspelt section": (
        "rails:\n  config:\n    regex_detecton: {}",
        "rails.config.regex_detecton",
        3,
        "regex_detection",
    ),
    "a key deep in a section": (
        "rails:\n  config:\n    regex_detection:\n      input:\n        pattern: ['x']",
        "rails.config.regex_detection.input.pattern",
        5,
        "'patterns'",
    ),
    "a key in a model": (
        "models:\n  - {type: main, engine: ratchet, model: base, tpye: x}",
        "models.0.tpye",
        2,
        "'type'",
    ),
    "a key in a prompt": (
        "prompts:\n  - {task: t, content: c, max_length: 9, stopp: []}",
        "prompts.0.stopp",
        2,
        "'stop'",
    ),
    "our own settings": (
        "custom_data:\n  ratchet:\n    streaming: {mod: strict}",
        "custom_data.ratchet.streaming.mod",
        3,
        "'mode'",
    ),
    "custom data nobody reads": ("custom_data:\n  rachet: {}", "custom_data.rachet", 2, "'ratchet'"),
    "an unknown mode": (
        "custom_data:\n  ratchet:\n    streaming:\n      mode: fast",
        "custom_data.ratchet.streaming.mode",
        4,
        "strict",
    ),
    "an unknown flow": (
        "rails:\n  input:\n    flows:\n      - regex chek input",
        "rails.input.flows.0",
        4,
        "regex check input",
    ),
    "a flow on the wrong side": (
        "rails:\n  output:\n    flows: [ratchet triage input]",
        "rails.output.flows.0",
        3,
        "input rail",
    ),
    "a flow listed twice": (
        "rails:\n  input:\n    flows: [ratchet triage input, ratchet triage input]",
        "rails.input.flows.1",
        3,
        "once",
    ),
    "an unknown parameter of a flow": (
        "rails: {input: {flows: [ratchet triage input $treshold=0.2]}}",
        "rails.input.flows.0",
        1,
        "'threshold'",
    ),
    "a threshold that is none": (
        "rails: {input: {flows: [ratchet triage input $threshold=high]}}",
        "rails.input.flows.0",
        1,
        "Correct it",
    ),
    "a rail without patterns": ("rails: {input: {flows: [regex check input]}}", "rails.input.flows.0", 1, "Add some"),
    "patterns without a rail": (
        "rails:\n  config: {regex_detection: {input: {patterns: ['x']}}}",
        "rails.config.regex_detection.input.patterns",
        2,
        "List `regex check input`",
    ),
    "settings of a rail that is not listed": (
        "custom_data:\n  ratchet:\n    rails:\n      ratchet triage input: {fail_open: true}",
        "custom_data.ratchet.rails.ratchet triage input",
        4,
        "Remove it",
    ),
    "flows that are not a list": ("rails:\n  input: {flows: regex check input}", "rails.input.flows", 2, "Correct it"),
    "another engine": (
        "models:\n  - {type: main, engine: openai, model: gpt}",
        "models.0.engine",
        2,
        "engine: ratchet",
    ),
    "NeMo's streaming": (
        "rails:\n  output:\n    streaming: {enabled: true}",
        "rails.output.streaming",
        3,
        "Remove it",
    ),
    "speculative generation": (
        "rails:\n  input: {speculative_generation: true}",
        "rails.input.speculative_generation",
        2,
        "Remove",
    ),
    "retrieval rails": ("rails:\n  retrieval: {flows: [x]}", "rails.retrieval", 2, "Remove it"),
    "Colang 2": ('colang_version: "2.x"', "colang_version", 1, "library rails"),
    "a bound without bounded mode": (
        "custom_data:\n  ratchet:\n    streaming: {mode: strict, unreviewed_chars: 9}",
        "custom_data.ratchet.streaming",
        3,
        "bounded",
    ),
    "bounded mode without a bound": (
        "custom_data:\n  ratchet:\n    streaming: {mode: bounded}",
        "custom_data.ratchet.streaming",
        3,
        "unreviewed_chars",
    ),
    "the same key twice": ("rails: {}\nrails: {}", "rails", 2, "Keep one"),
    "a YAML alias": ("a: &x [1]\nb: *x", "", 0, "both places"),
    "no YAML": ("rails: [", "", 1, "syntax"),
    "no mapping": ("- rails", "", 1, "keys"),
    "a missing model": (
        'rails: {input: {flows: [self check input]}}\nprompts: [{task: self_check_input, content: "x"}]',
        "rails.input.flows.0",
        1,
        "models",
    ),
    "a missing model parameter": (
        "rails: {input: {flows: [content safety check input]}}",
        "rails.input.flows.0",
        1,
        "$model",
    ),
    "a missing prompt": (
        "models: [{type: main, engine: ratchet, model: base}]\nrails: {input: {flows: [self check input]}}",
        "prompts",
        0,
        "self_check_input",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_configuration_that_would_not_do_what_it_says_is_refused(
    name: str, write_config: Callable[..., Path], profile_of: Any
) -> None:
    text, key, line, remedy = BROKEN[name]
    with pytest.raises(RailConfigError) as caught:
        profile_of(text)
    error = caught.value
    assert (error.key, error.line) == (key, line), str(error)
    assert remedy in str(error)
    place = error.file if error.line else error.file.parent
    assert place.exists()


@pytest.mark.parametrize("pattern", ["(?=x)y", "(a)\\\\1", "(?<!x)y", "("])
def test_a_pattern_that_is_not_linear_is_refused_at_its_line(pattern: str, profile_of: Any) -> None:
    config = f"""rails:
  input: {{flows: [regex check input]}}
  config:
    regex_detection:
      input:
        patterns:
          - fine
          - "{pattern}"
"""
    with pytest.raises(RailConfigError) as caught:
        profile_of(config)
    if pattern != "(":  # this one NeMo itself refuses first
        assert (caught.value.line, caught.value.key) == (8, "rails.config.regex_detection.input.patterns.1")


@pytest.mark.parametrize("mode", ["{mode: strict}", "{mode: bounded, unreviewed_chars: 20}"])
def test_a_pattern_without_a_longest_match_is_refused_where_its_beginning_could_leave(
    mode: str, profile_of: Any
) -> None:
    def config(streaming: str) -> str:
        return f"""
rails:
  output: {{flows: [regex check output]}}
  config: {{regex_detection: {{output: {{patterns: ['BEGIN.*END']}}}}}}
custom_data: {{ratchet: {{streaming: {streaming}}}}}
"""

    with pytest.raises(RailConfigError, match="any length"):
        profile_of(config(mode))
    assert profile_of(config("{mode: buffered}")).streaming.mode == "buffered"


def test_the_hold_back_is_at_least_the_longest_match(profile_of: Any) -> None:
    def config(holdback: str) -> str:
        return f"""
rails:
  output: {{flows: [regex check output]}}
  config: {{regex_detection: {{output: {{patterns: ['x{{100}}', 'abc']}}}}}}
custom_data: {{ratchet: {{streaming: {holdback}}}}}
"""

    assert profile_of(config("{}")).streaming.holdback_chars == 100
    with pytest.raises(RailConfigError, match="100 characters"):
        profile_of(config("{holdback_chars: 20}"))


@pytest.mark.parametrize("extra", ["rails_DOT_co", "actions_DOT_py", "weights_DOT_bin"])
def test_files_that_would_be_ignored_are_refused(extra: str, profile_of: Any) -> None:
    with pytest.raises(RailConfigError) as caught:
        profile_of("{}", **{extra: "define flow x\n"})
    assert caught.value.file.name == extra.replace("_DOT_", ".")


def test_a_key_set_in_two_files_is_refused_and_prompts_are_joined(profile_of: Any) -> None:
    with pytest.raises(RailConfigError, match="also set in config"):
        profile_of("rails: {}", more_DOT_yml="rails: {}")
    profile = profile_of("prompts: [{task: a, content: x}]", prompts_DOT_yml="prompts: [{task: b, content: y}]")
    assert profile.input_rails == ()


def test_a_rail_that_asks_a_model_is_refused_where_none_can_be_asked(profile_of: Any) -> None:
    config = """
models: [{type: main, engine: ratchet, model: base}]
rails: {input: {flows: [self check input]}}
prompts: [{task: self_check_input, content: "{{ user_input }}"}]
"""
    with pytest.raises(RailConfigError, match="none can be asked"):
        profile_of(config)


@pytest.mark.parametrize(
    ("colang", "line", "hints"),
    [
        ("\n# ours\ndefine flow self check input\n  stop\n", 3, ("List `self check input` under",)),
        ("flow main\n  activate x\n\nflow greeting\n", 1, ("If `greeting`, `main` judges texts", "ratchet rails new")),
        ('define user express greeting\n  "hi"\n', 1, ("topic safety check input",)),
        ('define bot refuse\n  "no"\n', 1, ("typed verdict",)),
        ("", 0, ("remove the file",)),
    ],
)
def test_a_colang_file_is_refused_with_what_becomes_of_each_of_its_flows(
    profile_of: Any, colang: str, line: int, hints: tuple[str, ...]
) -> None:
    with pytest.raises(RailConfigError, match="Colang flows are not run here") as caught:
        profile_of("{}", rails_DOT_co=colang)
    assert caught.value.line == line
    assert all(hint in caught.value.remedy for hint in hints)
