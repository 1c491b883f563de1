"""TLS and client certificates on both ports, and certificates that change while the server runs."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import trustme
from tests.unit.front.conftest import Serve

from ratchet.client import DeadlineExceeded, Tls, Unavailable
from ratchet_server.access.certificates import CertificateAuthenticator
from ratchet_server.access.door import Door
from ratchet_server.access.settings import Grant
from ratchet_server.rpc.tls import Certificates, TlsInvalid, TlsSettings

NO_HANDSHAKE = (Unavailable, DeadlineExceeded)
"""A channel tries the handshake again until the deadline."""


class Pki:
    """An authority and the server's files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = {"certificate": folder / "server.pem", "key": folder / "server.key"}
        self.renew()

    def renew(self) -> None:
        """A new authority, and certificates of it in place of the old ones."""
        self.authority = trustme.CA()
        self.ca = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(str(self.ca))
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.files["key"]))
        issued.cert_chain_pems[0].write_to_path(str(self.files["certificate"]))

    def client(self, name: str) -> Tls:
        """A client with a certificate."""
        issued = self.authority.issue_cert(name)
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return Tls(self.ca, certificate, key, "localhost")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


async def test_certificates_are_changed_without_a_restart(serve: Serve, pki: Pki) -> None:
    async with serve(rpc={"tls": pki.files}) as served:
        for _ in range(2):
            async with served.client(tls=Tls(pki.ca, server_name="localhost")) as client:
                assert (await client.generate("Hi", timeout=5)).text
            trusted = ssl.create_default_context(cafile=str(pki.ca))
            async with asyncio.timeout(10):
                while True:
                    try:
                        async with served.openai(http_client=httpx.AsyncClient(verify=trusted)) as api:
                            assert [m.id async for m in api.models.list()]
                        break
                    except openai.APIConnectionError:
                        await asyncio.sleep(0.1)
            before = Tls(pki.ca.rename(pki.folder / "old.pem"), server_name="localhost")
            pki.renew()
        async with served.client(tls=before) as client:
            with pytest.raises(NO_HANDSHAKE):
                await client.generate("Hi", timeout=1)
        # A change that cannot be used leaves in force what was.
        pki.files["key"].write_text("half written")
        async with served.client(tls=Tls(pki.ca, server_name="localhost")) as client:
            assert (await client.generate("Hi", timeout=5)).text


async def test_a_client_certificate_is_an_identity(serve: Serve, pki: Pki) -> None:
    shop = Grant(roles=frozenset({"app"}), tenant="shop")  # type: ignore[arg-type]
    door = Door([CertificateAuthenticator({"shop.internal": shop})], required=True)
    tls: dict[str, Any] = {**pki.files, "client_ca": pki.ca, "client_required": True}
    async with serve(door=door, rpc={"tls": tls}) as served:
        async with served.client(tls=pki.client("shop.internal")) as client:
            await client.generate("Hi", principal="x", timeout=5)
        assert (served.script.asked[-1].principal, served.script.asked[-1].tenant) == ("shop.internal", "shop")
        async with served.client(tls=pki.client("other.internal")) as client:
            with pytest.raises(Exception, match="nobody without credentials"):
                await client.generate("Hi", timeout=5)
        (pki.folder / "elsewhere").mkdir()
        foreign = Pki(pki.folder / "elsewhere").client("shop.internal")
        async with served.client(tls=Tls(pki.ca, foreign.certificate, foreign.key, "localhost")) as client:
            with pytest.raises(NO_HANDSHAKE):
                await client.generate("Hi", timeout=1)


def test_files_that_cannot_be_used_are_named(pki: Pki) -> None:
    Certificates(TlsSettings(**pki.files))
    other = pki.files["key"].with_name("other.key")
    pki.authority.issue_cert("x").private_key_pem.write_to_path(str(other))
    with pytest.raises(TlsInvalid, match=r"other\.key is not the key of"):
        Certificates(TlsSettings(certificate=pki.files["certificate"], key=other))
    other.write_text("no key")
    with pytest.raises(TlsInvalid, match=r"other\.key"):
        Certificates(TlsSettings(certificate=pki.files["certificate"], key=other))
    with pytest.raises(TlsInvalid, match="No such file"):
        Certificates(TlsSettings(certificate=pki.files["certificate"], key=pki.folder / "none"))
