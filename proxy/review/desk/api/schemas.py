"""The shapes of the API's documents (JSON Schema 2020-12), each written once: requests are judged by them."""

from collections.abc import Iterable, Mapping

from proxy.core.encoding import Json
from proxy.core.grants import LONGEST, MAX_COUNT
from proxy.core.jws import MAX_TOKEN_BYTES
from proxy.core.model import HoldState, Means, Risk
from proxy.core.notes import MAX_REASON_CHARS
from proxy.core.resolution import Found
from proxy.review.desk.tokens import Scope
from proxy.review.wishes import Verb

type Schema = dict[str, Json]

DIGEST = "[A-Za-z0-9_-]{43}"
TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
MOMENT: Schema = {"type": "string", "format": "date-time"}
TEXTS: Schema = {"type": "array", "items": TEXT}
PAIRS: Schema = {"type": "array", "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2}}


def named(name: str) -> Schema:
    """A reference to one of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


def many(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def maybe(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


def one_of(values: Iterable[str]) -> Schema:
    return {"type": "string", "enum": [str(each) for each in values]}


def record(*, optional: Mapping[str, Schema] | None = None, **members: Schema) -> Schema:
    """An object with exactly these members; `optional` ones may be missing."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
    }


def wider(of: Schema, **members: Schema) -> Schema:
    """A record with these members besides its own."""
    properties, required = of["properties"], of["required"]
    assert isinstance(properties, Mapping) and isinstance(required, list)
    return {**of, "properties": {**properties, **members}, "required": [*required, *members]}


STATE = one_of(state.value for state in HoldState)
RISK = one_of(risk.value for risk in Risk)
_MEANS = many(one_of(means.value for means in Means))
_REASON: Schema = {"type": "string", "maxLength": MAX_REASON_CHARS}
_JWS: Schema = {"type": "string", "pattern": "^[A-Za-z0-9_.-]+$", "maxLength": MAX_TOKEN_BYTES}
_SECONDS: Schema = {"type": "number", "minimum": 0}
_NUMBER: Schema = {"type": "integer"}

_HOLD = record(
    id=TEXT,
    state=STATE,
    version=WHOLE,
    agent=TEXT,
    sponsor=TEXT,
    cluster=TEXT,
    task=TEXT,
    code=TEXT,
    risk=RISK,
    proof=TEXT,
    who=TEXTS,
    quorum=WHOLE,
    manifest=TEXT,
    call_digest=TEXT,
    body_bytes=WHOLE,
    filed_at=MOMENT,
    expires_at=MOMENT,
    decided_by=maybe(TEXT),
    signed_with=maybe(one_of(means.value for means in Means)),
    decided_at=maybe(MOMENT),
    reason=maybe(TEXT),
)
_LISTED = wider(_HOLD, asks=TEXT, may_decide=FLAG)
_CALL = record(
    method=TEXT,
    url=TEXT,
    headers=PAIRS,
    credential=maybe(TEXT),
    body_bytes=maybe(WHOLE),
    body_sha256=TEXT,
    body_base64=maybe(TEXT),
    body_laid_out=TEXTS,
    body_fields={
        "type": "array",
        "description": "Name and value of each field of a form; null for a value that is hidden.",
        "items": {"type": "array", "items": maybe(TEXT), "minItems": 2, "maxItems": 2},
    },
    hidden=many(one_of(("url", "headers", "body"))),
    filed={
        "type": "object",
        "description": "What was sealed when the call was filed; headers that may be credentials as keyed hashes, and "
        "so is what is hidden. With nothing of `url` and `body` hidden, the call's digest can be computed of it.",
    },
)
_HELD = record(
    hold=named("Hold"),
    deciders=TEXTS,
    told=TEXTS,
    later=many(record(since=MOMENT, people=TEXTS)),
    signers=TEXTS,
    to_do=TEXTS,
    said=many(record(by=TEXT, event=TEXT, reason=TEXT, at=MOMENT, until=maybe(MOMENT))),
    call=maybe(named("Call")),
    optional={
        "consequence": TEXT,
        "purpose": maybe(TEXT),
        "explanation": record(
            verdict=TEXT, rule=maybe(TEXT), failed=TEXTS, near=TEXTS, changes=TEXTS, next_step=TEXT, credential=TEXT
        ),
    },
)
_SCOPE = record(
    optional={
        "path": {"type": "string", "minLength": 1, "maxLength": 2000},
        "vary": {"type": "array", "items": {"type": "string", "maxLength": 200}, "maxItems": 20},
        "any_body": FLAG,
        "count": {"type": "integer", "minimum": 1, "maximum": MAX_COUNT},
        "for_s": {"type": "integer", "minimum": 1, "maximum": int(LONGEST.total_seconds())},
    }
)
_WISH = record(
    verb=one_of(verb.value for verb in Verb),
    optional={
        "reason": _REASON,
        "scope": _SCOPE,
        "longer_s": {"type": "integer", "minimum": 1, "maximum": 604_800},
        "found": one_of(found.value for found in Found),
    },
)
_RULING = wider(
    _WISH, digest={"type": "string", "pattern": f"^{DIGEST}$", "description": "of the call that was looked at"}
)
_TO_SIGN = record(typ=TEXT, claims={"type": "object"}, challenge=TEXT)
_GRANT = record(
    id=TEXT,
    by=TEXT,
    reason=TEXT,
    hold=TEXT,
    manifest=TEXT,
    method=TEXT,
    origin=TEXT,
    path=TEXT,
    vary=TEXTS,
    any_body=FLAG,
    used=WHOLE,
    count=WHOLE,
    until=MOMENT,
)

