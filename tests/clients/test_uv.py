"""uv (Rust) installs from a package index behind the proxy: one package its mandate covers, one held, one denied."""

import sys
from collections.abc import Iterator
from pathlib import Path

import foreign
import pytest
from client_packages import serve_wheels
from client_town import ClientTown, Told, client_town, seen_by

from proxy.core.model import HoldState, Verdict

pytestmark = pytest.mark.system

PACKAGES = """\
  - id: packages
    description: Install the packages that were agreed on
    risk: routine
    hosts: [pypi.example]
    schemes: [https]
    ports: [{tls}]
    addresses: [127.0.0.0/8]
    operations:
      - name: look-up
        methods: [GET, HEAD]
        path: /simple/agreed/
      - name: download
        methods: [GET, HEAD]
        path: /files/{{file}}
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientTown]:
    with client_town(tmp_path_factory.mktemp("uv"), more=PACKAGES) as running:
        serve_wheels(running.tls, "agreed", "other")
        yield running


def install(town: ClientTown, package: str, into: Path, *, index: str = "/simple/") -> Told:
    options = ["--no-config", "--no-cache", "--python", sys.executable, "--target", into]
    url = town.url("tls", index, host="pypi.example")
    return town.run([foreign.program("uv"), "pip", "install", *options, "--index-url", url, package])


def test_a_covered_package_is_installed(town: ClientTown, tmp_path: Path) -> None:
    before = (town.plain.mark(), town.tls.mark())
    told = install(town, "agreed", tmp_path)
    assert told.exit_code == 0, told
    assert (tmp_path / "agreed.py").read_text() == "WORD = 'installed'\n"
    targets = [request.target for request in seen_by(town, before).requests]
    assert targets[0] == "/simple/agreed/"
    assert set(targets[1:]) == {"/files/agreed-1.0-py3-none-any.whl"}


def test_a_package_outside_the_mandate_waits_for_a_person_and_is_installed_once_released(
    town: ClientTown, tmp_path: Path
) -> None:
    before, known = (town.plain.mark(), town.tls.mark()), town.holds()
    told = install(town, "other", tmp_path)
    filed = town.wait_for_a_hold(known)
    assert told.exit_code != 0
    assert "/simple/) returned a 403 Forbidden error" in told.all, told  # uv shows neither body nor reason phrase
    assert seen_by(town, before).nothing

    town.house.decide(filed.id, Verdict.ALLOW)
    assert install(town, "other", tmp_path).exit_code == 0
    assert (tmp_path / "other.py").exists()
    assert [request.target for request in seen_by(town, before).requests].count("/simple/other/") == 1
    assert town.house.hold(filed.id).state is HoldState.RELEASED


def test_a_denied_index_gives_nothing(town: ClientTown, tmp_path: Path) -> None:
    before = (town.plain.mark(), town.tls.mark())
    told = install(town, "agreed", tmp_path, index="/secrets/simple/")
    assert told.exit_code != 0
    assert "/secrets/simple/) returned a 403 Forbidden error" in told.all, told
    assert not (tmp_path / "agreed.py").exists()
    assert seen_by(town, before).nothing
