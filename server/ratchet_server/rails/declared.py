"""Checks what rails declare of themselves: their own configuration, and what they need of the way an answer leaves.

It must not know any rail in particular.
"""

from __future__ import annotations

from typing import Any

from ratchet_plugins.nemo.errors import RailMisconfigured
from ratchet_server.rails.configfolder import ConfigFolder
from ratchet_server.rails.flows import Flow
from ratchet_server.rails.settings import Streaming
from ratchet_server.rails.verdict import Direction

__all__ = ["check_declared"]


def check_declared(folder: ConfigFolder, config: Any, streaming: Streaming, flows: tuple[Flow, ...]) -> None:
    """Check all listed rails, the disabled ones included.

    Args:
        config: NeMo's configuration object.

    Raises:
        RailConfigError: A rail refuses its configuration; one that judges whole answers guards some that leave in
            pieces; or a later rail may take out what an earlier one asks for.
    """
    for place, flow in enumerate(flows):
        said = flow.surface.declared
        if said.check is not None:
            try:
                said.check(flow.surface.parameters, config)
            except RailMisconfigured as error:
                raise folder.error(error.key or flow.key, error.problem, error.remedy) from error
        if flow.direction is Direction.INPUT:
            continue
        if said.whole_text and streaming.mode != "buffered" and not flow.settings.shadow:
            raise folder.error(
                flow.key,
                f"The rail {flow.surface.name!r} judges whole answers, and in mode {streaming.mode} a part has left.",
                "Set custom_data.ratchet.streaming.mode: buffered.",
            )
        later = flows[place + 1 :] if said.guards_presence else ()
        _refuse_removal(folder, flow, later)


def _refuse_removal(folder: ConfigFolder, flow: Flow, later: tuple[Flow, ...]) -> None:
    for other in later:
        rewriting = other.rewrites and other.settings.on_rewrite == "apply"
        if other.direction is Direction.OUTPUT and rewriting and not other.surface.declared.guards_presence:
            raise folder.error(
                flow.key,
                f"The rail {other.surface.name!r} after {flow.surface.name!r} could remove what this one asks for.",
                f"List {flow.text!r} after it.",
            )
