"""The review desk of a running house, as the command line opens it."""

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import identities
from authenticators import authenticator
from houses import House
from rawclient import Response
from towns import Town

from proxy.cli.deployment import new_id, nonce
from proxy.core.clusters import compile_policy
from proxy.core.grants import RouteGrant, state_grant
from proxy.core.model import Means, Verdict
from proxy.core.notes import NoteAct
from proxy.core.routes import route_of
from proxy.core.stored import stored_from_bytes
from proxy.review.drafts import Draft
from proxy.review.granting import Granter, Width
from proxy.review.service import Outcome, ReviewService
from proxy.stores.redis import RedisServer
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.redis_holds import RedisHolds
from proxy.stores.vault import open_vault


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseDesk:
    """People of a house and their words about its holds."""

    house: House

    def release(self, hold_id: str, by: str = identities.SPONSOR) -> Outcome:
        return self._do(
            lambda desk, _: desk.release(hold_id, person=self.house.bundle.people[by], key=identities.key(by))
        )

    def release_with(self, means: Means, hold_id: str, by: str = identities.SPONSOR, reason: str = "seen") -> Outcome:
        """A person's release with a key of their own, at the desk with their passkey, or on the desk's word."""

        async def work(reviews: ReviewService, _: Granter) -> Outcome:
            person = self.house.bundle.people[by]
            drafted = await reviews.draft(hold_id, Verdict.ALLOW, person=person, reason=reason)
            return (
                drafted if isinstance(drafted, Outcome) else await reviews.record(hold_id, signed(drafted, means, by))
            )

        return self._do(work)

    def deny(self, hold_id: str, by: str = identities.SPONSOR, reason: str = "no") -> Outcome:
        return self._do(
            lambda desk, _: desk.deny(
                hold_id, person=self.house.bundle.people[by], key=identities.key(by), reason=reason
            )
        )

    def note(self, act: NoteAct, hold_id: str, by: str = identities.SPONSOR, reason: str = "because") -> Outcome:
        return self._do(
            lambda desk, _: desk.note(
                act, hold_id, person=self.house.bundle.people[by], key=identities.key(by), reason=reason
            )
        )

    def grant(self, hold_id: str, width: Width, by: str = identities.SPONSOR) -> RouteGrant:
        outcome, grant = self._do(
            lambda _, granter: granter.release(
                hold_id, person=self.house.bundle.people[by], key=identities.key(by), reason="stock-taking", width=width
            )
        )
        assert grant is not None, outcome
        return grant

    def plant(self, hold_id: str, *, route_path: str, by: str, signer: str) -> None:
        """A grant by this person, signed with that key: kept as a true one, as whoever can write to Redis would."""

        async def use(server: RedisServer) -> None:
            sealed = await RedisHolds(server).sealed(hold_id)
            assert sealed is not None
            vault, now = open_vault(self.house.settings.state / "secret.key"), datetime.now(UTC)
            filed = stored_from_bytes(vault.unseal(hold_id, sealed))
            grant_id, until = new_id(), now + timedelta(minutes=10)
            statement = state_grant(
                route_of(filed.call, path=route_path),
                grant_id=grant_id,
                filed=filed,
                by=by,
                count=5,
                reason="planted",
                deployment=self.house.settings.deployment,
                key=identities.key(signer),
                now=now,
                not_after=until,
                nonce=nonce(),
            )
            root_id = filed.decision.manifest or ""
            await RedisGrants(server).put(grant_id, statement, root_id=root_id, until=until)

        self.house.with_store(use)

    def _do[T](self, work: Callable[[ReviewService, Granter], Awaitable[T]]) -> T:
        policy = compile_policy(self.house.bundle)

        async def use(server: RedisServer) -> T:
            reviews = ReviewService(
                holds=RedisHolds(server),
                vault=open_vault(self.house.settings.state / "secret.key"),
                policy=lambda: policy,
                clock=lambda: datetime.now(UTC),
                new_nonce=nonce,
            )
            granter = Granter(
                reviews=reviews,
                grants=RedisGrants(server),
                policy=lambda: policy,
                clock=lambda: datetime.now(UTC),
                new_nonce=nonce,
                new_id=new_id,
            )
            return await work(reviews, granter)

        return self.house.with_store(use)


def signed(draft: Draft, means: Means, by: str = identities.SPONSOR) -> str:
    """A draft as it is signed so."""
    desk = identities.key("desk")
    match means:
        case Means.KEY:
            return draft.signed(identities.key(by))
        case Means.PASSKEY:
            return draft.attested(desk, authenticator(by).sign(draft.challenge))
        case Means.DESK:
            return draft.signed(desk)


def ask(town: Town, path: str, chain: tuple[str, str]) -> Response:
    return town.house.call("GET", town.url("tls", path), chain=chain)


def held(town: Town, path: str, chain: tuple[str, str]) -> str:
    """The id of the hold that this call gets."""
    answer = ask(town, path, chain)
    assert answer.status == 403, answer
    return str(json.loads(answer.body)["task"]["id"])


def wait_for_line(town: Town, hold_id: str, event: str, by: str) -> list[tuple[object, object]]:
    """Every line about the hold, once there is one of this event: a worker writes down what reviewers did."""
    deadline_s = time.monotonic() + 10
    while True:
        lines = [line for line in town.house.journal("hold") if line["hold_id"] == hold_id]
        told = [(line["event"], line.get("by")) for line in lines]
        if (event, by) in told:
            return told
        assert time.monotonic() < deadline_s, told
        time.sleep(0.05)
