"""`manifest propose | proposals | accept | decline`, on a real Valkey."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from clirun import cli
from valkeys import Valkey

from proxy.cli.exits import Exit
from proxy.policy.chains import read_links


@pytest.fixture(scope="module")
def valkey() -> Iterator[Valkey]:
    with Valkey(appendfsync="no") as server:
        yield server


@pytest.fixture
def draft(home: Path, valkey: Valkey) -> Path:
    """A draft for `robot` in a deployment whose store is this Valkey."""
    valkey.flush()
    settings = home / "proxy.yaml"
    settings.write_text(settings.read_text() + f"\nredis_url: {valkey.url}\n")
    (cluster, *_) = sorted(grant.cluster for grant in read_links(home / "manifests" / "robot.jws")[0].grants)
    words = ("--agent", "robot", "--cluster", cluster, "--purpose", "Read invoices.", "--lifetime", "8h")
    cli("manifest", "draft", *words, "--out", home / "robot.yaml").ok()
    return home / "robot.yaml"


def propose(draft: Path, *words: str) -> str:
    ran = cli("manifest", "propose", draft, "--why", "month-end", "--as", "ben", *words, "--json").ok()
    return str(ran.json["id"])


def test_an_author_proposes_and_the_sponsor_reads_and_signs(home: Path, draft: Path) -> None:
    before = read_links(home / "manifests" / "robot.jws")[0]
    proposal = propose(draft)
    (listed,) = cli("manifest", "proposals", "--sponsor", "ada", "--json").ok().json
    assert (listed["id"], listed["author"], listed["sponsor"], listed["why"]) == (proposal, "ben", "ada", "month-end")
    assert proposal in cli("manifest", "proposals").ok().out
    refused = cli("manifest", "accept", proposal, "--as", "ben", "--yes")
    assert refused.code == Exit.NOT_PERMITTED and "only ada" in refused.err
    assert read_links(home / "manifests" / "robot.jws")[0] == before
    ran = cli("manifest", "accept", proposal, "--yes").ok()
    for words in ("ben proposes: month-end", "Manifest for robot", "Read invoices.", "Against ", "signed by ada"):
        assert words in ran.out, words
    after = read_links(home / "manifests" / "robot.jws")[0]
    assert (after.purpose, after.iss) == ("Read invoices.", "ada")
    cli("manifest", "verify", home / "manifests" / "robot.jws").ok()
    assert cli("manifest", "proposals").ok().err == "nothing is proposed\n"
    assert cli("manifest", "accept", proposal, "--yes").code == Exit.UNKNOWN


def test_without_a_terminal_nothing_is_signed_unasked(home: Path, draft: Path) -> None:
    before = read_links(home / "manifests" / "robot.jws")[0]
    proposal = propose(draft)
    assert "add --yes" in cli("manifest", "accept", proposal).err
    assert read_links(home / "manifests" / "robot.jws")[0] == before
    assert cli("manifest", "accept", proposal, "--yes", "--json").ok().json["manifest"]["agent"] == "robot"


def test_it_is_declined_by_the_sponsor_or_taken_back_by_its_author(draft: Path) -> None:
    mute = cli("manifest", "decline", declined := propose(draft), "--as", "ada")
    assert mute.code != Exit.OK and "needs a reason" in mute.err
    cli("manifest", "decline", declined, "--as", "ada", "--why", "not needed").ok()
    assert "declined by ada" in (late := cli("manifest", "accept", declined, "--yes")).err and "not needed" in late.err
    cli("manifest", "decline", propose(draft), "--as", "ben").ok()
    assert cli("manifest", "decline", "nothing", "--as", "ada").code == Exit.UNKNOWN


def test_an_operator_proposes_nothing_and_a_bad_draft_is_named_with_its_line(draft: Path) -> None:
    ran = cli("manifest", "propose", draft, "--why", "x", "--as", "operator")
    assert ran.code == Exit.NOT_PERMITTED and "say who, with --as" in ran.err
    draft.write_text(draft.read_text().replace("actions:", "acts:"))
    ran = cli("manifest", "propose", draft, "--why", "x", "--as", "ben")
    assert ran.code == Exit.REFUSED and "draft:" in ran.err and 'did you mean "actions"' in ran.err
