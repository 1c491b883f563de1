"""Loading under a signing policy: what is not signed as it must be never reaches the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.routing.conftest import House, build

from ratchet_adapters.provenance.errors import SignatureInvalid, SignatureMissing, SignerUntrusted
from ratchet_adapters.provenance.keys import new_keys
from ratchet_adapters.provenance.lineage import lineage_of
from ratchet_adapters.provenance.settings import SigningPolicy
from ratchet_adapters.provenance.signing import Ed25519Signer
from ratchet_adapters.provenance.statement import sign_adapter
from ratchet_adapters.provenance.verification import keep_signature
from ratchet_server.app import signature_check
from ratchet_server.routing.swap import AdapterUnavailable
from ratchet_server.rpc.errors import status_name
from ratchet_server.settings import Settings


def key(folder: Path, name: str) -> tuple[Path, Ed25519Signer]:
    """A key pair: the public file, and who signs with the private one."""
    new_keys(folder / f"{name}.key.pem", folder / f"{name}.pub.pem")
    return folder / f"{name}.pub.pem", Ed25519Signer.read(folder / f"{name}.key.pem")


def signed(house: House, digest: str, signer: Ed25519Signer) -> str:
    """A signed statement on an adapter."""
    return sign_adapter(lineage_of(house.registry, house.artifacts, digest), signer)


async def test_only_what_a_trusted_key_has_signed_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    public, signer = key(tmp_path, "release")
    _, stranger = key(tmp_path, "stranger")
    settings = Settings(state_dir=tmp_path, signing=SigningPolicy(mode="required", trusted_keys=(public,)))
    house = build(tmp_path, tmp_path / "scratch", verify=signature_check(settings))
    digest, other = house.add("adapter"), house.add("other")
    signatures = settings.signing.signatures_dir(tmp_path)

    with pytest.raises(SignatureMissing) as missing:
        await house.swaps.ensure(digest)
    assert status_name(missing.value) == "FAILED_PRECONDITION"
    keep_signature(signatures, digest, signed(house, digest, stranger))
    with pytest.raises(SignerUntrusted):
        await house.swaps.ensure(digest)
    keep_signature(signatures, digest, signed(house, other, signer))
    with pytest.raises(SignatureInvalid):
        await house.swaps.ensure(digest)
    assert house.engine.folders == {} and not house.swaps.routable(digest)
    with pytest.raises(AdapterUnavailable):
        await house.swaps.usable(digest)

    keep_signature(signatures, digest, signed(house, digest, signer))
    await house.swaps.ensure(digest)
    assert house.swaps.routable(digest)


async def test_a_promotion_of_an_unsigned_adapter_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    public, _ = key(tmp_path, "release")
    settings = Settings(state_dir=tmp_path, signing=SigningPolicy(mode="required", trusted_keys=(public,)))
    house = build(tmp_path, tmp_path / "scratch", verify=signature_check(settings))
    with pytest.raises(SignatureMissing):
        await house.promote(house.add("adapter"))
    assert house.registry.routing().champion == "" == house.router.routing.champion
