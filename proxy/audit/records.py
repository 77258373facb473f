"""What the journal's lines say: the fields of every kind, built from the nouns. Pure.

Nothing secret enters. Headers and bodies never do: of a body the size and SHA-256 stay. Of the query, names stay and
values are keyed hashes, as are parts of a path that may be credentials; so is every refused value that is not plainly
harmless. What comes from outside is bounded, so that no caller can make a line the journal would refuse to write.
Absent fields are not known or do not apply.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import IPv4Address

from proxy.audit.lines import stamp
from proxy.core.control import Statement
from proxy.core.encoding import Json, b64u, sha256_b64u
from proxy.core.grants import RouteGrant
from proxy.core.hiding import masked_decision, masked_path
from proxy.core.model import Bundle, Call, Decision, Evidence, Hold, Leg, Mandate, Manifest, Mismatch, Nearest, RuleRef
from proxy.core.places import Place
from proxy.core.shown import is_plain_name

type KeyedHash = Callable[[str], str]

MAX_PATH_CHARS = 2_048
MAX_TEXT_CHARS = 400
MAX_QUERY_PARAMETERS = 64
MAX_MISMATCHES = 6

_HASH_CHARS = 22  # 132 bits of it tell values apart
_HARMLESS = re.compile(
    r"(?:location|host|port|scheme|address|method|path|action|declared|constraints\.methods|constraints\.params)(?:\.|$)"
)
"""Fields of a mismatch that tell of the destination or the mandate. Any other, such as `query`, may hold a secret."""


def decision_fields(
    decision: Decision,
    *,
    keyed_hash: KeyedHash,
    call: Call | None = None,
    leg: Leg | None = None,
    mandate: Mandate | None = None,
    evidence: Evidence | None = None,
    call_digest: str | None = None,
) -> dict[str, Json]:
    """The fields of a `decision` line. `call` is None when the request had no canonical form."""
    if call is not None:
        decision = masked_decision(decision, call)
    intent = decision.intent
    fields: dict[str, Json | None] = {
        "decision_id": decision.decision_id,
        "verdict": decision.verdict.value,
        "code": decision.code.value,
        "message": _text(decision.message),
        "agent": _text(decision.agent),
        "sponsor": _text(decision.sponsor),
        "purpose": _text(decision.purpose),
        "manifest": _text(decision.manifest),
        "cluster": _text(decision.cluster),
        "operation": _text(decision.operation),
        "declared_cluster": _text(intent.cluster),
        "task": _text(intent.task),
        "step": intent.step,
        "rule": _rule(decision.rule),
        "failed": _failed(decision.failed, keyed_hash),
        "nearest": _nearest(decision.nearest),
        "proof": decision.proof.label if decision.proof is not None else None,
        "risk": decision.risk.value,
        "bundle_sha256": decision.bundle_sha256,
        "latency_us": decision.latency_us,
        "hold_id": _text(decision.hold_id),
        "call_digest": call_digest,
        "credential": decision.credential.words if decision.credential is not None else None,
    }
    if mandate is not None:
        fields |= _mandate_fields(mandate)
    if evidence is not None:
        fields["keyid"] = _text(evidence.keyid)
        fields["nonce_sha256"] = sha256_b64u(evidence.nonce.encode()) if evidence.nonce is not None else None
    if leg is not None:
        fields |= {"source": _text(leg.source), "leg": _text(leg.id), "tunnel": leg.tunnel is not None}
    if call is not None:
        fields |= _call_fields(call, keyed_hash)
    return _known(fields)


def outcome_fields(
    decision_id: str,
    *,
    status: int | None,
    bytes_up: int,
    bytes_down: int,
    duration_ms: int,
    error: str | None = None,
    websocket: Mapping[str, Json] | None = None,
    body_sha256: bytes | None = None,
) -> dict[str, Json]:
    """The fields of an `outcome` line: what became of a call. `status` is None when upstream gave no answer.

    `body_sha256` is of a request body that was not known when the call was decided.
    """
    return _known(
        {
            "decision_id": decision_id,
            "status": status,
            "bytes_up": bytes_up,
            "bytes_down": bytes_down,
            "duration_ms": duration_ms,
            "error": _text(error),
            "websocket": websocket,
            "body_sha256": b64u(body_sha256) if body_sha256 is not None else None,
        }
    )


def hold_fields(
    hold: Hold,
    event: str,
    *,
    by: str | None = None,
    decision_id: str | None = None,
    given: RouteGrant | None = None,
) -> dict[str, Json]:
    """The fields of a `hold` line. `event` is "file" or a `holds.Event`; `hold` is as it is after it.

    `given` is a route grant that was given with the hold's release: the line is about it, then.
    """
    if given is not None:
        hold = replace(
            hold,
            decided_by=given.by,
            decided_with=given.means,
            reason=given.reason,
            statement=given.token,
            expires_at=given.not_after,
        )
    return _known(
        {
            "grant": given.id if given is not None else None,
            "count": given.count if given is not None else None,
            "hold_id": hold.id,
            "event": event,
            "state": hold.state.value,
            "version": hold.version,
            "by": _text(by if by is not None else hold.decided_by),
            "signed_with": hold.decided_with.value if hold.decided_with is not None else None,
            "reason": _text(hold.reason),
            "statement_sha256": sha256_b64u(hold.statement.encode()) if hold.statement is not None else None,
            "call_digest": hold.call_digest,
            "manifest": hold.root_id,
            "agent": _text(hold.agent),
            "sponsor": _text(hold.sponsor),
            "who": [_text(name) for name in hold.who] if event == "file" else None,  # whose history it belongs to
            "cluster": _text(hold.cluster),
            "task": _text(hold.task),
            "code": hold.code.value,
            "risk": hold.risk.value,
            "proof": hold.proof.label,
            "expires_at": stamp(hold.expires_at),
            "decision_id": decision_id,
        }
    )


def session_fields(mandate: Mandate, *, source: str, expires_at: datetime) -> dict[str, Json]:
    """The fields of a `session` line: a session token was handed out. The token itself never enters."""
    return _known(
        {
            "manifest": mandate.root_id,
            "agent": _text(mandate.leaf.sub),
            "sponsor": _text(mandate.sponsor.id),
            "source": _text(source),
            "expires_at": stamp(expires_at),
        }
    )


def control_fields(statement: Statement) -> dict[str, Json]:
    """The fields of a `control` line: a signed statement came into force on this worker."""
    return _known(
        {
            "statement": statement.id,
            "act": statement.act.value,
            "target": _text(statement.target),
            "by": _text(statement.by),
            "reason": _text(statement.reason),
            "serial": statement.serial,
        }
    )


def grant_fields(grant: RouteGrant, number: int, *, decision_id: str) -> dict[str, Json]:
    """The fields of a `grant` line: a route grant let one call pass, which the decision of that id is about."""
    return _known(
        {
            "grant": grant.id,
            "use": number,
            "count": grant.count,
            "by": _text(grant.by),
            "signed_with": grant.means.value,
            "reason": _text(grant.reason),
            "hold_id": grant.hold_id,
            "manifest": grant.root_id,
            "statement_sha256": sha256_b64u(grant.token.encode()),
            "expires_at": stamp(grant.not_after),
            "decision_id": decision_id,
        }
    )


def policy_fields(bundle: Bundle) -> dict[str, Json]:
    """The fields of a `policy` line: another bundle came into force on this worker."""
    return {"bundle_sha256": bundle.sha256, "bundle_version": bundle.version, "bundle_signed": bundle.signed}


def allotment_fields(place: Place, name: str, address: IPv4Address) -> dict[str, Json]:
    """The fields of a `dns` line: from now on this address stands for this name at this place."""
    return {"place": place.label, "name": name, "address": str(address)}


def unanswered_fields(place: str, why: str, count: int) -> dict[str, Json]:
    """The fields of a `dns` line: so many questions from a place (its label, "" for any) got no address."""
    return {"place": place, "refused": why, "count": count}


def review_fields(
    event: str,
    by: str,
    *,
    session: str | None = None,
    token: str | None = None,
    hold: Hold | None = None,
    via: str | None = None,
    root: Manifest | None = None,
) -> dict[str, Json]:
    """The fields of a `review` line: at the review desk somebody signed in (`enter`), read a held call (`read`), had
    what may be credentials in it shown (`reveal`), or signed a manifest, `root`, by passkey (`sign`); or by
    its API had the desk sign a word (`say`), or handed in one that was signed elsewhere (`record`). `session` tells one
    time there from another, and `token` which token of the API it was; neither opens anything. `via`: by what somebody
    signed in, `link` or `oidc`.
    """
    return _known(
        {
            "event": event,
            "by": _text(by),
            "session": None if session is None else session[:_HASH_CHARS],
            "token": token,
            "via": via,
            "hold_id": None if hold is None else hold.id,
            "call_digest": None if hold is None else hold.call_digest,
            **({} if hold is None else _whose(hold.root_id, hold.agent, hold.sponsor)),
            **({} if root is None else _whose(root.id, root.sub, root.sponsor_id)),
        }
    )


def _whose(root_id: str, agent: str, sponsor: str) -> dict[str, Json]:
    return {"manifest": root_id, "agent": _text(agent), "sponsor": _text(sponsor)}


def _mandate_fields(mandate: Mandate) -> dict[str, Json | None]:
    return {
        "manifest": mandate.root_id,
        "leaf": mandate.leaf.id,
        "sub_path": _text(mandate.sub_path),
        "sponsor": _text(mandate.sponsor.id),
        "answerable": _text(mandate.answerable.id),
        "purpose": _text(mandate.purpose),
    }


def _call_fields(call: Call, keyed_hash: KeyedHash) -> dict[str, Json | None]:
    path, long = masked_path(call.path, lambda part: _hashed(part, keyed_hash)), len(call.path) > MAX_PATH_CHARS
    return {
        "method": _text(call.method),
        "host": _text(call.host),
        "port": call.port,
        "url": _text(call.origin + path[:MAX_PATH_CHARS], MAX_PATH_CHARS + MAX_TEXT_CHARS),
        "path_sha256": sha256_b64u(call.path.encode()) if long else None,
        "query": _query(call, keyed_hash),
        "body_bytes": call.body_bytes,
        "body_sha256": b64u(call.body_sha256) if call.body_bytes and call.body_sha256 else None,
    }


def _query(call: Call, keyed_hash: KeyedHash) -> Sequence[Json] | None:
    """Name and hashed value of every parameter, in order. A name that is not plainly one may be a bare secret."""
    pairs: list[Json] = []
    for name, value in call.parameters[:MAX_QUERY_PARAMETERS]:
        shown = name if is_plain_name(name) else _hashed(name, keyed_hash)
        pairs.append([shown, _hashed(value, keyed_hash)])
    if len(call.parameters) > MAX_QUERY_PARAMETERS:
        pairs.append([f"and {len(call.parameters) - MAX_QUERY_PARAMETERS} more", ""])
    return pairs or None


def _failed(failed: Sequence[Mismatch], keyed_hash: KeyedHash) -> Sequence[Json] | None:
    def got(mismatch: Mismatch) -> Json:
        return _text(mismatch.got) if _HARMLESS.match(mismatch.field) else _hashed(mismatch.got, keyed_hash)

    return [
        {"field": _text(mismatch.field), "expected": _text(mismatch.expected), "got": got(mismatch)}
        for mismatch in failed[:MAX_MISMATCHES]
    ] or None


def _nearest(nearest: Sequence[Nearest]) -> Sequence[Json] | None:
    return [
        {"cluster": _text(near.cluster), "operation": _text(near.operation), "rule": _rule(near.rule)}
        for near in nearest[:3]
    ] or None


def _rule(rule: RuleRef | None) -> Mapping[str, Json] | None:
    return None if rule is None else {"id": _text(rule.id), "file": _text(rule.file), "line": rule.line}


def _hashed(value: str, keyed_hash: KeyedHash) -> str:
    return f"hmac:{keyed_hash(value)[:_HASH_CHARS]}"


def _text(value: str | None, limit: int = MAX_TEXT_CHARS) -> str | None:
    """`value`, cut so that it takes at most `limit` characters in the line, escapes included."""
    if value is None or (len(value) <= limit and value.isascii() and value.isprintable()):
        return value
    kept: list[str] = []
    room = limit - 1
    for character in value:
        room -= len(json.dumps(character)) - 2
        if room < 0:
            return "".join(kept) + "~"
        kept.append(character)
    return value


def _known(fields: Mapping[str, Json | None]) -> dict[str, Json]:
    return {name: value for name, value in fields.items() if value is not None}
