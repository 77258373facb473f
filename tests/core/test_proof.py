"""The signature profile: one way to sign a request, and everything else refused (THREATS E01, E04, E05)."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import http_message_signatures as hms
import identities
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import AGENT, HOST, NOW, intent_header, key, leaf_key, nonce, received, signed_headers, signed_request

from proxy.core.content_digest import check_content_digest, content_digest
from proxy.core.encoding import unb64, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.fields import SignatureInput, lines
from proxy.core.keys import ED25519, ES256, private_key, sign, verifies
from proxy.core.model import Evidence, Intent, Proof, Received
from proxy.core.proof import (
    present,
    read_chain,
    read_intent,
    sign_request,
    target_uri,
    verify_signature,
)

URL = f"https://{HOST}/v1/invoices/17"
LEAF = leaf_key()
TOKENS = identities.chain()
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def verify(request: Received, *, after_s: float = 0, public: str = "leaf") -> Evidence:
    now = NOW + timedelta(seconds=after_s)
    return verify_signature(request, target_uri=target_uri(request), key=key(public).public, now=now)


def refusal(request: Received, *, after_s: float = 0) -> Rejected:
    with pytest.raises(Rejected) as refused:
        verify(request, after_s=after_s)
    return refused.value


def changed(request: Received, name: str, *values: str) -> Received:
    """The request with these lines, and no others, of a header."""
    kept = [line for line in request.headers if line[0].lower() != name.encode()]
    return replace(request, headers=(*kept, *((name.encode(), value.encode("latin-1")) for value in values)))


def value_of(request: Received, name: str) -> str:
    [value] = [value for found, value in request.headers if found.lower() == name.encode()]
    return value.decode()


# --- published vector ------------------------------------------------------------------------------------------------

B26_PARAMETERS = SignatureInput(
    components=("date", "@method", "@path", "@authority", "content-type", "content-length"),
    parameters={"created": 1618884473, "keyid": "test-key-ed25519"},
)
B26_BASE = (
    b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
    b'"@method": POST\n'
    b'"@path": /foo\n'
    b'"@authority": example.com\n'
    b'"content-type": application/json\n'
    b'"content-length": 18\n'
    b'"@signature-params": ("date" "@method" "@path" "@authority" "content-type" "content-length")'
    b';created=1618884473;keyid="test-key-ed25519"'
)
B26_SIGNATURE = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="


def test_rfc_9421_b26_vector() -> None:
    seed = unb64u("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU", code=Code.PROOF_MALFORMED, field="d")
    private = private_key(ed25519.Ed25519PrivateKey.from_private_bytes(seed))
    signature = unb64(B26_SIGNATURE, code=Code.PROOF_MALFORMED, field="signature")
    assert B26_BASE.endswith(f'"@signature-params": {B26_PARAMETERS}'.encode())
    assert sign(private, B26_BASE) == signature
    assert verifies(private.public, B26_BASE, signature)
    assert not verifies(private.public, B26_BASE.replace(b"POST", b"PUT"), signature)


# --- what is accepted ------------------------------------------------------------------------------------------------

JSON = [("content-type", "application/json")]
FULL = [
    *JSON,
    ("content-encoding", "gzip"),
    ("authorization", "Bearer s3cret"),
    ("cookie", "a=1; b=2"),
    ("idempotency-key", '"k-1"'),
    ("prefer", "wait=30"),
    ("x-other", "not covered"),
]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(signed_request(), id="a GET"),
        pytest.param(signed_request(intent=""), id="nothing declared"),
        pytest.param(signed_request("POST", headers=JSON, body=b"{}"), id="a POST"),
        pytest.param(signed_request("POST", headers=FULL, body=b"{}"), id="every field of the profile"),
        pytest.param(signed_request("POST", headers=[("content-length", "0")]), id="an announced empty body"),
        pytest.param(signed_request("GET", f"http://{HOST}:8080/?q=%20&q="), id="another port and an odd query"),
        pytest.param(signed_request("GET", "https://[2001:db8::1]:8443/"), id="an IPv6 address"),
        pytest.param(signed_request("OPTIONS", f"https://{HOST}"), id="no path"),
        pytest.param(signed_request(lifetime_s=1), id="one second to live"),
    ],
)
def test_what_we_sign_we_verify(request_: Received) -> None:
    assert verify(request_) == Evidence(proof=Proof.REQUEST, keyid=LEAF.public.kid, created=NOW, nonce=nonce())
    if request_.body is not None:
        check_content_digest(request_.lines, request_.body)


def test_a_signed_connect_is_tunnel_proof() -> None:
    request = signed_request("CONNECT", f"{HOST}:443", headers=[("content-type", "ignored"), ("prefer", "ignored")])
    assert verify(request).proof is Proof.TUNNEL
    assert '("@method" "@authority" "agent-intent" "intent-manifest")' in value_of(request, "signature-input")


def test_the_lines_to_add_are_spelled_as_their_rfcs_spell_them() -> None:
    lines = [("Intent-Manifest", TOKENS[0]), ("Content-Length", "2")]
    added = sign_request(method="POST", target_uri=URL, headers=lines, body=b"{}", key=LEAF, created=NOW, nonce=nonce())
    assert [name for name, _ in added] == ["Content-Digest", "Signature-Input", "Signature"]


def test_connect_has_no_digest_and_its_authority_is_signed_in_lower_case() -> None:
    """RFC 9421 §2.2.3: the host is normalised, whatever the request line has."""
    lines = [("Intent-Manifest", TOKENS[0])]
    added = sign_request(
        method="CONNECT", target_uri="ERP.example:443", headers=lines, body=b"x", key=LEAF, created=NOW, nonce=nonce()
    )
    (_, signature_input), (_, signature) = added
    base = (
        f'"@method": CONNECT\n"@authority": erp.example:443\n"intent-manifest": {TOKENS[0]}\n'
        f'"@signature-params": {signature_input.removeprefix("intent=")}'
    )
    raw = base64.b64decode(signature.removeprefix("intent=:").removesuffix(":"))
    assert verifies(LEAF.public, base.encode(), raw)


def test_a_low_s_es256_key_signs_too() -> None:
    request = signed_request(signer=key("leaf", ES256))
    evidence = verify_signature(request, target_uri=URL, key=key("leaf", ES256).public, now=NOW)
    assert evidence.keyid == key("leaf", ES256).public.kid


def test_the_digest_covers_a_body_of_whatever_method() -> None:
    assert ("Content-Digest", content_digest(b"x")) in signed_headers("DELETE", body=b"x")


def test_a_digest_that_is_there_already_is_kept() -> None:
    own = ("Content-Digest", f"sha-512=:{base64.b64encode(hashlib.sha512(b'x').digest()).decode()}:")
    request = signed_request("POST", headers=[own], body=b"x")
    assert value_of(request, "content-digest") == own[1]
    verify(request)
    check_content_digest(request.lines, b"x")


def test_other_signatures_may_stand_beside_ours() -> None:
    request = signed_request()
    for name, other in (("signature-input", 'origin=("@path");tag="origin"'), ("signature", "origin=:AQI=:")):
        request = changed(request, name, f"{other}, {value_of(request, name)}")
    verify(request)


def test_the_parameters_and_components_may_stand_in_any_order() -> None:
    ordered = SignatureInput(
        components=("intent-manifest", "@target-uri", "agent-intent", "@method"),
        parameters={
            "tag": "agent-intent",
            "nonce": nonce(),
            "expires": int(NOW.timestamp()) + 60,
            "created": int(NOW.timestamp()),
            "keyid": LEAF.public.kid,
        },
    )
    verify(by_hand(ordered))


# --- what is not -----------------------------------------------------------------------------------------------------


def by_hand(signature_input: SignatureInput, *, method: str = "GET", extra: Sequence[tuple[str, str]] = ()) -> Received:
    """A request truly signed over whatever it says it covers."""
    lines = [*identities.intent_headers(TOKENS), *extra]
    values = {**{name.lower(): value for name, value in lines}, "@method": method, "@target-uri": URL, "@path": "/"}
    rows = "".join(f'"{name}": {values[name]}\n' for name in signature_input.components)
    signature = base64.b64encode(sign(LEAF, f'{rows}"@signature-params": {signature_input}'.encode())).decode()
    ours = [("signature-input", f"intent={signature_input}"), ("signature", f"intent=:{signature}:")]
    return received(method, URL, headers=[*lines, *ours])


COMPONENTS = ("@method", "@target-uri", "agent-intent", "intent-manifest")
START = int(NOW.timestamp())
PARAMETERS: dict[str, int | str] = {
    "created": START,
    "expires": START + 60,
    "keyid": LEAF.public.kid,
    "nonce": nonce(),
    "tag": "agent-intent",
}


def parameters(drop: str = "", **values: int | str) -> SignatureInput:
    mixed = {**PARAMETERS, **values}
    mixed.pop(drop, None)
    return SignatureInput(components=COMPONENTS, parameters=mixed)


def covering(*components: str) -> SignatureInput:
    return SignatureInput(components=components, parameters=PARAMETERS)


def test_the_twin_of_every_case_below_passes() -> None:
    verify(by_hand(parameters()))


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param(by_hand(covering(*COMPONENTS[1:])), Code.PROOF_COMPONENTS, id="without @method"),
        pytest.param(by_hand(covering("@method", *COMPONENTS[2:])), Code.PROOF_COMPONENTS, id="without @target-uri"),
        pytest.param(by_hand(covering(*COMPONENTS[:3])), Code.PROOF_COMPONENTS, id="without the manifest"),
        pytest.param(by_hand(covering(*COMPONENTS[:2], "intent-manifest")), Code.PROOF_COMPONENTS, id="no intent"),
        pytest.param(by_hand(covering(*COMPONENTS, "@path")), Code.PROOF_COMPONENTS, id="one component more"),
        pytest.param(by_hand(covering(*COMPONENTS, "@method")), Code.PROOF_COMPONENTS, id="one component twice"),
        pytest.param(by_hand(covering()), Code.PROOF_COMPONENTS, id="nothing covered"),
        *(
            pytest.param(by_hand(parameters(), extra=[(name, "1")]), Code.PROOF_COMPONENTS, id=f"{name} not covered")
            for name in ("content-type", "authorization", "cookie", "prefer", "idempotency-key", "content-encoding")
        ),
        pytest.param(
            by_hand(parameters(), extra=[("content-length", "2")]), Code.PROOF_COMPONENTS, id="a body without a digest"
        ),
        pytest.param(
            by_hand(parameters(), extra=[("transfer-encoding", "chunked")]),
            Code.PROOF_COMPONENTS,
            id="a chunked body without a digest",
        ),
        *(
            pytest.param(by_hand(parameters(drop=name)), Code.PROOF_MALFORMED, id=f"without {name}")
            for name in PARAMETERS
        ),
        pytest.param(by_hand(parameters(alg="ed25519")), Code.PROOF_MALFORMED, id="with alg"),
        pytest.param(by_hand(parameters(extra=1)), Code.PROOF_MALFORMED, id="with a parameter of its own"),
        pytest.param(by_hand(parameters(created="now")), Code.PROOF_MALFORMED, id="created is a string"),
        pytest.param(by_hand(parameters(expires="x")), Code.PROOF_MALFORMED, id="expires is a string"),
        pytest.param(by_hand(parameters(keyid=7)), Code.PROOF_MALFORMED, id="keyid is a number"),
        pytest.param(by_hand(parameters(nonce=7)), Code.PROOF_MALFORMED, id="nonce is a number"),
        pytest.param(by_hand(parameters(nonce="A" * 21)), Code.PROOF_MALFORMED, id="a nonce of less than 128 bits"),
        pytest.param(by_hand(parameters(nonce="A" * 87)), Code.PROOF_MALFORMED, id="a nonce without end"),
        pytest.param(by_hand(parameters(nonce="A" * 21 + "B")), Code.PROOF_MALFORMED, id="a nonce with stray bits"),
        pytest.param(by_hand(parameters(tag="other")), Code.PROOF_MALFORMED, id="another tag"),
        pytest.param(by_hand(parameters(keyid=key("other").public.kid)), Code.PROOF_KEY, id="another key's name"),
        pytest.param(by_hand(parameters(expires=START + 61)), Code.PROOF_WINDOW, id="61 s to live"),
        pytest.param(by_hand(parameters(expires=START)), Code.PROOF_WINDOW, id="no time to live"),
        pytest.param(by_hand(parameters(expires=START - 1)), Code.PROOF_WINDOW, id="expires before created"),
        pytest.param(
            by_hand(parameters(created=START + 6, expires=START + 60)), Code.PROOF_WINDOW, id="created in 6 s"
        ),
        pytest.param(by_hand(parameters(created=10**15 - 61, expires=10**15 - 1)), Code.PROOF_WINDOW, id="far ahead"),
    ],
)
def test_a_true_signature_outside_the_profile_is_refused(request_: Received, code: Code) -> None:
    assert refusal(request_).code is code


@pytest.mark.parametrize(
    ("after_s", "passes"),
    [
        pytest.param(-5, True, id="a clock five seconds behind the signer's"),
        pytest.param(-5.1, False, id="a clock further behind"),
        pytest.param(59.9, True, id="just before it expires"),
        pytest.param(60, False, id="when it expires"),
        pytest.param(3600, False, id="long after"),
    ],
)
def test_the_window_of_a_signature(after_s: float, passes: bool) -> None:
    if passes:
        verify(signed_request(), after_s=after_s)
    else:
        assert refusal(signed_request(), after_s=after_s).code is Code.PROOF_WINDOW


@pytest.mark.parametrize("name", ["signature", "signature-input", "agent-intent", "prefer"])
def test_covered_and_signature_fields_stand_on_one_line(name: str) -> None:
    request = signed_request(headers=[("prefer", "wait=1")])
    value = value_of(request, name)
    assert refusal(changed(request, name, value, value)).code is Code.PROOF_MALFORMED
    verify(changed(request, name, value))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("signature", Code.PROOF_MALFORMED),
        ("signature-input", Code.PROOF_MALFORMED),
        ("intent-manifest", Code.PROOF_COMPONENTS),
        ("agent-intent", Code.PROOF_COMPONENTS),
    ],
)
def test_a_part_left_out_is_refused(name: str, code: Code) -> None:
    assert refusal(changed(signed_request(), name)).code is code


def test_another_signature_with_our_tag_is_refused() -> None:
    request = signed_request()
    mine = value_of(request, "signature-input").removeprefix("intent=")
    assert refusal(changed(request, "signature-input", f"intent={mine}, b={mine}")).code is Code.PROOF_MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda r: replace(r, method=b"POST"), id="another method"),
        pytest.param(lambda r: replace(r, method=b"get"), id="the method in lower case"),
        pytest.param(lambda r: replace(r, target=b"/v1/invoices/18"), id="another path"),
        pytest.param(lambda r: replace(r, target=b"/v1/invoices/17?"), id="an empty query"),
        pytest.param(lambda r: replace(r, scheme="http"), id="without TLS"),
        pytest.param(lambda r: changed(r, "host", "erp.example:8443"), id="another port"),
        pytest.param(lambda r: changed(r, "host", "erp.example:443"), id="the port spelt out"),
        pytest.param(lambda r: changed(r, "host", "evil.example"), id="another host"),
        pytest.param(lambda r: changed(r, "agent-intent", intent_header(step=4)), id="another step"),
        pytest.param(lambda r: changed(r, "intent-manifest", TOKENS[0]), id="another chain"),
        pytest.param(lambda r: changed(r, "content-type", "text/plain"), id="another type"),
    ],
)
def test_the_right_signature_on_another_request_is_refused(change: Callable[[Received], Received]) -> None:
    request = signed_request(headers=JSON)
    verify(request)
    assert refusal(change(request)).code is Code.PROOF_SIGNATURE


def test_another_agents_manifest_with_ones_own_key_is_refused() -> None:
    assert refusal(signed_request(signer=key("thief"))).code is Code.PROOF_KEY
    forged = changed(signed_request(), "signature", value_of(signed_request(signer=key("thief")), "signature"))
    assert refusal(forged).code is Code.PROOF_SIGNATURE
    verify(signed_request())


def test_the_connect_signature_says_host_and_port() -> None:
    request = signed_request("CONNECT", f"{HOST}:443")
    verify(replace(request, authority=b"ERP.example:443"))
    assert refusal(replace(request, authority=b"erp.example:8443")).code is Code.PROOF_SIGNATURE
    assert refusal(replace(request, authority=b"evil.example:443")).code is Code.PROOF_SIGNATURE
    assert refusal(replace(request, authority=b"erp.example")).code is Code.PROOF_MALFORMED


def test_a_connect_signature_is_no_request_signature() -> None:
    """A signature for the tunnel must not pass for one inside it, nor the other way round."""
    tunnel, inside = signed_request("CONNECT", f"{HOST}:443"), signed_request()
    for name in ("signature", "signature-input"):
        assert refusal(changed(inside, name, value_of(tunnel, name))).code in (
            Code.PROOF_MALFORMED,
            Code.PROOF_SIGNATURE,
            Code.PROOF_COMPONENTS,
        )
    swapped = inside
    for name in ("signature", "signature-input"):
        swapped = changed(swapped, name, value_of(tunnel, name))
    assert refusal(swapped).code is Code.PROOF_COMPONENTS


def test_every_flipped_bit_of_what_is_covered_is_refused() -> None:
    request = signed_request("POST", headers=[*JSON, ("authorization", "Bearer x")], body=b"{}")
    verify(request)
    flips = 0
    for name in ("method", "target"):
        for flipped in every_flip(getattr(request, name)):
            refusal_or_url(replace(request, **{name: flipped}))
            flips += 1
    for position, (field, value) in enumerate(request.headers):
        for flipped in every_flip(value):
            headers = list(request.headers)
            headers[position] = (field, flipped)
            refusal_or_url(replace(request, headers=tuple(headers)))
            flips += 1
    assert flips > 10_000


def every_flip(data: bytes) -> list[bytes]:
    whole = int.from_bytes(data)
    return [(whole ^ 1 << bit).to_bytes(len(data)) for bit in range(len(data) * 8)]


def refusal_or_url(request: Received) -> None:
    with pytest.raises(Rejected) as refused:
        verify(request)
    assert refused.value.code.value.startswith("proof.") or refused.value.code is Code.URL_AMBIGUOUS


# --- signing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"headers": []}, Code.PROOF_COMPONENTS, id="no manifest"),
        pytest.param({"headers": signed_headers()}, Code.PROOF_MALFORMED, id="signed already"),
        pytest.param({"nonce": "short"}, Code.PROOF_MALFORMED, id="a short nonce"),
        pytest.param({"lifetime_s": 61}, Code.PROOF_WINDOW, id="too long a life"),
        pytest.param({"target_uri": "https://bücher.example/"}, Code.PROOF_MALFORMED, id="a URL that is not ASCII"),
        pytest.param({"target_uri": "https://a/\n"}, Code.PROOF_MALFORMED, id="a line break in the URL"),
        pytest.param({"method": "GET /"}, Code.PROOF_MALFORMED, id="a space in the method"),
        pytest.param({"method": "CONNECT"}, Code.PROOF_MALFORMED, id="a CONNECT to no port"),
        pytest.param(
            {"headers": [*identities.intent_headers(TOKENS), ("cookie", "a"), ("cookie", "b")]},
            Code.PROOF_MALFORMED,
            id="cookies on two lines",
        ),
        pytest.param(
            {"headers": [*identities.intent_headers(TOKENS), ("content-length", "3")]},
            Code.PROOF_COMPONENTS,
            id="a body that is not given",
        ),
    ],
)
def test_what_would_be_refused_is_not_signed(arguments: dict[str, object], code: Code) -> None:
    usual: dict[str, object] = {
        "method": "GET",
        "target_uri": "https://erp.example",
        "headers": identities.intent_headers(TOKENS),
        "body": None,
        "key": LEAF,
        "created": NOW,
        "nonce": nonce(),
    }
    sign_request(**usual)  # type: ignore[arg-type]
    with pytest.raises(Rejected) as refused:
        sign_request(**{**usual, **arguments})  # type: ignore[arg-type]
    assert refused.value.code is code


# --- the URL ---------------------------------------------------------------------------------------------------------


def test_the_url_is_taken_as_received() -> None:
    request = received("GET", "https://ERP.example:0443/a//b?%7e")
    assert target_uri(request) == "https://ERP.example:0443/a//b?%7e"
    assert target_uri(replace(request, scheme="http")).startswith("http://ERP")


def test_in_absolute_form_the_request_line_names_the_host() -> None:
    request = replace(received("GET", "http://erp.example/a"), form="absolute", authority=b"ERP.example:80")
    assert target_uri(request) == "http://ERP.example:80/a"


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(replace(received(), headers=()), id="no Host"),
        pytest.param(replace(received(), headers=((b"host", b""),)), id="an empty Host"),
        pytest.param(replace(received(), headers=((b"host", b"a"), (b"host", b"a"))), id="two Hosts"),
        pytest.param(replace(received(), headers=((b"host", b"a b"),)), id="a space in Host"),
        pytest.param(replace(received(), headers=((b"host", b"\xe9"),)), id="a Host that is not ASCII"),
        pytest.param(replace(received(), target=b"/\x00"), id="a NUL in the path"),
        pytest.param(replace(received(), target=b"/caf\xe9"), id="a path that is not ASCII"),
        pytest.param(replace(received(), form="absolute", authority=b""), id="an absolute form without a host"),
    ],
)
def test_no_url_to_verify(request_: Received) -> None:
    with pytest.raises(Rejected) as refused:
        target_uri(request_)
    assert refused.value.code is Code.URL_AMBIGUOUS


# --- the body --------------------------------------------------------------------------------------------------------


def test_a_body_swapped_after_signing_is_refused() -> None:
    request = signed_request("POST", headers=JSON, body=b'{"amount":1}')
    verify(request)
    check_content_digest(request.lines, b'{"amount":1}')
    with pytest.raises(Rejected, match="not the digest of the body"):
        check_content_digest(request.lines, b'{"amount":9}')
    with_new_digest = changed(request, "content-digest", content_digest(b'{"amount":9}'))
    check_content_digest(with_new_digest.lines, b'{"amount":9}')
    assert refusal(with_new_digest).code is Code.PROOF_SIGNATURE


# --- what is presented -----------------------------------------------------------------------------------------------

CAVAGE = b'keyId="rsa-key-1",algorithm="hs2019",headers="(request-target) host",signature="c2ln"'


@pytest.mark.parametrize(
    ("headers", "signature", "session"),
    [
        pytest.param([], False, False, id="nothing"),
        pytest.param([(b"agent-intent", b'cluster="a"')], False, False, id="a declaration proves nothing"),
        pytest.param([(b"signature", b"sig1=:AQI=:")], False, False, id="someone else's signature"),
        pytest.param([(b"signature", CAVAGE)], False, False, id="a signature of an older kind"),
        pytest.param([(b"signature-input", b'my-intent=();tag="x"')], False, False, id="a label that only resembles"),
        pytest.param([(b"Intent-Manifest", b"")], True, False, id="a manifest, even an empty one"),
        pytest.param([(b"SIGNATURE", b"intent=:AQI=:")], True, False, id="our label on a signature"),
        pytest.param([(b"signature-input", b"a=(), intent=()")], True, False, id="our label on an input"),
        pytest.param([(b"signature-input", b'b=();tag="agent-intent"')], True, False, id="our tag"),
        pytest.param([(b"signature-input", b"b=();tag=agent-intent")], True, False, id="our tag as a token"),
        pytest.param([(b"signature-input", b"a=()"), (b"signature-input", b"intent=()")], True, False, id="two lines"),
        pytest.param([(b"signature-input", b"intent=(")], True, False, id="something unreadable that mentions intent"),
        pytest.param([(b"signature", b"\xe9 intent")], True, False, id="unreadable bytes that mention intent"),
        pytest.param([(b"Proxy-Authorization", b"Basic x")], False, True, id="a session"),
        pytest.param([(b"proxy-authorization", b"Bearer x")], False, True, id="credentials of another scheme"),
        pytest.param([(b"intent-manifest", b"x"), (b"proxy-authorization", b"x")], True, True, id="both"),
    ],
)
def test_what_counts_as_presented(headers: list[tuple[bytes, bytes]], signature: bool, session: bool) -> None:
    found = present(lines(headers))
    assert (found.signature, found.session) == (signature, session)


# --- the declaration and the chain -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "intent"),
    [
        ('cluster="a", task="T 1", step=3', Intent(cluster="a", task="T 1", step=3)),
        ('step=0,task="x"', Intent(task="x", step=0)),
        ('cluster="a.b-c_d"', Intent(cluster="a.b-c_d")),
        ("step=1000000000", Intent(step=1_000_000_000)),
    ],
)
def test_a_declaration_is_read(value: str, intent: Intent) -> None:
    assert read_intent(value) == replace(intent, raw=value)


@given(st.from_regex(r'cluster="[a-z0-9._A-Z-]{0,66}"(, ?task="[ -~]{0,8}")?(, ?step=[0-9]{1,11})?', fullmatch=True))
def test_what_is_read_without_the_general_parser_is_what_that_would_read(value: str) -> None:
    def read(plainly: str) -> Intent | Code:
        try:
            return replace(read_intent(plainly), raw="")
        except Rejected as refused:
            return refused.code

    assert read(value) == read(f"{value} ")  # white space after it is no part of it, and nothing the short way knows


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="nothing"),
        pytest.param('cluster="a", purpose="x"', id="an unknown key"),
        pytest.param('cluster="a";x', id="a parameter"),
        pytest.param('cluster="a", cluster="b"', id="two clusters"),
        pytest.param("cluster=a", id="a token for a string"),
        pytest.param('cluster="A"', id="no cluster's id"),
        pytest.param('cluster=""', id="an empty cluster"),
        pytest.param("cluster", id="a cluster that is true"),
        pytest.param('cluster=("a")', id="a list of clusters"),
        pytest.param('task=""', id="an empty task"),
        pytest.param(f'task="{"x" * 129}"', id="a task too long"),
        pytest.param("task=5", id="a number for a task"),
        pytest.param('step="3"', id="a string for a step"),
        pytest.param("step=-1", id="a negative step"),
        pytest.param("step=1000000001", id="a step too far"),
        pytest.param("step=1.0", id="a decimal"),
        pytest.param("step=one", id="a token for a step"),
        pytest.param("step", id="a step that is true"),
        pytest.param('cluster="a" task="b"', id="no comma"),
        pytest.param('cluster="é"', id="not ASCII"),
    ],
)
def test_any_other_declaration_is_malformed(value: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_intent(value)
    assert refused.value.code is Code.INTENT_MALFORMED


def test_a_chain_is_split() -> None:
    assert read_chain("a.b.c") == ("a.b.c",)
    assert read_chain("a.b.c,d.e.f ,\tg.h.i, j.k.l") == ("a.b.c", "d.e.f", "g.h.i", "j.k.l")
    assert read_chain("Xa.b.cX \t,\t X.X.X") == ("Xa.b.cX", "X.X.X")


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("", id="nothing"),
        pytest.param("a.b.c,", id="a trailing comma"),
        pytest.param("a.b.c d.e.f", id="no comma"),
        pytest.param(", ".join(["a.b.c"] * 5), id="five links"),
        pytest.param("a.b", id="no signature"),
        pytest.param("a.b.", id="an empty signature"),
        pytest.param("a.b.c=", id="padding"),
        pytest.param('"a.b.c"', id="quotes"),
    ],
)
def test_no_chain(value: str) -> None:
    with pytest.raises(Rejected) as refused:
        read_chain(value)
    assert (refused.value.code, refused.value.field) == (Code.MANIFEST_MALFORMED, "intent-manifest")


# --- another implementation ------------------------------------------------------------------------------------------


class Message:
    """A request as http-message-signatures reads and writes it."""

    def __init__(self, method: str, url: str, headers: Sequence[tuple[str, str]]) -> None:
        self.method, self.url, self.headers = method, url, dict(headers)


class PatientVerifier(hms.HTTPMessageVerifier):
    """Theirs, without a look at the clock: the window is ours to test."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        pass


