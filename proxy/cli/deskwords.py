"""A person's word about a hold at a desk elsewhere: looked at here, signed here, recorded there.

What is signed is made here, by the same rules that made the draft: of the draft only its times and its nonce are taken,
and a draft that says anything else is no draft of what was asked.
"""

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import typer

from proxy.agent.keyfile import load_key
from proxy.cli.atdesk import AtDesk
from proxy.cli.deployment import now
from proxy.cli.deskclient import DeskClient, NotDone
from proxy.cli.desklooking import look
from proxy.cli.deskread import (
    Answer,
    Me,
    Told,
    check_digest,
    lie,
    me_of,
    outcome_of,
)
from proxy.cli.heldcall import show_held
from proxy.cli.screen import Screen
from proxy.core.encoding import Json, from_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.grants import GRANT_TYP, LONGEST, RouteGrant, grant_claims
from proxy.core.jws import seal
from proxy.core.keys import PrivateKey
from proxy.core.model import Hold, Means, StoredCall, Verdict
from proxy.core.notes import NOTE_TYP, NoteAct, note_claims
from proxy.core.release import RELEASE_TYP, release_claims
from proxy.core.resolution import RESOLUTION_TYP, resolution_claims
from proxy.core.routes import route_of
from proxy.review.granting import USUAL_COUNT, Width
from proxy.review.service import LONGEST_HOLD
from proxy.review.wishes import Said, Verb, Wish

