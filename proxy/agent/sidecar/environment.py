"""What a program behind the sidecar is given: variables, and the files that they lead to."""

import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from proxy.agent.variables import leading_to, trusting

_OVERRULING = frozenset(
    {
        "CARGO_HTTP_PROXY",
        "FTP_PROXY",
        "GRPC_PROXY",
        "NO_GRPC_PROXY",
        "NPM_CONFIG_CA",
        "NPM_CONFIG_CAFILE",
        "NPM_CONFIG_HTTPS_PROXY",
        "NPM_CONFIG_HTTP_PROXY",
        "NPM_CONFIG_NOPROXY",
        "NPM_CONFIG_PROXY",
        "PIP_PROXY",
        "RCLONE_CA_CERT",
        "RCLONE_HTTP_PROXY",
    }
)
"""Some programs read these first, in whatever case: inherited, they would lead around the sidecar."""
_OF_THE_PROXY = "INTENT_PROXY_SECRET"  # the deployment's own, where exec is called from the operator's shell
BUNDLE, WGETRC = "ca-bundle.pem", "wgetrc"
_SYSTEM_WGETRC = Path("/etc/wgetrc")


def variables(*, proxy_url: str, trust: Path, no_proxy: str = "") -> dict[str, str]:
    """What to add to a program's environment. `trust` is a file of certificates.

    `no_proxy` are hosts that are called around the proxy; it replaces what was inherited.
    """
    return {**leading_to(proxy_url), **trusting(trust), **dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy)}


def inherited(given: Mapping[str, str], *, secrets: Collection[str] = ()) -> dict[str, str]:
    """What a program may keep of our variables: nothing that leads around the sidecar, and no secret of the proxy's.

    `secrets` are the variables from which the deployment takes credentials.
    """
    dropped = {_OF_THE_PROXY, *secrets}
    return {name: value for name, value in given.items() if name not in dropped and name.upper() not in _OVERRULING}


def lay_out(folder: Path, certificates: bytes, *, proxy_url: str, no_proxy: str = "") -> Mapping[str, str]:
    """Write what programs read from files into `folder`, and return the variables that lead to it.

    wget has no variable for certificates, but one for its configuration; what the system's says is kept.
    """
    folder.chmod(0o755)
    trust = folder / BUNDLE
    _write(trust, certificates)
    _write(folder / WGETRC, _system_wgetrc() + f"\nca_certificate = {trust}\n".encode())
    found = variables(proxy_url=proxy_url, trust=trust, no_proxy=no_proxy)
    return {**found, "SYSTEM_WGETRC": str(folder / WGETRC)}


def _system_wgetrc() -> bytes:
    """What all users' wget is told, where it is for all to read."""
    try:
        is_public = _SYSTEM_WGETRC.stat().st_mode & stat.S_IROTH
        return _SYSTEM_WGETRC.read_bytes() if is_public else b""
    except OSError:
        return b""


def _write(path: Path, data: bytes) -> None:
    """For whoever the program runs as: nothing in it is secret."""
    path.write_bytes(data)
    path.chmod(0o644)
