"""`desk.oidc` in proxy.yaml, and `oidc` of a person in people.yaml: what each key means, and what is refused."""

from datetime import timedelta
from pathlib import Path

import pytest

from proxy.core.model import Claim, OidcIdentity, Person
from proxy.policy.faults import Faults
from proxy.policy.oidc import OidcProvider
from proxy.policy.people import Enrolled, read_people
from proxy.policy.secrets import SecretSource
from proxy.policy.settings import Settings, read_settings
from proxy.policy.yaml import load

FILE = Path("/srv/edge/proxy.yaml")
ISSUER = "https://login.example"


def settings(oidc: str) -> tuple[Settings | None, list[str]]:
    faults = Faults("proxy.yaml")
    text = f"version: 1\ndeployment: edge\ndesk:\n  oidc: {oidc}\n"
    return read_settings(text.encode(), faults, file=FILE), [str(fault) for fault in faults.listed()]


def good(oidc: str) -> OidcProvider:
    found, faults = settings(oidc)
    assert found is not None and found.desk.oidc is not None, faults
    return found.desk.oidc


def test_every_key_is_read() -> None:
    assert good(
        "{issuer: 'https://login.example/realms/acme', client_id: review-desk, client_secret: {file: oidc.secret}, "
        "name: Acme Login, scopes: [openid], max_age: 8h, ca: login-ca.pem}"
    ) == OidcProvider(
        issuer="https://login.example/realms/acme",
        client_id="review-desk",
        name="Acme Login",
        client_secret=SecretSource(file=FILE.parent / "oidc.secret"),
        scopes=("openid",),
        max_age=timedelta(hours=8),
        ca=FILE.parent / "login-ca.pem",
    )


def test_two_keys_will_do() -> None:
    found = good(f"{{issuer: '{ISSUER}', client_id: desk}}")
    assert found == OidcProvider(issuer=ISSUER, client_id="desk", name="login.example", scopes=("openid", "email"))
    assert not found.is_loopback and good("{issuer: 'http://[::1]:9000', client_id: desk}").is_loopback
    without = read_settings(b"version: 1\ndeployment: edge\n", Faults("proxy.yaml"), file=FILE)
    assert without is not None and without.desk.oidc is None


@pytest.mark.parametrize(
    ("oidc", "said"),
    [
        pytest.param("[]", "expected a provider such as", id="no mapping"),
        pytest.param("{client_id: desk}", "issuer must be https://HOST", id="no issuer"),
        pytest.param("{issuer: 'http://login.example', client_id: d}", "issuer must be", id="plain http"),
        pytest.param(
            "{issuer: 'http://localhost.example', client_id: d}", "issuer must be", id="a name like localhost"
        ),
        pytest.param("{issuer: 'https://a:b@login.example', client_id: d}", "issuer must be", id="a password"),
        pytest.param("{issuer: 'https://login.example?x', client_id: d}", "issuer must be", id="a query"),
        pytest.param("{issuer: 'https://login.example:99999', client_id: d}", "issuer must be", id="no port"),
        pytest.param(f"{{issuer: '{ISSUER}'}}", "client_id must be", id="no client"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: 'a b'}}", "client_id must be", id="a space in the client"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, name: '<b>'}}", "name must be", id="markup for a name"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, client_secret: hunter2}}", "client_secret: ", id="a secret"),
        pytest.param(
            f"{{issuer: '{ISSUER}', client_id: d, client_secret: {{command: [x]}}}}", "not a command", id="a command"
        ),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, scopes: [email]}}", "openid among", id="not openid"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, scopes: openid}}", "scopes must be a list", id="one word"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, max_age: 1s}}", "max_age must be", id="too soon"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, max_age: 8}}", "max_age must be", id="a number"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, ca: '~/x'}}", "ca must be a path", id="a home directory"),
        pytest.param(f"{{issuer: '{ISSUER}', client_id: d, secret: x}}", 'did you mean "client_secret"', id="a slip"),
    ],
)
def test_what_is_no_provider_is_refused_in_words(oidc: str, said: str) -> None:
    found, faults = settings(oidc)
    assert found is None and len(faults) == 1
    assert faults[0].startswith("proxy.yaml:4: desk.oidc: ") and said in faults[0] and "hunter2" not in faults[0]


def people(*identities: str) -> tuple[dict[str, Person], list[str]]:
    lines = ["version: 1", "people:"]
    for number, oidc in enumerate(identities):
        lines += [f"  - {{id: p{number}, name: P, role: R, certified_until: 2030-01-01, oidc: {oidc}}}"]
    faults = Faults("people.yaml")
    root = load("\n".join(lines).encode(), faults)
    assert root is not None
    found, _ = read_people(root, faults, Enrolled([]))
    return found, [str(fault) for fault in faults.listed()]


def test_a_person_may_have_several_identities() -> None:
    found, faults = people(
        f"[{{issuer: '{ISSUER}', sub: u-1}}, {{issuer: '{ISSUER}', email: a@b.example}}]",
        f"[{{issuer: '{ISSUER}', sub: u-2}}]",
        "[{issuer: 'https://other.example', sub: u-1}]",
        f"[{{issuer: '{ISSUER}', sub: a@b.example}}]",
    )
    assert faults == []
    assert found["p0"].oidc == (
        OidcIdentity(issuer=ISSUER, claim=Claim.SUB, value="u-1"),
        OidcIdentity(issuer=ISSUER, claim=Claim.EMAIL, value="a@b.example"),
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("sub: u-1", "sub: u-1", id="one subject"),
        pytest.param("sub: u-1", "sub: U-1", id="one subject in other letters"),
        pytest.param("email: a@b.example", "email: A@B.example", id="one address"),
    ],
)
def test_one_identity_is_one_person(first: str, second: str) -> None:
    _, faults = people(f"[{{issuer: '{ISSUER}', {first}}}]", f"[{{issuer: '{ISSUER}/', {second}}}]")
    assert len(faults) == 1 and 'is already person "p0"; one identity is one person' in faults[0]


@pytest.mark.parametrize(
    ("oidc", "said"),
    [
        pytest.param(f"[{{issuer: '{ISSUER}'}}]", "exactly one of sub and email", id="neither"),
        pytest.param(f"[{{issuer: '{ISSUER}', sub: u, email: a@b.c}}]", "exactly one of sub and email", id="both"),
        pytest.param("[{sub: u}]", 'has no "issuer"', id="no provider"),
        pytest.param("[{issuer: login.example, sub: u}]", "the provider's own name", id="a bare name"),
        pytest.param(f"[{{issuer: '{ISSUER}', sub: 7}}]", "in quotes", id="a number"),
        pytest.param(f"[{{issuer: '{ISSUER}', sub: 'ü'}}]", "printable ASCII", id="letters beyond ASCII"),
        pytest.param(f"[{{issuer: '{ISSUER}', email: maria}}]", "an address such as", id="no address"),
        pytest.param(f"[{{issuer: '{ISSUER}', sub: u, name: x}}]", "unknown key", id="another key"),
    ],
)
def test_what_is_no_identity_is_refused_in_words(oidc: str, said: str) -> None:
    _, faults = people(oidc)
    assert len(faults) == 1 and said in faults[0], faults
