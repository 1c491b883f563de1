"""The start-up check that the installed NeMo Guardrails is the one the rails were proven with.

The compiled-rail path is not a public interface of NeMo, so an upgrade must fail at boot, not let text through later.
It must not know any profile.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

from ratchet_server.rails import nemo
from ratchet_server.rails.errors import RailContractError
from ratchet_server.rails.verdict import Direction, Outcome

__all__ = ["PINNED_VERSION", "verify_nemo_contract"]

PINNED_VERSION = "0.24.1"
_FIELDS = {"llms", "llm_task_manager", "config", "model_caches", "http_client", "tracer"}
_OUTCOME_FIELDS = {"decision", "reason", "metadata", "transforms", "failed"}


async def verify_nemo_contract(version: str | None = None) -> None:
    """Check version, signatures, one regex that blocks and one that lets pass, and one rail that fails.

    Args:
        version: Stands in for the installed version in tests.

    Raises:
        RailContractError: Something is different.
    """
    installed = version or importlib.metadata.version("nemoguardrails")
    _expect(installed == PINNED_VERSION, f"version {PINNED_VERSION} is needed, {installed} is installed.")
    _check_signatures()
    await _check_regex()
    await _check_failing_rail()


def _expect(holds: bool, expectation: str) -> None:
    if not holds:
        raise RailContractError(expectation)


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _check_signatures() -> None:
    found = _parameters(nemo.compile_rail)
    _expect(found == ["flow", "direction", "deps", "catalog"], f"compile_rail takes {found}.")
    found = _parameters(nemo.CompiledRail.execute)
    _expect(found == ["self", "messages", "bot_response"], f"CompiledRail.execute takes {found}.")
    fields = {field.name for field in dataclasses.fields(nemo.RailDependencies)}
    _expect(fields == _FIELDS, f"RailDependencies has the fields {sorted(fields)}.")
    fields = {field.name for field in dataclasses.fields(nemo.RailOutcome)}
    _expect(fields == _OUTCOME_FIELDS, f"RailOutcome has the fields {sorted(fields)}.")


def _config(patterns: list[str]) -> Any:
    regex = {"regex_detection": {"input": {"patterns": patterns}}}
    return nemo.RailsConfig.from_content(config={"models": [], "rails": {"config": regex}})


async def _check_regex() -> None:
    catalog = nemo.merged_catalog()
    owner = catalog.manifests["regex"].actions
    target = owner.refs[0].target if owner is not None else ""
    _expect(bool(re.fullmatch(r"ratchet_plugins\.nemo\..*", target)), f"the regex rail is run by {target!r}.")
    rail = nemo.compile_flow("regex check input", Direction.INPUT, _config(["forbidden"]), {}, catalog)
    for text, outcome in (("a forbidden word", Outcome.BLOCK), ("a word", Outcome.ALLOW)):
        got = (await rail.execute([{"role": "user", "content": text}], None)).outcome
        _expect(got is outcome, f"a regex rail answers {got} where {outcome} is right.")


async def _check_failing_rail() -> None:
    # A configuration without the section the action reads: it raises AttributeError.
    rail = nemo.compile_flow("regex check input", Direction.INPUT, None, {}, nemo.merged_catalog())
    logger = logging.getLogger("nemoguardrails.guardrails.rail_guard")
    disabled, logger.disabled = logger.disabled, True  # this failure is wanted
    try:
        got = (await rail.execute([{"role": "user", "content": "x"}], None)).outcome
    finally:
        logger.disabled = disabled
    _expect(got is Outcome.FAILED, f"a rail that raises answers {got}, not FAILED.")
