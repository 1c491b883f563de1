"""Signatures hold for what was signed by whom is trusted, and for nothing else."""

from __future__ import annotations

import base64
import json
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.provenance.conftest import KeyPair, World

from ratchet_adapters.errors import InvalidInput
from ratchet_adapters.provenance.envelope import open_envelope, seal
from ratchet_adapters.provenance.errors import (
    KeyExists,
    KeyUnusable,
    ModelSigningMissing,
    ProvenanceError,
    SignatureInvalid,
    SignatureMissing,
    SignerUntrusted,
    SigningPolicyInvalid,
)
from ratchet_adapters.provenance.keys import new_keys, read_private_key, read_public_key
from ratchet_adapters.provenance.lineage import lineage_of
from ratchet_adapters.provenance.openssf import new_ecdsa_keys, sign_folder
from ratchet_adapters.provenance.receipts import open_receipt, sign_receipt
from ratchet_adapters.provenance.settings import SigningPolicy
from ratchet_adapters.provenance.signing import Ed25519Signer, Ed25519Verifier, Signer, Verifier
from ratchet_adapters.provenance.statement import sign_adapter
from ratchet_adapters.provenance.verification import check_policy, keep_signature, signature_path, verify_adapter

RECEIPT = {"request_id": "r1", "adapter_digest": "", "scores": {"toxicity": 0.12}, "served_at": "2026-01-02T03:04:05Z"}


def test_keys_are_private_and_never_overwritten(keys: KeyPair) -> None:
    assert stat.S_IMODE(keys.private.stat().st_mode) == 0o600
    before = keys.private.read_bytes()
    with pytest.raises(KeyExists):
        new_keys(keys.private, keys.public)
    assert keys.private.read_bytes() == before


def test_a_password_is_needed_and_must_fit(tmp_path: Path) -> None:
    private, public = tmp_path / "a.key.pem", tmp_path / "a.pub.pem"
    key_id = new_keys(private, public, password="word")
    assert Ed25519Signer.read(private, password="word").key_id == key_id
    for password in ("", "other"):
        with pytest.raises(KeyUnusable):
            read_private_key(private, password=password)


def test_what_is_no_key_is_refused(keys: KeyPair, tmp_path: Path) -> None:
    junk, ecdsa = tmp_path / "junk.pem", tmp_path / "e"
    junk.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    new_ecdsa_keys(ecdsa.with_suffix(".key"), ecdsa.with_suffix(".pub"))
    for path in (junk, tmp_path / "absent", keys.private, ecdsa.with_suffix(".pub")):
        with pytest.raises(KeyUnusable):
            read_public_key(path)
    for path in (junk, tmp_path / "absent", keys.public, ecdsa.with_suffix(".key")):
        with pytest.raises(KeyUnusable):
            read_private_key(path)


def test_the_implementations_are_the_ports(keys: KeyPair) -> None:
    assert isinstance(keys.signer, Signer)
    assert isinstance(keys.verifier, Verifier)


def test_a_receipt_verifies_with_its_key_and_its_answer(keys: KeyPair, stranger: KeyPair) -> None:
    signed = sign_receipt(RECEIPT, "Grüezi \ud800", keys.signer)
    held = open_receipt(signed, keys.verifier, answer="Grüezi \ud800")
    assert (held.fields, held.key_id) == (RECEIPT, keys.key_id)
    assert signed == sign_receipt(dict(reversed(RECEIPT.items())), "Grüezi \ud800", keys.signer)
    with pytest.raises(SignatureInvalid, match="another answer"):
        open_receipt(signed, keys.verifier, answer="Grüezi")
    with pytest.raises(SignerUntrusted):
        open_receipt(signed, stranger.verifier)
    with pytest.raises(InvalidInput):
        sign_receipt({}, "", keys.signer)
    with pytest.raises(InvalidInput):
        sign_receipt({"request_id": "r", "score": float("nan")}, "", keys.signer)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spot=st.integers(0, 10_000), bit=st.integers(0, 7), what=st.sampled_from(["payload", "sig"]))
def test_one_flipped_bit_of_receipt_or_signature_is_found(keys: KeyPair, spot: int, bit: int, what: str) -> None:
    envelope = json.loads(sign_receipt(RECEIPT, "hello", keys.signer))
    holder = envelope if what == "payload" else envelope["signatures"][0]
    data = bytearray(base64.b64decode(holder[what]))
    data[spot % len(data)] ^= 1 << bit
    holder[what] = base64.b64encode(bytes(data)).decode()
    with pytest.raises(SignatureInvalid):
        open_receipt(json.dumps(envelope), keys.verifier)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps))
def test_what_is_no_envelope_is_refused(keys: KeyPair, text: str) -> None:
    with pytest.raises(ProvenanceError):
        open_receipt(text, keys.verifier)


def test_a_signature_of_one_kind_never_passes_for_another(keys: KeyPair) -> None:
    sealed = seal({"a": 1}, "type-a", keys.signer)
    assert open_envelope(sealed, "type-a", keys.verifier, what="it").value == {"a": 1}
    with pytest.raises(SignatureInvalid):
        open_envelope(sealed, "type-b", keys.verifier, what="it")
    relabelled = sealed.replace("type-a", "type-b")
    with pytest.raises(SignatureInvalid, match="not what was signed"):
        open_envelope(relabelled, "type-b", keys.verifier, what="it")


