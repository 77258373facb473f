"""A credential on its way out, and out of everything that comes back."""

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import parse_qsl, quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.credential import Credential, Way
from proxy.core.injection import REMOVED, Fields, Injection, fits, inject, read_secret

VALUE = "s3/cr+et \"&<'x=="
OF = {
    Way.BEARER: Credential(secret="s", way=Way.BEARER),
    Way.HEADER: Credential(secret="s", way=Way.HEADER, name="X-Api-Key"),
    Way.QUERY: Credential(secret="s", way=Way.QUERY, name="key"),
    Way.BASIC: Credential(secret="s", way=Way.BASIC, name="svc"),
}
IDENTITY = (b"Accept-Encoding", b"identity")


def injection(way: Way = Way.BEARER, value: str = VALUE) -> Injection:
    return Injection(credential=OF[way], to=("https", "erp.example", 443), value=value)


def sent(way: Way, fields: Fields = (), target: bytes = b"/a?b=1") -> tuple[Fields, bytes]:
    return inject(injection(way, "secret-value"), fields, target)


# --- the secret ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b"12345678", "12345678", id="as it is"),
        pytest.param(b"12345678\n", "12345678", id="one line end is not of it"),
        pytest.param(b"12345678\r\n", "12345678", id="nor is the other kind"),
        pytest.param(b"Token 12345", "Token 12345", id="a space within"),
        pytest.param(b"x" * 4096, "x" * 4096, id="the longest"),
    ],
)
def test_what_can_be_a_secret(data: bytes, value: str) -> None:
    assert read_secret(data) == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"", "8 to 4096 characters, got 0", id="nothing"),
        pytest.param(b"1234567\n", "got 7", id="too short to be told from other text"),
        pytest.param(b"x" * 4097, "got 4097", id="too long"),
        pytest.param(b"12345678\n\n", "one line", id="two line ends"),
        pytest.param(b"1234\n5678", "one line", id="two lines"),
        pytest.param(b" 12345678", "without space around it", id="space before it"),
        pytest.param(b"12345678 ", "without space around it", id="space behind it"),
        pytest.param("pässword1".encode(), "printable ASCII", id="other letters"),
        pytest.param(b"1234\x005678", "printable ASCII", id="a control character"),
    ],
)
def test_what_cannot(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        read_secret(data)
    assert "1234" not in str(refused.value)


def test_a_bearer_token_has_no_space() -> None:
    assert not fits(OF[Way.BEARER], "Token 12345")
    assert fits(OF[Way.BEARER], "Token-12345")
    assert fits(OF[Way.HEADER], "Token 12345")


def test_no_repr_tells_it() -> None:
    assert VALUE not in repr(injection())
    assert "s3/cr" not in repr(injection())


# --- out -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "before", "after"),
    [
        pytest.param(
            Way.BEARER,
            ((b"Accept", b"*/*"), (b"authorization", b"Bearer mine"), (b"Cookie", b"a=b")),
            ((b"Accept", b"*/*"), (b"Cookie", b"a=b"), IDENTITY, (b"Authorization", b"Bearer secret-value")),
            id="in place of the agent's own",
        ),
        pytest.param(
            Way.BASIC,
            (),
            (IDENTITY, (b"Authorization", b"Basic " + base64.b64encode(b"svc:secret-value"))),
            id="as a password",
        ),
        pytest.param(
            Way.HEADER,
            ((b"X_API_KEY", b"a"), (b"x-api-key", b"b"), (b"X-Api-Keys", b"c"), (b"\xff", b"d"), (b"x.api!KEY", b"e")),
            ((b"X-Api-Keys", b"c"), (b"\xff", b"d"), IDENTITY, (b"X-Api-Key", b"secret-value")),
            id="in place of all that servers read as the same",
        ),
        pytest.param(
            Way.BEARER,
            ((b"grpc-accept-encoding", b"gzip"), (b"Connect-Accept-Encoding", b"br"), (b"grpc-encoding", b"identity")),
            ((b"grpc-encoding", b"identity"), IDENTITY, (b"Authorization", b"Bearer secret-value")),
            id="no message of gRPC or Connect comes compressed, either",
        ),
        pytest.param(
            Way.QUERY,
            ((b"accept-encoding", b"gzip"), (b"Key", b"stays")),
            ((b"Key", b"stays"), IDENTITY),
            id="a header of the parameter's name is another thing",
        ),
    ],
)
def test_the_fields_that_leave(way: Way, before: Fields, after: Fields) -> None:
    fields, target = sent(way, before)
    assert fields == after
    assert way is Way.QUERY or target == b"/a?b=1"


