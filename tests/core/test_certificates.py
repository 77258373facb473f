"""Client certificates: which count, whose they are, and what a manifest that is bound to one asks for."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import pytest
from clientcerts import ClientAuthority, Shown
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st
from identities import NOW, agent, child, draft, root

from proxy.core import certificates
from proxy.core.certificates import (
    MAX_SHOWN,
    MIN_RSA_BITS,
    belongs,
    check_bound,
    described,
    is_spiffe_id,
    read_certificates,
    thumbprint,
    verify_certificate,
)
from proxy.core.errors import Code, Rejected
from proxy.core.manifest import parse_manifest
from proxy.core.model import Bindings, Manifest

ROOT = ClientAuthority(now=NOW)
BELOW = ClientAuthority("a house", above=ROOT, now=NOW)
NAMED = ClientAuthority("one domain", above=ROOT, now=NOW, permits=[x509.DNSName("agents.example")])
TERSE = ClientAuthority("says nothing of its key", now=NOW, says_usage=False)
NARROW = ClientAuthority("no CA below", now=NOW, path_length=0)
OTHER = ClientAuthority("somebody else", now=NOW)
SPIFFE = "spiffe://test.example/invoice-bot"
ANCHORS = (ROOT.certificate, TERSE.certificate, NARROW.certificate)
GOOD = ROOT.issue(uris=[SPIFFE])
LINKED = BELOW.issue(uris=[SPIFFE])


def verify(shown: Shown, anchors: tuple[x509.Certificate, ...] = ANCHORS):
    return verify_certificate(shown.der, anchors, now=NOW)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as caught:
        call()
    assert caught.value.code is Code.PROOF_CERTIFICATE
    assert caught.value.detail.isprintable() and caught.value.detail.isascii()
    return caught.value.detail


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param(GOOD, id="one with a SPIFFE id"),
        pytest.param(ROOT.issue(), id="one without any name"),
        pytest.param(ROOT.issue(key=ec.generate_private_key(ec.SECP521R1())), id="one with a key on another curve"),
        pytest.param(ROOT.issue(key=ed25519.Ed25519PrivateKey.generate()), id="one with an Edwards key"),
        pytest.param(ROOT.issue(key=rsa.generate_private_key(65_537, 2048)), id="one with an RSA key"),
        pytest.param(ROOT.issue(names=["bot.example"]), id="one with a host name"),
        pytest.param(ROOT.issue(uris=["https://bot.example/"]), id="one with a URI of another kind"),
        pytest.param(BELOW.issue(uris=[SPIFFE]), id="one of a CA below, shown with it"),
        pytest.param(NAMED.issue(names=["bot.agents.example"]), id="one within the names its CA may give"),
        pytest.param(TERSE.issue(), id="one of a CA that does not say what its key is for"),
        pytest.param(
            ROOT.issue(purposes=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
            id="one for servers and clients",
        ),
    ],
)
def test_what_counts(shown: Shown) -> None:
    found = verify(shown)
    assert found.thumbprint == shown.thumbprint
    assert found.not_before == shown.chain[0].not_valid_before_utc
    assert found.not_after == shown.chain[0].not_valid_after_utc


def test_the_spiffe_id_is_the_one_uri() -> None:
    assert verify(GOOD).spiffe_id == SPIFFE
    assert verify(ROOT.issue()).spiffe_id is None
    assert verify(ROOT.issue(uris=["https://bot.example/"])).spiffe_id is None
    assert verify(ROOT.issue(names=["bot.example"])).spiffe_id is None


def test_a_chain_lasts_as_long_as_what_ends_first_in_it() -> None:
    found = verify(ROOT.issue(not_before=NOW - timedelta(days=20), not_after=NOW + timedelta(days=90)))
    assert found.not_before == ROOT.certificate.not_valid_before_utc
    assert found.not_after == ROOT.certificate.not_valid_after_utc


HOUR = timedelta(hours=1)
WEAK = rsa.generate_private_key(public_exponent=65_537, key_size=1024)  # on purpose


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        pytest.param(ROOT.issue(not_after=NOW - HOUR / 2), "is good from", id="it has ended"),
        pytest.param(ROOT.issue(not_before=NOW + HOUR), "is good from", id="it has not begun"),
        pytest.param(OTHER.issue(uris=[SPIFFE]), "does not verify", id="a CA nobody named"),
        pytest.param(
            replace(BELOW.issue(), chain=BELOW.issue().chain[:1]), "does not verify", id="its CA is not shown"
        ),
        pytest.param(
            ClientAuthority("below", above=NARROW, now=NOW).issue(), "does not verify", id="a CA below one that may not"
        ),
        pytest.param(NAMED.issue(names=["bot.example"]), "does not verify", id="a name that its CA may not give"),
        pytest.param(
            ROOT.issue(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), "required EKU", id="it is for servers alone"
        ),
        pytest.param(ROOT.issue(purposes=None), "lacks clientAuth", id="it does not say what it is for"),
        pytest.param(
            ROOT.issue(purposes=[ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
            "required EKU not found",
            id="it is for anything",
        ),
        pytest.param(ROOT.issue(is_ca=True), "does not verify", id="it is a CA's own"),
        pytest.param(ROOT.issue(key=WEAK), "at least 2048 bits", id="its key is too short"),
        pytest.param(ROOT.issue(key=ec.generate_private_key(ec.SECP192R1())), "on curve P-256", id="a weak curve"),
        pytest.param(ROOT.issue(key=ec.generate_private_key(ec.SECP256K1())), "on curve P-256", id="an odd curve"),
        pytest.param(ROOT.issue(key=dsa.generate_private_key(1024)), "must be RSA", id="a key of an old kind"),
        pytest.param(ROOT.issue(uris=[SPIFFE, SPIFFE + "/2"]), "must have one URI", id="two SPIFFE ids"),
        pytest.param(ROOT.issue(uris=[SPIFFE, "https://a.example/"]), "must have one URI", id="a SPIFFE id and more"),
        pytest.param(ROOT.issue(uris=["spiffe://Test.example/a"]), "must have one URI", id="a SPIFFE id in capitals"),
        pytest.param(ROOT.issue(uris=["SPIFFE://test.example/a"]), "must have one URI", id="a scheme in capitals"),
    ],
)
def test_what_does_not_count(shown: Shown, why: str) -> None:
    assert why in refused(lambda: verify(shown))


def test_nothing_counts_where_no_ca_is_named() -> None:
    assert "tls.client_cas names no CA" in refused(lambda: verify(GOOD, ()))


@pytest.mark.parametrize("shown", [(), GOOD.der * (MAX_SHOWN + 1)], ids=["none", "one too many"])
def test_how_many_certificates_may_be_shown(shown: tuple[bytes, ...]) -> None:
    assert f"1 to {MAX_SHOWN}" in refused(lambda: verify_certificate(shown, ANCHORS, now=NOW))


@given(st.binary(max_size=64))
def test_what_is_no_certificate_is_refused_in_one_way(noise: bytes) -> None:
    for shown in ((noise,), (*GOOD.der, noise)):
        assert "cannot be read" in refused(lambda shown=shown: verify_certificate(shown, ANCHORS, now=NOW))


def test_a_maze_of_certificates_is_not_walked() -> None:
    """Each of one name, and by its word the issuer of all the others: trying every way through took minutes."""
    maze = ClientAuthority("a maze", now=NOW)
    shown = (*maze.issue().der, *(crossed(maze, maze) for _ in range(MAX_SHOWN - 1)))
    assert "does not verify" in refused(lambda: verify_certificate(shown, ANCHORS, now=NOW))


def test_of_two_certificates_of_one_ca_the_one_that_leads_to_ours_counts() -> None:
    own, between = LINKED.der
    for shown in ((own, crossed(BELOW, OTHER), between), (own, between, crossed(BELOW, OTHER))):
        assert verify_certificate(shown, ANCHORS, now=NOW).spiffe_id == SPIFFE


def crossed(house: ClientAuthority, by: ClientAuthority) -> bytes:
    """Another certificate of a CA's key and name, by this CA."""
    return (
        x509.CertificateBuilder()
        .subject_name(house.name)
        .issuer_name(by.name)
        .public_key(house.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(house.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False)
        .sign(by.key, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )


def test_an_endless_key_is_not_used() -> None:
    long = ROOT.issue(key=rsa.generate_private_key(65_537, MIN_RSA_BITS))
    assert verify(long)
    with patch.object(certificates, "MAX_RSA_BITS", MIN_RSA_BITS - 1):
        assert "has more than" in refused(lambda: verify(long))


def test_a_subject_in_no_kind_of_string_is_refused_in_the_same_way() -> None:
    """Anybody can show one: a self-made certificate reaches the verifier, too."""
    own = ROOT.issue(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]).der[0]
    odd = own.replace(b"\x0c\x08an agent", b"\xbb\x08an agent")
    assert odd != own
    assert "cannot be read" in refused(lambda: verify_certificate((odd,), ANCHORS, now=NOW))


@given(st.sampled_from([0, 1]), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3))
def test_whatever_is_shown_the_answer_is_a_refusal_or_a_certificate(which: int, changes: list[tuple[int, int]]) -> None:
    shown = [bytearray(each) for each in LINKED.der]
    for at, value in changes:
        shown[which][at % len(shown[which])] = value
    with suppress(Rejected):
        verify_certificate([bytes(each) for each in shown], ANCHORS, now=NOW)


