"""New manifests at the desk: who proposes what, read in plain words, signed by the sponsor's passkey or turned down.

The rules are those of `Updates`: the sponsor alone signs, and with the author alone turns down. Whoever they concern
besides, the sponsor's deputy, reads. What a passkey signs is drafted, shown and kept for one session before the browser
is asked; what comes back is the answer alone. It is verified where it is recorded, and by every node that sees it.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from starlette.responses import Response

from proxy.core.errors import Code, Rejected
from proxy.core.model import Manifest
from proxy.review.ceremonies import signed, to_sign
from proxy.review.desk.forms import read_form
from proxy.review.desk.once import Once
from proxy.review.desk.parts import DeskParts
from proxy.review.desk.passkeys import GONE, answer_of
from proxy.review.desk.seeing import whom_proposals_concern
from proxy.review.desk.visits import Refused, Visit
from proxy.review.manifestwords import Line
from proxy.review.tosign import ToSign
from proxy.review.updates import Proposal, Update

ENDS_SOON = timedelta(days=7)
"""So long before its end a manifest is spoken of here, and so long after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A proposal in the list."""

    proposal: Proposal
    changes: str  # in one sentence
    yours: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A manifest that ends soon, or has ended."""

    manifest: Manifest
    over: bool
    renewed: bool  # a proposal for its agent waits already


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a page asks the sponsor's passkey to sign."""

    word: str
    options: str  # for `navigator.credentials.get`, in JSON


class Proposals:
    """The handlers of new manifests."""

    def __init__(self, parts: DeskParts) -> None:
        self._asked: Once[tuple[str, ToSign]] = Once(clock=parts.clock)

    async def waiting(self, visit: Visit, *, said: str = "") -> Response:
        """What is proposed, and what ends soon."""
        found = [each for each in await visit.parts.updates.listing() if _concerns(each, visit)]
        rows = [await _row(each, visit) for each in found]
        rows.sort(key=lambda row: not row.yours)
        agents = {each.agent for each in found}
        return visit.page(
            "proposals.html",
            status=422 if said else 200,
            rows=rows,
            endings=tuple(_endings(visit, agents)),
            said=said,
        )

    async def one(self, visit: Visit, *, said: str = "") -> Response:
        """One proposal: what it says and changes, and how it is signed."""
        update = await visit.parts.updates.show((await _found(visit)).id)
        return self._page(visit, update, said=said)

    async def ask(self, visit: Visit) -> Response:
        """The second step: exactly what is to be signed now, and the question to the browser."""
        await read_form(visit.request, visit.session)
        proposal = await _found(visit)
        desk = visit.parts.signing.desk
        kid = "" if desk is None else desk.public.kid
        wanted = await visit.parts.updates.draft(proposal.id, person=visit.person, kid=kid)
        update = visit.parts.updates.read(proposal, wanted.shown())
        if visit.no_passkey:
            return self._page(visit, update, said=visit.no_passkey)
        options = to_sign(wanted, visit.person, origin=visit.origin)
        word = self._asked.keep(visit.session.id, (proposal.id, wanted))
        return self._page(visit, update, exact=wanted, asked=Asked(word=word, options=json.dumps(options)))

    async def sign(self, visit: Visit) -> Response:
        """What the browser answered: put into the manifest that was kept, and recorded if it counts."""
        form = await read_form(visit.request, visit.session)
        answer, kept = answer_of(form), self._asked.take(visit.session.id, form.text("asked"))
        key, proposal_id = visit.parts.signing.desk, str(visit.request.path_params["proposal"])
        proposal = await _found(visit)
        if kept is None or key is None or kept[0] != proposal_id:
            raise Refused(409, GONE)
        try:
            token = kept[1].attested(key, signed(answer), visit.person)
            manifest = await visit.parts.updates.record(proposal.id, token, noted=visit.note_signed)
        except Rejected as fault:
            if fault.code is Code.HOLD_UNKNOWN:
                raise Refused(409, f"{_begun(fault.detail)}. Nothing was recorded by this.") from None
            raise Refused(422, f"{fault.detail}. Nothing was recorded.") from None
        return visit.page("manifestdone.html", signed=manifest, proposal=proposal)

    async def decline(self, visit: Visit) -> Response:
        """Turn it down, or take it back."""
        form = await read_form(visit.request, visit.session)
        proposal = await _found(visit)
        try:
            await visit.parts.updates.drop(proposal.id, person=visit.person, why=form.text("reason"))
        except Rejected as fault:
            if fault.code is not Code.RELEASE_INVALID:
                raise
            return await self.one(visit, said=fault.detail)
        return visit.page("manifestdone.html", signed=None, proposal=proposal)

    async def renew(self, visit: Visit) -> Response:
        """Propose a manifest that ends once more. Nothing is signed by it."""
        form = await read_form(visit.request, visit.session)
        agent = form.text("agent")
        if not any(each.sub == agent for each in _theirs(visit)):
            raise Refused(404, "There is no such manifest here.")
        try:
            proposal = await visit.parts.updates.propose_again(agent, author=visit.person, why=form.text("reason"))
        except Rejected as fault:
            return await self.waiting(visit, said=fault.detail)
        return self._page(visit, await visit.parts.updates.show(proposal.id), status=201)

    def _page(
        self,
        visit: Visit,
        update: Update,
        *,
        exact: ToSign | None = None,
        asked: Asked | None = None,
        said: str = "",
        status: int = 200,
    ) -> Response:
        proposal, person = update.proposal, visit.person
        return visit.page(
            "proposal.html",
            status=422 if said else status,
            update=update,
            proposal=proposal,
            cautions=tuple(_cautions(visit, update)),
            json=None if exact is None else json.dumps({"typ": exact.typ, "claims": exact.hashed}, indent=2),
            asked=asked,
            mine=person.id == proposal.sponsor,
            author=person.id == proposal.author,
            no_passkey=visit.no_passkey,
            commands=tuple(_commands(visit, proposal)),
            said=said,
        )


