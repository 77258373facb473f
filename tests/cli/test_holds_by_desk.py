"""`holds` and `reviewers` at a review desk elsewhere, by its API; and that a hostile desk gets nothing signed."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from apiclients import ALL, make
from certs import Authority
from clirun import cli, on_terminal
from identities import DEPUTY, SPONSOR, key
from roomservers import ServedRoom, served
from twisting import TwistedRoom, answering

from proxy.agent.keyfile import save_key
from proxy.cli import where
from proxy.cli.atdesk import DESK, TOKEN, AtDesk, read_place
from proxy.cli.deskclient import DeskClient
from proxy.cli.exits import Exit
from proxy.core.errors import Rejected, Unavailable
from proxy.core.model import Hold
from proxy.review.desk.tokens import Scope

OUTSIDE = "https://erp.example/v1/salaries"
BODY = b'{"amount": 1, "password": "s3cret-body"}'
_numbers = count()
SECRETS = (("Authorization", "Bearer s3cret-head"), ("Content-Type", "application/json"))


@pytest.fixture(scope="module")
def served_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedRoom]:
    with served(tmp_path_factory.mktemp("desk"), TwistedRoom) as desk:
        (desk.room.directory / "journal").mkdir(exist_ok=True)
        yield desk


@pytest.fixture
def desk(served_room: ServedRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServedRoom:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(where.ENVIRONMENT, raising=False)
    monkeypatch.delenv("INTENT_PROXY_AS", raising=False)
    monkeypatch.setenv(DESK, served_room.room.origins[1])
    use(served_room, monkeypatch, ALL)
    for name in (SPONSOR, DEPUTY):
        save_key(tmp_path / f"{name}.pem", key(name))
    room(served_room).twist = None
    return served_room


def room(desk: ServedRoom) -> TwistedRoom:
    assert isinstance(desk.room, TwistedRoom)
    return desk.room


def use(desk: ServedRoom, monkeypatch: pytest.MonkeyPatch, scopes: frozenset[Scope], person: str = SPONSOR) -> None:
    monkeypatch.setenv(TOKEN, make(desk.room, scopes, person))


def file(desk: ServedRoom, number: str, **about: object) -> Hold:
    hold = desk.file(f"{OUTSIDE}/{next(_numbers)}/{number}", **about)
    desk.do(desk.room.parts.index.read())
    return hold


# --- reading ---------------------------------------------------------------------------------------------------------


def test_what_waits_is_listed_and_shown_without_a_deployment(desk: ServedRoom, tmp_path: Path) -> None:
    hold = file(desk, "read?token=s3cret-url", method="POST", body=BODY, headers=SECRETS)
    listed = cli("holds", "list", "--json").ok().json
    (asks,) = [each["asks"] for each in listed if each["id"] == hold.id]
    assert asks.startswith("POST https://") and "?token=keyed:" in asks
    shown = cli("holds", "show", hold.id).ok()
    assert "s3cret" not in shown.out
    for line in (f"Hold {hold.id}", "state        held", "Why it was held", '"amount": 1', "(hidden, 11 characters)"):
        assert line in shown.out, line
    assert f"POST /api/v1/holds/{hold.id}/reveal" not in room(desk).asked
    cli("holds", "show", hold.id, "--save-body", tmp_path / "body").ok()
    assert (tmp_path / "body").read_bytes() == BODY
    assert f"POST /api/v1/holds/{hold.id}/reveal" in room(desk).asked
    assert cli("holds", "show", "nothing").code == Exit.UNKNOWN
    assert cli("holds", "history", "--since", "7d", "--json").ok().json == {"whole": True, "rulings": []}
    assert cli("reviewers", "--json").ok().json == []  # nobody ruled on what concerns ada
    assert "concerns you" in cli("reviewers").ok().err


def test_a_plain_call_is_shown_as_on_the_machine_of_the_desk(desk: ServedRoom) -> None:
    hold = file(desk, "plain", method="POST", body=b'{"amount": 1}', headers=(("X-Note", "y"),))
    shown = cli("holds", "show", hold.id, "--json").ok().json
    assert shown["hold"]["call_digest"] == hold.call_digest
    assert (shown["call"]["method"], shown["call"]["url"]) == ("POST", shown["call"]["url"])
    assert ["X-Note", "y"] in shown["call"]["headers"] and "consequence" in shown


# --- saying ----------------------------------------------------------------------------------------------------------


def test_the_desk_signs_what_is_routine_and_the_own_key_everything(desk: ServedRoom) -> None:
    hold = file(desk, "routine")
    ran = cli("holds", "release", hold.id, "--yes", "--json").ok().json
    assert (ran["result"], ran["hold"]["decided_by"]) == ("done", SPONSOR)
    again = cli("holds", "release", hold.id, "--yes", "--json")
    assert (again.code, again.json["result"]) == (Exit.DECIDED, "already decided")
    grave = file(desk, "grave", method="DELETE", headers=SECRETS)
    ran = cli("holds", "release", grave.id, "--yes", "--key", "ada.pem").ok()
    assert ran.out.index("What would be sent") < ran.out.index("released by ada")
    assert desk.state(grave) == "approved"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(("release", "--reason", "seen"), "released by ada", id="release"),
        pytest.param(("deny", "--reason", "no"), "denied by ada", id="deny"),
        pytest.param(("comment", "--text", "hm"), "commented on by ada", id="comment"),
        pytest.param(("extend", "--by", "2h", "--reason", "later"), "extended by ada", id="extend"),
        pytest.param(("escalate", "--reason", "away"), "escalated by ada", id="escalate"),
        pytest.param(("cancel", "--reason", "gone"), "cancelled by ada", id="cancel"),
        pytest.param(
            ("release", "--scope", "route", "--count", "2", "--reason", "all"), "uses         0 of 2", id="by route"
        ),
    ],
)
@pytest.mark.parametrize("own", [pytest.param(True, id="own key"), pytest.param(False, id="desk's key")])
def test_every_word_can_be_said(desk: ServedRoom, words: tuple[str, ...], said: str, own: bool) -> None:
    hold = file(desk, f"word/{words[0]}{len(words)}{own}")
    verb, *rest = words
    more = ["--key", "ada.pem"] if own else []
    ran = cli("holds", verb, hold.id, "--digest", hold.call_digest, *rest, *more).ok()
    assert " ".join(said.split()) in " ".join(ran.out.split())


def test_a_denial_is_lifted(desk: ServedRoom) -> None:
    hold = file(desk, "lifted")
    cli("holds", "deny", hold.id, "--reason", "no", "--yes", "--key", "ada.pem").ok()
    ran = cli("holds", "lift", hold.id, "--reason", "yes", "--yes", "--json")
    assert (ran.code, ran.json["result"]) == (Exit.OK, "done")


def test_who_may_not_is_told_so(desk: ServedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = file(desk, "refused", method="DELETE")
    assert cli("holds", "release", hold.id, "--yes", "--as", "ben").code == Exit.NOT_PERMITTED
    assert cli("holds", "release", hold.id, "--yes", "--key", "ben.pem").code == Exit.NOT_PERMITTED, "another's key"
    use(desk, monkeypatch, frozenset({Scope.READ}))
    ran = cli("holds", "release", hold.id, "--yes")
    assert (ran.code, "scope" in ran.err) == (Exit.REFUSED, True)
    use(desk, monkeypatch, ALL, DEPUTY)
    ran = cli("holds", "release", hold.id, "--yes", "--key", "ben.pem")
    assert (ran.code, "the sponsor comes first" in ran.err) == (Exit.NOT_PERMITTED, True)
    assert desk.state(hold) == "held"


def test_nothing_is_signed_unseen(desk: ServedRoom) -> None:
    hold = file(desk, "unseen")
    ran = cli("holds", "release", hold.id, "--key", "ada.pem")
    assert (ran.code, "--digest" in ran.err) == (Exit.CANNOT_TELL, True)
    ran = cli("holds", "release", hold.id, "--key", "ada.pem", "--digest", "A" * 43)
    assert (ran.code, "not the one that was named" in ran.err) == (Exit.REFUSED, True)
    assert desk.state(hold) == "held"


@pytest.mark.system
def test_on_a_terminal_a_person_is_asked(desk: ServedRoom) -> None:
    hold = file(desk, "asked")
    said = on_terminal("holds", "release", hold.id, "--key", "ada.pem", typed="n\n")
    assert "What would be sent" in said and "nothing was signed" in said
    assert desk.state(hold) == "held"
    said = on_terminal("holds", "release", hold.id, "--key", "ada.pem", typed="y\n")
    assert "released by ada" in said and desk.state(hold) == "approved"


def test_a_hidden_call_is_signed_with_the_scope_to_see_it_alone(
    desk: ServedRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = file(desk, "hidden?token=s3cret-url", method="POST", body=BODY, headers=SECRETS)
    use(desk, monkeypatch, frozenset({Scope.READ, Scope.DECIDE}))
    ran = cli("holds", "release", hold.id, "--yes", "--key", "ada.pem")
    assert (ran.code, "scope reveal" in ran.err) == (Exit.NOT_PERMITTED, True)
    use(desk, monkeypatch, frozenset({Scope.READ, Scope.REVEAL}))
    ran = cli("holds", "release", hold.id, "--yes", "--key", "ada.pem").ok()
    assert "s3cret-url" not in ran.out and desk.state(hold) == "approved"


# --- a hostile desk --------------------------------------------------------------------------------------------------


def draft(**changed: object) -> Callable[[str, dict[str, Any]], None]:
    def twist(path: str, document: dict[str, Any]) -> None:
        if path.endswith("/drafts"):
            document["statement"]["claims"].update(changed)

    return twist


def of_call(change: Callable[[dict[str, Any]], None]) -> Callable[[str, dict[str, Any]], None]:
    def twist(path: str, document: dict[str, Any]) -> None:
        if "filed" in (document.get("call") or {}):
            change(document)

    return twist


def _granted(path: str, document: dict[str, Any]) -> None:
    if path.endswith("/drafts"):
        document["grant"] = document["statement"]


def _typed(path: str, document: dict[str, Any]) -> None:
    if path.endswith("/drafts"):
        document["statement"]["typ"] = "intent-manifest+jwt"


def _other_person(path: str, document: dict[str, Any]) -> None:
    if path.endswith("/me"):
        document["person"] = DEPUTY


@pytest.mark.parametrize(
    ("twist", "why"),
    [
        pytest.param(draft(digest="A" * 43), "digest", id="another call's digest in the draft"),
        pytest.param(draft(hold="another"), "hold", id="another hold in the draft"),
        pytest.param(draft(iss=DEPUTY), "iss", id="another person"),
        pytest.param(draft(aud="elsewhere"), "aud", id="another deployment"),
        pytest.param(draft(verdict="deny"), "verdict", id="another verdict"),
        pytest.param(draft(scope="always"), "scope", id="another scope"),
        pytest.param(draft(reason="because"), "reason", id="another reason"),
        pytest.param(draft(more="x"), "more", id="a claim more"),
        pytest.param(draft(iat=1), "not of now", id="a date long ago"),
        pytest.param(draft(exp=4102444800), "later than any hold", id="a release for ever"),
        pytest.param(draft(exp=10**30), "no moment", id="no date at all"),
        pytest.param(draft(nonce=7), "nonce", id="another type of claim"),
        pytest.param(_granted, "nobody asked for", id="a grant that nobody asked for"),
        pytest.param(_typed, "its type", id="another kind of statement"),
        pytest.param(_other_person, "ada", id="it says the token is another's"),
        pytest.param(
            of_call(lambda d: d["call"]["filed"]["call"].update(path="/v1/other")), "digest", id="it shows another call"
        ),
        pytest.param(
            of_call(lambda d: d["call"]["filed"]["call"].update(headers=[])), "digest", id="it leaves headers out"
        ),
        pytest.param(of_call(lambda d: d["hold"].update(call_digest="A" * 43)), "digest", id="it names another digest"),
        pytest.param(of_call(lambda d: d["hold"].update(id="another")), "another", id="it answers another hold"),
        pytest.param(of_call(lambda d: d["hold"].update(risk="routine")), "record", id="it says a call is harmless"),
        pytest.param(
            of_call(lambda d: d["call"]["filed"].update(format="x")), "call.filed", id="a record that is none"
        ),
        pytest.param(of_call(lambda d: d["call"].update(hidden=["body"])), "hides", id="it hides for ever"),
        pytest.param(of_call(lambda d: d.update(deciders="all")), "deciders", id="an answer of another shape"),
    ],
)
def test_a_desk_that_lies_gets_nothing_signed(
    desk: ServedRoom, twist: Callable[[str, dict[str, Any]], None], why: str
) -> None:
    hold = file(desk, "lie", method="DELETE")
    words = ("holds", "release", hold.id, "--yes", "--key", "ada.pem", "--as", "ada")
    room(desk).asked.clear()
    room(desk).twist = twist
    ran = cli(*words)
    assert ran.code in (Exit.REFUSED, Exit.NOT_PERMITTED) and why in ran.err, ran.err
    assert not [each for each in room(desk).asked if each.endswith(("/statements", "/rulings"))], "nothing was sent"
    room(desk).twist = None
    assert cli(*words).ok(), "the twin"


@pytest.mark.parametrize(
    ("twist", "why"),
    [
        pytest.param({"path": "/"}, "path", id="a wider path"),
        pytest.param({"count": 1000}, "count", id="more often"),
        pytest.param({"exp": 4102444800}, "longer", id="for longer"),
        pytest.param({"vary": ["page"]}, "vary", id="with any page"),
    ],
)
def test_a_desk_that_widens_a_grant_gets_nothing_signed(desk: ServedRoom, twist: dict[str, Any], why: str) -> None:
    def widen(path: str, document: dict[str, Any]) -> None:
        if path.endswith("/drafts"):
            document["grant"]["claims"].update(twist)

    hold = file(desk, "wide")
    words = ("--scope", "route", "--for", "15m", "--reason", "x", "--yes", "--key", "ada.pem")
    room(desk).twist = widen
    ran = cli("holds", "release", hold.id, *words)
    assert (ran.code, why in ran.err) == (Exit.REFUSED, True), ran.err
    assert desk.state(hold) == "held"
    room(desk).twist = None
    cli("holds", "release", hold.id, *words).ok()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def ask(url: str, *, deadline_s: float = 20) -> Rejected | Unavailable:
    there = AtDesk(place=read_place(url), token_file=None, ca=None)
    with pytest.raises((Rejected, Unavailable)) as raised:
        asyncio.run(DeskClient(there, deadline_s=deadline_s).get("me"))
    assert isinstance(raised.value, Rejected | Unavailable)
    return raised.value


@pytest.mark.parametrize(
    ("answer", "for_ever", "why"),
    [
        pytest.param(
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",),
            False,
            "sends elsewhere",
            id="a redirect",
        ),
        pytest.param((OK + b"Content-Length: 10000000000\r\n\r\n", b"x" * 65_536), True, "MiB", id="ten gigabytes"),
        pytest.param((OK + b"X: ", b"y" * 65_536), True, "not HTTP", id="a header without an end"),
        pytest.param((OK + b"Content-Length: 2\r\n\r\n[]",), False, "no object", id="a list"),
        pytest.param((OK + b"Content-Length: 2\r\n\r\n{",), False, "not HTTP", id="half an answer"),
        pytest.param((OK + b"Content-Length: 13\r\n\r\n" + b'{"a":1,"a":2}',), False, "twice", id="a member twice"),
        pytest.param((b"SSH-2.0-OpenSSH\r\n",), False, "not HTTP", id="another protocol"),
        pytest.param(
            (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",),
            False,
            "no JSON",
            id="a page",
        ),
        pytest.param(
            (b"HTTP/1.1 503 x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",),
            False,
            "503",
            id="a refusal without words",
        ),
    ],
)
def test_what_is_no_desk_is_left(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[bytes, ...], for_ever: bool, why: str
) -> None:
    monkeypatch.setenv(TOKEN, "ipd_x")
    with answering(*answer, for_ever=for_ever) as url:
        assert why in ask(url).detail


@pytest.mark.parametrize("begun", [pytest.param((), id="at once"), pytest.param((OK,), id="in its head")])
def test_a_desk_that_hangs_is_left(monkeypatch: pytest.MonkeyPatch, begun: tuple[bytes, ...]) -> None:
    monkeypatch.setenv(TOKEN, "ipd_x")
    with answering(*begun, hangs=True) as url:
        assert "no whole answer within" in ask(url, deadline_s=0.3).detail


def test_tls_is_verified_always(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(TOKEN, "ipd_x")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    authority = Authority()
    authority.write(tmp_path)

    async def asked(place: str, ca: Path | None) -> str:
        heard = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.extend(await reader.read(65_536))
            writer.write(OK + b"Content-Length: 10\r\n\r\n" + json.dumps({"a": 12}).encode() + b" ")
            writer.close()

        context = authority.server("localhost").server_context()
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        try:
            there = AtDesk(place=read_place(f"https://{place}:{port}"), token_file=None, ca=ca)
            await DeskClient(there, deadline_s=10).get("me")
        except Rejected as fault:
            assert not heard, "no token is sent"
            return fault.detail
        finally:
            server.close()
        return "trusted"

    ca = tmp_path / "origin-ca.pem"
    assert "certificate that does not count" in asyncio.run(asked("localhost", None))
    assert "certificate that does not count" in asyncio.run(asked("127.0.0.1", ca)), "another name"
    assert asyncio.run(asked("localhost", ca)) == "trusted"
    with pytest.raises(Rejected, match="cannot be read"):
        DeskClient(AtDesk(place=read_place("https://x.example"), token_file=None, ca=tmp_path / "no.pem"))


@pytest.mark.parametrize(
    "url",
    [
        "http://desk.example",
        "http://10.0.0.1:8090",
        "http://localhost.evil.example",
        "ftp://localhost",
        "https://user@desk.example",
        "https://desk.example/path",
        "https://desk.example?x",
        "desk.example",
        "https://desk.example:99999",
        "https://d\u0435sk.example",
    ],
)
def test_a_token_goes_to_no_such_place(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "ipd_x")
    monkeypatch.delenv(where.ENVIRONMENT, raising=False)
    ran = cli("holds", "list", "--desk", url)
    assert (ran.code, "--desk must be" in ran.err) == (Exit.CANNOT_TELL, True)
    assert cli("holds", "list", "--desk", "http://127.0.0.1:9").code == Exit.UNAVAILABLE, "the twin: nobody is there"


# --- where the token comes from --------------------------------------------------------------------------------------


def test_a_token_is_read_from_a_private_file_or_the_environment(
    desk: ServedRoom, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(TOKEN)
    assert "wants a token" in cli("holds", "list").err
    path = tmp_path / "my.token"
    path.write_text(make(desk.room) + "\n")
    path.chmod(0o644)
    ran = cli("holds", "list", "--token-file", path)
    assert (ran.code, "chmod 0600" in ran.err) == (Exit.REFUSED, True)
    path.chmod(0o600)
    cli("holds", "list", "--token-file", path).ok()
    assert "no token file" in cli("holds", "list", "--token-file", tmp_path / "none").err


def test_a_deployment_that_is_named_comes_before_the_environments_desk(
    desk: ServedRoom, founded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = shutil.copytree(founded, tmp_path / "mine")  # the store that it starts is not everybody's
    assert "--as" in cli("holds", "release", "x", "-c", mine, "--help").out
    ran = cli("holds", "list", "-c", mine)
    assert "nothing is held" in ran.err, "of the deployment"
    both = cli("holds", "list", "-c", mine, "--desk", desk.room.origins[1])
    assert (both.code, "exclude each other" in both.err) == (Exit.CANNOT_TELL, True)
    monkeypatch.delenv(DESK)
    ran = cli("holds", "list", "--token-file", "x")
    assert (ran.code, "belongs to --desk" in ran.err) == (Exit.CANNOT_TELL, True)
