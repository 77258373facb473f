"""The review desk wholly in an attacker's hands: its key, the secret that calls are sealed with, and all of Redis.

It can lie about who sat at it, rewrite every record, and show people what it likes. What may change things, and what
several must release, it still cannot release: that needs each person's own key or passkey. Other calls it can release
one by one, and only in the name of somebody who may decide them.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import identities
from attacks import Case
from authenticators import UP, Authenticator, authenticator
from identities import DEPUTY, REVIEWER, SPONSOR
from shots import Answer, Shot, fire
from streets import Street

from proxy.core.encoding import Json
from proxy.core.grants import GRANT_TYP, grant_claims
from proxy.core.jws import seal
from proxy.core.model import Hold, Risk, StoredCall, Verdict
from proxy.core.passkeys import WEBAUTHN, challenge_of
from proxy.core.release import RELEASE_TYP, release_claims
from proxy.core.routes import route_of
from proxy.core.stored import stored_from_bytes, stored_to_bytes
from proxy.stores.redis import PREFIX
from proxy.stores.redis_grants import RedisGrants
from proxy.stores.vault import open_vault

ANY_WAY = True  # also as an agent that knows of no proxy

DESK_KEY = identities.key("desk")
NOT_PERMITTED, INVALID = "hold.not_permitted", "release.invalid"
HELD, ASKED = "mandate.not_covered", "cluster.review_required"
"""It is held, again where it was made to look released: by a record that the rules of today do not bear out."""


# --- calls that are held ---------------------------------------------------------------------------------------------


def worldly() -> Shot:
    """A call outside the mandate that may change things, another one each time."""
    return Shot(method="POST", path=f"/payroll/{secrets.token_hex(6)}", body="amount=17")


def harmless() -> Shot:
    """One that changes nothing."""
    return Shot(path=f"/payroll/{secrets.token_hex(6)}")


def guarded() -> Shot:
    """One that changes nothing, and that two people must release."""
    return Shot(path=f"/guarded/{secrets.token_hex(6)}", clusters=("guarded",))


def held(street: Street, way: str, call: Shot) -> Hold:
    answer = fire(street, way, call)
    assert answer.code in ("mandate.not_covered", "cluster.review_required"), answer
    return street.house.hold(answer.document["task"]["id"])


# --- what the desk has -----------------------------------------------------------------------------------------------


def write(street: Street, hold: Hold, **fields: str) -> None:
    flat = [part for name, value in fields.items() for part in (name, value)]
    street.house.with_store(lambda server: server.command("HSET", f"{PREFIX}hold:{hold.id}", *flat))


def rewrite(street: Street, hold: Hold, change: Callable[[StoredCall], StoredCall]) -> None:
    """Another record in place of the sealed one, sealed with the true secret."""
    vault, name = open_vault(street.house.settings.state / "secret.key"), f"{PREFIX}sealed:{hold.id}"
    sealed = street.house.with_store(lambda server: server.command("GET", name))
    assert isinstance(sealed, bytes)
    stored = change(stored_from_bytes(vault.unseal(hold.id, sealed)))
    again = vault.seal(hold.id, stored_to_bytes(stored))
    street.house.with_store(lambda server: server.command("SET", name, again, "KEEPTTL"))


def made_lax(stored: StoredCall, who: tuple[str, ...] = ("sponsor", "deputy")) -> StoredCall:
    """A record that says: it changes nothing, and one of these may decide it."""
    decision = stored.decision
    return replace(
        stored, decision=replace(decision, risk=Risk.ROUTINE, review=replace(decision.review, quorum=1, who=who))
    )


def make_lax(street: Street, hold: Hold, who: tuple[str, ...] = ("sponsor", "deputy")) -> None:
    """Both what is sealed and what is not say so. What is signed names the node all the same, as the node will ask."""
    rewrite(street, hold, lambda stored: made_lax(stored, who))
    write(street, hold, risk="routine", quorum="1", who=json.dumps(who))


def claims_of(street: Street, hold: Hold, by: str) -> dict[str, Json]:
    now = datetime.now(UTC)
    return release_claims(
        hold=hold,
        verdict=Verdict.ALLOW,
        by=by,
        reason="seen",
        deployment=street.house.settings.deployment,
        now=now,
        not_after=now + timedelta(minutes=10),
        nonce=identities.nonce(secrets.token_hex(8)),
    )


def on_its_word(street: Street, hold: Hold, by: str = SPONSOR) -> str:
    return seal(claims_of(street, hold, by), typ=RELEASE_TYP, key=DESK_KEY)


def attested(
    claims: dict[str, Json], stick: Authenticator, *, over: dict[str, Json] | None = None, **changes: object
) -> str:
    assertion = stick.sign(challenge_of(over or claims, typ=RELEASE_TYP), **changes)
    return seal({**claims, WEBAUTHN: assertion.as_claim()}, typ=RELEASE_TYP, key=DESK_KEY)


def by_passkey(street: Street, hold: Hold, by: str = SPONSOR) -> str:
    return attested(claims_of(street, hold, by), authenticator(by))


def approve(street: Street, hold: Hold, statement: str, *earlier: str) -> None:
    said = {"said": "\n".join(f"{number} {each}" for number, each in enumerate(earlier, start=2))} if earlier else {}
    write(street, hold, state="approved", statement=statement, decided_by=SPONSOR, **said)


# --- the twins: the same calls, released by whom they must be ---------------------------------------------------------


def released(way: str, make: Callable[[], Shot], *signers: Callable[[Street, Hold], str]) -> Callable[[Street], Answer]:
    def twin(street: Street) -> Answer:
        call = make()
        hold = held(street, way, call)
        approve(street, hold, *(signer(street, hold) for signer in signers))
        assert not street.trace().reached
        return fire(street, way, call)

    return twin


def by_deputy(street: Street, hold: Hold) -> str:
    return by_passkey(street, hold, DEPUTY)


# --- the attacks -----------------------------------------------------------------------------------------------------

type Attack = Callable[[Street, Hold, str, Shot], None]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of call, and who releases it in the twin."""

    make: Callable[[], Shot]
    signers: tuple[Callable[[Street, Hold], str], ...]
    like: Shot  # what all twins of this kind count as: one that passed a moment ago is not sent again


