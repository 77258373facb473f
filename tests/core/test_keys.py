"""Keys: published vectors, one encoding per key and per signature."""

import pytest
from authenticators import sign_der
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import key

from proxy.core.encoding import Json, b64u, unb64u
from proxy.core.errors import Code, Rejected
from proxy.core.keys import ED25519, ES256, from_jwk, jwk, private_key, sign, verifies, verifies_der

CODE = Code.MANIFEST_MALFORMED

RFC8037_A1_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC8037_A2 = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
RFC8037_A4_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
RFC8037_A4_SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

RFC9421_B14 = {"kty": "OKP", "crv": "Ed25519", "x": "JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"}
RFC9421_B14_D = "n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU"


def read(value: Json) -> object:
    return from_jwk(value, code=CODE, field="cnf.jwk")


def test_rfc_8037_a3_thumbprint() -> None:
    assert from_jwk(RFC8037_A2, code=CODE, field="x").kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_rfc_8037_a4_signature_is_made_and_accepted() -> None:
    private = private_key(ed25519.Ed25519PrivateKey.from_private_bytes(unb64u(RFC8037_A1_D, code=CODE, field="d")))
    assert jwk(private.public) == RFC8037_A2
    assert b64u(sign(private, RFC8037_A4_INPUT)) == RFC8037_A4_SIGNATURE
    signature = unb64u(RFC8037_A4_SIGNATURE, code=CODE, field="signature")
    assert verifies(private.public, RFC8037_A4_INPUT, signature)
    assert not verifies(private.public, RFC8037_A4_INPUT + b"x", signature)


@pytest.mark.parametrize("alg", [ED25519, ES256])
@settings(max_examples=30)
@given(message=st.binary(max_size=100))
def test_what_a_key_signs_it_alone_verifies(alg: str, message: bytes) -> None:
    signature = sign(key("one", alg), message)
    assert len(signature) == 64
    assert verifies(key("one", alg).public, message, signature)
    assert not verifies(key("two", alg).public, message, signature)
    assert not verifies(key("one", alg).public, message + b".", signature)


@pytest.mark.parametrize("alg", [ED25519, ES256])
def test_a_signature_of_another_length_is_refused(alg: str) -> None:
    signature = sign(key("one", alg), b"m")
    assert not verifies(key("one", alg).public, b"m", signature + b"\0")
    assert not verifies(key("one", alg).public, b"m", b"")


@pytest.mark.parametrize("alg", [ED25519, ES256])
def test_a_public_key_goes_through_its_jwk(alg: str) -> None:
    public = key("one", alg).public
    assert from_jwk(jwk(public), code=CODE, field="x") == public
    assert len(public.kid) == 43


def test_rfc_9421_test_key_is_read() -> None:
    private = private_key(ed25519.Ed25519PrivateKey.from_private_bytes(unb64u(RFC9421_B14_D, code=CODE, field="d")))
    assert jwk(private.public) == RFC9421_B14


EC_KEY = jwk(key("one", ES256).public)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="not an object"),
        pytest.param("kty", id="a string"),
        pytest.param({}, id="empty"),
        pytest.param({**RFC8037_A2, "d": RFC8037_A1_D}, id="a private key"),
        pytest.param({**RFC8037_A2, "kid": "x"}, id="a member too many"),
        pytest.param({**RFC8037_A2, "use": "enc"}, id="a key for something else"),
        pytest.param({**RFC8037_A2, "kty": "EC"}, id="the type of another curve"),
        pytest.param({**RFC8037_A2, "crv": "X25519"}, id="a curve that cannot sign"),
        pytest.param({**RFC8037_A2, "x": 5}, id="a coordinate that is no text"),
        pytest.param({**RFC8037_A2, "x": RFC8037_A2["x"] + "="}, id="padding"),
        pytest.param({**RFC8037_A2, "x": "AA"}, id="a short coordinate"),
        pytest.param({name: EC_KEY[name] for name in ("kty", "crv", "x")}, id="an EC key without y"),
        pytest.param({**EC_KEY, "y": ""}, id="an EC key with an empty y"),
        pytest.param({**EC_KEY, "y": "AA"}, id="an EC key with a short y"),
        pytest.param({**EC_KEY, "y": EC_KEY["x"]}, id="a point off its curve"),
        pytest.param({**EC_KEY, "crv": "P-384"}, id="a curve we do not use"),
        pytest.param({"kty": "oct", "k": "AAAA"}, id="a shared secret"),
    ],
)
def test_any_other_jwk_is_refused(value: Json) -> None:
    with pytest.raises(Rejected) as refused:
        read(value)
    assert refused.value.code is CODE
    assert refused.value.field.startswith("cnf.jwk")


def test_a_curve_we_do_not_use_is_refused_with_its_name() -> None:
    with pytest.raises(Rejected, match="secp384r1") as refused:
        private_key(ec.generate_private_key(ec.SECP384R1()))
    assert refused.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("alg", [ED25519, ES256])
def test_a_private_key_does_not_show_itself(alg: str) -> None:
    private = key("one", alg)
    assert repr(private) == f"PrivateKey({alg} {private.public.kid})"


_members = st.sampled_from(["kty", "crv", "x", "y", "d"])
_values = st.sampled_from(["OKP", "EC", "Ed25519", "P-256"]) | st.text(max_size=50) | st.integers() | st.none()


@given(st.dictionaries(_members, _values) | _values)
def test_reading_a_jwk_raises_only_rejected(value: Json) -> None:
    try:
        read(value)
    except Rejected as refused:
        assert refused.code is CODE


# --- as authenticators write them ------------------------------------------------------------------------------------


@pytest.mark.parametrize("alg", [ED25519, ES256])
@settings(max_examples=30)
@given(message=st.binary(max_size=100))
def test_what_an_authenticator_signs_it_alone_verifies(alg: str, message: bytes) -> None:
    signature = sign_der(key("one", alg), message)
    assert verifies_der(key("one", alg).public, message, signature)
    assert not verifies_der(key("two", alg).public, message, signature)
    assert not verifies_der(key("one", alg).public, message + b".", signature)


def test_der_may_have_either_s_and_nothing_else() -> None:
    public, signature = key("one", ES256).public, sign(key("one", ES256), b"m")
    r, s = int.from_bytes(signature[:32]), int.from_bytes(signature[32:])
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert all(verifies_der(public, b"m", encode_dss_signature(r, each)) for each in (s, order - s))
    assert not verifies_der(public, b"m", signature), "the form that statements have"
    wrong = [(0, s), (r, 0), (r, order), (order, s), (r + order, s), (r, s + order), (2**300, s), (r, 2**300)]
    for pair in wrong:
        assert not verifies_der(public, b"m", encode_dss_signature(*pair)), pair
    true = encode_dss_signature(r, s)
    assert not any(verifies_der(public, b"m", each) for each in (true + b"\0", true[:-1], b"", b"0"))
