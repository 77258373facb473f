"""Session proof: what the token says, from where and how long it counts."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import DEPLOYMENT, NOW, key, leg

from proxy.core.encoding import Json, canonical_json, parse_json, to_epoch
from proxy.core.errors import Code, Rejected
from proxy.core.model import Leg, Proof
from proxy.core.session import MINTABLE, SessionGrant, check_channel, check_session, read_basic

ROOT_ID = "cm9vdC1tYW5pZmVzdC1pZC1vZi00My1jaGFyYWN0ZXI"
GRANT = SessionGrant(
    root_id=ROOT_ID,
    leaf_id=ROOT_ID[::-1],
    leaf_kid=key("leaf").public.kid,
    source="192.0.2.10",
    proof=Proof.REQUEST,
    issued_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    deployment=DEPLOYMENT,
)


def written(drop: str = "", **changed: Json) -> bytes:
    members = parse_json(GRANT.to_bytes(), code=Code.PROOF_SESSION, what="grant")
    assert isinstance(members, dict)
    mixed = {**members, **changed}
    mixed.pop(drop, None)
    return canonical_json(mixed)


@pytest.mark.parametrize("proof", sorted(MINTABLE))
def test_a_grant_comes_back(proof: Proof) -> None:
    grant = replace(GRANT, proof=proof, spiffe_id="spiffe://test.example/invoice-bot")
    assert SessionGrant.from_bytes(grant.to_bytes()) == grant


def test_times_are_whole_seconds() -> None:
    grant = replace(GRANT, issued_at=NOW + timedelta(milliseconds=700))
    assert SessionGrant.from_bytes(grant.to_bytes()).issued_at == NOW


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(written(drop="source"), id="a member missing"),
        pytest.param(written(drop="leaf_id"), id="of no leaf in particular"),
        pytest.param(written(drop="spiffe_id"), id="as an older version wrote it"),
        pytest.param(written(more=1), id="a member too many"),
        pytest.param(written(source=1), id="a source that is no text"),
        pytest.param(written(issued_at="now"), id="a time that is no number"),
        pytest.param(written(expires_at=True), id="a time that is a boolean"),
        pytest.param(written(expires_at=to_epoch(NOW) + 3601), id="more than an hour"),
        pytest.param(written(expires_at=to_epoch(NOW)), id="no time at all"),
        pytest.param(written(issued_at=-1, expires_at=10), id="before 1970"),
        pytest.param(written(issued_at=253_402_300_790, expires_at=253_402_300_801), id="beyond the calendar"),
        pytest.param(written(proof="session"), id="minted with a session"),
        pytest.param(written(proof="tunnel"), id="minted with a tunnel, which ends in minutes"),
        pytest.param(written(proof="source"), id="minted with an address"),
        pytest.param(written(proof="magic"), id="minted with nothing we know"),
    ],
)
def test_any_other_token_is_refused(data: bytes) -> None:
    with pytest.raises(Rejected) as refused:
        SessionGrant.from_bytes(data)
    assert refused.value.code is Code.PROOF_SESSION


# --- where it travels ------------------------------------------------------------------------------------------------


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_basic_credentials_are_read() -> None:
    assert read_basic(basic(f"{ROOT_ID}:token-1_~.x")) == (ROOT_ID, "token-1_~.x")
    assert read_basic(basic(f"{ROOT_ID}:t").replace("Basic", "bAsIc")) == (ROOT_ID, "t")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="nothing"),
        pytest.param("Bearer abc", id="another scheme"),
        pytest.param("Basic", id="no credentials"),
        pytest.param("Basic !!!!", id="no base64"),
        pytest.param(basic(f"{ROOT_ID}:t") + " ", id="a trailing space"),
        pytest.param(basic(f"{ROOT_ID}:tt").rstrip("="), id="no padding"),
        pytest.param("Basic QR==", id="stray bits"),
        pytest.param(basic("agent:password"), id="a name and a password"),
        pytest.param(basic(ROOT_ID), id="no token"),
        pytest.param(basic(f"{ROOT_ID}:"), id="an empty token"),
        pytest.param(basic(f"{ROOT_ID}:a:b"), id="a colon in the token"),
        pytest.param(basic(f"{ROOT_ID}:é"), id="a token that is not ASCII"),
        pytest.param(basic(f"{ROOT_ID}:{'x' * 4097}"), id="a token too long"),
    ],
)
def test_other_credentials_are_malformed(value: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_basic(value)
    assert (refused.value.code, refused.value.field) == (Code.PROOF_MALFORMED, "proxy-authorization")
    assert "password" not in refused.value.detail


@pytest.mark.parametrize(
    ("client", "passes"),
    [
        pytest.param(leg(tls=True), True, id="TLS to the proxy"),
        pytest.param(leg(local=True), True, id="loopback or a unix socket"),
        pytest.param(leg(), False, id="in the clear"),
        pytest.param(replace(leg(), inner_tls=True, sni="erp.example"), False, id="TLS only inside a tunnel"),
    ],
)
def test_inherited_proof_needs_a_channel_nobody_reads(client: Leg, passes: bool) -> None:
    if passes:
        check_channel(client)
    else:
        with pytest.raises(Rejected, match="only over TLS") as refused:
            check_channel(client)
        assert refused.value.code is Code.PROOF_CHANNEL


# --- when it counts --------------------------------------------------------------------------------------------------


def check(
    *, root_id: str = ROOT_ID, deployment: str = DEPLOYMENT, source: str = "192.0.2.10", after_s: int = 0
) -> None:
    now = NOW + timedelta(seconds=after_s)
    check_session(GRANT, root_id=root_id, deployment=deployment, source=source, now=now)


@pytest.mark.parametrize("after_s", [0, -5, 3599])
def test_a_session_counts_for_its_hour(after_s: int) -> None:
    check(after_s=after_s)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        pytest.param({"root_id": ROOT_ID[::-1]}, "mandate", id="another mandate"),
        pytest.param({"deployment": "other"}, "deployment", id="another deployment"),
        pytest.param({"source": "192.0.2.11"}, "source", id="another address"),
        pytest.param({"after_s": 3600}, "expires_at", id="when it has ended"),
        pytest.param({"after_s": -6}, "expires_at", id="before it began"),
    ],
)
def test_a_session_counts_for_nothing_else(arguments: dict[str, object], field: str) -> None:
    with pytest.raises(Rejected) as refused:
        check(**arguments)  # type: ignore[arg-type]
    assert (refused.value.code, refused.value.field) == (Code.PROOF_SESSION, field)


# --- properties ------------------------------------------------------------------------------------------------------

_members = st.sampled_from(["root_id", "leaf_kid", "source", "proof", "deployment", "issued_at", "expires_at", "x"])
_values = st.text(st.characters(codec="utf-8"), max_size=5) | st.integers(-(2**53) + 1, 2**53 - 1) | st.none()


@given(st.binary(max_size=40) | st.dictionaries(_members, _values).map(lambda changed: written(**changed)))
def test_reading_a_grant_raises_only_rejected(data: bytes) -> None:
    try:
        SessionGrant.from_bytes(data)
    except Rejected as refused:
        assert refused.code is Code.PROOF_SESSION


@given(st.text(max_size=30) | st.binary(max_size=60).map(lambda data: f"Basic {base64.b64encode(data).decode()}"))
def test_reading_credentials_raises_only_rejected(value: str) -> None:
    with pytest.raises(Rejected):
        read_basic(value)