@pytest.mark.parametrize(
    ("target", "leaves"),
    [
        pytest.param(b"/a", b"/a?key=secret-value", id="no query"),
        pytest.param(b"/a?", b"/a?key=secret-value", id="an empty one"),
        pytest.param(b"/a?b=1&&c=%26", b"/a?b=1&c=%26&key=secret-value", id="others stay as they are written"),
        pytest.param(b"/a?key=x&b=1&key=y", b"/a?b=1&key=secret-value", id="the agent's own goes"),
        pytest.param(b"/a?k%65y=x&key&b=key", b"/a?b=key&key=secret-value", id="however it is spelt"),
        pytest.param(b"/a?key[]=x&key[a]=y&keys=1", b"/a?keys=1&key=secret-value", id="and what extends it"),
    ],
)
def test_the_target_that_leaves(target: bytes, leaves: bytes) -> None:
    assert sent(Way.QUERY, (), target)[1] == leaves


def test_what_has_a_meaning_in_a_query_is_escaped() -> None:
    target = inject(injection(Way.QUERY), (), b"/a")[1].decode()
    assert parse_qsl(target.partition("?")[2]) == [("key", VALUE)]


# --- back ------------------------------------------------------------------------------------------------------------


def written(**instead: str) -> str:
    """As an encoder does that has its own way with these characters."""
    names = {"amp": "&", "quot": '"', "apos": "'", "lt": "<", "gt": ">", "plus": "+", "equals": "=", "slash": "/"}
    return VALUE.translate({ord(names[name]): text for name, text in instead.items()})


ECHOES = {
    "as it is": VALUE,
    "in capitals": VALUE.upper(),
    "in a URL": quote(VALUE),
    "in a URL, its slash, too": quote(VALUE, safe=""),
    "in a form": quote_plus(VALUE),
    "in a URL, in small letters": re.sub("%..", lambda escape: escape[0].lower(), quote(VALUE, safe="")),
    "in the URL within a URL": quote(quote(VALUE, safe=""), safe=""),
    "by encodeURIComponent": quote(VALUE, safe="!*'()"),
    "in JSON": json.dumps(VALUE)[1:-1],
    "in JSON within JSON": json.dumps(json.dumps(VALUE))[3:-3],
    "in JSON by PHP": json.dumps(VALUE)[1:-1].replace("/", r"\/"),
    "in JSON by Go": written(amp=r"\u0026", lt=r"\u003c", quot=r"\""),
    "in JSON by Gson": written(amp=r"\u0026", lt=r"\u003c", equals=r"\u003d", apos=r"\u0027", quot=r"\""),
    "in JSON by .NET": written(amp=r"\u0026", lt=r"\u003C", plus=r"\u002B", apos=r"\u0027", quot=r"\u0022", equals="="),
    "in HTML": html.escape(VALUE),
    "in HTML between tags": html.escape(VALUE, quote=False),
    "in HTML by Go": written(amp="&amp;", lt="&lt;", quot="&#34;", apos="&#39;", plus="&#43;"),
    "in HTML by PHP": written(amp="&amp;", lt="&lt;", quot="&quot;", apos="&#039;"),
    "in HTML by .NET": written(amp="&amp;", lt="&lt;", quot="&quot;", apos="&#x27;", plus="&#x2B;"),
    "in HTML by Mustache": written(amp="&amp;", lt="&lt;", quot="&quot;", slash="&#x2F;", equals="&#x3D;"),
    "in a string of Ruby": written(quot=r"\""),
    "in base64": base64.b64encode(VALUE.encode()).decode().rstrip("="),
    "in base64 for URLs": base64.urlsafe_b64encode(VALUE.encode()).decode().rstrip("="),
    "in base64 in a URL": quote(base64.b64encode(VALUE.encode()).decode().rstrip("="), safe=""),
    "in hexadecimal": VALUE.encode().hex(),
}
echoes = pytest.mark.parametrize("echo", [pytest.param(echo, id=name) for name, echo in ECHOES.items()])


@echoes
def test_a_head_does_not_repeat_it(echo: str) -> None:
    fields = injection().fields(((b"Location", f"https://erp.example/?k={echo}&a=1".encode()), (b"X", b"other")))
    assert fields == ((b"Location", b"https://erp.example/?k=" + REMOVED + b"&a=1"), (b"X", b"other"))


def test_a_secret_of_digits_does_not_break_the_message() -> None:
    told = injection(value="12345678").fields(((b"Content-length", b"12345678"), (b"X-Length", b"12345678")))
    assert told == ((b"Content-length", b"12345678"), (b"X-Length", REMOVED))


def test_nor_the_pair_that_a_password_was_sent_in() -> None:
    pair = base64.b64encode(f"svc:{VALUE}".encode())
    assert injection(Way.BASIC).in_head(b"Basic " + pair) == b"Basic " + REMOVED + b"=" * pair.count(b"=")


