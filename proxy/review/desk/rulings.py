"""The forms with which a person says something about a hold. What became of it is told as it is.

Everything is said through the review service, which looks at the hold as it is then: so two people at once, a hold that
expired in between, and an agent that was stopped all get a true answer. The form names the digest of the call that its
page showed; another call is not decided by it. What the desk's key is enough for is signed at once; for the rest their
passkey is asked, on a second page.
"""

from starlette.responses import Response

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.model import Means, Verdict
from proxy.core.notes import NoteAct, check_reason
from proxy.core.resolution import Found
from proxy.review.desk.forms import Form, read_form
from proxy.review.desk.passkeys import Passkeys
from proxy.review.desk.sayings import Drafted, Say, finding, granting, noting, ruling
from proxy.review.desk.signing import MOST_GRANTED
from proxy.review.desk.telling import STATUS as STATUS
from proxy.review.desk.telling import Rest, told
from proxy.review.desk.views import MOST_IN_GROUP, Views, choices_of, show_group
from proxy.review.desk.visits import Refused, Visit
from proxy.review.granting import Width
from proxy.review.groups import group_id, likeness
from proxy.review.opened import HeldCall
from proxy.review.service import Outcome, Result

_ACTS = {
    "comment": NoteAct.COMMENT,
    "escalate": NoteAct.ESCALATE,
    "extend": NoteAct.EXTEND,
    "cancel": NoteAct.CANCEL,
    "lift": NoteAct.LIFT,
}

_VERDICTS = {"release": Verdict.ALLOW, "deny": Verdict.DENY}


class Rulings:
    """The handlers of what is said."""

    def __init__(self, views: Views, passkeys: Passkeys) -> None:
        self._views = views
        self._passkeys = passkeys

    async def release(self, visit: Visit) -> Response:
        """Let the call pass once."""
        form, held = await _asked(visit)
        await self._views.check_read(visit, held.hold)
        return await self._say(visit, held, ruling(visit, held.hold.id, Verdict.ALLOW, form.text("reason")))

    async def deny(self, visit: Visit) -> Response:
        """Refuse the call."""
        form, held = await _asked(visit)
        return await self._say(visit, held, ruling(visit, held.hold.id, Verdict.DENY, form.text("reason")))

    async def grant(self, visit: Visit) -> Response:
        """Let the call pass, and others like it, for so long or so often."""
        form, held = await _asked(visit)
        await self._views.check_read(visit, held.hold)
        offered, minutes = choices_of(visit, held), form.number("minutes")
        width = Width(
            path=form.text("path") or None,
            vary=tuple(form.text("vary").replace(",", " ").split()),
            any_body=form.ticked("any_body"),
            count=form.number("count") or MOST_GRANTED,
            lasting=form.minutes("minutes"),
        )
        if width.count is not None and width.count > offered.most_calls:
            raise Refused(
                422, f"Here you let at most {offered.most_calls} calls pass at once; more is signed elsewhere."
            )
        if minutes is None or not 1 <= minutes <= offered.most_minutes:
            raise Refused(422, f"Here you let calls pass for 1 to {offered.most_minutes} minutes.")
        return await self._say(visit, held, granting(visit, held.hold.id, form.text("reason"), width))

    async def note(self, visit: Visit) -> Response:
        """Comment, escalate, extend, cancel, lift."""
        form, held = await _asked(visit)
        act = _ACTS.get(str(visit.request.path_params["act"]))
        if act is None:
            raise Refused(404, "There is no such page.")
        say = noting(visit, held.hold.id, act, form.text("reason"), form.minutes("minutes"))
        return await self._say(visit, held, say)

    async def resolve(self, visit: Visit) -> Response:
        """Say whether an uncertain call arrived."""
        form, held = await _asked(visit)
        found = next((each for each in Found if each.value == form.text("found")), None)
        return await self._say(visit, held, finding(visit, held.hold.id, found, form.text("reason")))

    async def reveal(self, visit: Visit) -> Response:
        """Show what may be credentials."""
        await read_form(visit.request, visit.session)
        return await self._views.reveal(visit)

    async def group(self, visit: Visit) -> Response:
        """Say the same of each hold of a group that the page showed, each signed for itself: at once where the desk's
        key is enough, else one after the other.
        """
        form = await read_form(visit.request, visit.session)
        verb = str(visit.request.path_params["verb"])
        if verb not in _VERDICTS:
            raise Refused(404, "There is no such page.")
        reason = form.text("reason")
        try:
            check_reason(reason, needed=f"to {verb} more than one call")
        except Rejected as fault:
            return await show_group(visit, said=fault.detail)
        group, shown = str(visit.request.path_params["group"]), _shown(form)
        if form.ticked("one_by_one") and shown:
            return await self._first_of(visit, Rest(group=group, verb=verb, reason=reason, holds=shown))
        outcomes: list[tuple[str, Outcome]] = []
        for hold_id, digest in shown:  # what was filed since the page was made is not among them
            try:
                outcome = await _one_of_many(visit, verb, hold_id, digest, group, reason)
            except Unavailable as fault:  # those before it are decided, and it may be: what is known is told
                detail = f"nobody knows whether it was decided: {fault.detail}"
                outcomes.append((hold_id, Outcome(result=Result.FAILED, detail=detail)))
                break
            outcomes.append((hold_id, outcome))
        done = sum(outcome.result in (Result.DONE, Result.SIGNED) for _, outcome in outcomes)
        return visit.page(
            "together.html",
            status=200 if outcomes and done == len(outcomes) else 409,
            verb=verb,
            outcomes=outcomes,
            done=done,
            good=(Result.DONE, Result.SIGNED),
            left_over=len(shown) - len(outcomes),
        )

    async def _first_of(self, visit: Visit, todo: Rest) -> Response:
        """Decide the first of several; the rest comes after it, whatever became of this one."""
        (hold_id, digest), *more = todo.holds
        rest = Rest(group=todo.group, verb=todo.verb, reason=todo.reason, holds=tuple(more))
        try:
            held = await _member(visit, hold_id, digest, todo.group)
            say = ruling(visit, hold_id, _VERDICTS[todo.verb], todo.reason)
            return await self._say(visit, held, say, rest=rest)
        except Rejected as fault:
            return await told(visit, Outcome(result=Result.FAILED, detail=fault.detail), rest=rest)

    async def _say(self, visit: Visit, held: HeldCall, say: Say, *, rest: Rest | None = None) -> Response:
        """Say it with the desk's key, where that is enough, and tell what became of it; else ask for their passkey."""
        try:
            drafted = await say()
            outcome = drafted if isinstance(drafted, Outcome) else await _at_once(visit, held, drafted)
        except Rejected as fault:
            if fault.code is not Code.RELEASE_INVALID:
                raise
            return await self._views.show(visit, held, said=fault.detail)
        if outcome is not None:
            return await told(visit, outcome, rest=rest)
        assert isinstance(drafted, Drafted)
        return await self._passkeys.ask(visit, held, drafted, rest=rest)