COMPONENTS: Mapping[str, Schema] = {
    "Problem": {
        "type": "object",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": _NUMBER,
            "detail": TEXT,
            "code": TEXT,
            "mend": TEXT,
            "outcome": named("Outcome"),
        },
        "required": ["type", "title", "status", "detail", "code", "mend"],
        "additionalProperties": False,
    },
    "Hold": _HOLD,
    "ListedHold": _LISTED,
    "Call": _CALL,
    "HeldCall": _HELD,
    "Wish": _WISH,
    "Ruling": _RULING,
    "Draft": record(hold=TEXT, call_digest=TEXT, means=_MEANS, statement=named("ToSign"), grant=maybe(named("ToSign"))),
    "ToSign": _TO_SIGN,
    "Statement": record(statement=_JWS, optional={"grant": _JWS}),
    "Outcome": record(result=TEXT, detail=TEXT, hold=maybe(named("Hold")), optional={"grant": maybe(named("Grant"))}),
    "Grant": _GRANT,
    "Me": record(
        person=TEXT,
        name=TEXT,
        deployment=TEXT,
        token=record(id=TEXT, name=TEXT, scopes=many(one_of(scope.value for scope in Scope)), until=MOMENT),
    ),
    "Holds": record(holds=many(named("ListedHold")), found=WHOLE, next=maybe(TEXT)),
    "Groups": record(
        groups=many(
            record(id=TEXT, agent=TEXT, method=TEXT, route=TEXT, code=TEXT, count=WHOLE, differ=TEXT, first_end=MOMENT)
        )
    ),
    "Events": record(
        events=many(record(id=TEXT, hold=TEXT, state=STATE, version=WHOLE)),
        cursor=TEXT,
        reset={**FLAG, "description": "what came before is not known any more: read everything again"},
    ),
    "History": record(
        whole=FLAG,
        rulings=many(
            record(
                hold=TEXT,
                ending=TEXT,
                ended_at=MOMENT,
                filed_at=maybe(MOMENT),
                took_s=maybe(_SECONDS),
                agent=maybe(TEXT),
                sponsor=maybe(TEXT),
                code=maybe(TEXT),
                risk=maybe(TEXT),
                cluster=maybe(TEXT),
                task=maybe(TEXT),
                asked=maybe(TEXT),
                by=TEXTS,
                reason=maybe(TEXT),
                grant=maybe(TEXT),
                lifted_by=maybe(TEXT),
                sent=maybe(TEXT),
                status=maybe(_NUMBER),
                error=maybe(TEXT),
            )
        ),
    ),
    "Reviewers": record(
        reviewers=many(
            record(
                id=TEXT,
                name=maybe(TEXT),
                enrolled=FLAG,
                certified_until=maybe(MOMENT),
                rulings=WHOLE,
                released=WHOLE,
                denied=WHOLE,
                release_share=maybe(_SECONDS),
                median_s=maybe(_SECONDS),
                hasty=WHOLE,
                hasty_share=maybe(_SECONDS),
                last=maybe(MOMENT),
            )
        )
    ),
    "Agents": record(
        agents=many(
            record(
                id=TEXT,
                owner=TEXT,
                sponsor=TEXT,
                agent_class=TEXT,
                released=WHOLE,
                denied=WHOLE,
                others=WHOLE,
                mandate=maybe(record(id=TEXT, purpose=TEXT, not_before=MOMENT, expires_at=MOMENT)),
            )
        )
    ),
    "Proposals": record(proposals=many(record(id=TEXT, agent=TEXT, sponsor=TEXT, author=TEXT, why=TEXT, at=MOMENT))),
    "Suggestion": record(where=TEXT, yaml=TEXT, then=TEXTS),
}
