"""`desk.webhooks` in proxy.yaml: what each key means, and what is refused with which words."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from proxy.policy.faults import Faults
from proxy.policy.secrets import SecretSource
from proxy.policy.settings import Settings, read_settings
from proxy.policy.webhooks import About, Format, Target, Webhook

FILE = Path("/srv/edge/proxy.yaml")
SIGNED = "secret: {file: hooks/ops}"


def settings(webhooks: str) -> tuple[Settings | None, list[str]]:
    faults = Faults("proxy.yaml")
    text = f"version: 1\ndeployment: edge\ndesk:\n  webhooks:\n{webhooks}\n"
    return read_settings(text.encode(), faults, file=FILE), [str(fault) for fault in faults.listed()]


def good(webhooks: str) -> tuple[Webhook, ...]:
    found, faults = settings(webhooks)
    assert found is not None, faults
    return found.desk.webhooks


def test_every_key_is_read() -> None:
    ops, chat = good(
        f"    - {{name: ops, url: 'https://Hooks.Example:8443/intent?x=1', {SIGNED}, events: [hold.filed, hold.turn], "
        "addresses: [10.1.0.0/16]}\n"
        "    - {name: chat, url_from: {environment: SLACK_URL}, format: slack}"
    )
    assert ops == Webhook(
        name="ops",
        target=Target(scheme="https", host="hooks.example", port=8443, path="/intent?x=1"),
        secret=SecretSource(file=FILE.parent / "hooks/ops"),
        events=frozenset({About.FILED, About.TURN}),
        addresses=(ip_network("10.1.0.0/16"),),
    )
    assert ops.target is not None and ops.target.authority == "hooks.example:8443"
    assert chat == Webhook(
        name="chat", target=None, url_from=SecretSource(environment="SLACK_URL"), format=Format.SLACK
    )
    assert [ops.wants(About.FILED), ops.wants(About.EXPIRED), ops.wants(About.SAMPLE)] == [True, False, True]
    assert chat.wants(About.EXPIRED)


def test_without_any_nobody_is_told() -> None:
    found = read_settings(b"version: 1\ndeployment: edge\n", Faults("proxy.yaml"), file=FILE)
    assert found is not None and found.desk.webhooks == ()


def test_plain_http_goes_to_this_machine_alone_and_only_where_it_says_so() -> None:
    (told,) = good(f"    - {{name: ops, url: 'http://127.0.0.1:9/x', {SIGNED}, over_http: true}}")
    assert told.target == Target(scheme="http", host="127.0.0.1", port=9, path="/x")
    (six,) = good(f"    - {{name: ops, url: 'http://[::1]/', {SIGNED}, over_http: true}}")
    assert six.target is not None and six.target.authority == "[::1]"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("ops", "expected a receiver such as"),
        ("{url: 'https://a.example/'}", "a receiver needs a name"),
        (f"{{name: Ops, url: 'https://a.example/', {SIGNED}}}", "a receiver needs a name"),
        (f"{{name: ops, {SIGNED}}}", "receiver ops: expected exactly one of url and url_from"),
        (f"{{name: ops, url: 'https://a.example/', url_from: {{file: x}}, {SIGNED}}}", "exactly one of url and"),
        ("{name: ops, url: 'https://a.example/'}", "receiver ops: messages are signed: name the secret's place"),
        ("{name: ops, url: 'https://a.example/', secret: whsec_MfKQ9r8GKYqrTwjU}", "never the secret itself"),
        ("{name: ops, url: 'https://a.example/', secret: {command: [x]}}", "expected a file or an environment"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, evnts: []}}", 'did you mean "events"'),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, events: hold.filed}}", "events must be a list"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, events: [hold.fled]}}", 'did you mean "hold.filed"'),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, events: [sample]}}", "there is no event"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, format: xml}}", "format must be json or slack"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, over_http: 1}}", "over_http must be true or false"),
        (f"{{name: ops, url: 1, {SIGNED}}}", "url must be text"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, format: {{}}}}", "format must be json or slack"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, events: [[]]}}", "there is no event"),
        (f"{{name: ops, url: 'http://a.example/', {SIGNED}}}", "the URL must be https"),
        (f"{{name: ops, url: 'http://a.example/', {SIGNED}, over_http: true}}", "the URL must be https"),
        (f"{{name: ops, url: 'http://127.0.0.1/', {SIGNED}}}", "the URL must be https"),
        (f"{{name: ops, url: 'https://user:pw@a.example/', {SIGNED}}}", "without a user or a fragment"),
        (f"{{name: ops, url: 'https://a.example/#x', {SIGNED}}}", "without a user or a fragment"),
        (f"{{name: ops, url: 'https://a.example\\x', {SIGNED}}}", "without a user or a fragment"),
        (f"{{name: ops, url: 'https://a.example:0/', {SIGNED}}}", "port must be from 1 to 65535"),
        (f"{{name: ops, url: 'https://2130706433/', {SIGNED}}}", "receiver ops: "),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, addresses: [x]}}", "expected a network such as"),
        (f"{{name: ops, url: 'https://a.example/', {SIGNED}, addresses: 10.0.0.0/8}}", "addresses must be a list"),
        (
            f"{{name: ops, url: 'https://a.example/', {SIGNED}, addresses: [169.254.0.0/16]}}",
            "never reached through the proxy",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line_and_without_what_may_be_secret(written: str, told: str) -> None:
    found, faults = settings(f"    - {written}")
    assert found is None
    (fault,) = faults
    assert fault.startswith("proxy.yaml:5: desk.webhooks: ") and told in fault, fault
    assert "pw@" not in fault and "MfKQ9" not in fault


def test_names_are_different_and_there_are_not_too_many() -> None:
    one = f"    - {{name: ops, url: 'https://a.example/', {SIGNED}}}"
    _, (fault,) = settings(f"{one}\n{one}")
    assert "there are two receivers" in fault
    _, (fault,) = settings("\n".join(one.replace("ops", f"ops{number}") for number in range(17)))
    assert "expected at most 16 receivers, got 17" in fault


def test_a_url_that_is_secret_is_in_no_repr() -> None:
    (told,) = good(f"    - {{name: ops, url: 'https://a.example/s3cret', {SIGNED}}}")
    assert "s3cret" not in repr(told)
