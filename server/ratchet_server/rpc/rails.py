"""RailService: the rail profiles of a running server."""

from __future__ import annotations

from ratchet.v1 import common_pb2, rails_pb2_grpc
from ratchet.v1 import rails_pb2 as pb
from ratchet_server.rails.loading import ProfileLoad, ProfileLoader
from ratchet_server.rails.profiles import Offered
from ratchet_server.rpc import convert
from ratchet_server.rpc.guard import Context


class RailService(rails_pb2_grpc.RailServiceServicer):
    """See rails.proto."""

    def __init__(self, loader: ProfileLoader) -> None:
        self._loader = loader

    async def ReloadProfiles(self, request: pb.ReloadProfilesRequest, context: Context) -> pb.ReloadProfilesResponse:
        """A rejected profile is in the response; it is no error of the call."""
        loads = await self._loader.reload(request.names, drop_missing=request.drop_missing)
        return pb.ReloadProfilesResponse(loads=map(_load, loads))

    async def ListProfiles(self, request: pb.ListProfilesRequest, context: Context) -> pb.ListProfilesResponse:
        """By name."""
        profiles = self._loader.profiles
        default = profiles.default
        return pb.ListProfilesResponse(
            profiles=[_profile(each, default=each.profile is default) for each in profiles.offered()]
        )

    async def CheckText(self, request: pb.CheckTextRequest, context: Context) -> pb.CheckTextResponse:
        """Judges; generates nothing, keeps nothing, counts nothing."""
        profile = self._loader.profiles.get(request.rail_profile)
        messages = convert.messages_from_wire(request.messages)
        if request.HasField("answer"):
            decision = await profile.check_output(messages, request.answer)
        else:
            decision = await profile.check_input(messages)
        return pb.CheckTextResponse(
            outcome=common_pb2.Outcome.Value(f"OUTCOME_{decision.outcome.name}"),
            verdicts=map(convert.verdict, decision.verdicts),
            rewritten=decision.rewritten,
            rail_profile=profile.name,
            policy_version=profile.version,
        )


def _load(load: ProfileLoad) -> pb.ProfileLoad:
    return pb.ProfileLoad(
        name=load.name,
        outcome=pb.LoadOutcome.Value(f"LOAD_OUTCOME_{load.outcome.name}"),
        version=load.version,
        previous_version=load.previous,
        problem=load.problem,
        cases=load.cases,
        duration_ms=load.seconds * 1e3,
    )


def _profile(offered: Offered, *, default: bool) -> pb.Profile:
    profile = offered.profile
    return pb.Profile(
        name=profile.name,
        version=profile.version,
        default=default,
        input_rails=profile.input_rails,
        output_rails=profile.output_rails,
        streaming_mode=profile.streaming.mode,
        shadow_rails=profile.shadow_rails,
        loaded_at=convert.timestamp(offered.loaded_at),
        in_flight=offered.in_flight,
        draining=offered.draining,
    )
