"""Stopping things: who may say so, and what it adds up to."""

import json
from collections.abc import Iterable
from datetime import timedelta
from itertools import permutations
from random import Random

import identities
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import AGENT, DEPLOYMENT, DEPUTY, NOW, SPONSOR, key, resealed

from proxy.core.control import (
    CONTROL_TYP,
    Act,
    ControlView,
    Statement,
    check_not_ahead,
    ended_by,
    read_statement,
    state,
)
from proxy.core.encoding import MAX_EPOCH_S, Json, b64u, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.keys import PrivateKey, sign
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


@pytest.mark.parametrize(
    "act", [Act.QUARANTINE, Act.KILL_ON, Act.REVOKE_MANIFEST, Act.REVOKE_KEY, Act.REVOKE_ROOT, Act.REVOKE_GRANT]
)
def test_anyone_enrolled_may_stop(act: Act) -> None:
    assert said(act, "*" if act is Act.KILL_ON else "x", by=DEPUTY).act is act


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
    with pytest.raises(Rejected, match=r"only an operator (or the agent's sponsor )?may") as refused:
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


AT = to_epoch(NOW)
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
        pytest.param({"iat": -1, "serial": -1000}, "", id="before 1970"),
        pytest.param({"iat": MAX_EPOCH_S + 1, "serial": MAX_EPOCH_S * 1000 + 1000}, "", id="after the year 9999"),
        pytest.param({"serial": 2**53 - 1}, "", id="a serial beyond all others"),
        pytest.param({"serial": AT * 1000 + 1000}, "", id="a serial of the next second"),
        pytest.param({"serial": AT * 1000 - 1}, "", id="a serial of the second before"),
        pytest.param({"serial": AT}, "", id="a serial in seconds"),
        pytest.param({"reason": "r" * 501}, "", id="a reason without end"),
        pytest.param({"reason": "two\nlines"}, "", id="a reason on two lines"),
        pytest.param({"reason": "\u202eltr"}, "", id="a reason that turns the text around"),
        pytest.param({"target": "invoice-bot"}, "", id="a kill switch for one agent"),
        pytest.param({"act": "quarantine"}, "", id="a quarantine of nobody by name"),
        pytest.param({"act": "quarantine", "target": "in voice"}, "", id="a quarantine of what is no agent's id"),
        pytest.param({"act": "revoke-key", "target": ""}, "", id="an empty target"),
        pytest.param({"act": "revoke-key", "target": "k" * 201}, "", id="a target without end"),
        pytest.param({"act": "revoke-manifest", "target": "i \x1b[2J"}, "", id="a target for a terminal"),
    ],
)
def test_a_statement_of_another_form_is_refused(changed: dict[str, Json], drop: str) -> None:
    token = resealed(TOKEN, key(SPONSOR), typ=CONTROL_TYP, drop=drop, **changed)
    with pytest.raises(Rejected) as refused:
        read_statement(token, BUNDLE)
    assert refused.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({}, id="as it was signed"),
        pytest.param({"serial": AT * 1000 + 999}, id="late in its second"),
        pytest.param({"reason": "é" * 500}, id="a long reason"),
        pytest.param({"act": "revoke-key", "target": "k" * 200}, id="a long target"),
        pytest.param({"iat": MAX_EPOCH_S, "serial": MAX_EPOCH_S * 1000}, id="the last second there is"),
    ],
)
def test_its_twin_is_read(changed: dict[str, Json]) -> None:
    assert read_statement(resealed(TOKEN, key(SPONSOR), typ=CONTROL_TYP, **changed), BUNDLE).by == SPONSOR


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"serial": 2**53 + 1}, id="a serial that JSON cannot hold exactly"),
        pytest.param({"serial": 10**400}, id="a serial of four hundred digits"),
        pytest.param({"reason": "\ud800"}, id="a reason with half a character"),
        pytest.param({"target": "\udfff"}, id="a target with half a character"),
        pytest.param({"iss": "\ud800"}, id="a signer with half a character"),
        pytest.param({"act": "\ud800"}, id="an act with half a character"),
    ],
)
def test_what_we_could_not_write_down_is_not_read(changed: dict[str, Json]) -> None:
    with pytest.raises(Rejected) as refused:
        read_statement(by_hand(**changed), BUNDLE)
    assert refused.value.code is Code.STATEMENT_INVALID
    refused.value.detail.encode()
    assert read_statement(by_hand(), BUNDLE).act is Act.KILL_ON


