"""A route grant on a terminal."""

from datetime import datetime

from proxy.cli.words import until
from proxy.core.grants import RouteGrant
from proxy.core.hiding import masked_path
from proxy.core.routes import ANY_BODY


def grant_words(grant: RouteGrant, *, used: int, now: datetime) -> list[tuple[str, str]]:
    """A grant as labels and values."""
    return [
        ("lets pass", passes(grant)),
        ("uses", f"{used} of {grant.count}"),
        ("until", until(grant.not_after, now)),
        ("given by", f"{grant.by}: {grant.reason}"),
    ]


def passes(grant: RouteGrant) -> str:
    """Which calls it lets pass."""
    route = grant.route
    query = " with the same query" if route.query and not route.vary else ""
    varies = f", any {', '.join(route.vary)}" if route.vary else ""
    body = f", any body of type {route.media or 'not given'}" if route.body == ANY_BODY else ""
    return f"{route.method} {route.origin}{masked_path(route.path)}{query}{varies}{body}"
