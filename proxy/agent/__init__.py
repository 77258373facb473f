"""What runs beside an agent: signing, sessions, and reading the proxy's answers.

`from proxy.agent import IntentAuth` gives the auth for whichever of httpx and requests is installed, or for both. To
import one library only, take it from `proxy.agent.httpx_auth` or `proxy.agent.requests_auth`.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.agent.both import IntentAuth as IntentAuth


def __getattr__(name: str) -> type:
    """Import `IntentAuth` when it is first asked for, so that a signer alone needs neither library."""
    if name != "IntentAuth":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    installed = tuple(library for library in ("httpx", "requests") if find_spec(library) is not None)
    if not installed:
        raise ImportError("IntentAuth needs httpx or requests: install one of them, or use proxy.agent.signer")
    chosen = "both" if len(installed) == 2 else f"{installed[0]}_auth"
    found: type = import_module(f"proxy.agent.{chosen}").IntentAuth
    return found
