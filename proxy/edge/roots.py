"""Which CAs are trusted for connections to origins."""

from pathlib import Path

import certifi
from cryptography import x509

from proxy.core.errors import Code, Rejected
from proxy.policy.settings import Settings
from proxy.stores.files import write_atomically


def upstream_roots(settings: Settings, state: Path) -> str:
    """One PEM file of every CA trusted for upstream connections: the common roots and the configured ones.

    Raises:
        Rejected(CONFIG_INVALID): a configured file cannot be read.
    """
    parts = [Path(certifi.where()).read_bytes(), *(read_pem(path) for path in settings.upstream_cas)]
    path = state / "upstream-roots.pem"
    write_atomically(path, b"\n".join(parts))
    return str(path)


def read_pem(path: Path) -> bytes:
    """A PEM file with at least one certificate.

    Raises:
        Rejected(CONFIG_INVALID): it is missing or holds none.
    """
    try:
        data = path.read_bytes()
        x509.load_pem_x509_certificates(data)
    except (OSError, ValueError):
        raise Rejected(
            Code.CONFIG_INVALID, f"upstream_cas: {path} must be a readable PEM file with at least one certificate"
        ) from None
    return data
