"""Whether a verified mandate still stands: re-checked on every request (THREATS E02)."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

import identities
import pytest
from identities import AGENT, DEPLOYMENT, DEPUTY, HELPER, NOW, SPONSOR, key

from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.errors import Code, Rejected
from proxy.core.model import Bundle, Person
from proxy.core.standing import answerable, check_standing, check_window, enrolled_key
from proxy.core.verify import Lifetimes, verify_chain

BUNDLE = identities.bundle()
ROOT = identities.root()
MIDDLE = identities.child(ROOT, cnf=key(HELPER).public, sub=HELPER, jti="m-1.1", lifetime_s=86_400)
LEAF = identities.child(MIDDLE, jti="m-1.1.1")
MANDATE = verify_chain((ROOT, MIDDLE, LEAF), BUNDLE, lifetimes=Lifetimes(), now=NOW)
GRACE_S = 7 * 86_400
DAY = timedelta(days=1)


def stand(*, bundle: Bundle = BUNDLE, view: ControlView | None = None, now: datetime = NOW) -> Person:
    return check_standing(MANDATE, bundle, view or ControlView(), now=now, grace_s=GRACE_S)


def refusal(*, bundle: Bundle = BUNDLE, view: ControlView | None = None, now: datetime = NOW) -> Code:
    with pytest.raises(Rejected) as refused:
        stand(bundle=bundle, view=view, now=now)
    return refused.value.code


def view(*said: tuple[Act, str]) -> ControlView:
    seen = ControlView()
    for second, (act, target) in enumerate(said):
        token = state(
            act,
            target,
            by="operator",
            reason="r",
            deployment=DEPLOYMENT,
            key=key("operator"),
            now=NOW + timedelta(seconds=second),
        )
        seen = seen.absorb(read_statement(token, BUNDLE))
    return seen


def test_a_mandate_stands_under_its_sponsor() -> None:
    assert stand() is BUNDLE.people[SPONSOR]


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param([(Act.KILL_ON, "*")], Code.KILL_SWITCH, id="everything stopped"),
        pytest.param([(Act.QUARANTINE, HELPER)], Code.QUARANTINED, id="the acting agent quarantined"),
        pytest.param([(Act.QUARANTINE, AGENT)], Code.QUARANTINED, id="the delegating agent quarantined"),
        *(
            pytest.param([(Act.REVOKE_MANIFEST, f"{link.iss} {link.jti}")], Code.MANIFEST_REVOKED, id=f"{name} by name")
            for name, link in zip(("root", "middle", "leaf"), MANDATE.chain, strict=True)
        ),
        *(
            pytest.param([(Act.REVOKE_KEY, link.cnf.kid)], Code.MANIFEST_REVOKED, id=f"{name} by key")
            for name, link in zip(("root", "middle", "leaf"), MANDATE.chain, strict=True)
        ),
        pytest.param([(Act.REVOKE_ROOT, MANDATE.root_id)], Code.MANIFEST_REVOKED, id="the root as a root"),
    ],
)
def test_what_is_stopped_no_longer_stands(said: list[tuple[Act, str]], code: Code) -> None:
    assert refusal(view=view(*said)) is code


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([(Act.QUARANTINE, "other-bot")], id="another agent quarantined"),
        pytest.param([(Act.REVOKE_MANIFEST, f"{DEPUTY} m-1")], id="another issuer's manifest of that name"),
        pytest.param([(Act.REVOKE_KEY, key("other").public.kid)], id="another key"),
        pytest.param([(Act.QUARANTINE, AGENT), (Act.RESTORE, AGENT)], id="quarantined and restored"),
        pytest.param([(Act.KILL_ON, "*"), (Act.KILL_OFF, "*")], id="stopped and resumed"),
    ],
)
def test_what_is_stopped_elsewhere_or_resumed_stands(said: list[tuple[Act, str]]) -> None:
    assert stand(view=view(*said)).id == SPONSOR


@pytest.mark.parametrize(
    ("after", "passes"),
    [
        pytest.param(timedelta(0), True, id="now"),
        pytest.param(timedelta(seconds=-5), True, id="five seconds before it was issued"),
        pytest.param(timedelta(seconds=-6), False, id="six seconds before"),
        pytest.param(timedelta(seconds=3599), True, id="the leaf's last second"),
        pytest.param(timedelta(hours=1), False, id="the leaf expired"),
    ],
)
def test_it_stands_within_every_links_lifetime(after: timedelta, passes: bool) -> None:
    if passes:
        stand(now=NOW + after)
    else:
        assert refusal(now=NOW + after) is Code.MANIFEST_WINDOW


def test_of_a_call_that_was_filed_the_leaf_may_have_expired_but_nothing_above_it() -> None:
    late = NOW + timedelta(hours=1)
    bundle = identities.bundle()
    check_standing(MANDATE, bundle, ControlView(), now=late, grace_s=GRACE_S, filed=True)
    alone = replace(MANDATE, chain=(replace(MANDATE.root, exp=late),))
    above = replace(MANDATE, chain=(replace(MANDATE.root, exp=late), MANDATE.leaf))
    for mandate in (alone, above):
        with pytest.raises(Rejected) as caught:
            check_standing(mandate, bundle, ControlView(), now=late, grace_s=GRACE_S, filed=True)
        assert caught.value.code is Code.MANIFEST_WINDOW


def test_a_link_is_named_when_it_is_out_of_time() -> None:
    with pytest.raises(Rejected, match=r"manifest m-1\.1\.1 \(depth 2\) expired at 2026") as refused:
        check_window(MANDATE.leaf, now=MANDATE.leaf.exp, skew_s=5)
    assert refused.value.field == "exp"
    with pytest.raises(Rejected, match="not valid before") as refused:
        check_window(MANDATE.leaf, now=NOW - DAY, skew_s=5)
    assert refused.value.field == "nbf"


# --- the inventory of today ------------------------------------------------------------------------------------------


def without(person: str = "", agent: str = "") -> Bundle:
    return replace(
        BUNDLE,
        people={name: item for name, item in BUNDLE.people.items() if name != person},
        agents={name: item for name, item in BUNDLE.agents.items() if name != agent},
    )


def with_agent(id: str, **changed: object) -> Bundle:
    return replace(BUNDLE, agents={**BUNDLE.agents, id: replace(BUNDLE.agents[id], **changed)})  # type: ignore[arg-type]


def with_sponsor(**changed: object) -> Bundle:
    person = replace(BUNDLE.people[SPONSOR], **changed)  # type: ignore[arg-type]
    return replace(BUNDLE, people={**BUNDLE.people, SPONSOR: person})


@pytest.mark.parametrize(
    ("bundle", "code"),
    [
        pytest.param(replace(BUNDLE, deployment="other"), Code.MANIFEST_AUDIENCE, id="another deployment"),
        pytest.param(without(person=SPONSOR), Code.SPONSOR_UNKNOWN, id="the sponsor left"),
        pytest.param(with_sponsor(keys=(key("new").public,)), Code.MANIFEST_SIGNATURE, id="the signing key withdrawn"),
        pytest.param(without(agent=AGENT), Code.AGENT_UNKNOWN, id="the agent removed"),
        pytest.param(without(agent=HELPER), Code.AGENT_UNKNOWN, id="the delegate removed"),
        pytest.param(with_agent(AGENT, sponsor=DEPUTY), Code.MANIFEST_SUBJECT, id="the agent given to another sponsor"),
        pytest.param(with_agent(AGENT, keys=()), Code.MANIFEST_SUBJECT, id="the agent's key withdrawn"),
        pytest.param(with_agent(HELPER, keys=()), Code.MANIFEST_SUBJECT, id="the delegate's key withdrawn"),
        pytest.param(
            with_agent(AGENT, may_delegate_to=frozenset()), Code.DELEGATION_WIDENED, id="the delegation withdrawn"
        ),
    ],
)
def test_what_is_no_longer_enrolled_no_longer_stands(bundle: Bundle, code: Code) -> None:
    assert refusal(bundle=bundle) is code


@pytest.mark.parametrize(
    "bundle",
    [
        pytest.param(without(person=DEPUTY), id="the deputy left while the sponsor is competent"),
        pytest.param(with_sponsor(keys=(key("new").public, key(SPONSOR).public)), id="the sponsor has a second key"),
        pytest.param(with_agent(HELPER, sponsor=DEPUTY), id="the delegate has a sponsor of its own"),
    ],
)
def test_other_changes_do_not_matter(bundle: Bundle) -> None:
    assert stand(bundle=bundle).id == SPONSOR


def test_an_enrolled_key_is_found_by_its_thumbprint() -> None:
    person = BUNDLE.people[SPONSOR]
    assert enrolled_key(person, key(SPONSOR).public.kid, code=Code.RELEASE_INVALID) == key(SPONSOR).public
    with pytest.raises(Rejected, match="has no enrolled key") as refused:
        enrolled_key(person, key(DEPUTY).public.kid, code=Code.RELEASE_INVALID)
    assert refused.value.code is Code.RELEASE_INVALID


# --- who answers -----------------------------------------------------------------------------------------------------


def people(
    lapsed_at: datetime, deputy: str | None = DEPUTY, deputy_until: datetime = NOW + 365 * DAY
) -> Iterable[Person]:
    return [
        identities.person(deputy=deputy, certified_until=lapsed_at),
        identities.person(DEPUTY, certified_until=deputy_until),
    ]


def answers(enrolled: Iterable[Person], *, issued_at: datetime = NOW - 10 * DAY, now: datetime = NOW) -> str:
    by_id = {person.id: person for person in enrolled}
    return answerable(by_id[SPONSOR], by_id, issued_at=issued_at, now=now, grace_s=GRACE_S).id


@pytest.mark.parametrize(
    ("enrolled", "who"),
    [
        pytest.param(people(NOW + DAY), SPONSOR, id="a competent sponsor"),
        pytest.param(people(NOW + timedelta(seconds=1)), SPONSOR, id="for one more second"),
        pytest.param(people(NOW), DEPUTY, id="lapsed this moment"),
        pytest.param(people(NOW - 7 * DAY + timedelta(seconds=1)), DEPUTY, id="the last second of the grace"),
        pytest.param(people(NOW + DAY, deputy=None), SPONSOR, id="a competent sponsor without a deputy"),
    ],
)
def test_who_answers(enrolled: Iterable[Person], who: str) -> None:
    assert answers(enrolled) == who


@pytest.mark.parametrize(
    ("enrolled", "says"),
    [
        pytest.param(people(NOW - 7 * DAY), "grace ended", id="the grace is over"),
        pytest.param(people(NOW, deputy=None), "no certified deputy", id="no deputy"),
        pytest.param(people(NOW, deputy="gone"), "no certified deputy", id="a deputy who left"),
        pytest.param(people(NOW, deputy=SPONSOR), "no certified deputy", id="the sponsor as deputy"),
        pytest.param(people(NOW, deputy_until=NOW), "no certified deputy", id="a deputy who lapsed too"),
        pytest.param(people(NOW - 10 * DAY), "signed after", id="signed the moment of the lapse"),
        pytest.param(people(NOW - 11 * DAY), "signed after", id="signed after the lapse"),
    ],
)
def test_nobody_answers(enrolled: Iterable[Person], says: str) -> None:
    with pytest.raises(Rejected, match=says) as refused:
        answers(enrolled)
    assert refused.value.code is Code.SPONSOR_LAPSED


def test_a_lapse_inside_a_tunnel_passes_the_mandate_on_and_then_ends_it() -> None:
    lapsing = with_sponsor(certified_until=NOW + timedelta(minutes=1))
    assert stand(bundle=lapsing).id == SPONSOR
    assert stand(bundle=lapsing, now=NOW + timedelta(minutes=2)).id == DEPUTY
    alone = with_sponsor(certified_until=NOW + timedelta(minutes=1), deputy=None)
    assert refusal(bundle=alone, now=NOW + timedelta(minutes=2)) is Code.SPONSOR_LAPSED
