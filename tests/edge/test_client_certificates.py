"""TLS to the proxy itself, client certificates, and what each kind of proof is enough for; over real connections.

What the origin saw is the proof: a call with too weak, somebody else's, or failing evidence never reaches it.
"""

import base64
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import identities
import pytest
import urllib3
from authenticators import authenticator
from clientcerts import ClientAuthority, Shown
from clirun import cli
from cryptography.x509.oid import ExtendedKeyUsageOID
from nodes import wait_for_version
from origin_replies import Gate, Reply
from rawclient import Response, Wire, connect, request_bytes
from shots import PROMISE_S
from towns import ROOMY, Town, open_town
from under_way import FIRST, LAST

from proxy.agent.session import Shows, open_session
from proxy.agent.signer import Signer
from proxy.core.control import Act
from proxy.core.encoding import Json
from proxy.core.errors import Rejected
from proxy.core.keys import jwk
from proxy.core.manifest import MANIFEST_TYP, parse_manifest
from proxy.policy.bundle import sign_bundle
from proxy.policy.passkeys import passkey_line
from proxy.registry import names_of
from proxy.review.tosign import ToSign
from proxy.stores.redis_control import RedisMandates

SPIFFE = "spiffe://test.example/invoice-bot"
LEVELS = ("session", "mtls", "tunnel", "request")
CLUSTERS = "version: 1\nclusters:\n" + "".join(
    f"""\
  - id: needs-{level}
    risk: routine
    proof: {level}
    hosts: [erp.example]
    schemes: [http, https]
    ports: [{{http}}, {{https}}]
    addresses: [127.0.0.0/8]
    operations:
      - name: read
        methods: [GET]
        path: /{level}/{{{{id}}}}
"""
    for level in LEVELS
)


@dataclass(kw_only=True)
class Gated:
    """A town whose proxy asks agents for certificates, and what they show."""

    town: Town
    authority: ClientAuthority
    folder: Path

    def shows(self, shown: Shown) -> tuple[Path, Path]:
        return shown.write(self.folder, secrets.token_hex(6))

    def wire(self, shown: Shown | None = None, *, trust: bool = True) -> Wire:
        """A connection to the TLS port."""
        house = self.town.house
        pair = None if shown is None else self.shows(shown)
        return connect(house.tls_address, tls=house.ca if trust else None, sni="localhost", shows=pair)

    def tunnelled(self, wire: Wire, lines: Sequence[tuple[str, str]] = ()) -> Response:
        """Open a tunnel to the origin, and TLS inside it if it opens."""
        authority = self.town.url("tls", "/").split("/")[2]
        answer = wire.connect(authority, tuple(lines))
        if answer.status == 200:
            wire.start_tls(self.town.house.ca, sni="erp.example")
        return answer

    def get(self, wire: Wire, path: str, lines: Sequence[tuple[str, str]] = ()) -> Response:
        """A call inside a tunnel that stands."""
        return wire.get(path, host=self.town.url("tls", "/").split("/")[2], headers=tuple(lines))

    def over(self, shown: Shown | None, path: str = "/mtls/1") -> Response:
        """A call that shows a certificate and nothing else; the refused CONNECT's answer if there is no tunnel."""
        with self.wire(shown) as wire:
            answer = self.tunnelled(wire)
            return self.get(wire, path) if answer.status == 200 else answer

    @contextmanager
    def registered(self, *tokens: str) -> Iterator[None]:
        """Mandates in the registry, as `manifest register` puts them there."""
        links = [parse_manifest(token) for token in tokens]
        entries = [(name, link) for link in links for name in names_of(link)]
        for name, link in entries:
            self.town.house.with_store(
                lambda server, name=name, link=link: RedisMandates(server).register(name, link.id, link.token)
            )
        try:
            yield
        finally:
            for name, link in entries:
                self.town.house.with_store(
                    lambda server, name=name, link=link: RedisMandates(server).unregister(name, link.id)
                )

    def root(self, **changes: object) -> str:
        """A root manifest that grants every cluster."""
        return self.town.house.root(**changes)

    def touched(self) -> str:
        """Such a root, signed by its sponsor's passkey at the desk instead of with their key."""
        claims = identities.claims_of(self.root())
        desk, sponsor = identities.key("desk"), self.town.house.bundle.people[identities.SPONSOR]
        wanted = ToSign(typ=MANIFEST_TYP, claims=claims, kid=desk.public.kid)
        return wanted.attested(desk, authenticator(sponsor.id).sign(wanted.challenge), sponsor)

    def last(self) -> dict[str, object]:
        """The newest decision in the journal."""
        return max(self.town.house.journal("decision"), key=lambda line: str(line["at"]))


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    folder = tmp_path_factory.mktemp("certificates")
    deployment = tmp_path_factory.mktemp("gated")
    authority = ClientAuthority()
    extra = f"{ROOMY}tls:\n  listen: 127.0.0.1:0\n  names: [proxy.example]\n  client_cas: [{authority.write(folder)}]\n"
    with open_town(deployment, workers=1, clusters=CLUSTERS, extra=extra, spiffe={identities.AGENT: SPIFFE}) as town:
        yield Gated(town=town, authority=authority, folder=folder)


