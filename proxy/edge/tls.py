"""mitmproxy's TLS set-up with our own certificate authority in place of its certificate store, and our own ALPN."""

from collections.abc import Callable
from datetime import UTC, datetime

from mitmproxy import certs, tls
from mitmproxy.addons.tlsconfig import AppData, TlsConfig, _default_ciphers, alpn_select_callback
from mitmproxy.connection import Server
from mitmproxy.net import tls as net_tls
from mitmproxy.proxy.context import Context
from OpenSSL import SSL, crypto

from addons.translate import Tunnels
from proxy.edge.ca import Authority
from proxy.edge.client_tls import ClientTls

HTTP1_ONLY = (b"http/1.1",)
HTTP2_OR_1 = (b"h2", b"http/1.1")
UNREADABLE = (b"",)
"""In place of a client's certificates that could not be read: it showed some, and they do not count."""


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

    def __init__(
        self,
        authority: Authority,
        offers_http2: Callable[[str, int], bool],
        *,
        tunnels: Tunnels,
        client_tls: ClientTls,
    ) -> None:
        self._authority = authority
        self._offers_http2 = offers_http2
        self._tunnels = tunnels
        self._client_tls = client_tls
        self._outer: SSL.Context | None = None
        self.certstore = _NoStore()  # type: ignore[assignment]

    def running(self) -> None:
        """Nothing to read: mitmproxy's own would look for its store again."""

    def configure(self, updated: set[str]) -> None:
        """Nothing to read: `Lockdown` pins every TLS option."""

    def tls_start_client(self, tls_start: tls.TlsData) -> None:
        """Speak HTTP/2 where it is wanted and the client can, as servers do: httpx, which can, names it last."""
        if _is_outer(tls_start.context):
            tls_start.ssl_conn = self._start_outer(tls_start.context)
            return
        client_id = tls_start.context.client.id
        if self._tunnels.redirected(client_id) is not None and client_id not in self._tunnels.named:
            return  # without a context mitmproxy closes the connection
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
        if _is_outer(conn_context):
            names = dict.fromkeys((client.sni or client.sockname[0], *self._client_tls.names))
        else:
            named = server.address[0] if server.address else None
            names = dict.fromkeys(name for name in (named, client.sni) if name)
        leaf = self._authority.leaf(tuple(names), now=datetime.now(UTC))
        return certs.CertStoreEntry(
            cert=certs.Cert(leaf.certificate),
            privatekey=leaf.key,  # type: ignore[arg-type]  # mitmproxy 12.2 says RSA and takes any
            chain_file=None,
            chain_certs=[],
        )

    # --- TLS to the proxy itself -------------------------------------------------------------------------------------

    def tls_established_client(self, established: tls.TlsData) -> None:
        """Keep what the client showed: mitmproxy forgets it when TLS begins inside a tunnel."""
        if not self._client_tls.anchors or not _is_outer(established.context):
            return
        assert established.ssl_conn is not None
        client_id = established.conn.id
        self._tunnels.certificates[client_id] = UNREADABLE  # if anything fails here, it must not count as nothing
        own = established.ssl_conn.get_peer_certificate()
        if own is None:
            del self._tunnels.certificates[client_id]
            return
        shown = (own, *(established.ssl_conn.get_peer_cert_chain() or ()))
        self._tunnels.certificates[client_id] = tuple(
            crypto.dump_certificate(crypto.FILETYPE_ASN1, each) for each in shown
        )

    def _start_outer(self, context: Context) -> SSL.Connection:
        self._outer = self._outer or self._outer_context()
        connection = SSL.Connection(self._outer)
        own = self._client_tls.own
        if own is None:
            entry = self.get_cert(context)
            connection.use_certificate(entry.cert.to_cryptography())
            connection.use_privatekey(entry.privatekey)
        else:
            connection.use_certificate(own.chain[0])
            connection.use_privatekey(own.key)
        connection.set_app_data(AppData(client_alpn=b"http/1.1", server_alpn=None, http2=False))
        connection.set_accept_state()
        return connection

    def _outer_context(self) -> SSL.Context:
        """As mitmproxy makes it for any client. A certificate is asked for, and whatever comes is accepted here:
        `proxy.core.certificates` judges it, call by call.
        """
        anchors, own = self._client_tls.anchors, self._client_tls.own
        context = net_tls.create_client_proxy_context(
            method=net_tls.Method.TLS_SERVER_METHOD,
            min_version=net_tls.Version.TLS1_2,
            max_version=net_tls.DEFAULT_MAX_VERSION,
            cipher_list=tuple(_default_ciphers(net_tls.Version.TLS1_2)),
            ecdh_curve=None,
            chain_file=None,
            alpn_select_callback=alpn_select_callback,
            request_client_cert=bool(anchors),
            extra_chain_certs=tuple(certs.Cert(each) for each in own.chain[1:]) if own is not None else (),
            dhparams=self.certstore.dhparams,
        )
        if anchors:  # else it is the context of every inner leg, too
            # A resumed session brings the client's certificate, but not those between it and its CA.
            context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
            context.set_options(SSL.OP_NO_TICKET)
            for anchor in anchors:
                context.add_client_ca(anchor)
        return context


def _is_outer(context: Context) -> bool:
    """Whether TLS begins between the client and the proxy itself: no CONNECT has named a destination."""
    return context.server.address is None
