"""Finding what a recipe names: among the built-in ones, or among those that packages add as entry points.

It must not know what is found, nor import it before it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from ratchet_adapters.training.errors import PluginOptionsInvalid, PluginUnknown

__all__ = ["plugin"]


def plugin(
    name: str,
    options: Mapping[str, Any],
    *first: Any,
    built_in: Mapping[str, str],
    unknown: type[PluginUnknown],
    invalid: type[PluginOptionsInvalid],
) -> Any:
    """Return what the callable of this name makes of its arguments; an installed one comes before a built-in one.

    Args:
        name: As the recipe has it.
        options: Keywords for the callable.
        first: Positional arguments before them.
        built_in: Name to "module:callable".
        unknown: Raised when there is none; its `group` is the entry-point group that is searched.
        invalid: Raised when the callable does not take the options.
    """
    added = {entry.name: entry for entry in entry_points(group=unknown.group)}
    if name in added:
        make: Any = added[name].load()
    elif name in built_in:
        module, function = built_in[name].split(":")
        make = getattr(import_module(module), function)
    else:
        raise unknown(name, {*added, *built_in})
    try:
        return make(*first, **options)
    except (TypeError, ValueError) as error:
        raise invalid(name, str(error)) from error