@pytest.fixture
def ours(gated: Gated) -> Shown:
    return gated.authority.issue(uris=[SPIFFE])


def code(answer: Response) -> str:
    """The code of a refusal: in the reason phrase, which every client shows, and in the document."""
    told = str(json.loads(answer.body)["code"])
    assert answer.reason.split()[0].rstrip(":") == told
    return told


# --- each way to prove, against each cluster: under a root that a passkey signed --------------------------------------


@contextmanager
def by_session(gated: Gated) -> Iterator[Callable[[str], Response]]:
    house, chain = gated.town.house, gated.town.house.chain(gated.touched())
    lines = house.signed("POST", "http://intent.internal/session", chain=chain)
    with gated.wire() as wire:
        opened = wire.request("POST", "http://intent.internal/session", (("Host", "intent.internal"), *lines))
        assert opened.status == 200, opened
        session = json.loads(opened.body)
        credentials = identities.basic(session["manifest"], session["token"])
    with gated.wire() as wire:
        assert gated.tunnelled(wire, [("Proxy-Authorization", credentials)]).status == 200
        yield lambda path: gated.get(wire, path)


@contextmanager
def by_certificate(gated: Gated) -> Iterator[Callable[[str], Response]]:
    shown = gated.authority.issue(uris=[SPIFFE])
    with gated.registered(gated.touched()), gated.wire(shown) as wire:
        assert gated.tunnelled(wire).status == 200
        yield lambda path: gated.get(wire, path)


@contextmanager
def by_tunnel(gated: Gated) -> Iterator[Callable[[str], Response]]:
    house, chain = gated.town.house, gated.town.house.chain(gated.touched())
    authority = gated.town.url("tls", "/").split("/")[2]
    with gated.wire() as wire:
        assert gated.tunnelled(wire, house.signed("CONNECT", authority, chain=chain, intent="")).status == 200
        yield lambda path: gated.get(wire, path)


@contextmanager
def by_request(gated: Gated) -> Iterator[Callable[[str], Response]]:
    house, chain = gated.town.house, gated.town.house.chain(gated.touched())
    with gated.wire() as wire:
        assert gated.tunnelled(wire).status == 200

        def call(path: str) -> Response:
            url = gated.town.url("tls", path)
            return gated.get(wire, path, house.signed("GET", url, chain=chain, intent=""))

        yield call


WAYS = {"session": by_session, "mtls": by_certificate, "tunnel": by_tunnel, "request": by_request}


@pytest.mark.parametrize("level", LEVELS)
def test_each_proof_is_enough_for_what_asks_for_it_or_less_and_the_journal_says_which(gated: Gated, level: str) -> None:
    weaker = LEVELS[: LEVELS.index(level) + 1]
    with WAYS[level](gated) as call:
        for asked in LEVELS:
            before = gated.town.tls.mark()
            answer = call(f"/{asked}/1")
            assert gated.last()["proof"] == level
            if asked in weaker:
                assert answer.status == 200, answer
                assert len(gated.town.tls.since(before).requests) == 1
            else:
                assert (answer.status, code(answer)) == (403, "proof.too_weak")
                assert gated.town.tls.since(before).nothing


def in_force(gated: Gated, people: str) -> None:
    """Sign this people.yaml, and wait for the proxy to take it up."""
    house = gated.town.house
    house.settings.people.write_text(people)
    wait_for_version(house, sign_bundle(house.settings, identities.key("operator"), now=datetime.now(UTC)))