def by_hand(**changed: Json) -> str:
    """A statement as another program might sign it: any JSON, not only what we write."""
    claims = {"iss": SPONSOR, "aud": DEPLOYMENT, "iat": AT, "serial": AT * 1000, "act": "kill-on", "target": "*"}
    signer = key(SPONSOR)
    header = json.dumps({"typ": CONTROL_TYP, "alg": signer.public.alg, "kid": signer.public.kid}).encode()
    payload = json.dumps({**claims, "reason": "r", **changed}).encode()
    signing_input = f"{b64u(header)}.{b64u(payload)}"
    return f"{signing_input}.{b64u(sign(signer, signing_input.encode()))}"


@pytest.mark.parametrize(
    ("act", "target", "reason"),
    [
        pytest.param(Act.KILL_ON, AGENT, "", id="a kill switch for one agent"),
        pytest.param(Act.QUARANTINE, "*", "", id="a quarantine of everything"),
        pytest.param(Act.REVOKE_KEY, "", "", id="no target"),
        pytest.param(Act.QUARANTINE, AGENT, "two\nlines", id="a reason on two lines"),
    ],
)
def test_what_nobody_would_read_is_not_signed(act: Act, target: str, reason: str) -> None:
    with pytest.raises(Rejected) as refused:
        state(act, target, by=SPONSOR, reason=reason, deployment=DEPLOYMENT, key=key(SPONSOR), now=NOW)
    assert refused.value.code is Code.STATEMENT_INVALID


@pytest.mark.parametrize("micros", [0, 1, 999, 1_000, 999_000, 999_999])
def test_whatever_is_signed_is_read_back(micros: int) -> None:
    assert said(Act.KILL_ON, after_s=micros / 1_000_000).serial == AT * 1000 + micros // 1000


@pytest.mark.parametrize(("ahead_s", "passes"), [(-86_400, True), (0, True), (5, True), (6, False), (2**31, False)])
def test_what_is_signed_in_the_future_does_not_count_yet(ahead_s: int, passes: bool) -> None:
    statement = said(Act.RESTORE, AGENT, after_s=ahead_s)
    if passes:
        check_not_ahead(statement, now=NOW)
    else:
        with pytest.raises(Rejected, match="signed in the future") as refused:
            check_not_ahead(statement, now=NOW)
        assert refused.value.code is Code.STATEMENT_INVALID
        check_not_ahead(statement, now=statement.at)


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


# (who, act, seconds) of what is said about one agent in turn, and whether it is stopped then.
ADA, BEN, OPS = SPONSOR, DEPUTY, "operator"
STOP, GO = Act.QUARANTINE, Act.RESTORE
WORDS = [
    pytest.param([(ADA, STOP, 0), (ADA, GO, 0)], True, id="of two words of one moment the one that stops counts"),
    pytest.param([(OPS, GO, 0), (BEN, STOP, 0)], True, id="also when an operator lets go in that moment"),
    pytest.param([(BEN, STOP, 0), (ADA, GO, 1)], False, id="the sponsor undoes what the deputy stopped"),
    pytest.param([(OPS, STOP, 0), (ADA, GO, 1)], True, id="the sponsor cannot undo what an operator stopped"),
    pytest.param([(OPS, STOP, 0), (OPS, GO, 1)], False, id="an operator can"),
    pytest.param([(ADA, STOP, 0), (OPS, GO, 1)], False, id="an operator overrules whoever spoke before"),
    pytest.param([(OPS, GO, 0), (BEN, STOP, 1)], True, id="anyone may stop it anew after that"),
    pytest.param([(OPS, GO, 0), (BEN, STOP, 1), (ADA, GO, 2)], False, id="and the sponsor undo that"),
    pytest.param([(OPS, STOP, 0), (BEN, STOP, 1), (OPS, GO, 2)], False, id="an operator's word covers both"),
    pytest.param([(OPS, STOP, 2), (ADA, GO, 3), (OPS, GO, 1)], True, id="an operator's older word changes nothing"),
]


