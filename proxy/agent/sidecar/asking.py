"""What a sidecar asks of its proxy for itself: the CA to trust, and what became of held calls."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime

from cryptography import x509

from proxy.agent.answers import Held, read_hold
from proxy.agent.sidecar.route import Refused, Route
from proxy.agent.signer import Signer
from proxy.core.encoding import Json, canonical_json, parse_json
from proxy.core.errors import Code, Rejected, Unavailable

ASK_S = 3.0
"""For everything that is asked at the end: nobody waits longer for a summary."""

_MAX_ASKED = 20
_INTERNAL = "http://intent.internal"  # the proxy's own pages (`proxy.core.names` needs more than an agent installs)


async def fetch_ca(route: Route) -> bytes:
    """The proxy's CA from itself, over a way that nobody else can answer on: TLS, or loopback.

    Raises:
        Rejected(CONFIG_INVALID): the way is open to others, or what came is no certificate.
        Unavailable: the proxy does not answer.
    """
    if not route.is_private:
        detail = f"anybody on the way to {route.host} could answer with a CA of theirs"
        raise Rejected(
            Code.CONFIG_INVALID, f"{detail}: give the proxy's with --ca (`intent-proxy ca export`)", field="ca"
        )
    try:
        answered = await route.get(f"{_INTERNAL}/ca")
        x509.load_pem_x509_certificates(answered.body)
    except Refused as fault:
        raise Unavailable(Code.UPSTREAM_CONNECT, fault.refusal.detail) from None
    except ValueError:
        detail = f"{route} answered {answered.head.status_code} and no certificate: is it an intent-proxy?"
        raise Rejected(Code.CONFIG_INVALID, detail, field="proxy") from None
    return answered.body


async def holds_now(route: Route, signer: Signer, known: dict[str, Held], *, since: datetime | None) -> dict[str, Held]:
    """The holds in `known` as they stand now; with `since` also those of this mandate that were filed from then on, for
    the task that is declared, if one is.

    What cannot be asked in time stays as it is known.
    """
    found = dict(known)
    with contextlib.suppress(TimeoutError, Refused, Rejected):
        async with asyncio.timeout(ASK_S):
            if since is not None:
                found |= _filed(await _get(route, signer, f"{_INTERNAL}/holds"), since, signer.task)
            for hold in list(known.values())[:_MAX_ASKED]:
                found[hold.id] = read_hold(await _get(route, signer, hold.status_url)) or hold
    return found


async def _get(route: Route, signer: Signer, url: str) -> bytes:
    answered = await route.get(url, signer.headers_for("GET", url))
    return answered.body if answered.head.status_code == 200 else b""


def _filed(body: bytes, since: datetime, task: str | None) -> dict[str, Held]:
    """Of a list of holds, those filed for `task` from `since` on; their times are whole seconds."""
    document: Json = parse_json(body, code=Code.REQUEST_MALFORMED, what="the proxy's answer")
    listed = document.get("holds") if isinstance(document, Mapping) else None
    found: dict[str, Held] = {}
    for each in listed if isinstance(listed, list) else ():
        if not isinstance(each, Mapping) or (task is not None and each.get("task") != task):
            continue
        hold, filed = read_hold(canonical_json(each)), each.get("filed_at")
        if hold is not None and isinstance(filed, str) and _moment(filed) >= since.replace(microsecond=0):
            found[hold.id] = hold
    return found


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
