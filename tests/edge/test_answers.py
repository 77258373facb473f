"""What an agent reads when it may not go on, and what the proxy tells it about itself."""

import json

import identities
import pytest
from houses import WAYS
from rawclient import connect
from towns import Town

from proxy.core.control import Act
from proxy.core.manifest import parse_manifest


@pytest.mark.parametrize(("way", "status"), [("plain", 407), ("tls", 403)])
def test_a_call_without_proof_learns_how_to_sign(town: Town, way: str, status: int) -> None:
    before = town.origin(way).mark()
    answer = town.house.send("GET", town.url(way, "/v1/invoices/17"), [])
    assert answer.status == status
    assert json.loads(answer.body)["code"] == "proof.missing"
    assert '"@target-uri"' in answer.header("accept-signature")
    assert (answer.header("proxy-authenticate") is not None) is (way == "plain")
    assert town.origin(way).since(before).nothing


def test_bad_proof_on_connect_is_refused_there_with_the_code_in_the_reason(town: Town) -> None:
    with connect(town.house.address) as wire:
        lines = identities.signed_headers("CONNECT", "erp.example:443", tokens=town.house.chain())  # signed long ago
        answer = wire.connect("erp.example:443", lines)
    assert answer.status == 407
    assert answer.reason.startswith("proof.window ")


def test_a_tunnel_with_proof_lends_it_to_the_calls_inside(town: Town) -> None:
    url = town.url("tls", "/v1/invoices/17")
    authority = url.split("/")[2]
    before = town.tls.mark()
    with connect(town.house.address) as wire:
        lines = town.house.signed("CONNECT", authority, chain=town.house.chain())
        assert wire.connect(authority, lines).status == 200
        wire.start_tls(town.house.ca, sni="erp.example")
        assert wire.get("/v1/invoices/17", host=authority).status == 200
        assert wire.get("/v1/invoices/18", host=authority).status == 200
        other = wire.get("/v1/invoices/19", host=authority, headers=[("Agent-Intent", 'cluster="other"')])
        assert json.loads(other.body)["code"] == "intent.conflict"
    assert len(town.tls.since(before).requests) == 2
    assert "tunnel" in {line.get("proof") for line in town.house.journal("decision")}


def test_the_signature_of_a_tunnel_is_used_once(town: Town) -> None:
    authority = town.url("tls", "/").split("/")[2]
    lines = town.house.signed("CONNECT", authority, chain=town.house.chain())
    with connect(town.house.address) as wire:
        assert wire.connect(authority, lines).status == 200
    with connect(town.house.address) as wire:
        answer = wire.connect(authority, lines)
    assert (answer.status, answer.reason.split()[0]) == (407, "proof.replayed")


@pytest.mark.parametrize("way", WAYS)
def test_a_session_is_enough_to_read(town: Town, way: str) -> None:
    chain = town.house.chain()
    opened = town.house.call("POST", "http://intent.internal/session", chain=chain)
    assert opened.status == 200, opened
    session = json.loads(opened.body)
    assert session["manifest"] == parse_manifest(chain[0]).id
    credentials = identities.basic(session["manifest"], session["token"])
    before = town.origin(way).mark()
    url = town.url(way, "/v1/invoices/17")
    if way == "plain":
        answer = town.house.send("GET", url, [("Proxy-Authorization", credentials)])
    else:
        authority = url.split("/")[2]
        with connect(town.house.address) as wire:
            assert wire.connect(authority, [("Proxy-Authorization", credentials)]).status == 200
            wire.start_tls(town.house.ca, sni="erp.example")
            answer = wire.get("/v1/invoices/17", host=authority)
    assert answer.status == 200, answer
    assert len(town.origin(way).since(before).requests) == 1


def test_a_session_cannot_open_another_nor_be_changed(town: Town) -> None:
    chain = town.house.chain()
    session = json.loads(town.house.call("POST", "http://intent.internal/session", chain=chain).body)
    good = identities.basic(session["manifest"], session["token"])
    again = town.house.send("POST", "http://intent.internal/session", [("Proxy-Authorization", good)])
    assert json.loads(again.body)["code"] == "proof.too_weak"
    token = session["token"]
    changed = token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB")
    bad = identities.basic(session["manifest"], changed)
    url = town.url("plain", "/v1/invoices/17")
    before = town.plain.mark()
    refused = town.house.send("GET", url, [("Proxy-Authorization", bad)])
    assert (refused.status, json.loads(refused.body)["code"]) == (407, "proof.session")
    other = town.house.chain()
    stolen = identities.basic(parse_manifest(other[0]).id, token)
    refused = town.house.send("GET", url, [("Proxy-Authorization", stolen)])
    assert (refused.status, json.loads(refused.body)["code"]) == (407, "proof.session")
    assert town.plain.since(before).nothing


