"""What a desk's API answered, read into what the command line shows; and the digest of its call computed anew.

A desk may be in an attacker's hands. What is shown and signed here is what was computed here, of the call as it was
filed; where that does not fit what the desk says of it, nothing is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from proxy.core.digest import call_digest, is_sensitive, masked_headers
from proxy.core.encoding import Json, canonical_json
from proxy.core.errors import Code, Rejected
from proxy.core.explain import Explanation, consequence
from proxy.core.hiding import masked_url
from proxy.core.model import Hold, HoldState, Means, Proof, Risk
from proxy.core.reviewers import Rung
from proxy.core.stored import stored_from_bytes
from proxy.review.documents import Remark
from proxy.review.opened import HeldCall, Shown
from proxy.review.outcomes import Outcome, Result

_KEYED = "keyed:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Whom a token names, by the word of its desk."""

    person: str
    deployment: str
    reveals: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A hold as a desk tells it. `hidden` is what of its call only `reveal` shows, `laid_out` its body until then."""

    held: HeldCall
    said: tuple[Remark, ...]
    hidden: frozenset[str]
    laid_out: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether the digest of the call can be computed."""
        return not self.hidden & {"url", "body"}


class Answer:
    """An answer's members by type.

    Raises from each method: Rejected(UPSTREAM_BROKEN).
    """

    def __init__(self, value: Json, where: str = "answer") -> None:
        self._where = where
        if not isinstance(value, Mapping):
            raise self._wrong("an object")
        self._value = value

    def has(self, name: str) -> bool:
        return self._value.get(name) is not None

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise self._wrong("text", name)
        return value

    def maybe_text(self, name: str) -> str | None:
        return self.text(name) if self.has(name) else None

    def whole(self, name: str) -> int:
        value = self._value.get(name)
        if not isinstance(value, int):
            raise self._wrong("a whole number", name)
        return value

    def flag(self, name: str) -> bool:
        value = self._value.get(name)
        if not isinstance(value, bool):
            raise self._wrong("true or false", name)
        return value

    def seconds(self, name: str) -> timedelta | None:
        value = self._value.get(name)
        if not isinstance(value, int | float) or not 0 <= value < 1e11:
            return None
        return timedelta(seconds=value)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(each if isinstance(each, str) else "" for each in self.items(name))

    def items(self, name: str) -> tuple[Json, ...]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise self._wrong("a list", name)
        return tuple(value)

    def parts(self, name: str) -> tuple["Answer", ...]:
        return tuple(Answer(each, name) for each in self.items(name))

    def part(self, name: str) -> "Answer":
        return Answer(self._value.get(name), name)

    def plain(self, name: str) -> Json:
        return self._value.get(name)

    def moment(self, name: str) -> datetime:
        try:
            moment = datetime.fromisoformat(self.text(name))
        except ValueError:
            raise self._wrong("a moment", name) from None
        if moment.tzinfo is None:
            raise self._wrong("a moment", name)
        return moment

    def maybe_moment(self, name: str) -> datetime | None:
        return self.moment(name) if self.has(name) else None

    def choice[T: StrEnum](self, name: str, made: type[T]) -> T:
        try:
            return made(self.text(name))
        except ValueError:
            raise self._wrong("another value", name) from None

    def _wrong(self, wanted: str, name: str = "") -> Rejected:
        place = f"{self._where}.{name}" if name else self._where
        return Rejected(Code.UPSTREAM_BROKEN, f"the desk's answer is not as its API says: {place} must be {wanted}")


def me_of(answer: Answer) -> Me:
    return Me(
        person=answer.text("person"),
        deployment=answer.text("deployment"),
        reveals="reveal" in answer.part("token").texts("scopes"),
    )


def hold_of(answer: Answer) -> Hold:
    """A hold."""
    proofs = {proof.label: proof for proof in Proof}
    return Hold(
        id=answer.text("id"),
        state=answer.choice("state", HoldState),
        version=answer.whole("version"),
        fence=0,
        call_digest=answer.text("call_digest"),
        root_id=answer.text("manifest"),
        agent=answer.text("agent"),
        sponsor=answer.text("sponsor"),
        cluster=answer.text("cluster"),
        task=answer.text("task"),
        code=answer.choice("code", Code),
        risk=answer.choice("risk", Risk),
        proof=proofs.get(answer.text("proof"), Proof.SOURCE),
        who=answer.texts("who"),
        quorum=answer.whole("quorum"),
        body_bytes=answer.whole("body_bytes"),
        filed_at=answer.moment("filed_at"),
        expires_at=answer.moment("expires_at"),
        decided_by=answer.maybe_text("decided_by"),
        decided_with=answer.choice("signed_with", Means) if answer.has("signed_with") else None,
        decided_at=answer.maybe_moment("decided_at"),
        reason=answer.maybe_text("reason"),
    )


