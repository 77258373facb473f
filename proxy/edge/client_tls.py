"""TLS between agents and the proxy itself: which certificate it shows, and which CAs' client certificates count."""

import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from proxy.core.certificates import read_certificates
from proxy.core.errors import Code, Rejected
from proxy.policy.settings import Settings

type Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCertificate:
    """A certificate made elsewhere for this proxy, its own first, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTls:
    """How TLS is spoken with agents, outside any tunnel."""

    names: tuple[str, ...] = ()  # besides the one a client asks for, in the certificates that our CA makes
    own: OwnCertificate | None = None  # in place of them
    anchors: tuple[x509.Certificate, ...] = ()  # whose client certificates count; none: none is asked for


def load_client_tls(settings: Settings) -> ClientTls:
    """What `tls` of proxy.yaml says, read and checked.

    Raises:
        Rejected(CONFIG_INVALID): a file is missing, unreadable, not what it should be, or a key others can read.
    """
    tls = settings.tls
    anchors = [
        anchor
        for path in tls.client_cas
        for anchor in read_certificates(_read(path, "tls.client_cas"), where=f"tls.client_cas: {path}")
    ]
    for anchor in anchors:
        if not _is_authority(anchor):
            name = anchor.subject.rfc4514_string()
            detail = f"tls.client_cas: {name} is not a CA's certificate (basicConstraints CA:TRUE); name the CA's own"
            raise Rejected(Code.CONFIG_INVALID, detail)
    return ClientTls(names=tls.names, own=_own(tls.certificate, tls.key), anchors=tuple(anchors))


def _own(certificate: Path | None, key: Path | None) -> OwnCertificate | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise Rejected(Code.CONFIG_INVALID, "tls.certificate and tls.key must both be there, or neither")
    chain = read_certificates(_read(certificate, "tls.certificate"), where=f"tls.certificate: {certificate}")
    data = _read(key, "tls.key")
    mode = stat.S_IMODE(key.stat().st_mode)
    if mode & 0o077:
        detail = f"tls.key: {key} must be readable by its owner only, got mode {mode:04o}; run: chmod 600 {key}"
        raise Rejected(Code.CONFIG_INVALID, detail)
    try:
        loaded = load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        raise Rejected(Code.CONFIG_INVALID, f"tls.key: {key} must hold one PEM key without a password") from None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise Rejected(Code.CONFIG_INVALID, f"tls.key: {key} must be an elliptic-curve or RSA key")
    if loaded.public_key() != chain[0].public_key():
        raise Rejected(Code.CONFIG_INVALID, f"tls.key: {key} is not the key of the first certificate in {certificate}")
    return OwnCertificate(chain=chain, key=loaded)


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as fault:
        raise Rejected(Code.CONFIG_INVALID, f"{what}: {path} cannot be read: {fault.strerror}") from None
