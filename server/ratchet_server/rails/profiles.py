"""The rail profiles a server offers, by name: the shipped ones and those of a folder of the operator's.

It must not know what a profile consists of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from ratchet_server.rails.errors import RailConfigError, UnknownProfile
from ratchet_server.rails.generation import Generate
from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.scoring import ScorerPool

__all__ = ["DEFAULT_PROFILE", "OFF_PROFILE", "SHIPPED_PROFILES", "RailProfiles"]

SHIPPED_PROFILES = Path(__file__).with_name("profiles")
DEFAULT_PROFILE = "default"
OFF_PROFILE = "off"


class RailProfiles:
    """An immutable set of compiled profiles. A request keeps the Profile it got; a reload makes a new set."""

    def __init__(self, profiles: Mapping[str, Profile], default: str = DEFAULT_PROFILE) -> None:
        self._profiles = dict(profiles)
        self.default = self._profiles.get(default) or _unknown(default, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._profiles))

    def get(self, name: str = "") -> Profile:
        """Return a profile; "" is the default one. Raises UnknownProfile."""
        return (self._profiles.get(name) or _unknown(name, self.names)) if name else self.default

    @classmethod
    async def load(
        cls,
        folder: Path | None = None,
        *,
        scorers: ScorerPool,
        generate: Generate | None = None,
        default: str = DEFAULT_PROFILE,
    ) -> RailProfiles:
        """Check that the installed NeMo is the proven one, then compile the shipped profiles and the operator's.

        Args:
            folder: A folder with one configuration folder per profile. One named like a shipped profile replaces it.
            scorers: Runs the scorers; closed by the caller.
            generate: Asks the serving engine, for rails that ask a model.
            default: The profile of requests that name none.

        Raises:
            RailContractError: Another NeMo Guardrails is installed.
            RailConfigError: A configuration cannot be served exactly as written.
            ScorerError: A scorer does not load.
            UnknownProfile: There is no profile of the default's name.
        """
        from ratchet_server.rails.pin import verify_nemo_contract

        await verify_nemo_contract()
        folders = {**_subfolders(SHIPPED_PROFILES), **(_subfolders(folder) if folder is not None else {})}
        profiles = {
            name: await asyncio.to_thread(compile_profile, name, path, scorers=scorers, generate=generate)
            for name, path in folders.items()
        }
        return cls(profiles, default)


def _subfolders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise RailConfigError(folder, "There is no such folder.", "Name a folder of profile folders.")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if not found:
        raise RailConfigError(folder, "It holds no profile.", "Add a folder with a config.yml per profile.")
    return found


def _unknown(name: str, known: tuple[str, ...]) -> Profile:
    raise UnknownProfile(name, known)
