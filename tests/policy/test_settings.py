"""proxy.yaml: defaults, paths, and what is refused with which words."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from identities import key

from proxy.core.errors import Code, Rejected
from proxy.core.headers import Limits
from proxy.core.keys import jwk
from proxy.core.store_url import FORMS
from proxy.core.verify import Lifetimes
from proxy.policy.faults import Faults
from proxy.policy.settings import Settings, load_settings, read_settings
from proxy.policy.values import Listen
from proxy.ports import BodyRoom, HoldCaps

BASE = "version: 1\ndeployment: edge\n"
FILE = Path("/srv/edge/proxy.yaml")
OPERATOR = json.dumps(jwk(key("operator").public))


def settings(text: str) -> tuple[Settings | None, list[str]]:
    faults = Faults("proxy.yaml")
    found = read_settings(text.encode(), faults, file=FILE)
    assert (found is None) == bool(len(faults))
    return found, [str(fault) for fault in faults.listed()]


def good(text: str) -> Settings:
    found, faults = settings(text)
    assert found is not None, faults
    return found


def test_the_defaults_are_complete_and_stand_beside_the_file() -> None:
    got = good(BASE)
    assert (got.file, got.directory) == (FILE, FILE.parent)
    assert (got.listen, got.workers, got.challenge_connect) == (Listen(host="127.0.0.1", port=8080), 1, False)
    assert got.clusters == (FILE.parent / "clusters.yaml",)
    assert (got.agents, got.people) == (FILE.parent / "agents.yaml", FILE.parent / "people.yaml")
    assert (got.bundle, got.pinned, got.state) == tuple(
        FILE.parent / name for name in ("bundle.jws", "pinned", "state")
    )
    assert (got.operators, got.redis_url, got.redis_fast_url, got.upstream_cas, got.journal.sink) == (
        (),
        None,
        None,
        (),
        None,
    )
    assert (got.holds.max_ttl, got.holds.max_wait) == (timedelta(hours=24), timedelta(minutes=2))
    assert (got.tls.listen, got.tls.names, got.tls.certificate, got.tls.key, got.tls.client_cas) == (
        None,
        (),
        None,
        None,
        (),
    )


@pytest.mark.parametrize("name", ["Proxy.example", "*.example", "a b", "a..b", "-a.example", "", "a:1"])
def test_a_name_in_the_certificate_is_a_host_or_an_address(name: str) -> None:
    _, faults = settings(f"{BASE}tls: {{names: [{json.dumps(name)}]}}")
    assert len(faults) == 1 and faults[0].startswith("proxy.yaml:3: tls.names.0: expected")
    assert good(BASE + "tls: {names: [proxy.example, '2001:db8::1']}").tls.names == ("proxy.example", "2001:db8::1")


def test_the_defaults_are_those_of_the_core() -> None:
    got = good(BASE)
    assert got.request_limits == Limits()
    assert got.authority == Lifetimes()
    assert got.hold_caps == HoldCaps(
        open_per_root=20, open_per_sponsor=100, per_hour_per_root=60, bytes_per_root=64 * 1024 * 1024
    )


def test_every_key_is_read() -> None:
    got = good(f"""\