CLOCKS_APART = timedelta(minutes=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signing:
    """What a statement is about, and who signs it."""

    wish: Wish
    hold: Hold
    stored: StoredCall
    me: Me


def say_at_desk(there: AtDesk, hold_id: str, wish: Wish, *, key: Path | None, name: str | None, as_json: bool) -> Said:
    """Look at the call, then sign with the person's own key and have that recorded; without a key the desk signs.

    Raises:
        Rejected(HOLD_TAMPERED): what the desk says does not fit; nothing was signed.
        Rejected, Unavailable: as `DeskClient`.
    """
    own = None if key is None else load_key(key)

    async def run() -> Said:
        client = DeskClient(there)
        me = me_of(Answer(await client.get("me")))
        if name not in (None, me.person):
            detail = f"the token is {me.person}'s, not {name}'s"
            raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
        told = await look(client, hold_id, reveal=False)
        if told.held.shown is not None and own is not None and not told.whole:
            told = await _revealed(client, hold_id, me)
        digest = _digest(told, me, own)
        _check_meant(there, told, digest, wish, as_json=as_json)
        try:
            if own is None or told.held.shown is None:
                body = {**_asked(wish), "digest": digest}
                answer = Answer(await client.post("holds", hold_id, "rulings", body=body))
            else:
                about = _Signing(wish=wish, hold=told.held.hold, stored=told.held.shown.stored, me=me)
                drafted = Answer(await client.post("holds", hold_id, "drafts", body=_asked(wish)))
                answer = Answer(
                    await client.post("holds", hold_id, "statements", body=_signed(drafted, about, own, digest))
                )
        except NotDone as told_so:
            return outcome_of(Answer(told_so.outcome), told.held.shown), None
        outcome = outcome_of(answer, told.held.shown)
        return outcome, _grant(answer, wish, told) if answer.has("grant") else None

    return asyncio.run(run())


async def _revealed(client: DeskClient, hold_id: str, me: Me) -> Told:
    if not me.reveals:
        detail = (
            "some of the call is hidden, and its digest cannot be computed: use a token with the scope reveal, or "
            "decide it at the desk"
        )
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
    told = await look(client, hold_id, reveal=True)
    if told.held.shown is None or not told.whole:
        raise lie("it still hides some of the call")
    return told


def _digest(told: Told, me: Me, own: PrivateKey | None) -> str:
    """The digest of what was looked at. Where the desk signs, it may be hidden what of: the desk could sign anyway."""
    if told.held.shown is not None and told.whole:
        return check_digest(told, deployment=me.deployment)
    if told.held.shown is None and own is not None:
        detail = f"hold {told.held.hold.id} is over, and its call was deleted: there is nothing to look at and to sign"
        raise Rejected(Code.HOLD_NOT_STORED, detail)
    return told.held.hold.call_digest


def _check_meant(there: AtDesk, told: Told, digest: str, wish: Wish, *, as_json: bool) -> None:
    """Have the person see what it is about: by the digest they name, or by showing the call and asking.

    Raises:
        Rejected(HOLD_TAMPERED): it is another call.
        Rejected(HOLD_NOT_PERMITTED): they did not agree.
    """
    if there.digest is not None:
        if not hmac.compare_digest(there.digest, digest):
            raise lie(f"its call has the digest {digest}, not the one that was named")
        return
    screen = Screen()
    if not as_json:
        show_held(screen, told.held, now=now(), said=told.said, laid_out=told.laid_out)
    if there.yes:
        return
    if not screen.can_ask():
        raise typer.BadParameter(
            "there is no terminal to ask on: name the call with --digest (holds show --json has it), or add --yes"
        )
    if not screen.ask(f"{wish.verb.value} this, at {there.place}?"):
        raise Rejected(Code.HOLD_NOT_PERMITTED, "nothing was signed")


def _asked(wish: Wish) -> dict[str, Json]:
    """A wish as the API takes it."""
    body: dict[str, Json] = {"verb": wish.verb.value, "reason": wish.reason}
    if wish.width is not None:
        width: dict[str, Json | None] = {
            "path": wish.width.path,
            "vary": list(wish.width.vary) or None,
            "any_body": wish.width.any_body or None,
            "count": wish.width.count,
            "for_s": None if wish.width.lasting is None else int(wish.width.lasting.total_seconds()),
        }
        body["scope"] = {name: value for name, value in width.items() if value is not None}
    if wish.verb is Verb.EXTEND:
        body["longer_s"] = int(wish.longer.total_seconds())
    if wish.found is not None:
        body["found"] = wish.found.value
    return body


def _signed(drafted: Answer, about: _Signing, key: PrivateKey, digest: str) -> dict[str, Json]:
    """The statements of a draft, signed, if they are what was asked for."""
    if Means.KEY.value not in drafted.texts("means"):
        raise Rejected(Code.HOLD_NOT_PERMITTED, "a key of one's own is not enough for this, says the desk")
    if drafted.text("call_digest") != digest:
        raise lie("its draft is of another call")
    typ, claims = _typ(about.wish), _claims(drafted.part("statement"), about)
    body: dict[str, Json] = {"statement": seal(claims, typ=typ, key=key)}
    if about.wish.width is not None:
        granted = _grant_claims(drafted.part("grant"), about, about.wish.width)
        body["grant"] = seal(granted, typ=GRANT_TYP, key=key)
    elif drafted.has("grant"):
        raise lie("its draft has a grant that nobody asked for")
    return body


def _claims(drafted: Answer, about: _Signing) -> Mapping[str, Json]:
    """What is signed, as it is made here."""
    given, wish, hold, me = drafted.part("claims"), about.wish, _meant(about), about.me
    at, nonce = _moment(given, "iat"), given.text("nonce")
    _check_now(at)
    by, reason, deployment = me.person, wish.reason, me.deployment
    made: Mapping[str, Json]
    match wish.verb:
        case Verb.RELEASE | Verb.DENY:
            verdict, end = Verdict.ALLOW if wish.verb is Verb.RELEASE else Verdict.DENY, _moment(given, "exp")
            if end > now() + LONGEST_HOLD + CLOCKS_APART:
                raise lie("its draft ends later than any hold")
            made = release_claims(
                hold=hold,
                verdict=verdict,
                by=by,
                reason=reason,
                deployment=deployment,
                now=at,
                not_after=end,
                nonce=nonce,
            )
        case Verb.RESOLVE:
            assert wish.found is not None
            made = resolution_claims(
                hold=hold, found=wish.found, by=by, reason=reason, deployment=deployment, now=at, nonce=nonce
            )
        case _:
            until, act = _moment(given, "until") if wish.verb is Verb.EXTEND else None, NoteAct(wish.verb.value)
            latest = now() + LONGEST_HOLD + CLOCKS_APART  # for when the hold ends is the desk's word, too
            if until is not None and (until - hold.expires_at > wish.longer or until > latest):
                raise lie("its draft extends the hold by more than was asked")
            made = note_claims(
                act, hold=hold, by=by, reason=reason, deployment=deployment, now=at, until=until, nonce=nonce
            )
    return _same(drafted, made, _typ(wish))


def _grant_claims(drafted: Answer, about: _Signing, width: Width) -> Mapping[str, Json]:
    given, me = drafted.part("claims"), about.me
    at, end = _moment(given, "iat"), _moment(given, "exp")
    _check_now(at)
    if end - at > (width.lasting or LONGEST) + timedelta(seconds=1):
        raise lie("its draft lets calls pass for longer than was asked")
    made = grant_claims(
        route_of(about.stored.call, path=width.path, vary=width.vary, any_body=width.any_body),
        grant_id=given.text("grant"),
        filed=about.stored,
        by=me.person,
        count=USUAL_COUNT if width.count is None else width.count,
        reason=about.wish.reason,
        deployment=me.deployment,
        now=at,
        not_after=end,
        nonce=given.text("nonce"),
    )
    return _same(drafted, made, GRANT_TYP)


def _same(drafted: Answer, made: Mapping[str, Json], typ: str) -> Mapping[str, Json]:
    claims = drafted.plain("claims")
    if drafted.text("typ") != typ or claims != made:
        known = claims if isinstance(claims, Mapping) else {}
        other = sorted(name for name in {*made, *known} if made.get(name) != known.get(name))
        raise lie(f"its draft says something else than was asked ({', '.join(other)[:80] or 'its type'})")
    return made


def _meant(about: _Signing) -> Hold:
    """The hold with what its sealed record says: a release of what changes things names its node."""
    sealed = about.stored.decision
    if (about.hold.risk, about.hold.quorum) != (sealed.risk, sealed.review.quorum):
        raise lie("what it says of the hold does not fit the call's record")
    return replace(about.hold, node=about.stored.node)


def _typ(wish: Wish) -> str:
    match wish.verb:
        case Verb.RELEASE | Verb.DENY:
            return RELEASE_TYP
        case Verb.RESOLVE:
            return RESOLUTION_TYP
        case _:
            return NOTE_TYP


def _moment(given: Answer, name: str) -> datetime:
    try:
        return from_epoch(given.whole(name))
    except (ValueError, OverflowError, OSError):
        raise lie(f"its draft's {name} is no moment") from None


def _check_now(at: datetime) -> None:
    if abs(at - now()) > CLOCKS_APART:
        raise lie("its draft is not of now (or this machine's clock is wrong)")


def _grant(answer: Answer, wish: Wish, told: Told) -> RouteGrant | None:
    """The grant that was given, as it was asked for, to be printed."""
    if wish.width is None or told.held.shown is None or not told.whole:
        return None
    given, stored, width = answer.part("grant"), told.held.shown.stored, wish.width
    return RouteGrant(
        token="",
        id=given.text("id"),
        kid="",
        by=given.text("by"),
        hold_id=told.held.hold.id,
        root_id=told.held.hold.root_id,
        sub_path=stored.sub_path,
        proof=stored.proof,
        route=route_of(stored.call, path=width.path, vary=width.vary, any_body=width.any_body),
        count=given.whole("count"),
        reason=wish.reason,
        issued_at=now(),
        not_after=given.moment("until"),
    )
