"""The stored call as bytes and back, before encryption and after: one form, versioned, read strictly."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

from proxy.core.credential import credential_from_normal, normal_credential
from proxy.core.encoding import Json, canonical_json, parse_json
from proxy.core.errors import Code, Rejected
from proxy.core.model import (
    Call,
    Decision,
    Effect,
    Intent,
    Mismatch,
    Nearest,
    Proof,
    Review,
    Risk,
    RuleRef,
    StoredCall,
    Unread,
    Verdict,
)
from proxy.core.urls import path_segments, query_parameters

_FORMAT = "intent-stored-call/1"


def stored_to_bytes(stored: StoredCall) -> bytes:
    """The RFC 8785 form of a stored call. What follows from the URL (segments, parameters) is not kept twice."""
    return canonical_json(
        {
            "format": _FORMAT,
            "call": _call_members(stored.call),
            "decision": _decision_members(stored.decision),
            "proof": stored.proof.name,
            "call_digest": stored.call_digest,
            "sub_path": stored.sub_path,
            "chain_kids": list(stored.chain_kids),
            **({"chain": list(stored.chain)} if stored.chain else {}),  # as older ones are written
            **({"node": stored.node} if stored.node else {}),
        }
    )


def stored_from_bytes(data: bytes) -> StoredCall:
    """The stored call these bytes are.

    Not checked here: that `call_digest` is the call's; that is for whoever sends it (`proxy.core.digest`).

    Raises:
        Rejected(HOLD_TAMPERED): not exactly what `stored_to_bytes` writes: another version, a member missing, added,
            of another type, or in another spelling.
    """
    try:
        root = _Members(parse_json(data, code=Code.HOLD_TAMPERED, what="a stored call"))
        stored = StoredCall(
            call=_call(root.object("call")),
            decision=_decision(root.object("decision")),
            proof=Proof[root.text("proof")],
            call_digest=root.text("call_digest"),
            sub_path=root.text("sub_path"),
            chain_kids=root.texts("chain_kids"),
            chain=root.texts("chain") if root.names("chain") else (),
            node=root.text("node") if root.names("node") else "",
        )
        exact = root.text("format") == _FORMAT and stored_to_bytes(stored) == data
    except (Rejected, ValueError, KeyError, TypeError, OverflowError) as fault:
        raise _tampered(type(fault).__name__) from None
    if not exact:
        raise _tampered("another form")
    return stored


def check_stored(stored: StoredCall) -> None:
    """Refuse to send a call from its stored form alone when that is not all of it.

    Raises:
        Rejected(HOLD_NOT_STORED): only size and digest of its body are there.
        Rejected(REQUEST_UNSUPPORTED): it opens a WebSocket.
    """
    if stored.call.websocket:
        detail = "a released WebSocket is opened by its own handshake: send that again"
        raise Rejected(Code.REQUEST_UNSUPPORTED, detail)
    if isinstance(stored.call.body, Unread):
        raise Rejected(Code.HOLD_NOT_STORED, "the call's body was too large to be kept", field="body")


def to_send(filed: Call, again: Call) -> Call:
    """The call as it was filed and shown; where only a fingerprint of its body was kept, with the repeated one's.

    Raises:
        Rejected(HOLD_TAMPERED): that fingerprint is not of the repeated body.
    """
    if not isinstance(filed.body, Unread):
        return filed
    if filed.body.sha256 is None or (filed.body_bytes, filed.body_sha256) != (again.body_bytes, again.body_sha256):
        raise Rejected(Code.HOLD_TAMPERED, "the body that came is not the one that was held", field="body")
    return replace(filed, body=again.body)


def _tampered(why: str) -> Rejected:
    detail = f"the stored call is not in the form this version writes ({why}); it cannot be shown or sent"
    return Rejected(Code.HOLD_TAMPERED, detail, field="stored")


class _Members:
    """An object's members by type; a wrong type is a TypeError, an absent member a KeyError."""

    def __init__(self, value: Json) -> None:
        if not isinstance(value, Mapping):
            raise TypeError
        self._value = value

    def names(self, name: str) -> bool:
        return name in self._value

    def has(self, name: str) -> bool:
        return self._value[name] is not None

    def holds_text(self, name: str) -> bool:
        return isinstance(self._value[name], str)

    def text(self, name: str) -> str:
        return _text(self._value[name])

    def maybe_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def number(self, name: str) -> int:
        value = self._value[name]
        if type(value) is not int:
            raise TypeError
        return value

    def number_or(self, name: str, usual: int) -> int:
        return self.number(name) if name in self._value else usual

    def maybe_number(self, name: str) -> int | None:
        return self.number(name) if self.has(name) else None

    def flag(self, name: str) -> bool:
        value = self._value[name]
        if not isinstance(value, bool):
            raise TypeError
        return value

    def object(self, name: str) -> "_Members":
        return _Members(self._value[name])

    def plain(self, name: str) -> Json:
        return self._value[name]

    def items(self, name: str) -> list[Json]:
        value = self._value[name]
        if not isinstance(value, list):
            raise TypeError
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(_text(item) for item in self.items(name))

    def objects(self, name: str) -> list["_Members"]:
        return [_Members(item) for item in self.items(name)]


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _pair(value: Json) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise TypeError
    return _text(value[0]), _text(value[1])