async def _found(visit: Visit) -> Proposal:
    """The proposal of the request's path, if it concerns this person. For others it is not there.

    Raises:
        Refused: there is none for them, or it waits no more: what became of it.
    """
    proposal_id, updates = str(visit.request.path_params["proposal"]), visit.parts.updates
    nothing = Refused(404, "There is no such proposal.")
    if not proposal_id.isascii() or not proposal_id.isprintable():
        raise nothing
    found = next((each for each in await updates.listing() if each.id == proposal_id), None)
    if found is not None and _concerns(found, visit):
        return found
    ended = None if found is not None else await updates.ended(proposal_id)
    if ended is None or visit.person.id not in whom_proposals_concern(ended.author, ended.sponsor, visit.bundle):
        raise nothing
    raise Refused(409, f"{_begun(ended.words)}.")


def _concerns(proposal: Proposal, visit: Visit) -> bool:
    return visit.person.id in whom_proposals_concern(proposal.author, proposal.sponsor, visit.bundle)


async def _row(proposal: Proposal, visit: Visit) -> Row:
    try:
        update = await visit.parts.updates.show(proposal.id)
        changes = " ".join((*_cautions(visit, update), _sentence(update)))
    except Rejected as fault:  # it was decided in between
        changes = fault.detail
    return Row(proposal=proposal, changes=changes, yours=visit.person.id == proposal.sponsor)


def _cautions(visit: Visit, update: Update) -> Iterator[str]:
    """What was stopped, and what a signature does about it: it lets a revoked mandate's agent act again, or nothing."""
    view, agent = visit.parts.view(), update.proposal.agent
    if view.stops((agent,)) is not None:
        what = "Everything" if view.killed else agent
        yield f"{what} is stopped: nothing passes under a manifest of {agent} until that is taken back."
    if update.shown is not None and update.shown.cnf.kid in view.revoked_keys:
        yield f"The acting key {update.shown.cnf.kid} is revoked: nothing ever passes under this manifest."
    elif update.replaces is not None and view.revokes(update.replaces):
        yield f"The manifest that {agent} has was revoked: with this one it may act again."
    elif update.doubt:
        yield f"The manifest that {agent} has does not count ({update.doubt}): with this one it may act again."


def _sentence(update: Update) -> str:
    """What a proposal changes, the gravest first."""
    if update.fault:
        return f"It does not fit the policy any more: {update.fault}"
    if update.replaces is None:
        return f"The first manifest of {update.proposal.agent}."
    lines = sorted(update.differences, key=_gravity)
    if not lines:
        return "Nothing: the same as the present manifest, until the same time."
    others = (
        ("", "; and one more change")[len(lines) - 1] if len(lines) <= 2 else f"; and {len(lines) - 1} more changes"
    )
    return f"{_begun(lines[0].text)}{others}."


def _gravity(line: Line) -> tuple[bool, bool, bool]:
    """For sorting: more, then what may be more, then the longer life of every renewal, then less."""
    return not line.warns, "the expiry" in line.text, "changes" in line.text


def _endings(visit: Visit, proposed: set[str]) -> Iterator[Ending]:
    for each in sorted(_theirs(visit), key=lambda manifest: manifest.exp):
        if abs(each.exp - visit.now) <= ENDS_SOON and not visit.parts.view().revokes(each):
            yield Ending(manifest=each, over=each.exp <= visit.now, renewed=each.sub in proposed)


def _theirs(visit: Visit) -> tuple[Manifest, ...]:
    """The manifests, one for each agent, of which this person is sponsor or the sponsor's deputy."""
    latest = {each.sub: each for each in sorted(visit.parts.manifests(), key=lambda manifest: manifest.exp)}
    agents = visit.bundle.agents
    return tuple(
        each
        for each in latest.values()
        if each.sub in agents
        and visit.person.id in whom_proposals_concern(agents[each.sub].sponsor, agents[each.sub].sponsor, visit.bundle)
    )


def _commands(visit: Visit, proposal: Proposal) -> Iterator[str]:
    tail = f"{f' {visit.parts.config}' if visit.parts.config else ''} {shlex.quote(proposal.id)} --as {visit.person.id}"
    if visit.person.id == proposal.sponsor:
        yield f"intent-proxy manifest accept{tail}"
    if visit.person.id in (proposal.sponsor, proposal.author):
        yield f"intent-proxy manifest decline{tail}{' --why REASON' if visit.person.id == proposal.sponsor else ''}"


def _begun(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