ALGORITHMS = {ED25519: hms.algorithms.ED25519, ES256: hms.algorithms.ECDSA_P256_SHA256}


def resolver(alg: str) -> hms.MappingKeyResolver:
    signer = key("leaf", alg)
    return hms.MappingKeyResolver(
        public_keys={signer.public.kid: signer.handle.public_key()}, private_keys={signer.public.kid: signer.handle}
    )


_path = st.text("abcXYZ019-._~!$&'()*+,;=:@/", max_size=20)
_query = st.none() | st.text("abc=&%20+?/", max_size=12).filter(lambda text: "%" not in text)
_field = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=20)
_covered = ["content-type", "content-encoding", "authorization", "cookie", "idempotency-key", "prefer", "x-other"]


@pytest.mark.parametrize("alg", [ED25519, ES256])
@settings(max_examples=60)
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH"]),
    host=st.sampled_from(["erp.example", "erp.example:8443", "[2001:db8::1]"]),
    path=_path,
    query=_query,
    headers=st.dictionaries(st.sampled_from(_covered), _field),
    body=st.binary(max_size=20),
    declares=st.booleans(),
)
def test_we_and_http_message_signatures_agree(
    alg: str,
    method: str,
    host: str,
    path: str,
    query: str | None,
    headers: dict[str, str],
    body: bytes,
    declares: bool,
) -> None:
    signer = key("leaf", alg)
    url = f"https://{host}/{path}" + ("" if query is None else f"?{query}")
    ours = signed_headers(
        method,
        url,
        headers=list(headers.items()),
        body=body,
        signer=signer,
        tokens=TOKENS,
        intent=None if declares else "",
    )

    # What we sign, they accept, and cover the same.
    message = Message(method, url, ours)
    [result] = PatientVerifier(signature_algorithm=ALGORITHMS[alg], key_resolver=resolver(alg)).verify(
        message, max_age=None, expect_tag="agent-intent", expect_label="intent", body=body or None
    )
    covered = [name.strip('"') for name in result.covered_components if name != '"@signature-params"']

    # What they sign over the same, we accept.
    unsigned = [line for line in ours if line[0].lower() not in ("signature", "signature-input")]
    message = Message(method, url, unsigned)
    hms.HTTPMessageSigner(signature_algorithm=ALGORITHMS[alg], key_resolver=resolver(alg)).sign(
        message,
        key_id=signer.public.kid,
        created=NOW,
        expires=NOW + timedelta(seconds=60),
        nonce=nonce("theirs"),
        label="intent",
        tag="agent-intent",
        include_alg=False,
        covered_component_ids=covered,
        use_existing_digest=bool(body),
    )
    request = received(method, url, headers=list(message.headers.items()), body=body)
    if alg == ES256:
        request = with_low_s(request)
    assert target_uri(request) == url
    evidence = verify_signature(request, target_uri=url, key=signer.public, now=NOW)
    assert evidence.nonce == nonce("theirs")
    check_content_digest(request.lines, body)

    # And what they refuse, we refuse.
    if len(covered) > 2:
        tampered = changed(request, covered[-1], value_of(request, covered[-1]) + "x")
        with pytest.raises(Rejected):
            verify_signature(tampered, target_uri=url, key=signer.public, now=NOW)


