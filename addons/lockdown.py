"""The one place that sets mitmproxy's options, and proves that none of them opens a way around the gate."""

from mitmproxy import ctx, options
from mitmproxy.exceptions import OptionsError

PINNED: dict[str, object] = {
    # Anything here with another value lets bytes past the gate, or dials before the verdict.
    "rawtcp": False,  # CONNECT then non-HTTP bytes would be a raw tunnel
    "websocket": False,  # mitmproxy's relay keeps every message and hides pings; ours is addons.websocket
    "http2": False,  # where it is spoken is for `EdgeTls` to say
    "connection_strategy": "lazy",  # eager dials upstream before the verdict
    "allow_hosts": [],
    "ignore_hosts": [],
    "tcp_hosts": [],
    "udp_hosts": [],
    "ssl_insecure": False,
    "upstream_cert": False,
    "add_upstream_certs_to_client_chain": False,
    "validate_inbound_headers": True,
    "normalize_outbound_headers": True,
    "stream_large_bodies": None,  # streaming sends a body before the gate has seen it
    "body_size_limit": None,
    "store_streamed_bodies": False,
    "keep_host_header": False,
    "show_ignored_hosts": False,
    "server": False,  # the listener is ours (proxy.edge.listen)
    "connect_addr": None,
    "client_certs": None,
    "request_client_cert": False,
    "ciphers_client": None,
    "ciphers_server": None,
    "tls_version_client_min": "TLS1_2",
    "tls_version_server_min": "TLS1_2",
    "proxy_debug": False,
}

TCP_TIMEOUT_S = 4000
"""Above the longest hold a connection may wait for (one hour), so that mitmproxy never ends a waiting call itself."""


class Lockdown:
    """Pins the options at start and refuses any later change of one of them."""

    def configure(self, updated: set[str]) -> None:
        check(ctx.options, updated)


def pin(opts: options.Options) -> None:
    """Set every pinned option that this mitmproxy knows; call it once the addons declared theirs."""
    opts.update(tcp_timeout=TCP_TIMEOUT_S, **PINNED)


def check(opts: options.Options, names: set[str] | None = None) -> None:
    """Compare options with their pinned values.

    Raises:
        OptionsError: one of them differs, or this mitmproxy does not have it; the proxy must not run.
    """
    for name, wanted in PINNED.items():
        if names is not None and name not in names:
            continue
        got = getattr(opts, name)
        if got != wanted:
            raise OptionsError(f"mitmproxy option {name} must be {wanted!r}, got {got!r}: it would open a way around")
