"""Throw-away CAs for client certificates, and certificates of every kind: good ones, and each way to be wrong.

authority = ClientAuthority()
good = authority.issue(uris=["spiffe://test.example/invoice-bot"])
pem, key = good.write(folder)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from certs import key_usage
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.core.certificates import thumbprint

CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
_DAY = timedelta(days=1)

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | dsa.DSAPrivateKey


@dataclass(frozen=True)
class Shown:
    """A client certificate with its key; `chain` is what the client shows, its own first."""

    chain: tuple[x509.Certificate, ...]
    key: Key

    @property
    def der(self) -> tuple[bytes, ...]:
        return tuple(each.public_bytes(Encoding.DER) for each in self.chain)

    @property
    def thumbprint(self) -> str:
        return thumbprint(self.der[0])

    def write(self, folder: Path, name: str = "client") -> tuple[Path, Path]:
        """Write `name`.pem and `name`.key, and return both paths."""
        pem, key = folder / f"{name}.pem", folder / f"{name}.key"
        pem.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in self.chain))
        key.write_bytes(self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        key.chmod(0o600)
        return pem, key


class ClientAuthority:
    """A CA of client certificates, its own root or below `above`."""

    def __init__(
        self,
        name: str = "agents of this test",
        *,
        above: "ClientAuthority | None" = None,
        now: datetime | None = None,
        path_length: int | None = None,
        permits: Sequence[x509.GeneralName] | None = None,
        says_usage: bool = True,
        signs: bool = True,
    ) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.above = above
        self.now = now or datetime.now(UTC)
        signer = above or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(signer.name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.now - 10 * _DAY)
            .not_valid_after(self.now + 30 * _DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False)
        )
        if says_usage:
            builder = builder.add_extension(key_usage(signs_certificates=signs), critical=True)
        if permits is not None:
            builder = builder.add_extension(
                x509.NameConstraints(permitted_subtrees=permits, excluded_subtrees=None), critical=True
            )
        self.certificate = builder.sign(signer.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def write(self, folder: Path, name: str = "client-ca") -> Path:
        path = folder / f"{name}.pem"
        path.write_bytes(self.pem)
        return path

    def issue(
        self,
        *,
        names: Sequence[str] = (),
        uris: Sequence[str] = (),
        purposes: Sequence[x509.ObjectIdentifier] | None = CLIENT,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        is_ca: bool = False,
        key: Key | None = None,
    ) -> Shown:
        """A certificate for a client, good for a day unless told otherwise, with what leads to the root."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an agent")]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or self.now - timedelta(hours=1))
            .not_valid_after(not_after or self.now + _DAY)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=is_ca), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if names or uris:
            general = [*map(x509.DNSName, names), *map(x509.UniformResourceIdentifier, uris)]
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        if purposes is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        own = builder.sign(self.key, hashes.SHA256())
        between: list[x509.Certificate] = []
        authority: ClientAuthority | None = self
        while authority is not None and authority.above is not None:
            between.append(authority.certificate)
            authority = authority.above
        return Shown(chain=(own, *between), key=key)
