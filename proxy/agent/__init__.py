"""What runs beside an agent: signing, sessions, and reading the proxy's answers.

`from proxy.agent import IntentAuth` gives the auth for whichever of httpx, httpx2 and requests are installed: one class
for all of them. To import one library only, take it from `proxy.agent.httpx_auth`, `httpx2_auth` or `requests_auth`;
aiohttp's is a middleware and has a class of its own, in `proxy.agent.aiohttp_auth`.
`proxy.agent.answers` turns what the proxy answers into values, `proxy.agent.waiting` waits for a person's decision.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.agent.both import IntentAuth as IntentAuth

_LIBRARIES = ("httpx", "httpx2", "requests")


def __getattr__(name: str) -> type:
    """Import `IntentAuth` when it is first asked for, so that a signer alone needs none of the libraries."""
    if name != "IntentAuth":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    installed = tuple(library for library in _LIBRARIES if find_spec(library) is not None)
    if not installed:
        raise ImportError("IntentAuth needs httpx, httpx2 or requests: install one, or use proxy.agent.signer")
    return _auth_for(installed)


@cache
def _auth_for(libraries: tuple[str, ...]) -> type:
    auths: tuple[type, ...] = tuple(import_module(f"proxy.agent.{library}_auth").IntentAuth for library in libraries)
    return auths[0] if len(auths) == 1 else type("IntentAuth", auths, {"__doc__": auths[0].__doc__})