def test_what_a_passkey_signed_ends_with_it_however_it_is_proven(gated: Gated) -> None:
    """Also what was opened under it before: the session, the tunnel, and the connection that shows a certificate."""
    people = gated.town.house.settings.people.read_text()
    stick = passkey_line(authenticator(identities.SPONSOR).passkey)
    assert stick in people
    with ExitStack() as stack:
        calls = {level: stack.enter_context(way(gated)) for level, way in WAYS.items()}
        assert {level: call(f"/{level}/1").status for level, call in calls.items()} == dict.fromkeys(WAYS, 200)
        before = gated.town.tls.mark()
        in_force(gated, people.replace(stick, ""))
        try:
            for level, call in calls.items():
                with suppress(OSError):  # it may have been ended before it was asked
                    assert code(call(f"/{level}/1")) == "manifest.signature"
            with by_request(gated) as call:
                assert code(call("/request/1")) == "manifest.signature"
            assert gated.town.tls.since(before).nothing
        finally:
            in_force(gated, people)
    with by_request(gated) as call:
        assert call("/request/1").status == 200


# --- which certificates count ----------------------------------------------------------------------------------------


def test_a_certificate_alone_is_enough_where_its_mandate_is_registered(gated: Gated, ours: Shown) -> None:
    token = gated.root()
    before = gated.town.tls.mark()
    with gated.registered(token):
        assert gated.over(ours).status == 200
        line = gated.last()
        assert (line["proof"], line["keyid"]) == ("mtls", ours.thumbprint)
        assert (line["agent"], line["manifest"]) == (identities.AGENT, parse_manifest(token).id)
    assert len(gated.town.tls.since(before).requests) == 1


def test_plain_urls_are_called_over_tls_to_the_proxy_too(gated: Gated, ours: Shown) -> None:
    url = gated.town.url("plain", "/mtls/1")
    with gated.registered(gated.root()), gated.wire(ours) as wire:
        assert wire.get(url, host=url.split("/")[2]).status == 200
        assert gated.last()["proof"] == "mtls"


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        pytest.param(
            lambda ca: ca.issue(uris=[SPIFFE], not_after=ca.now - timedelta(minutes=1)), 407, id="it has ended"
        ),
        pytest.param(lambda ca: ca.issue(uris=[SPIFFE], not_before=ca.now + DAY / 2), 407, id="it has not begun"),
        pytest.param(lambda ca: ClientAuthority().issue(uris=[SPIFFE]), 407, id="another CA made it"),
        pytest.param(
            lambda ca: ca.issue(uris=[SPIFFE], purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), 407, id="it is a server's"
        ),
        pytest.param(lambda ca: ca.issue(uris=[SPIFFE], is_ca=True), 407, id="it is a CA's own"),
        pytest.param(lambda ca: ca.issue(uris=[SPIFFE, SPIFFE + "/2"]), 407, id="it has two SPIFFE ids"),
        pytest.param(lambda ca: ca.issue(uris=[SPIFFE.replace("test", "TEST")]), 407, id="it shouts its SPIFFE id"),
        pytest.param(lambda ca: ca.issue(uris=["spiffe://test.example/other-bot"]), 403, id="it is nobody's"),
        pytest.param(lambda ca: ca.issue(uris=["spiffe://test.exampl/invoice-bot"]), 403, id="of another trust domain"),
        pytest.param(lambda ca: ca.issue(), 403, id="it has no name"),
    ],
)
def test_a_certificate_that_fails_is_a_denial_whatever_else_is_shown(
    gated: Gated, ours: Shown, make: Callable[[ClientAuthority], Shown], status: int
) -> None:
    """One that is good but nobody's is told so inside the tunnel, where every client shows the answer."""
    house = gated.town.house
    authority = gated.town.url("tls", "/").split("/")[2]
    bad = make(gated.authority)
    before = gated.town.tls.mark()
    with gated.registered(gated.root()):
        refused = gated.over(bad)
        assert (refused.status, code(refused)) == (status, "proof.certificate")
        with gated.wire(bad) as wire:  # the signature is good, and does not help
            lines = house.signed("CONNECT", authority, chain=house.chain(), intent="")
            assert code(gated.tunnelled(wire, lines)) == "proof.certificate"
        assert gated.town.tls.since(before).nothing
        assert gated.over(ours).status == 200, "its twin"
        with gated.wire(ours) as wire:
            lines = house.signed("CONNECT", authority, chain=house.chain(), intent="")
            assert gated.tunnelled(wire, lines).status == 200
            assert gated.get(wire, "/tunnel/1").status == 200


def test_none_or_several_registered_mandates_are_a_denial(gated: Gated, ours: Shown) -> None:
    before = gated.town.tls.mark()
    assert "no mandate is registered" in json.loads(gated.over(ours).body)["detail"]
    with gated.registered(gated.root(), gated.root()):
        assert "2 mandates are registered" in json.loads(gated.over(ours).body)["detail"]
    assert gated.town.tls.since(before).nothing
    ended = datetime.now(UTC) - timedelta(minutes=1)
    with gated.registered(gated.root(), gated.root(iat=ended - DAY, nbf=ended - DAY, exp=ended)):
        assert gated.over(ours).status == 200, "one that has ended does not count"


