"""What of an address and of values nobody is shown unasked: credentials by their name or their shape."""

from dataclasses import replace

import pytest
from identities import NOW, leg, received

from proxy.core.canonical import canonicalise
from proxy.core.errors import Code
from proxy.core.hiding import hidden_parts, hides, is_credential, masked_decision, masked_path, masked_url, names_secret
from proxy.core.model import Call, Decision, Mismatch, Nearest, RuleRef, Verdict

TOKEN = "q8Zr3LxP0vKd7TnW2sYb5HcJ"
HEX = "3f786850e387550fdab836ed7e6dc881de23001b"


def call(url: str) -> Call:
    asked = replace(received("POST", url), form="absolute", authority=url.split("/")[2].encode())
    return canonicalise(asked, leg(local=True))


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        pytest.param("/bot123456:ABC-DEF/sendMessage", "bot123456:ABC-DEF", id="the token of a bot"),
        pytest.param("/services/T000/B000/XXXX", "XXXX", id="the last part of an incoming webhook"),
        pytest.param(f"/api/webhooks/123456789012345678/{TOKEN}", TOKEN, id="a long text without words"),
        pytest.param(f"/v1/{HEX}/data", HEX, id="many hexadecimal digits"),
        pytest.param("/v1/sk-live-abcdefghijkl", "sk-live-abcdefghijkl", id="a key with its issuer's prefix"),
        pytest.param(f"/v1/{'word-' * 201}", "word-" * 201, id="what is too long to be read"),
        pytest.param("/token/abc123", "abc123", id="what follows the word token"),
        pytest.param("/v1/x;jsessionid=abc", "x;jsessionid=abc", id="a matrix parameter with a name"),
        pytest.param("/v1/sk%2Dlive-abcdefghijkl", "sk%2Dlive-abcdefghijkl", id="the same, escaped"),
        pytest.param(
            "/fetch/https%3A%2F%2Fann:pw@x.example", "https%3A%2F%2Fann:pw@x.example", id="userinfo in an address"
        ),
        pytest.param(
            "/session/00000000-1111-2222-3333-444444444444", "00000000-1111-2222-3333-444444444444", id="a session's id"
        ),
    ],
)
def test_a_credential_in_a_path_is_hidden_and_its_length_is_told(path: str, secret: str) -> None:
    assert masked_path(path) == path.replace(secret, f"(hidden, {len(secret)} characters)")
    assert masked_path(path, hide=lambda part: f"<{part}>") == path.replace(secret, f"<{secret}>")
    assert masked_path(masked_path(path)) == masked_path(path), "what is hidden is not hidden again"


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/v1/customers/42", id="a number"),
        pytest.param("/p/11111111111111111111111111", id="a long number"),
        pytest.param("/decisions/0002-layers-not-patches.md", id="words and a number"),
        pytest.param("/x/listAllCustomersInRegion2", id="words without dashes"),
        pytest.param("/auth/login", id="a word after a word"),
        pytest.param("/auth/v1beta1", id="a version after a word"),
        pytest.param("/keys/{id}", id="a template"),
        pytest.param("/u/00000000-1111-2222-3333-444444444444", id="a UUID"),
        pytest.param("/services/T000/B000/", id="nothing"),
        pytest.param("/services/t1/b1/XXXX", id="services of another kind"),
        pytest.param("/x;v=1", id="a matrix parameter with another name"),
        pytest.param("/", id="no path"),
    ],
)
def test_what_says_which_one_is_shown(path: str) -> None:
    assert masked_path(path) == path and not any(hidden_parts(path.split("/")))


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        pytest.param(f"/hook/{TOKEN}", "/hook/(hidden, 24 characters)", id="in the path"),
        pytest.param(f"/hook/{TOKEN}?a=1", "/hook/(hidden, 24 characters)?a=1", id="in the path, with a query"),
        pytest.param("/x?sig=abc", "/x?sig=keyed:ABC", id="a name that only eyes look for"),
        pytest.param("/x?to=https://ann:pw@x/", "/x?to=keyed:HTTPS://ANN:PW@X/", id="userinfo in a value"),
        pytest.param("/x?next=%3Ftoken%3Dabc", "/x?next=keyed:?TOKEN=ABC", id="a query in a value"),
        pytest.param("/x?q=token", "/x?q=token", id="nothing to hide"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    masked = masked_url(
        call(f"https://erp.example{url}"), lambda value: value.upper().replace("%3F", "?").replace("%3D", "=")
    )
    assert masked == f"https://erp.example{shown}"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", id="a JWT"),
        pytest.param("Bearer abcdefgh", id="a bearer token"),
        pytest.param("ghp_0123456789abcdef", id="a key with a prefix"),
        pytest.param("-----BEGIN EC PRIVATE KEY-----", id="a private key"),
        pytest.param("https://ann:pw@x.example/", id="userinfo"),
    ],
)
def test_a_credential_is_known_by_its_shape(text: str) -> None:
    assert is_credential(text) and hides("note", text)


@pytest.mark.parametrize("text", ["", "the Bearer of this", "https://x.example/a:b@c", "risk-of-something-long-1"])
def test_other_texts_are_none(text: str) -> None:
    assert not is_credential(text) and not hides("note", text)


def test_names_say_what_is_hidden() -> None:
    assert names_secret("password") and names_secret("PWD") and not names_secret("code")
    assert hides("password", "x") and not hides("password", "")


@pytest.mark.parametrize(
    ("field", "got", "shown"),
    [
        pytest.param("path", f"/hook/{TOKEN}", "/hook/(hidden, 24 characters)", id="the path"),
        pytest.param("action", f"POST /hook/{TOKEN}", "POST /hook/(hidden, 24 characters)", id="method and path"),
        pytest.param("query.token", "s3cret", "(hidden, 6 characters)", id="a parameter by its name"),
        pytest.param("query.token", "absent", "absent", id="a parameter that is not there"),
        pytest.param("query.token", "", "", id="nothing was got"),
        pytest.param("query.page", "7", "7", id="another parameter"),
        pytest.param("body./user/password", "s3cret", "(hidden, 6 characters)", id="a member by its name"),
        pytest.param("body./amount", "7", "7", id="another member"),
        pytest.param("body./note", "Bearer abcdefgh", "(hidden, 15 characters)", id="a member by its shape"),
        pytest.param("constraints.params.id", TOKEN, "(hidden, 24 characters)", id="a part of the path"),
        pytest.param("constraints.params.id", "42", "42", id="another part"),
        pytest.param("host", "keys.example", "keys.example", id="a host"),
    ],
)
def test_what_was_asked_is_told_without_credentials(field: str, got: str, shown: str) -> None:
    wrong = Mismatch(field=field, expected="x", got=got)
    near = Nearest(cluster="c", operation="o", rule=RuleRef(id="r", file="f", line=1), failed=(wrong,))
    asked = Decision(
        decision_id="d-1",
        verdict=Verdict.HOLD,
        code=Code.NOT_COVERED,
        message="",
        at=NOW,
        failed=(wrong,),
        nearest=(near,),
    )
    masked = masked_decision(asked, call(f"https://erp.example/hook/{TOKEN}"))
    assert masked.failed == masked.nearest[0].failed == (replace(wrong, got=shown),)


def test_a_decision_that_names_nothing_that_was_asked_is_told_as_it_is() -> None:
    asked = Decision(decision_id="d-1", verdict=Verdict.ALLOW, code=Code.ALLOWED, message="", at=NOW)
    assert masked_decision(asked, call(f"https://erp.example/hook/{TOKEN}")) is asked
