"""DICOM over TLS (PS3.15, B.12): TLS 1.2 or newer, both sides may show a certificate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, kw_only=True)
class TLSFiles:
    """Files in PEM form.

    Attributes:
        certificate: Our certificate, with the chain above it; a client may do without.
        key: Its private key, unencrypted.
        ca: Authorities that the other side's certificate must come from; None: as client the system's, as server none,
            and no certificate is asked for.
        require_client_certificate: As server: refuse peers without a certificate from `ca`.
        check_hostname: As client: the certificate must be for the host that we connect to.
    """

    certificate: Path | None = None
    key: Path | None = None
    ca: Path | None = None
    require_client_certificate: bool = True
    check_hostname: bool = True

    @classmethod
    def from_strings(cls, *, certificate: str | None, key: str | None, ca: str | None, **flags: bool) -> Self:
        """From plain strings, as they come out of JSON."""
        return cls(certificate=_path(certificate), key=_path(key), ca=_path(ca), **flags)

    def server_context(self) -> ssl.SSLContext:
        """For accepting connections; raises ValueError, OSError or ssl.SSLError if the files cannot be used."""
        import ssl

        if self.certificate is None:
            raise ValueError("TLS for a listener needs a certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.ca is not None:
            context.load_verify_locations(self.ca)
            context.verify_mode = ssl.CERT_REQUIRED if self.require_client_certificate else ssl.CERT_OPTIONAL
        return context

    def client_context(self) -> ssl.SSLContext:
        """For opening connections; raises OSError or ssl.SSLError if the files cannot be used."""
        import ssl

        context = ssl.create_default_context(cafile=self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


def _path(value: str | None) -> Path | None:
    return None if value is None else Path(value)