def test_what_somebody_wrote_into_the_registry_is_verified(gated: Gated, ours: Shown) -> None:
    forged = identities.root(
        identities.draft(now=datetime.now(UTC), grants=gated.town.house.grants()), signer=identities.key("mallory")
    )
    before = gated.town.tls.mark()
    with gated.registered(forged):
        assert code(gated.over(ours)) == "manifest.signature"
    helper = gated.root(sub=identities.HELPER, may_delegate_to=())
    with gated.registered(helper):  # put where the other agent's is looked for
        name, link = "agent:" + identities.AGENT, parse_manifest(helper)
        gated.town.house.with_store(lambda server: RedisMandates(server).register(name, link.id, helper))
        assert code(gated.over(ours)) == "proof.certificate"
        gated.town.house.with_store(lambda server: RedisMandates(server).unregister(name, link.id))
    assert gated.town.tls.since(before).nothing


# --- bound to a certificate ------------------------------------------------------------------------------------------


def signed_over(gated: Gated, shown: Shown | None, chain: Sequence[str]) -> Response:
    """A signed call inside a tunnel whose CONNECT is signed, over a connection that shows this."""
    url, house = gated.town.url("tls", "/request/1"), gated.town.house
    with gated.wire(shown) as wire:
        answer = gated.tunnelled(wire, house.signed("CONNECT", url.split("/")[2], chain=chain, intent=""))
        if answer.status != 200:
            return answer
        return gated.get(wire, "/request/1", house.signed("GET", url, chain=chain, intent=""))


def test_a_stolen_key_is_useless_without_the_certificate_its_mandate_is_bound_to(gated: Gated) -> None:
    own, others = gated.authority.issue(), gated.authority.issue(uris=[SPIFFE])
    top = gated.root(certificate=own.thumbprint)
    leaf = identities.child(top, now=datetime.now(UTC), lifetime_s=1800)
    before = gated.town.tls.mark()
    assert code(signed_over(gated, None, (top, leaf))) == "proof.certificate"
    assert code(signed_over(gated, others, (top, leaf))) == "proof.certificate"
    unbound: dict[str, Json] = {"jwk": jwk(identities.leaf_key().public)}
    thief = identities.resealed(leaf, identities.key(identities.AGENT), cnf=unbound)  # minted with the stolen key
    assert code(signed_over(gated, None, (top, thief))) == "delegation.widened"
    assert gated.town.tls.since(before).nothing
    assert signed_over(gated, own, (top, leaf)).status == 200
    with gated.registered(top):
        assert gated.over(own).status == 200
        assert code(gated.over(others)) == "proof.certificate"


def test_who_signs_and_shows_the_certificate_needs_no_registered_mandate(gated: Gated) -> None:
    """Most clients cannot sign a CONNECT: the calls inside bring the proof, and the connection the certificate."""
    own, others = gated.authority.issue(), gated.authority.issue()
    url, house = gated.town.url("tls", "/request/1"), gated.town.house
    chain = house.chain(gated.root(certificate=own.thumbprint))
    before = gated.town.tls.mark()
    with gated.wire(others) as wire:
        assert gated.tunnelled(wire).status == 200
        answer = gated.get(wire, "/request/1", house.signed("GET", url, chain=chain, intent=""))
        assert (answer.status, code(answer)) == (403, "proof.certificate")
    with gated.wire(own) as wire:
        assert gated.tunnelled(wire).status == 200
        answer = gated.get(wire, "/request/1")
        assert (answer.status, code(answer)) == (403, "proof.certificate")
        assert "no mandate is registered" in json.loads(answer.body)["detail"]
    assert gated.town.tls.since(before).nothing
    with gated.wire(own) as wire:
        assert gated.tunnelled(wire).status == 200
        assert gated.get(wire, "/request/1", house.signed("GET", url, chain=chain, intent="")).status == 200


def test_what_is_registered_instead_counts_at_once_in_tunnels_that_stand(gated: Gated, ours: Shown) -> None:
    first, second = gated.root(), gated.root()
    with gated.wire(ours) as wire:
        with gated.registered(first):
            assert gated.tunnelled(wire).status == 200
            assert gated.get(wire, "/mtls/1").status == 200
        with gated.registered(second):
            assert gated.get(wire, "/mtls/1").status == 200
            assert gated.last()["manifest"] == parse_manifest(second).id


