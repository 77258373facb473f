"""`credential` in clusters.yaml, `secrets` in proxy.yaml: what each key means, and what is refused with which words."""

from datetime import timedelta
from pathlib import Path

import pytest

from proxy.core.clusters import cluster_digest, normalised
from proxy.core.credential import Credential, Way
from proxy.policy.clusters import Rules
from proxy.policy.faults import Faults
from proxy.policy.secrets import SecretSource
from proxy.policy.settings import Settings, read_settings
from proxy.policy.yaml import load

FILE = Path("/srv/edge/proxy.yaml")
OF = 'of cluster "invoices"'


def rules(credential: str, *, schemes: str = "[https]", hosts: str = "[erp.example]") -> tuple[Rules, list[str]]:
    text = f"""\
version: 1
clusters:
  - id: invoices
    hosts: {hosts}
    schemes: {schemes}
    risk: routine
    credential: {credential}
    operations: [{{name: read, methods: [GET], path: /}}]
"""
    found, faults = Rules(people=None), Faults("clusters.yaml")
    root = load(text.encode(), faults)
    assert root is not None
    found.read(root, faults)
    return found, [str(fault) for fault in faults.listed()]


def secrets(text: str) -> tuple[Settings | None, list[str]]:
    faults = Faults("proxy.yaml")
    found = read_settings(f"version: 1\ndeployment: edge\nsecrets:\n{text}\n".encode(), faults, file=FILE)
    return found, [str(fault) for fault in faults.listed()]


# --- credential ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "way", "name"),
    [
        pytest.param("as: bearer", Way.BEARER, "", id="a bearer token"),
        pytest.param("header: X-Api-Key", Way.HEADER, "X-Api-Key", id="a header"),
        pytest.param("header: Cookie", Way.HEADER, "Cookie", id="a cookie"),
        pytest.param("query: api_key", Way.QUERY, "api_key", id="a query parameter"),
        pytest.param("basic: {user: svc erp}", Way.BASIC, "svc erp", id="a password"),
    ],
)
def test_each_way_is_read_and_signed(written: str, way: Way, name: str) -> None:
    found, faults = rules(f"{{secret: erp-token, {written}}}")
    assert faults == []
    cluster = found.clusters["invoices"]
    assert cluster.credential == Credential(secret="erp-token", way=way, name=name)
    assert cluster.digest == cluster_digest(cluster)
    assert "credential" in normalised(cluster)


def test_plain_http_is_written_out() -> None:
    found, faults = rules("{secret: s, as: bearer, over_http: true}", schemes="[http, https]")
    assert faults == []
    credential = found.clusters["invoices"].credential
    assert credential is not None and credential.over_http


@pytest.mark.parametrize(
    ("written", "told"),
    [
        pytest.param("{as: bearer}", f'7: credential {OF} has no "secret"; add it', id="no secret"),
        pytest.param(
            "{secret: s}",
            f"7: credential {OF}: say how it is set, by exactly one of as, header, query, basic",
            id="no way",
        ),
        pytest.param(
            "{secret: s, as: bearer, query: key}",
            f"7: credential {OF}: say how it is set, by exactly one of as, header, query, basic",
            id="two ways",
        ),
        pytest.param(
            "{secret: s, as: Bearer}",
            f'7: as of credential {OF}: got "Bearer"; did you mean "bearer"?',
            id="another word",
        ),
        pytest.param(
            "{secret: s, header: X_Api_Key}",
            f'7: header of credential {OF}: expected the name of a header such as X-Api-Key, got "X_Api_Key"',
            id="a header that servers read as another",
        ),
        *(
            pytest.param(
                f"{{secret: s, header: {name}}}",
                f"7: header of credential {OF}: {name} frames, routes or describes a request; no credential can stand "
                "there",
                id=f"the header {name}",
            )
            for name in ("Host", "Content-Length", "Transfer-Encoding", "Agent-Intent", "X-Forwarded-For", "Connection")
        ),
        pytest.param(
            "{secret: s, query: 'a=b'}",
            f'7: query of credential {OF}: expected the name of a query parameter such as key, got "a=b"',
            id="a parameter that is none",
        ),
        pytest.param(
            "{secret: s, basic: {user: 'a:b'}}",
            f"7: user of basic of credential {OF}: expected a user's name in printable ASCII without a colon "
            "(RFC 7617 §2)",
            id="a user with a colon",
        ),
        pytest.param(
            "{secret: s, basic: {user: svc, password: x}}",
            f'7: unknown key "password" in basic of credential {OF}; expected one of user',
            id="a password in clear",
        ),
        pytest.param("{secret: s, basic: {}}", f'7: basic of credential {OF} has no "user"; add it', id="no user"),
        pytest.param("s3cret", f"7: expected a mapping for credential {OF}", id="the secret itself"),
    ],
)
def test_another_credential_is_refused(written: str, told: str) -> None:
    found, faults = rules(written)
    assert any(told in fault for fault in faults), faults
    assert not found.clusters


