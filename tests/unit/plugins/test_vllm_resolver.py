"""Adapters by digest for a stock vLLM: fetched once, from content that is what its digest says, and no aliases."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

pytest.importorskip("vllm")

from ratchet_adapters.artifacts import ArtifactCorrupt, open_store
from ratchet_adapters.artifacts.folders import adapter_folder
from ratchet_plugins.vllm.resolver import DigestResolver, register

DIGESTS = [f"sha256:{number:064x}" for number in range(3)]


class Source:
    """Has some digests, slowly, and counts how often each was fetched."""

    def __init__(self, folder, has):
        self.folder, self.has, self.fetched = folder, has, []
        self.lock = threading.Lock()

    def __call__(self, digest):
        with self.lock:
            self.fetched.append(digest)
        time.sleep(0.05)
        return self.folder / digest[7:] if digest in self.has else None


async def test_requests_at_the_same_time_share_one_fetch_and_one_id(tmp_path):
    source = Source(tmp_path, DIGESTS)
    resolver = DigestResolver([source])
    asked = DIGESTS * 4
    found = await asyncio.gather(*(resolver.resolve_lora("model", name) for name in asked))
    assert sorted(source.fetched) == DIGESTS
    by_name = dict(zip(asked, found, strict=True))
    assert {request.lora_name for request in found} == set(DIGESTS)
    assert len({request.lora_int_id for request in by_name.values()}) == 3
    assert all(request.lora_path == str(tmp_path / request.lora_name[7:]) for request in found)


async def test_names_that_can_change_their_meaning_are_not_resolved(tmp_path):
    source = Source(tmp_path, DIGESTS)
    resolver = DigestResolver([source])
    for name in ("champion", "base", "", DIGESTS[0][:20], DIGESTS[0].upper(), f"{DIGESTS[0]}/../x"):
        assert await resolver.resolve_lora("model", name) is None
    assert source.fetched == []


async def test_what_nobody_has_is_asked_for_again_and_sources_follow_each_other(tmp_path):
    first, second = Source(tmp_path / "a", []), Source(tmp_path / "b", [])
    resolver = DigestResolver([first, second])
    assert await resolver.resolve_lora("model", DIGESTS[0]) is None
    second.has = DIGESTS[:1]
    found = await resolver.resolve_lora("model", DIGESTS[0])
    assert found.lora_path.startswith(str(tmp_path / "b"))


async def test_a_caller_that_goes_away_does_not_take_the_fetch_along(tmp_path):
    source = Source(tmp_path, DIGESTS)
    resolver = DigestResolver([source])
    leaving, staying = (asyncio.create_task(resolver.resolve_lora("model", DIGESTS[0])) for _ in range(2))
    await asyncio.sleep(0.01)
    leaving.cancel()
    assert (await staying).lora_name == DIGESTS[0]
    assert source.fetched == DIGESTS[:1]


def test_vllm_is_offered_the_resolver_only_where_it_may_load_adapters_while_it_runs(monkeypatch):
    from vllm.lora.resolver import LoRAResolverRegistry

    monkeypatch.setattr(LoRAResolverRegistry, "resolvers", {})
    monkeypatch.delenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", raising=False)
    register()
    assert not LoRAResolverRegistry.get_supported_resolvers()
    monkeypatch.setenv("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "1")
    register()
    register()
    assert list(LoRAResolverRegistry.get_supported_resolvers()) == ["ratchet_digest"]


async def test_folders_come_from_the_artifact_store_and_bytes_that_were_changed_are_refused(tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    (made / "adapter_config.json").write_text("{}")
    (made / "adapter_model.safetensors").write_bytes(b"weights")
    digest = open_store(str(tmp_path / "store")).put_folder(made)
    monkeypatch.setenv("RATCHET_ARTIFACTS__URL", str(tmp_path / "store"))
    resolver = DigestResolver([adapter_folder])
    assert await resolver.resolve_lora("model", DIGESTS[0]) is None
    found = await resolver.resolve_lora("model", digest)
    weights = adapter_folder(digest) / "adapter_model.safetensors"
    assert found.lora_path == str(weights.parent) and weights.read_bytes() == b"weights"
    weights.chmod(0o644)
    weights.write_bytes(b"others!")
    with pytest.raises(ArtifactCorrupt):
        await DigestResolver([adapter_folder]).resolve_lora("model", digest)