def test_a_session_of_a_bound_mandate_is_useless_without_the_certificate(gated: Gated) -> None:
    own = gated.authority.issue()
    with gated.registered(gated.root(certificate=own.thumbprint)):
        credentials = session_over(gated, own)
        before = gated.town.tls.mark()
        with gated.wire() as wire:
            assert code(gated.tunnelled(wire, [credentials])) == "proof.certificate"
        assert gated.town.tls.since(before).nothing
        with gated.wire(own) as wire:
            assert gated.tunnelled(wire, [credentials]).status == 200
            assert gated.get(wire, "/session/1").status == 200


# --- sessions --------------------------------------------------------------------------------------------------------


def session_over(gated: Gated, shown: Shown, *, query: str = f"?nonce={identities.nonce('n')}") -> tuple[str, str]:
    """A session opened with a certificate, as a header line."""
    with gated.wire(shown) as wire:
        opened = wire.request(
            "POST",
            f"http://intent.internal/session{query}",
            (("Host", "intent.internal"), ("Content-Length", "0")),
        )
        assert opened.status == 200, opened
        session = json.loads(opened.body)
        assert session["nonce"] == identities.nonce("n")
        return "Proxy-Authorization", identities.basic(session["manifest"], session["token"])


def test_a_certificate_opens_a_session_which_opens_no_other(gated: Gated, ours: Shown) -> None:
    with gated.registered(gated.root()):
        credentials = session_over(gated, ours)
        with gated.wire() as wire:
            answer = wire.request(
                "POST",
                f"http://intent.internal/session?nonce={identities.nonce('n')}",
                (("Host", "intent.internal"), ("Content-Length", "0"), credentials),
            )
            assert code(answer) == "proof.too_weak"
        with gated.wire() as wire:
            assert gated.tunnelled(wire, [credentials]).status == 200
            assert gated.get(wire, "/session/1").status == 200
            assert gated.last()["proof"] == "session"
            assert code(gated.get(wire, "/mtls/1")) == "proof.too_weak"


@pytest.mark.parametrize("query", ["", "?nonce=", "?nonce=short", "?nonce=!!!!!!!!!!!!!!!!!!!!!!"])
def test_a_session_opened_without_a_signature_needs_the_callers_nonce(gated: Gated, ours: Shown, query: str) -> None:
    lines = (("Host", "intent.internal"), ("Content-Length", "0"))
    with gated.registered(gated.root()), gated.wire(ours) as wire:
        answer = wire.request("POST", f"http://intent.internal/session{query}", lines)
        assert code(answer) == "proof.malformed"


def test_a_stolen_session_is_useless_from_another_address(gated: Gated, ours: Shown) -> None:
    house = gated.town.house
    with gated.registered(gated.root()):
        credentials = session_over(gated, ours)
        before = gated.town.tls.mark()
        with connect(house.tls_address, tls=house.ca, sni="localhost", source="127.0.0.2") as wire:
            answer = gated.tunnelled(wire, [credentials])
            assert (answer.status, code(answer)) == (407, "proof.session")
        assert gated.town.tls.since(before).nothing
        with gated.wire() as wire:
            assert gated.tunnelled(wire, [credentials]).status == 200
            assert gated.get(wire, "/session/1").status == 200


def test_a_session_ends_with_the_registration_of_the_certificate_that_opened_it(gated: Gated, ours: Shown) -> None:
    """Else whoever had a stolen certificate for a moment would have an hour."""
    with gated.wire() as wire:
        with gated.registered(gated.root()):
            credentials = session_over(gated, ours)
            assert gated.tunnelled(wire, [credentials]).status == 200
            assert gated.get(wire, "/session/1").status == 200
        before = gated.town.tls.mark()
        answer = gated.get(wire, "/session/1")
        assert (answer.status, code(answer)) == (403, "proof.certificate")
    with gated.wire() as wire:
        answer = gated.tunnelled(wire, [credentials])
        assert (answer.status, code(answer)) == (407, "proof.certificate")
    assert gated.town.tls.since(before).nothing


