"""Refusals in the form that a program shows to its user, and everything else as it is."""

import json

import pytest

from proxy.agent.sidecar.telling import Form, form_of, retold
from proxy.core.encoding import Json

GIT, PIP, UV, CURL = b"git/2.39.5", b'pip/24.2 {"python":"3.13"}', b"uv/0.13.9", b"curl/8.5.0"
SIMPLE = (b"Accept", b"application/vnd.pypi.simple.v1+json, text/html; q=0.01")
PROBLEM = [(b"Content-Type", b"application/problem+json"), (b"Cache-Control", b"no-store"), (b"Content-Length", b"9")]
MESSAGE = 'mandate.not_covered: "GET" \u2014 ask http://intent.internal/holds/h-1\x1b[2J\r\nX: y'
PLAIN = 'mandate.not_covered: "GET" ? ask http://intent.internal/holds/h-1?[2J??X: y'


def document(**changed: Json) -> bytes:
    code = "mandate.not_covered"
    members = {"type": f"http://intent.internal/problems/{code}", "code": code, "message": MESSAGE}
    return json.dumps({**members, **changed}).encode()


@pytest.mark.parametrize(
    ("method", "lines", "form"),
    [
        pytest.param(b"GET", [(b"User-Agent", GIT)], Form.TEXT, id="git looks"),
        pytest.param(
            b"POST",
            [(b"User-Agent", GIT), (b"Content-Type", b"application/x-git-upload-pack-request")],
            Form.GIT_FETCH,
            id="git fetches",
        ),
        pytest.param(
            b"POST",
            [(b"User-Agent", GIT), (b"Content-Type", b"application/x-git-receive-pack-request")],
            Form.GIT_PUSH,
            id="git pushes",
        ),
        pytest.param(b"GET", [(b"User-Agent", PIP), SIMPLE], Form.PIP_LIST, id="pip asks for a list"),
        pytest.param(b"GET", [(b"User-Agent", PIP)], Form.USUAL, id="pip fetches a file, whose refusal it shows"),
        pytest.param(b"GET", [(b"User-Agent", UV), SIMPLE], Form.UV, id="uv"),
        pytest.param(b"GET", [(b"User-Agent", CURL), SIMPLE], Form.USUAL, id="another that wants the same"),
        pytest.param(b"GET", [], Form.USUAL, id="who does not say"),
    ],
)
def test_who_shows_what(method: bytes, lines: list[tuple[bytes, bytes]], form: Form) -> None:
    assert form_of(method, lines) is form


def test_git_is_told_in_its_own_protocol() -> None:
    status, lines, body = retold(Form.GIT_FETCH, 403, PROBLEM, document())
    assert (status, lines[1]) == (200, (b"Content-Type", b"application/x-git-upload-pack-result"))
    assert body == f"{len(PLAIN) + 9:04x}ERR {PLAIN}\n".encode()
    assert lines[0] == (b"Cache-Control", b"no-store") and lines[2] == (b"Content-Length", str(len(body)).encode())
    status, lines, body = retold(Form.GIT_PUSH, 403, PROBLEM, document())
    assert (status, lines[1]) == (200, (b"Content-Type", b"application/x-git-receive-pack-result"))
    assert body == f"{len(PLAIN) + 6:04x}\x03{PLAIN}\n".encode()


def test_git_that_looks_is_told_in_plain_text() -> None:
    status, lines, body = retold(Form.TEXT, 403, PROBLEM, document())
    assert (status, dict(lines)[b"Content-Type"], body) == (403, b"text/plain; charset=utf-8", f"{PLAIN}\n".encode())


def test_pip_is_told_in_the_type_of_a_page_that_it_cannot_read() -> None:
    status, lines, _ = retold(Form.PIP_LIST, 403, PROBLEM, document())
    quoted = PLAIN.replace('"', "'").encode()
    assert (status, dict(lines)[b"Content-Type"]) == (200, b'text/plain; refused="' + quoted + b'"')


@pytest.mark.parametrize(("status", "told"), [(403, 423), (401, 423), (429, 429), (503, 503)])
def test_uv_is_told_with_a_status_that_does_not_mean_passwords(status: int, told: int) -> None:
    assert retold(Form.UV, status, PROBLEM, document()) == (told, PROBLEM, document())


AS_IT_IS = [
    pytest.param(Form.USUAL, 403, document(), id="whoever shows what comes"),
    pytest.param(Form.PIP_LIST, 503, document(), id="pip asks again by itself where nobody could tell"),
    pytest.param(Form.GIT_FETCH, 200, document(), id="what was not refused"),
    pytest.param(Form.UV, 401, document(type="https://api.example/problems/login"), id="an origin's own question"),
    pytest.param(Form.UV, 407, document(), id="the question for the sidecar's password, which it answers"),
    pytest.param(Form.GIT_FETCH, 407, document(), id="and git only then"),
    pytest.param(Form.GIT_FETCH, 404, b"not a document", id="what cannot be read"),
]


@pytest.mark.parametrize(("form", "status", "body"), AS_IT_IS)
def test_anything_else_stays_as_it_is(form: Form, status: int, body: bytes) -> None:
    assert retold(form, status, PROBLEM, body) == (status, PROBLEM, body)


def test_a_message_without_an_end_is_cut() -> None:
    _, lines, body = retold(Form.GIT_PUSH, 403, PROBLEM, document(message="x" * 100_000))
    assert len(body) < 5000 and len(lines) == 3
    assert retold(Form.TEXT, 403, PROBLEM, document(message=7))[2] == b"refused\n"