def test_a_stranger_who_takes_a_trusted_name_is_found(keys: KeyPair, stranger: KeyPair) -> None:
    forged = sign_receipt(RECEIPT, "", stranger.signer).replace(stranger.key_id, keys.key_id)
    with pytest.raises(SignatureInvalid):
        open_receipt(forged, keys.verifier)
    assert Ed25519Verifier([]).verify(keys.key_id, b"", b"") is False


def policy_of(keys: KeyPair, mode: str = "required") -> SigningPolicy:
    return SigningPolicy.model_validate({"mode": mode, "trusted_keys": [keys.public]})


@pytest.fixture
def signatures(world: World, keys: KeyPair) -> Path:
    """The learned adapter is signed; the uploaded one is not."""
    folder = world.state / "signatures"
    lineage = lineage_of(world.registry, world.artifacts, world.learned)
    keep_signature(folder, world.learned, sign_adapter(lineage, keys.signer))
    return folder


def test_a_signed_adapter_loads_by_folder_and_by_digest(world: World, keys: KeyPair, signatures: Path) -> None:
    for adapter in (world.learned, world.artifacts.fetch(world.learned)):
        held = verify_adapter(adapter, policy_of(keys), signatures)
        assert held.digest == world.learned
        assert held.statement is not None
        assert held.statement.key_id == keys.key_id
        assert held.statement.lineage == lineage_of(world.registry, world.artifacts, world.learned).digest


def test_an_unsigned_adapter_is_refused_only_when_required(world: World, keys: KeyPair, signatures: Path) -> None:
    with pytest.raises(SignatureMissing):
        verify_adapter(world.uploaded, policy_of(keys), signatures)
    assert verify_adapter(world.uploaded, policy_of(keys, "when_signed"), signatures).statement is None
    assert verify_adapter(world.uploaded, SigningPolicy(), signatures).statement is None


@pytest.mark.parametrize("mode", ["required", "when_signed"])
def test_a_bad_signature_is_refused_in_both_modes(
    world: World, keys: KeyPair, stranger: KeyPair, signatures: Path, mode: str
) -> None:
    shutil.copyfile(signature_path(signatures, world.learned), signature_path(signatures, world.uploaded))
    with pytest.raises(SignatureInvalid, match="it is of"):
        verify_adapter(world.uploaded, policy_of(keys, mode), signatures)
    with pytest.raises(SignerUntrusted):
        verify_adapter(world.learned, policy_of(stranger, mode), signatures)
    signature_path(signatures, world.learned).write_text("{}")
    with pytest.raises(SignatureInvalid):
        verify_adapter(world.learned, policy_of(keys, mode), signatures)


def test_a_changed_file_has_another_digest_and_so_no_signature(
    world: World, keys: KeyPair, signatures: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(world.artifacts.fetch(world.learned), copy)
    copy.chmod(0o755)
    weights = copy / "adapter_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    with pytest.raises(SignatureMissing):
        verify_adapter(copy, policy_of(keys), signatures)


def test_a_policy_that_can_not_work_is_refused(tmp_path: Path, keys: KeyPair) -> None:
    with pytest.raises(SigningPolicyInvalid):
        check_policy(SigningPolicy(mode="required"))
    with pytest.raises(KeyUnusable):
        check_policy(SigningPolicy(mode="required", trusted_keys=(tmp_path / "absent.pem",)))
    with pytest.raises(SigningPolicyInvalid):
        check_policy(SigningPolicy(openssf="required"))
    with pytest.raises(InvalidInput):
        signature_path(tmp_path, "../../etc/passwd")


def test_openssf_without_the_package_is_a_typed_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    private, public = tmp_path / "k", tmp_path / "p"
    new_ecdsa_keys(private, public)
    monkeypatch.setitem(sys.modules, "model_signing.signing", None)
    with pytest.raises(ModelSigningMissing):
        check_policy(SigningPolicy(openssf="required", openssf_key=public))


def test_openssf_bundles(world: World, tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    private, public, other = tmp_path / "k", tmp_path / "p", tmp_path / "other"
    new_ecdsa_keys(private, public)
    new_ecdsa_keys(tmp_path / "other.key", other)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    folder = tmp_path / "adapter"
    shutil.copytree(world.artifacts.fetch(world.learned), folder)
    folder.chmod(0o755)
    policy = SigningPolicy(openssf="required", openssf_key=public)
    signatures = tmp_path / "signatures"
    with pytest.raises(SignatureMissing):
        verify_adapter(folder, policy, signatures)
    sign_folder(folder, signature_path(signatures, world.learned, "openssf"), private)
    assert verify_adapter(folder, policy, signatures).openssf
    with pytest.raises(InvalidInput):
        verify_adapter(world.learned, policy, signatures)
    with pytest.raises(SignatureInvalid):
        verify_adapter(folder, SigningPolicy(openssf="required", openssf_key=other), signatures)
    with pytest.raises(KeyUnusable):
        verify_adapter(folder, SigningPolicy(openssf="required", openssf_key=private), signatures)
    bundle = signature_path(signatures, world.learned, "openssf").read_bytes()
    (folder / "README.md").write_text("added")
    from ratchet_adapters.artifacts import Manifest

    signature_path(signatures, Manifest.read(folder).digest, "openssf").write_bytes(bundle)
    with pytest.raises(SignatureInvalid, match="README"):
        verify_adapter(folder, policy, signatures)