@given(st.integers(min_value=0, max_value=len(GOOD.der[0]) * 8 - 1))
def test_a_flipped_bit_never_counts_as_the_same_certificate(bit: int) -> None:
    changed = bytearray(GOOD.der[0])
    changed[bit // 8] ^= 1 << bit % 8
    refused(lambda: verify_certificate((bytes(changed),), ANCHORS, now=NOW))


def test_a_ca_whose_key_may_not_sign_is_none() -> None:
    other = ClientAuthority("signs no certificates", now=NOW, signs=False)
    assert "does not verify" in refused(lambda: verify(other.issue(), (other.certificate,)))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("spiffe://example.org/a", True),
        ("spiffe://example.org/ns/finance/sa/bot-1_x.y", True),
        ("spiffe://example.org/...", True),
        ("spiffe://example.org", False),
        ("spiffe://example.org/", False),
        ("spiffe://example.org/a/", False),
        ("spiffe://example.org//a", False),
        ("spiffe://example.org/./a", False),
        ("spiffe://example.org/a/..", False),
        ("spiffe://Example.org/a", False),
        ("spiffe://example.org:8080/a", False),
        ("spiffe://user@example.org/a", False),
        ("spiffe://example.org/a?b", False),
        ("spiffe://example.org/%61", False),
        ("spiffe:///a", False),
        ("http://example.org/a", False),
        ("spiffe://example.org/" + "a" * 2048, False),
    ],
)
def test_what_a_spiffe_id_is(text: str, is_one: bool) -> None:
    assert is_spiffe_id(text) is is_one


