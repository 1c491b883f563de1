"""The patterns of the regex rail: linear-time only, and short enough for the way the answer is streamed.

It must not know how a pattern is matched.
"""

from __future__ import annotations

from typing import Any

from ratchet_plugins.nemo.errors import UnsafePattern
from ratchet_plugins.nemo.regex import compile_patterns
from ratchet_server.rails.configfolder import ConfigFolder, KeyPath
from ratchet_server.rails.flows import Flow
from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.verdict import Direction

__all__ = ["DEFAULT_HOLDBACK_CHARS", "check_patterns"]

DEFAULT_HOLDBACK_CHARS = 48
_LONGEST_AUTOMATIC = 512


def check_patterns(folder: ConfigFolder, config: Any, streaming: Streaming, flows: tuple[Flow, ...]) -> int:
    """Check all patterns and return the characters a stream must hold back.

    In the modes strict and bounded a violation that is still being written must not have begun to leave, so as many
    characters are kept back as the longest pattern can match.

    Args:
        config: NeMo's configuration object.

    Raises:
        RailConfigError: A pattern is refused by RE2; a regex rail is listed that has none; or an output pattern has
            no longest match, or a longer one than the configured hold-back, and the mode is not buffered.
    """
    section = config.rails.config.regex_detection
    needed = DEFAULT_HOLDBACK_CHARS
    for direction in Direction:
        side = direction.lower()
        key: KeyPath = ("rails", "config", "regex_detection", side, "patterns")
        options = getattr(section, side)
        try:
            patterns = compile_patterns(tuple(options.patterns), options.case_insensitive)
        except UnsafePattern as error:
            problem = f"The pattern {error.pattern!r} is refused: {error.why}."
            remedy = "Patterns are matched by RE2, in linear time: no lookaround, no backreferences."
            raise folder.error((*key, error.index), problem, remedy) from error
        flow = next((f for f in flows if (f.surface.manifest, f.direction) == ("regex", direction)), None)
        needed = max(needed, *_declared_widths(folder, streaming, direction, flows), 0)
        if flow is not None and not patterns:
            where = ".".join(map(str, key))
            raise folder.error(flow.key, f"The rail {flow.text!r} has no patterns.", f"Add some under {where}.")
        if flow is None and patterns:
            remedy = f"List `regex check {side}` under rails.{side}.flows."
            raise folder.error(key, "No rail uses these patterns.", remedy)
        streamed = direction is Direction.OUTPUT and streaming.mode != "buffered"
        if streamed and flow is not None and flow.settings.enabled:
            for index, pattern in enumerate(patterns):
                needed = max(needed, _width(folder, streaming, (*key, index), pattern.max_chars))
    return streaming.holdback_chars if streaming.holdback_chars is not None else needed


def _declared_widths(
    folder: ConfigFolder, streaming: Streaming, direction: Direction, flows: tuple[Flow, ...]
) -> list[int]:
    """What rails other than the regex one say of the longest text they find."""
    if direction is Direction.INPUT or streaming.mode == "buffered":
        return [0]
    found = [0]
    for flow in flows:
        longest = flow.surface.declared.longest_match
        if flow.direction is direction and flow.settings.enabled and longest:
            if streaming.holdback_chars is not None and streaming.holdback_chars < longest:
                raise folder.error(
                    ("custom_data", "ratchet", "streaming", "holdback_chars"),
                    f"The rail {flow.text!r} finds texts of {longest} characters, whose beginning would have left.",
                    f"Set it to {longest}, remove it, or use mode buffered.",
                )
            found.append(longest)
    return found


def _width(folder: ConfigFolder, streaming: Streaming, key: KeyPath, max_chars: int | None) -> int:
    limit = _LONGEST_AUTOMATIC if streaming.holdback_chars is None else streaming.holdback_chars
    if max_chars is None:
        raise folder.error(
            key,
            f"The pattern can match a text of any length, so mode {streaming.mode} would let its beginning out.",
            "Bound its repetitions (`{0,30}` instead of `*`), or set custom_data.ratchet.streaming.mode: buffered.",
        )
    if max_chars > limit:
        raise folder.error(
            key,
            f"The pattern can match {max_chars} characters, and a stream holds back {limit}.",
            f"Shorten it, set custom_data.ratchet.streaming.holdback_chars: {max_chars}, or use mode buffered.",
        )
    return max_chars