def told_of(answer: Answer, *, hold_id: str) -> Told:
    """A hold and its call, checked: it is the one that was asked for, and its digest is that of the call shown.

    Raises:
        Rejected(UPSTREAM_BROKEN): it is no such document.
        Rejected(HOLD_TAMPERED): it is of another hold, or of another call than it says.
    """
    hold = hold_of(answer.part("hold"))
    call = answer.part("call") if answer.has("call") else None
    hidden = frozenset(() if call is None else call.texts("hidden"))
    shown = None if call is None else _shown(answer, call)
    if hold.id != hold_id:
        raise lie(f"it was asked for hold {hold_id}, and tells of another")
    told = Told(
        held=HeldCall(
            hold=hold,
            shown=shown,
            deciders=answer.texts("deciders"),
            told=answer.texts("told"),
            later=tuple(Rung(since=r.moment("since"), people=r.texts("people")) for r in answer.parts("later")),
            said=(),
            signers=answer.texts("signers"),
        ),
        said=tuple(
            Remark(
                by=one.text("by"),
                event=one.text("event"),
                reason=one.text("reason"),
                at=one.moment("at"),
                until=one.maybe_moment("until"),
            )
            for one in answer.parts("said")
        ),
        hidden=hidden,
        # Of a whole call, only what its digest was computed of is shown: else a desk could lay out another body.
        laid_out=call.texts("body_laid_out") if call is not None and "body" in hidden else (),
    )
    if shown is not None and shown.stored.decision.hold_id != hold.id:
        raise lie("the call it shows is of another hold")
    return told


def _shown(answer: Answer, call: Answer) -> Shown:
    try:
        stored = stored_from_bytes(canonical_json(call.plain("filed")))
    except (Rejected, ValueError):
        raise Rejected(
            Code.UPSTREAM_BROKEN, "the desk's answer is not as its API says: call.filed cannot be read"
        ) from None
    why = answer.part("explanation")
    return Shown(
        stored=stored,
        today=None,  # the rules are not here: the desk's hold is as strict as they are, and the node asks again
        consequence=consequence(stored.decision, stored.call, None),
        explanation=Explanation(
            verdict=why.text("verdict"),
            rule=why.maybe_text("rule"),
            failed=why.texts("failed"),
            near=why.texts("near"),
            changes=why.texts("changes"),
            next_step=why.text("next_step"),
            credential=why.text("credential"),
        ),
        url=masked_url(stored.call, _for_eyes),
        headers=masked_headers(stored.call, _for_eyes),
    )


def _for_eyes(value: str) -> str:
    return value.removeprefix(_KEYED) if value.startswith(_KEYED) else "(shown to nobody here)"


def check_digest(told: Told, *, deployment: str) -> str:
    """The digest of the call, computed of what is shown. Credentials in headers are keyed hashes already.

    Raises:
        Rejected(HOLD_TAMPERED): it is another than the desk says, or of another deployment.
    """
    assert told.held.shown is not None
    hold, stored = told.held.hold, told.held.shown.stored
    decision = stored.decision
    bare = [name for name, value in stored.call.headers if is_sensitive(name) and not value.startswith(_KEYED)]
    computed = call_digest(
        stored.call,
        deployment=deployment,
        root_id=decision.manifest or "",
        sub_path=stored.sub_path,
        cluster=decision.intent.cluster or "",
        task=decision.intent.task or "",
        keyed_hash=lambda value: value.removeprefix(_KEYED),
    )
    if bare or {computed} != {hold.call_digest, stored.call_digest} or hold.root_id != decision.manifest:
        raise lie("the digest it names is not that of the call it shows")
    if {hold.agent, decision.agent} != {stored.agents[-1]}:
        raise lie("the agent it names is not the one whose call it shows")
    return computed


def outcome_of(answer: Answer, shown: Shown | None) -> Outcome:
    """What became of a word. `shown` is what it was about, as it was looked at here."""
    result = answer.choice("result", Result)
    return Outcome(
        result=result,
        detail=answer.text("detail"),
        hold=hold_of(answer.part("hold")) if answer.has("hold") else None,
        call=shown if result in (Result.DONE, Result.SIGNED) else None,
    )


def lie(what: str) -> Rejected:
    """A desk that says what is not so."""
    return Rejected(Code.HOLD_TAMPERED, f"nothing was signed: the desk cannot be trusted, for {what}; tell an operator")
