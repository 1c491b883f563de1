"""Says what to do about a Colang file: which of its flows a library rail replaces, and what becomes of the rest.

It must not know what the flows mean; it goes by their names.
"""

from __future__ import annotations

import re
from pathlib import Path

from ratchet_server.rails.errors import RailConfigError

__all__ = ["refused_colang"]

# Colang 1.0 (`define flow name`), and 2.x (`flow name`).
_DEFINITION = re.compile(r"\s*(?:define\s+(user|bot|flow|subflow)|(flow))\s+([^\n:#($]+)")
_NAMED = 3
_REASON = "Colang flows are not run here: upstream deprecates them, and they cost 10 to 100 ms of event loop per check."


def refused_colang(file: Path) -> RailConfigError:
    """Return the error for a Colang file: the line of its first definition, and what to do instead of each kind."""
    # Only here: it imports NeMo, which takes a second.
    from ratchet_plugins.nemo.catalog import merged_catalog

    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [(number, match) for number, line in enumerate(lines, 1) if (match := _DEFINITION.match(line))]
    kinds = {match[1] or match[2] for _, match in found}
    flows = {match[3].strip() for _, match in found if (match[1] or match[2]) in ("flow", "subflow")}
    rails = {name for _, name in merged_catalog().surfaces()}
    remedies = []
    if flows & rails:
        remedies.append(f"List {_quoted(flows & rails)} under rails.input.flows or rails.output.flows.")
    if flows - rails or not found:
        named = _quoted(flows - rails) if flows - rails else "what it does"
        remedies.append(f"If {named} judges texts, make it a rail manifest in a package (`ratchet rails new`).")
    if "user" in kinds:
        remedies.append("For examples of user messages, list `topic safety check input $model=` with a prompt.")
    if "bot" in kinds:
        remedies.append("Bot messages are the application's: it gets a typed verdict.")
    remedies.append("Then remove the file.")
    return RailConfigError(file, _REASON, " ".join(remedies), line=found[0][0] if found else 0)


def _quoted(names: set[str]) -> str:
    ordered = sorted(names)
    shown = ", ".join(f"`{name}`" for name in ordered[:_NAMED])
    return f"{shown} and {len(ordered) - _NAMED} more" if len(ordered) > _NAMED else shown