# --- whose it is -----------------------------------------------------------------------------------------------------

BOUND = draft(certificate=GOOD.thumbprint)
NOBODYS, HOLDER = agent(), replace(agent(), bindings=Bindings(spiffe=frozenset({SPIFFE})))
FREE_LINK, BOUND_LINK = parse_manifest(root()), parse_manifest(root(BOUND))


@pytest.mark.parametrize(
    ("link", "holder", "shown", "ours"),
    [
        pytest.param(BOUND_LINK, NOBODYS, GOOD, True, id="the certificate the manifest names"),
        pytest.param(BOUND_LINK, HOLDER, ROOT.issue(uris=[SPIFFE]), False, id="another of the agent's"),
        pytest.param(FREE_LINK, HOLDER, GOOD, True, id="one with the agent's SPIFFE id"),
        pytest.param(FREE_LINK, HOLDER, ROOT.issue(uris=[SPIFFE + "/2"]), False, id="one with another SPIFFE id"),
        pytest.param(FREE_LINK, HOLDER, ROOT.issue(), False, id="one without a SPIFFE id"),
        pytest.param(FREE_LINK, NOBODYS, GOOD, False, id="of an agent that has no SPIFFE id"),
    ],
)
def test_whose_a_certificate_is(link: Manifest, holder: object, shown: Shown, ours: bool) -> None:
    certificate = verify(shown)
    assert belongs(certificate, link, holder) is ours
    if ours:
        check_bound(certificate, link, holder)
    else:
        assert certificate.thumbprint in refused(lambda: check_bound(certificate, link, holder))


def test_a_manifest_bound_to_a_certificate_needs_it_shown() -> None:
    assert "the connection shows none" in refused(lambda: check_bound(None, BOUND_LINK, NOBODYS))
    check_bound(None, FREE_LINK, NOBODYS)


def test_a_message_names_a_certificate_by_its_hash_and_its_id() -> None:
    assert described(verify(GOOD)) == f"the client certificate {GOOD.thumbprint} of {SPIFFE}"
    anonymous = ROOT.issue()
    assert described(verify(anonymous)) == f"the client certificate {anonymous.thumbprint}"


# --- files -----------------------------------------------------------------------------------------------------------


def test_certificates_are_read_from_pem() -> None:
    assert read_certificates(ROOT.pem + OTHER.pem, where="a.pem") == (ROOT.certificate, OTHER.certificate)
    assert thumbprint(GOOD.der[0]) == GOOD.thumbprint


@pytest.mark.parametrize("pem", [b"", b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"])
def test_a_file_without_certificates_is_told_by_name(pem: bytes) -> None:
    with pytest.raises(Rejected, match=r"a\.pem must hold at least one") as caught:
        read_certificates(pem, where="a.pem")
    assert caught.value.code is Code.CONFIG_INVALID


# --- in manifests ----------------------------------------------------------------------------------------------------


def test_a_child_keeps_the_certificate_unless_it_is_another_agents() -> None:
    bound = root(BOUND)
    assert parse_manifest(child(bound)).certificate == GOOD.thumbprint
    assert parse_manifest(child(bound, sub="lookup-bot")).certificate is None