async def _at_once(visit: Visit, held: HeldCall, drafted: Drafted) -> Outcome | None:
    """What becomes of a word that the desk's key signs; None: that key is not enough."""
    hold = held.hold if held.shown is None else held.shown.meant(held.hold)
    key = visit.parts.signing.key(visit.person, hold)
    if key is None or Means.DESK not in drafted.draft.means:
        return None
    return await drafted.record(drafted.draft.signed(key))


async def _asked(visit: Visit) -> tuple[Form, HeldCall]:
    """The form, and the hold it is about, if that is of the call which its page showed."""
    form = await read_form(visit.request, visit.session)
    held = await visit.held()
    if form.text("digest") != held.hold.call_digest:
        raise Refused(409, "The page you sent that from showed another call: look at this one first.")
    return form, held


async def _member(visit: Visit, hold_id: str, digest: str, group: str) -> HeldCall:
    """One hold of a group, as its page showed it.

    Raises:
        Rejected(HOLD_NOT_PERMITTED): it is not that one.
    """
    held = await visit.open(hold_id)
    if held.shown is not None and (
        held.hold.call_digest != digest or group_id(likeness(held.hold, held.shown.stored.call)) != group
    ):
        raise Rejected(Code.HOLD_NOT_PERMITTED, f"hold {hold_id} is not the one that the page showed")
    return held


async def _one_of_many(visit: Visit, verb: str, hold_id: str, digest: str, group: str, reason: str) -> Outcome:
    """The same word about one of several: a fault of this one leaves the others alone."""
    try:
        held = await _member(visit, hold_id, digest, group)
        drafted = await ruling(visit, hold_id, _VERDICTS[verb], reason)()
        outcome = drafted if isinstance(drafted, Outcome) else await _at_once(visit, held, drafted)
        if outcome is None:
            raise Rejected(Code.HOLD_NOT_PERMITTED, f"hold {hold_id} is decided with a key of your own")
        return outcome
    except Rejected as fault:
        return Outcome(result=Result.FAILED, detail=fault.detail)


def _shown(form: Form) -> tuple[tuple[str, str], ...]:
    """The holds that a group's page showed, each with its call's digest."""
    pairs = (each.partition(":") for each in form.every("hold")[:MOST_IN_GROUP])
    return tuple((hold_id, digest) for hold_id, _, digest in pairs)
