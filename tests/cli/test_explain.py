"""`explain`: the decision, its rule and the near misses, without a packet sent or a name resolved."""

import re
import socket
from pathlib import Path

import pytest
from clirun import cli

from proxy.cli.exits import Exit

READ = "https://erp.example/v1/invoices/17"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a socket or resolves a name fails the test."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("explain touched the network")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def explain(method: str, url: str, *words: str | Path) -> tuple[int, dict[str, object]]:
    ran = cli("explain", method, url, "--agent", "robot", "--json", *words)
    return ran.code, ran.json


def test_an_allowed_call_names_its_rule_and_place(home: Path) -> None:
    code, said = explain("GET", f"{READ}?page=2")
    assert (code, said["verdict"], said["code"]) == (Exit.OK, "allow", "allowed")
    lines = (home / "clusters.yaml").read_text().splitlines()
    rule = said["rule"]
    assert isinstance(rule, dict)
    assert (rule["id"], rule["file"]) == ("erp-example-443.get-v1-invoices-id", "clusters.yaml")
    assert "get-v1-invoices-id" in lines[rule["line"] - 1]


def test_how_the_call_was_read_is_told(home: Path) -> None:
    url = "HTTPS://ERP.example:443/v1/%69nvoices/1%37?page=%32"
    code, said = explain("GET", url)
    assert (code, said["given"]) == (Exit.OK, {"method": "GET", "url": url})
    read = said["read"]
    assert isinstance(read, dict)
    assert read["url"] == said["url"] == "https://erp.example/v1/invoices/17?page=2"
    assert (read["template"], read["captured"], read["query"]) == ("/v1/invoices/{id}", {"id": "17"}, [["page", "2"]])
    assert (read["method"], read["websocket"], read["body"]) == ("GET", False, ["none"])
    lines = cli("explain", "GET", url, "--agent", "robot").out.splitlines()
    assert lines[1:6] == [
        f"  Given: GET {url}",
        "  Read as: GET https://erp.example/v1/invoices/17?page=2",
        "  Query: page is 2",
        f"  Operation: {read['operation']}",
        "  Path: /v1/invoices/{id}, where id is 17",
    ]
    assert str(read["operation"]).startswith("get-v1-invoices-id of cluster erp-example-443 (clusters.yaml:")


def test_the_manual_shows_what_is_printed(home: Path) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    shown = re.search(r"```text\n(Allowed: .*?)```", manual, re.DOTALL)
    assert shown is not None
    here = shown[1].replace("localhost-8443", "erp-example-443")
    here = here.replace("localhost:8443", "erp.example").replace("LOCALHOST:8443", "ERP.example")
    said = cli("explain", "GET", "https://ERP.example/v1/invoices/%31%37?page=2", "--agent", "robot").out
    assert re.sub(r"yaml:\d+", "yaml:11", said) == here


def test_a_call_that_cannot_be_read_says_what_is_at_fault(home: Path) -> None:
    code, said = explain("GET", "https://erp.example/v1/a//b")
    assert (code, said["read"], said["url"]) == (Exit.WOULD_DENY, None, None)
    assert said["failed"] == [{"field": "path", "expected": 'a path must not hold "//": write one "/"', "got": ""}]
    lines = cli("explain", "GET", "https://erp.example/v1/a//b", "--agent", "robot").out.splitlines()
    assert lines == [
        'Denied (url.ambiguous): a path must not hold "//": write one "/".',
        "  Given: GET https://erp.example/v1/a//b",
        '  Cannot be read: path: a path must not hold "//": write one "/"',
    ]


def test_a_call_that_cannot_be_read_says_so_although_the_mandate_fails_first(home: Path) -> None:
    agents = home / "agents.yaml"
    agents.write_text(agents.read_text().replace("class: augmenting", "class: embedded"))
    assert explain("GET", "https://erp.example/v1/a//b", "--dev")[1]["code"] == "intent.required"
    lines = cli("explain", "GET", "https://erp.example/v1/a//b", "--agent", "robot", "--dev").out.splitlines()
    assert lines[0].startswith("Denied (intent.required): agent robot must declare its intent")
    assert lines[2:] == ['  Cannot be read: path: a path must not hold "//": write one "/"']