version: 1
deployment: edge
listen: "[::1]:0"
workers: 2
challenge_connect: true
state: /var/lib/edge
clusters: [clusters, more.yaml]
agents: a.yaml
people: p.yaml
bundle: b.jws
pinned: pins
operators: [{OPERATOR}]
redis_url: rediss://user:pass@redis.example:6380/1
redis_fast_url: unix:///run/fast.sock?db=0
redis_replicas: 2
upstream_cas: [ca/internal.pem]
lifetimes: {{root_max: 30d, leaf_max: 15m, sponsor_grace: 0s}}
limits: {{headers: 32KiB, header_count: 50, target: 4096B, inspected: 64KiB, body: 1MiB, unproven_body: 8KiB}}
bodies: {{memory: 2MiB, memory_per_mandate: 1MiB, spool: 4GiB, spool_per_mandate: 3GiB}}
holds: {{max_ttl: 1h, max_wait: 30s, open_per_mandate: 1, open_per_sponsor: 2, per_hour: 3, bytes: 1MiB}}
journal: {{sink: /mnt/other/checkpoints.jsonl}}
tls: {{listen: 0.0.0.0:8443, names: [proxy.example, 192.0.2.1], certificate: a.pem, key: a.key, client_cas: [b.pem]}}
""")
    assert got.tls.listen == Listen(host="0.0.0.0", port=8443)
    assert got.tls.names == ("proxy.example", "192.0.2.1")
    assert (got.tls.certificate, got.tls.key) == (FILE.parent / "a.pem", FILE.parent / "a.key")
    assert got.tls.client_cas == (FILE.parent / "b.pem",)
    assert got.listen == Listen(host="::1", port=0)
    assert str(got.listen) == "[::1]:0"
    assert (got.workers, got.challenge_connect, got.state) == (2, True, Path("/var/lib/edge"))
    assert got.clusters == (FILE.parent / "clusters", FILE.parent / "more.yaml")
    assert got.operators == (key("operator").public,)
    assert (got.redis_fast_url, got.redis_replicas) == ("unix:///run/fast.sock?db=0", 2)
    assert got.upstream_cas == (FILE.parent / "ca/internal.pem",)
    assert got.authority == Lifetimes(root_max_s=2_592_000, leaf_max_s=900, grace_s=0)
    assert got.request_limits == Limits(
        header_bytes=32_768,
        header_count=50,
        target_bytes=4_096,
        inspected_bytes=65_536,
        body_bytes=1_048_576,
        unproven_body_bytes=8_192,
    )
    assert got.body_room == BodyRoom(memory=2 << 20, memory_per_root=1 << 20, spool=4 << 30, spool_per_root=3 << 30)
    assert got.hold_caps == HoldCaps(open_per_root=1, open_per_sponsor=2, per_hour_per_root=3, bytes_per_root=1_048_576)
    assert (got.holds.max_ttl, got.holds.max_wait) == (timedelta(hours=1), timedelta(seconds=30))
    assert got.journal.sink == Path("/mnt/other/checkpoints.jsonl")


def test_nothing_larger_than_a_body_is_examined() -> None:
    limits = good(BASE + "limits: {body: 1MiB}").request_limits
    assert (limits.inspected_bytes, limits.body_bytes) == (1 << 20, 1 << 20)


def test_one_path_may_stand_without_a_list() -> None:
    assert good(BASE + "clusters: rules\n").clusters == (FILE.parent / "rules",)


def test_passwords_are_not_in_the_repr() -> None:
    assert "hunter2" not in repr(good(BASE + "redis_url: redis://:hunter2@localhost/0\n"))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("version: 1", '1: the file has no "deployment"; add it', id="no deployment"),
        pytest.param("deployment: edge", '1: the file has no "version"; add it', id="no version"),
        pytest.param("version: 2\ndeployment: edge", "1: version: expected 1, got 2", id="another version"),
        pytest.param(
            BASE + "worker: 2", '3: unknown key "worker" in the file; did you mean "workers"?', id="a misspelt key"
        ),
        pytest.param(
            BASE + "holds:\n  max_waits: 2m",
            '4: unknown key "max_waits" in holds; did you mean "max_wait"?',
            id="a misspelt key further in",
        ),
        pytest.param(BASE + "holds: 3", "3: holds: expected a mapping, got 3", id="a number for a mapping"),
        pytest.param(BASE + "holds:", "3: holds: expected a mapping, got nothing", id="nothing for a mapping"),
        pytest.param(
            BASE.replace("edge", "Edge 1"),
            '2: deployment: expected at most 64 lower-case letters, digits, dots, dashes and underscores, got "Edge 1"',
            id="a name that is no id",
        ),
        pytest.param(
            BASE.replace("edge", "12"),
            "2: deployment: expected text, got 12; put it in quotes",
            id="a number for a name",
        ),
        pytest.param(
            BASE + "listen: localhost:8080",
            '3: listen: expected an IP address and a port such as 127.0.0.1:8080 or [::1]:8080, got "localhost:8080"',
            id="a name to listen on",
        ),
        pytest.param(
            BASE + "listen: 127.0.0.1:65536",
            '3: listen: expected an IP address and a port such as 127.0.0.1:8080 or [::1]:8080, got "127.0.0.1:65536"',
            id="a port too high",
        ),
        pytest.param(
            BASE + "listen: 8080", "3: listen: expected text, got 8080; put it in quotes", id="only a port to listen on"
        ),
        pytest.param(
            BASE + 'transparent: {listen: ["127.0.0.1:0"]}',
            "3: transparent.listen: expected a port, not any free one, got 127.0.0.1:0",
            id="a port that rules cannot lead to",
        ),
        pytest.param(BASE + "workers: 0", "3: workers: expected a whole number from 1 to 64, got 0", id="no workers"),
        pytest.param(
            BASE + "workers: true",
            "3: workers: expected a whole number from 1 to 64, got true",
            id="a flag for a number",
        ),
        pytest.param(
            BASE + "workers: '2'", '3: workers: expected a whole number from 1 to 64, got "2"', id="a number in quotes"
        ),
        pytest.param(
            BASE + "challenge_connect: 1",
            "3: challenge_connect: expected true or false, got 1",
            id="a number for a flag",
        ),
        pytest.param(
            BASE + "challenge_connect: yes",
            '3: "yes" is not the same to every YAML reader; write true or false, or put it in quotes',
            id="a surprise for a flag",
        ),
        pytest.param(
            BASE + "state: ~/state",
            '3: state: expected a path, relative to this file or from "/", got "~/state"',
            id="a home directory",
        ),
        pytest.param(BASE + "state:", "3: state: expected text, got nothing", id="no path"),
        pytest.param(
            BASE + "clusters: []", "3: clusters: expected a path, or a list of at least one", id="no cluster files"
        ),
        pytest.param(BASE + "clusters: [a, a]", "3: clusters: expected each path once", id="a file twice"),
        pytest.param(
            BASE + "upstream_cas: ca.pem",
            '3: upstream_cas: expected a list, got "ca.pem"',
            id="one path without a list",
        ),
        pytest.param(
            BASE + "operators:\n  - {kty: OKP}",
            "4: operators.0: key must be a public JWK, OKP/Ed25519 or EC/P-256, and nothing more",
            id="half a key",
        ),
        pytest.param(
            BASE + "operators:\n  - {kty: OKP, d: x}",
            '4: operators.0: a private key ("d") stands here: make a new key, this one is not secret now',
            id="a private key",
        ),
        pytest.param(
            BASE + "redis_url: http://:hunter2@redis.example",
            f"3: redis_url: expected {FORMS}, got something else",
            id="another scheme, password not shown",
        ),
        pytest.param(BASE + "redis_url:", "3: redis_url: expected text, got nothing", id="a URL left blank"),
        pytest.param(
            BASE + "lifetimes: {root_max: 2y}",
            '3: lifetimes.root_max: expected a duration such as 30s, 15m, 4h or 90d, got "2y"',
            id="a duration in another unit",
        ),
        pytest.param(
            BASE + "lifetimes: {leaf_max: 2d}",
            "3: lifetimes.leaf_max: expected a duration from 1m to 1d, got 2d",
            id="a duration out of bounds",
        ),
        pytest.param(
            BASE + "limits: {body: 10MB}",
            '3: limits.body: expected a size such as 512B, 64KiB or 10MiB, got "10MB"',
            id="a size in another unit",
        ),
        pytest.param(
            BASE + "limits: {body: 1024}",
            '3: limits.body: expected a size such as 512B, 64KiB or 10MiB, got "1024"',
            id="a size without a unit",
        ),
        pytest.param(
            BASE + "limits: {unproven_body: 1GiB}",
            "3: limits.unproven_body: expected a size from 1KiB to 1MiB, got 1GiB",
            id="a size out of bounds",
        ),
    ],
)
def test_refuses_with_place_and_mend(text: str, fault: str) -> None:
    assert settings(text)[1] == [f"proxy.yaml:{fault}"]


def test_all_faults_are_told_in_the_order_of_the_file() -> None:
    _, faults = settings(BASE + "workers: 0\nholds: {max_wait: 1, byte: 1}\nlisten: x\n")
    assert [fault.split(":")[1] for fault in faults] == ["3", "4", "4", "5"]


def test_load_reads_the_file_and_says_what_to_do_without_it(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    with pytest.raises(Rejected, match="there is no such file; make a deployment") as refused:
        load_settings(path)
    assert refused.value.code is Code.CONFIG_INVALID
    path.write_text(BASE)
    path.chmod(0o600)
    assert load_settings(path).state == tmp_path / "state"


def test_load_refuses_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text(BASE + "workers: 0\n")
    path.chmod(0o600)
    with pytest.raises(Rejected, match=r"^proxy\.yaml:3: workers: ") as refused:
        load_settings(path)
    assert refused.value.code is Code.CONFIG_INVALID


_KEYS = sorted(Settings.model_fields)


@given(st.dictionaries(st.sampled_from(_KEYS), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9)))
def test_any_values_are_read_or_refused_with_faults(values: dict[str, object]) -> None:
    settings(json.dumps(values))
