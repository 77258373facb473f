"""`intent-proxy health`: does it still refuse? For the health checks of containers and load balancers."""

import http.client
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import typer

from proxy.agent.answers import Denied, read_answer
from proxy.agent.doctor.place import Place, ask, find_proxy
from proxy.cli.screen import GOOD, Screen, document
from proxy.cli.where import AsJson, Config, find_config
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.policy.settings import load_settings
from proxy.policy.values import Listen

CANARY = "http://canary.invalid/"
"""Asked without proof, of a name that nobody has (RFC 2606): whatever lets it pass reaches nobody."""

_DOOR = "/enter"  # the page of the desk that asks nobody who they are


def health(
    config: Config = None,
    proxy: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The proxy. Else where proxy.yaml has it listen.", show_default=False),
    ] = None,
    desk: Annotated[bool, typer.Option("--desk", help="Ask the review desk of proxy.yaml instead.")] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, max=60, help="To wait for the answer.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Ask the running proxy to let a call pass that it must refuse.

    Healthy is who refuses it, in so many words. A proxy that hangs, answers anything
    else, or lets the call pass is not. The call leads nowhere, and stands in the
    journal like any other. With --desk: does the review desk serve its door?

    Examples:
      intent-proxy health
      intent-proxy health --proxy http://127.0.0.1:8080 --timeout 1
      intent-proxy health --desk --json

    Exit codes: 0 healthy, 1 it answers wrongly, 7 it does not answer.
    """
    if desk:
        settings = load_settings(find_config(config)).desk
        where, told = _ask_desk(settings.listen, settings.url, timeout)
    else:
        where, told = _ask_proxy(proxy or f"http://{_found(load_settings(find_config(config)).listen)}", timeout)
    if as_json:
        document({"healthy": True, "address": where, "says": told})
    else:
        Screen().say(f"healthy: {where} {told}", style=GOOD)


def _ask_proxy(url: str, timeout_s: float) -> tuple[str, str]:
    parts, said_by = find_proxy(url, {})
    place = Place(proxy=parts, said_by=said_by, environment={}, timeout_s=timeout_s)
    try:
        answer = ask(place, "GET", CANARY)
    except (OSError, http.client.HTTPException) as fault:
        raise _silent(place.where, fault) from None
    refused = read_answer(answer.status, answer.headers, answer.body)
    if not isinstance(refused, Denied) or refused.code != Code.PROOF_MISSING:
        said = refused.code if isinstance(refused, Denied) else f"status {answer.status}"
        detail = f"{place.where} must refuse a call without proof ({Code.PROOF_MISSING}), and answers {said}"
        raise Rejected(Code.CONFIG_INVALID, f"{detail}: do not send agents to it; its log says more")
    return place.where, f"refuses what it must ({refused.code})"


def _ask_desk(listen: Listen, url: str | None, timeout_s: float) -> tuple[str, str]:
    found = _found(listen)
    connection = http.client.HTTPConnection(found.host, found.port, timeout=timeout_s)
    try:
        connection.request("GET", _DOOR, headers={"Host": urlsplit(url).netloc if url else f"{found}"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as fault:
        raise _silent(f"{found}", fault) from None
    finally:
        connection.close()
    if status != 200:
        raise Rejected(Code.CONFIG_INVALID, f"the review desk at {found} answers {status}, expected 200")
    return f"{found}", "serves the review desk"


def _found(listen: Listen) -> Listen:
    """Where to find what listens there: who listens at every address does so on loopback."""
    address = ip_address(listen.host)
    if not address.is_unspecified:
        return listen
    return Listen(host="127.0.0.1" if address.version == 4 else "::1", port=listen.port)


def _silent(where: str, fault: Exception) -> Unavailable:
    return Unavailable(Code.UPSTREAM_CONNECT, f"nobody answers at {where}: {fault or type(fault).__name__}")