@pytest.mark.parametrize(("words", "stopped"), WORDS)
def test_who_has_the_last_word(words: list[tuple[str, Act, int]], stopped: bool) -> None:
    statements = [said(act, AGENT, by=by, after_s=at) for by, act, at in words]
    for order in permutations(statements):
        assert seen(order).quarantined(AGENT) is stopped


def seen(statements: Iterable[Statement]) -> ControlView:
    view = ControlView()
    for statement in statements:
        view = view.absorb(statement)
    return view


_words = st.one_of(
    st.tuples(st.sampled_from([ADA, BEN, OPS]), st.just(STOP)), st.tuples(st.sampled_from([ADA, OPS]), st.just(GO))
)


@given(st.lists(st.tuples(_words, st.integers(0, 2)), max_size=5), st.randoms(use_true_random=False))
def test_the_order_in_which_statements_come_makes_no_difference(
    words: list[tuple[tuple[str, Act], int]], random: Random
) -> None:
    statements = [said(act, AGENT, by=by, after_s=at) for (by, act), at in words]
    shuffled = statements * 2
    random.shuffle(shuffled)
    assert seen(shuffled) == seen(statements)


_acts = st.sampled_from(
    [(Act.REVOKE_KEY, "k"), (Act.REVOKE_ROOT, "r"), (Act.REVOKE_MANIFEST, "i j"), (Act.REVOKE_GRANT, "g")]
)


@given(st.lists(st.tuples(_acts, st.integers(0, 5)), max_size=6))
def test_revocations_are_only_ever_gained(sequence: list[tuple[tuple[Act, str], int]]) -> None:
    view = ControlView()
    for (act, target), at in sequence:
        before = view
        view = view.absorb(said(act, target, after_s=at))
        assert before.revoked_keys <= view.revoked_keys
        assert before.revoked_roots <= view.revoked_roots
        assert before.revoked_manifests <= view.revoked_manifests
        assert before.revoked_grants <= view.revoked_grants
    assert view.revoked_grants == {target for (act, target), _ in sequence if act is Act.REVOKE_GRANT}


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


# --- what a stop ends for good ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "given_after_s", "expected"),
    [
        pytest.param([], 0, None, id="nothing was stopped"),
        pytest.param([(STOP, AGENT, 5)], 0, AGENT, id="its agent was, later"),
        pytest.param([(STOP, AGENT, 5), (GO, AGENT, 6)], 0, AGENT, id="also when it may go on since"),
        pytest.param([(GO, AGENT, 6), (STOP, AGENT, 5)], 0, AGENT, id="in whatever order that was heard"),
        pytest.param([(STOP, AGENT, 5), (STOP, AGENT, 1)], 3, AGENT, id="an older stop hides no newer one"),
        pytest.param([(STOP, AGENT, 5)], 5, AGENT, id="in the same second"),
        pytest.param([(STOP, AGENT, 5), (GO, AGENT, 6)], 7, None, id="before it was given"),
        pytest.param([(STOP, "somebody-else", 5)], 0, None, id="another agent was"),
        pytest.param([(Act.KILL_ON, "*", 5), (Act.KILL_OFF, "*", 6)], 0, "*", id="everything was"),
        pytest.param([(STOP, AGENT, 5), (GO, AGENT, 9)], 7, AGENT, id="while it was stopped"),
        pytest.param([(STOP, AGENT, 5), (GO, AGENT, 9)], 9, None, id="when it could just go on"),
        pytest.param([(STOP, AGENT, 5), (GO, AGENT, 5.9)], 5, AGENT, id="in the one second of a stop and its end"),
        pytest.param(
            [(STOP, AGENT, 1), (GO, AGENT, 2), (GO, AGENT, 9)], 5, None, id="before it was let go on once more"
        ),
        pytest.param(
            [(STOP, AGENT, 1), (STOP, AGENT, 2), (GO, AGENT, 9)], 5, AGENT, id="stopped twice, let go on once"
        ),
    ],
)
def test_what_was_given_before_a_stop_ends_with_it(
    words: list[tuple[Act, str, float]], given_after_s: int, expected: str | None
) -> None:
    view = seen(said(act, target, by="operator", after_s=at) for act, target, at in words)
    stop = view.stopped_since((AGENT, "helper-bot"), NOW + timedelta(seconds=given_after_s))
    assert (None if stop is None else stop.target) == expected