def test_the_library_and_the_command_open_a_session_with_a_certificate(gated: Gated, ours: Shown) -> None:
    house, (pem, key) = gated.town.house, gated.shows(ours)
    proxy = "https://{}:{}".format(*house.tls_address)
    shows = Shows(certificate=str(pem), key=str(key))
    with pytest.raises(Rejected, match="no mandate is registered"):
        open_session(proxy, shows=shows, ca_file=str(house.ca))
    url = gated.town.url("tls", "/session/1")
    with gated.registered(gated.root()):
        session = open_session(proxy, shows=shows, ca_file=str(house.ca))
        assert timedelta(minutes=59) < session.expires_at - datetime.now(UTC) <= timedelta(minutes=60)
        words = ("--certificate", str(pem), "--certificate-key", str(key), "--proxy", proxy, "--ca", str(house.ca))
        told = cli("session", "new", *words, "--json").ok().json
        for opened in (session.proxy_url, told["proxy_url"]):
            assert curl(gated, url, proxy=opened).stdout.endswith("200 200")
            assert gated.last()["proof"] == "session"


def test_a_session_of_a_bound_manifest_is_opened_with_both(gated: Gated) -> None:
    own = gated.authority.issue()
    house, (pem, key) = gated.town.house, gated.shows(own)
    proxy = "https://{}:{}".format(*house.tls_address)
    signer = Signer(gated.root(certificate=own.thumbprint), identities.key(identities.AGENT))
    with pytest.raises(Rejected, match="the connection shows none"):
        open_session(proxy, signer, ca_file=str(house.ca))
    shows = Shows(certificate=str(pem), key=str(key))
    session = open_session(proxy, signer, shows=shows, ca_file=str(house.ca))
    shown = ("--proxy-cert", str(pem), "--proxy-key", str(key))
    url = gated.town.url("tls", "/session/1")
    assert "407" in curl(gated, url, proxy=session.proxy_url, expect=56).stdout
    assert curl(gated, *shown, url, proxy=session.proxy_url).stdout.endswith("200 200")


# --- within two seconds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", ["quarantine", "revocation"])
def test_an_open_tunnel_of_a_certificate_is_ended_within_two_seconds(gated: Gated, ours: Shown, stop: str) -> None:
    house, token = gated.town.house, gated.root()
    manifest = parse_manifest(token)
    expected = {"quarantine": "agent.quarantined", "revocation": "manifest.revoked"}[stop]
    with gated.registered(token), gated.wire(ours) as wire:
        assert gated.tunnelled(wire).status == 200
        assert gated.get(wire, "/mtls/1").status == 200
        try:
            if stop == "quarantine":
                house.stop_by(Act.QUARANTINE, identities.AGENT)
            else:
                house.stop_by(Act.REVOKE_MANIFEST, f"{manifest.iss} {manifest.jti}")
            deadline_s = time.monotonic() + PROMISE_S
            before = gated.town.tls.mark()
            assert wire.ended() and time.monotonic() < deadline_s
            answer = gated.over(ours)
            assert (answer.status, code(answer)) == (403, expected)
            assert gated.town.tls.since(before).nothing
        finally:
            if stop == "quarantine":
                house.stop_by(Act.RESTORE, identities.AGENT)
    with gated.registered(gated.root()):
        until_s = time.monotonic() + 5
        while (twin := gated.over(ours)).status != 200 and time.monotonic() < until_s:
            assert code(twin) == "agent.quarantined"
        assert twin.status == 200


def test_a_call_in_an_open_tunnel_is_refused_as_soon_as_its_mandate_is_unregistered(gated: Gated, ours: Shown) -> None:
    with gated.wire(ours) as wire:
        with gated.registered(gated.root()):
            assert gated.tunnelled(wire).status == 200
            assert gated.get(wire, "/mtls/1").status == 200
        before = gated.town.tls.mark()
        answer = gated.get(wire, "/mtls/2")
        assert (answer.status, code(answer)) == (403, "proof.certificate")
        assert gated.town.tls.since(before).nothing
        with gated.registered(gated.root()):
            assert gated.over(ours).status == 200


@dataclass(kw_only=True)
class Streaming:
    """A response under way inside a tunnel, of which the first event has come."""

    wire: Wire
    gate: Gate
    cut: Callable[[float], bool]  # whether the origin sees the end of it, within so many seconds

    def goes_on(self) -> bool:
        self.gate.open()
        return self.wire.chunk() == LAST and not self.wire.chunk()


def streaming(gated: Gated, ends: ExitStack, level: str, shown: Shown | None, *lines: tuple[str, str]) -> Streaming:
    gate, path = Gate(), f"/{level}/{secrets.token_hex(6)}"
    ends.callback(gate.open)
    origin = gated.town.tls
    origin.on("GET", path, Reply(headers=(("Content-Type", "text/event-stream"),), stream=(FIRST, gate, LAST)))
    wire = ends.enter_context(gated.wire(shown))
    assert gated.tunnelled(wire, lines).status == 200
    wire.send(request_bytes("GET", path, [("Host", gated.town.url("tls", "/").split("/")[2])]))
    assert (wire.head()[0], wire.chunk()) == (200, FIRST)
    (connection,) = [each for each in origin.connections if any(seen.target == path for seen in each.requests)]

    def cut(within_s: float) -> bool:
        with suppress(AssertionError):
            origin.wait_for(lambda _: connection.gone, within_s)
        return connection.gone

    return Streaming(wire=wire, gate=gate, cut=cut)


