"""Throw-away certificate authorities and server certificates, good and bad, made fresh for each test run.

    authority = certs.Authority("origins of this test")
    leaf = authority.server("api.example", "127.0.0.1")
    context = leaf.server_context()          # for an origin
    trust = authority.write(tmp_path)        # a PEM file to trust

Bad ones: `authority.expired(...)`, `authority.not_yet_valid(...)`, `self_signed(...)`; a wrong host is
`authority.server("other.example")`, an unknown root is any other `Authority`.
"""

import ssl
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Leaf:
    """A server certificate with its key, both PEM; `chain` is what the server sends."""

    chain: bytes
    key: bytes

    def server_context(self, *, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
        """A context for a TLS server that presents this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as folder:
            self.write(Path(folder))
            context.load_cert_chain(Path(folder) / "server.pem", Path(folder) / "server.key")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    def write(self, folder: Path, name: str = "server") -> tuple[Path, Path]:
        """Write `name`.pem and `name`.key, and return both paths."""
        pem, key = folder / f"{name}.pem", folder / f"{name}.key"
        pem.write_bytes(self.chain)
        key.write_bytes(self.key)
        key.chmod(0o600)
        return pem, key


class Authority:
    """A certificate authority nobody trusts until its `pem` is installed."""

    def __init__(self, name: str = "a throw-away test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    @cached_property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "origin-ca") -> Path:
        """Write the CA certificate as `name`.pem and return its path."""
        path = folder / f"{name}.pem"
        path.write_bytes(self.pem)
        return path

    def client_context(self) -> ssl.SSLContext:
        """A context for a TLS client that trusts this authority and nothing else."""
        return ssl.create_default_context(cadata=self.pem.decode("ascii"))

    def server(self, *names: str) -> Leaf:
        """A certificate valid now, for host names, wildcards and IP addresses alike."""
        now = datetime.now(UTC)
        return self._issue(names, now - _DAY, now + 7 * _DAY)

    def client(self, name: str) -> Leaf:
        """A certificate for a client to show, valid now."""
        now = datetime.now(UTC)
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH
        return _certify((name,), now - _DAY, now + 7 * _DAY, issuer=self._name, signer=self._key, purpose=purpose)

    def expired(self, *names: str) -> Leaf:
        """The same, but valid until yesterday only."""
        now = datetime.now(UTC)
        return self._issue(names, now - 9 * _DAY, now - _DAY)

    def not_yet_valid(self, *names: str) -> Leaf:
        """The same, but valid from tomorrow only."""
        now = datetime.now(UTC)
        return self._issue(names, now + _DAY, now + 9 * _DAY)

    def _issue(self, names: tuple[str, ...], not_before: datetime, not_after: datetime) -> Leaf:
        return _certify(names, not_before, not_after, issuer=self._name, signer=self._key)


def self_signed(*names: str) -> Leaf:
    """A server certificate signed by its own key."""
    now = datetime.now(UTC)
    return _certify(names, now - _DAY, now + 7 * _DAY, issuer=None, signer=None)


def _certify(
    names: tuple[str, ...],
    not_before: datetime,
    not_after: datetime,
    *,
    issuer: x509.Name | None,
    signer: ec.EllipticCurvePrivateKey | None,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
) -> Leaf:
    key = ec.generate_private_key(ec.SECP256R1())
    signer = signer or key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Leaf(
        chain=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    """Signatures, of certificates or of all else."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
