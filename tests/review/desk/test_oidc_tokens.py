"""ID tokens, key sets and what providers say of themselves: every way in which one may not count."""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import identities
import pytest
from joserfc.jwk import ECKey, Key, OctKey, OKPKey
from providers import CLIENT, SECRET, ec_key, okp_key, rsa_key, sign, unsigned

from proxy.core.encoding import b64u
from proxy.core.errors import Code, Rejected, Unavailable
from proxy.policy.oidc import OidcProvider
from proxy.policy.secrets import SecretSource
from proxy.review.desk.oidc.asking import Answer
from proxy.review.desk.oidc.provider import MOST_AT_ONCE, Metadata, NotRedeemed, Provider, read_metadata
from proxy.review.desk.oidc.tokens import MOST_KEYS, Expected, KeyUnknown, Told, Untrue, read_id_token, read_keys

ISSUER = "https://login.example"
NOW_S = int(identities.NOW.timestamp())
KEY = ec_key()
HALF = b64u(hashlib.sha256(b"at-1").digest()[:16])
EXPECTED = Expected(issuer=ISSUER, client_id=CLIENT, nonce="n-1", now=identities.NOW, access_token="at-1", max_age=None)
CLAIMS = {"iss": ISSUER, "sub": "u-1", "aud": CLIENT, "iat": NOW_S, "exp": NOW_S + 300, "nonce": "n-1"}


def said(**claims: Any) -> dict[str, Any]:
    """True claims, but for these; None leaves one out."""
    return {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}


def published(*keys: Any) -> bytes:
    return json.dumps(
        {"keys": [each.as_dict(private=False) if isinstance(each, Key) else each for each in keys]}
    ).encode()


def read(token: str, *keys: Any, **about: Any) -> Told:
    return read_id_token(token, read_keys(published(*(keys or (KEY,)))), replace(EXPECTED, **about))


