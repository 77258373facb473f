"""What the agent holds: its manifest, its key, and what they permit."""

import http.client
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from proxy.agent.answers import Denied, read_answer
from proxy.agent.doctor.findings import Finding, fail, ok, skip
from proxy.agent.doctor.place import Lines, Place, ask
from proxy.agent.keyfile import load_key
from proxy.agent.signer import Signer, read_tokens
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.manifest import parse_manifest
from proxy.core.model import Manifest
from proxy.core.spans import span

MANDATE = "http://intent.internal/mandate"
_RENEW = "ask its sponsor to renew it: intent-proxy manifest renew --agent {}"


def manifest(place: Place, deployment: str | None, *, now: datetime) -> tuple[Finding, Manifest | None]:
    """Is the manifest valid, for whom, and for how long? Returns its last link."""
    if place.manifest is None:
        return skip("manifest", "none was named: --manifest FILE"), None
    try:
        chain = [parse_manifest(token) for token in read_tokens(place.manifest)]
    except Rejected as fault:
        mend = "take the file as `intent-proxy manifest sign` wrote it, whole"
        named = "" if str(place.manifest) in fault.detail else f"{place.manifest}: "
        return fail("manifest", f"{named}{fault.detail}", mend), None
    root, last = chain[0], chain[-1]
    for link in chain:
        name = f"manifest {link.jti} of {link.sub}"
        if now >= link.exp:
            text = f"{name} ended {_span(now - link.exp)} ago"
            return fail("manifest", text, _RENEW.format(root.sub)), last
        if now < link.nbf:
            text = f"{name} begins in {_span(link.nbf - now)}"
            return fail("manifest", text, "wait, or set this machine's clock (NTP)"), last
    if deployment is not None and root.aud != deployment:
        text = f"it is for deployment {root.aud}, and this proxy is {deployment}'s"
        return fail("manifest", text, "use the manifest of this deployment, or the proxy of that one"), last
    ends = min(link.exp for link in chain)
    text = f"{root.sub} for {root.sponsor_name} ({root.sponsor_id}), valid for {_span(ends - now)}: {root.purpose}"
    return ok("manifest", text), last


def key(place: Place, last: Manifest | None) -> tuple[Finding, PrivateKey | None]:
    """Is the key readable by its owner alone, and the one that the manifest names?"""
    if place.key is None:
        return skip("key", "none was named: --key FILE"), None
    try:
        private = load_key(place.key)
    except Rejected as fault:
        what, _, mend = fault.detail.rpartition(": ")
        return fail(
            "key", what or fault.detail, mend if what else f"make one: intent-proxy keys new '{place.key}'"
        ), None
    if last is None:
        return ok("key", "can be used; there is no manifest to compare it with"), private
    if last.cnf.kid != private.public.kid:
        text = f"it is key {private.public.kid}, and the manifest names {last.cnf.kid}"
        return fail(
            "key", text, "use the key that the manifest was made for, or have a manifest signed for this one"
        ), None
    return ok("key", f"is the one that the manifest names ({private.public.kid[:8]}…)"), private


def proof(place: Place, private: PrivateKey | None) -> tuple[Signer | None, Finding | None]:
    """What signs here, or why nothing can."""
    if place.manifest is None or private is None:
        return None, None
    try:
        return Signer(place.manifest, private), None
    except Rejected as fault:
        return None, fail("mandate", fault.detail, "ask its sponsor for one that may act or delegate")


def mandate(place: Place, signer: Signer | None) -> Finding:
    """What may I do? The proxy says it, of what it verified."""
    if signer is None and not place.session:
        return skip("mandate", "nothing to prove it with: --manifest and --key, or a session in the proxy's URL")
    try:
        lines: Lines = place.session if signer is None else signer.headers_for("GET", MANDATE)
        answer = ask(place, "GET", MANDATE, lines)
    except Rejected as fault:
        return fail("mandate", fault.detail, "see manifest and key above")
    except (OSError, http.client.HTTPException) as fault:
        return fail("mandate", f"the proxy did not answer: {type(fault).__name__}", "see proxy above")
    refused = read_answer(answer.status, answer.headers, answer.body)
    if isinstance(refused, Denied):
        return fail("mandate", f"{refused.title} ({refused.code})", _mend(refused))
    try:
        told = json.loads(answer.body)
        return ok("mandate", str(told["summary"]), *_grants(told["grants"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return fail("mandate", f"the proxy answered {answer.status}, and no mandate", "see proxy above")


def _mend(refused: Denied) -> str:
    special: Mapping[str, str] = {
        Code.QUARANTINED.value: "its sponsor or an operator lets it go on: intent-proxy agents restore ID --reason …",
        Code.KILL_SWITCH.value: "an operator lets everything go on: intent-proxy kill off --reason …",
        Code.MANIFEST_REVOKED.value: "it was revoked for good: have a new manifest signed (intent-proxy manifest sign)",
    }
    return special.get(refused.code, refused.detail)


def _grants(grants: Json) -> Iterator[str]:
    """In plain words, as the proxy tells them."""
    for grant in _as(list, grants):
        grant = _as(dict, grant)
        may, locations = _as(list, grant["you_may"]), _as(list, grant["locations"])
        yield f"{grant['cluster']} at {', '.join(map(str, locations))}. {grant['standing']}"
        yield from (f"  {each}" for each in may)


def _as[T](kind: type[T], value: object) -> T:
    if not isinstance(value, kind):
        raise TypeError(kind.__name__)
    return value


def _span(length: timedelta) -> str:
    return span(int(length.total_seconds()), parts=2)


def now() -> datetime:
    return datetime.now(UTC)
