"""Refuses configured rails that could never stop anything. It must not know how a rail judges."""

from __future__ import annotations

from ratchet_server.rails.configfolder import ConfigFolder
from ratchet_server.rails.flows import Flow

__all__ = ["refuse_idle_rails"]


def refuse_idle_rails(folder: ConfigFolder, flows: tuple[Flow, ...]) -> None:
    """Check the rails whose own settings could make them watch only.

    Raises:
        RailConfigError: NeMo's context bloat rail is told to `warn`, which lets every text pass.
    """
    for flow in flows:
        section = ((folder.values.get("rails") or {}).get("config") or {}).get(flow.surface.manifest)
        if flow.surface.manifest == "context_bloat_detection" and (section or {}).get("action") == "warn":
            raise folder.error(
                ("rails", "config", flow.surface.manifest, "action"),
                "With `warn` the rail stops nothing, and nobody reads the warning.",
                f"Set reject or truncate; to watch first, set custom_data.ratchet.rails.{flow.text}: {{shadow: true}}.",
            )
