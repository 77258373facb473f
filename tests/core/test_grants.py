"""Route grants: which calls they let pass, whose word they are, and where they never reach."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from heads import OUTSIDE, absolute
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, HELPER, HOST, NOW, REVIEWER, SPONSOR, key, nonce, person, resealed
from questions import bundle_of, mandate_of, question

from proxy.core.canonical import canonicalise, with_body
from proxy.core.control import Act, ControlView, read_statement, state
from proxy.core.decide import decide
from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.grants import (
    GRANT_TYP,
    RouteGrant,
    check_grantable,
    check_use,
    read_grant,
    state_grant,
)
from proxy.core.model import Bundle, Call, Decision, Mandate, Proof, Review, Risk, StoredCall, Unread
from proxy.core.routes import covers, route_of

BUNDLE = bundle_of(identities.cluster())
MANDATE = mandate_of(BUNDLE, [identities.grant(identities.cluster())])
PLACE = f"https://{HOST}/v1/items"


def call(
    url: str = f"{PLACE}/17?page=2&token=a%26b",
    *,
    method: str = "GET",
    body: bytes = b"",
    media: str | None = None,
    same: Call | None = None,
) -> Call:
    """A canonical call; `same` is one that is changed by `body` alone."""
    if same is not None:
        return replace(same, body=body)
    lines = (f"Content-Type: {media}",) if media else ()
    read = canonicalise(absolute(url, *lines, method=method, body=b""), OUTSIDE)
    return with_body(read, body)


NOTHING_STOPPED = ControlView()
HELD = call()
DECISION = replace(decide(question()), risk=Risk.ROUTINE, hold_id="h-1", manifest=MANDATE.root_id)
FILED = StoredCall(
    call=HELD, decision=DECISION, proof=Proof.REQUEST, call_digest="x", sub_path=MANDATE.sub_path, chain_kids=()
)


def stated(
    held: Call = HELD,
    *,
    by: str = SPONSOR,
    signer: str = "",
    reason: str = "Stock-taking.",
    count: int = 5,
    lasting: timedelta = timedelta(minutes=15),
    **width: object,
) -> str:
    return state_grant(
        route_of(held, **width),  # type: ignore[arg-type]
        grant_id="g-1",
        filed=replace(FILED, call=held),
        by=by,
        count=count,
        reason=reason,
        deployment=DEPLOYMENT,
        key=key(signer or by),
        now=NOW,
        not_after=NOW + lasting,
        nonce=nonce("grant"),
    )


TOKEN = stated()


def read(token: str = TOKEN, *, bundle: Bundle = BUNDLE, after: timedelta = timedelta(0)) -> RouteGrant:
    return read_grant(token, bundle=bundle, now=NOW + after)


def use(
    grant: RouteGrant,
    asked: Call = HELD,
    *,
    decision: Decision = DECISION,
    mandate: Mandate = MANDATE,
    view: ControlView = NOTHING_STOPPED,
) -> None:
    check_use(grant, call=asked, decision=decision, mandate=mandate, bundle=BUNDLE, view=view)


def test_a_grant_says_who_what_how_often_and_how_long() -> None:
    grant = read()
    assert (grant.id, grant.by, grant.hold_id, grant.reason) == ("g-1", SPONSOR, "h-1", "Stock-taking.")
    assert (grant.root_id, grant.sub_path, grant.count) == (MANDATE.root_id, MANDATE.sub_path, 5)
    assert (grant.issued_at, grant.not_after) == (NOW, NOW + timedelta(minutes=15))
    use(grant)


# --- which calls -----------------------------------------------------------------------------------------------------

ONE = f"{PLACE}/17"


@pytest.mark.parametrize(
    ("width", "asked", "passes"),
    [
        pytest.param({}, call(), True, id="the very call"),
        pytest.param({}, call(f"{ONE}?page=3&token=a%26b"), False, id="another value in the query"),
        pytest.param({}, call(ONE), False, id="no query"),
        pytest.param({}, call(f"{PLACE}/18?page=2&token=a%26b"), False, id="another path"),
        pytest.param({}, call(f"https://{HOST}:8443/v1/items/17?page=2&token=a%26b"), False, id="another port"),
        pytest.param({}, call(f"http://{HOST}/v1/items/17?page=2&token=a%26b"), False, id="another scheme"),
        pytest.param({}, call(f"https://other.{HOST}/v1/items/17?page=2&token=a%26b"), False, id="another host"),
        pytest.param({}, call(method="HEAD"), False, id="another method"),
        pytest.param({}, call(same=HELD, body=b"x"), False, id="another body"),
        pytest.param({}, replace(HELD, websocket=True), False, id="a WebSocket"),
        pytest.param({}, replace(HELD, body=Unread(size=0, sha256=None)), False, id="a body that nobody read"),
        pytest.param({"path": "/v1/items/{id}"}, call(f"{PLACE}/18?page=2&token=a%26b"), True, id="another item"),
        pytest.param({"path": "/v1/items/{id}"}, call(f"{PLACE}/1/2?page=2&token=a%26b"), False, id="a part more"),
        pytest.param({"path": "/v1/items/{id}"}, call(f"{PLACE}?page=2&token=a%26b"), False, id="a part less"),
        pytest.param({"path": "/v1/items/{id}"}, call(f"{PLACE}/a%2Fb?page=2&token=a%26b"), False, id="a hidden part"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?page=99&token=a%26b"), True, id="another page"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?page=&token=a%26b"), True, id="an empty page"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?page=2&token=b"), False, id="another token with the page"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?token=a%26b&page=2"), False, id="another order"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?page=2&token=a%26b&page=3"), False, id="a page more"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?page=2"), False, id="a parameter less"),
        pytest.param({"vary": ["page"]}, call(f"{ONE}?Page=2&token=a%26b"), False, id="another name"),
        pytest.param({"any_body": True}, call(same=HELD, body=b"x"), True, id="any body"),
        pytest.param({}, call(media="text/plain"), False, id="the same body under another type"),
        pytest.param({"any_body": True}, call(body=b"{}", media="application/json"), False, id="a body of a type"),
    ],
)
def test_a_grant_covers_what_it_names_and_nothing_else(width: dict[str, object], asked: Call, passes: bool) -> None:
    grant = read(stated(**width))  # type: ignore[arg-type]
    assert covers(grant.route, asked) is passes
    if passes:
        use(grant, asked)
        return
    with pytest.raises(Rejected, match="is of other calls") as refused:
        use(grant, asked)
    assert refused.value.code is Code.HOLD_NOT_PERMITTED


def test_any_body_means_any_of_the_same_type() -> None:
    held = call(body=b"{}", media="application/json; charset=utf-8")
    route = route_of(held, any_body=True)
    assert covers(route, call(body=b"[1]", media="Application/JSON"))
    assert not covers(route, call(body=b"[1]", media="text/plain"))
    assert not covers(route, call(body=b"[1]", media="no type"))
    assert not covers(route, call(body=b"[1]"))
    assert not covers(replace(route, media="?"), call(body=b"[1]", media="no type"))


@pytest.mark.parametrize(
    ("held", "width", "message"),
    [
        pytest.param(HELD, {"path": "/v1/orders/{id}"}, "does not cover the held call", id="another path"),
        pytest.param(HELD, {"path": "v1"}, 'must start with "/"', id="a path that is none"),
        pytest.param(HELD, {"vary": ["q"]}, "no parameter .q. that could vary; it has page, token", id="a parameter"),
        pytest.param(call(ONE), {"vary": ["q"]}, "it has none", id="a parameter of no query"),
        pytest.param(replace(HELD, websocket=True), {}, "released by itself", id="a WebSocket"),
        pytest.param(call(media="no type"), {}, "without one type of its body", id="a type that is none"),
        pytest.param(replace(HELD, body=Unread(size=9, sha256=b"x")), {}, "released by itself", id="a large body"),
    ],
)
def test_a_route_covers_the_call_it_was_made_of(held: Call, width: dict[str, object], message: str) -> None:
    with pytest.raises(Rejected, match=message) as refused:
        route_of(held, **width)  # type: ignore[arg-type]
    assert refused.value.code is Code.RELEASE_INVALID


def test_a_signed_path_that_is_no_template_covers_nothing() -> None:
    assert not covers(replace(route_of(HELD), path="/v1/{items"), HELD)


# --- whose word ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"reason": " "}, "a scope wider than one call needs a reason", id="no reason"),
        pytest.param({"count": 0}, "count must be", id="none"),
        pytest.param({"count": 1001}, "count must be", id="too many"),
        pytest.param({"lasting": timedelta(0)}, "exp must be after iat", id="no time"),
        pytest.param({"lasting": timedelta(hours=24, seconds=1)}, "exp must be after iat", id="too long"),
    ],
)
def test_a_grant_without_bounds_is_not_signed(changed: dict[str, object], message: str) -> None:
    with pytest.raises(Rejected, match=message) as refused:
        stated(**changed)  # type: ignore[arg-type]
    assert refused.value.code is Code.RELEASE_INVALID


def with_claims(drop: str = "", **changed: Json) -> str:
    return resealed(TOKEN, key(SPONSOR), typ=GRANT_TYP, drop=drop, **changed)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param("nonsense", id="no JWS"),
        pytest.param(resealed(TOKEN, key(SPONSOR), typ="intent-release+jwt"), id="another kind of statement"),
        pytest.param(with_claims(drop="path"), id="a claim too few"),
        pytest.param(with_claims(extra="x"), id="a claim too many"),
        pytest.param(with_claims(path=1), id="a path that is a number"),
        pytest.param(with_claims(grant="*"), id="an id that is none"),
        pytest.param(with_claims(proof="none"), id="a proof that is none"),
        pytest.param(with_claims(drop="proof"), id="without the proof it was given for"),
        pytest.param(with_claims(vary="page"), id="names that are a text"),
        pytest.param(with_claims(vary=[1]), id="names that are numbers"),
        pytest.param(with_claims(nonce=1), id="a nonce that is a number"),
        pytest.param(with_claims(nonce="short"), id="a short nonce"),
        pytest.param(with_claims(count=True), id="a count that is a boolean"),
        pytest.param(with_claims(exp=2**53), id="beyond the calendar"),
        pytest.param(with_claims(aud="other"), id="for another deployment"),
        pytest.param(with_claims(iss="mallory"), id="by somebody not enrolled"),
        pytest.param(with_claims(iss=DEPUTY), id="in another person's name"),
        pytest.param(stated(by=AGENT), id="by the agent in its own name"),
    ],
)
def test_anything_but_an_enrolled_persons_word_is_invalid(token: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(token)
    assert refused.value.code is Code.RELEASE_INVALID


def test_the_twin_of_these_is_read() -> None:
    assert read(with_claims()).by == SPONSOR


@pytest.mark.parametrize(
    ("after_s", "passes"),
    [
        pytest.param(-5, True, id="our clock five seconds behind"),
        pytest.param(-6, False, id="signed in the future"),
        pytest.param(899, True, id="its last second"),
        pytest.param(900, False, id="over"),
    ],
)
def test_a_grant_counts_in_its_time(after_s: int, passes: bool) -> None:
    if passes:
        assert read(after=timedelta(seconds=after_s)).id == "g-1"
        return
    with pytest.raises(Rejected) as refused:
        read(after=timedelta(seconds=after_s))
    assert refused.value.code is Code.RELEASE_INVALID


def test_a_grant_ends_with_its_givers_certificate_and_no_agents_key_gives_one() -> None:
    lapsed = identities.bundle(people=[person(certified_until=NOW)])
    agents = identities.bundle(people=[person(keys=[key(HELPER).public])])
    for token, bundle in ((TOKEN, lapsed), (stated(signer=HELPER), agents)):
        with pytest.raises(Rejected) as refused:
            read(token, bundle=bundle)
        assert refused.value.code is Code.HOLD_NOT_PERMITTED


# --- where it never reaches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        pytest.param({"risk": Risk.TRANSFORMATIVE}, "never by route", id="what may change things"),
        pytest.param(
            {"review": Review(quorum=2)}, "2 people must release such a call", id="where several must release"
        ),
    ],
)
def test_what_is_released_call_by_call_is_not_granted(changed: dict[str, object], message: str) -> None:
    decision = replace(DECISION, **changed)  # type: ignore[arg-type]
    for attempt in (lambda: check_grantable(decision), lambda: use(read(), decision=decision)):
        with pytest.raises(Rejected, match=message) as refused:
            attempt()
        assert refused.value.code is Code.HOLD_NOT_PERMITTED
    check_grantable(DECISION)


def stopped(act: Act, target: str) -> ControlView:
    """A view in which something was stopped after the grant was given, and may go on by now."""
    resume = Act.KILL_OFF if act is Act.KILL_ON else Act.RESTORE
    view = ControlView()
    for act_, later_s in ((act, 1), (resume, 2)):
        now = NOW + timedelta(seconds=later_s)
        token = state(act_, target, by="operator", reason="r", deployment=DEPLOYMENT, key=key("operator"), now=now)
        view = view.absorb(read_statement(token, BUNDLE))
    assert view.stops((target,)) is None
    return view


OTHER = mandate_of(BUNDLE, [identities.grant(identities.cluster())], [identities.grant(identities.cluster())])


@pytest.mark.parametrize(
    ("token", "changed", "message"),
    [
        pytest.param(TOKEN, {"view": ControlView(revoked_grants=frozenset({"g-1"}))}, "was revoked", id="revoked"),
        pytest.param(
            TOKEN, {"view": stopped(Act.QUARANTINE, MANDATE.leaf.sub)}, "was quarantined", id="its agent stopped since"
        ),
        pytest.param(
            TOKEN, {"view": stopped(Act.KILL_ON, "*")}, "everything was stopped", id="everything stopped since"
        ),
        pytest.param(TOKEN, {"mandate": OTHER}, "of another mandate", id="another mandate"),
        pytest.param(
            TOKEN,
            {"mandate": replace(OTHER, root_id=MANDATE.root_id)},
            "of another mandate",
            id="another line of the same root",
        ),
        pytest.param(
            TOKEN, {"decision": replace(DECISION, proof=Proof.SESSION)}, "request proof", id="weaker proof than it had"
        ),
        pytest.param(TOKEN, {"decision": replace(DECISION, proof=None)}, "request proof", id="no proof"),
        pytest.param(stated(by=REVIEWER), {}, "may not release this call", id="somebody who may not release it"),
        pytest.param(
            TOKEN,
            {"decision": replace(DECISION, review=Review(who=(REVIEWER,)))},
            "may not release this call",
            id="somebody who may no longer",
        ),
    ],
)
def test_a_grant_lets_pass_only_where_it_was_given(token: str, changed: dict[str, object], message: str) -> None:
    grant = read(token)
    with pytest.raises(Rejected, match=message) as refused:
        use(grant, **changed)  # type: ignore[arg-type]
    assert refused.value.code is Code.HOLD_NOT_PERMITTED
    use(read())
    use(read(stated(by=DEPUTY)))


def test_a_key_of_the_chain_grants_nothing() -> None:
    grant = replace(read(), kid=MANDATE.leaf.cnf.kid)
    with pytest.raises(Rejected, match="nobody reviews their own call"):
        use(grant)


_claims = st.sampled_from(["iss", "path", "query", "vary", "body", "count", "iat", "exp", "nonce", "x"])
_values = st.text(max_size=6) | st.integers() | st.none() | st.lists(st.text(max_size=3), max_size=2)


@settings(max_examples=150)
@given(st.dictionaries(_claims, _values, max_size=3))
def test_reading_and_using_whatever_is_claimed_raises_only_rejected(changed: dict[str, Json]) -> None:
    try:
        use(read(with_claims(**changed)))
    except Rejected as refused:
        assert refused.code in (Code.RELEASE_INVALID, Code.HOLD_NOT_PERMITTED)
        assert refused.detail.isprintable()