def test_what_only_a_rule_can_settle_says_what_came_near(home: Path) -> None:
    code, said = explain("GET", f"{READ};v=1")
    assert (code, said["code"]) == (Exit.WOULD_DENY, "url.ambiguous")
    near = said["near"]
    assert isinstance(near, list) and near[0]["failed"][-1]["got"] == "/v1/invoices/17;v=1"


def test_a_websocket_is_asked_for_with_its_headers(home: Path) -> None:
    opening = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    words = [word for line in [*opening, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="] for word in ("--header", line)]
    code, said = explain("GET", READ, *words)
    read, near = said["read"], said["near"]
    assert isinstance(read, dict) and isinstance(near, list)
    assert (code, read["websocket"]) == (Exit.WOULD_HOLD, True)
    assert {"field": "websocket", "expected": "no WebSocket", "got": "a WebSocket"} in near[0]["failed"]


def test_a_call_outside_names_what_came_near_and_who_may_release_it(home: Path) -> None:
    code, said = explain("GET", "https://erp.example/v1/salaries")
    assert (code, said["verdict"], said["code"]) == (Exit.WOULD_HOLD, "hold", "mandate.not_covered")
    near = said["near"]
    assert isinstance(near, list) and near[0]["operation"] == "get-v1-invoices-id"
    assert {"field": "path", "expected": "/v1/invoices/{id}", "got": "/v1/salaries"} in near[0]["failed"]
    assert "May be released by sponsor or deputy" in str(said["next_step"])
    ran = cli("explain", "GET", "https://erp.example/v1/salaries", "--agent", "robot")
    assert ran.out.startswith("Held: GET https://erp.example/v1/salaries (mandate.not_covered)")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        pytest.param("https://erp.example/v1/../admin", "url.ambiguous", id="dot segments"),
        pytest.param("https://erp.example/v1/invoices/1#x", "url.ambiguous", id="a fragment"),
        pytest.param("https://me@erp.example/", "url.ambiguous", id="a user"),
        pytest.param("http://169.254.169.254/latest", "guard.address", id="the metadata service"),
        pytest.param("http://intent.internal/holds", "guard.self", id="the proxy itself"),
        pytest.param("erp.example/v1", "request.malformed", id="no scheme"),
        pytest.param("https://erp.example/\x1b[2J", "url.ambiguous", id="an escape"),
    ],
)
def test_what_is_never_allowed_is_denied_with_its_code(home: Path, url: str, code: str) -> None:
    exit_code, said = explain("GET", url)
    assert (exit_code, said["verdict"], said["code"]) == (Exit.WOULD_DENY, "deny", code)
    assert "\x1b" not in cli("explain", "GET", url, "--agent", "robot").out
    assert explain("GET", READ)[0] == Exit.OK


def test_the_desk_is_the_proxy_itself_under_its_name_and_its_address(home: Path) -> None:
    file = home / "proxy.yaml"
    file.write_text(file.read_text() + "\ndesk: {url: 'https://erp.example', listen: '127.0.0.1:8097'}\n")
    assert explain("GET", READ)[1]["code"] == "guard.self"
    assert explain("GET", "http://127.0.0.1:8097/")[1]["code"] == "guard.self"
    file.write_text(file.read_text().replace("erp.example'", "desk.example'"))
    assert explain("GET", READ)[0] == Exit.OK  # the twin


def test_a_query_alone_after_the_host_is_understood(home: Path) -> None:
    assert explain("GET", "https://erp.example?page=1")[1]["url"] == "https://erp.example/?page=1"


