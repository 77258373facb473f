"""The world behind the proxy: certificates that do not fit, hosts that do not answer, names that move."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from certs import Authority, self_signed
from houses import WAYS, House, house
from origin_replies import Reply
from origins import Origin
from towns import Town

from proxy.core.model import HoldState, Verdict


@dataclass(kw_only=True)
class Badlands:
    """A house whose one cluster covers origins with every kind of bad certificate."""

    house: House
    good: Origin
    bad: dict[str, Origin]


@pytest.fixture(scope="module")
def badlands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Badlands]:
    folder: Path = tmp_path_factory.mktemp("badlands")
    known, unknown = Authority(), Authority("nobody knows this CA")
    leaves = {
        "expired": known.expired("erp.example"),
        "not yet valid": known.not_yet_valid("erp.example"),
        "for another host": known.server("other.example"),
        "self-signed": self_signed("erp.example"),
        "from an unknown root": unknown.server("erp.example"),
    }
    with Origin(tls=known.server("erp.example")) as good:
        bad = {name: Origin(tls=leaf) for name, leaf in leaves.items()}
        for origin in bad.values():
            origin.__enter__()
        ports = sorted([good.port, *(origin.port for origin in bad.values())])
        text = f"""\
version: 1
clusters:
  - id: supplier-invoices
    description: Everything on one host
    risk: routine
    hosts: [erp.example]
    ports: {ports}
    addresses: [127.0.0.0/8]
    operations:
      - name: read
        methods: [GET]
        path: /{{any:rest}}
