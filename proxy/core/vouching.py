"""Who vouches that a statement is a person's word: their own key, their passkey, or the review desk alone.

The desk's key is enrolled by operators. What it signs says who was logged in at the desk; somebody who has the desk has
that, too. So the desk alone suffices only where one person decides a call that changes nothing. Where several must, or
the world is changed, the person's own key signs, or a passkey of theirs does, inside the statement, and whoever acts on
it verifies that without trusting the desk.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.jws import Envelope, check_signature
from proxy.core.model import Bundle, Hold, Means, Person, Risk
from proxy.core.passkeys import WEBAUTHN, challenge_of, check_assertion, read_assertion
from proxy.core.standing import enrolled_key

DESK_GRANT_COUNT = 20
DESK_GRANT_LASTS = timedelta(hours=1)
"""The widest route grant that the desk's key alone may sign: about what it could release one by one in that time."""

_OF_THEIR_OWN = frozenset({Means.KEY, Means.PASSKEY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Voucher:
    """With what a word was signed, and by which key: the person's own, their passkey's, or the desk's."""

    means: Means
    kid: str


def bare(claims: Mapping[str, Json]) -> Mapping[str, Json]:
    """What a statement claims, without the assertion that a passkey made of it."""
    return {name: value for name, value in claims.items() if name != WEBAUTHN}


def voucher_of(envelope: Envelope, person: Person, *, bundle: Bundle, barred: frozenset[str]) -> Voucher:
    """Who vouches for a statement that names `person`. Its claims were read before: each is of its type.

    `barred` are keys of the chain a call came with. Not checked here: whether that suffices (`check_suffices`).

    Raises:
        Rejected(RELEASE_INVALID): neither a key of theirs nor the desk's signed it, or the passkey's part is wrong.
        Rejected(HOLD_NOT_PERMITTED): the key is also an agent's.
    """
    code = Code.RELEASE_INVALID
    desk = next((key for key in bundle.desk.keys if key.kid == envelope.kid), None)
    check_signature(envelope, desk or enrolled_key(person, envelope.kid, code=code), code=code)
    voucher = Voucher(means=Means.KEY if desk is None else Means.DESK, kid=envelope.kid)
    if WEBAUTHN in envelope.claims:
        if desk is None:
            raise Rejected(code, f"{WEBAUTHN} belongs into what the review desk's key signs", field=WEBAUTHN)
        passkey = check_assertion(
            read_assertion(envelope.claims[WEBAUTHN]),
            challenge=challenge_of(envelope.claims, typ=envelope.typ),
            passkeys=person.passkeys,
            desk=bundle.desk,
        )
        voucher = Voucher(means=Means.PASSKEY, kid=passkey.key.kid)
    check_no_agent(voucher.kid, bundle, barred)
    return voucher


def sufficient(hold: Hold) -> frozenset[Means]:
    """With what a person's word about this hold may be signed."""
    alone = hold.risk is Risk.ROUTINE and hold.quorum == 1
    return _OF_THEIR_OWN | {Means.DESK} if alone else _OF_THEIR_OWN


def check_suffices(means: Means, hold: Hold) -> None:
    """Reject a word about a hold that asks for more than the desk's.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    if means not in sufficient(hold):
        why = "may change things" if hold.risk is not Risk.ROUTINE else f"is decided by {hold.quorum} people"
        detail = f"hold {hold.id} {why}: whoever decides it signs with a passkey or a key of their own, not the desk's"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="kid")


def check_no_agent(kid: str, bundle: Bundle, barred: frozenset[str]) -> None:
    """Reject a word signed with a key of the chain or of any agent, whoever's it also is.

    Raises:
        Rejected(HOLD_NOT_PERMITTED)
    """
    if kid in barred or any(key.kid == kid for agent in bundle.agents.values() for key in agent.keys):
        detail = f"key {kid} is also an agent's: nobody reviews their own call"
        raise Rejected(Code.HOLD_NOT_PERMITTED, detail, field="kid")
