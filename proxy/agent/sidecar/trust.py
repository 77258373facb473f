"""What lets the sidecar read a program's calls inside TLS: a CA of its own, and a certificate for each host.

Only programs that were told to trust this CA are read; others break off, and the tally says so.
"""

import ssl
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from proxy.agent.authority import LEAF_RENEWAL, Authority

_CACHED = 256


class Presenter:
    """Gives the TLS context with which the sidecar stands for a host."""

    def __init__(self, authority: Authority, *, clock: Callable[[], datetime]) -> None:
        self._authority, self._clock = authority, clock
        self._contexts: OrderedDict[str, tuple[ssl.SSLContext, datetime]] = OrderedDict()

    def context(self, host: str) -> ssl.SSLContext:
        """For `host`, a name or an IP address without brackets."""
        now = self._clock()
        known = self._contexts.get(host)
        if known is not None and known[1] - now > LEAF_RENEWAL:
            self._contexts.move_to_end(host)
            return known[0]
        leaf = self._authority.leaf((host,), now=now)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        with tempfile.TemporaryDirectory(prefix="intent-proxy-") as folder:  # ssl reads certificates from files only
            path = Path(folder) / "leaf.pem"
            path.touch(mode=0o600)
            key = leaf.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            path.write_bytes(key + leaf.certificate.public_bytes(Encoding.PEM) + self._authority.pem())
            context.load_cert_chain(path)
        self._contexts[host] = (context, leaf.certificate.not_valid_after_utc)
        if len(self._contexts) > _CACHED:
            self._contexts.popitem(last=False)
        return context
