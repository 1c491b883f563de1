"""Two-stage triage in a configuration: a rail that waits to be needed must come after one that can say it is not.

It must not know what either rail judges.
"""

from __future__ import annotations

from ratchet_server.rails.configfolder import ConfigFolder
from ratchet_server.rails.flows import Flow
from ratchet_server.rails.verdict import Direction

__all__ = ["refuse_idle_triage"]


def refuse_idle_triage(folder: ConfigFolder, flows: tuple[Flow, ...], *, parallel: bool) -> None:
    """Check `clear_below` and `only_when_unsure`.

    Raises:
        RailConfigError: One of them is set for an output rail, or for a rail that has no score; a rail waits for
            triage and none comes before it; or the input rails run at the same time.
    """
    clearing = False
    for flow in flows:
        settings, key = flow.settings, ("custom_data", "ratchet", "rails", flow.text)
        if not settings.enabled:
            continue
        if flow.direction is Direction.OUTPUT and (settings.clear_below is not None or settings.only_when_unsure):
            raise folder.error(key, "Triage is of prompts; this is an output rail.", "Remove it here.")
        if settings.clear_below is not None and not flow.surface.scorer:
            raise folder.error((*key, "clear_below"), "This rail gives no score.", "Set it for a rail with a scorer.")
        if settings.only_when_unsure and not clearing:
            remedy = "List one with `clear_below` before it."
            raise folder.error((*key, "only_when_unsure"), "No rail before it can clear a prompt.", remedy)
        if settings.only_when_unsure and parallel:
            remedy = "Remove `rails.input.parallel`."
            raise folder.error((*key, "only_when_unsure"), "The input rails run at the same time.", remedy)
        clearing = clearing or (settings.clear_below is not None and not settings.shadow)