@pytest.mark.parametrize(
    ("words", "given_after_s", "stopped_by"),
    [
        pytest.param([(ADA, STOP, 1), (OPS, GO, 3)], 2, SPONSOR, id="an operator ends what others said"),
        pytest.param([(OPS, STOP, 1), (ADA, GO, 3)], 5, "operator", id="what an operator said, others do not end"),
        pytest.param([(ADA, STOP, 1), (OPS, STOP, 2), (OPS, GO, 3)], 5, None, id="an operator ends both"),
        pytest.param([(OPS, STOP, 1), (OPS, GO, 2), (ADA, STOP, 4), (ADA, GO, 6)], 5, SPONSOR, id="the one in force"),
        pytest.param(
            [(OPS, STOP, 1), (OPS, GO, 2), (ADA, STOP, 4), (ADA, GO, 6)], 0, "operator", id="the first of two"
        ),
    ],
)
def test_whose_stop_ended_it_is_told(
    words: list[tuple[str, Act, int]], given_after_s: int, stopped_by: str | None
) -> None:
    view = seen(said(act, AGENT, by=by, after_s=at) for by, act, at in words)
    stop = view.stopped_since((AGENT,), NOW + timedelta(seconds=given_after_s))
    assert (None if stop is None else stop.by) == stopped_by


def test_the_last_words_are_known_by_target() -> None:
    view = seen(said(act, AGENT, by="operator", after_s=at) for act, at in ((STOP, 5), (GO, 6), (STOP, 1)))
    view = view.absorb(said(Act.KILL_OFF, by="operator", after_s=2))
    start_ms = to_epoch(NOW) * 1000
    assert view.last_stops() == {AGENT: start_ms + 5000}, "also of what may go on"
    assert [view.last_serial(target) - start_ms for target in (AGENT, "*")] == [6000, 2000]
    assert view.last_serial("nobody") == -1
    assert [ended_by(said(act, target)) for act, target in ((Act.KILL_ON, "*"), (STOP, AGENT))] == [
        "everything was stopped",
        f"agent {AGENT} was quarantined",
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param([], None, id="nothing is stopped"),
        pytest.param([(STOP, AGENT, 0)], AGENT, id="an agent is"),
        pytest.param([(STOP, AGENT, 0), (GO, AGENT, 1)], None, id="it may go on"),
        pytest.param([(STOP, AGENT, 0), (Act.KILL_ON, "*", 0)], "*", id="everything is"),
        pytest.param([(STOP, "somebody-else", 0)], None, id="another one is"),
    ],
)
def test_what_is_stopped_now(words: list[tuple[Act, str, int]], expected: str | None) -> None:
    view = seen(said(act, target, by="operator", after_s=at) for act, target, at in words)
    assert view.stops((AGENT, "helper-bot")) == expected
