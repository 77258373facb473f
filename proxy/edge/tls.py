"""mitmproxy's TLS set-up with our own certificate authority in place of its certificate store."""

from datetime import UTC, datetime

from mitmproxy import certs
from mitmproxy.addons.tlsconfig import TlsConfig
from mitmproxy.proxy.context import Context

from proxy.edge.ca import Authority


class _NoStore:
    """What `TlsConfig` still asks of its store."""

    dhparams = None


class EdgeTls(TlsConfig):
    """Leaves come from `Authority`; the store on disk, the CRL page and upstream-copied names are gone."""

    name = "tlsconfig"
    request = None  # type: ignore[assignment]  # mitmproxy's would answer a magic CRL path itself, before the gate

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self.certstore = _NoStore()  # type: ignore[assignment]

    def running(self) -> None:
        """Nothing to read: mitmproxy's own would look for its store again."""

    def configure(self, updated: set[str]) -> None:
        """Nothing to read: `Lockdown` pins every TLS option."""

    def get_cert(self, conn_context: Context) -> certs.CertStoreEntry:
        """A leaf for the CONNECT target, which the client's SNI must equal before any call is judged."""
        server, client = conn_context.server, conn_context.client
        named = server.address[0] if server.address else None
        names = dict.fromkeys(name for name in (named, client.sni) if name)
        leaf = self._authority.leaf(tuple(names) or (client.sockname[0],), now=datetime.now(UTC))
        return certs.CertStoreEntry(
            cert=certs.Cert(leaf.certificate),
            privatekey=leaf.key,  # type: ignore[arg-type]  # mitmproxy 12.2 says RSA and takes any
            chain_file=None,
            chain_certs=[],
        )
