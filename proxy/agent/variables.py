"""The variables by which programs find their proxy and what to trust (docs/sidecar.md lists who reads which)."""

from pathlib import Path

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "WS_PROXY", "WSS_PROXY")
"""Each is read in lower case, too."""

TRUST = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "DENO_CERT",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
)
"""Each names a file of certificates, mostly in place of the system's own."""


def leading_to(proxy_url: str) -> dict[str, str]:
    """What sends a program's calls to the proxy. Node.js reads its variables only where it is told to."""
    return {**{name: proxy_url for each in PROXIES for name in (each, each.lower())}, "NODE_USE_ENV_PROXY": "1"}


def trusting(certificates: Path) -> dict[str, str]:
    """What makes a program trust the certificates in this file."""
    return dict.fromkeys(TRUST, str(certificates))
