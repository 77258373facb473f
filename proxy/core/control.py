"""Stopping things: signed revocations, quarantines and the kill switch, and what they add up to.

Anyone enrolled may stop something; only an operator or the agent's sponsor may let it run again. Revocations are
never undone: a view only ever gains them. What is stopped follows from the set of statements alone, never from the
order in which they came:

- Operators and everybody else are heard apart. Of each the latest word about a target counts, and of two words of
  the same millisecond the one that stops.
- What an operator stopped, only an operator lets run again.
- An operator who lets something run again overrules whatever others said before. What they say later counts: anyone
  may stop it anew.
"""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from proxy.core.encoding import MAX_EPOCH_S, Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.manifest import NAME
from proxy.core.model import Bundle, Manifest, Person, PublicKey

CONTROL_TYP = "intent-control+jwt"
OPERATOR = "operator"
EVERYTHING = "*"
"""The target of the kill switch."""
MAX_TARGET_CHARS = 200
MAX_REASON_CHARS = 500
MAX_AHEAD_S = 5
"""How far the clock of whoever signs may run ahead of the node's."""

_CLAIMS = frozenset({"iss", "aud", "iat", "serial", "act", "target", "reason"})


class Act(enum.StrEnum):
    """What a control statement does."""

    REVOKE_MANIFEST = "revoke-manifest"  # target: "<iss> <jti>"
    REVOKE_KEY = "revoke-key"  # target: a cnf thumbprint
    REVOKE_ROOT = "revoke-root"  # target: a root manifest id
    REVOKE_GRANT = "revoke-grant"  # target: the id of a route grant
    QUARANTINE = "quarantine"  # target: an agent id
    RESTORE = "restore"  # target: an agent id
    KILL_ON = "kill-on"  # target: "*"
    KILL_OFF = "kill-off"  # target: "*"


