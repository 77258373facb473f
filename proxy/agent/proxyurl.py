"""The proxy's URL as whoever calls it is given it, and on which addresses nobody else can answer."""

from ipaddress import IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit


def read_proxy_url(url: str) -> SplitResult | None:
    """The parts of http://host:port or https://host:port, with credentials if there are any; None for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port and not parts.path.strip("/")
        (parts.hostname or "").encode("idna")  # as it is looked up: with no label that is empty or too long
    except ValueError:
        return None
    return parts if usable else None


def host_and_port(host: str, port: int) -> str:
    """As they stand in a URL (RFC 3986 §3.2.2)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether this is this machine's own address."""
    try:
        parsed = ip_address(host.partition("%")[0])
    except ValueError:
        return host == "localhost"
    mapped = parsed.ipv4_mapped if isinstance(parsed, IPv6Address) else None
    return (mapped or parsed).is_loopback
