"""Stopping things: signed revocations, quarantines and the kill switch, and what they add up to.

Anyone enrolled may stop something; only an operator or the agent's sponsor may let it run again. Revocations are
never undone: a view only ever gains them.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from proxy.core.encoding import Json, from_epoch, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.jws import check_signature, open_envelope, seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Bundle, Manifest, Person, PublicKey

CONTROL_TYP = "intent-control+jwt"
_CLAIMS = frozenset({"iss", "aud", "iat", "serial", "act", "target", "reason"})


class Act(enum.StrEnum):
    """What a control statement does."""

    REVOKE_MANIFEST = "revoke-manifest"  # target: "<iss> <jti>"
    REVOKE_KEY = "revoke-key"  # target: a cnf thumbprint
    REVOKE_ROOT = "revoke-root"  # target: a root manifest id
    QUARANTINE = "quarantine"  # target: an agent id
    RESTORE = "restore"  # target: an agent id
    KILL_ON = "kill-on"  # target: "*"
    KILL_OFF = "kill-off"  # target: "*"


REVOKING = frozenset({Act.REVOKE_MANIFEST, Act.REVOKE_KEY, Act.REVOKE_ROOT})
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
    serial: int  # milliseconds since 1970 at signing; the highest serial for a target wins
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlView:
    """Everything stopped at one moment."""

    revoked_manifests: frozenset[tuple[str, str]] = frozenset()  # (iss, jti)
    revoked_keys: frozenset[str] = frozenset()
    revoked_roots: frozenset[str] = frozenset()
    latest: Mapping[str, Statement] = field(default_factory=dict)  # agent id or "*" -> the statement that counts

    @property
    def killed(self) -> bool:
        said = self.latest.get("*")
        return said is not None and said.act is Act.KILL_ON

    def quarantined(self, agent: str) -> bool:
        said = self.latest.get(agent)
        return said is not None and said.act is Act.QUARANTINE

    def revokes(self, link: Manifest) -> bool:
        """Whether this link was revoked by name, by key, or as a root."""
        return (
            (link.iss, link.jti) in self.revoked_manifests
            or link.cnf.kid in self.revoked_keys
            or link.id in self.revoked_roots
        )

    def absorb(self, said: Statement) -> "ControlView":
        """The view with one more statement; older statements about the same target change nothing."""
        match said.act:
            case Act.REVOKE_MANIFEST:
                iss, _, jti = said.target.partition(" ")
                return replace(self, revoked_manifests=self.revoked_manifests | {(iss, jti)})
            case Act.REVOKE_KEY:
                return replace(self, revoked_keys=self.revoked_keys | {said.target})
            case Act.REVOKE_ROOT:
                return replace(self, revoked_roots=self.revoked_roots | {said.target})
            case _:  # quarantine, restore, kill-on, kill-off: the latest word about a target counts
                before = self.latest.get(said.target)
                if before is not None and before.serial >= said.serial:
                    return self
                return replace(self, latest={**self.latest, said.target: said})


def state(act: Act, target: str, *, by: str, reason: str, deployment: str, key: PrivateKey, now: datetime) -> str:
    """Sign a control statement. `by` is the signer's Person.id, or "operator"."""
    claims: dict[str, Json] = {
        "iss": by,
        "aud": deployment,
        "iat": to_epoch(now),
        "serial": int(now.timestamp() * 1000),
        "act": act.value,
        "target": target,
        "reason": reason,
    }
    return seal(claims, typ=CONTROL_TYP, key=key)


def read_statement(token: str, bundle: Bundle) -> Statement:
    """Verify a control statement against the people and operators of `bundle`.

    Not checked here: age (a revocation never ages).

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
        act, at = Act(str(act_name)), from_epoch(iat)
    except (ValueError, OverflowError, OSError):
        raise Rejected(code, f"unknown act {act_name!r} or impossible time {iat}") from None
    check_signature(envelope, _signer(str(by), envelope.kid, bundle), code=code)
    if act in RESUMING and not _may_resume(str(by), str(target), bundle):
        raise Rejected(code, f"{by} may not {act.value} {target}: only an operator or the agent's sponsor may")
    return Statement(
        token=token, id=envelope.id, by=str(by), act=act, target=str(target), reason=str(reason), serial=serial, at=at
    )


def _signer(by: str, kid: str, bundle: Bundle) -> PublicKey:
    person: Person | None = bundle.people.get(by)
    keys = bundle.operators if by == "operator" else person.keys if person is not None else ()
    for key in keys:
        if key.kid == kid:
            return key
    raise Rejected(Code.STATEMENT_INVALID, f"{by} has no enrolled key {kid}", field="kid")


def _may_resume(by: str, target: str, bundle: Bundle) -> bool:
    if by == "operator":
        return True
    agent = bundle.agents.get(target)
    return agent is not None and agent.sponsor == by