WORLDLY = Kind(make=worldly, signers=(by_passkey,), like=worldly())
GUARDED = Kind(make=guarded, signers=(by_passkey, by_deputy), like=guarded())
HARMLESS = Kind(make=harmless, signers=(on_its_word,), like=harmless())


def desk_alone(street: Street, hold: Hold, way: str, call: Shot) -> None:
    approve(street, hold, on_its_word(street, hold))


def desk_and_record(street: Street, hold: Hold, way: str, call: Shot) -> None:
    make_lax(street, hold)
    approve(street, hold, on_its_word(street, hold))


def desk_twice(street: Street, hold: Hold, way: str, call: Shot) -> None:
    approve(street, hold, on_its_word(street, hold), on_its_word(street, hold, DEPUTY))


def one_and_the_desk(street: Street, hold: Hold, way: str, call: Shot) -> None:
    approve(street, hold, by_passkey(street, hold), on_its_word(street, hold, DEPUTY))


def one_and_the_record(street: Street, hold: Hold, way: str, call: Shot) -> None:
    make_lax(street, hold)
    approve(street, hold, by_passkey(street, hold))


def one_twice(street: Street, hold: Hold, way: str, call: Shot) -> None:
    approve(street, hold, by_passkey(street, hold), by_passkey(street, hold))


def another_hold(street: Street, hold: Hold, way: str, call: Shot) -> None:
    other = held(street, way, worldly())
    approve(street, hold, by_passkey(street, other))


def once_more(street: Street, hold: Hold, way: str, call: Shot) -> None:
    """The call was released and sent. It is asked for again, and held again; its release is put there once more."""
    genuine = by_passkey(street, hold)
    approve(street, hold, genuine)
    assert fire(street, way, call).status == 200
    again = held(street, way, call)
    assert (again.id != hold.id, again.call_digest) == (True, hold.call_digest)
    approve(street, again, genuine)


def assertion_of_another_hold(street: Street, hold: Hold, way: str, call: Shot) -> None:
    other = claims_of(street, held(street, way, worldly()), SPONSOR)
    mine = {**other, "hold": hold.id, "digest": hold.call_digest}
    approve(street, hold, attested(mine, authenticator(SPONSOR), over=other))


def a_denial(street: Street, hold: Hold, way: str, call: Shot) -> None:
    denial = {**claims_of(street, hold, SPONSOR), "verdict": "deny"}
    approve(street, hold, attested({**denial, "verdict": "release"}, authenticator(SPONSOR), over=denial))


def for_longer(street: Street, hold: Hold, way: str, call: Shot) -> None:
    now = int(datetime.now(UTC).timestamp())
    ended = {**claims_of(street, hold, SPONSOR), "iat": now - 600, "exp": now - 1}
    approve(street, hold, attested({**ended, "exp": now + 600}, authenticator(SPONSOR), over=ended))


def in_anothers_name(street: Street, hold: Hold, way: str, call: Shot) -> None:
    """Cleo, who may not decide it, used her passkey for it; it is told as the sponsor's."""
    claims = claims_of(street, hold, SPONSOR)
    approve(street, hold, attested(claims, authenticator(REVIEWER), over={**claims, "iss": REVIEWER}))


def by_one_who_may_not(street: Street, hold: Hold, way: str, call: Shot) -> None:
    make_lax(street, hold, (REVIEWER,))
    approve(street, hold, by_passkey(street, hold, REVIEWER))


def changed(**changes: object) -> Attack:
    def attack(street: Street, hold: Hold, way: str, call: Shot) -> None:
        approve(street, hold, attested(claims_of(street, hold, SPONSOR), authenticator(SPONSOR), **changes))

    return attack


