"""Tries a compiled profile before it serves: every rail must give a verdict, and the profile's own cases must pass.

It must not know where profiles are kept, nor what serves meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ratchet_server.rails.cases import Case, cases_beside, run_case
from ratchet_server.rails.errors import RailConfigError
from ratchet_server.rails.profile import Profile

__all__ = ["try_out"]


async def try_out(profile: Profile, folder: Path, cases: Sequence[Case] | None = None) -> int:
    """Try a profile.

    Args:
        profile: As compiled from the folder.
        folder: The folder, for messages and for the cases in it.
        cases: These instead of the folder's.

    Returns:
        How many cases passed: all.

    Raises:
        RailConfigError: A rail fails on a plain text, or a case does not come out as expected; it names the line.
    """
    for verdict in await profile.probe():
        raise RailConfigError(
            folder,
            f"The rail {verdict.rail!r} fails on a plain text: {verdict.reason}.",
            "Repair what it needs, or disable it under custom_data.ratchet.rails.",
        )
    chosen = cases_beside(folder) if cases is None else cases
    for case in chosen:
        problem = (await run_case(profile, case)).problem
        if problem:
            raise RailConfigError(
                case.file,
                f"The profile {profile.name!r} fails its case {case.name!r}: {problem}.",
                "Correct the configuration or the case.",
                line=case.line,
            )
    return len(chosen)