def test_a_true_token_says_who_somebody_is() -> None:
    told = read(sign(said(email="m@example.com", email_verified=True), KEY, "ES256"))
    assert told == Told(issuer=ISSUER, sub="u-1", email="m@example.com", email_verified=True)
    unverified = read(sign(said(email=["m@example.com"], email_verified="true"), KEY, "ES256"))
    assert (unverified.email, unverified.email_verified) == ("", False)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": [CLIENT]}, id="for a list of one"),
        pytest.param({"aud": [CLIENT, "another"], "azp": CLIENT}, id="for several, asked by the desk"),
        pytest.param({"azp": CLIENT}, id="asked by the desk"),
        pytest.param({"exp": NOW_S - 59}, id="that ended within what clocks may differ"),
        pytest.param({"iat": NOW_S + 60}, id="of a clock that is a minute ahead"),
        pytest.param({"iat": NOW_S - 660}, id="as old as a sign-in may be"),
        pytest.param({"nbf": NOW_S}, id="valid from now on"),
        pytest.param({"at_hash": HALF}, id="for this access token"),
        pytest.param({"name": "x", "groups": ["admins"]}, id="with what nobody asked for"),
        pytest.param({"sub": "u" * 255}, id="about the longest name"),
    ],
)
def test_a_token_that_counts(claims: dict[str, Any]) -> None:
    assert read(sign(said(**claims), KEY, "ES256")).sub


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        pytest.param({"iss": "https://evil.example"}, "iss", id="of another provider"),
        pytest.param({"iss": None}, "iss", id="of nobody"),
        pytest.param({"aud": "another"}, "aud", id="for another client"),
        pytest.param({"aud": ["another"]}, "aud", id="for others"),
        pytest.param({"aud": []}, "aud", id="for none"),
        pytest.param({"aud": None}, "aud", id="without saying for whom"),
        pytest.param({"aud": [CLIENT, "another"]}, "azp", id="for several, without azp"),
        pytest.param({"aud": [CLIENT, "another"], "azp": "another"}, "azp", id="for several, asked by another"),
        pytest.param({"azp": "another"}, "azp", id="asked by another"),
        pytest.param({"exp": NOW_S - 61}, "expired", id="that has ended"),
        pytest.param({"exp": None}, "exp", id="without an end"),
        pytest.param({"exp": "9999999999"}, "exp", id="whose end is no number"),
        pytest.param({"iat": NOW_S + 61}, "iat", id="of the future"),
        pytest.param({"iat": None}, "iat", id="of no time"),
        pytest.param({"iat": NOW_S - 700}, "before this sign-in", id="of long ago"),
        pytest.param({"nbf": NOW_S + 100}, "nbf", id="not valid yet"),
        pytest.param({"nonce": "another"}, "nonce", id="of another sign-in"),
        pytest.param({"nonce": None}, "nonce", id="of no sign-in"),
        pytest.param({"nonce": ["x"]}, "nonce", id="whose nonce is a list"),
        pytest.param({"sub": None}, "sub", id="about nobody"),
        pytest.param({"sub": ""}, "sub", id="about an empty name"),
        pytest.param({"sub": 7}, "sub", id="about a number"),
        pytest.param({"sub": "u" * 256}, "longer", id="about too long a name"),
        pytest.param({"at_hash": "AAAA"}, "at_hash", id="for another access token"),
        pytest.param({"at_hash": 7}, "claims", id="whose at_hash is a number"),
        pytest.param({"amr": "pwd"}, "amr", id="whose amr is text"),
    ],
)
def test_a_token_that_does_not_say_what_it_must(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(Untrue, match=why) as refused:
        read(sign(said(**claims), KEY, "ES256"))
    assert not isinstance(refused.value, KeyUnknown)  # other keys would not mend it


def _changed() -> str:
    head, _, signature = sign(CLAIMS, KEY, "ES256").split(".")
    return f"{head}.{b64u(json.dumps(said(sub='u-2')).encode())}.{signature}"


SHARED = OctKey.import_key(SECRET)
PUBLIC = OctKey.import_key(b64u(KEY.as_pem(private=False)))
EVIL = ec_key("evil")


@pytest.mark.parametrize(
    ("token", "why"),
    [
        pytest.param(unsigned(CLAIMS), "alg must be one of", id="alg none"),
        pytest.param(unsigned(CLAIMS, "nOnE"), "alg must be one of", id="alg none, spelt otherwise"),
        pytest.param(unsigned(CLAIMS, "ES256"), "signature", id="an alg and no signature"),
        pytest.param(sign(CLAIMS, KEY, "ES256").rpartition(".")[0] + ".", "signature", id="its signature taken away"),
        pytest.param(sign(CLAIMS, PUBLIC, "HS256", kid=KEY.kid), "alg", id="HMAC with the public key"),
        pytest.param(sign(CLAIMS, PUBLIC, "ES256", by="HS256", kid=KEY.kid), "signature", id="HMAC said to be ES256"),
        pytest.param(sign(CLAIMS, SHARED, "HS256", kid=KEY.kid), "alg", id="HMAC with the client's secret"),
        pytest.param(sign(CLAIMS, ec_key(), "ES256"), "signature", id="another key under the same kid"),
        pytest.param(sign(CLAIMS, EVIL, "ES256"), "no keys", id="a kid that is unknown"),
        pytest.param(
            sign(CLAIMS, EVIL, "ES256", jwk=EVIL.as_dict(private=False), kid=None), "signature", id="a key inside it"
        ),
        pytest.param(sign(CLAIMS, EVIL, "ES256", jku="https://evil.example/keys"), "no keys", id="a key elsewhere"),
        pytest.param(sign(CLAIMS, KEY, "ES256", crit=["exp"], exp=1), "extension", id="an extension"),
        pytest.param(sign(CLAIMS, KEY, "ES256", b64=False), "extension", id="another way of encoding"),
        pytest.param(sign(CLAIMS, KEY, "ES256", kid=7), "kid must be text", id="a kid that is a number"),
        pytest.param(sign(CLAIMS, KEY, ["ES256"], by="ES256"), "alg must be", id="an alg that is a list"),  # type: ignore[arg-type]
        pytest.param(_changed(), "signature", id="claims that were changed"),
        pytest.param(sign(CLAIMS, KEY, "ES256") + ".a.b", "three parts", id="five parts"),
        pytest.param("token", "three parts", id="no token"),
        pytest.param("ä.b.c", "three parts", id="letters that no token has"),
        pytest.param("a.b.c", "header", id="a header that is none"),
        pytest.param(sign(said(x="a" * 70_000), KEY, "ES256"), "three parts", id="too much"),
        pytest.param(
            sign(json.dumps(CLAIMS)[:-1].encode() + b', "sub": "u-1"}', KEY, "ES256"), "payload", id="a claim twice"
        ),
        pytest.param(sign(b"[]", KEY, "ES256"), "payload", id="a list"),
        pytest.param(sign(b"{", KEY, "ES256"), "payload", id="no JSON"),
    ],
)
def test_a_token_that_the_provider_did_not_sign_so(token: str, why: str) -> None:
    with pytest.raises(Untrue, match=why):
        read(token)


@pytest.mark.parametrize(
    ("key", "alg"),
    [(ec_key, "ES256"), (okp_key, "EdDSA"), (rsa_key, "RS256"), (rsa_key, "PS256")],
    ids=["ES256", "EdDSA", "RS256", "PS256"],
)
def test_every_way_of_signing_that_counts(key: Callable[[], Key], alg: str) -> None:
    one = key()
    assert read(sign(CLAIMS, one, alg), KEY if alg != "ES256" else okp_key(), one).sub == "u-1"


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        pytest.param(lambda: rsa_key(bits=1024), "RS256", id="a short RSA key"),
        pytest.param(lambda: ECKey.generate_key("P-384", {"kid": "e"}), "ES384", id="another curve"),
        pytest.param(lambda: OKPKey.generate_key("Ed448", {"kid": "e"}), "EdDSA", id="another Edwards curve"),
        pytest.param(rsa_key, "RS512", id="an alg that is not on the list"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_true_signature_of_a_kind_that_does_not_count(key: Callable[[], Key], alg: str) -> None:
    one = key()
    with pytest.raises(Untrue):
        read(sign(CLAIMS, one, alg), one)


OWN = KEY.as_dict(private=False)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param([{**OWN, "use": "enc"}], id="a key for secrecy"),
        pytest.param([{**OWN, "alg": "ES384"}], id="a key for another alg"),
        pytest.param([{"kty": "oct", "kid": KEY.kid, "k": "eA"}], id="a shared secret"),
        pytest.param([KEY.as_dict(private=True)], id="a private key, which is none any more"),
        pytest.param([OWN, {**ec_key().as_dict(private=False)}], id="two keys under one kid"),
        pytest.param([{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": KEY.kid}], id="no point"),
        pytest.param([{**OWN, "x": 7}], id="a number for a point"),
        pytest.param(["x", 7, None, {}], id="no keys at all"),
        pytest.param([okp_key("ec-1")], id="a key of another kind under its kid"),
    ],
)
def test_a_key_set_without_the_one_key(keys: list[Any]) -> None:
    token = sign(CLAIMS, KEY, "ES256")
    with pytest.raises(KeyUnknown):
        read(token, *keys)
    assert read(token, {"kty": "new"}, {"kty": "AKP", "pub": "x"}, OWN).sub == "u-1"  # what is unknown is passed over


@pytest.mark.parametrize(
    "data",
    [b"[]", b"{}", b'{"keys": {}}', b"no", published(*[{}] * (MOST_KEYS + 1))],
    ids=["a list", "nothing", "a mapping", "no JSON", "too many"],
)
def test_what_is_no_key_set(data: bytes) -> None:
    with pytest.raises(Rejected, match="key set"):
        read_keys(data)


def test_a_token_without_a_kid_is_by_the_only_key_of_its_kind() -> None:
    token = sign(CLAIMS, KEY, "ES256", kid=None)
    assert read(token, OWN, rsa_key()).sub == "u-1"
    with pytest.raises(KeyUnknown, match="2 keys"):
        read(token, OWN, ec_key("ec-2"))


@pytest.mark.parametrize(
    ("auth_time", "why"),
    [(NOW_S, ""), (NOW_S - 3660, ""), (NOW_S - 3661, "longer ago"), (None, "auth_time"), (True, "auth_time")],
    ids=["now", "an hour ago", "longer ago", "it does not say", "it says true"],
)
def test_how_long_ago_the_provider_asked_for_a_proof(auth_time: object, why: str) -> None:
    token = sign(said(auth_time=auth_time), KEY, "ES256")
    if not why:
        assert read(token, max_age=timedelta(hours=1)).sub == "u-1"
        return
    with pytest.raises(Untrue, match=why):
        read(token, max_age=timedelta(hours=1))


ODD = [None, True, -1, 1e400, 10**30, "", "x", [], ["x"], {}, {"a": 1}, [None], "\ud800"]


@pytest.mark.parametrize(
    "claim", ["iss", "sub", "aud", "exp", "iat", "nbf", "nonce", "azp", "at_hash", "auth_time", "amr"]
)
def test_claims_of_any_kind_are_refused_in_words_or_count(claim: str) -> None:
    for value in ODD:
        payload = json.dumps({**CLAIMS, claim: value}).replace("Infinity", "1e400").encode()
        try:
            read(sign(payload, KEY, "ES256"), max_age=timedelta(hours=1) if claim == "auth_time" else None)
        except Untrue:
            continue
        assert claim not in ("iss", "iat", "nonce") and (claim != "sub" or value == "x"), (claim, value)


# --- what a provider says of itself ----------------------------------------------------------------------------------

PROVIDER = OidcProvider(
    issuer=ISSUER, client_id=CLIENT, name="Acme Login", client_secret=SecretSource(environment="OIDC_SECRET")
)
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": "https://token.login.example/token",
    "jwks_uri": f"{ISSUER}/keys",
}


def described(provider: OidcProvider = PROVIDER, **about: Any) -> Metadata:
    told = {name: value for name, value in {**DOCUMENT, **about}.items() if value is not None}
    return read_metadata(json.dumps(told).encode(), provider)


def test_a_provider_that_says_no_more_than_it_must_is_used() -> None:
    assert described() == Metadata(
        authorization_endpoint=f"{ISSUER}/authorize?tenant=1",
        token_endpoint="https://token.login.example/token",
        jwks_uri=f"{ISSUER}/keys",
        names_itself=False,
        auth_method="client_secret_basic",
    )
    assert described(token_endpoint_auth_methods_supported=["client_secret_post"]).auth_method == "client_secret_post"
    assert described(replace(PROVIDER, client_secret=None)).auth_method == "none"
    assert described(authorization_response_iss_parameter_supported=True).names_itself


@pytest.mark.parametrize(
    ("about", "why"),
    [
        pytest.param({"issuer": "https://evil.example"}, "calls itself", id="another provider"),
        pytest.param({"issuer": None}, "calls itself nothing", id="without a name"),
        pytest.param({"token_endpoint": "http://127.0.0.1/token"}, "token_endpoint must be https", id="plain http"),
        pytest.param({"jwks_uri": "file:///etc/passwd"}, "jwks_uri must be a URL", id="a file"),
        pytest.param({"jwks_uri": None}, "jwks_uri must be a URL", id="without keys"),
        pytest.param({"jwks_uri": "https://a:b@localhost/keys"}, "without a user", id="a password in a URL"),
        pytest.param({"authorization_endpoint": "javascript:alert(1)"}, "must be a URL", id="a script"),
        pytest.param({"authorization_endpoint": "https://a/b#c"}, "fragment", id="a fragment"),
        pytest.param({"response_types_supported": ["id_token"]}, "gives no codes", id="the implicit flow"),
        pytest.param({"code_challenge_methods_supported": ["plain"]}, "PKCE with S256", id="PKCE without a hash"),
        pytest.param({"id_token_signing_alg_values_supported": ["HS256", "none"]}, "none of these ways", id="HMAC"),
        pytest.param({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, "client secret", id="no secret"),
        pytest.param({"response_types_supported": "code"}, "must be a list", id="text for a list"),
        pytest.param({"token_endpoint": "https://[::1/token"}, "must be a URL", id="half an address"),
        pytest.param({"token_endpoint": "https://a:x/token"}, "must be a URL", id="no port"),
        pytest.param({"token_endpoint": "https:///token"}, "must be a URL", id="no host"),
    ],
)
def test_a_provider_that_says_something_else_of_itself_is_not_used(about: dict[str, Any], why: str) -> None:
    with pytest.raises(Rejected, match=why) as refused:
        described(**about)
    assert refused.value.code is Code.UPSTREAM_BROKEN


@pytest.mark.parametrize(
    ("issuer", "endpoint", "counts"),
    [
        ("http://localhost:9000", "http://localhost:9000/token", True),
        ("http://127.0.0.1:9000", "http://[::1]:9000/token", True),
        ("http://localhost:9000", "https://login.example/token", True),
        ("http://localhost:9000", "http://login.example/token", False),
        ("http://localhost:9000", "http://localhost.example/token", False),
        ("https://localhost:9000", "http://localhost:9000/token", False),
    ],
)
def test_plain_http_is_for_a_provider_on_this_machine(issuer: str, endpoint: str, counts: bool) -> None:
    provider = replace(PROVIDER, issuer=issuer)
    about = {"issuer": issuer, "token_endpoint": endpoint}
    if counts:
        assert described(provider, **about).token_endpoint == endpoint
        return
    with pytest.raises(Rejected, match="must be https"):
        described(provider, **about)


async def test_so_many_sign_in_at_once_and_no_more() -> None:
    stuck, asked = asyncio.Event(), []

    async def ask(url: str, *, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        if body is None:
            return Answer(status=200, body=published(KEY) if url.endswith("/keys") else json.dumps(DOCUMENT).encode())
        asked.append(url)
        await stuck.wait()
        return Answer(status=400, body=b'{"error": "invalid_grant"}')

    provider = Provider(PROVIDER, ask=ask, secret=lambda: SECRET, clock=lambda: identities.NOW)

    async def redeem() -> Told:
        return await provider.redeem("c", back="https://desk.example/enter/oidc/back", nonce="n", verifier="v" * 43)

    first = [asyncio.ensure_future(redeem()) for _ in range(MOST_AT_ONCE)]
    while len(asked) < MOST_AT_ONCE:
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="too many people"):
        await redeem()
    stuck.set()
    assert all(isinstance(each, NotRedeemed) for each in await asyncio.gather(*first, return_exceptions=True))
    with pytest.raises(NotRedeemed, match="400, invalid_grant"):
        await redeem()