def test_weaker_proof_and_declarations_count(home: Path) -> None:
    pay = ("POST", "https://erp.example/v1/payments")
    assert explain(*pay)[0] == Exit.OK
    code, said = explain(*pay, "--proof", "session")
    assert (code, said["code"]) == (Exit.WOULD_DENY, "proof.too_weak")
    code, said = explain("GET", READ, "--cluster", "erp-example-443-changes")
    assert (code, said["code"]) == (Exit.WOULD_HOLD, "mandate.not_covered")
    assert explain("GET", READ, "--cluster", "erp-example-443")[0] == Exit.OK


def test_headers_and_bodies_are_read_as_the_proxy_reads_them(home: Path, tmp_path: Path) -> None:
    (tmp_path / "pay.json").write_bytes(b"{}")
    pay = ("POST", "https://erp.example/v1/payments")
    assert explain(*pay, "--body", tmp_path / "pay.json", "--header", "Accept: */*")[0] == Exit.OK
    code, said = explain(*pay, "--header", "X-Original-URL: /admin")
    assert (code, said["verdict"]) == (Exit.WOULD_DENY, "deny")
    assert cli("explain", *pay, "--agent", "robot", "--header", "no colon").code == Exit.CANNOT_TELL
    ran = cli("explain", *pay, "--agent", "robot", "--body", tmp_path / "none")
    assert (ran.code, "No such file" in ran.err) == (Exit.REFUSED, True)


def test_a_body_is_told_under_the_cap_of_its_deployment(home: Path, tmp_path: Path) -> None:
    clusters, settings = home / "clusters.yaml", home / "proxy.yaml"
    clusters.write_text(
        clusters.read_text().replace("path: /v1/payments", "path: /v1/payments\n        body: {json: any}")
    )
    settings.write_text(f"{settings.read_text()}\nlimits: {{inspected: 8MiB}}\n")
    (tmp_path / "pay.json").write_bytes(b'{"note": "%s"}' % (b"x" * 5_000_000))
    words = ("--dev", "--header", "Content-Type: application/json", "--body", tmp_path / "pay.json")
    code, said = explain("POST", "https://erp.example/v1/payments", *words)
    read = said["read"]
    assert isinstance(read, dict)
    assert (code, read["body"]) == (Exit.OK, ["a JSON object with member note"])


def test_a_manifest_that_does_not_verify_is_a_denial_and_a_missing_one_an_error(home: Path, tmp_path: Path) -> None:
    manifest = home / "manifests" / "robot.jws"
    people = home / "people.yaml"
    people.write_text(people.read_text().replace("id: ada", "id: eve").replace("sponsor: ada", "sponsor: eve"))
    agents = home / "agents.yaml"
    agents.write_text(agents.read_text().replace("sponsor: ada", "sponsor: eve"))
    code, said = explain("GET", READ, "--dev")
    assert (code, said["code"]) == (Exit.WOULD_DENY, "sponsor.unknown")
    manifest.rename(tmp_path / "other.jws")
    ran = cli("explain", "GET", READ, "--agent", "robot", "--dev")
    assert (ran.code, "there is no manifest" in ran.err) == (Exit.REFUSED, True)
    ran = cli("explain", "GET", READ, "--agent", "robto", "--dev")
    assert (ran.code, 'did you mean "robot"?' in ran.err) == (Exit.REFUSED, True)


def test_a_deny_rule_is_named(home: Path) -> None:
    clusters = home / "clusters.yaml"
    clusters.write_text(clusters.read_text() + "\ndeny:\n  - id: nobody\n    hosts: [erp.example]\n")
    code, said = explain("GET", READ, "--dev")
    assert (code, said["code"]) == (Exit.WOULD_DENY, "policy.denied")
    rule = said["rule"]
    assert isinstance(rule, dict) and rule["id"] == "nobody"
    assert clusters.read_text().splitlines()[rule["line"] - 1] == "  - id: nobody"