def test_streams_and_tunnels_end_with_what_their_proof_rests_on(gated: Gated) -> None:
    """The certificate, the session it opened, and what is registered for it; each within two seconds, and no others."""
    brief = gated.authority.issue(not_after=datetime.now(UTC) + timedelta(seconds=3))
    own, other = gated.authority.issue(), gated.authority.issue()
    with ExitStack() as ends:
        for shown in (brief, other):
            ends.enter_context(gated.registered(gated.root(certificate=shown.thumbprint)))
        with gated.registered(gated.root(certificate=own.thumbprint)):
            session = session_over(gated, own)
            doomed = [streaming(gated, ends, "mtls", own), streaming(gated, ends, "session", own, session)]
            idle = ends.enter_context(gated.wire(own))
            assert gated.tunnelled(idle).status == 200
            goes_on = streaming(gated, ends, "mtls", other)
            ending = streaming(gated, ends, "mtls", brief)
            slow, url = ends.enter_context(gated.wire(brief)), gated.town.url("plain", "/mtls/slow")
            slow.send(request_bytes("GET", url, [("Host", url.split("/")[2]), ("Content-Length", "2")], b"a"))
        deadline_s = time.monotonic() + PROMISE_S
        for each in doomed:
            assert each.cut(deadline_s - time.monotonic())
        assert idle.ended() and time.monotonic() < deadline_s
        left_s = (brief.chain[0].not_valid_after_utc - datetime.now(UTC)).total_seconds()
        assert left_s > 0 and not ending.cut(0.05), "it is not over yet"
        assert ending.cut(left_s + PROMISE_S)
        before = gated.town.plain.mark()
        slow.send(b"b")
        late = slow.response()
        assert (late.status, code(late)) == (407, "proof.certificate"), "its body came after the end"
        assert gated.town.plain.since(before).nothing
        assert goes_on.goes_on()
    told = {str(line.get("error")) for line in gated.town.house.journal("outcome")}
    assert "proof.certificate" in told


# --- TLS to the proxy ------------------------------------------------------------------------------------------------


def test_a_resumed_connection_shows_its_certificate_anew(gated: Gated, ours: Shown) -> None:
    """Else who holds no key any more, but a ticket, would still be known by the certificate."""
    pem, key = gated.shows(ours)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context(cafile=str(gated.town.house.ca))
        context.check_hostname = False
        context.minimum_version = context.maximum_version = version
        context.load_cert_chain(pem, key)
        session = None
        for _ in range(2):
            with (
                socket.create_connection(gated.town.house.tls_address, timeout=10) as sock,
                context.wrap_socket(sock, session=session) as tls,
            ):
                tls.sendall(b"GET http://intent.internal/mandate HTTP/1.1\r\nHost: intent.internal\r\n\r\n")
                assert b"proof.certificate" in tls.recv(65_536)
                assert not tls.session_reused
                session = tls.session


def test_http_2_is_not_spoken_with_the_proxy_itself(gated: Gated) -> None:
    for alpn in (("h2",), ("h2", "http/1.1")):
        with connect(gated.town.house.tls_address) as wire:
            wire.start_tls(gated.town.house.ca, sni="localhost", alpn=alpn)
            assert wire.tls is not None and wire.tls.alpn != "h2"
            wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            answer = wire.response()
            assert (answer.status, answer.header("content-type")) == (400, "application/problem+json")
            assert wire.ended()


def test_plain_http_where_tls_is_spoken_is_told_so(gated: Gated) -> None:
    with connect(gated.town.house.tls_address) as wire:
        answer = wire.get("http://intent.internal/health", host="intent.internal")
        assert (answer.status, code(answer)) == (400, "proof.channel")
        assert wire.ended()
    with gated.wire() as wire:
        assert wire.get("http://intent.internal/health", host="intent.internal").status == 200


def test_the_certificate_bears_the_name_that_was_asked_for_and_the_configured_ones(gated: Gated) -> None:
    with connect(gated.town.house.tls_address, tls=gated.town.house.ca, sni="proxy.example") as wire:
        assert wire.get("http://intent.internal/health", host="intent.internal").status == 200


