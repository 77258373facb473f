"""TLS for the supervisor's own answer: with the certificates that the workers show, but by Python's own ssl.

No client is asked for a certificate here: the answer is the same for everybody.
"""

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.core.errors import Rejected
from proxy.edge.ca import Authority, load_authority
from proxy.edge.client_tls import Key, load_client_tls
from proxy.edge.surfaces import local_addresses
from proxy.policy.settings import Settings


def door_context(settings: Settings, host: str) -> ssl.SSLContext:
    """How TLS is spoken at `host`, an address of this machine, while no worker serves.

    Raises:
        Rejected(CONFIG_INVALID): what the certificates are made of cannot be used.
    """
    client_tls = load_client_tls(settings)
    own, state = client_tls.own, settings.state
    if own is not None:
        return _context(own.chain, own.key, state)
    authority = load_authority(state / "ca", deployment=settings.deployment, now=datetime.now(UTC))
    here = ipaddress.ip_address(host)
    addresses = {here} if not here.is_unspecified else {*local_addresses(), ipaddress.ip_address("127.0.0.1")}
    usual = (*map(str, addresses), *client_tls.names)
    context = _for_names(authority, usual, state)

    def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        if name is None or name in usual:
            return None
        try:
            connection.context = _for_names(authority, (name, *client_tls.names), state)
        except (Rejected, OSError, ValueError):
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        return None

    context.sni_callback = named
    return context


def _for_names(authority: Authority, names: tuple[str, ...], folder: Path) -> ssl.SSLContext:
    leaf = authority.leaf(tuple(dict.fromkeys(names)), now=datetime.now(UTC))
    return _context((leaf.certificate,), leaf.key, folder)


def _context(chain: Sequence[x509.Certificate], key: Key, folder: Path) -> ssl.SSLContext:
    """Python's ssl takes a key from a file alone: one that nobody else can read (0600), gone at once."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".door-") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.writelines(each.public_bytes(Encoding.PEM) for each in chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context
