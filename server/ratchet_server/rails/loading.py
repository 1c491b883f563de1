"""Loads profiles from their folders, at start-up and again while the server runs.

A profile is compiled and tried aside and then put in the other's place. One that cannot be served as written, or whose
cases fail, changes nothing: what served before serves on. It must not know who asks for a reload.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ratchet_server.rails.cases import cases_beside
from ratchet_server.rails.errors import RailConfigError, RailsError, UnknownProfile
from ratchet_server.rails.generation import Generate
from ratchet_server.rails.profile import Profile, compile_profile
from ratchet_server.rails.profiles import DEFAULT_PROFILE, RailProfiles
from ratchet_server.rails.scoring import ScorerPool
from ratchet_server.rails.trial import try_out

__all__ = ["SHIPPED_PROFILES", "LoadOutcome", "ProfileLoad", "ProfileLoader"]

SHIPPED_PROFILES = Path(__file__).with_name("profiles")

log = logging.getLogger(__name__)


class LoadOutcome(enum.StrEnum):
    """What became of an attempt to load a profile anew."""

    SWAPPED = "SWAPPED"
    UNCHANGED = "UNCHANGED"
    REJECTED = "REJECTED"
    REMOVED = "REMOVED"


@dataclass(frozen=True, slots=True)
class ProfileLoad:
    """An attempt to load a profile anew.

    Attributes:
        version: What serves now; "" if the name is not offered.
        previous: What served before; "" if the name is new.
        problem: Why it was rejected, with file and line; "" otherwise.
        cases: Cases that passed.
        seconds: How long it took; requests were served meanwhile.
    """

    name: str
    outcome: LoadOutcome
    version: str
    previous: str
    problem: str = ""
    cases: int = 0
    seconds: float = 0.0


class ProfileLoader:
    """Compiles the shipped profiles and those of a folder of the operator's, and keeps the offered ones up to date.

    Args:
        folder: A folder with one configuration folder per profile. One named like a shipped profile replaces it.
        scorers: Runs the scorers; closed by the caller.
        generate: Asks the serving engine, for rails that ask a model.
        default: The profile of requests that name none.
        on_load: Told of every attempt to load a profile anew.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        scorers: ScorerPool,
        generate: Generate | None = None,
        default: str = DEFAULT_PROFILE,
        on_load: Callable[[ProfileLoad], None] = lambda load: None,
    ) -> None:
        self.folder = folder
        self._scorers, self._generate, self._default, self._on_load = scorers, generate, default, on_load
        self._profiles: RailProfiles | None = None
        self._sources: dict[str, Path] = {}
        self._turn = asyncio.Lock()

    @property
    def profiles(self) -> RailProfiles:
        """What is offered; after `start`."""
        if self._profiles is None:
            raise RuntimeError("the profiles have not been loaded yet: start() comes first")
        return self._profiles

    async def start(self) -> RailProfiles:
        """Check that the installed NeMo is the proven one, then compile all profiles, and try those that ask no model.

        Raises:
            RailContractError: Another NeMo Guardrails is installed.
            RailConfigError: A configuration cannot be served exactly as written, or one of its cases fails.
            ScorerError: A scorer does not load.
            UnknownProfile: There is no profile of the default's name.
        """
        from ratchet_server.rails.pin import verify_nemo_contract

        await verify_nemo_contract()
        self._sources = self._folders()
        compiled = {name: await self._compile(name, folder) for name, folder in self._sources.items()}
        for name, profile in compiled.items():
            if not profile.asks_model:
                await try_out(profile, self._sources[name])
        self._profiles = RailProfiles(compiled, self._default)
        return self._profiles

    async def try_with_engine(self) -> None:
        """Try the profiles that ask a model, once the engine answers. Raises RailConfigError."""
        for name, folder in self._sources.items():
            if name in self.profiles.names and self.profiles.get(name).asks_model:
                await try_out(self.profiles.get(name), folder)

    async def reload(self, names: Sequence[str] = (), *, drop_missing: bool = False) -> list[ProfileLoad]:
        """Load profiles anew, one after the other, while requests go on.

        Args:
            names: Which; none: all that are offered or have a folder.
            drop_missing: Stop offering those without a folder. Otherwise such a one is rejected and serves on: a
                folder may be gone only for as long as somebody copies it.

        Returns:
            What became of each. None of them raises.

        Raises:
            UnknownProfile: A name that is neither offered nor has a folder.
            RailConfigError: The folder of folders cannot be read; nothing has changed.
        """
        async with self._turn:
            folders = self._folders(may_be_empty=True)
            known = {*folders, *self.profiles.names}
            for name in names:
                if name not in known:
                    raise UnknownProfile(name, tuple(sorted(known)))
            return [await self._reload(name, folders.get(name), drop_missing) for name in sorted(names or known)]

    async def _reload(self, name: str, folder: Path | None, drop_missing: bool) -> ProfileLoad:
        began = time.perf_counter()
        offered = self.profiles
        before = offered.get(name).version if name in offered.names else ""
        version, problem, cases = before, "", 0
        try:
            if not drop_missing and self._source_is_gone(name, folder):
                raise RailConfigError(
                    self._sources[name],
                    "The folder is gone.",
                    "Bring it back, or reload with drop_missing to stop offering the profile.",
                )
            if folder is None:
                if name == self._default:
                    raise RailConfigError(
                        self._sources[name], "It is the default profile, which must not go.", "Name another default."
                    )
                offered.remove(name)
                self._sources.pop(name, None)
                outcome, version = LoadOutcome.REMOVED, ""
            else:
                profile = await self._compile(name, folder)
                cases = await try_out(profile, folder)
                outcome = LoadOutcome.UNCHANGED if profile.version == before else LoadOutcome.SWAPPED
                if outcome is LoadOutcome.SWAPPED:
                    offered.put(profile)
                self._sources[name] = folder
                version = profile.version
        except Exception as error:
            outcome, problem = LoadOutcome.REJECTED, _told(error)
            if not _expected(error):
                log.exception("the rail profile %r could not be loaded", name)
        load = ProfileLoad(name, outcome, version, before, problem, cases, time.perf_counter() - began)
        _report(load)
        self._on_load(load)
        return load

    def _source_is_gone(self, name: str, folder: Path | None) -> bool:
        """A shipped profile must not slip into the place of an operator's whose folder went away."""
        source = self._sources.get(name)
        return source is not None and source != folder and not source.is_dir()

    async def _compile(self, name: str, folder: Path) -> Profile:
        cases_beside(folder)  # a broken file of cases costs less to find than a configuration to compile
        return await asyncio.to_thread(compile_profile, name, folder, scorers=self._scorers, generate=self._generate)

    def _folders(self, *, may_be_empty: bool = False) -> dict[str, Path]:
        own = {} if self.folder is None else _subfolders(self.folder, may_be_empty)
        return {**_subfolders(SHIPPED_PROFILES, False), **own}


def _subfolders(folder: Path, may_be_empty: bool) -> dict[str, Path]:
    if not folder.is_dir():
        raise RailConfigError(folder, "There is no such folder.", "Name a folder of profile folders.")
    found = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")}
    if not found and not may_be_empty:
        raise RailConfigError(folder, "It holds no profile.", "Add a folder with a config.yml per profile.")
    return found


def _expected(error: Exception) -> bool:
    return isinstance(error, RailsError | OSError) or type(error).__module__.startswith("ratchet")


def _told(error: Exception) -> str:
    return str(error) if _expected(error) else f"{type(error).__name__}; the server's log has the cause"


def _report(load: ProfileLoad) -> None:
    if load.outcome is LoadOutcome.REJECTED:
        log.error("rail profile %r rejected, %s serves on: %s", load.name, load.version or "nothing", load.problem)
    elif load.outcome is not LoadOutcome.UNCHANGED:
        log.info("rail profile %r %s: %s", load.name, load.outcome.lower(), load.version or "no longer offered")
