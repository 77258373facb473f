"""What a person found out about a call of which nobody knew: whose word it is, and about which call."""

from dataclasses import replace
from datetime import timedelta

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, REVIEWER, SPONSOR, key, nonce, resealed

from proxy.core.encoding import Json
from proxy.core.errors import Code, Rejected
from proxy.core.holds import Event
from proxy.core.model import Bundle, Hold, Said
from proxy.core.notes import NoteAct, state_note
from proxy.core.resolution import RESOLUTION_TYP, Found, Resolution, read_resolution, state_resolution

BUNDLE = identities.bundle()
HOLD = identities.hold()


def stated(*, by: str = SPONSOR, signer: str = "", found: Found = Found.ARRIVED, reason: str = "asked the bank") -> str:
    return state_resolution(
        hold=HOLD,
        found=found,
        by=by,
        reason=reason,
        deployment=DEPLOYMENT,
        key=key(signer or by),
        now=NOW,
        nonce=nonce("resolution"),
    )


def read(token: str, *, hold: Hold = HOLD, bundle: Bundle = BUNDLE, barred: frozenset[str] = frozenset()) -> Resolution:
    return read_resolution(token, hold=hold, bundle=bundle, barred=barred, now=NOW)


TOKEN = stated()


def changed_to(**changed: Json) -> str:
    """The same word with other claims, well signed all the same."""
    return resealed(TOKEN, key(SPONSOR), typ=RESOLUTION_TYP, **changed)


@pytest.mark.parametrize(("found", "event"), [(Found.ARRIVED, Event.ARRIVED), (Found.NOT_ARRIVED, Event.CLOSED)])
def test_a_resolution_says_who_found_out_what(found: Found, event: Event) -> None:
    said = read(stated(found=found))
    assert (said.by, said.found, said.reason, said.issued_at) == (SPONSOR, found, "asked the bank", NOW)
    assert said.found.event is event


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "two\nlines"])
def test_how_it_was_found_out_is_said(reason: str) -> None:
    with pytest.raises(Rejected) as caught:
        stated(reason=reason)
    assert (caught.value.code, caught.value.field) == (Code.RELEASE_INVALID, "reason")


def refusal(token: str, **about: object) -> tuple[Code, str]:
    with pytest.raises(Rejected) as caught:
        read(token, **about)  # type: ignore[arg-type]
    return caught.value.code, caught.value.field


@pytest.mark.parametrize(
    ("token", "about", "wanted"),
    [
        pytest.param(TOKEN, {"hold": replace(HOLD, id="h-2")}, (Code.RELEASE_INVALID, "hold"), id="another hold"),
        pytest.param(
            TOKEN, {"hold": replace(HOLD, call_digest="x")}, (Code.RELEASE_INVALID, "digest"), id="another call"
        ),
        pytest.param(
            TOKEN, {"bundle": replace(BUNDLE, deployment="other")}, (Code.RELEASE_INVALID, "aud"), id="elsewhere"
        ),
        pytest.param(TOKEN, {"bundle": replace(BUNDLE, people={})}, (Code.RELEASE_INVALID, "iss"), id="nobody we know"),
        pytest.param(stated(signer=AGENT), {}, (Code.RELEASE_INVALID, ""), id="signed with another key"),
        pytest.param(
            TOKEN,
            {"barred": frozenset({key(SPONSOR).public.kid})},
            (Code.HOLD_NOT_PERMITTED, "kid"),
            id="an agent's key",
        ),
        pytest.param(stated(by=REVIEWER), {}, (Code.HOLD_NOT_PERMITTED, "iss"), id="somebody who may not decide"),
        pytest.param(
            changed_to(iat=int((NOW + timedelta(minutes=1)).timestamp())),
            {},
            (Code.RELEASE_INVALID, "iat"),
            id="from the future",
        ),
        pytest.param(changed_to(found="maybe"), {}, (Code.RELEASE_INVALID, "found"), id="maybe"),
        pytest.param(changed_to(nonce="x"), {}, (Code.RELEASE_INVALID, "nonce"), id="a short nonce"),
        pytest.param(changed_to(more=1), {}, (Code.RELEASE_INVALID, ""), id="a claim more"),
    ],
)
def test_anything_else_is_refused(token: str, about: dict[str, object], wanted: tuple[Code, str]) -> None:
    code, field = refusal(token, **about)
    assert code is wanted[0]
    assert not wanted[1] or field == wanted[1]


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "hold", "digest", "found", "reason", "nonce", "iat"]),
        st.none() | st.integers() | st.text(max_size=5),
    )
)
def test_whatever_is_claimed_only_rejected_is_raised(changed: dict[str, Json]) -> None:
    try:
        read(changed_to(**changed))
    except Rejected as fault:
        assert fault.code in (Code.RELEASE_INVALID, Code.HOLD_NOT_PERMITTED)


def test_what_a_key_of_the_chain_escalated_lets_no_deputy_say_it_before_their_turn() -> None:
    escalation = state_note(
        NoteAct.ESCALATE,
        hold=HOLD,
        by=SPONSOR,
        reason="I am away",
        deployment=DEPLOYMENT,
        key=key(SPONSOR),
        now=NOW,
        nonce=nonce("note"),
    )
    hold = replace(HOLD, said=(Said(version=2, statement=escalation),))
    assert read(stated(by=DEPUTY), hold=hold).by == DEPUTY
    with pytest.raises(Rejected) as refused:
        read(stated(by=DEPUTY), hold=hold, barred=frozenset({key(SPONSOR).public.kid}))
    assert refused.value.code is Code.HOLD_NOT_PERMITTED