def test_where_it_may_not_go() -> None:
    _, plain = rules("{secret: s, as: bearer}", schemes="[http]")
    assert plain == [
        f"clusters.yaml:7: credential {OF}: the cluster reaches plain http, where everybody on the way could read it; "
        "take http out of schemes, or write over_http: true"
    ]
    _, nowhere = rules("{secret: s, as: bearer, over_http: true}")
    assert nowhere == [
        f"clusters.yaml:7: credential {OF}: over_http says nothing where schemes has no http; leave it out"
    ]
    _, below = rules("{secret: s, as: bearer}", hosts='["*.erp.example"]')
    assert below == [
        f"clusters.yaml:7: credential {OF}: a credential goes to hosts that are named, not to all below a name; "
        "list them"
    ]


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_each_source_is_read() -> None:
    found, faults = secrets(
        "  erp: {file: secrets/erp}\n  crm: {environment: CRM_TOKEN}\n"
        "  hr: {command: [vault, read, kv/hr], every: 5m, inherits: [HOME]}\n"
    )
    assert found is not None, faults
    assert found.secrets == {
        "erp": SecretSource(file=FILE.parent / "secrets/erp"),
        "crm": SecretSource(environment="CRM_TOKEN"),
        "hr": SecretSource(command=("vault", "read", "kv/hr"), every=timedelta(minutes=5), inherits=("HOME",)),
    }
    assert [found.place_of_secret(name) for name in ("erp", "hr", "none")] == [
        "proxy.yaml:4",
        "proxy.yaml:6",
        "proxy.yaml",
    ]
    assert "vault" not in repr(found), "an argument may be a secret, though it should not"


@pytest.mark.parametrize(
    ("written", "told"),
    [
        pytest.param(
            "hunter2hunter2",
            "expected where it comes from, such as {file: /run/secrets/erp}; never the secret itself",
            id="the secret itself",
        ),
        pytest.param("{value: hunter2hunter2}", 'unknown key "value"; expected one of', id="the secret under a key"),
        pytest.param("{fil: a}", 'unknown key "fil"; did you mean "file"?', id="a misspelt key"),
        pytest.param("{}", "expected exactly one of file, environment and command", id="no source"),
        pytest.param(
            "{file: a, environment: B}", "expected exactly one of file, environment and command", id="two sources"
        ),
        pytest.param("{file: a, every: 5m}", "every and inherits belong to a command", id="a file again and again"),
        pytest.param("{file: ~/a}", "file must be a path", id="a home directory"),
        pytest.param("{file: 1}", "file must be a path", id="a number"),
        pytest.param("{environment: 'a b'}", "expected the name of an environment variable", id="no variable"),
        pytest.param("{command: vault read}", "command must be a list of words", id="a line for a shell"),
        pytest.param("{command: []}", "command must be a list of words", id="no command"),
        pytest.param(
            "{command: [bin/vault]}", "command must name a program by its whole path", id="a path from where?"
        ),
        pytest.param("{command: [a, 1]}", "command must be a list of words", id="a number among the words"),
        pytest.param("{command: [a], every: 1s}", "every must be a duration from 5s to 1d, got 1s", id="too often"),
        pytest.param("{command: [a], every: 5}", "every must be a duration", id="a bare number"),
        pytest.param("{command: [a], inherits: HOME}", "inherits must be a list", id="one variable without a list"),
    ],
)
def test_another_source_is_refused(written: str, told: str) -> None:
    found, faults = secrets(f"  erp: {written}")
    assert found is None
    (fault,) = faults
    assert fault.startswith("proxy.yaml:4: secrets.erp: ")
    assert told in fault
    assert "hunter2" not in fault


def test_a_name_that_no_cluster_could_name() -> None:
    found, faults = secrets("  Erp: {file: a}")
    assert found is None
    assert "at most 64 lower-case letters" in faults[0]
