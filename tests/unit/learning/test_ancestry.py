"""No arithmetic and no second training washes an adapter clean of what it was trained on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ratchet_adapters.artifacts import open_store
from ratchet_adapters.datasets.dataset import FORMAT, Dataset, Row, RowKind, Split, rows_digest
from ratchet_adapters.datasets.leakage import LeakPair, LeakReport
from ratchet_adapters.flags import FlagStore
from ratchet_adapters.learning import LearnerSettings
from ratchet_adapters.learning.ancestry import leak_check
from ratchet_adapters.learning.trail import Trail
from ratchet_adapters.learning.workbench import Workbench
from ratchet_adapters.registry import AdapterRecord, DatasetRecord, Registry

BASE = "sha256:" + "b" * 64
SUITES = {"harm": ("v1", 10), "text": ("v1", 4)}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Workbench]:
    settings = LearnerSettings(state_dir=tmp_path)
    with Registry.open(settings.registry_url) as registry:
        yield Workbench(settings, registry, FlagStore.open(registry), open_store(str(tmp_path / "artifacts")))


class Family:
    """Makes datasets and the adapters that were learnt from them."""

    def __init__(self, bench: Workbench, folder: Path) -> None:
        self.bench, self.folder, self.made = bench, folder, 0

    def dataset(self, *leaked: str, checked: bool = True, suites: dict[str, tuple[str, int]] | None = None) -> str:
        self.made += 1
        row = Row(f"r{self.made}", RowKind.REFUSAL, Split.TRAIN, "", f"p{self.made}", "no", "seed", (), 0)
        pairs = tuple(LeakPair(row.id, "harm", item, "words", 1.0) for item in leaked)
        check = LeakReport(pairs, 1, suites or SUITES, 0.7, 0.92).as_json()
        manifest = {"format": FORMAT, "rows_digest": rows_digest([row]), "counts": {}}
        built = Dataset((row,), {**manifest, **({"leak_check": check} if checked else {})})
        return self.bench.artifacts.put_folder(built.write(self.folder / f"dataset-{self.made}"))

    def adapter(self, dataset: str = "", method: str = "sft-refusal", **settings: object) -> str:
        self.made += 1
        folder = self.folder / f"adapter-{self.made}"
        folder.mkdir()
        (folder / "ratchet.json").write_text(json.dumps({"method": method, "settings": settings, "n": self.made}))
        digest = self.bench.artifacts.put_folder(folder)
        run = self.bench.registry.create_run(method=method, options={}, requested_by="tester")
        now = datetime.now(UTC)
        if dataset:
            self.bench.registry.add_dataset(DatasetRecord(dataset, run.id, (), {}, now))
            self.bench.registry.update_run(run.id, dataset_digest=dataset)
        record = AdapterRecord(digest, f"a{self.made}", BASE, 8, 16.0, ("q_proj",), 1, run.id, "learner", now)
        self.bench.registry.add_adapter(record, "learner")
        return digest


@pytest.fixture
def family(bench: Workbench, tmp_path: Path) -> Family:
    return Family(bench, tmp_path)


def scaled(*parents: str) -> Trail:
    method, weights = ("scale" if len(parents) == 1 else "combine"), dict.fromkeys(parents, 0.9)
    return Trail("run", method=method, options={"training": {"adapters": weights}})


def test_a_scaled_adapter_has_seen_what_it_was_trained_on(bench: Workbench, family: Family) -> None:
    leaked = family.dataset("item-3")
    parent = family.adapter(leaked)
    dataset, found = leak_check(bench, scaled(parent))
    assert dataset == leaked and found is not None and not found.clean
    # However often it is done.
    again = family.adapter(method="scale", adapters={parent: 0.9})
    assert [pair.item_id for pair in (leak_check(bench, scaled(again))[1] or pytest.fail()).pairs] == ["item-3"]


def test_one_leaked_part_is_enough(bench: Workbench, family: Family) -> None:
    clean, leaked = family.adapter(family.dataset()), family.adapter(family.dataset("item-3"))
    found = leak_check(bench, scaled(clean, leaked))[1]
    assert found is not None and not found.clean and found.rows == 2
    only = leak_check(bench, scaled(clean))[1]
    assert only is not None and only.clean and only.suites == SUITES


def test_a_second_training_does_not_forget_the_first(bench: Workbench, family: Family) -> None:
    start = family.adapter(family.dataset("item-3"))
    own = family.dataset()
    trail = Trail("run", method="sft-refusal", dataset=own, options={"training": {"start": start}})
    dataset, found = leak_check(bench, trail)
    assert dataset == own and found is not None and not found.clean
    # Nor when the one before it began from there.
    second = family.adapter(family.dataset(), start=start)
    later = leak_check(bench, Trail("run", method="dpo", dataset=own, options={"training": {"start": second}}))[1]
    assert later is not None and not later.clean


def test_a_suite_counts_as_compared_if_every_dataset_was(bench: Workbench, family: Family) -> None:
    start = family.adapter(family.dataset(suites={"harm": ("v1", 10), "text": ("v0", 4)}))
    trail = Trail("run", method="sft-refusal", dataset=family.dataset(), options={"training": {"start": start}})
    found = leak_check(bench, trail)[1]
    assert found is not None and found.suites == {"harm": ("v1", 10)}


def test_an_ancestor_nobody_knows_leaves_no_check(bench: Workbench, family: Family) -> None:
    stranger = family.adapter()
    for parents in ((stranger,), (family.adapter(family.dataset()), stranger), ("sha256:" + "e" * 64,)):
        dataset, found = leak_check(bench, scaled(*parents))
        assert dataset and found is None, "a gate that asks for a check must find none"
    unchecked = family.adapter(family.dataset(checked=False))
    assert leak_check(bench, scaled(unchecked))[1] is None
    # What is known to have leaked stays known beside it.
    found = leak_check(bench, scaled(family.adapter(family.dataset("item-3")), stranger))[1]
    assert found is not None and not found.clean


def test_a_run_without_any_dataset_has_nothing_to_check(bench: Workbench) -> None:
    assert leak_check(bench, Trail("run", method="sft-refusal", options={})) == ("", None)
