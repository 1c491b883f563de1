"""The lineage says what is recorded, and refuses to say anything when records contradict each other."""

from __future__ import annotations

import json

import jsonschema
import pytest
from sqlalchemy import text
from tests.unit.provenance.conftest import BASE, World

from ratchet_adapters.artifacts import ArtifactCorrupt
from ratchet_adapters.provenance.card import model_card
from ratchet_adapters.provenance.document import Lineage
from ratchet_adapters.provenance.errors import LedgerBroken, LineageBroken
from ratchet_adapters.provenance.lineage import lineage_of
from ratchet_adapters.registry import AdapterNotFound


def tamper(world: World, statement: str, **values: object) -> None:
    """Change the database behind the registry's back."""
    with world.registry.database.engine.begin() as connection:
        assert connection.execute(text(statement), values).rowcount > 0


def test_it_holds_data_licences_recipe_gate_and_approvals(world: World) -> None:
    found = lineage_of(world.registry, world.artifacts, "champion")
    assert found.adapter.digest == world.learned
    assert {file.name for file in found.adapter.files} == {
        "adapter_config.json", "adapter_model.safetensors", "ratchet.json",
    }  # fmt: skip
    assert found.training is not None
    assert (found.training.method, found.training.seed, found.training.recipe["learning_rate"]) == (
        "sft-refusal", 7, 0.001,
    )  # fmt: skip
    assert (found.training.steps, found.training.last_loss, found.training.requested_by) == (2, 1.25, "ops")
    assert found.data is not None
    assert [source.licence for source in found.data.sources] == ["not licensed | to others", "Apache-2.0"]
    assert found.data.flags == (world.flag,)
    (gate,) = found.gates
    assert (gate.outcome, gate.axes[0]["axis"], gate.flips_better, gate.flips_worse) == (
        "PASS", "harmful_refusal", 1, 0,
    )  # fmt: skip
    assert [(one.what, one.actor, one.decision) for one in found.approvals] == [
        ("flag.reviewed", "ann", "ACCEPTED"),
        ("routing.promoted", "bob", "promoted"),
    ]
    assert found.approvals[1].rests_on == "report-1"
    assert "numpy" in found.code.written_with["packages"]
    assert found.gaps == ("The code version it was trained with is not recorded.",)


def test_it_is_deterministic_and_reads_back_equal(world: World) -> None:
    first = lineage_of(world.registry, world.artifacts, world.learned)
    again = lineage_of(world.registry, world.artifacts, world.learned[:20])
    assert first.to_json() == again.to_json()
    assert Lineage.from_json(first.to_json()) == first
    jsonschema.validate(json.loads(first.to_json()), Lineage.model_json_schema())


def test_a_changed_document_is_refused(world: World) -> None:
    written = lineage_of(world.registry, world.artifacts, "champion").to_json()
    with pytest.raises(LineageBroken, match="digest"):
        Lineage.from_json(written.replace('"ann"', '"eve"'))
    with pytest.raises(LineageBroken):
        Lineage.from_json(written.replace("ratchet.lineage/1", "ratchet.lineage/9"))
    with pytest.raises(LineageBroken):
        Lineage.from_json("[]")


def test_an_uploaded_adapter_has_gaps_and_no_claims(world: World) -> None:
    found = lineage_of(world.registry, world.artifacts, world.uploaded)
    assert (found.training, found.data, found.gates, found.approvals) == (None, None, (), ())
    assert [entry.kind for entry in found.ledger] == ["adapter.added"]
    assert len(found.gaps) == 5


def test_the_base_model_has_none(world: World) -> None:
    with pytest.raises(AdapterNotFound):
        lineage_of(world.registry, world.artifacts, "base")


def test_a_rollback_is_told(world: World) -> None:
    world.registry.rollback(actor="dan", reason="complaints")
    found = lineage_of(world.registry, world.artifacts, world.learned)
    assert (found.approvals[-1].decision, found.approvals[-1].actor) == ("rolled back from it", "dan")


def test_a_broken_ledger_gives_no_lineage(world: World) -> None:
    tamper(world, "UPDATE ledger SET actor = 'eve' WHERE seq = 3")
    with pytest.raises(LedgerBroken):
        lineage_of(world.registry, world.artifacts, "champion")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE reports SET outcome = 'FAIL'",
        "UPDATE reports SET body = '{\"axes\":[]}'",
        "UPDATE adapters SET run_id = '' WHERE name = 'sft-refusal-1'",
        "UPDATE adapters SET rank = 5 WHERE name = 'sft-refusal-1'",
        "UPDATE runs SET method = 'dpo'",
        "UPDATE datasets SET flag_ids = '[]'",
    ],
)
def test_records_that_were_changed_outside_the_ledger_are_found(world: World, statement: str) -> None:
    tamper(world, statement)
    with pytest.raises(LineageBroken):
        lineage_of(world.registry, world.artifacts, world.learned)


def test_a_changed_adapter_file_is_found(world: World) -> None:
    path = world.artifacts.fetch(world.learned) / "adapter_model.safetensors"
    path.chmod(0o644)
    path.write_bytes(b"other")
    with pytest.raises(ArtifactCorrupt):
        lineage_of(world.registry, world.artifacts, world.learned)


def test_a_lost_dataset_is_a_gap(world: World) -> None:
    found = lineage_of(world.registry, world.artifacts, world.learned)
    assert found.data is not None
    world.artifacts.evict(found.data.digest)
    without = lineage_of(world.registry, world.artifacts, world.learned)
    assert without.data is not None
    assert without.data.sources == ()
    assert any("not in the artifact store" in gap for gap in without.gaps)


def test_the_card_holds_the_facts_and_keeps_its_tables(world: World) -> None:
    card = model_card(lineage_of(world.registry, world.artifacts, world.learned))
    assert world.learned in card
    assert f"`{BASE}`" in card
    assert "| prompts of reviewed flags | not licensed \\| to others | 1 |" in card
    assert "| harmful_refusal | PASS | 0.1 | 0.9 | 0.8 | 0.7 | 0.9 | 50 |" in card
    assert "promoted, by bob: it \\| passed" in card
    assert "| seed | 7 |" in card
    assert "reviewed, by ann" in card


def test_the_card_of_an_upload_says_what_is_not_known(world: World) -> None:
    card = model_card(lineage_of(world.registry, world.artifacts, world.uploaded))
    assert card.count("Not recorded.") == 2
    assert "No gate report." in card
    assert "It was never promoted." in card
    assert "no run made it" in card
