"""The forms with which a person says something about a hold. What became of it is told as it is.

Everything is said through the review service, which looks at the hold as it is then: so two people at once, a hold that
expired in between, and an agent that was stopped all get a true answer. The form names the digest of the call that its
page showed; another call is not decided by it.
"""

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.keys import PrivateKey
from proxy.core.notes import NoteAct, check_reason
from proxy.core.resolution import Found
from proxy.review.desk import words
from proxy.review.desk.forms import Form, read_form
from proxy.review.desk.queue import Which, Wish
from proxy.review.desk.signing import MOST_GRANTED, MOST_GRANTED_MINUTES
from proxy.review.desk.views import MOST_IN_GROUP, Views, queue_of, show_group
from proxy.review.desk.visits import Refused, Visit
from proxy.review.granting import Width, check_width
from proxy.review.groups import group_id, likeness
from proxy.review.opened import HeldCall
from proxy.review.service import Outcome, Result

STATUS = {
    Result.DONE: 200,
    Result.SIGNED: 200,
    Result.ALREADY_DECIDED: 409,
    Result.NOT_PERMITTED: 403,
    Result.EXPIRED: 410,
    Result.UNKNOWN: 404,
    Result.FAILED: 422,
}
"""What programs are told of an outcome."""

_ACTS = {
    "comment": NoteAct.COMMENT,
    "escalate": NoteAct.ESCALATE,
    "extend": NoteAct.EXTEND,
    "cancel": NoteAct.CANCEL,
    "lift": NoteAct.LIFT,
}

type Say = Callable[[PrivateKey], Awaitable[Outcome]]


class Rulings:
    """The handlers of what is said."""

    def __init__(self, views: Views) -> None:
        self._views = views

    async def release(self, visit: Visit) -> Response:
        """Let the call pass once."""
        form, held = await _asked(visit)
        reason = form.text("reason")

        async def say(key: PrivateKey) -> Outcome:
            return await visit.parts.reviews.release(held.hold.id, person=visit.person, key=key, reason=reason)

        return await self._say(visit, held, say)

    async def grant(self, visit: Visit) -> Response:
        """Let the call pass, and others like it, for so long or so often."""
        form, held = await _asked(visit)
        reason = form.text("reason")
        width = Width(
            path=form.text("path") or None,
            vary=tuple(form.text("vary").replace(",", " ").split()),
            any_body=form.ticked("any_body"),
            count=form.number("count") or MOST_GRANTED,
            lasting=form.minutes("minutes"),
        )

        async def say(key: PrivateKey) -> Outcome:
            check_width(width)
            outcome, _ = await visit.parts.granter.release(
                held.hold.id, person=visit.person, key=key, reason=reason, width=width
            )
            return outcome

        minutes = form.number("minutes")
        if width.count is not None and width.count > MOST_GRANTED:
            raise Refused(422, f"The desk lets at most {MOST_GRANTED} calls pass at once; more is signed elsewhere.")
        if minutes is None or not 1 <= minutes <= MOST_GRANTED_MINUTES:
            raise Refused(422, f"The desk lets calls pass for 1 to {MOST_GRANTED_MINUTES} minutes.")
        return await self._say(visit, held, say)

    async def deny(self, visit: Visit) -> Response:
        """Refuse the call."""
        form, held = await _asked(visit)
        reason = form.text("reason")

        async def say(key: PrivateKey) -> Outcome:
            return await visit.parts.reviews.deny(held.hold.id, person=visit.person, key=key, reason=reason)

        return await self._say(visit, held, say)

    async def note(self, visit: Visit) -> Response:
        """Comment, escalate, extend, cancel, lift."""
        form, held = await _asked(visit)
        act = _ACTS.get(str(visit.request.path_params["act"]))
        if act is None:
            raise Refused(404, "There is no such page.")
        reason, longer = form.text("reason"), form.minutes("minutes")

        async def say(key: PrivateKey) -> Outcome:
            more = {} if longer is None else {"longer": longer}
            return await visit.parts.reviews.note(
                act, held.hold.id, person=visit.person, key=key, reason=reason, **more
            )

        return await self._say(visit, held, say)

    async def resolve(self, visit: Visit) -> Response:
        """Say whether an uncertain call arrived."""
        form, held = await _asked(visit)
        found = next((each for each in Found if each.value == form.text("found")), None)
        reason = form.text("reason")

        async def say(key: PrivateKey) -> Outcome:
            if found is None:
                raise Rejected(Code.RELEASE_INVALID, "say whether it arrived or did not", field="found")
            return await visit.parts.resolving.resolve(held.hold.id, found, person=visit.person, key=key, reason=reason)

        return await self._say(visit, held, say)

    async def reveal(self, visit: Visit) -> Response:
        """Show what may be credentials."""
        await read_form(visit.request, visit.session)
        return await self._views.reveal(visit)

    async def group(self, visit: Visit) -> Response:
        """Say the same of each hold of a group that the page showed. Each is signed for itself."""
        form = await read_form(visit.request, visit.session)
        verb = str(visit.request.path_params["verb"])
        if verb not in ("release", "deny"):
            raise Refused(404, "There is no such page.")
        reason = form.text("reason")
        try:
            check_reason(reason, needed=f"to {verb} more than one call")
        except Rejected as fault:
            return await show_group(visit, said=fault.detail)
        group = str(visit.request.path_params["group"])
        outcomes: list[tuple[str, Outcome]] = []
        for hold_id, digest in _shown(form):  # what was filed since the page was made is not among them
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
            left_over=len(_shown(form)) - len(outcomes),
        )

    async def _say(self, visit: Visit, held: HeldCall, say: Say) -> Response:
        """Say it, with the key that the desk may use for this hold, and tell what became of it."""
        hold = held.hold if held.shown is None else held.shown.meant(held.hold)
        key = visit.parts.signing.key(visit.person, hold)
        if key is None:
            return await self._views.confirm(visit, held, status=403)
        try:
            outcome = await say(key)
        except Rejected as fault:
            if fault.code is not Code.RELEASE_INVALID:
                raise
            return await self._views.show(visit, held, said=fault.detail)
        return await _told(visit, outcome)


