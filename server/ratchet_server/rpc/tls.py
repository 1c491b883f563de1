"""Certificates of the two servers: read from files, and read again when the files change, without a restart.

A change that cannot be used (half written, a key of another certificate) is logged and leaves the old ones in force.
"""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from pydantic import BaseModel, model_validator

__all__ = ["Certificates", "TlsInvalid", "TlsSettings"]

log = logging.getLogger(__name__)


class TlsInvalid(Exception):
    """A certificate or key that cannot be used; says which and why."""


class TlsSettings(BaseModel, extra="forbid"):
    """PEM files. Replace them in place: they are read again at the next connection."""

    certificate: Path | None = None
    """The server's certificate, with the chain up to its authority."""

    key: Path | None = None
    client_ca: Path | None = None
    """Authorities whose client certificates are believed; see `access.certificates` for what those open."""

    client_required: bool = False
    """Turn away connections without such a certificate."""

    @property
    def on(self) -> bool:
        """Whether there is TLS at all."""
        return self.certificate is not None

    @model_validator(mode="after")
    def _whole(self) -> TlsSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("tls needs both `certificate` and `key`")
        if self.client_ca and not self.on:
            raise ValueError("`client_ca` needs `certificate` and `key`: without TLS there are no client certificates")
        if self.client_required and not self.client_ca:
            raise ValueError("`client_required` needs `client_ca`")
        return self


class Certificates:
    """The files in force."""

    def __init__(self, settings: TlsSettings) -> None:
        """Reads them.

        Raises:
            TlsInvalid: They cannot be used.
        """
        self._settings = settings
        self._stamp = self._look()
        self._pems = self._read()
        self._context: ssl.SSLContext | None = None
        self._lock = threading.Lock()

    def grpc_credentials(self) -> grpc.ServerCredentials:
        """Credentials that look at the files again at every handshake."""
        given = self._pems

        def changed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal given
            self.refresh()
            if self._pems is given:
                return None
            given = self._pems
            return self._configuration()

        return grpc.dynamic_ssl_server_credentials(
            self._configuration(),
            changed,  # type: ignore[arg-type]  # None, for no change, is missing in the stubs
            require_client_authentication=self._settings.client_required,
        )

    def ssl_context(self) -> ssl.SSLContext:
        """The context of the HTTP server; `refresh` brings it up to date. Authorities are only ever added to it."""
        if self._context is None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._load(self._context)
            if self._settings.client_ca:
                required = self._settings.client_required
                self._context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return self._context

    def refresh(self) -> bool:
        """Read the files again if they changed. Returns whether others are in force now. Thread-safe."""
        with self._lock:
            return self._refresh()

    def _refresh(self) -> bool:
        try:
            if (stamp := self._look()) == self._stamp:
                return False
            pems = self._read()
            if self._context is not None:
                self._load(self._context)
        except (TlsInvalid, ssl.SSLError, OSError) as error:
            log.error("the changed certificates are not taken, the old ones stay: %s", error)
            return False
        self._stamp, self._pems = stamp, pems
        log.info("certificates read again from %s", self._settings.certificate)
        return True

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        key, chain, authorities = self._pems
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authorities)

    def _load(self, context: ssl.SSLContext) -> None:
        assert self._settings.certificate is not None
        context.load_cert_chain(self._settings.certificate, self._settings.key)
        if self._settings.client_ca:
            context.load_verify_locations(self._settings.client_ca)

    def _files(self) -> list[Path]:
        given = (self._settings.key, self._settings.certificate, self._settings.client_ca)
        return [path for path in given if path is not None]

    def _look(self) -> list[tuple[int, int, int]]:
        try:
            stats = [path.stat() for path in self._files()]
        except OSError as error:
            raise TlsInvalid(f"{error.filename}: {error.strerror}") from error
        return [(stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats]

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        try:
            pems = [path.read_bytes() for path in self._files()]
            own = x509.load_pem_x509_certificates(pems[1])[0].public_key()
            private = load_pem_private_key(pems[0], password=None).public_key()
            if len(pems) > 2:
                x509.load_pem_x509_certificates(pems[2])
        except (OSError, ValueError, TypeError) as error:
            raise TlsInvalid(f"rpc.tls: {', '.join(map(str, self._files()))} cannot be used: {error}") from error
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if own.public_bytes(*form) != private.public_bytes(*form):
            raise TlsInvalid(f"rpc.tls.key {self._settings.key} is not the key of {self._settings.certificate}")
        return pems[0], pems[1], pems[2] if len(pems) > 2 else None
