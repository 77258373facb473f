"""What a program behind the sidecar is given: variables, and the files that they lead to."""

from collections.abc import Mapping
from pathlib import Path

from proxy.agent.variables import leading_to, trusting

BUNDLE, WGETRC = "ca-bundle.pem", "wgetrc"
_SYSTEM_WGETRC = Path("/etc/wgetrc")


def variables(*, proxy_url: str, trust: Path, no_proxy: str = "") -> dict[str, str]:
    """What to add to a program's environment. `trust` is a file of certificates.

    `no_proxy` are hosts that are called around the proxy; it replaces what was inherited.
    """
    return {**leading_to(proxy_url), **trusting(trust), **dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy)}


def lay_out(folder: Path, certificates: bytes, *, proxy_url: str, no_proxy: str = "") -> Mapping[str, str]:
    """Write what programs read from files into `folder`, and return the variables that lead to it.

    wget has no variable for certificates, but one for its configuration; what the system's says is kept.
    """
    folder.chmod(0o755)
    trust = folder / BUNDLE
    _write(trust, certificates)
    given = _SYSTEM_WGETRC.read_bytes() if _SYSTEM_WGETRC.is_file() else b""
    _write(folder / WGETRC, given + f"\nca_certificate = {trust}\n".encode())
    found = variables(proxy_url=proxy_url, trust=trust, no_proxy=no_proxy)
    return {**found, "SYSTEM_WGETRC": str(folder / WGETRC)}


def _write(path: Path, data: bytes) -> None:
    """For whoever the program runs as: nothing in it is secret."""
    path.write_bytes(data)
    path.chmod(0o644)