# --- the call --------------------------------------------------------------------------------------------------------


def _call_members(call: Call) -> Json:
    return {
        "method": call.method,
        "scheme": call.scheme,
        "host": call.host,
        "port": call.port,
        "path": call.path,
        "query": call.query if call.has_query else None,
        "headers": [[name, value] for name, value in call.headers],
        "body": _body_member(call.body),
        "websocket": call.websocket,
    }


def _call(members: _Members) -> Call:
    path, query = members.text("path"), members.maybe_text("query")
    return Call(
        method=members.text("method"),
        scheme=members.text("scheme"),
        host=members.text("host"),
        port=members.number("port"),
        path=path,
        segments=path_segments(path),
        query=query or "",
        has_query=query is not None,
        parameters=query_parameters(query or ""),
        headers=tuple(_pair(item) for item in members.items("headers")),
        body=_body(members),
        websocket=members.flag("websocket"),
    )


def _body_member(body: bytes | Unread) -> Json:
    if not isinstance(body, Unread):
        return base64.b64encode(body).decode("ascii")
    return {"bytes": body.size, "sha256": None if body.sha256 is None else body.sha256.hex()}


def _body(members: _Members) -> bytes | Unread:
    if members.holds_text("body"):
        return base64.b64decode(members.text("body"), validate=True)
    unread = members.object("body")
    sha256 = unread.maybe_text("sha256")
    return Unread(size=unread.maybe_number("bytes"), sha256=None if sha256 is None else bytes.fromhex(sha256))


# --- the decision ----------------------------------------------------------------------------------------------------


