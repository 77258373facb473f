"""Where the review desk is, and the links that sign somebody in there: what is said of it on a terminal."""

import ipaddress
import socket
import sys

from proxy.cli.deployment import Deployment, now
from proxy.cli.screen import GOOD, NOTE, WARN, Screen, document
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle
from proxy.edge.sockets import reserve
from proxy.policy.enrolled import person_in
from proxy.policy.settings import Settings
from proxy.review.desk.links import LIVES, Links
from proxy.review.desk.tokens import Tokens

_MINUTES = int(LIVES.total_seconds() // 60)


def desk_links(settings: Settings) -> Links:
    """The one-time links of a deployment."""
    return Links(settings.state / "desk" / "links", clock=now)


def desk_tokens(settings: Settings) -> Tokens:
    """The tokens of a deployment's API."""
    return Tokens(settings.state / "desk" / "tokens", clock=now)


def desk_origins(settings: Settings, port: int) -> tuple[str, ...]:
    """Under which names the desk answers, the one for people first.

    Raises:
        Rejected(CONFIG_INVALID): other machines reach it, and would send their cookies in clear.
    """
    url, listen = settings.desk.url, settings.desk.listen
    local = ipaddress.ip_address(listen.host).is_loopback
    if url is not None and (url.startswith("https://") or not local):
        return (url,)  # http://localhost of a container is a port that its machine publishes on its own loopback
    if not local:
        detail = (
            f"desk.url: other machines reach the desk at {listen}: say https://NAME there, and let TLS end before it; "
            "in a container whose port is published on 127.0.0.1 alone, http://localhost and that port; or let it "
            "listen on 127.0.0.1"
        )
        raise Rejected(Code.CONFIG_INVALID, detail, field="desk.url")
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return (url or f"http://localhost:{port}", f"http://{host}:{port}")


def desk_sockets(settings: Settings) -> tuple[socket.socket, ...]:
    """Where the desk listens. `localhost` is two addresses, and whoever had the other could take a link or a cookie.

    Raises:
        Rejected(CONFIG_INVALID): an address is taken, or not ours to bind.
    """
    listen = settings.desk.listen
    first = reserve(listen.host, listen.port)
    if not ipaddress.ip_address(listen.host).is_loopback:
        return (first,)
    other = "::1" if ipaddress.ip_address(listen.host).version == 4 else "127.0.0.1"
    if not _has(other):
        return (first,)
    try:
        return first, reserve(other, first.getsockname()[1])
    except Rejected:
        first.close()
        raise


def newcomer(bundle: Bundle) -> str | None:
    """Whom a link is for when nobody was named: whoever answers for the first agent."""
    sponsors = [bundle.agents[agent].sponsor for agent in sorted(bundle.agents)]
    return next((name for name in (*sponsors, *sorted(bundle.people)) if name in bundle.people), None)


def announce_desk(deployment: Deployment, bundle: Bundle, *, port: int, name: str | None) -> None:
    """Say where the desk is. A link is printed where somebody looks, never into a log."""
    settings = deployment.settings
    where = desk_origins(settings, port)[0]
    Screen().say(f"review desk ready on {where} · {bundle.deployment}", style=GOOD if bundle.signed else WARN)
    if sys.stdout.isatty() and settings.desk.links:
        print_link(deployment, bundle, name, port=port)
    sys.stdout.flush()


def print_link(
    deployment: Deployment, bundle: Bundle, name: str | None, *, port: int | None = None, as_json: bool = False
) -> None:
    """Make a link and print it. `port` is where the desk is known to listen, else as the settings say.

    Raises:
        Rejected(CONFIG_INVALID): nobody signs in so, there is no such person, or nobody can say where the desk is.
    """
    settings = deployment.settings
    if not settings.desk.links:
        raise Rejected(Code.CONFIG_INVALID, "desk.links is false: nobody signs in by a link here", field="desk.links")
    who = newcomer(bundle) if name is None else person_in(bundle, name).id
    if who is None:
        raise Rejected(Code.CONFIG_INVALID, "nobody is enrolled who could sign in; see people add")
    port = settings.desk.listen.port if port is None else port
    if settings.desk.url is None and port == 0:
        raise Rejected(Code.CONFIG_INVALID, "desk.listen: port 0 is another each time: name one, or desk.url")
    url = f"{desk_origins(settings, port)[0]}/enter?link={desk_links(settings).make(who)}"
    if as_json:
        document({"url": url, "person": who, "minutes": _MINUTES})
        return
    screen = Screen()
    screen.say(url)
    screen.note(f"signs {who} in, once, within {_MINUTES} minutes", style=NOTE)


def _has(host: str) -> bool:
    """Whether this machine has such a loopback address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((host, 0))
    except OSError:
        return False
    return True