RESUMING = frozenset({Act.RESTORE, Act.KILL_OFF})


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A verified control statement."""

    token: str
    id: str
    by: str  # Person.id, or "operator" for a pinned operator key
    act: Act
    target: str
    reason: str
    serial: int  # milliseconds since 1970 at signing, within the second `at`
    at: datetime

    @property
    def stops(self) -> bool:
        return self.act not in RESUMING


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """Everything stopped at one moment."""

    revoked_manifests: frozenset[tuple[str, str]] = frozenset()  # (iss, jti)
    revoked_keys: frozenset[str] = frozenset()
    revoked_roots: frozenset[str] = frozenset()
    revoked_grants: frozenset[str] = frozenset()
    latest: Mapping[tuple[str, bool], Statement] = field(default_factory=dict)
    """By agent id or "*", and by whether operators say it: their last word."""
    words: Mapping[str, tuple[Statement, ...]] = field(default_factory=dict)
    """By agent id or "*": everything that was ever said of it, in the order of its times."""

    @property
    def killed(self) -> bool:
        return self._stopped(EVERYTHING)

    def quarantined(self, agent: str) -> bool:
        return self._stopped(agent)

    def stops(self, agents: Iterable[str]) -> str | None:
        """Which of these agents, or "*", is stopped now; None: none is."""
        return next((name for name in (EVERYTHING, *agents) if self._stopped(name)), None)

    def stopped_since(self, agents: Iterable[str], given_at: datetime) -> Statement | None:
        """What stopped one of these agents, or everything, in that second or later, or before and still did then.

        What people granted or released before a stop, or during it, ends with it, and does not come back when the
        agent may go on.
        """
        given_ms = to_epoch(given_at) * 1000
        for name in (EVERYTHING, *agents):
            words = self.words.get(name, ())
            later = (word for word in words if word.stops and word.serial >= given_ms)
            # Both were said in whole seconds: to go on in the same second is to go on before.
            said = tuple(word for word in words if word.serial < given_ms + 1000)
            if (stop := next(later, None) or _in_force(_last(said, False), _last(said, True))) is not None:
                return stop
        return None

    def stop_of(self, target: str) -> Statement | None:
        """The word by which this agent, or "*", is stopped now; None: it is not."""
        if not self.latest:
            return None
        return _in_force(self.latest.get((target, False)), self.latest.get((target, True)))

    def _stopped(self, target: str) -> bool:
        return self.stop_of(target) is not None

    def last_stops(self) -> dict[str, int]:
        """The serial of the last stop of each agent or "*" that ever was stopped, whether it may go on since or not."""
        stops = {target: _stops(words) for target, words in self.words.items()}
        return {target: serial for target, serial in stops.items() if serial is not None}

    def last_serial(self, target: str) -> int:
        """Of the last word about an agent or "*"; -1 when there is none."""
        words = self.words.get(target)
        return words[-1].serial if words else -1

    def revokes(self, link: Manifest) -> bool:
        """Whether this link was revoked by name, by key, or as a root."""
        return (
            (link.iss, link.jti) in self.revoked_manifests
            or link.cnf.kid in self.revoked_keys
            or link.id in self.revoked_roots
        )

    def absorb(self, said: Statement) -> "ControlView":
        """The view with one more statement. The same set in whatever order, however often, gives the same view."""
        match said.act:
            case Act.REVOKE_MANIFEST:
                iss, _, jti = said.target.partition(" ")
                return replace(self, revoked_manifests=self.revoked_manifests | {(iss, jti)})
            case Act.REVOKE_KEY:
                return replace(self, revoked_keys=self.revoked_keys | {said.target})
            case Act.REVOKE_ROOT:
                return replace(self, revoked_roots=self.revoked_roots | {said.target})
            case Act.REVOKE_GRANT:
                return replace(self, revoked_grants=self.revoked_grants | {said.target})
            case _:  # quarantine, restore, kill-on, kill-off: the latest word about a target counts
                words = self.words.get(said.target, ())
                if said in words:
                    return self
                all_words = {**self.words, said.target: tuple(sorted((*words, said), key=_order))}
                name = (said.target, said.by == OPERATOR)
                before = self.latest.get(name)
                if before is not None and _order(before) >= _order(said):
                    return replace(self, words=all_words)
                return replace(self, latest={**self.latest, name: said}, words=all_words)


def ended_by(stop: Statement) -> str:
    """What a stop did, to be said after "when"."""
    return "everything was stopped" if stop.target == EVERYTHING else f"agent {stop.target} was quarantined"


def _in_force(others: Statement | None, operators: Statement | None) -> Statement | None:
    """The word that stops, of the last that operators and that all others said."""
    if operators is not None and operators.stops:
        return operators
    if others is None or not others.stops:
        return None
    return others if operators is None or others.serial >= operators.serial else None


def _stops(words: tuple[Statement, ...]) -> int | None:
    return next((word.serial for word in reversed(words) if word.stops), None)


def _last(words: tuple[Statement, ...], operators: bool) -> Statement | None:
    return next((word for word in reversed(words) if (word.by == OPERATOR) is operators), None)


def _order(said: Statement) -> tuple[int, bool, str]:
    return said.serial, said.stops, said.id


def state(act: Act, target: str, *, by: str, reason: str, deployment: str, key: PrivateKey, now: datetime) -> str:
    """Sign a control statement. `by` is the signer's Person.id, or "operator".

    Raises:
        Rejected(STATEMENT_INVALID): no node would read it: a target that is none for this act, or a reason too long
            or on several lines.
    """
    _check_texts(act, target, reason)
    second = to_epoch(now)
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "iat": second,
        "serial": second * 1000 + now.microsecond // 1000,
        "act": act.value,
        "target": target,
        "reason": reason,
    }
    return seal(claims, typ=CONTROL_TYP, key=key)


def read_statement(token: str, bundle: Bundle) -> Statement:
    """Verify a control statement against the people and operators of `bundle`.

    `serial` orders statements, and it is the signer's own: it must lie in the very second of `iat` (both come from one
    look at one clock, so there is no tolerance), or a signer could place a word after all that others may ever say.

    Not checked here: that it was not signed in the future (`check_not_ahead`, by whoever has a clock), and age (a
    revocation never ages).

    Raises:
        Rejected(STATEMENT_INVALID): malformed, for another deployment, by an unknown key, or by someone who may not.
    """
    code = Code.STATEMENT_INVALID
    envelope = open_envelope(token, typ=CONTROL_TYP, code=code)
    claims = envelope.claims
    if set(claims) != _CLAIMS or claims["aud"] != bundle.deployment:
        raise Rejected(code, f"a control statement must have exactly {sorted(_CLAIMS)} and be for {bundle.deployment}")
    by, act_name, target = claims["iss"], claims["act"], claims["target"]
    reason, serial, iat = claims["reason"], claims["serial"], claims["iat"]
    texts_ok = isinstance(by, str) and isinstance(act_name, str) and isinstance(target, str) and isinstance(reason, str)
    if not texts_ok or type(serial) is not int or type(iat) is not int:
        raise Rejected(code, "iss, act, target and reason must be strings, serial and iat integers")
    try:
        act = Act(str(act_name))
    except ValueError:
        raise Rejected(code, f"unknown act {ascii(act_name)[:80]}", field="act") from None
    _check_texts(act, str(target), str(reason))
    if not 0 <= iat <= MAX_EPOCH_S:
        raise Rejected(code, "iat must be in seconds since 1970, before the year 10000", field="iat")
    if serial // 1000 != iat:
        raise Rejected(code, "serial must be in milliseconds since 1970, within the second iat", field="serial")
    check_signature(envelope, _signer(str(by), envelope.kid, bundle), code=code)
    if act in RESUMING and not _may_resume(str(by), str(target), bundle):
        who = "an operator" if target == EVERYTHING else "an operator or the agent's sponsor"
        raise Rejected(code, f"{by} may not say {act.value}: only {who} may")
    return Statement(
        token=token,
        id=envelope.id,
        by=str(by),
        act=act,
        target=str(target),
        reason=str(reason),
        serial=serial,
        at=from_epoch(iat),
    )


def check_not_ahead(said: Statement, *, now: datetime) -> None:
    """Reject a statement signed in the future, until its time comes: it would outlast every word said before then.

    Raises:
        Rejected(STATEMENT_INVALID): it is dated more than five seconds after `now`.
    """
    if said.at > now + timedelta(seconds=MAX_AHEAD_S):
        detail = f"signed in the future, at {said.at.isoformat()}, and it is {now.isoformat()}: set the signer's clock"
        raise Rejected(Code.STATEMENT_INVALID, detail, field="iat")


def _check_texts(act: Act, target: str, reason: str) -> None:
    code = Code.STATEMENT_INVALID
    match act:
        case Act.KILL_ON | Act.KILL_OFF:
            expected, fits = '"*"', target == "*"
        case Act.QUARANTINE | Act.RESTORE:
            expected, fits = "an agent's id", NAME.fullmatch(target) is not None
        case _:
            expected = f"1 to {MAX_TARGET_CHARS} printable characters"
            fits = 0 < len(target) <= MAX_TARGET_CHARS and target.isprintable()
    if not fits:
        raise Rejected(code, f"the target of {act.value} must be {expected}, got {ascii(target)[:80]}", field="target")
    if len(reason) > MAX_REASON_CHARS or not reason.isprintable():
        detail = f"reason must be at most {MAX_REASON_CHARS} printable characters on one line"
        raise Rejected(code, detail, field="reason")


def _signer(by: str, kid: str, bundle: Bundle) -> PublicKey:
    person: Person | None = bundle.people.get(by)
    keys = bundle.operators if by == OPERATOR else person.keys if person is not None else ()
    for key in keys:
        if key.kid == kid:
            return key
    raise Rejected(Code.STATEMENT_INVALID, f"{ascii(by)[1:-1][:80]} has no enrolled key {kid}", field="kid")


def _may_resume(by: str, target: str, bundle: Bundle) -> bool:
    if by == OPERATOR:
        return True
    agent = bundle.agents.get(target)
    return agent is not None and agent.sponsor == by
