"""A certificate authority of our own: an EC key made on first start, and short-lived leaves with keys of their own.

mitmproxy's store would make an RSA-2048 CA of ten years, sign every leaf with the CA's own key and never let one
expire. Here the CA key signs and nothing else; leaves share one key per worker, live a week and are remade in time.
"""

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from proxy.core.errors import Code, Rejected

CA_LIFE = timedelta(days=825)
LEAF_LIFE = timedelta(days=7)
LEAF_RENEWAL = timedelta(days=1)
BACKDATED = timedelta(hours=1)  # clients with a slow clock
CACHED_LEAVES = 1024

_KEY_FILE = "ca-key.pem"
_CERT_FILE = "ca.pem"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """A certificate for one name and the key that goes with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


class Authority:
    """Issues leaves for the names agents connect to."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.certificate = certificate
        self._key = key
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._leaves: OrderedDict[tuple[str, ...], Leaf] = OrderedDict()

    def leaf(self, names: tuple[str, ...], *, now: datetime) -> Leaf:
        """The leaf for these names (host names or IP literals), made or remembered."""
        known = self._leaves.get(names)
        if known is not None and known.certificate.not_valid_after_utc - now > LEAF_RENEWAL:
            self._leaves.move_to_end(names)
            return known
        leaf = Leaf(certificate=self._issue(names, now), key=self._leaf_key)
        self._leaves[names] = leaf
        if len(self._leaves) > CACHED_LEAVES:
            self._leaves.popitem(last=False)
        return leaf

    def _issue(self, names: tuple[str, ...], now: datetime) -> x509.Certificate:
        issuer_id = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(self._leaf_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(min(now + LEAF_LIFE, self.certificate.not_valid_after_utc))
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        """The CA certificate, for agents to trust."""
        return self.certificate.public_bytes(Encoding.PEM)

    def fingerprint(self) -> str:
        """SHA-256 of the certificate as colon-separated upper-case hex, as other tools print it."""
        return self.certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def load_authority(directory: Path, *, deployment: str, now: datetime) -> Authority:
    """The CA kept in `directory`, made there (0600) if there is none yet.

    Raises:
        Rejected(CONFIG_INVALID): half of it is missing, it has expired, it is unreadable, or others can read its key.
    """
    key_path, cert_path = directory / _KEY_FILE, directory / _CERT_FILE
    if not key_path.exists() and not cert_path.exists():
        _create(directory, deployment, now)
    for path in (key_path, cert_path):
        if not path.exists():
            raise Rejected(Code.CONFIG_INVALID, f"{path} is missing while its other half is there: restore it")
    mode = stat.S_IMODE(key_path.stat().st_mode)
    if mode & 0o077:
        raise Rejected(
            Code.CONFIG_INVALID,
            f"{key_path} must be readable by its owner only, got mode {mode:04o}; run: chmod 600 {key_path}",
        )
    try:
        key = load_pem_private_key(key_path.read_bytes(), password=None)
        certificate = x509.load_pem_x509_certificate(cert_path.read_bytes())
    except ValueError:
        raise Rejected(
            Code.CONFIG_INVALID, f"{key_path} and {cert_path} must hold one PEM key and certificate"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Rejected(Code.CONFIG_INVALID, f"{key_path} is not the elliptic-curve key of {cert_path}")
    if certificate.not_valid_after_utc <= now:
        raise Rejected(
            Code.CONFIG_INVALID,
            f"the CA in {cert_path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; "
            f"move {directory} aside, start again, and give agents the new certificate",
        )
    return Authority(certificate, key)


def _create(directory: Path, deployment: str, now: datetime) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"intent-proxy CA for {deployment}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "intent-proxy"),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(directory / _KEY_FILE, pem, 0o600)
    _write(directory / _CERT_FILE, certificate.public_bytes(Encoding.PEM), 0o644)


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
