"""`manifest register|registered|unregister`, and manifests that are bound to a client certificate."""

from pathlib import Path

import pytest
from clientcerts import ClientAuthority, Shown
from clirun import cli

from proxy.policy.chains import read_links

READS = "erp-example-443"
PURPOSE = ("--purpose", "Match invoices.")


@pytest.fixture
def shown() -> Shown:
    return ClientAuthority().issue()


@pytest.fixture
def bound(home: Path, shown: Shown) -> Path:
    """The agent's manifest, bound to a certificate."""
    pem, _ = shown.write(home)
    words = ("--agent", "robot", "--cluster", READS, *PURPOSE, "--certificate", pem)
    told = cli("manifest", "sign", *words, "--yes").ok().out
    assert f"client certificate {shown.thumbprint}" in told
    return home / "manifests" / "robot.jws"


def registered() -> list[dict[str, object]]:
    listed: list[dict[str, object]] = cli("manifest", "registered", "--json").ok().json
    return listed


def test_a_bound_manifest_is_registered_listed_and_taken_away(bound: Path, shown: Shown) -> None:
    assert registered() == []
    assert "registered for robot" in cli("manifest", "register", bound).ok().out
    cli("manifest", "register", bound).ok()
    (entry,) = registered()
    assert (entry["agent"], entry["certificate"], entry["id"]) == (
        "robot",
        shown.thumbprint,
        read_links(bound)[0].id,
    )
    assert shown.thumbprint in cli("manifest", "registered").ok().out
    assert "unregistered for robot" in cli("manifest", "unregister", "robot").ok().out
    assert registered() == []
    again = cli("manifest", "unregister", "robot")
    assert (again.code, "no such mandate is registered for agent robot" in again.err) == (1, True)


def test_a_second_one_takes_the_place_of_the_first_only_if_told(bound: Path) -> None:
    cli("manifest", "register", bound).ok()
    first = registered()[0]["id"]
    cli("manifest", "renew", "--agent", "robot", "--yes").ok()
    refused = cli("manifest", "register", bound)
    assert (refused.code, f"robot has {first} registered" in refused.err) == (1, True)
    assert registered()[0]["id"] == first
    cli("manifest", "register", bound, "--replace").ok()
    (entry,) = registered()
    assert entry["id"] == read_links(bound)[0].id != first


def test_what_no_certificate_stands_for_is_not_registered(home: Path) -> None:
    refused = cli("manifest", "register", home / "manifests" / "robot.jws")
    assert (refused.code, "--certificate FILE" in refused.err) == (1, True)


def test_renewing_keeps_the_certificate_and_another_one_is_shown(bound: Path, home: Path, shown: Shown) -> None:
    assert cli("manifest", "renew", "--agent", "robot", "--yes", "--json").ok().json["manifest"]["certificate"] == (
        shown.thumbprint
    )
    pem, _ = ClientAuthority().issue().write(home, "next")
    told = cli("manifest", "renew", "--agent", "robot", "--certificate", pem, "--yes").ok().out
    assert "changes what it is bound to: the client certificate" in told
    assert read_links(bound)[0].certificate != shown.thumbprint
    told = cli("manifest", "sign", "--agent", "robot", "--cluster", READS, *PURPOSE, "--yes").ok().out
    assert "loosens what it is bound to: no client certificate any more" in told


def test_a_draft_may_name_the_certificate_by_its_hash(home: Path) -> None:
    cli("manifest", "draft", "--agent", "robot", "--cluster", READS, *PURPOSE).ok()
    path = home / "manifests" / "robot.draft.yaml"
    text = path.read_text()
    path.write_text(text + f'certificate: "{"A" * 43}"\n')
    assert cli("manifest", "sign", path, "--yes", "--json").ok().json["manifest"]["certificate"] == "A" * 43
    path.write_text(text + "certificate: short\n")
    refused = cli("manifest", "sign", path, "--yes")
    assert (refused.code, "expected the SHA-256 of a certificate in base64url" in refused.err) == (1, True)


def test_a_file_without_a_certificate_is_refused_by_name(home: Path) -> None:
    path = home / "no.pem"
    path.write_text("nothing")
    refused = cli("manifest", "renew", "--agent", "robot", "--certificate", path, "--yes")
    assert (refused.code, "no.pem must hold at least one certificate" in refused.err) == (1, True)
