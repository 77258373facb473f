"""What somebody is about to sign, in words: every claim of the statement, taken from the statement itself. Pure."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from proxy.core.encoding import Json, from_epoch
from proxy.core.grants import GRANT_TYP
from proxy.core.hiding import masked_path
from proxy.core.model import Bundle
from proxy.core.notes import NOTE_TYP
from proxy.core.release import RELEASE_TYP
from proxy.core.resolution import RESOLUTION_TYP
from proxy.core.routes import ANY_BODY
from proxy.review.desk.words import clock, person_words


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement in words: what it does, what weighs, and the rest of what is signed."""

    does: str
    lines: tuple[tuple[str, str], ...]
    besides: tuple[tuple[str, str], ...]


_DOES = {
    (RELEASE_TYP, "release"): "Release this call, once",
    (RELEASE_TYP, "deny"): "Deny this call",
    (NOTE_TYP, "comment"): "Comment on it",
    (NOTE_TYP, "escalate"): "Let the deputies decide now",
    (NOTE_TYP, "extend"): "Let it wait longer",
    (NOTE_TYP, "cancel"): "End it without a decision",
    (NOTE_TYP, "lift"): "Take the denial back",
    (RESOLUTION_TYP, "arrived"): "Say that it arrived",
    (RESOLUTION_TYP, "not-arrived"): "Say that it did not arrive",
}
_VERBS = ("verdict", "act", "found")

_LABELS = {
    "iss": "Who",
    "verdict": "Verdict",
    "act": "Note",
    "found": "Found",
    "scope": "Scope",
    "reason": "Reason",
    "count": "At most calls",
    "exp": "Counts until",
    "until": "Waits until",
    "method": "Method",
    "origin": "Origin",
    "path": "Path",
    "query": "Query",
    "vary": "With any value",
    "body": "Body",
    "media": "Type of the body",
    "node": "Sent from",
    "digest": "Digest of the call",
    "hold": "Hold",
    "grant": "Grant",
    "root": "Under manifest",
    "sub": "For",
    "proof": "Least proof",
    "aud": "Deployment",
    "iat": "Signed",
    "nonce": "Nonce",
}
_BESIDES = frozenset({"hold", "grant", "root", "sub", "proof", "aud", "iat", "nonce"})


def in_words(typ: str, claims: Mapping[str, Json], bundle: Bundle, *, now: datetime) -> Statement:
    """A statement's claims in words. One that has no words here is shown as it is: nothing is signed unseen."""
    forms: Mapping[str, Callable[[Json], str]] = {
        "iss": lambda value: person_words(str(value), bundle),
        "scope": lambda value: "this call alone, once" if value == "once" else str(value),
        "iat": lambda value: _instant(value, now),
        "exp": lambda value: _instant(value, now),
        "until": lambda value: _instant(value, now),
        "node": lambda value: f"{value} alone, where it was asked for",
        # A grant's path and query are those of the call, whose page shows them when asked for: here they say that they
        # are hidden, and how long they are.
        "path": lambda value: masked_path(str(value)),
        "query": lambda value: "the same as in this call" if value else "none",
        "vary": lambda value: ", ".join(map(str, value)) if isinstance(value, list) and value else "nothing",
        "body": lambda value: "any of the same type" if value == ANY_BODY else f"exactly this one, SHA-256 {value}",
        "media": lambda value: str(value or "no body"),
        "reason": lambda value: str(value or "none"),
    }
    names = [*(name for name in _LABELS if name in claims), *(name for name in claims if name not in _LABELS)]
    if claims.get("act") != "extend" and "until" in names:
        names.remove("until")  # of any other note it is the time of signing
    said = [(name, _LABELS.get(name, name), forms.get(name, _plain)(claims[name])) for name in names]
    verb = next((str(claims[name]) for name in _VERBS if name in claims), "")
    usual = "Release this call, and others like it" if typ == GRANT_TYP else f"Sign {typ}"
    return Statement(
        does=_DOES.get((typ, verb), usual),
        lines=tuple((label, text) for name, label, text in said if name not in _BESIDES),
        besides=tuple((label, text) for name, label, text in said if name in _BESIDES),
    )


def _instant(value: Json, now: datetime) -> str:
    return clock(from_epoch(value), now) if isinstance(value, int) else _plain(value)


def _plain(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)
