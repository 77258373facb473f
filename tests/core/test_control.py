"""Stopping things: who may say so, and what it adds up to."""

from datetime import timedelta

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, SPONSOR, key, resealed

from proxy.core.control import CONTROL_TYP, REVOKING, Act, ControlView, Statement, read_statement, state
from proxy.core.encoding import Json, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bundle

BUNDLE = identities.bundle()
LINK = parse_manifest(identities.root())


def said(
    act: Act,
    target: str = "*",
    *,
    by: str = SPONSOR,
    signer: PrivateKey | None = None,
    after_s: float = 0,
    bundle: Bundle = BUNDLE,
) -> Statement:
    token = state(
        act,
        target,
        by=by,
        reason="because",
        deployment=DEPLOYMENT,
        key=signer or key(by),
        now=NOW + timedelta(seconds=after_s),
    )
    return read_statement(token, bundle)


def test_a_statement_says_who_what_and_when() -> None:
    statement = said(Act.QUARANTINE, AGENT)
    assert (statement.by, statement.act, statement.target) == (SPONSOR, Act.QUARANTINE, AGENT)
    assert (statement.reason, statement.at) == ("because", NOW)
    assert statement.serial == to_epoch(NOW) * 1000


@pytest.mark.parametrize("act", [Act.QUARANTINE, Act.KILL_ON, *sorted(REVOKING)])
def test_anyone_enrolled_may_stop(act: Act) -> None:
    assert said(act, "x", by=DEPUTY).act is act


@pytest.mark.parametrize(
    ("act", "target", "by"),
    [
        pytest.param(Act.RESTORE, AGENT, SPONSOR, id="the agent's sponsor restores it"),
        pytest.param(Act.RESTORE, AGENT, "operator", id="an operator restores it"),
        pytest.param(Act.KILL_OFF, "*", "operator", id="an operator ends the stop"),
    ],
)
def test_who_may_let_run_again(act: Act, target: str, by: str) -> None:
    assert said(act, target, by=by).by == by


@pytest.mark.parametrize(
    ("act", "target", "by"),
    [
        pytest.param(Act.RESTORE, AGENT, DEPUTY, id="the deputy may not restore"),
        pytest.param(Act.RESTORE, "no-such-agent", SPONSOR, id="nobody sponsors an unknown agent"),
        pytest.param(Act.KILL_OFF, "*", SPONSOR, id="a sponsor may not end the stop"),
    ],
)
def test_who_may_not_let_run_again(act: Act, target: str, by: str) -> None:
    with pytest.raises(Rejected, match="only an operator or the agent's sponsor may") as refused:
        said(act, target, by=by)
    assert refused.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize(
    ("by", "signer"),
    [
        pytest.param("mallory", key("mallory"), id="a stranger"),
        pytest.param(SPONSOR, key(DEPUTY), id="another person's key"),
        pytest.param("operator", key(SPONSOR), id="a person as operator"),
        pytest.param(AGENT, key(AGENT), id="an agent"),
    ],
)
def test_a_key_that_is_not_enrolled_for_the_signer_is_refused(by: str, signer: PrivateKey) -> None:
    with pytest.raises(Rejected, match="has no enrolled key"):
        said(Act.KILL_ON, by=by, signer=signer)


TOKEN = state(Act.KILL_ON, "*", by=SPONSOR, reason="r", deployment=DEPLOYMENT, key=key(SPONSOR), now=NOW)


@pytest.mark.parametrize(
    ("changed", "drop"),
    [
        pytest.param({"aud": "other"}, "", id="for another deployment"),
        pytest.param({"extra": 1}, "", id="a claim too many"),
        pytest.param({}, "serial", id="a claim too few"),
        pytest.param({"iss": 1}, "", id="iss is a number"),
        pytest.param({"act": ["kill-on"]}, "", id="act is a list"),
        pytest.param({"target": None}, "", id="target is null"),
        pytest.param({"reason": {}}, "", id="reason is an object"),
        pytest.param({"serial": True}, "", id="serial is a boolean"),
        pytest.param({"iat": "now"}, "", id="iat is a text"),
        pytest.param({"iat": 2**53 - 1}, "", id="iat is beyond the calendar"),
        pytest.param({"act": "explode"}, "", id="an unknown act"),
    ],
)
def test_a_statement_of_another_form_is_refused(changed: dict[str, Json], drop: str) -> None:
    token = resealed(TOKEN, key(SPONSOR), typ=CONTROL_TYP, drop=drop, **changed)
    with pytest.raises(Rejected) as refused:
        read_statement(token, BUNDLE)
    assert refused.value.code is Code.STATEMENT_INVALID


