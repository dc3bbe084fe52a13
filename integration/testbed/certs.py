"""Certificates of every kind that a TLS check must tell apart, from throw-away authorities."""

import datetime
import ipaddress
import itertools
import ssl
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

# All of 127.0.0.0/8 is this machine, and a scale test wants many addresses: one certificate names a few of them.
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "127.0.0.2", "127.0.0.3", "::1")
_DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Credential:
    """A certificate and its key, as PEM files, and when it ends."""

    certificate: Path
    key: Path
    not_after: datetime.datetime


class Authority:
    """A certificate authority. Two of them do not know each other.

    Attributes:
        certificate: its own certificate, a PEM file: what a client is told to trust.
    """

    def __init__(self, directory: Path, name: str = "authority") -> None:
        """Make the authority. Its files and those that it issues go into `directory`."""
        self._directory = directory
        self._name = name
        self._numbers = itertools.count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"bxhealth test {name}")
        now = datetime.datetime.now(datetime.timezone.utc)
        built = (
            _builder(subject, subject, self._key, now - _DAY, now + 3650 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self._subject = subject
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = directory / f"{name}.pem"
        self.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))

    def server(self, names: Sequence[str] = LOCAL_NAMES, *, days: float = 365) -> Credential:
        """A server's certificate for these host names and addresses, which ends in so many days."""
        return self._issue(names, ExtendedKeyUsageOID.SERVER_AUTH, days)

    def expired_server(self) -> Credential:
        """A server's certificate that ended yesterday."""
        return self.server(days=-1)

    def misnamed_server(self) -> Credential:
        """A server's certificate for another host."""
        return self.server(["elsewhere.example", "192.0.2.1"])

    def client(self, *, days: float = 365) -> Credential:
        """A client's certificate, which ends in so many days."""
        return self._issue(["bxhealth-test-client"], ExtendedKeyUsageOID.CLIENT_AUTH, days)

    def expired_client(self) -> Credential:
        """A client's certificate that ended yesterday."""
        return self.client(days=-1)

    def _issue(self, names: Sequence[str], usage: x509.ObjectIdentifier, days: float) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.timezone.utc)
        not_after = (now + days * _DAY).replace(microsecond=0)
        built = (
            _builder(_subject(names[0]), self._subject, key, now - 30 * _DAY, not_after)
            .add_extension(x509.SubjectAlternativeName(_alternatives(names)), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = self._directory / f"{self._name}-{next(self._numbers)}"
        credential = Credential(stem.with_suffix(".crt"), stem.with_suffix(".key"), not_after)
        credential.certificate.write_bytes(built.public_bytes(serialization.Encoding.PEM))
        credential.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return credential


def server_context(
    server: Credential, *, clients: Authority | None = None, protocols: Sequence[str] = ("h2",)
) -> ssl.SSLContext:
    """What a server needs for TLS.

    Args:
        server: its certificate.
        clients: the authority whose client certificates it demands; None to demand none.
        protocols: what it speaks, by ALPN name. gRPC clients insist on `h2`, Docker's on nothing.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.set_alpn_protocols(list(protocols))
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients.certificate)
    return context


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    return alternatives