def signed_for(by: str) -> Attack:
    def attack(street: Street, hold: Hold, way: str, call: Shot) -> None:
        approve(street, hold, on_its_word(street, hold, by))

    return attack


def for_one_who_may_not_now(street: Street, hold: Hold, way: str, call: Shot) -> None:
    make_lax(street, hold, (REVIEWER,))
    approve(street, hold, on_its_word(street, hold, REVIEWER))


def granting(count: int, hours: int) -> Attack:
    """A route grant in place of releases."""

    def attack(street: Street, hold: Hold, way: str, call: Shot) -> None:
        vault, name = open_vault(street.house.settings.state / "secret.key"), f"{PREFIX}sealed:{hold.id}"
        sealed = street.house.with_store(lambda server: server.command("GET", name))
        assert isinstance(sealed, bytes)
        filed = stored_from_bytes(vault.unseal(hold.id, sealed))
        now, grant_id = datetime.now(UTC), f"g-{secrets.token_hex(6)}"
        claims = grant_claims(
            route_of(filed.call, path="/payroll/{id}"),
            grant_id=grant_id,
            filed=filed,
            by=SPONSOR,
            count=count,
            reason="stock-taking",
            deployment=street.house.settings.deployment,
            now=now,
            not_after=now + timedelta(hours=hours),
            nonce=identities.nonce(secrets.token_hex(8)),
        )
        token = seal(claims, typ=GRANT_TYP, key=DESK_KEY)
        street.house.with_store(
            lambda server: RedisGrants(server).put(
                grant_id, token, root_id=hold.root_id, until=now + timedelta(hours=1)
            )
        )

    return attack


ATTACKS: dict[str, tuple[Kind, Attack, str]] = {
    "on its word, what may change things": (WORLDLY, desk_alone, NOT_PERMITTED),
    "on its word and in its record, what may change things": (WORLDLY, desk_and_record, HELD),
    "on its word, what two must release": (GUARDED, desk_alone, NOT_PERMITTED),
    "on its word twice, what two must release": (GUARDED, desk_twice, NOT_PERMITTED),
    "on its word and in its record, what two must release": (GUARDED, desk_and_record, ASKED),
    "with one of two, and its word for the other": (GUARDED, one_and_the_desk, INVALID),
    "with one of two, and its record": (GUARDED, one_and_the_record, ASKED),
    "with one of two, counted twice": (GUARDED, one_twice, INVALID),
    "by a release of another hold": (WORLDLY, another_hold, INVALID),
    "by the release of an equal call, once more": (WORLDLY, once_more, INVALID),
    "by an assertion for another hold": (WORLDLY, assertion_of_another_hold, INVALID),
    "by an assertion for a denial": (WORLDLY, a_denial, INVALID),
    "by an assertion for less time": (WORLDLY, for_longer, INVALID),
    "by another person's assertion": (WORLDLY, in_anothers_name, INVALID),
    "by a person whom only its record names": (WORLDLY, by_one_who_may_not, HELD),
    "by an assertion at another origin": (WORLDLY, changed(origin="https://desk.evil.example"), INVALID),
    "by an assertion for another RP": (WORLDLY, changed(rp_id="evil.example"), INVALID),
    "by an assertion without verification": (WORLDLY, changed(flags=UP), INVALID),
    "by an assertion in a frame": (WORLDLY, changed(members={"crossOrigin": True}), INVALID),
    "by a passkey of its own": (WORLDLY, changed(key=identities.key("mallory", "ES256")), INVALID),
    "by a passkey that nobody enrolled": (WORLDLY, changed(id=b"0123456789abcdef"), INVALID),
    "in the name of somebody who may not": (HARMLESS, signed_for(REVIEWER), NOT_PERMITTED),
    "in the name of somebody whom only its record names": (HARMLESS, for_one_who_may_not_now, HELD),
    "in the name of somebody whose certificate has ended": (HARMLESS, signed_for("dora"), NOT_PERMITTED),
    "in the name of nobody": (HARMLESS, signed_for("mallory"), INVALID),
    "in the agent's own name": (HARMLESS, signed_for(identities.AGENT), INVALID),
    "by a grant for a thousand calls": (HARMLESS, granting(1000, 1), HELD),
    "by a grant for a day": (HARMLESS, granting(5, 24), HELD),
    "by a grant for what may change things": (WORLDLY, granting(5, 1), HELD),
}


def cases(way: str) -> Iterator[Case]:
    for name, (kind, attack, code) in ATTACKS.items():
        call = kind.make()

        def arrange(street: Street, call: Shot = call, attack: Attack = attack) -> None:
            attack(street, held(street, way, call), way, call)

        yield Case(
            threat="F07",
            name=f"the desk releases {name}",
            way=way,
            twin=released(way, kind.make, *kind.signers),
            arrange=arrange,
            attack=lambda street, call=call: fire(street, way, call),
            code=code,
            shared=kind.like,
        )