def test_its_twin_is_read() -> None:
    assert read_statement(resealed(TOKEN, key(SPONSOR), typ=CONTROL_TYP), BUNDLE).act is Act.KILL_ON


def test_a_forged_signature_is_refused() -> None:
    other = state(Act.KILL_ON, "*", by=SPONSOR, reason="other", deployment=DEPLOYMENT, key=key(SPONSOR), now=NOW)
    with pytest.raises(Rejected, match="signature"):
        read_statement(TOKEN.rpartition(".")[0] + "." + other.rpartition(".")[2], BUNDLE)


# --- the view --------------------------------------------------------------------------------------------------------


def test_nothing_is_stopped_at_first() -> None:
    view = ControlView()
    assert not view.killed
    assert not view.quarantined(AGENT)
    assert not view.revokes(LINK)


@pytest.mark.parametrize(
    ("act", "target"),
    [
        pytest.param(Act.REVOKE_MANIFEST, f"{LINK.iss} {LINK.jti}", id="by issuer and name"),
        pytest.param(Act.REVOKE_KEY, LINK.cnf.kid, id="by key"),
        pytest.param(Act.REVOKE_ROOT, LINK.id, id="as a root"),
    ],
)
def test_a_link_is_revoked(act: Act, target: str) -> None:
    assert ControlView().absorb(said(act, target)).revokes(LINK)
    assert not ControlView().absorb(said(act, f"{target}x")).revokes(LINK)


def test_quarantine_and_kill_switch_follow_the_latest_word() -> None:
    view = ControlView().absorb(said(Act.QUARANTINE, AGENT)).absorb(said(Act.KILL_ON))
    assert view.quarantined(AGENT)
    assert view.killed
    view = view.absorb(said(Act.RESTORE, AGENT, after_s=1)).absorb(said(Act.KILL_OFF, by="operator", after_s=1))
    assert not view.quarantined(AGENT)
    assert not view.killed


def test_an_older_word_changes_nothing() -> None:
    stop, resume = said(Act.QUARANTINE, AGENT, after_s=2), said(Act.RESTORE, AGENT, after_s=1)
    assert ControlView().absorb(stop).absorb(resume).quarantined(AGENT)
    assert ControlView().absorb(resume).absorb(stop).quarantined(AGENT)


_acts = st.sampled_from([(Act.REVOKE_KEY, "k"), (Act.REVOKE_ROOT, "r"), (Act.REVOKE_MANIFEST, "i j")])


@given(st.lists(st.tuples(_acts, st.integers(0, 5)), max_size=6))
def test_revocations_are_only_ever_gained(sequence: list[tuple[tuple[Act, str], int]]) -> None:
    view = ControlView()
    for (act, target), at in sequence:
        before = view
        view = view.absorb(said(act, target, after_s=at))
        assert before.revoked_keys <= view.revoked_keys
        assert before.revoked_roots <= view.revoked_roots
        assert before.revoked_manifests <= view.revoked_manifests


@given(
    st.dictionaries(
        st.sampled_from(["iss", "aud", "iat", "serial", "act", "target", "reason"]),
        st.integers() | st.text(st.characters(codec="utf-8"), max_size=9) | st.none(),
    )
)
def test_reading_a_statement_raises_only_rejected(changed: dict[str, Json]) -> None:
    changed = {name: value for name, value in changed.items() if type(value) is not int or abs(value) < 2**53}
    try:
        read_statement(resealed(TOKEN, key(SPONSOR), typ=CONTROL_TYP, **changed), BUNDLE)
    except Rejected as refused:
        assert refused.code is Code.STATEMENT_INVALID