def test_the_mandate_in_plain_words(town: Town) -> None:
    answer = town.house.call("GET", "http://intent.internal/mandate")
    assert answer.status == 200
    told = json.loads(answer.body)
    assert "supplier-invoices" in answer.body.decode()
    assert told["purpose"] == "Match supplier invoices with purchase orders."


def test_ca_and_health_need_no_proof_and_everything_else_does(town: Town) -> None:
    ca = town.house.send("GET", "http://intent.internal/ca", [])
    assert ca.body == town.house.ca.read_bytes()
    assert town.house.send("GET", "http://intent.internal/health", []).status == 200
    for path in ("/", "/mandate", "/holds", "/holds/abc"):
        refused = town.house.send("GET", f"http://intent.internal{path}", [])
        assert (refused.status, json.loads(refused.body)["code"]) == (407, "proof.missing"), path


def test_a_hold_is_visible_to_its_own_mandate_only(town: Town) -> None:
    chain = town.house.chain()
    held = town.house.call("GET", town.url("plain", "/v1/payroll/21"), chain=chain)
    status = json.loads(held.body)["task"]["status_endpoint"]
    assert json.loads(town.house.call("GET", status, chain=chain).body)["status"] == "held"
    listed = json.loads(town.house.call("GET", "http://intent.internal/holds", chain=chain).body)["holds"]
    assert [hold["status_endpoint"] for hold in listed] == [status]
    other = town.house.call("GET", status)
    assert (other.status, json.loads(other.body)["code"]) == (404, "hold.unknown")
    assert json.loads(town.house.call("GET", "http://intent.internal/holds").body)["holds"] == []


@pytest.mark.parametrize("line", [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")])
def test_pages_in_a_browser_are_not_served(town: Town, line: tuple[str, str]) -> None:
    answer = town.house.call("GET", "http://intent.internal/mandate", headers=[line])
    assert (answer.status, json.loads(answer.body)["code"]) == (403, "guard.self")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "stop",
    [
        lambda chain: (Act.REVOKE_ROOT, parse_manifest(chain[0]).id),
        lambda chain: (Act.REVOKE_MANIFEST, f"{parse_manifest(chain[0]).iss} {parse_manifest(chain[0]).jti}"),
        lambda chain: (Act.REVOKE_MANIFEST, f"{parse_manifest(chain[1]).iss} {parse_manifest(chain[1]).jti}"),
        lambda chain: (Act.REVOKE_KEY, parse_manifest(chain[1]).cnf.kid),
    ],
    ids=["its root", "its root by name", "its leaf by name", "its leaf's key"],
)
def test_a_revocation_reaches_every_worker_within_two_seconds(town: Town, way: str, stop) -> None:
    """Each revocation is of one chain; the key's is of a leaf key of its own."""
    top = town.house.root()
    leaf_key = identities.key(f"leaf of {way} {stop(town.house.chain(top))[0]}")
    leaf = identities.child(top, cnf=leaf_key.public, now=town.now(), jti=f"l-{identities.nonce(top)}")
    chain, url = (top, leaf), town.url(way, "/v1/invoices/17")
    assert town.house.call("GET", url, chain=chain, signer=leaf_key).status == 200
    town.house.stop_by(*stop(chain))
    before = town.settle_control(way)
    for _ in range(8):  # over both workers
        answer = town.house.call("GET", url, chain=chain, signer=leaf_key)
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "manifest.revoked")
    assert town.origin(way).since(before).nothing


@pytest.mark.parametrize("way", WAYS)
def test_a_refused_head_has_no_body_and_what_follows_it_is_the_next_answer(town: Town, way: str) -> None:
    """A body after the answer to HEAD would be read as the next answer on that connection (RFC 9112 §6.3)."""
    url = town.url(way, "/v1/salaries")
    covered = town.url(way, "/v1/invoices/17")
    before = town.origin(way).mark()
    with town.house.open(url) as wire:
        refused = town.house.call("HEAD", url, wire=wire)
        assert (refused.status, refused.body) == (403, b"")
        assert int(refused.header("content-length") or 0) > 0
        assert town.house.call("GET", covered, wire=wire).status == 200
    assert [request.target for request in town.origin(way).since(before).requests] == ["/v1/invoices/17"]