def curl(gated: Gated, *arguments: str, proxy: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
    house = gated.town.house
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    trust = ("--proxy-cacert", str(house.ca), "--cacert", str(house.ca))
    ran = subprocess.run(
        ["curl", "-sS", *trust, "--max-time", "20", "--proxy", proxy, "-w", "%{http_code} %{http_connect}", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == expect, (ran.stdout, ran.stderr)
    return ran


def test_curl_reaches_the_origin_with_a_certificate(gated: Gated, ours: Shown) -> None:
    pem, key = gated.shows(ours)
    host, port = gated.town.house.tls_address
    url = gated.town.url("tls", "/mtls/7")
    shows = ("--proxy-cert", str(pem), "--proxy-key", str(key))
    before = gated.town.tls.mark()
    with gated.registered(gated.root()):
        assert curl(gated, *shows, url, proxy=f"https://{host}:{port}").stdout.endswith("200 200")
        assert len(gated.town.tls.since(before).requests) == 1
    before = gated.town.tls.mark()
    pem, key = gated.shows(ClientAuthority().issue(uris=[SPIFFE]))
    shows = ("--proxy-cert", str(pem), "--proxy-key", str(key))
    refused = curl(gated, "-v", *shows, url, proxy=f"https://{host}:{port}", expect=56)
    assert "response 407" in refused.stderr
    assert "proof.certificate" in refused.stderr
    assert "The client certificate does not count" in refused.stderr
    assert gated.town.tls.since(before).nothing


def test_httpx_reaches_the_origin_with_a_certificate(gated: Gated, ours: Shown) -> None:
    host, port = gated.town.house.tls_address
    trust = ssl.create_default_context(cafile=str(gated.town.house.ca))
    to_proxy = ssl.create_default_context(cafile=str(gated.town.house.ca))
    to_proxy.load_cert_chain(*gated.shows(ours))
    proxy = httpx.Proxy(f"https://{host}:{port}", ssl_context=to_proxy)
    with httpx.Client(proxy=proxy, verify=trust, trust_env=False) as client, gated.registered(gated.root()):
        assert client.get(gated.town.url("tls", "/mtls/8")).status_code == 200
    to_proxy.load_cert_chain(*gated.shows(ClientAuthority().issue(uris=[SPIFFE])))
    refused = pytest.raises(
        httpx.ProxyError, match=r"407 proof\.certificate \w+: The client certificate does not count"
    )
    with httpx.Client(proxy=proxy, verify=trust, trust_env=False) as client, refused:
        client.get(gated.town.url("tls", "/mtls/8"))


@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone, written in Go, is not here")
def test_a_go_program_reaches_the_origin_with_a_session(gated: Gated, ours: Shown, tmp_path: Path) -> None:
    house, (host, port) = gated.town.house, gated.town.house.tls_address
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    words = ("--config", "/dev/null", "--retries", "1", "--low-level-retries", "1")
    before = gated.town.tls.mark()
    with gated.registered(gated.root()):
        user_info = base64.b64decode(session_over(gated, ours)[1].removeprefix("Basic ")).decode()
        environment |= {"HTTPS_PROXY": f"https://{user_info}@{host}:{port}", "SSL_CERT_FILE": str(house.ca)}
        ran = subprocess.run(
            ["rclone", "copyurl", gated.town.url("tls", "/session/9"), str(tmp_path / "got"), *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ran.returncode == 0, ran.stderr
    assert len(gated.town.tls.since(before).requests) >= 1


def test_pythons_own_error_says_what_is_wrong(gated: Gated, ours: Shown) -> None:
    host, port = gated.town.house.tls_address
    trust = str(gated.town.house.ca)

    def pool(shown: Shown) -> urllib3.ProxyManager:
        to_proxy = ssl.create_default_context(cafile=trust)
        to_proxy.load_cert_chain(*gated.shows(shown))
        return urllib3.ProxyManager(f"https://{host}:{port}", proxy_ssl_context=to_proxy, ca_certs=trust)

    with gated.registered(gated.root()):
        with pool(ClientAuthority().issue(uris=[SPIFFE])) as refused:
            with pytest.raises(urllib3.exceptions.MaxRetryError) as caught:
                refused.request("GET", gated.town.url("tls", "/mtls/1"), retries=0)
            assert "407 proof.certificate" in str(caught.value)
            assert "The client certificate does not count" in str(caught.value)
        with pool(ours) as served:
            assert served.request("GET", gated.town.url("tls", "/mtls/1"), retries=0).status == 200