@pytest.mark.parametrize("before", range(4))
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["base64", "base64 for URLs"])
def test_nor_a_longer_text_in_base64_that_holds_it(before: int, encode: Callable[[bytes], bytes]) -> None:
    """What is left tells less than a character at either end."""
    text = b"x" * before + VALUE.encode() + b"behind it"
    told = injection().in_head(encode(text))
    first, removed, last = told.partition(REMOVED)
    assert removed
    assert VALUE[1:4].encode() not in base64.urlsafe_b64decode(first + b"A" * (-len(first) % 4))
    assert len(first) == -(-8 * before // 6)
    assert len(last) == len(encode(text)) - 8 * (before + len(VALUE)) // 6


def passed(parts: list[bytes], value: str = VALUE) -> bytes:
    mask = injection(value=value).body()
    return b"".join(mask.pass_on(part) for part in parts) + mask.end()


def is_masked(result: bytes, text: bytes, echo: bytes) -> bool:
    """Whether all of every echo is masked, but for less than half of it, and the last of base64 (four bits)."""
    places = [at for at in range(len(text)) if text.startswith(echo, at)]
    whole = text.replace(echo, b"*" * len(echo))
    beginnings = {at + more for at in places for more in (*range(len(echo) // 2), len(echo) - 1)}
    return len(result) == len(text) and all(
        got == hidden or (at in beginnings and got == plain)
        for at, (got, hidden, plain) in enumerate(zip(result, whole, text, strict=True))
    )


@echoes
def test_a_body_does_not_repeat_it_wherever_it_is_cut(echo: str) -> None:
    text = f"before {echo} between {echo}{echo} after".encode()
    assert passed([text]) == text.replace(echo.encode(), b"*" * len(echo))
    for at in range(len(text)):
        assert is_masked(passed([text[:at], text[at:]]), text, echo.encode()), at
    assert is_masked(passed([text[at : at + 1] for at in range(len(text))]), text, echo.encode())


def test_only_what_looks_much_like_it_comes_late() -> None:
    mask = injection(value="abcdefgh").body()
    assert mask.pass_on(b"a message that ends in abc") == b"a message that ends in abc"
    assert mask.pass_on(b"defgh!") == b"*****!", "it was the beginning after all"
    assert mask.pass_on(b"-abcd") == b"-"
    assert mask.pass_on(b"e") == b""
    assert mask.pass_on(b"x") == b"abcdex"
    assert mask.pass_on(b"ab") == b"ab"
    assert mask.pass_on(b"cd") == b"", "the rest of it waits"
    assert mask.pass_on(b"efgh") == b"******"
    assert mask.pass_on(b"=abc") == b"=abc"
    assert mask.end() == b""
    assert mask.pass_on(b"=abcdefg") == b"="
    assert mask.end() == b"*******", "most of a secret is as good as all of it"
    assert mask.end() == b""


LONG = "tok-0123456789abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("known", [*range(1, len(LONG) - 16)])
def test_whoever_guesses_learns_nothing_of_the_next_character(known: int) -> None:
    """An origin that repeats what an agent sends it: the right guess and a wrong one look the same, and come alike."""
    for guess in (LONG[:known], LONG[: known - 1] + "!"):
        mask = injection(value=LONG).body()
        assert mask.pass_on(f"no such thing: {guess}".encode()) == f"no such thing: {guess}".encode()
        assert mask.end() == b""


def test_nor_does_whoever_knows_the_user_that_a_password_goes_with() -> None:
    """Most of the pair in base64 is no secret then."""
    basic = Credential(secret="s", way=Way.BASIC, name="service-account-for-invoices")
    its = Injection(credential=basic, to=("https", "erp.example", 443), value="hunter2-hunt")
    pair = base64.b64encode(b"service-account-for-invoices:hunter2-hunt")
    for known in range(1, len(pair) - 10):
        mask = its.body()
        assert mask.pass_on(pair[:known]) == pair[:known]
    assert its.body().pass_on(pair[:-8]) == b""


def test_of_a_long_one_sixteen_characters_never_pass() -> None:
    for at in range(len(LONG)):
        told = passed([LONG[:at].encode(), LONG[at:].encode()], LONG)
        assert told.endswith(b"*" * 16), at
        assert passed([LONG[:at].encode()], LONG) in (LONG[:at].encode(), b"*" * at)
        assert at < len(LONG) - 16 or passed([LONG[:at].encode()], LONG) == b"*" * at


@given(st.lists(st.sampled_from([b"a", b"b", b"ab", b"abababab", b"x", b"bababa"])))
def test_the_cuts_make_no_difference_to_what_is_left(parts: list[bytes]) -> None:
    whole = b"".join(parts)
    assert len(passed(parts, "abababab")) == len(whole)
    assert b"abababab" not in passed(parts, "abababab")
