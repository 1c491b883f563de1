"""Rails on a real server: a profile that joins while it runs, masks what the model reads, and asks the engine."""

from __future__ import annotations

from pathlib import Path

from ratchet.client import AsyncRatchet
from ratchet.v1 import common_pb2
from ratchet.v1 import rails_pb2 as pb
from ratchet_server.app import App

PROFILE = """
models: [{type: main, engine: ratchet, model: base}]
rails:
  input: {flows: [ratchet pii mask input, self check input]}
  output: {flows: [ratchet pii mask output]}
prompts: [{task: self_check_input, content: "Is this a question? Answer Yes or No. {{ user_input }}"}]
custom_data:
  ratchet:
    streaming: {mode: buffered}
    rails:
      ratchet pii mask input: {on_rewrite: apply}
      ratchet pii mask output: {on_rewrite: apply}
      self check input: {shadow: true}
"""


async def test_a_profile_joins_a_running_server_and_masks_what_the_model_reads(app: App, client: AsyncRatchet) -> None:
    folder = app.settings.rails.folder
    assert isinstance(folder, Path)
    (folder / "masked").mkdir()
    (folder / "masked" / "config.yml").write_text(PROFILE)
    (load,) = (await client.rails.ReloadProfiles(pb.ReloadProfilesRequest(names=["masked"]))).loads
    assert load.outcome in (pb.LOAD_OUTCOME_SWAPPED, pb.LOAD_OUTCOME_UNCHANGED), load.problem

    prompt = "My address is jane.doe@example.com. Which address did I give you?"
    answer = await client.generate(prompt, rail_profile="masked", max_tokens=16, temperature=0)
    assert "jane.doe" not in answer.text
    verdicts = {verdict.rail: verdict for verdict in answer.receipt.verdicts}
    mask = verdicts["ratchet pii mask input"]
    assert (mask.outcome, mask.rewrote, [span.kind for span in mask.spans]) == (
        common_pb2.OUTCOME_ALLOW, True, ["EMAIL"],
    )  # fmt: skip
    watching = verdicts["self check input"]
    assert (watching.shadow, watching.enforced) == (True, False)
    assert watching.outcome in (common_pb2.OUTCOME_ALLOW, common_pb2.OUTCOME_BLOCK), "the engine gave a verdict"
    listed = {profile.name: profile for profile in (await client.rails.ListProfiles(pb.ListProfilesRequest())).profiles}
    assert listed["masked"].version == answer.receipt.policy_version == load.version
    assert list(listed["masked"].shadow_rails) == ["self check input"]
