"""The corpus of attacks by an agent that knows of no proxy: the network leads each of them here."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attacks import Case, corpus, try_case
from enclosure import Enclosure, enclosure
from houses import ROOT
from shots import LED
from streets import Street, open_street

pytestmark = pytest.mark.system

RULES = """
table ip t {
  chain o { type nat hook output priority -100; ip daddr != 127.0.0.0/8 tcp dport 1-65535 redirect to :8444; }
}
"""
SETTINGS = 'transparent: {listen: ["127.0.0.1:8444"], dns: {listen: ["127.0.0.1:5353"], quota: 4096}}\n'
CASES = {
    f"{path.stem}, {case}": case
    for path, cases in corpus(ROOT / "tests" / "corpus", ways=(LED,)).items()
    for case in cases
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Street, Enclosure]]:
    folder = tmp_path_factory.mktemp("led")
    (folder / "rules.nft").write_text(RULES)
    with enclosure() as made:
        made.ip("addr", "add", "10.99.0.1/32", "dev", "lo")
        made.ip("route", "add", "default", "dev", "lo", "src", "10.99.0.1")
        done = made.run(["nft", "-f", folder / "rules.nft"], environment=os.environ)
        assert done.returncode == 0, done.stderr
        opening = open_street(Path(folder), SETTINGS)
        street = made.inside(opening.__enter__)
        try:
            yield street, made
        finally:
            made.inside(lambda: opening.__exit__(None, None, None))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_of_an_attack_nobody_sees_anything_and_its_twin_passes(place: tuple[Street, Enclosure], case: Case) -> None:
    street, made = place
    made.inside(lambda: try_case(street, case))
