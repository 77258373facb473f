import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import identities
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from hypothesis import given
from hypothesis import strategies as st
from requests import Request

from proxy.agent.keyfile import new_key, save_key
from proxy.agent.signer import OWN_FIELDS, Signer
from proxy.core.content_digest import check_content_digest
from proxy.core.errors import Code, Rejected
from proxy.core.keys import verifies
from proxy.core.manifest import parse_manifest
from proxy.core.model import Manifest, Proof, Received
from proxy.core.proof import read_chain, read_intent, target_uri, verify_signature

NOW = identities.NOW
URL = f"https://{identities.HOST}/v1/invoices/17"


class Clock:
    """A clock that moves when told."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **duration: int) -> None:
        self.at += timedelta(**duration)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def signer(clock: Clock, **options: Any) -> Signer:
    return Signer(identities.root(), identities.key(identities.AGENT), clock=clock, **options)


def chain_of(lines: tuple[tuple[str, str], ...]) -> list[Manifest]:
    return [parse_manifest(token) for token in read_chain(dict(lines)["Intent-Manifest"])]


def verify(lines: tuple[tuple[str, str], ...], received: Received, clock: Clock) -> None:
    leaf = chain_of(lines)[-1]
    evidence = verify_signature(received, target_uri=target_uri(received), key=leaf.cnf, now=clock())
    assert (evidence.proof, evidence.keyid) == (Proof.REQUEST, leaf.cnf.kid)


# --- the credential ---------------------------------------------------------------------------------------------------


def test_a_long_lived_manifest_only_delegates(clock: Clock) -> None:
    root, leaf = chain_of(signer(clock).headers_for("GET", URL))
    assert verifies(identities.key(identities.AGENT).public, leaf.signing_input, leaf.signature)
    assert leaf.cnf.kid != root.cnf.kid
    assert leaf.exp - leaf.iat <= timedelta(minutes=15)
    assert (leaf.iat, leaf.purpose, leaf.grants) == (NOW - timedelta(seconds=5), root.purpose, root.grants)


def test_a_short_lived_last_link_acts_itself(clock: Clock) -> None:
    tokens = identities.chain()
    lines = Signer(", ".join(tokens), identities.leaf_key(), clock=clock).headers_for("GET", URL)
    assert dict(lines)["Intent-Manifest"] == ", ".join(tokens)


def test_the_credential_is_kept_and_renewed_in_time(clock: Clock) -> None:
    made = signer(clock)
    first = chain_of(made.headers_for("GET", URL))[-1]
    clock.pass_(minutes=11)
    assert chain_of(made.headers_for("GET", URL))[-1] == first
    clock.pass_(minutes=3)
    second = chain_of(made.headers_for("GET", URL))[-1]
    assert second.cnf.kid != first.cnf.kid
    assert clock() < first.exp < second.exp


def test_a_renewed_manifest_file_is_picked_up_at_once(clock: Clock, tmp_path: Path) -> None:
    """The old one may be revoked already."""
    path = tmp_path / "invoices.jws"
    path.write_text(identities.root() + "\n")
    made = Signer(path, identities.key(identities.AGENT), clock=clock)
    first = chain_of(made.headers_for("GET", URL))
    assert chain_of(made.headers_for("GET", URL)) == first
    path.write_text(identities.root(identities.draft(jti="m-two")))
    renewed = chain_of(made.headers_for("GET", URL))
    assert (first[0].jti, renewed[0].jti) == ("m-1", "m-two")
    assert chain_of(made.headers_for("GET", URL)) == renewed
    path.unlink()  # nor does a file that is being replaced stop anybody
    assert chain_of(made.headers_for("GET", URL)) == renewed


def test_a_broken_file_stops_nobody_before_the_credential_ends(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "invoices.jws"
    path.write_text(identities.root())
    made = Signer(path, identities.key(identities.AGENT), clock=clock)
    path.write_text("half a ma")
    clock.pass_(minutes=14)
    made.headers_for("GET", URL)
    clock.pass_(minutes=1)
    with pytest.raises(Rejected) as caught:
        made.headers_for("GET", URL)
    assert caught.value.code is Code.MANIFEST_MALFORMED
    path.write_text(identities.root())
    made.headers_for("GET", URL)


def test_a_credential_never_outlives_its_manifest(clock: Clock) -> None:
    clock.pass_(days=28, hours=23, minutes=55)
    leaf = chain_of(signer(clock).headers_for("GET", URL))[-1]
    assert leaf.exp == NOW + timedelta(days=29)


def test_a_session_gets_a_credential_of_its_own(clock: Clock) -> None:
    short = signer(clock)
    long = short.lasting(100_000)
    first, second = (chain_of(each.headers_for("GET", URL))[-1] for each in (short, long))
    assert (first.exp - first.iat, second.exp - second.iat) == (timedelta(minutes=15), timedelta(hours=1))


def test_threads_share_one_credential_and_never_a_nonce_or_step(clock: Clock) -> None:
    made = signer(clock, cluster=identities.CLUSTER)
    seen: list[dict[str, str]] = []

    def work() -> None:
        for _ in range(25):
            seen.append(dict(made.headers_for("GET", URL)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len({lines["Signature-Input"] for lines in seen}) == 100
    assert {read_intent(lines["Agent-Intent"]).step for lines in seen} == set(range(1, 101))
    assert len({lines["Intent-Manifest"] for lines in seen}) == 1


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        pytest.param(
            lambda clock: Signer(identities.root(), identities.key("other"), clock=clock),
            Code.PROOF_KEY,
            "use the key it was made for",
            id="another key than the manifest names",
        ),
        pytest.param(
            lambda clock: Signer(
                identities.root(identities.draft(del_max_depth=0)), identities.key(identities.AGENT), clock=clock
            ),
            Code.DELEGATION_DEPTH,
            "ask its sponsor for one with del_max_depth of at least 1",
            id="long-lived and undelegable",
        ),
        pytest.param(
            lambda clock: Signer(
                identities.root(identities.draft(now=NOW - timedelta(days=60))),
                identities.key(identities.AGENT),
                clock=clock,
            ),
            Code.MANIFEST_WINDOW,
            "ask its sponsor to renew it",
            id="expired",
        ),
        pytest.param(
            lambda clock: Signer(
                identities.root(identities.draft(nbf=NOW + timedelta(days=1))),
                identities.key(identities.AGENT),
                clock=clock,
            ),
            Code.MANIFEST_WINDOW,
            "is valid from",
            id="not yet valid",
        ),
        pytest.param(
            lambda clock: Signer("no/such.jws", identities.key(identities.AGENT), clock=clock),
            Code.MANIFEST_MALFORMED,
            "no/such.jws cannot be read: No such file",
            id="a file that is not there",
        ),
        pytest.param(
            lambda clock: Signer(identities.root(), "no/such.pem", clock=clock),
            Code.CONFIG_INVALID,
            "no/such.pem does not exist",
            id="a key that is not there",
        ),
        pytest.param(
            lambda clock: signer(clock, cluster="Not A Cluster"),
            Code.INTENT_MALFORMED,
            "cluster must be",
            id="a cluster that cannot be",
        ),
        pytest.param(
            lambda clock: signer(clock).declaring(task="é"),
            Code.INTENT_MALFORMED,
            "agent-intent must be",
            id="a task that is not ASCII",
        ),
    ],
)
def test_it_says_what_is_wrong_before_anything_is_sent(
    make: Callable[[Clock], Signer], code: Code, message: str, clock: Clock
) -> None:
    with pytest.raises(Rejected, match=message) as caught:
        make(clock)
    assert caught.value.code is code


def test_a_manifest_file_of_other_bytes_is_refused(clock: Clock, tmp_path: Path) -> None:
    path = tmp_path / "invoices.jws"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(Rejected, match="not ASCII text"):
        Signer(path, identities.key(identities.AGENT), clock=clock)


def test_manifest_and_key_may_be_files(clock: Clock, tmp_path: Path) -> None:
    save_key(tmp_path / "agent.pem", identities.leaf_key())
    (tmp_path / "chain.jws").write_text("\n".join(identities.chain()) + "\n")
    made = Signer(str(tmp_path / "chain.jws"), str(tmp_path / "agent.pem"), clock=clock)
    assert len(chain_of(made.headers_for("GET", URL))) == 2


@pytest.mark.parametrize("alg", ["Ed25519", "ES256"])
def test_the_agents_key_may_be_of_either_kind(clock: Clock, tmp_path: Path, alg: str) -> None:
    key = new_key(tmp_path / "agent.pem", alg)
    made = Signer(identities.root(identities.draft(cnf=key.public)), tmp_path / "agent.pem", clock=clock)
    lines = made.headers_for("GET", URL)
    verify(lines, identities.received("GET", URL, headers=lines), clock)


# --- the signature ----------------------------------------------------------------------------------------------------


def test_a_declaration_is_optional_and_a_copy_shares_the_steps(clock: Clock) -> None:
    made = signer(clock)
    assert "Agent-Intent" not in dict(made.headers_for("GET", URL))
    declared = made.declaring(cluster=identities.CLUSTER, task='say "hi" \\')
    again = declared.declaring()
    steps = [read_intent(dict(each.headers_for("GET", URL))["Agent-Intent"]) for each in (declared, again)]
    assert [(intent.cluster, intent.task, intent.step) for intent in steps] == [
        (identities.CLUSTER, 'say "hi" \\', 1),
        (identities.CLUSTER, 'say "hi" \\', 2),
    ]


def test_stale_lines_of_ours_are_not_signed_again(clock: Clock) -> None:
    made = signer(clock, cluster=identities.CLUSTER)
    headers = [("Content-Type", "text/plain"), ("Content-Length", "3")]
    stale = made.headers_for("POST", URL, headers, b"old")
    fresh = made.headers_for("POST", URL, [*headers, *stale], b"new")
    assert {name.lower() for name, _ in fresh} == OWN_FIELDS
    received = identities.received("POST", URL, headers=[*headers, *fresh], body=b"new")
    verify(fresh, received, clock)
    check_content_digest(received.lines, b"new")


def test_a_tunnel_is_proven_by_its_authority(clock: Clock) -> None:
    made = signer(clock, cluster=identities.CLUSTER)
    lines = made.connect_headers(f"{identities.HOST}:443")
    received = identities.received("CONNECT", f"{identities.HOST}:443", headers=lines)
    leaf = chain_of(lines)[-1]
    evidence = verify_signature(received, target_uri=target_uri(received), key=leaf.cnf, now=clock())
    assert evidence.proof is Proof.TUNNEL
    with pytest.raises(Rejected):
        made.connect_headers(identities.HOST)


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        pytest.param("http://erp.example", "http://erp.example/", id="no path"),
        pytest.param("http://erp.example?a=1", "http://erp.example/?a=1", id="a query without a path"),
        pytest.param("http://erp.example/a#b", "http://erp.example/a", id="a fragment"),
        pytest.param("ws://erp.example/live", "http://erp.example/live", id="a WebSocket"),
        pytest.param("wss://erp.example:8443/live", "https://erp.example:8443/live", id="a WebSocket over TLS"),
        pytest.param("http://erp.example:8080/a?", "http://erp.example:8080/a?", id="an empty query"),
    ],
)
def test_the_url_is_signed_as_it_goes_on_the_wire(url: str, wire: str, clock: Clock) -> None:
    lines = signer(clock).headers_for("GET", url)
    verify(lines, identities.received("GET", wire, headers=lines), clock)


class Keys(HTTPSignatureKeyResolver):
    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def resolve_public_key(self, key_id: str) -> Any:
        assert key_id == self.manifest.cnf.kid
        return ed25519.Ed25519PublicKey.from_public_bytes(self.manifest.cnf.raw)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.text("abc/09-_.~", max_size=12),
    query=st.text("abc=&09", max_size=12),
    body=st.binary(max_size=40),
    content_type=st.sampled_from([None, "application/json", "text/plain; charset=utf-8"]),
    declared=st.booleans(),
)
def test_another_implementation_verifies_what_we_sign(
    method: str, path: str, query: str, body: bytes, content_type: str | None, declared: bool
) -> None:
    """The oracle is http-message-signatures; it knows the real time, so the signer's clock is the real one here."""
    root = identities.root(identities.draft(now=datetime.now(UTC)))
    made = Signer(root, identities.key(identities.AGENT), cluster=identities.CLUSTER if declared else None)
    url = f"https://{identities.HOST}/{path}{'?' + query if query else ''}"
    headers = [("Content-Type", content_type)] if content_type else []
    lines = made.headers_for(method, url, headers, body)
    request = Request(method, url, headers=dict([*headers, *lines]), data=body or None).prepare()
    request.url = url
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys(chain_of(lines)[-1]))
    (result,) = verifier.verify(request, expect_tag="agent-intent", max_age=timedelta(seconds=60))
    assert result.label == "intent"
