"""The credential of an allowed call: for nothing that was not allowed, and never one that does not fit."""

import logging
from contextlib import suppress
from dataclasses import replace

import pytest
from identities import cluster
from questions import URL, call, question

from proxy.core.credential import Credential, Way
from proxy.core.decide import decide
from proxy.core.errors import Code, Unavailable
from proxy.core.model import Decision, Verdict
from proxy.injecting import Injecting, under_grants
from proxy.ports import Secrets

BEARER = Credential(secret="erp-token", way=Way.BEARER)
HEADER = Credential(secret="erp-token", way=Way.HEADER, name="X-Api-Key")


class Kept(Secrets):
    """One secret, and how often an origin refused it."""

    def __init__(self, value: str = "secret-value") -> None:
        self.value = value
        self.refusals: list[str] = []

    def current(self, name: str) -> str:
        if name != "erp-token":
            raise Unavailable(Code.CREDENTIAL_DOWN, "none")
        return self.value

    def refused(self, name: str) -> None:
        self.refusals.append(name)


def decided(credential: Credential | None = BEARER, *, method: str = "GET") -> Decision:
    return decide(question(cluster(credential=credential), method=method))


def test_an_allowed_call_gets_it_for_its_own_destination() -> None:
    found = Injecting(Kept()).for_call(decided(), call(URL))
    assert found is not None
    assert (found.credential, found.to, found.value) == (BEARER, ("https", "erp.example", 443), "secret-value")


@pytest.mark.parametrize(
    "decision",
    [
        pytest.param(decided(None), id="its cluster has none"),
        pytest.param(decided(method="DELETE"), id="it is held"),
        pytest.param(replace(decided(), verdict=Verdict.DENY), id="it is denied"),
    ],
)
def test_any_other_gets_none(decision: Decision) -> None:
    assert Injecting(Kept()).for_call(decision, call(URL)) is None
    assert Injecting(Kept()).for_call(decided(), None) is None


def test_there_is_none_or_it_does_not_fit(caplog: pytest.LogCaptureFixture) -> None:
    unknown = replace(decided(), credential=replace(BEARER, secret="other"))
    with pytest.raises(Unavailable):
        Injecting(Kept()).for_call(unknown, call(URL))
    spaced = Injecting(Kept("Token 12345"))
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable) as down:
        spaced.for_call(decided(), call(URL))
    assert down.value.code is Code.CREDENTIAL_DOWN
    assert "secret erp-token has a space in it" in caplog.text
    assert "12345" not in caplog.text
    assert spaced.for_call(decided(HEADER), call(URL)) is not None


def test_what_does_not_fit_is_told_once_however_many_calls_there_are(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept("Token 12345")
    injecting = Injecting(kept)
    for value in ("Token 12345", "Token 12345", "secret-value", "Token 12345"):
        kept.value = value
        with suppress(Unavailable):
            injecting.for_call(decided(), call(URL))
    assert len(caplog.records) == 2, "and again after it did"


def test_an_origin_that_does_not_take_it_is_told_of() -> None:
    kept = Kept()
    injecting = Injecting(kept)
    found = injecting.for_call(decided(), call(URL))
    for injection, status in ((found, 200), (found, 403), (None, 401), (found, 401)):
        injecting.answered(injection, status)
    assert kept.refusals == ["erp-token"]


def test_a_grant_does_not_reach_beyond_a_change_of_the_credential() -> None:
    held = decided(method="DELETE")
    assert under_grants(held)
    changed = replace(held, code=Code.CLUSTER_CHANGED)
    assert not under_grants(changed)
    assert under_grants(replace(changed, credential=None))