def with_low_s(request: Received) -> Received:
    """They do not normalise ES256: the higher of the two forms is refused, its lower one accepted."""
    raw = base64.b64decode(value_of(request, "signature").removeprefix("intent=:").removesuffix(":"))
    s = int.from_bytes(raw[32:])
    if s <= ORDER // 2:
        return request
    with pytest.raises(Rejected) as refused:
        verify_signature(request, target_uri=target_uri(request), key=key("leaf", ES256).public, now=NOW)
    assert refused.value.code is Code.PROOF_SIGNATURE
    low = base64.b64encode(raw[:32] + (ORDER - s).to_bytes(32)).decode()
    return changed(request, "signature", f"intent=:{low}:")


# --- properties ------------------------------------------------------------------------------------------------------

_names = st.sampled_from(
    [b"host", b"signature", b"signature-input", b"intent-manifest", b"agent-intent", b"content-digest", b"prefer"]
)
_genuine = signed_request().headers
_values = st.binary(max_size=30) | st.sampled_from([value for _, value in _genuine])


@settings(max_examples=200)
@given(
    headers=st.lists(st.tuples(_names, _values) | st.sampled_from(_genuine), max_size=8),
    method=st.sampled_from([b"GET", b"CONNECT", b"", b"\xff"]),
    target=st.binary(max_size=10) | st.just(b"/v1/invoices/17"),
    form=st.sampled_from(["origin", "absolute", "authority"]),
    body=st.binary(max_size=5),
)
def test_verifying_whatever_arrives_raises_only_rejected(
    headers: list[tuple[bytes, bytes]], method: bytes, target: bytes, form: str, body: bytes
) -> None:
    request = Received(
        method=method, scheme="https", form=form, authority=b"erp.example:443", target=target, headers=tuple(headers)
    )
    present(request.lines)
    for step in (
        lambda: verify(request),
        lambda: check_content_digest(request.lines, body),
        lambda: target_uri(request),
    ):
        try:
            step()
        except Rejected as refused:
            assert refused.detail


@given(st.text(max_size=40))
def test_reading_declarations_and_chains_raises_only_rejected(text: str) -> None:
    for read, code in ((read_intent, Code.INTENT_MALFORMED), (read_chain, Code.MANIFEST_MALFORMED)):
        try:
            read(text)
        except Rejected as refused:
            assert refused.code is code


def test_the_agent_of_these_tests_is_who_we_think() -> None:
    assert identities.claims_of(TOKENS[1])["sub"] == AGENT