"""
        with house(folder, clusters=text, extra=f"upstream_cas: [{known.write(folder)}]\n") as running:
            yield Badlands(house=running, good=good, bad=bad)
        for origin in bad.values():
            origin.__exit__()


@pytest.mark.parametrize(
    "kind", ["expired", "not yet valid", "for another host", "self-signed", "from an unknown root"]
)
def test_a_certificate_that_does_not_fit_ends_in_502_with_nothing_sent(badlands: Badlands, kind: str) -> None:
    origin = badlands.bad[kind]
    answer = badlands.house.call("GET", origin.url("/v1/x", host="erp.example"))
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.tls")
    assert answer.header("content-type") == "application/problem+json"
    assert origin.raw_bytes == b""
    assert badlands.house.call("GET", badlands.good.url("/v1/x", host="erp.example")).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_an_origin_that_breaks_off_is_told_as_such(town: Town, way: str) -> None:
    origin = town.origin(way)
    origin.on("GET", "/v1/invoices/cut", Reply(raw=b"HTTP/1.1 200", then="close"))
    origin.on("GET", "/v1/invoices/reset", Reply(then="reset", cut_after=0))
    for path in ("/v1/invoices/reset", "/v1/invoices/cut"):
        answer = town.house.call("GET", town.url(way, path))
        assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.broken"), path
    assert town.house.call("GET", town.url(way, "/v1/invoices/17")).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_upstream_connections_are_kept_and_reused(town: Town, way: str) -> None:
    origin, url = town.origin(way), town.url(way, "/v1/invoices/17")
    chain, before = town.house.chain(), origin.mark()
    with town.house.open(url) as wire:
        for _ in range(5):
            assert town.house.call("GET", url, wire=wire, chain=chain).status == 200
        seen = origin.since(before)
        assert (seen.accepted, len(seen.requests)) == (1, 5)
        assert town.house.call("GET", url, wire=wire).status == 200
        assert origin.since(before).accepted == 2, "not for another mandate"


@pytest.mark.parametrize("way", WAYS)
def test_after_a_failure_the_same_client_connection_goes_on(town: Town, way: str) -> None:
    origin, url = town.origin(way), town.url(way, "/v1/invoices/17")
    before = origin.mark()
    with town.house.open(url) as wire:
        town.house.resolve({"erp.example": ["127.0.0.9"]})  # nobody listens there
        try:
            answer = town.house.call("GET", url, wire=wire)
            assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.connect"), answer
            assert origin.since(before).nothing
        finally:
            town.house.resolve({"erp.example": ["127.0.0.1"]})
        wire = wire if not wire.ended() else town.house.open(url)
        assert town.house.call("GET", url, wire=wire).status == 200


@pytest.mark.parametrize("way", WAYS)
def test_when_one_address_fails_the_next_attempt_tries_the_next(town: Town, way: str) -> None:
    url = town.url(way, "/v1/invoices/17")
    town.house.resolve({"erp.example": ["127.0.0.8", "127.0.0.1"]})
    try:
        statuses = [town.house.call("GET", url).status for _ in range(6)]
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
    assert statuses.count(502) <= 2, "once for each worker at most"
    assert statuses[-1] == 200


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_does_not_resolve_is_502(town: Town, way: str) -> None:
    town.house.resolve({})
    try:
        answer = town.house.call("GET", town.url(way, "/v1/invoices/17"))
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.name")


@pytest.mark.parametrize("way", WAYS)
def test_alt_svc_never_reaches_the_agent(town: Town, way: str) -> None:
    town.origin(way).on("GET", "/v1/invoices/alt", Reply(headers=(("Alt-Svc", 'h3=":443"'),)))
    answer = town.house.call("GET", town.url(way, "/v1/invoices/alt"))
    assert (answer.status, answer.header("alt-svc")) == (200, None)


@pytest.mark.parametrize("way", WAYS)
def test_a_released_call_that_could_not_be_sent_can_be_sent_again(town: Town, way: str) -> None:
    origin, chain, url = town.origin(way), town.house.chain(), town.url(way, "/v1/payroll/31")
    hold_id = json.loads(town.house.call("GET", url, chain=chain).body)["task"]["id"]
    town.house.decide(hold_id, Verdict.ALLOW)
    before = origin.mark()
    town.house.resolve({"erp.example": ["127.0.0.7"]})
    try:
        answer = town.house.call("GET", url, chain=chain)
        assert json.loads(answer.body)["code"] == "upstream.connect"
    finally:
        town.house.resolve({"erp.example": ["127.0.0.1"]})
    assert town.house.hold(hold_id).state is HoldState.APPROVED, "provably unsent"
    assert origin.since(before).nothing
    assert town.house.call("GET", url, chain=chain).status == 200
    assert len(origin.since(before).requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_released_call_nobody_knows_the_fate_of_is_never_sent_again(town: Town, way: str) -> None:
    origin, chain, url = town.origin(way), town.house.chain(), town.url(way, "/v1/payroll/32")
    origin.on("GET", "/v1/payroll/32", Reply(then="reset", cut_after=0))
    hold_id = json.loads(town.house.call("GET", url, chain=chain).body)["task"]["id"]
    town.house.decide(hold_id, Verdict.ALLOW)
    before = origin.mark()
    assert json.loads(town.house.call("GET", url, chain=chain).body)["code"] == "upstream.broken"
    assert town.house.hold(hold_id).state is HoldState.UNCERTAIN
    answer = town.house.call("GET", url, chain=chain)
    assert json.loads(answer.body)["code"] == "hold.uncertain"
    assert len(origin.since(before).requests) == 1


@pytest.mark.parametrize("way", WAYS)
def test_many_released_calls_over_one_client_connection_all_pass(town: Town, way: str) -> None:
    """Each dials afresh; more than the five connections mitmproxy allows at once must not make the next one wait."""
    origin, chain = town.origin(way), town.house.chain()
    before = origin.mark()
    with town.house.open(town.url(way, "/"), timeout_s=30) as wire:
        for number in range(8):
            url = town.url(way, f"/v1/payroll/once-{number}")
            held = town.house.call("GET", url, chain=chain, wire=wire)
            town.house.decide(json.loads(held.body)["task"]["id"], Verdict.ALLOW)
            wire.extend(10)
            assert town.house.call("GET", url, chain=chain, wire=wire).status == 200, number
    seen = origin.since(before)
    assert (seen.accepted, len(seen.requests)) == (8, 8)


@pytest.mark.parametrize("way", WAYS)
def test_a_switch_of_protocols_nobody_asked_for_is_told_as_a_broken_origin(town: Town, way: str) -> None:
    raw = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\nraw bytes"
    town.origin(way).on("GET", "/v1/invoices/switch", Reply(raw=raw))
    answer = town.house.call("GET", town.url(way, "/v1/invoices/switch"))
    assert (answer.status, json.loads(answer.body)["code"]) == (502, "upstream.broken")
    assert b"raw bytes" not in answer.raw