def _decision_members(decision: Decision) -> Json:
    return {
        "decision_id": decision.decision_id,
        "verdict": decision.verdict.value,
        "code": decision.code.value,
        "message": decision.message,
        "at": decision.at.astimezone(UTC).isoformat(),
        "agent": decision.agent,
        "sponsor": decision.sponsor,
        "purpose": decision.purpose,
        "manifest": decision.manifest,
        "cluster": decision.cluster,
        "operation": decision.operation,
        "intent": {
            "cluster": decision.intent.cluster,
            "task": decision.intent.task,
            "step": decision.intent.step,
            "raw": decision.intent.raw,
        },
        "rule": None if decision.rule is None else _rule_members(decision.rule),
        "failed": [_mismatch_members(item) for item in decision.failed],
        "nearest": [_nearest_members(item) for item in decision.nearest],
        "proof": None if decision.proof is None else decision.proof.name,
        "review": {
            "always": decision.review.always,
            "who": list(decision.review.who),
            "ttl_s": decision.review.ttl_s,
            "wait_s": decision.review.wait_s,
            **({"quorum": decision.review.quorum} if decision.review.quorum != 1 else {}),  # as older ones are written
            **({"effect": decision.review.effect.value} if decision.review.effect is not Effect.RETRY else {}),
            **({"idempotency_key": True} if decision.review.idempotency_key else {}),
        },
        "risk": decision.risk.value,
        "addresses": [str(network) for network in decision.addresses],
        "bundle_sha256": decision.bundle_sha256,
        "latency_us": decision.latency_us,
        "retry_after_s": decision.retry_after_s,
        "hold_id": decision.hold_id,
        **({} if decision.credential is None else {"credential": normal_credential(decision.credential)}),
    }


def _decision(members: _Members) -> Decision:
    intent, review, proof = members.object("intent"), members.object("review"), members.maybe_text("proof")
    return Decision(
        decision_id=members.text("decision_id"),
        verdict=Verdict(members.text("verdict")),
        code=Code(members.text("code")),
        message=members.text("message"),
        at=datetime.fromisoformat(members.text("at")),
        agent=members.maybe_text("agent"),
        sponsor=members.maybe_text("sponsor"),
        purpose=members.maybe_text("purpose"),
        manifest=members.maybe_text("manifest"),
        cluster=members.maybe_text("cluster"),
        operation=members.maybe_text("operation"),
        intent=Intent(
            cluster=intent.maybe_text("cluster"),
            task=intent.maybe_text("task"),
            step=intent.maybe_number("step"),
            raw=intent.text("raw"),
        ),
        rule=_rule(members.object("rule")) if members.has("rule") else None,
        failed=tuple(_mismatch(item) for item in members.objects("failed")),
        nearest=tuple(_nearest(item) for item in members.objects("nearest")),
        proof=None if proof is None else Proof[proof],
        review=Review(
            always=review.flag("always"),
            who=review.texts("who"),
            ttl_s=review.number("ttl_s"),
            wait_s=review.number("wait_s"),
            quorum=review.number_or("quorum", 1),
            effect=Effect(review.text("effect")) if review.names("effect") else Effect.RETRY,
            idempotency_key=review.names("idempotency_key") and review.flag("idempotency_key"),
        ),
        risk=Risk(members.text("risk")),
        addresses=tuple(ip_network(text) for text in members.texts("addresses")),
        bundle_sha256=members.text("bundle_sha256"),
        latency_us=members.number("latency_us"),
        retry_after_s=members.maybe_number("retry_after_s"),
        hold_id=members.maybe_text("hold_id"),
        credential=credential_from_normal(members.plain("credential")) if members.names("credential") else None,
    )


def _rule_members(rule: RuleRef) -> Json:
    return {"id": rule.id, "file": rule.file, "line": rule.line}


def _rule(members: _Members) -> RuleRef:
    return RuleRef(id=members.text("id"), file=members.text("file"), line=members.number("line"))


def _mismatch_members(item: Mismatch) -> Json:
    return {"field": item.field, "expected": item.expected, "got": item.got}


def _mismatch(members: _Members) -> Mismatch:
    return Mismatch(field=members.text("field"), expected=members.text("expected"), got=members.text("got"))


def _nearest_members(item: Nearest) -> Json:
    return {
        "cluster": item.cluster,
        "operation": item.operation,
        "rule": _rule_members(item.rule),
        "failed": [_mismatch_members(failed) for failed in item.failed],
    }


def _nearest(members: _Members) -> Nearest:
    return Nearest(
        cluster=members.text("cluster"),
        operation=members.text("operation"),
        rule=_rule(members.object("rule")),
        failed=tuple(_mismatch(item) for item in members.objects("failed")),
    )
