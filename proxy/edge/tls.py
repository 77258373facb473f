"""mitmproxy's TLS set-up with our own certificate authority in place of its certificate store, and our own ALPN."""

from collections.abc import Callable
from datetime import UTC, datetime

from mitmproxy import certs, tls
from mitmproxy.addons.tlsconfig import AppData, TlsConfig
from mitmproxy.connection import Server
from mitmproxy.proxy.context import Context

from proxy.edge.ca import Authority

HTTP1_ONLY = (b"http/1.1",)
HTTP2_OR_1 = (b"h2", b"http/1.1")


class _NoStore:
    """What `TlsConfig` still asks of its store."""

    dhparams = None


class EdgeTls(TlsConfig):
    """Leaves come from `Authority`; the store on disk, the CRL page and upstream-copied names are gone.

    HTTP/2 is spoken with a client only inside a tunnel to where a rule wants it (`offers_http2`, of a host and port),
    and with an origin only on behalf of such a client. mitmproxy's own option for it stays off.
    """

    name = "tlsconfig"
    request = None  # type: ignore[assignment]  # mitmproxy's would answer a magic CRL path itself, before the gate

    def __init__(self, authority: Authority, offers_http2: Callable[[str, int], bool]) -> None:
        self._authority = authority
        self._offers_http2 = offers_http2
        self.certstore = _NoStore()  # type: ignore[assignment]

    def running(self) -> None:
        """Nothing to read: mitmproxy's own would look for its store again."""

    def configure(self, updated: set[str]) -> None:
        """Nothing to read: `Lockdown` pins every TLS option."""

    def tls_start_client(self, tls_start: tls.TlsData) -> None:
        """Speak HTTP/2 where it is wanted and the client can, as servers do: httpx, which can, names it last."""
        super().tls_start_client(tls_start)
        tunnel = tls_start.context.server.address  # set by an accepted CONNECT alone
        wanted = tunnel is not None and self._offers_http2(tunnel[0], tunnel[1])
        spoken = b"h2" if wanted and b"h2" in tls_start.conn.alpn_offers else None
        assert tls_start.ssl_conn is not None
        tls_start.ssl_conn.set_app_data(AppData(client_alpn=spoken, server_alpn=None, http2=False))

    def tls_start_server(self, tls_start: tls.TlsData) -> None:
        """Offer the origin HTTP/2 for a client that speaks it, whose calls it can then carry side by side."""
        assert isinstance(tls_start.conn, Server)
        tls_start.conn.alpn_offers = HTTP2_OR_1 if tls_start.context.client.alpn == b"h2" else HTTP1_ONLY
        super().tls_start_server(tls_start)

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
