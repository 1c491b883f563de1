"""The one table of who may call what. A call that is not in it is refused to everybody."""

from __future__ import annotations

from dataclasses import dataclass

from ratchet_server.access.identity import Role

__all__ = ["PERMISSIONS", "Permission", "permission"]

_APP, _REVIEWER, _OPS, _ADMIN = Role.APP, Role.REVIEWER, Role.OPS, Role.ADMIN


@dataclass(frozen=True, slots=True)
class Permission:
    """Who may make a call.

    Attributes:
        roles: One of them is needed; None: it is open to everybody, without credentials.
        audited: Whether each call goes into the ledger before it is carried out.
    """

    roles: frozenset[Role] | None
    audited: bool = False


_OPEN = Permission(None)


def _to(*roles: Role, audited: bool = False) -> Permission:
    return Permission(frozenset(roles), audited)


PERMISSIONS: dict[str, Permission] = {
    "/ratchet.v1.InferenceService/Generate": _to(_APP, _OPS, _ADMIN),
    "/ratchet.v1.InferenceService/GenerateStream": _to(_APP, _OPS, _ADMIN),
    "/ratchet.v1.FeedbackService/SubmitFlag": _to(_APP, _REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.FeedbackService/SubmitFlags": _to(_APP, _REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.FeedbackService/ListFlags": _to(_REVIEWER, _ADMIN),
    "/ratchet.v1.FeedbackService/ReviewFlag": _to(_REVIEWER, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/Register": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/Get": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.AdapterService/List": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.AdapterService/Promote": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/Rollback": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/GetTraffic": _to(_REVIEWER, _OPS, _ADMIN),
    # An approval is a second pair of eyes: those who promote do not give it.
    "/ratchet.v1.AdapterService/Approve": _to(_REVIEWER, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/BeginRollout": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.AdapterService/GetRollout": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.AdapterService/ListRollouts": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.LearningService/StartRun": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.LearningService/GetRun": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.LearningService/ListRuns": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.LearningService/WatchRun": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.LearningService/GetGateReport": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.EngineService/Load": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.EngineService/Unload": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.EngineService/Score": _to(_OPS, _ADMIN),
    "/ratchet.v1.EngineService/GetStatus": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.RailService/ReloadProfiles": _to(_OPS, _ADMIN, audited=True),
    "/ratchet.v1.RailService/ListProfiles": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.RailService/CheckText": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.ContainmentService/ContainFlags": _to(_REVIEWER, _OPS, _ADMIN, audited=True),
    "/ratchet.v1.ContainmentService/ListContainments": _to(_REVIEWER, _OPS, _ADMIN),
    "/ratchet.v1.ContainmentService/EndContainment": _to(_OPS, _ADMIN, audited=True),
    # The HTTP facade; a chat is checked as the RPC that it is.
    "GET /v1/models": _to(_APP, _REVIEWER, _OPS, _ADMIN),
    # Probes have no credentials, and the contract is public.
    "/grpc.health.v1.Health/Check": _OPEN,
    "/grpc.health.v1.Health/List": _OPEN,
    "/grpc.health.v1.Health/Watch": _OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": _OPEN,
    "GET /health": _OPEN,
}


def permission(call: str) -> Permission:
    """Who may make a call; nobody, for one that the table does not know."""
    return PERMISSIONS.get(call, Permission(frozenset()))
