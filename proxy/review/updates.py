"""New manifests: an author proposes one, its sponsor reads what it changes, and signs it, with a key or a passkey.

A proposal has no authority, and nobody's signature: what counts is what the sponsor signs, which is exactly what they
were shown. It is signed where the sponsor's key is, in two steps: `draft` says what to sign, `record` takes it.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from proxy.core.clusters import Policy
from proxy.core.encoding import from_epoch, to_epoch
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.core.jws import open_envelope
from proxy.core.manifest import MANIFEST_TYP, Draft, parse_manifest, root_claims
from proxy.core.model import Bundle, Manifest, Person
from proxy.core.notes import check_reason
from proxy.core.reviewers import check_certified
from proxy.core.verify import Lifetimes
from proxy.core.vouching import bare
from proxy.policy.chains import read_links
from proxy.policy.drafts import draft_again, draft_text, parse_draft
from proxy.policy.enrolled import agent_in
from proxy.ports import Proposals
from proxy.review.endings import MOST_REMEMBERED, REMEMBERED, Ended, How, ended_text, read_ended
from proxy.review.manifestwords import Line, ManifestTold, manifest_told
from proxy.review.preparing import as_if_signed, differences, doubt_about, keep, to_sign, verified
from proxy.review.tosign import ToSign

MOST_WAITING = 200
MOST_CHARS = 65_536
WAITS = timedelta(days=30)
"""How long a proposal waits for its sponsor."""

SIGNED_WITHIN = timedelta(minutes=10)
"""How old a signature may be when it is recorded."""

_SKEW = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A manifest that somebody proposes: a draft as it is written in a file."""

    id: str
    agent: str
    sponsor: str  # whoever sponsors the agent now
    author: str  # Person.id
    why: str
    at: datetime
    text: str  # YAML


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A proposal as its sponsor reads it. `told` is None where it no longer fits the policy: `fault` says why."""

    proposal: Proposal
    told: ManifestTold | None
    differences: tuple[Line, ...]  # against the manifest it would replace
    replaces: Manifest | None
    shown: Manifest | None = None  # what `told` tells; no signature of it counts
    doubt: str = ""  # why `replaces` is nobody's word under today's policy; "" where it is, or was until it ended
    fault: str = ""


class Updates:
    """Takes proposals, shows them to sponsors, and keeps what these sign."""

    def __init__(
        self,
        *,
        proposals: Proposals,
        policy: Callable[[], Policy],
        lifetimes: Lifetimes,
        manifests: Path,
        pins: Path,
        clock: Callable[[], datetime],
        new_id: Callable[[], str],
    ) -> None:
        """`manifests` and `pins` are the directories where `manifest sign` keeps what was signed and approved."""
        self._proposals = proposals
        self._policy = policy
        self._lifetimes = lifetimes
        self._manifests = manifests
        self._pins = pins
        self._clock = clock
        self._new_id = new_id

    # --- proposing ---------------------------------------------------------------------------------------------------

    async def propose(self, text: str, *, author: Person, why: str) -> Proposal:
        """Keep a draft for its sponsor.

        Raises:
            Rejected(CONFIG_INVALID): it is no draft, or does not fit the policy, with every fault and its line; it is
                too long, or too many wait.
            Rejected(MANIFEST_LIFETIME, MANIFEST_MALFORMED, SPONSOR_LAPSED): nobody could sign it so.
            Rejected(RELEASE_INVALID): no reason.
            Rejected(HOLD_NOT_PERMITTED): the author's certificate has ended.
            Unavailable: the store does not answer.
        """
        now, bundle = self._clock(), self._bundle
        check_certified(author, at=now)
        check_reason(why, needed="a proposal")
        if len(text) > MOST_CHARS:
            raise Rejected(Code.CONFIG_INVALID, f"a draft has at most {MOST_CHARS} characters, got {len(text)}")
        draft = parse_draft(text.encode("utf-8", "surrogateescape"), bundle, name="draft")
        as_if_signed(to_sign(draft, bundle, lifetimes=self._lifetimes, now=now, jti="unsigned"))
        if len(await self.listing()) >= MOST_WAITING:
            raise Rejected(Code.CONFIG_INVALID, f"{MOST_WAITING} proposals wait already: sign or drop some of them")
        proposal = Proposal(
            id=self._new_id(),
            agent=draft.agent,
            sponsor=agent_in(bundle, draft.agent).sponsor,
            author=author.id,
            why=why,
            at=now.replace(microsecond=0),
            text=text,
        )
        await self._put(proposal.id, written(proposal))
        return proposal

    async def listing(self, *, sponsor: str | None = None) -> tuple[Proposal, ...]:
        """Every proposal that waits, oldest first; what cannot be read, and what waited too long, is none.

        Raises:
            Unavailable: the store does not answer.
        """
        read = [self._read(name, text) for name, text in (await self._proposals.every()).items()]
        found = (each for each in read if each is not None and sponsor in (None, each.sponsor))
        return tuple(sorted(found, key=lambda each: (each.at, each.id)))

    async def propose_again(self, agent: str, *, author: Person, why: str) -> Proposal:
        """Propose the manifest that an agent has once more, for as long again, of the clusters as they are now.

        Raises:
            Rejected(CONFIG_INVALID): the agent has no manifest here, it cannot be drafted as it is, or the same waits.
            Rejected, Unavailable: as `propose`.
        """
        old = self._present(agent)
        if old is None:
            raise Rejected(Code.CONFIG_INVALID, f"agent {agent} has no manifest here that could be renewed")
        longest = timedelta(seconds=self._lifetimes.root_max_s)
        drafted = draft_again(old, self._bundle, lifetime_s=int(min(old.exp - old.iat, longest).total_seconds()))
        text = draft_text(drafted, self._bundle, sign="it is proposed; its sponsor signs it")
        if parse_draft(text.encode(), self._bundle, name="draft") != drafted:  # no constraint may get lost on the way
            raise Rejected(Code.CONFIG_INVALID, f"sign it in a terminal: intent-proxy manifest renew --agent {agent}")
        if any((each.agent, each.text) == (agent, text) for each in await self.listing()):  # a button pressed twice
            raise Rejected(Code.CONFIG_INVALID, f"the same is proposed for {agent} already, and waits for its sponsor")
        return await self.propose(text, author=author, why=why)

    async def ended(self, proposal_id: str) -> Ended | None:
        """What became of a proposal in the last days; None: it waits, or nobody knows.

        Raises:
            Unavailable: the store does not answer.
        """
        text = await self._proposals.get(proposal_id)
        return None if text is None else read_ended(text)

    async def drop(self, proposal_id: str, *, person: Person, why: str = "") -> Proposal:
        """Take a proposal back, or turn it down: its author or its sponsor may.

        Raises:
            Rejected(HOLD_UNKNOWN): there is none of that id, or no more: it says what became of it.
            Rejected(HOLD_NOT_PERMITTED): this person may not.
            Rejected(RELEASE_INVALID): the reason is none that can be shown, or a sponsor gives none.
            Unavailable: the store does not answer.
        """
        proposal = await self._get(proposal_id)
        if person.id not in (proposal.author, proposal.sponsor):
            detail = f"only {proposal.author}, who wrote it, or {proposal.sponsor}, who may sign it, drops a proposal"
            raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
        how = How.DECLINED if person.id == proposal.sponsor else How.WITHDRAWN
        check_reason(why, needed="to turn it down" if how is How.DECLINED else "")
        await self._end(proposal, how, by=person.id, why=why)
        return proposal

    # --- reading and signing -----------------------------------------------------------------------------------------

    async def show(self, proposal_id: str) -> Update:
        """What a proposal says in plain words, and what it changes.

        Raises:
            Rejected(HOLD_UNKNOWN): there is none of that id, or no more: it says what became of it.
            Unavailable: the store does not answer.
        """
        proposal = await self._get(proposal_id)
        try:
            shown = as_if_signed(self._prepared(proposal, now=self._clock(), jti="unsigned"))
        except Rejected as fault:
            replaces = self._present(proposal.agent)
            return Update(proposal=proposal, told=None, differences=(), replaces=replaces, fault=fault.detail)
        return self.read(proposal, shown)

    def read(self, proposal: Proposal, shown: Manifest) -> Update:
        """A proposal as its sponsor reads it when exactly `shown` is to be signed."""
        replaces = self._present(proposal.agent)
        return Update(
            proposal=proposal,
            told=manifest_told(shown, self._bundle, now=self._clock(), signed=False),
            differences=() if replaces is None else differences(replaces, shown, self._bundle),
            replaces=replaces,
            shown=shown,
            doubt="" if replaces is None else doubt_about(replaces, self._bundle, lifetimes=self._lifetimes),
        )

    async def draft(self, proposal_id: str, *, person: Person, kid: str = "") -> ToSign:
        """What the sponsor is to sign now. `kid` is of the desk's key, where their passkey is to sign it.

        Raises:
            Rejected(HOLD_UNKNOWN): there is none of that id.
            Rejected(HOLD_NOT_PERMITTED): this person does not sponsor the agent.
            Rejected: as `propose`; the policy has changed since.
            Unavailable: the store does not answer.
        """
        proposal = await self._get(proposal_id)
        if person.id != proposal.sponsor:
            detail = f"only {proposal.sponsor}, who sponsors {proposal.agent}, signs for it, not {person.id}"
            raise Rejected(Code.HOLD_NOT_PERMITTED, detail)
        prepared = self._prepared(proposal, now=self._clock(), jti=self._new_id())
        return ToSign(typ=MANIFEST_TYP, claims=root_claims(prepared), kid=kid)

    async def record(
        self, proposal_id: str, token: str, *, noted: Callable[[Manifest], Awaitable[None]] | None = None
    ) -> Manifest:
        """Keep what the sponsor signed, where `manifest sign` would, together with the cluster texts it approves.

        `noted` writes down elsewhere that it is signed, once that is verified; what it raises keeps it from being kept.

        Raises:
            Rejected(HOLD_UNKNOWN): there is no proposal of that id.
            Rejected(MANIFEST_MALFORMED): it is not what was proposed, or was not signed just now.
            Rejected(MANIFEST_SIGNATURE): neither a key nor a passkey of the sponsor signed it.
            Rejected: the proxy would refuse it.
            Unavailable: the store does not answer. Nothing was kept.
        """
        proposal = await self._get(proposal_id)
        signed, now = parse_manifest(token), self._clock()
        if not -_SKEW <= now - signed.iat <= SIGNED_WITHIN:
            detail = f"it must be signed within {SIGNED_WITHIN // timedelta(minutes=1)} minutes: ask for it anew"
            raise Rejected(Code.MANIFEST_MALFORMED, detail, field="iat")
        wanted = root_claims(self._prepared(proposal, now=signed.iat, jti=signed.jti))
        if bare(open_envelope(token, typ=MANIFEST_TYP, code=Code.MANIFEST_MALFORMED).claims) != wanted:
            raise Rejected(Code.MANIFEST_MALFORMED, "what was signed is not what was proposed: read it again, and sign")
        at, bundle, out = max(now, signed.iat), self._bundle, self._manifests / f"{proposal.agent}.jws"
        if noted is not None:
            await noted(verified(token, bundle, lifetimes=self._lifetimes, now=at))
        kept = keep(token, bundle, lifetimes=self._lifetimes, pins=self._pins, out=out, now=at)
        with suppress(Unavailable):  # it counts from here on: whoever signed it must not hear that it does not
            await self._end(proposal, How.SIGNED, by=kept.sponsor_id)
        return kept

    # --- what they share ---------------------------------------------------------------------------------------------

    @property
    def _bundle(self) -> Bundle:
        return self._policy().bundle

    def _prepared(self, proposal: Proposal, *, now: datetime, jti: str) -> Draft:
        draft = parse_draft(proposal.text.encode("utf-8", "surrogateescape"), self._bundle, name="draft")
        return to_sign(draft, self._bundle, lifetimes=self._lifetimes, now=now, jti=jti)

    def _present(self, agent: str) -> Manifest | None:
        with suppress(Rejected):
            return read_links(self._manifests / f"{agent}.jws")[0]
        return None

    async def _get(self, proposal_id: str) -> Proposal:
        text = await self._proposals.get(proposal_id)
        found = None if text is None else self._read(proposal_id, text)
        if found is None:
            ended = None if text is None else read_ended(text)
            told = f"there is no proposal {ascii(proposal_id)[1:-1][:80]}"
            raise Rejected(Code.HOLD_UNKNOWN, told if ended is None else f"{told} any more: {ended.words}")
        return found

    async def _end(self, proposal: Proposal, how: How, *, by: str, why: str = "") -> None:
        """Say under the proposal's id what became of it, and forget what became of others long ago."""
        now = self._clock()
        ended = Ended(
            how=how, agent=proposal.agent, sponsor=proposal.sponsor, author=proposal.author, by=by, at=now, why=why
        )
        await self._put(proposal.id, ended_text(ended))
        with suppress(Unavailable):  # another time
            await self._forget(now)

    async def _put(self, proposal_id: str, text: str) -> None:
        try:
            await self._proposals.put(proposal_id, text)
        except Unavailable as fault:
            detail = f"{fault.detail}; whether this was recorded is not known: look at the proposals before you say it "
            raise Unavailable(fault.code, f"{detail}again", retry_after_s=fault.retry_after_s) from None

    async def _forget(self, now: datetime) -> None:
        others = {name: read_ended(text) for name, text in (await self._proposals.every()).items()}
        over = sorted((each.at, name) for name, each in others.items() if each is not None)
        for place, (at, name) in enumerate(over):
            if at + REMEMBERED <= now or place < len(over) - MOST_REMEMBERED:
                await self._proposals.drop(name)

    def _read(self, proposal_id: str, text: str) -> Proposal | None:
        """A proposal as it was kept. Whose it is to sign is said by the policy, never by the store."""
        with suppress(ValueError, OverflowError, Rejected):
            match json.loads(text):
                case {"agent": str(agent), "author": str(author), "why": str(why), "at": int(at), "text": str(written)}:
                    sponsor, since = agent_in(self._bundle, agent).sponsor, from_epoch(at)
                    check_reason(why, needed="a proposal")
                    if len(written.encode()) > 4 * MOST_CHARS:  # half a character is none, and fails here
                        return None
                    found = Proposal(
                        id=proposal_id, agent=agent, sponsor=sponsor, author=author, why=why, at=since, text=written
                    )
                    return found if since + WAITS > self._clock() and author in self._bundle.people else None
        return None


def written(proposal: Proposal) -> str:
    """A proposal as it is kept."""
    return json.dumps(
        {
            "agent": proposal.agent,
            "author": proposal.author,
            "why": proposal.why,
            "at": to_epoch(proposal.at),
            "text": proposal.text,
        }
    )