async def _asked(visit: Visit) -> tuple[Form, HeldCall]:
    """The form, and the hold it is about, if that is of the call which its page showed."""
    form = await read_form(visit.request, visit.session)
    held = await visit.held()
    if form.text("digest") != held.hold.call_digest:
        raise Refused(409, "The page you sent that from showed another call: look at this one first.")
    return form, held


async def _told(visit: Visit, outcome: Outcome) -> Response:
    """What became of a word, as it is."""
    following = await queue_of(visit, Wish(which=Which.MINE), rows=2)
    hold = outcome.hold
    return visit.page(
        "result.html",
        status=STATUS[outcome.result],
        outcome=outcome,
        hold=hold,
        shown=outcome.call,
        standing=None if hold is None else words.standing(hold, visit.now),
        done=outcome.result in (Result.DONE, Result.SIGNED),
        following=next((row for row in following.rows if hold is None or row.hold.id != hold.id), None),
        queue=following,
    )


async def _one_of_many(visit: Visit, verb: str, hold_id: str, digest: str, group: str, reason: str) -> Outcome:
    """The same word about one of several: a fault of this one leaves the others alone."""
    try:
        held = await visit.open(hold_id)
        if held.shown is not None and (
            held.hold.call_digest != digest or group_id(likeness(held.hold, held.shown.stored.call)) != group
        ):
            raise Rejected(Code.HOLD_NOT_PERMITTED, f"hold {hold_id} is not the one that the page showed")
        key = visit.parts.signing.key(visit.person, held.hold if held.shown is None else held.shown.meant(held.hold))
        if key is None:
            raise Rejected(Code.HOLD_NOT_PERMITTED, f"hold {hold_id} is decided with a key of your own")
        say = visit.parts.reviews.deny if verb == "deny" else visit.parts.reviews.release
        return await say(hold_id, person=visit.person, key=key, reason=reason)
    except Rejected as fault:
        return Outcome(result=Result.FAILED, detail=fault.detail)


def _shown(form: Form) -> tuple[tuple[str, str], ...]:
    """The holds that a group's page showed, each with its call's digest."""
    pairs = (each.partition(":") for each in form.every("hold")[:MOST_IN_GROUP])
    return tuple((hold_id, digest) for hold_id, _, digest in pairs)
